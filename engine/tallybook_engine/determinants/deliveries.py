"""Deliveries of one channel laid over one another: of each timestamp the last one counts.

Where deliveries do not overlap, which is the rule, nothing is sorted and a grid stays a grid.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.determinants.blocks import Delivered
from tallybook_engine.determinants.configuration import ChannelClassifier, ChannelKind
from tallybook_engine.determinants.quality import QualityTable
from tallybook_engine.determinants.readings import (
    ListedTimes,
    Readings,
    RegularTimes,
    Times,
    label_of,
    labels_between,
    no_readings,
    rows_between,
)
from tallybook_engine.determinants.request import BillingConfiguration, BillingRequest

_INT64_MAX = 2**63 - 1


MEND = "take them back with DeleteReadings and deliver them anew, or let the classifier be"
"""What makes stored readings fit what is configured."""


class StoredReadingsFault(ValueError):
    """Stored readings do not fit what is configured of their channel now; the message says how to mend it."""


@dataclass(frozen=True)
class Wanted:
    """What a request takes of a channel: the timestamps ``first_us <= label <= last_us``."""

    channel: str
    first_us: int
    last_us: int


def wanted_readings(request: BillingRequest, configuration: BillingConfiguration) -> list[Wanted]:
    """Of each channel that a request names, in the order of its naming.

    Demand schemes look at their period alone; a register is read as far from its period's bounds as the tolerance goes.
    """
    channels = [asked.channel for asked in request.channels]
    for demand in request.demands:
        channels += [demand.channel, *demand.scheme.other_channels()]
    wanted = []
    for channel in dict.fromkeys(channels):
        is_register = configuration.classifiers[channel].kind is ChannelKind.REGISTER
        tolerance_us = configuration.register_tolerance_us if is_register else 0
        wanted.append(Wanted(channel, request.start_us - tolerance_us, request.end_us + tolerance_us))
    return wanted


class Fitting:
    """How deliveries of one channel become its readings under what is configured of it now."""

    def __init__(self, classifier: ChannelClassifier, table: QualityTable) -> None:
        self._classifier = classifier
        self._names = tuple(status.name for status in table.statuses)

    def fitted(self, delivered: Delivered) -> Readings:
        """A delivery with the classifier's decimals and the table's codes. StoredReadingsFault where it has others, or
        where its values or its timestamps mean something else.
        """
        classifier = self._classifier
        if delivered.kind is not classifier.kind:
            raise self._meaning("values of kind", delivered.kind.value, classifier.kind.value)
        # A register's readings have no length, and so no end that a timestamp could name.
        if delivered.label is not classifier.label and classifier.kind is ChannelKind.INTERVAL:
            raise self._meaning("timestamps that label the interval's", delivered.label.value, classifier.label.value)
        if delivered.unit != classifier.unit:
            raise StoredReadingsFault(
                f"its readings are stored in {delivered.unit!r}, and its classifier {classifier.id!r} says "
                f"{classifier.unit!r}: {MEND}"
            )
        places = classifier.decimal_places - delivered.decimal_places
        if places < 0:
            raise StoredReadingsFault(
                f"its readings are stored with {delivered.decimal_places} decimals, and its classifier "
                f"{classifier.id!r} has {classifier.decimal_places}: give it as many"
            )
        is_of_table = self._names[: len(delivered.statuses)] == delivered.statuses
        if places == 0 and is_of_table:
            return delivered.readings
        readings = delivered.readings
        codes = readings.quality if is_of_table else self._translated(readings.quality, delivered.statuses)
        return Readings(readings.times, _scaled(readings.values, places), codes)

    def _meaning(self, what: str, stored: str, configured: str) -> StoredReadingsFault:
        return StoredReadingsFault(
            f"its readings are stored as {what} {stored}, and its classifier {self._classifier.id!r} says "
            f"{configured}: {MEND}"
        )

    def _translated(self, codes: NDArray[np.uint8], statuses: Sequence[str]) -> NDArray[np.uint8]:
        places = {name: code for code, name in enumerate(self._names)}
        for code in np.unique(codes).tolist():
            if statuses[code] not in places:
                raise StoredReadingsFault(
                    f"the quality table has no status {statuses[code]!r}, which a stored reading has"
                )
        return np.array([places.get(name, 0) for name in statuses], np.uint8)[codes]


def _scaled(values: NDArray[np.int64], places: int) -> NDArray[np.int64]:
    bound = _INT64_MAX // 10**places
    if len(values) and (int(values.max()) > bound or int(values.min()) < -bound):
        raise StoredReadingsFault("a value does not fit 64 bits with the classifier's decimals")
    return values * np.int64(10**places)


def overlaid(deliveries: Iterable[Readings], wanted: Wanted) -> Readings:
    """Deliveries of one channel, oldest first and none empty, as its readings between two timestamps."""
    pieces = []
    for each in deliveries:
        times = each.times
        if wanted.first_us <= label_of(times, 0) and label_of(times, times.count - 1) <= wanted.last_us:
            pieces.append(each)
            continue
        first, end = rows_between(times, wanted.first_us, wanted.last_us + 1)
        if first < end:
            pieces.append(each if end - first == each.times.count else rows_of(each, first, end))
    if not pieces:
        return no_readings()
    ordered = sorted(pieces, key=lambda piece: piece.label(0))
    for piece, following in pairwise(ordered):
        if following.label(0) <= piece.label(piece.times.count - 1):
            return _merged(pieces)
    return _joined(ordered)


def check_unfit(deliveries: Sequence[tuple[Readings, StoredReadingsFault | None]], wanted: Wanted) -> None:
    """Raises the fault of a delivery that does not fit, where one of its readings would count.

    `deliveries` are all of a channel, oldest first and none empty.
    """
    times = [each.times for each, _ in deliveries]
    bounds = [rows_between(each, wanted.first_us, wanted.last_us + 1) for each in times]
    labels = [labels_between(each, *rows) for each, rows in zip(times, bounds, strict=True)]
    owners = np.repeat(np.arange(len(labels)), [len(each) for each in labels])
    order, is_last = last_of_each(np.concatenate(labels))
    for owner in np.unique(owners[order[is_last]]).tolist():
        fault = deliveries[owner][1]
        if fault is not None:
            raise fault


def last_of_each(labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """(order, is last) of timestamps whose later rows count: rows in order of time, equal ones as they came."""
    order = np.argsort(labels, kind="stable")
    ordered = labels[order]
    is_last = np.ones(len(labels), np.bool_)
    is_last[:-1] = ordered[1:] != ordered[:-1]
    return order, is_last


def rows_of(readings: Readings, first: int, end: int) -> Readings:
    """Some rows."""
    times = readings.times
    taken: Times
    if isinstance(times, RegularTimes):
        taken = RegularTimes(label_of(times, first), times.interval_us, end - first)
    else:
        lengths = times.interval_us
        taken = ListedTimes(
            times.labels_us[first:end], lengths[first:end] if isinstance(lengths, np.ndarray) else lengths
        )
    return Readings(taken, readings.values[first:end], readings.quality[first:end])


def _merged(pieces: Sequence[Readings]) -> Readings:
    order, is_last = last_of_each(np.concatenate([_labels(piece) for piece in pieces]))
    kept = order[is_last]
    labels = np.concatenate([_labels(piece) for piece in pieces])[kept]
    lengths = np.concatenate([_lengths(piece) for piece in pieces])[kept]
    values = np.concatenate([piece.values for piece in pieces])[kept]
    quality = np.concatenate([piece.quality for piece in pieces])[kept]
    return Readings(_times(labels, lengths), values, quality)


def _joined(pieces: Sequence[Readings]) -> Readings:
    """Pieces that follow one another."""
    if len(pieces) == 1:
        return pieces[0]
    values = np.concatenate([piece.values for piece in pieces])
    quality = np.concatenate([piece.quality for piece in pieces])
    first = pieces[0].times
    if isinstance(first, RegularTimes) and _is_one_grid([piece.times for piece in pieces], first):
        return Readings(RegularTimes(first.first_us, first.interval_us, len(values)), values, quality)
    labels = np.concatenate([_labels(piece) for piece in pieces])
    lengths = np.concatenate([_lengths(piece) for piece in pieces])
    return Readings(_times(labels, lengths), values, quality)


def _is_one_grid(every: Sequence[Times], first: RegularTimes) -> bool:
    expected_us = first.first_us
    for times in every:
        is_regular = isinstance(times, RegularTimes) and times.interval_us == first.interval_us
        if not is_regular or label_of(times, 0) != expected_us:
            return False
        expected_us += times.count * first.interval_us
    return True


def _times(labels: NDArray[np.int64], lengths: NDArray[np.int64]) -> Times:
    length = int(lengths[0])
    if (lengths != length).any():
        return ListedTimes(labels, lengths)
    if (np.diff(labels) == length).all():
        return RegularTimes(int(labels[0]), length, len(labels))
    return ListedTimes(labels, length)


def _labels(readings: Readings) -> NDArray[np.int64]:
    return labels_between(readings.times, 0, readings.times.count)


def _lengths(readings: Readings) -> NDArray[np.int64]:
    lengths = readings.times.interval_us
    return lengths if isinstance(lengths, np.ndarray) else np.full(readings.times.count, lengths, np.int64)
