"""Many meters at once: channels that share their timestamps, as rows of a matrix.

The calendar is laid out once, one pass reads all of it on as many threads as `spread` has, and each meter's answer is
the one that `calculate` gives it alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.determinants.accumulate import NO_ROW, Map, Totals, accumulate, empty_totals
from tallybook_engine.determinants.calculate import (
    Calculation,
    Scan,
    ScanKey,
    check_request,
    check_windows,
    expected_of,
)
from tallybook_engine.determinants.configuration import ChannelKind, Label
from tallybook_engine.determinants.interval import Frame, place
from tallybook_engine.determinants.parts import parts_of
from tallybook_engine.determinants.quality import QualityTable
from tallybook_engine.determinants.readings import ListedTimes, Readings, ReadingsFault, RegularTimes, faults_of
from tallybook_engine.determinants.request import BillingConfiguration, BillingRequest
from tallybook_engine.determinants.result import Cancellation, Result


@dataclass(frozen=True, eq=False)
class MeterMatrix:
    """One channel of c meters, n readings each."""

    times: RegularTimes | ListedTimes
    """Shared by all of them."""
    values: NDArray[np.int64] = field(repr=False)
    """int64[c, n], C-contiguous, scaled by the channel's decimal places."""
    quality: NDArray[np.uint8] = field(repr=False)
    """uint8[c, n], C-contiguous, codes of the quality table. A reading that one meter lacks is of a status without
    value there: it is then no gap but a row that may not be billed, unless the table says otherwise."""

    def __post_init__(self) -> None:
        shape = (len(self.values), self.times.count)
        for name, array, dtype in (("values", self.values, np.int64), ("quality", self.quality, np.uint8)):
            if array.dtype != dtype or array.shape != shape or not array.flags.c_contiguous:
                raise ReadingsFault(f"{name} are {np.dtype(dtype)}{list(shape)} in C order")

    def meter(self, index: int) -> Readings:
        """One meter's readings; no copy."""
        return Readings(self.times, self.values[index], self.quality[index])


def matrix_totals(
    frame: Frame, matrix: MeterMatrix, label: Label, quality: QualityTable, *, as_power: bool = False, spread: Map = map
) -> Totals:
    """Totals of all meters, shape [c, p, s]. Raises ReadingsFault for a code out of the table."""
    totals = empty_totals(len(matrix.values), frame.cell_count, len(frame.columns), len(quality.statuses))
    segments = place(frame, matrix.times, label)
    accumulate(matrix.values, matrix.quality, segments, quality.has_value(), totals, as_power=as_power, spread=spread)
    return totals


def whole_period(totals: Totals) -> Totals:
    """The cells of each meter together, shape [c, 1, s]; intervals are all of one length, or maxima are of values."""
    low, high = totals.sum_low[:, 0].copy(), totals.sum_high[:, 0].copy()
    best_value, best_length_us = totals.best_value[:, 0].copy(), totals.best_length_us[:, 0].copy()
    best_row, best_count = totals.best_row[:, 0].copy(), totals.best_count[:, 0].copy()
    for cell in range(1, totals.best_row.shape[1]):
        low += totals.sum_low[:, cell]
        # A sum that is below its part has carried.
        high += totals.sum_high[:, cell] + (low < totals.sum_low[:, cell])
        value, row = totals.best_value[:, cell], totals.best_row[:, cell]
        is_any = row != NO_ROW
        is_new = is_any & ((best_row == NO_ROW) | (value > best_value))
        is_tied = is_any & ~is_new & (value == best_value)
        best_count = np.where(is_new, totals.best_count[:, cell], best_count + totals.best_count[:, cell] * is_tied)
        best_value = np.where(is_new, value, best_value)
        best_length_us = np.where(is_new, totals.best_length_us[:, cell], best_length_us)
        best_row = np.where(is_new, row, best_row)
    whole = Totals(
        low,
        high,
        totals.row_count.sum(axis=1),
        totals.covered_us.sum(axis=1),
        best_value,
        best_length_us,
        best_row,
        best_count,
    )
    return Totals._make(array[:, np.newaxis] for array in whole)


def calculate_matrix(
    request: BillingRequest,
    datasources: Sequence[str],
    matrices: Mapping[str, MeterMatrix],
    configuration: BillingConfiguration,
    *,
    registers: Sequence[Mapping[str, Readings]] | None = None,
    spread: Map = map,
) -> Iterator[Result | Cancellation]:
    """The same request of many datasources of one configuration, answered in their order.

    `request.datasource` is not looked at. `matrices` are by name of channel, row i of each is `datasources[i]`;
    `registers[i]` are readings of registers of `datasources[i]`, which are taken when each is; a channel without an
    entry in either has no rows. All passes are made before the first answer. Raises as `calculate` does.
    """
    check_request(request, configuration)
    check_windows(request, {channel: each.times for channel, each in matrices.items()}, configuration)
    for matrix in matrices.values():
        if len(matrix.values) != len(datasources):
            raise ReadingsFault(f"a matrix of {len(matrix.values)} meters beside {len(datasources)} datasources")
    meters = [
        {
            **(registers[index] if registers else {}),
            **{channel: each.meter(index) for channel, each in matrices.items()},
        }
        for index in range(len(datasources))
    ]
    return _answers(request, datasources, matrices, meters, configuration, spread)


def _answers(
    request: BillingRequest,
    datasources: Sequence[str],
    matrices: Mapping[str, MeterMatrix],
    meters: Sequence[Mapping[str, Readings]],
    configuration: BillingConfiguration,
    spread: Map,
) -> Iterator[Result | Cancellation]:
    if not meters:
        return
    planned = Calculation(request, meters[0], configuration, spread)
    keys = [] if planned.calendar_faults() else planned.passes()
    passes: dict[ScanKey, tuple[Frame, Totals, list[list[int]] | None]] = {}
    for channel, group, as_power in keys:
        classifier = configuration.classifiers[channel]
        if channel not in matrices or classifier.kind is not ChannelKind.INTERVAL:
            continue
        matrix = matrices[channel]
        frame = planned.frame(matrix.times, group)
        with faults_of(channel):
            totals = matrix_totals(
                frame, matrix, classifier.label, configuration.quality, as_power=as_power, spread=spread
            )
        passes[(channel, group, as_power)] = frame, totals, expected_of(frame, matrix.times, classifier)
    for index, (datasource, readings) in enumerate(zip(datasources, meters, strict=True)):
        scans = {
            key: Scan(frame, parts_of(totals, index), expected, key[2])
            for key, (frame, totals, expected) in passes.items()
        }
        asked = replace(request, datasource=datasource)
        yield Calculation(asked, readings, configuration, map, scans).outcome()
