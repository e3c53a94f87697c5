"""Readings that are taken back: which ones count no more, as bytes and over the deliveries of a channel."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.determinants.blocks import PackedBlock, encode_blocks, open_block
from tallybook_engine.determinants.readings import ListedTimes, Readings, Times, labels_between, rows_between

FORMAT_VERSION = 1

_BODY = struct.Struct("<Bqqqq")


@dataclass(frozen=True)
class Deletion:
    """The readings of a channel with ``first_us <= timestamp <= last_us`` that the commits of a run delivered."""

    first_us: int
    last_us: int
    first_sequence: int
    last_sequence: int
    """Included; before the commit that holds the deletion, so that readings may be delivered anew."""
    sequence: int
    """The commit that holds it; no part of its bytes."""


def encode_deletion(deletion: Deletion) -> bytes:
    """As the journal keeps it."""
    return _BODY.pack(
        FORMAT_VERSION, deletion.first_us, deletion.last_us, deletion.first_sequence, deletion.last_sequence
    )


def decode_deletion(body: bytes, sequence: int) -> Deletion:
    """The reverse of `encode_deletion`, with the commit that holds it. ValueError for bytes that are none."""
    if len(body) != _BODY.size or body[0] != FORMAT_VERSION:
        raise ValueError(f"no deletion of format {FORMAT_VERSION}")
    _, first_us, last_us, first_sequence, last_sequence = _BODY.unpack(body)
    return Deletion(first_us, last_us, first_sequence, last_sequence, sequence)


def deleted_by(times: Times, delivery_sequence: int, deletions: Sequence[Deletion]) -> NDArray[np.int64] | None:
    """int64[n] the first commit that took each reading of a delivery back, 0 where none did; None where none took any.

    `deletions` are in the order of their commits.
    """
    found: NDArray[np.int64] | None = None
    for each in deletions:
        if not each.first_sequence <= delivery_sequence <= each.last_sequence:
            continue
        first, end = rows_between(times, each.first_us, each.last_us + 1)
        if first < end:
            if found is None:
                found = np.zeros(times.count, np.int64)
            taken = found[first:end]
            taken[taken == 0] = each.sequence
    return found


def deleted_count(times: Times, delivery_sequence: int, deletions: Sequence[Deletion]) -> int:
    """How many readings of a delivery were taken back."""
    deleted = deleted_by(times, delivery_sequence, deletions)
    return 0 if deleted is None else int(np.count_nonzero(deleted))


def left_of(block: PackedBlock, delivery_sequence: int, deletions: Sequence[Deletion]) -> PackedBlock | None:
    """What of a block was not taken back, packed anew where something was; None where nothing is left."""
    deleted = deleted_by(block.times, delivery_sequence, deletions)
    if deleted is None:
        return block
    kept = deleted == 0
    if not kept.any():
        return None
    delivered = block.delivered()
    times, values, quality = block.times, delivered.readings.values, delivered.readings.quality
    lengths = times.interval_us
    left = ListedTimes(
        labels_between(times, 0, times.count)[kept], lengths[kept] if isinstance(lengths, np.ndarray) else lengths
    )
    [[packed]] = encode_blocks([replace(delivered, readings=Readings(left, values[kept], quality[kept]))])
    return open_block(packed.body)
