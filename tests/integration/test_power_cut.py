"""Power cuts at every moment: what was acknowledged is there, and nothing is half there.

Killing a process proves nothing of this: the system keeps what it was handed. Here the journal runs on a file layer
that records every write and every sync. For a cut after each of them the files are made again from what was synced,
with nothing or with some part of the rest, and the journal is opened on them: it must hold exactly the state after the
last step that returned, or after the one that was under way.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.support.power_cut import Recording, any_part, cuts, nothing
from tests.support.segments import PARTITION_COUNT, attached, body_of, fill, segment
from tests.support.watched_files import watched_files

from tallybook_server.journal.interface import Journal, JournalError
from tallybook_server.journal.memory import MemoryJournal
from tallybook_server.journal.sqlite import SqliteJournal

STEP_COUNT = 25
Step = Callable[[Journal], object]
State = tuple[Any, ...]


def state_of(journal: Journal) -> State:
    """All that a journal holds but its secret."""
    parts = [
        (part.sequence, part.name, journal.snapshot_part(part.sequence, part.name)) for part in journal.snapshot_parts()
    ]
    upto = journal.last_sequence
    summaries = [journal.attached_summary(sequence) for sequence in range(1, upto + 1)]
    blocks = [list(journal.blocks(f"meter {number}", "load", -9, 9, upto)) for number in range(upto + 1)]
    values = list(journal.billing_values("meter 0", "BILLING", 0, 10_000, upto))
    beside = summaries, blocks, values, list(journal.billing_messages(0))
    return upto, list(journal.read()), journal.catalog_versions(), parts, beside


def steps(chance: random.Random) -> Iterator[Step]:
    """Each kind of write a book makes, appends most of all; the last is of more bytes than SQLite keeps in memory."""
    sequence = version = merged_upto = 0
    for number in range(STEP_COUNT):
        kinds = ["append", "readings", "merge", "catalogue", "snapshot", "drop", "acknowledge"]
        kind = chance.choices(kinds, [8, 6, 2, 2, 2, 1, 2])[0]
        if kind == "merge" and sequence - merged_upto >= 2:
            first, merged_upto = merged_upto + 1, sequence
            yield merge(first, sequence)
        elif kind == "catalogue":
            version += 1
            yield put_catalogue_version(version)
        elif kind == "snapshot":
            yield put_snapshot_part(sequence, body_of(-number, chance.choice([10, 100_000])))
        elif kind == "drop":
            yield drop_snapshots(sequence)
        elif kind == "acknowledge":
            yield acknowledge_the_first
        elif kind == "readings":
            sequence += 1
            yield append_readings(sequence, version, chance.choices([100, 3_000, 50_000], [8, 8, 2])[0])
        else:
            sequence += 1
            yield append(sequence, version, chance.choices([100, 3_000, 50_000, 200_000], [8, 8, 4, 1])[0])
    yield append(sequence + 1, version, 2_500_000)


def append(sequence: int, version: int, size_bytes: int) -> Step:
    appended = segment(sequence, body_of(sequence, size_bytes), catalog_version=version)
    return lambda journal: journal.append(sequence - 1, appended)


def append_readings(sequence: int, version: int, size_bytes: int) -> Step:
    """Readings, values of BILLING channels and a message, beside a few events."""
    appended, beside = segment(sequence, catalog_version=version), attached(sequence, size_bytes)
    return lambda journal: journal.append(sequence - 1, appended, beside)


def acknowledge_the_first(journal: Journal) -> object:
    """Of the messages in the outbox, if there are any."""
    waiting = next(iter(list(journal.billing_messages(0))), None)
    return journal.acknowledge([] if waiting is None else [waiting.message_id])


def merge(first: int, last: int) -> Step:
    def step(journal: Journal) -> None:
        merged = segment(first, b"".join(s.body for s in journal.read(first - 1)), last=last)
        journal.replace(merged)

    return step


def put_catalogue_version(version: int) -> Step:
    return lambda journal: journal.put_catalog_version(version, version - 1, body_of(-version, 2_000))


def put_snapshot_part(sequence: int, body: bytes) -> Step:
    return lambda journal: journal.put_snapshot_part(sequence, "totals", body)


def drop_snapshots(sequence: int) -> Step:
    return lambda journal: journal.drop_snapshots_before(sequence, "totals")


def record(folder: Path, seed: int, synchronous: str) -> tuple[Recording, dict[Path, bytes], list[State]]:
    """Run the steps of `seed`: the recording, the files before it, and the states before and after each step."""
    path = folder / "journal.sqlite"
    SqliteJournal.open(path, partition_count=PARTITION_COUNT).close()
    before = {path: path.read_bytes()}
    recording, model = Recording(), MemoryJournal(PARTITION_COUNT)
    model.claim()
    states = [state_of(model)]
    with watched_files(recording) as layer:
        journal = SqliteJournal.open(path, vfs=layer, synchronous=synchronous)
        journal.claim()
        for number, step in enumerate(steps(random.Random(seed))):
            if number == STEP_COUNT // 2:
                journal.close()
                journal = SqliteJournal.open(path, vfs=layer, synchronous=synchronous)
                journal.claim()
            step(journal)
            recording.acknowledge()
            step(model)
            states.append(state_of(model))
        journal.close()
    return recording, before, states


def losses(folder: Path, seed: int, synchronous: str) -> Iterator[str]:
    """Every cut after which the journal is not what it should be, in words."""
    live, restored = folder / "live", folder / "restored"
    live.mkdir()
    restored.mkdir()
    recording, before, states = record(live, seed, synchronous)
    files_before: dict[Path, bytes] = {}
    for done, files in cuts(recording, before, [nothing, any_part(random.Random(seed))]):
        if files != files_before:
            found = state_found(restored, files)
        files_before = files
        acknowledged = recording.acknowledged_at(done)
        if found not in states[acknowledged : acknowledged + 2]:
            yield f"seed {seed}: cut after operation {done}: not the state after {acknowledged} steps: {found}"
        elif done in recording.acknowledged and not takes_more(restored):
            yield f"seed {seed}: cut after operation {done}: the next append is lost"


def state_found(folder: Path, files: dict[Path, bytes]) -> State | JournalError:
    """What a journal that is opened on `files` holds, or says of them."""
    for stale in folder.iterdir():
        stale.unlink()
    for path, content in files.items():
        (folder / path.name).write_bytes(content)
    try:
        with closing(SqliteJournal.open(folder / "journal.sqlite", read_only=True)) as journal:
            return state_of(journal)
    except JournalError as error:
        return error


def takes_more(folder: Path) -> bool:
    """Whether the journal that was found goes on."""
    with closing(SqliteJournal.open(folder / "journal.sqlite")) as journal:
        (appended,) = fill(journal, 1)
        return journal.segment_of(journal.last_sequence) == appended


@pytest.fixture(autouse=True)
def short_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log is written back every few commits, so that cuts fall within that too."""
    monkeypatch.setattr("tallybook_server.journal.sqlite.file.CHECKPOINT_BYTES", 512 << 10)


@pytest.mark.parametrize("seed", range(3))
def test_no_power_cut_loses_what_was_acknowledged(tmp_path: Path, seed: int) -> None:
    assert list(losses(tmp_path, seed, "FULL")) == []


@pytest.mark.parametrize("synchronous", ["NORMAL", "OFF"])
def test_the_same_cuts_find_the_loss_without_a_sync_at_every_commit(tmp_path: Path, synchronous: str) -> None:
    """Else the test above could not fail."""
    assert next(losses(tmp_path, 0, synchronous), None) is not None
