"""Readings that are taken back: which ones count no more, as bytes and over the deliveries of a channel."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.determinants.readings import ListedTimes, Readings, labels_between, rows_between

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


def deleted_by(readings: Readings, delivery_sequence: int, deletions: Sequence[Deletion]) -> NDArray[np.int64] | None:
    """int64[n] the first commit that took each reading of a delivery back, 0 where none did; None where none took any.

    `deletions` are in the order of their commits.
    """
    found: NDArray[np.int64] | None = None
    for each in deletions:
        if not each.first_sequence <= delivery_sequence <= each.last_sequence:
            continue
        first, end = rows_between(readings.times, each.first_us, each.last_us + 1)
        if first < end:
            if found is None:
                found = np.zeros(readings.times.count, np.int64)
            taken = found[first:end]
            taken[taken == 0] = each.sequence
    return found


def deleted_count(readings: Readings, delivery_sequence: int, deletions: Sequence[Deletion]) -> int:
    """How many readings of a delivery were taken back."""
    deleted = deleted_by(readings, delivery_sequence, deletions)
    return 0 if deleted is None else int(np.count_nonzero(deleted))


def left_of(readings: Readings, delivery_sequence: int, deletions: Sequence[Deletion]) -> Readings:
    """What of a delivery was not taken back."""
    deleted = deleted_by(readings, delivery_sequence, deletions)
    if deleted is None:
        return readings
    kept = deleted == 0
    times = readings.times
    lengths = times.interval_us
    left = ListedTimes(
        labels_between(times, 0, times.count)[kept], lengths[kept] if isinstance(lengths, np.ndarray) else lengths
    )
    return Readings(left, readings.values[kept], readings.quality[kept])
