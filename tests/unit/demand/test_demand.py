"""Demand schemes, each by a table."""

from __future__ import annotations

import numpy as np
import pytest
from tests.support.energy.cases import MINUTE_US, instant_us

from tallybook_engine.decimals import UNIT
from tallybook_engine.demand.coincident_peak import CoincidentPeak
from tallybook_engine.demand.model import DemandScheme
from tallybook_engine.demand.monthly_peaks import MeanOfMonthlyPeaks, mean_of_peaks
from tallybook_engine.demand.ratchet import Ratchet, billing_demand
from tallybook_engine.demand.reactive import ExcessReactive, PowerFactor, power_factor_of
from tallybook_engine.demand.rolling import RollingDemand
from tallybook_engine.demand.scheme import SchemeFault
from tallybook_engine.demand.time_of_use import TimeOfUseDemand
from tallybook_engine.demand.top_peaks import MeanOfTopPeaks
from tallybook_engine.determinants.calculate import calculate
from tallybook_engine.determinants.configuration import (
    ChannelClassifier,
    Days,
    HolidayCalendar,
    Label,
    TimesliceGroup,
    TimesliceInterval,
)
from tallybook_engine.determinants.quality import DEFAULT_QUALITY
from tallybook_engine.determinants.readings import ListedTimes, Readings, RegularTimes
from tallybook_engine.determinants.request import (
    BillingConfiguration,
    BillingRequest,
    DemandRequest,
    OnInvalid,
    RequestFault,
)
from tallybook_engine.determinants.result import Determinant, Reason, Result

QUARTER_US = 15 * MINUTE_US
HOUR_US = 60 * MINUTE_US
ZONE = "Europe/Oslo"
START = instant_us("2025-01-31T23:00Z")
GROUP = TimesliceGroup("group", (TimesliceInterval("DAY", Days.DAILY, 6 * 60, 22 * 60),))
CONFIGURATION = BillingConfiguration(
    {
        "energy": ChannelClassifier("energy", "kWh", 0, Label.BEGIN),
        "power": ChannelClassifier("power", "kW", 0, Label.BEGIN),
        "reactive": ChannelClassifier("reactive", "kvarh", 0, Label.BEGIN),
    },
    {"group": GROUP},
    HolidayCalendar("none", 1, frozenset()),
)


def readings(values: list[int], interval_us: int, missing: tuple[int, ...] = ()) -> Readings:
    quality = np.zeros(len(values), np.uint8)
    quality[list(missing)] = DEFAULT_QUALITY.code("missing")
    return Readings(RegularTimes(START, interval_us, len(values)), np.array(values, dtype=np.int64), quality)


def asked_of(
    scheme: DemandScheme,
    channel: str = "energy",
    days: int = 1,
    history: tuple[int | None, ...] = (),
    **columns: Readings,
) -> Result:
    asked = BillingRequest(
        "meter",
        START,
        START + days * 24 * HOUR_US,
        ZONE,
        (),
        (DemandRequest("scheme", channel, scheme, history),),
        on_invalid=OnInvalid.REPORT,
    )
    outcome = calculate(asked, columns, CONFIGURATION)
    assert isinstance(outcome, Result)
    return outcome


def demands(
    scheme: DemandScheme,
    channel: str = "energy",
    days: int = 1,
    history: tuple[int | None, ...] = (),
    **columns: Readings,
) -> list[Determinant]:
    return list(asked_of(scheme, channel, days, history, **columns).determinants)


# A peak of an hour that begins at the quarter: blocks cut it in two.
SHIFTED = [1, 1, 1, 5, 5, 5, 5, 1, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("scheme", "value", "peak_start"),
    [
        (RollingDemand(HOUR_US), 20, 3),
        (RollingDemand(HOUR_US, is_block=True), 16, 4),
        (RollingDemand(2 * QUARTER_US), 20, 3),
        (RollingDemand(2 * QUARTER_US, is_block=True), 20, 4),
        (RollingDemand(QUARTER_US), 20, 3),
    ],
)
def test_a_rolling_window_finds_what_blocks_cut(scheme, value, peak_start):
    (demand,) = demands(scheme, energy=readings(SHIFTED, QUARTER_US))
    assert (demand.value, demand.unit) == (value * UNIT, "kW")
    assert demand.peaks[0].start_us == START + peak_start * QUARTER_US
    assert demand.peaks[0].end_us == demand.peaks[0].start_us + scheme.window_us
    assert demand.counts is not None
    assert (demand.counts.expected, demand.counts.present, demand.counts.missing) == (96, 12, 84)
    # Power in a channel is averaged, energy is added up
    (demand,) = demands(scheme, "power", power=readings([4 * each for each in SHIFTED], QUARTER_US))
    assert demand.value == value * UNIT


