"""Many meters at once are answered as each alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from tests.support.energy.cases import instant_us
from tests.support.energy.small_meter import CONFIGURATION, HOUR_US, INTERVAL, PMAX, REGISTER, SLICES, ZONE, reads

from tallybook_engine.demand.rolling import RollingDemand
from tallybook_engine.determinants.accumulate import NO_ROW
from tallybook_engine.determinants.calculate import calculate
from tallybook_engine.determinants.configuration import Label
from tallybook_engine.determinants.interval import frame, period_frame
from tallybook_engine.determinants.matrix import MeterMatrix, calculate_matrix, matrix_totals, whole_period
from tallybook_engine.determinants.quality import DEFAULT_QUALITY
from tallybook_engine.determinants.readings import ListedTimes, ReadingsFault, RegularTimes
from tallybook_engine.determinants.request import BillingRequest, DemandRequest, OnInvalid
from tallybook_engine.determinants.result import Cancellation, Result

START, END = instant_us("2025-02-10T23:00Z"), instant_us("2025-04-05T22:00Z")
HOURS = (END - START) // HOUR_US
METERS = 5


def made(seed: int = 1) -> MeterMatrix:
    random = np.random.default_rng(seed)
    values = random.integers(-50, 50, (METERS, HOURS), dtype=np.int64)
    quality = np.zeros((METERS, HOURS), np.uint8)
    quality[1, 100:140] = DEFAULT_QUALITY.code("estimated")
    quality[2, ::7] = DEFAULT_QUALITY.code("missing")
    quality[3] = DEFAULT_QUALITY.code("missing")
    values[4] = 2**63 - 1
    return MeterMatrix(RegularTimes(START + HOUR_US, HOUR_US, HOURS), values, quality)


def registers() -> MeterMatrix:
    one = reads((START, 5), (END, 9))
    return MeterMatrix(one.times, np.tile(one.values, (METERS, 1)), np.tile(one.quality, (METERS, 1)))


@pytest.mark.parametrize("on_invalid", OnInvalid)
@pytest.mark.parametrize("splits", [False, True])
def test_every_meter_is_answered_as_it_is_alone(on_invalid, splits):
    matrices = {"energy": made(), "read": registers()}
    demand = DemandRequest("rolling", "energy", RollingDemand(2 * HOUR_US))
    request = BillingRequest("", START, END, ZONE, (INTERVAL, SLICES, PMAX, REGISTER), (demand,), splits, on_invalid)
    names = [f"meter {index}" for index in range(METERS)]
    with ThreadPoolExecutor(2) as executor:
        found = list(calculate_matrix(request, names, matrices, CONFIGURATION, spread=executor.map))
    assert len(found) == METERS
    for index, (name, outcome) in enumerate(zip(names, found, strict=True)):
        readings = {channel: matrix.meter(index) for channel, matrix in matrices.items()}
        assert outcome == calculate(replace(request, datasource=name), readings, CONFIGURATION)
    cancelled = [isinstance(outcome, Cancellation) for outcome in found]
    # 1,286 times the largest value does not fit; a row without a status that may be billed cancels by default
    assert cancelled == [False, False, on_invalid is OnInvalid.CANCEL, on_invalid is OnInvalid.CANCEL, True]


def test_nothing_is_asked_of_no_meters():
    empty = MeterMatrix(RegularTimes(START, HOUR_US, 1), np.zeros((0, 1), np.int64), np.zeros((0, 1), np.uint8))
    request = BillingRequest("", START, END, ZONE, (INTERVAL,))
    assert list(calculate_matrix(request, [], {"energy": empty}, CONFIGURATION)) == []


def test_meters_without_a_matrix_have_no_readings():
    request = BillingRequest("", START, END, ZONE, (INTERVAL,))
    (outcome,) = calculate_matrix(request, ["meter"], {}, CONFIGURATION)
    assert isinstance(outcome, Cancellation)


def test_the_whole_period_is_its_months_together():
    matrix = made()
    by_month = period_frame(ZONE, START, END, CONFIGURATION.timeslice_groups["group"])
    whole = frame(ZONE, by_month.cell_bounds[[0, -1]], CONFIGURATION.timeslice_groups["group"])
    found = whole_period(matrix_totals(by_month, matrix, Label.END, DEFAULT_QUALITY))
    expected = matrix_totals(whole, matrix, Label.END, DEFAULT_QUALITY)
    for name, column, other in zip(found._fields, found, expected, strict=True):
        kept = expected.best_row != NO_ROW
        # Where no row has a value its maximum has no meaning.
        assert np.array_equal(column[kept], other[kept]) if name.startswith("best") else np.array_equal(column, other)
    assert np.array_equal(found.best_row, expected.best_row)


def test_matrices_of_other_shapes_are_refused():
    times = ListedTimes(np.array([1, 2, 3], dtype=np.int64), 1)
    values, quality = np.zeros((2, 3), np.int64), np.zeros((2, 3), np.uint8)
    for make in (
        lambda: MeterMatrix(times, values[:, :2], quality),
        lambda: MeterMatrix(times, values, quality[:1]),
        lambda: MeterMatrix(times, values.astype(np.float64), quality),
        lambda: MeterMatrix(times, np.asfortranarray(values), quality),
    ):
        with pytest.raises(ReadingsFault):
            make()
    request = BillingRequest("", START, END, ZONE, (INTERVAL,))
    with pytest.raises(ReadingsFault):
        calculate_matrix(request, ["one"], {"energy": MeterMatrix(times, values, quality)}, CONFIGURATION)
    for codes in (
        np.full((METERS, HOURS), 7, np.uint8),
        np.arange(METERS * HOURS, dtype=np.uint8).reshape(METERS, HOURS),
    ):
        unknown = MeterMatrix(made().times, made().values, codes)
        with pytest.raises(ReadingsFault):
            matrix_totals(period_frame(ZONE, START, END), unknown, Label.END, DEFAULT_QUALITY)
    assert isinstance(next(calculate_matrix(request, ["a", "b"], {"energy": made_of_two()}, CONFIGURATION)), Result)


def made_of_two() -> MeterMatrix:
    matrix = made()
    return MeterMatrix(matrix.times, matrix.values[:2].copy(), matrix.quality[:2].copy())
