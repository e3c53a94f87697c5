"""Demand schemes against the oracle, for meters of all sorts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from tests.support.energy.cases import MINUTE_US
from tests.support.energy.random_meters import STATUSES, VALUELESS, RandomMeter, meters

from tallybook_engine.calendar.local_time import local_times
from tallybook_engine.decimals import UNIT
from tallybook_engine.demand.coincident_peak import CoincidentPeak, coincident_peak
from tallybook_engine.demand.load import Load
from tallybook_engine.demand.monthly_peaks import MeanOfMonthlyPeaks, mean_of_monthly_peaks
from tallybook_engine.demand.ratchet import Ratchet, billing_demand, ratchet
from tallybook_engine.demand.reactive import ExcessReactive, _is_above, excess_reactive, power_factor_of
from tallybook_engine.demand.rolling import RollingDemand, rolling_demand
from tallybook_engine.demand.scheme import Demand
from tallybook_engine.demand.top_peaks import MeanOfTopPeaks, mean_of_top_peaks
from tallybook_engine.demand.windows import NO_WINDOW, windows_of
from tallybook_engine.determinants.configuration import ChannelClassifier, Label
from tallybook_engine.determinants.quality import DEFAULT_QUALITY
from tallybook_engine.determinants.readings import ListedTimes, Readings
from tallybook_engine.kernels.wide import from_limbs, to_limbs
from tallybook_oracle import demand as oracle
from tallybook_oracle.determinants import OracleRequest, is_taken
from tallybook_oracle.local_time import month_starts

HOUR_US = 60 * MINUTE_US


def load_of(meter: RandomMeter) -> Load:
    return Load("load", meter.readings, meter.classifier, DEFAULT_QUALITY, meter.zone, meter.start_us, meter.end_us)


def intervals_of(meter: RandomMeter) -> list[oracle.OracleInterval]:
    """Energy in units of scale 12, so that powers compare with the engine's as they are."""
    request = OracleRequest(meter.zone, meter.start_us, meter.end_us, meter.classifier.label.value, STATUSES)
    found = []
    for row in range(meter.readings.times.count):
        label, length = meter.readings.label(row), meter.readings.length_us(row)
        if is_taken(request, label) and STATUSES[int(meter.readings.quality[row])] not in VALUELESS:
            start = label - length if meter.classifier.label is Label.END else label
            value = Fraction(int(meter.readings.values[row]) * 10 ** (12 - meter.classifier.decimal_places))
            found.append(oracle.OracleInterval(start, length, value))
    return found


def within(found: list[oracle.OracleMean], start_us: int, end_us: int, window_us: int) -> list[oracle.OracleMean]:
    return [each for each in found if start_us <= each.start_us and each.start_us + window_us <= end_us]


def nearest(value: Fraction) -> int:
    """Half away from zero."""
    size = abs(value) + Fraction(1, 2)
    return int(size) if value >= 0 else -int(size)


def months_of(meter: RandomMeter) -> Iterator[tuple[int, int]]:
    yield from pairwise([*month_starts(meter.zone, meter.start_us, meter.end_us), meter.end_us])


def positive_period(meter: RandomMeter) -> RandomMeter:
    assume(meter.start_us < meter.end_us)
    return meter


loads = meters(small=True).map(positive_period)


@settings(max_examples=40)
@given(loads, st.sampled_from([15, 30, 60, 90, 120]), st.booleans())
def test_rolling_and_block_demand_are_the_oracles(meter, minutes, is_block):
    window_us = minutes * MINUTE_US
    assume(not is_block or 1_440 % minutes == 0)
    found = oracle.windows(intervals_of(meter), window_us)
    if is_block:
        found = oracle.blocks(meter.zone, found, window_us)
    demands = list(rolling_demand(RollingDemand(window_us, is_block), load_of(meter), split_by_month=True))
    periods = [(meter.start_us, meter.end_us), *months_of(meter)]
    assert [(each.start_us, each.end_us) for each in demands] == periods
    for demand, (start, end) in zip(demands, periods, strict=True):
        inside = within(found, start, end, window_us)
        best = oracle.largest(inside)
        if best is None:
            assert (demand.value, demand.peaks) == (None, ())
            continue
        assert demand.value == nearest(best.power)
        (peak,) = demand.peaks
        assert peak.start_us == best.start_us
        assert peak.occurrence_count == sum(each.power == best.power for each in inside)


