"""Reading what was delivered: a channel's current readings, and every delivery of it, at one committed sequence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from tallybook_engine.determinants.blocks import Delivered, bucket_of, decode_block, open_block
from tallybook_engine.determinants.deliveries import (
    Fitting,
    StoredReadingsFault,
    Wanted,
    last_of_each,
    overlaid,
    wanted_readings,
)
from tallybook_engine.determinants.readings import FIRST_LABEL_US, LAST_LABEL_US, Readings, labels_between, rows_between
from tallybook_engine.determinants.request import BillingConfiguration, BillingRequest
from tallybook_server import limits
from tallybook_server.errors import ErrorCode, Fault
from tallybook_server.journal.attached import StoredBlock, sequence_of
from tallybook_server.journal.interface import Journal


@dataclass(frozen=True)
class StoredReading:
    """One reading as it was delivered."""

    time_us: int
    interval_us: int
    value: int
    decimal_places: int
    unit: str
    quality: str
    position: int
    """Of its block."""
    superseded: bool

    @property
    def sequence(self) -> int:
        """The commit that stored it."""
        return sequence_of(self.position)


Place = tuple[int, int]
"""Timestamp and position: where a list of readings is."""


def load_readings(
    journal: Journal, request: BillingRequest, configuration: BillingConfiguration, sequence: int
) -> dict[str, Readings]:
    """What a request takes of the book, by channel, as of a sequence. Raises Fault."""
    found: dict[str, Readings] = {}
    left, raw_left = limits.READINGS_IN_REQUEST_MAX, limits.SUPERSEDED_READINGS_MAX
    for wanted in wanted_readings(request, configuration):
        readings, raw_count = load_channel(journal, request.datasource, wanted, configuration, sequence, raw_left)
        left, raw_left = left - readings.times.count, raw_left - raw_count
        if left < 0:
            raise _too_many(limits.READINGS_IN_REQUEST_MAX, "readings")
        if readings.times.count:
            found[wanted.channel] = readings
    return found


def load_channel(
    journal: Journal,
    datasource: str,
    wanted: Wanted,
    configuration: BillingConfiguration,
    sequence: int,
    raw_max: int = limits.SUPERSEDED_READINGS_MAX,
) -> tuple[Readings, int]:
    """(the current readings of one channel as of a sequence, how many deliveries of readings it took). Raises Fault."""
    fitting = Fitting(configuration.classifiers[wanted.channel], configuration.quality)
    buckets = bucket_of(wanted.first_us), bucket_of(wanted.last_us)
    opened = []
    raw_count = 0
    try:
        for _, blocks in journal.blocks(datasource, wanted.channel, *buckets, sequence):
            for stored in blocks:
                block = open_block(stored.body)
                raw_count += block.times.count
                if raw_count > raw_max:
                    raise _too_many(limits.SUPERSEDED_READINGS_MAX, "deliveries of readings")
                fitting.check(block)
                opened.append(block)
        return overlaid(opened, wanted, fitting), raw_count
    except StoredReadingsFault as fault:
        raise does_not_fit(datasource, wanted.channel, str(fault)) from None


def list_readings(
    journal: Journal,
    datasource: str,
    channel: str,
    start_us: int | None,
    end_us: int | None,
    after: Place | None,
    *,
    include_superseded: bool,
    sequence: int,
    limit: int,
) -> list[StoredReading]:
    """The first readings behind a place, by timestamp and position; timestamps in [start, end)."""
    wanted = Wanted(
        channel,
        max(FIRST_LABEL_US if start_us is None else start_us, FIRST_LABEL_US if after is None else after[0]),
        LAST_LABEL_US if end_us is None else end_us - 1,
    )
    if wanted.last_us < wanted.first_us:
        return []
    buckets = bucket_of(wanted.first_us), bucket_of(wanted.last_us)
    every = (
        reading
        for _, blocks in journal.blocks(datasource, channel, *buckets, sequence)
        for reading in _of_bucket(blocks, wanted, after, include_superseded=include_superseded, limit=limit)
    )
    return list(islice(every, limit))


def _of_bucket(
    blocks: list[StoredBlock], wanted: Wanted, after: Place | None, *, include_superseded: bool, limit: int
) -> Iterator[StoredReading]:
    delivered: list[tuple[int, Delivered]] = []
    labels, owners, rows = [], [], []
    for block in blocks:
        each = decode_block(block.body)
        first, end = rows_between(each.readings.times, wanted.first_us, wanted.last_us + 1)
        if first < end:
            owners.append(np.full(end - first, len(delivered), np.int64))
            rows.append(np.arange(first, end, dtype=np.int64))
            labels.append(labels_between(each.readings.times, first, end))
            delivered.append((block.position, each))
    if not delivered:
        return
    order, is_last = last_of_each(np.concatenate(labels))
    kept = np.ones(len(order), np.bool_) if include_superseded else is_last
    times, owner_of, row_of = (np.concatenate(column)[order] for column in (labels, owners, rows))
    if after is not None:
        positions = np.array([position for position, _ in delivered], np.int64)[owner_of]
        kept &= (times > after[0]) | ((times == after[0]) & (positions > after[1]))
    # No more than a page of objects is made of a bucket.
    for at in np.flatnonzero(kept)[:limit].tolist():
        position, each = delivered[owner_of[at]]
        yield _reading(each, int(row_of[at]), position, superseded=not is_last[at])


def _reading(each: Delivered, row: int, position: int, *, superseded: bool) -> StoredReading:
    readings = each.readings
    return StoredReading(
        readings.label(row),
        readings.length_us(row),
        int(readings.values[row]),
        each.decimal_places,
        each.unit,
        each.statuses[int(readings.quality[row])],
        position,
        superseded,
    )


def _too_many(most: int, what: str) -> Fault:
    return Fault(
        ErrorCode.TOO_MANY_READINGS,
        f"The period takes over {most} {what} of the book: split it.",
        {"reading_count_max": str(most)},
    )


def does_not_fit(datasource: str, channel: str, reason: str) -> Fault:
    """STORED_READINGS_DO_NOT_FIT, of one channel."""
    return Fault(
        ErrorCode.STORED_READINGS_DO_NOT_FIT,
        f"datasource {datasource!r}, channel {channel!r}: {reason}",
        {"datasource": datasource, "channel": channel},
    )
