"""Reading what was delivered: a channel's current readings, and every delivery of it, at one committed sequence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.determinants.blocks import Delivered, PackedBlock, bucket_of, open_block, reading_count_of
from tallybook_engine.determinants.configuration import ChannelKind, Label
from tallybook_engine.determinants.deletions import Deletion, decode_deletion, deleted_by, deleted_count, left_of
from tallybook_engine.determinants.deliveries import (
    Fitting,
    StoredReadingsFault,
    Wanted,
    overlaid,
    wanted_readings,
)
from tallybook_engine.determinants.grids import grid_rows
from tallybook_engine.determinants.matrix import MeterMatrix
from tallybook_engine.determinants.readings import FIRST_LABEL_US, LAST_LABEL_US, Readings, labels_between, rows_between
from tallybook_engine.determinants.request import BillingConfiguration, BillingRequest
from tallybook_server import limits
from tallybook_server.errors import ErrorCode, Fault
from tallybook_server.journal.attached import DELETIONS_BUCKET, StoredBlock, sequence_of
from tallybook_server.journal.interface import Journal, UnreadableJournal


@dataclass(frozen=True)
class StoredReading:
    """One reading as it was delivered."""

    time_us: int
    interval_us: int
    value: int
    decimal_places: int
    unit: str
    quality: str
    kind: ChannelKind
    label: Label
    position: int
    """Of its block."""
    superseded: bool
    deleted_sequence: int
    """The commit that took it back; 0 where none did."""

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
    found = _buckets(journal, datasource, wanted.channel, *buckets, sequence)
    return _laid_over(found, datasource, wanted, fitting, raw_max)


def _laid_over(
    buckets: Iterable[BucketBlocks], datasource: str, wanted: Wanted, fitting: Fitting, raw_max: int
) -> tuple[Readings, int]:
    """As `load_channel`, of the buckets of one channel in order."""
    blocks = []
    raw_count = 0
    for of_bucket, deletions in buckets:
        for stored in of_bucket:
            block = block_of(datasource, wanted.channel, stored)
            raw_count += block.times.count
            if raw_count > raw_max:
                raise _too_many(limits.SUPERSEDED_READINGS_MAX, "deliveries of readings")
            left = left_of(block, sequence_of(stored.position), deletions) if deletions else block
            if left is not None:
                blocks.append(left)
    try:
        return overlaid(blocks, wanted, fitting), raw_count
    except StoredReadingsFault as fault:
        raise does_not_fit(datasource, wanted.channel, str(fault)) from None


@dataclass(frozen=True)
class Meters:
    """Datasources whose readings of one channel have the same timestamps."""

    datasources: tuple[str, ...]
    matrix: MeterMatrix
    """Row i is `datasources[i]`."""


def load_meters(
    journal: Journal,
    datasources: Sequence[str],
    wanted: Wanted,
    configuration: BillingConfiguration,
    sequence: int,
    raw_max: int = limits.READINGS_AT_ONCE_MAX,
) -> list[Meters]:
    """The current readings of one channel of many datasources of one configuration, as of a sequence: of each what
    `load_channel` answers, and of one without readings nothing. Raises Fault.

    All that is stored of them in that time is in memory at once: of more than `raw_max` deliveries of readings,
    superseded ones too, TOO_MANY_READINGS.
    """
    fitting = Fitting(configuration.classifiers[wanted.channel], configuration.quality)
    stored: list[list[tuple[int, StoredBlock]]] = [[] for _ in datasources]
    channels = [(each, wanted.channel) for each in datasources]
    buckets = bucket_of(wanted.first_us), bucket_of(wanted.last_us)
    for number, bucket, block in journal.blocks_of_channels(channels, *buckets, sequence):
        raw_max -= reading_count_of(block.body) if bucket != DELETIONS_BUCKET else 0
        if raw_max < 0:
            raise _too_many(limits.READINGS_AT_ONCE_MAX, "deliveries of readings")
        stored[number].append((bucket, block))
    # A deletion is no block: where a meter has one, it is looked at by itself.
    bodies = [[block.body for _, block in blocks] for blocks in stored]
    answered = grid_rows(bodies, wanted, fitting)
    found = [Meters(tuple(datasources[each] for each in rows.meters), rows.matrix) for rows in answered]
    for number in set(range(len(datasources))).difference(*(rows.meters for rows in answered)):
        name, blocks = datasources[number], sorted(stored[number])
        of_buckets = [(each, [block for _, block in some]) for each, some in groupby(blocks, key=itemgetter(0))]
        of_channel = _with_deletions(of_buckets, name, wanted.channel)
        readings, _ = _laid_over(of_channel, name, wanted, fitting, limits.SUPERSEDED_READINGS_MAX)
        if readings.times.count:
            matrix = MeterMatrix(readings.times, readings.values[np.newaxis], readings.quality[np.newaxis])
            found.append(Meters((name,), matrix))
    return found


def count_left(journal: Journal, datasource: str, channel: str, wanted: Deletion, sequence: int) -> int:
    """How many readings a deletion takes back that no earlier one did, as of a sequence."""
    buckets = bucket_of(wanted.first_us), bucket_of(wanted.last_us)
    count = 0
    for blocks, deletions in _buckets(journal, datasource, channel, *buckets, sequence):
        for stored in blocks:
            of = block_of(datasource, channel, stored).times, sequence_of(stored.position)
            count += deleted_count(*of, [*deletions, wanted]) - deleted_count(*of, deletions)
    return count


BucketBlocks = tuple[Sequence[StoredBlock], Sequence[Deletion]]
"""The blocks of a bucket by position, and what is taken back of their channel."""


def _buckets(
    journal: Journal, datasource: str, channel: str, first_bucket: int, last_bucket: int, sequence: int
) -> Iterator[BucketBlocks]:
    """Each bucket of a channel that has blocks, in order."""
    found = journal.blocks(datasource, channel, first_bucket, last_bucket, sequence)
    return _with_deletions(found, datasource, channel)


def _with_deletions(
    buckets: Iterable[tuple[int, list[StoredBlock]]], datasource: str, channel: str
) -> Iterator[BucketBlocks]:
    deletions: list[Deletion] = []
    for bucket, blocks in buckets:
        if bucket == DELETIONS_BUCKET:
            deletions = [deletion_of(datasource, channel, block) for block in blocks]
        else:
            yield blocks, deletions


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
        for blocks, deletions in _buckets(journal, datasource, channel, *buckets, sequence)
        for reading in _of_bucket(
            [(stored.position, block_of(datasource, channel, stored).delivered()) for stored in blocks],
            deletions,
            wanted,
            after,
            include_superseded=include_superseded,
            limit=limit,
        )
    )
    return list(islice(every, limit))


def _of_bucket(
    blocks: Sequence[tuple[int, Delivered]],
    deletions: Sequence[Deletion],
    wanted: Wanted,
    after: Place | None,
    *,
    include_superseded: bool,
    limit: int,
) -> Iterator[StoredReading]:
    labels, owners, rows, deleted = [], [], [], []
    for owner, (position, each) in enumerate(blocks):
        first, end = rows_between(each.readings.times, wanted.first_us, wanted.last_us + 1)
        owners.append(np.full(end - first, owner, np.int64))
        rows.append(np.arange(first, end, dtype=np.int64))
        labels.append(labels_between(each.readings.times, first, end))
        taken = deleted_by(each.readings.times, sequence_of(position), deletions)
        deleted.append(np.zeros(end - first, np.int64) if taken is None else taken[first:end])
    times = np.concatenate(labels)
    order = np.argsort(times, kind="stable")
    times, owner_of, row_of, deleted_in = (np.concatenate(column)[order] for column in (labels, owners, rows, deleted))
    superseded = _superseded(times, deleted_in == 0)
    kept = np.ones(len(times), np.bool_) if include_superseded else (deleted_in == 0) & ~superseded
    if after is not None:
        positions = np.array([position for position, _ in blocks], np.int64)[owner_of]
        kept &= (times > after[0]) | ((times == after[0]) & (positions > after[1]))
    # No more than a page of objects is made of a bucket.
    for at in np.flatnonzero(kept)[:limit].tolist():
        position, each = blocks[owner_of[at]]
        yield _reading(each, int(row_of[at]), position, bool(superseded[at]), int(deleted_in[at]))


def _superseded(labels: NDArray[np.int64], counts: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether a later row of the same timestamp counts; rows lie by timestamp, and of each as they came."""
    row = np.arange(len(labels))
    last_that_counts = np.maximum.accumulate(np.where(counts, row, -1))
    end_of_group = np.searchsorted(labels, labels, side="right") - 1
    return last_that_counts[end_of_group] > row