@settings(max_examples=40)
@given(
    loads,
    st.integers(1, 4),
    st.sampled_from([0, UNIT // 2, UNIT, 3 * UNIT]),
    st.sampled_from([(0, 0), (22, 6), (6, 12)]),
)
def test_the_mean_of_top_peaks_is_the_oracles(meter, count, share, hours):
    first, last = hours
    scheme = MeanOfTopPeaks(count, HOUR_US, True, share, first * 60, last * 60)
    span = None if first == last else range(first, last if last > first else last + 24)
    found = oracle.blocks(meter.zone, oracle.windows(intervals_of(meter), HOUR_US), HOUR_US)
    for demand, (start, end) in zip(mean_of_top_peaks(scheme, load_of(meter)), months_of(meter), strict=True):
        inside = within(found, start, end, HOUR_US)
        expected = oracle.mean_of_top(meter.zone, inside, count, Fraction(share, UNIT), span)
        if expected is None or demand.value is None:
            assert (demand.value, expected) == (None, None)
        else:
            # Both the powers and their mean are rounded here.
            assert abs(demand.value - expected) <= 1


@settings(max_examples=40)
@given(loads, st.lists(st.one_of(st.none(), st.integers(0, 10**15)), max_size=14), st.integers(1, 13))
def test_monthly_peaks_and_the_ratchet_are_the_oracles(meter, history, month_count):
    load = load_of(meter)
    floor = 5 * UNIT
    shares = tuple(UNIT // (1 + month) for month in range(12))
    in_full = tuple(month % 3 == 0 for month in range(12))
    means = list(mean_of_monthly_peaks(MeanOfMonthlyPeaks(month_count, floor), load, history))
    ratchets = list(ratchet(Ratchet(month_count - 1, shares, in_full, floor), load, history))
    peaks = list(history)
    for mean, demand, (start, end) in zip(means, ratchets, months_of(meter), strict=True):
        assert isinstance(mean, Demand)
        assert mean.peaks == demand.peaks
        peaks.append(own_peak(meter, start, end))
        known = [Fraction(peak) for peak in peaks[-month_count:] if peak is not None]
        if not known:
            assert mean.value is None
            assert demand.value is None
            continue
        assert mean.value == nearest(oracle.mean_of_monthly_peaks(known, Fraction(floor), month_count))
        if None not in peaks[-month_count:]:
            month = int(local_times(meter.zone, np.array([start])).month[0]) % 12 + 1
            expected = oracle.ratchet(
                known, month, month_count - 1, [Fraction(share, UNIT) for share in shares], in_full, Fraction(floor)
            )
            assert demand.value == nearest(expected)


def own_peak(meter: RandomMeter, start: int, end: int) -> int | None:
    """The month's largest power, of the intervals that begin in it; the first month has what reaches into it."""
    powers = [
        each.energy * HOUR_US / each.length_us
        for each in intervals_of(meter)
        if (start <= each.start_us or start == meter.start_us) and each.start_us < end
    ]
    return nearest(max(powers)) if powers else None


@settings(max_examples=40)
@given(loads, st.integers(1, 4), st.integers(0, 2), st.randoms())
def test_coincident_peaks_are_the_oracles(meter, count, days_apart, random):
    order = list(range(meter.readings.times.count))
    random.shuffle(order)
    shuffled = replace(meter.readings, values=meter.readings.values[order])
    system = replace(meter, readings=shuffled)
    scheme = CoincidentPeak("system", (), count, days_apart, HOUR_US)
    found = oracle.windows(intervals_of(system), HOUR_US)
    starts = oracle.spread_peaks(meter.zone, found, count, days_apart, HOUR_US)
    starts = [start for start in starts if meter.start_us <= start < meter.end_us]
    own = {each.start_us: each.power for each in oracle.windows(intervals_of(meter), HOUR_US)}
    expected = [own[start] for start in starts if start in own]
    asked: list[tuple[CoincidentPeak, Load | None]] = [(scheme, load_of(system))]
    if starts:
        asked.append((CoincidentPeak(None, tuple(starts), block_us=HOUR_US), None))
    for each, of in asked:
        (demand,) = coincident_peak(each, load_of(meter), of)
        assert [peak.start_us for peak in demand.peaks] == [start for start in starts if start in own]
        if expected:
            # Both the powers and their mean are rounded here.
            assert demand.value is not None
            assert abs(demand.value - sum(expected, Fraction(0)) / len(expected)) <= 1
        else:
            assert demand.value is None


@settings(max_examples=60)
@given(loads, st.sampled_from(["kWh", "kW"]), st.integers(0, 12), st.sampled_from([1, 7, 60]), st.booleans())
def test_windows_rank_by_rounded_power_and_then_by_time(meter, unit, places, minutes, is_narrow):
    values = meter.readings.values
    readings = replace(meter.readings, values=values % 3 - 1 if is_narrow else values)
    load = replace(load_of(meter), classifier=ChannelClassifier("c", unit, places), readings=readings)
    assume(abs(readings.values).max(initial=0) * 10 ** (12 - places) < 10**24)
    windows = windows_of(load, minutes * MINUTE_US)
    filled = np.flatnonzero(windows.end_row != NO_WINDOW)
    ranked = windows.ranking(filled).tolist()
    assert ranked == sorted(filled.tolist(), key=lambda window: (-windows.power(window), window))


def test_sums_that_round_to_one_power_go_by_time():
    """Steps of 7 us of a power of 12 decimals: windows whose sums differ by less than a window are one power."""
    times = ListedTimes(np.arange(1, 1_001) * 7, 7)
    values = np.random.default_rng(5).integers(-3, 3, 1_000)
    load = Load(
        "load",
        Readings(times, values, np.zeros(1_000, np.uint8)),
        ChannelClassifier("c", "kW", 12),
        DEFAULT_QUALITY,
        "UTC",
        0,
        7_000,
    )
    windows = windows_of(load, 700)
    filled = np.flatnonzero(windows.end_row != NO_WINDOW)
    assert len(filled) == 901
    ranked = windows.ranking(filled).tolist()
    assert ranked == sorted(filled.tolist(), key=lambda window: (-windows.power(window), window))
    sums = [from_limbs(windows.low[window], windows.high[window]) for window in ranked]
    assert sums != sorted(sums, reverse=True), "by the sums alone it would be another order"


factors = st.integers(0, 10**39)
values = st.integers(-(2**63) + 1, 2**63 - 1)


@given(values, factors.filter(bool), values, factors)
@example(1, 1, -1, 0)
@example(0, 1, -1, 0)
@example(-1, 10**39, -1, 10**39)
@example(2**63 - 1, 2**189, 2**63 - 1, 2**189 - 1)
def test_products_of_intervals_are_compared_exactly(a, a_factor, b, b_factor):
    limbs = [np.array(to_limbs(each, 3), dtype=np.uint64) for each in (a_factor, b_factor)]
    assert bool(_is_above(np.int64(a), limbs[0], np.int64(b), limbs[1])) == (a * a_factor > b * b_factor)


@settings(max_examples=40)
@given(loads, loads, st.sampled_from([0, UNIT // 2, UNIT * 4 // 10, 2 * UNIT]))
def test_excess_reactive_energy_adds_up(meter, other, ratio):
    drawn = replace(other, zone=meter.zone, start_us=meter.start_us, end_us=meter.end_us)
    active, reactive = intervals_of(meter), intervals_of(drawn)
    whole = (
        sum((each.energy for each in reactive), Fraction(0))
        - ratio * sum((each.energy for each in active), Fraction(0)) / UNIT
    )
    scheme = ExcessReactive("reactive", ratio)
    (demand,) = excess_reactive(scheme, load_of(meter), load_of(drawn), split_by_month=False)
    assert demand.value == nearest(max(Fraction(0), whole))
    by_start = {(each.start_us, each.length_us): each.energy for each in active}
    expected = sum(
        (
            max(Fraction(0), each.energy - by_start[(each.start_us, each.length_us)] * ratio / UNIT)
            for each in reactive
            if (each.start_us, each.length_us) in by_start
        ),
        Fraction(0),
    )
    parts = excess_reactive(replace(scheme, is_by_interval=True), load_of(meter), load_of(drawn), split_by_month=True)
    interval_wise, *by_month = list(parts)
    assert interval_wise.value == nearest(expected)
    assert abs(sum(each.value or 0 for each in by_month) - expected) <= len(by_month)


@given(st.integers(-(10**30), 10**30), st.integers(-(10**30), 10**30))
def test_a_power_factor_is_rounded_right(active, reactive):
    found = power_factor_of(active, reactive)
    if active == reactive == 0 or found is None:
        assert (active, reactive, found) == (0, 0, None)
        return
    # |found - factor| <= 1/2 at scale 12, squared so that no root is drawn
    squares = active * active + reactive * reactive
    low, high = 2 * abs(found) - 1, 2 * abs(found) + 1
    wanted = 4 * active * active * UNIT * UNIT
    assert low <= 0 or low * low * squares <= wanted
    assert wanted <= high * high * squares
    assert found == 0 or (found < 0) == (active < 0)


@given(st.lists(st.integers(0, 10**15), min_size=1, max_size=20), st.integers(1, 12))
def test_a_ratchet_of_whole_shares_is_the_largest_peak(peaks, month):
    assert billing_demand(Ratchet(len(peaks)), peaks, month) == max(peaks)