def test_a_window_with_a_gap_does_not_count():
    (demand,) = demands(RollingDemand(HOUR_US), energy=readings(SHIFTED, QUARTER_US, missing=(5,)))
    assert demand.value == (1 + 1 + 5 + 5) * UNIT
    (demand,) = demands(RollingDemand(4 * HOUR_US), energy=readings(SHIFTED, QUARTER_US))
    assert (demand.value, demand.peaks) == (None, ())


def hourly(peaks: dict[int, int], days: int) -> Readings:
    values = [1] * (24 * days)
    for hour, value in peaks.items():
        values[hour] = value
    return readings(values, HOUR_US)


@pytest.mark.parametrize(
    ("scheme", "value", "hours"),
    [
        # The second best hour of the first day gives way to the best of others
        (MeanOfTopPeaks(), (12 + 9 + 6) * UNIT // 3, [10, 30, 58]),
        (MeanOfTopPeaks(on_different_days=False), 10_666_666_666_667, [10, 11, 30]),
        (MeanOfTopPeaks(1), 12 * UNIT, [10]),
        (MeanOfTopPeaks(2), 21 * UNIT // 2, [10, 30]),
        # 10:00 of the first day counts half: its 11:00 is then its best
        (MeanOfTopPeaks(1, share=UNIT // 2, share_start_minute=600, share_end_minute=660), 11 * UNIT, [11]),
    ],
)
def test_the_highest_days_count(scheme, value, hours):
    (demand,) = demands(scheme, days=3, energy=hourly({10: 12, 11: 11, 30: 9, 58: 6}, 3))
    assert demand.value == value
    assert [peak.start_us for peak in demand.peaks] == [START + hour * HOUR_US for hour in hours]


def test_the_night_counts_half_over_midnight():
    scheme = MeanOfTopPeaks(1, share=UNIT // 2, share_start_minute=22 * 60, share_end_minute=6 * 60)
    (demand,) = demands(scheme, energy=hourly({23: 8, 5: 10, 12: 4}, 1))
    assert demand.value == 5 * UNIT
    (demand,) = demands(scheme, energy=hourly({23: 8, 5: 10, 12: 6}, 1))
    assert demand.value == 6 * UNIT


def test_fewer_days_than_peaks_are_the_days_there_are():
    outcome = asked_of(MeanOfTopPeaks(), days=2, energy=hourly({3: 5, 30: 8}, 2))
    (demand,) = outcome.determinants
    assert demand.value == 13 * UNIT // 2
    # And that is told
    (remark,) = outcome.remarks
    assert (remark.reason, remark.channel, remark.start_us, remark.end_us) == (
        Reason.FEWER_PEAKS,
        "energy",
        demand.start_us,
        demand.end_us,
    )
    assert remark.detail == "demand scheme: 3 peaks are asked for, and there are 2"
    assert outcome.is_billable
    assert asked_of(MeanOfTopPeaks(), days=3, energy=hourly({3: 5, 30: 8}, 3)).remarks == ()


@pytest.mark.parametrize(
    ("peaks", "value"),
    [([1, 5], 3_750_000_000_000), ([None, 5], 5 * UNIT), ([4, 4, 4, 8], 16 * UNIT // 3 + 1), ([None], None)],
)
def test_the_mean_of_monthly_peaks_has_a_floor_and_a_length(peaks, value):
    scheme = MeanOfMonthlyPeaks(3, 2_500_000_000_000)
    found = mean_of_peaks(scheme, [None if peak is None else peak * UNIT for peak in peaks])
    assert found is None if value is None else abs(found - value) <= 1


def test_monthly_peaks_go_on_from_the_history():
    (demand,) = demands(MeanOfMonthlyPeaks(3), history=(99 * UNIT, 2 * UNIT, None), energy=hourly({7: 8}, 1))
    assert demand.value == 5 * UNIT
    assert demand.peaks[0].start_us == START + 7 * HOUR_US


@pytest.mark.parametrize(
    ("scheme", "peaks", "month", "value"),
    [
        (Ratchet(11, (UNIT * 8 // 10,)), [100, 50], 2, 80),
        (Ratchet(11, (UNIT * 8 // 10,)), [100, 90], 2, 90),
        (Ratchet(1, (UNIT * 8 // 10,)), [100, 50, 30], 3, 40),
        (Ratchet(11, (UNIT * 8 // 10,), (False,)), [90], 1, 72),
        (Ratchet(11, (UNIT * 8 // 10,), minimum=100 * UNIT), [90], 1, 100),
        (Ratchet(11), [None, 7], 1, 7),
        (Ratchet(11), [None], 1, None),
        # December's share is December's peak's
        (Ratchet(1, (UNIT, *[0] * 10, UNIT // 2), (False,)), [60, 10], 1, 30),
        (Ratchet(1, (0,) * 12, (True, *[False] * 11)), [60, 10], 1, 10),
        # June's at six tenths, and July's own at seven
        (Ratchet(1, tuple(UNIT * month // 10 for month in range(1, 13)), (False,)), [100, 50], 7, 60),
        (Ratchet(0, tuple(UNIT * month // 10 for month in range(1, 13)), (False,)), [100, 50], 7, 35),
        # Eleven months, if nothing is said, and no minimum
        (Ratchet(), [50, *[1] * 11], 12, 50),
        (Ratchet(), [50, *[1] * 12], 1, 1),
        (Ratchet(), [0], 1, 0),
    ],
)
def test_a_ratchet_looks_back(scheme, peaks, month, value):
    found = billing_demand(scheme, [None if peak is None else peak * UNIT for peak in peaks], month)
    assert found == (None if value is None else value * UNIT)


def test_a_ratchet_takes_the_share_of_the_month_that_is_asked_for():
    of_february = (0, UNIT // 2, *[0] * 10)
    (demand,) = demands(Ratchet(0, of_february, (False,)), energy=hourly({7: 8}, 1))
    assert demand.value == 4 * UNIT


def test_a_ratchet_goes_on_from_the_history():
    (demand,) = demands(Ratchet(2, (UNIT // 2,)), history=(30 * UNIT, 10 * UNIT), energy=hourly({7: 8}, 1))
    assert demand.value == 15 * UNIT


@pytest.mark.parametrize(
    ("scheme", "value", "hours"),
    [
        (CoincidentPeak("power"), 3, [5]),
        (CoincidentPeak("power", count=2, days_apart=0), 4, [5, 6]),
        (CoincidentPeak("power", count=2), 5, [5, 30]),
        (CoincidentPeak("power", count=2, days_apart=2), 6, [5, 60]),
        (CoincidentPeak(None, (START + 6 * HOUR_US, START + 60 * HOUR_US)), 7, [6, 60]),
        # A published peak outside of the period, and one at which the load has no value
        (CoincidentPeak(None, (START - HOUR_US, START + 6 * HOUR_US, START + 71 * HOUR_US)), 5, [6]),
    ],
)
def test_the_load_at_the_systems_peaks_counts(scheme, value, hours):
    load = [1] * 72
    load[5], load[6], load[30], load[60] = 3, 5, 7, 9
    (demand,) = demands(
        scheme,
        days=3,
        energy=readings(load, HOUR_US, missing=(71,)),
        power=hourly({5: 90, 6: 85, 30: 80, 60: 70}, 3),
    )
    assert demand.value == value * UNIT
    assert [peak.start_us for peak in demand.peaks] == [START + hour * HOUR_US for hour in hours]


def test_demand_by_window_is_one_a_slice():
    found = demands(TimeOfUseDemand("group"), energy=hourly({7: 8, 23: 9}, 1))
    assert [(each.slice, each.value) for each in found] == [("DAY", 8 * UNIT), ("UNCOVERED", 9 * UNIT)]
    assert [each.counts and (each.counts.expected, each.counts.present) for each in found] == [(16, 16), (8, 8)]
    assert [each.billing_channel for each in found] == [
        "BILLING_energy_DEMAND_scheme_DAY",
        "BILLING_energy_DEMAND_scheme_UNCOVERED",
    ]


@pytest.mark.parametrize(
    ("by_interval", "value"),
    [(False, 2), (True, 3)],
)
def test_reactive_energy_above_the_free_share_counts(by_interval, value):
    (demand,) = demands(
        ExcessReactive("reactive", UNIT // 2, by_interval),
        energy=readings([4, 4], HOUR_US),
        reactive=readings([1, 5], HOUR_US),
    )
    assert (demand.value, demand.unit) == (value * UNIT, "kvarh")


def test_a_power_factor_is_active_over_apparent():
    (demand,) = demands(PowerFactor("reactive"), energy=readings([4], HOUR_US), reactive=readings([3], HOUR_US))
    assert (demand.value, demand.unit) == (8 * UNIT // 10, "1")
    assert power_factor_of(1, 1) == 707_106_781_187
    assert power_factor_of(0, 0) is None
    assert power_factor_of(0, 5) == 0
    assert power_factor_of(-3, 4) == -600_000_000_000


ALL = [
    RollingDemand(HOUR_US),
    RollingDemand(HOUR_US, is_block=True),
    MeanOfTopPeaks(),
    MeanOfMonthlyPeaks(),
    Ratchet(),
    CoincidentPeak("power"),
    CoincidentPeak(None, (START,)),
    TimeOfUseDemand("group"),
    ExcessReactive("reactive"),
    ExcessReactive("reactive", is_by_interval=True),
    PowerFactor("reactive"),
]


NOT_A_MULTIPLE = [
    (RollingDemand(20 * MINUTE_US), "rolling.window: 1200 s"),
    (RollingDemand(QUARTER_US - 1, is_block=True), "rolling.window: 899.999999 s"),
    (MeanOfTopPeaks(block_us=10 * MINUTE_US), "mean_of_top_peaks.block: 600 s"),
    (CoincidentPeak(peak_starts_us=(START,), block_us=20 * MINUTE_US), "coincident_peak.block: 1200 s"),
    (CoincidentPeak("power", block_us=20 * MINUTE_US), "coincident_peak.block: 1200 s"),
]


@pytest.mark.parametrize(("scheme", "found"), NOT_A_MULTIPLE)
def test_a_window_that_no_intervals_fill_is_refused(scheme, found):
    quarters = readings(SHIFTED, QUARTER_US)
    expected = f"demands[0].{found} is no multiple of the 900 s of the intervals of channel 'energy'"
    with pytest.raises(RequestFault) as fault:
        demands(scheme, energy=quarters, power=quarters)
    assert str(fault.value).startswith(expected)
    # Intervals of several lengths may fill it
    lengths = np.array([10, 20, 10], dtype=np.int64) * MINUTE_US
    times = ListedTimes(START + np.array([0, 10, 30], dtype=np.int64) * MINUTE_US, lengths)
    uneven = Readings(times, np.ones(3, np.int64), np.zeros(3, np.uint8))
    assert demands(scheme, energy=uneven, power=uneven)


def test_a_window_is_measured_by_every_channel_that_it_lies_over():
    with pytest.raises(RequestFault, match="1800 s is no multiple of the 3600 s of the intervals of channel 'power'"):
        demands(
            CoincidentPeak("power", block_us=2 * QUARTER_US),
            energy=readings(SHIFTED, QUARTER_US),
            power=readings([1, 2], HOUR_US),
        )


@pytest.mark.parametrize("scheme", ALL)
@pytest.mark.parametrize("days", [0, 1])
def test_without_readings_there_is_no_demand(scheme, days):
    for found in (demands(scheme, days=days), demands(scheme, days=days, energy=readings([], HOUR_US))):
        assert {each.value for each in found} == {0 if isinstance(scheme, ExcessReactive) else None}
        assert {(each.quality, each.peaks) for each in found} == {(None, ())}


@pytest.mark.parametrize(
    "make",
    [
        lambda: RollingDemand(0),
        lambda: MeanOfTopPeaks(0),
        lambda: MeanOfTopPeaks(share_start_minute=1_440),
        lambda: MeanOfMonthlyPeaks(0),
        lambda: MeanOfMonthlyPeaks(floor=-1),
        lambda: Ratchet(-1),
        lambda: Ratchet(shares=(1, 2)),
        lambda: CoincidentPeak(),
        lambda: CoincidentPeak("system", (1,)),
        lambda: ExcessReactive("reactive", -1),
    ],
)
def test_options_that_make_no_sense_are_refused(make):
    with pytest.raises(SchemeFault):
        make()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: MeanOfTopPeaks(share=-UNIT), "share is at least 0, not -1"),
        (lambda: MeanOfMonthlyPeaks(floor=-1), "floor is at least 0, not -0.000000000001"),
        (lambda: Ratchet(minimum=-UNIT // 2), "minimum is at least 0, not -0.5"),
        (lambda: Ratchet(shares=(-UNIT,)), "shares is at least 0, not -1"),
        (lambda: ExcessReactive("reactive", -2 * UNIT), "ratio is at least 0, not -2"),
    ],
)
def test_a_fault_says_numbers_as_they_were_given(make, said):
    with pytest.raises(SchemeFault) as refused:
        make()
    assert str(refused.value) == said
