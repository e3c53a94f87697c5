"""Readings of one channel, as columns: values scaled by the channel's decimal places, quality codes, timestamps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

MAX_DECIMAL_PLACES = 12
"""A channel's values have at most this many decimals, as quantities do."""

MAX_INTERVAL_US = 366 * 86_400_000_000
"""Longest interval, a leap year."""
FIRST_LABEL_US = -(2**56)
"""Earliest timestamp, in the year 314 before our era; instants that the calendar has lie well inside."""
LAST_LABEL_US = 2**58
"""Latest timestamp, in the year 11,104."""

Instants = NDArray[np.int64]


class ReadingsFault(ValueError):
    """Columns that are no readings: of other shapes, unsorted, with a timestamp twice, of unknown status."""


class ChannelReadingsFault(ReadingsFault):
    """A fault of one channel's readings, which it names."""

    def __init__(self, channel: str, reason: str) -> None:
        super().__init__(f"channel {channel!r}: {reason}")
        self.channel = channel
        self.reason = reason


@contextmanager
def faults_of(channel: str) -> Iterator[None]:
    """A ReadingsFault from inside names the channel."""
    try:
        yield
    except ReadingsFault as fault:
        raise ChannelReadingsFault(channel, str(fault)) from None


def _check_bounds(first_us: int, last_us: int) -> None:
    if not FIRST_LABEL_US <= first_us <= last_us <= LAST_LABEL_US:
        raise ReadingsFault(f"timestamps {first_us} .. {last_us} are not within {FIRST_LABEL_US} .. {LAST_LABEL_US}")


def _check_length(shortest_us: int, longest_us: int) -> None:
    if shortest_us <= 0 or longest_us > MAX_INTERVAL_US:
        raise ReadingsFault(f"an interval's length is above 0 and at most {MAX_INTERVAL_US} microseconds")


@dataclass(frozen=True)
class RegularTimes:
    """Labels on a grid, none left out."""

    first_us: int
    """The first label, microseconds since the epoch."""
    interval_us: int
    """From one label to the next, and the length of each interval; above 0."""
    count: int

    def __post_init__(self) -> None:
        _check_bounds(self.first_us, self.first_us + self.interval_us * max(0, self.count - 1))
        _check_length(self.interval_us, self.interval_us)
        if self.count < 0:
            raise ReadingsFault("a grid has no fewer than 0 timestamps")


@dataclass(frozen=True)
class ListedTimes:
    """Labels one by one, strictly ascending: a grid with holes, or intervals of any lengths."""

    labels_us: Instants
    """int64[n] microseconds since the epoch, strictly ascending."""
    interval_us: int | Instants
    """Length of each interval, above 0: one for all, or int64[n]. A register's has no meaning; give 1."""

    def __post_init__(self) -> None:
        labels, lengths = self.labels_us, self.interval_us
        if labels.dtype != np.int64 or labels.ndim != 1:
            raise ReadingsFault(f"labels are int64[n], not {labels.dtype}{list(labels.shape)}")
        steps = np.diff(labels)
        if (steps < 0).any():
            raise ReadingsFault(
                f"timestamps are not sorted: row {int(np.argmax(steps < 0)) + 1} lies before its neighbour"
            )
        if (steps == 0).any():
            raise ReadingsFault(f"a timestamp stands twice, at row {int(np.argmax(steps == 0)) + 1}")
        if len(labels):
            _check_bounds(int(labels[0]), int(labels[-1]))
        if isinstance(lengths, np.ndarray):
            if lengths.dtype != np.int64 or lengths.shape != labels.shape:
                raise ReadingsFault(f"lengths are int64[n] beside n labels, not {lengths.dtype}{list(lengths.shape)}")
            if len(lengths):
                _check_length(int(lengths.min()), int(lengths.max()))
        else:
            _check_length(lengths, lengths)

    @property
    def count(self) -> int:
        """Number of labels."""
        return len(self.labels_us)


Times = RegularTimes | ListedTimes


@dataclass(frozen=True)
class Readings:
    """One channel's readings, in rising order of time."""

    times: Times
    values: NDArray[np.int64] = field(repr=False)
    """int64[n] scaled by the channel's decimal places."""
    quality: NDArray[np.uint8] = field(repr=False)
    """uint8[n] codes of the quality table."""

    def __post_init__(self) -> None:
        count = self.times.count
        for name, array, dtype in (("values", self.values, np.int64), ("quality", self.quality, np.uint8)):
            if array.dtype != dtype or array.shape != (count,):
                shape = f"{array.dtype}{list(array.shape)}"
                raise ReadingsFault(f"{name} are {np.dtype(dtype)}[{count}] beside their timestamps, not {shape}")

    def label(self, row: int) -> int:
        """A row's timestamp as sent."""
        return label_of(self.times, row)

    def length_us(self, row: int) -> int:
        """Length of a row's interval."""
        lengths = self.times.interval_us
        return int(lengths[row]) if isinstance(lengths, np.ndarray) else lengths


def label_of(times: Times, row: int) -> int:
    """A row's timestamp as sent."""
    if isinstance(times, RegularTimes):
        return times.first_us + row * times.interval_us
    return int(times.labels_us[row])


def labels_between(times: Times, first: int, end: int) -> Instants:
    """int64[end - first] timestamps of the rows [first, end), as sent."""
    if isinstance(times, RegularTimes):
        return times.first_us + np.arange(first, end, dtype=np.int64) * times.interval_us
    return times.labels_us[first:end]


def no_readings(interval_us: int = 1) -> Readings:
    """A channel without any row."""
    return Readings(RegularTimes(0, interval_us, 0), np.empty(0, np.int64), np.empty(0, np.uint8))


def rows_between(times: Times, first_us: int, last_us: int) -> tuple[int, int]:
    """Rows [from, to) whose labels lie in ``first_us <= label < last_us``."""
    if isinstance(times, RegularTimes):
        return _grid_position(times, first_us), _grid_position(times, last_us)
    found = row_positions(times, np.array([first_us, last_us], dtype=np.int64))
    return int(found[0]), int(found[1])


def _grid_position(times: RegularTimes, instant_us: int) -> int:
    """`row_positions` of one instant: much quicker than an array."""
    return min(max(-((times.first_us - instant_us) // times.interval_us), 0), times.count)


def row_positions(times: Times, instants_us: Instants) -> Instants:
    """int64[m] for each instant the first row whose label is not before it."""
    if isinstance(times, RegularTimes):
        steps = -((times.first_us - instants_us) // times.interval_us)
        return np.clip(steps, 0, times.count)
    return np.searchsorted(times.labels_us, instants_us, side="left").astype(np.int64)
