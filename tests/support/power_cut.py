"""Power cuts: from a recording of all that reached the disk, the files that a cut at any moment may leave.

What was written to a file before its last sync is there. Of what was written after, any part may be: none of it, all of
it, some writes and not others in whatever order, and any of them torn at a sector.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.watched_files import Kind, Operation

SECTOR_BYTES = 512


@dataclass
class Recording:
    """Everything that was done to the files, in order, and after which of it each step was acknowledged."""

    operations: list[Operation] = field(default_factory=list)
    acknowledged: list[int] = field(default_factory=list)
    """How many operations had been done when step 1, 2, ... returned."""

    def __call__(self, operation: Operation) -> None:
        self.operations.append(operation)

    def acknowledge(self) -> None:
        self.acknowledged.append(len(self.operations))

    def acknowledged_at(self, operation_count: int) -> int:
        """Steps that had returned when this many operations were done and the next had not begun."""
        return sum(done <= operation_count for done in self.acknowledged)


@dataclass
class Disk:
    """One file as the disk has it for certain, and what was done to it since."""

    synced: bytearray | None
    unsynced: list[Operation] = field(default_factory=list)

    def apply(self, operation: Operation) -> None:
        if operation.kind is Kind.SYNC:
            self.synced = after(self.synced, self.unsynced)
            self.unsynced = []
        else:
            self.unsynced.append(operation)


Survival = Callable[[list[Operation]], list[Operation]]
"""What of the unsynced operations on a file outlives the cut."""


def nothing(_: list[Operation]) -> list[Operation]:
    return []


def any_part(chance: random.Random) -> Survival:
    """Each operation is lost, kept or, if it is a write, torn: all with the same probability."""

    def survive(unsynced: list[Operation]) -> list[Operation]:
        kept = []
        for operation in unsynced:
            fate = chance.choice(["lost", "kept", "torn"])
            if fate == "torn" and operation.kind is Kind.WRITE:
                end = SECTOR_BYTES * chance.randrange(len(operation.data) // SECTOR_BYTES + 1)
                kept.append(Operation(Kind.WRITE, operation.path, operation.offset, operation.data[:end]))
            elif fate != "lost":
                kept.append(operation)
        return kept

    return survive


def cuts(
    recording: Recording, before: dict[Path, bytes], survivals: list[Survival]
) -> Iterator[tuple[int, dict[Path, bytes]]]:
    """For a cut before the first operation and after each: (operations done, files that are left), by survival."""
    disks = {path: Disk(bytearray(content)) for path, content in before.items()}
    for done in range(len(recording.operations) + 1):
        if done:
            operation = recording.operations[done - 1]
            disks.setdefault(operation.path, Disk(None)).apply(operation)
        for survival in survivals:
            left = {path: after(disk.synced, survival(disk.unsynced)) for path, disk in disks.items()}
            yield done, {path: bytes(content) for path, content in left.items() if content is not None}


def after(content: bytearray | None, operations: list[Operation]) -> bytearray | None:
    """The file once `operations` were done to it; None is no file."""
    changed = None if content is None else bytearray(content)
    for operation in operations:
        if operation.kind is Kind.DELETE:
            changed = None
            continue
        changed = bytearray() if changed is None else changed
        if operation.kind is Kind.TRUNCATE:
            del changed[operation.offset :]
        else:
            end = operation.offset + len(operation.data)
            changed.extend(bytes(max(0, end - len(changed))))
            changed[operation.offset : end] = operation.data
    return changed