def _reading(each: Delivered, row: int, position: int, superseded: bool, deleted_sequence: int) -> StoredReading:
    readings = each.readings
    return StoredReading(
        readings.label(row),
        readings.length_us(row),
        int(readings.values[row]),
        each.decimal_places,
        each.unit,
        each.statuses[int(readings.quality[row])],
        each.kind,
        each.label,
        position,
        superseded,
        deleted_sequence,
    )


def block_of(datasource: str, channel: str, stored: StoredBlock) -> PackedBlock:
    """A block as it was delivered. UnreadableJournal where this program does not read it."""
    try:
        return open_block(stored.body)
    except ValueError as error:
        raise _unreadable(datasource, channel, stored, error) from error


def deletion_of(datasource: str, channel: str, block: StoredBlock) -> Deletion:
    """What a block of `DELETIONS_BUCKET` takes back. UnreadableJournal where this program does not read it."""
    try:
        return decode_deletion(block.body, sequence_of(block.position))
    except ValueError as error:
        raise _unreadable(datasource, channel, block, error) from error


def _unreadable(datasource: str, channel: str, block: StoredBlock, error: ValueError) -> UnreadableJournal:
    return UnreadableJournal(
        f"datasource {datasource!r}, channel {channel!r}, sequence {sequence_of(block.position)}: {error}; "
        f"read the journal with the program that wrote it, and deliver its readings anew"
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
