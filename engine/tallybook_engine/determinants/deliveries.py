"""Deliveries of one channel laid over one another: of each timestamp the last one counts.

Where deliveries do not overlap, which is the rule, nothing is sorted and a grid stays a grid.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import attrgetter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.determinants.blocks import PackedBlock
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
    """How blocks of one channel become its readings under what is configured of it now."""

    def __init__(self, classifier: ChannelClassifier, table: QualityTable) -> None:
        self._classifier = classifier
        self._names = tuple(status.name for status in table.statuses)

    def check(self, block: PackedBlock) -> None:
        """StoredReadingsFault where a block has another kind, label or unit than the classifier, or more decimals."""
        classifier = self._classifier
        if block.kind is not classifier.kind:
            raise self._meaning("values of kind", block.kind.value, classifier.kind.value)
        # A register's readings have no length, and so no end that a timestamp could name.
        if block.label is not classifier.label and classifier.kind is ChannelKind.INTERVAL:
            raise self._meaning("timestamps that label the interval's", block.label.value, classifier.label.value)
        if block.unit != classifier.unit:
            raise StoredReadingsFault(
                f"its readings are stored in {block.unit!r}, and its classifier {classifier.id!r} says "
                f"{classifier.unit!r}: {MEND}"
            )
        if block.decimal_places > classifier.decimal_places:
            raise StoredReadingsFault(
                f"its readings are stored with {block.decimal_places} decimals, and its classifier "
                f"{classifier.id!r} has {classifier.decimal_places}: give it as many"
            )

    def takes_as_is(self, block: PackedBlock) -> bool:
        """Whether `check` lets a block pass and `fit` changes nothing, whatever its values are."""
        classifier = self._classifier
        return (
            (block.kind, block.label, block.unit) == (classifier.kind, classifier.label, classifier.unit)
            and block.decimal_places == classifier.decimal_places
            and self._names[: len(block.statuses)] == block.statuses
        )

    def fit(self, block: PackedBlock, values: NDArray[np.int64], codes: NDArray[np.uint8]) -> None:
        """Gives rows of a block the classifier's decimals and the table's codes, where they lie.

        StoredReadingsFault where a value or a status does not fit them.
        """
        places = self._classifier.decimal_places - block.decimal_places
        if places:
            _scale(values, places)
        if self._names[: len(block.statuses)] != block.statuses:
            codes[:] = self._translated(codes, block.statuses)

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


def _scale(values: NDArray[np.int64], places: int) -> None:
    bound = _INT64_MAX // 10**places
    if len(values) and (int(values.max()) > bound or int(values.min()) < -bound):
        raise StoredReadingsFault("a value does not fit 64 bits with the classifier's decimals")
    values *= np.int64(10**places)


class _Piece(NamedTuple):
    """Rows of a block that are wanted: one or more."""

    block: PackedBlock
    first: int
    times: Times
    """Of those rows."""
    first_us: int
    """Timestamp of the first of them."""
    last_us: int

    def unpack(self, fitting: Fitting, values: NDArray[np.int64], codes: NDArray[np.uint8]) -> None:
        """Fills columns of its length."""
        fitting.check(self.block)
        self.block.unpack(self.first, values, codes)
        fitting.fit(self.block, values, codes)


def overlaid(blocks: Iterable[PackedBlock], wanted: Wanted, fitting: Fitting) -> Readings:
    """Blocks of one channel, oldest first and none empty, as its readings between two timestamps.

    Every value is written once, where it stays, unless blocks overlap. StoredReadingsFault as `Fitting` has it, of
    blocks that a reading counts of.
    """
    pieces = []
    for block in blocks:
        times = block.times
        first_us, last_us = label_of(times, 0), label_of(times, times.count - 1)
        if wanted.first_us <= first_us and last_us <= wanted.last_us:
            pieces.append(_Piece(block, 0, times, first_us, last_us))
            continue
        first, end = rows_between(times, wanted.first_us, wanted.last_us + 1)
        if first < end:
            rows = _rows_of_times(times, first, end)
            pieces.append(_Piece(block, first, rows, label_of(times, first), label_of(times, end - 1)))
    if not pieces:
        return no_readings()
    ordered = sorted(pieces, key=attrgetter("first_us"))
    if any(following.first_us <= piece.last_us for piece, following in pairwise(ordered)):
        return _merged(pieces, fitting)
    return _joined(ordered, fitting)


def _last_of_each(labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """(order, is last) of timestamps whose later rows count: rows in order of time, equal ones as they came."""
    order = np.argsort(labels, kind="stable")
    ordered = labels[order]
    is_last = np.ones(len(labels), np.bool_)
    is_last[:-1] = ordered[1:] != ordered[:-1]
    return order, is_last


def _rows_of_times(times: Times, first: int, end: int) -> Times:
    """Some rows."""
    if isinstance(times, RegularTimes):
        return RegularTimes(label_of(times, first), times.interval_us, end - first)
    lengths = times.interval_us
    return ListedTimes(times.labels_us[first:end], lengths[first:end] if isinstance(lengths, np.ndarray) else lengths)


def _merged(pieces: Sequence[_Piece], fitting: Fitting) -> Readings:
    """Pieces of which some overlap, oldest first."""
    labels, lengths = _listed(pieces)
    order, is_last = _last_of_each(labels)
    kept = order[is_last]
    owners = np.repeat(np.arange(len(pieces)), [piece.times.count for piece in pieces])
    counted = np.bincount(owners[kept], minlength=len(pieces)).tolist()
    values, quality = _columns(pieces, counted, fitting)
    return Readings(_times(labels[kept], lengths[kept]), values[kept], quality[kept])


def _joined(pieces: Sequence[_Piece], fitting: Fitting) -> Readings:
    """Pieces that follow one another."""
    values, quality = _columns(pieces, [piece.times.count for piece in pieces], fitting)
    return Readings(_joined_times(pieces, len(values)), values, quality)


def _columns(
    pieces: Sequence[_Piece], counted: Sequence[int], fitting: Fitting
) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """(values, codes) of pieces, one after the other; anything in the rows of those that no reading counts of."""
    count = sum(piece.times.count for piece in pieces)
    values, quality = np.empty(count, np.int64), np.empty(count, np.uint8)
    at = 0
    for piece, some in zip(pieces, counted, strict=True):
        until = at + piece.times.count
        if some:
            piece.unpack(fitting, values[at:until], quality[at:until])
        at = until
    return values, quality


def _joined_times(pieces: Sequence[_Piece], count: int) -> Times:
    interval_us = pieces[0].times.interval_us
    if isinstance(interval_us, int) and _is_one_grid(pieces, interval_us):
        return RegularTimes(pieces[0].first_us, interval_us, count)
    return pieces[0].times if len(pieces) == 1 else _times(*_listed(pieces))


def _listed(pieces: Sequence[_Piece]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(timestamps, lengths) of pieces, one after the other."""
    every = [piece.times for piece in pieces]
    labels = [labels_between(times, 0, times.count) for times in every]
    return np.concatenate(labels), np.concatenate([_lengths(times) for times in every])


def _is_one_grid(pieces: Sequence[_Piece], interval_us: int) -> bool:
    expected_us = pieces[0].first_us
    for piece in pieces:
        times = piece.times
        is_regular = isinstance(times, RegularTimes) and times.interval_us == interval_us
        if not is_regular or piece.first_us != expected_us:
            return False
        expected_us = piece.last_us + interval_us
    return True


def _times(labels: NDArray[np.int64], lengths: NDArray[np.int64]) -> Times:
    length = int(lengths[0])
    if (lengths != length).any():
        return ListedTimes(labels, lengths)
    if (np.diff(labels) == length).all():
        return RegularTimes(int(labels[0]), length, len(labels))
    return ListedTimes(labels, length)


def _lengths(times: Times) -> NDArray[np.int64]:
    lengths = times.interval_us
    return lengths if isinstance(lengths, np.ndarray) else np.full(times.count, lengths, np.int64)
