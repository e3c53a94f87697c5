"""The rule as a whole: what cancels, what is reported, what a request may not say, and what is answered."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from tests.support.energy.cases import MINUTE_US, instant_us
from tests.support.energy.small_meter import (
    CONFIGURATION,
    DAY,
    HOUR_US,
    INTERVAL,
    PMAX,
    REGISTER,
    SLICES,
    START,
    ZONE,
    hours,
    reads,
)

from tallybook_engine.calendar.zones import UnknownZone
from tallybook_engine.decimals import UNIT
from tallybook_engine.demand.reactive import PowerFactor
from tallybook_engine.demand.rolling import RollingDemand
from tallybook_engine.demand.time_of_use import TimeOfUseDemand
from tallybook_engine.determinants.billing_values import billing_values
from tallybook_engine.determinants.calculate import FIRST_INSTANT_US, LAST_INSTANT_US, MAX_PERIOD_US, calculate
from tallybook_engine.determinants.configuration import (
    UNCOVERED,
    ChannelClassifier,
    Days,
    HolidayCalendar,
    Label,
    TimesliceGroup,
    TimesliceInterval,
)
from tallybook_engine.determinants.kinds import Kind
from tallybook_engine.determinants.matrix import MeterMatrix, calculate_matrix
from tallybook_engine.determinants.message import billing_message, instant_text
from tallybook_engine.determinants.quality import DEFAULT_QUALITY, QualityStatus, QualityTable
from tallybook_engine.determinants.readings import (
    MAX_INTERVAL_US,
    ListedTimes,
    Readings,
    ReadingsFault,
    RegularTimes,
)
from tallybook_engine.determinants.request import (
    BillingConfiguration,
    BillingRequest,
    ChannelRequest,
    DemandRequest,
    OnInvalid,
    RequestFault,
)
from tallybook_engine.determinants.result import Cancellation, Determinant, Reason, Result


def request(*channels: ChannelRequest, **more) -> BillingRequest:
    return BillingRequest("meter", *DAY, ZONE, channels, **more)


def answered(outcome: Result | Cancellation) -> Result:
    assert isinstance(outcome, Result), outcome
    return outcome


def one(outcome: Result | Cancellation, kind: Kind, name: str | None = None) -> Determinant:
    (found,) = [each for each in answered(outcome).determinants if (each.kind, each.slice) == (kind, name)]
    return found


def test_a_day_of_hours_is_answered_whole():
    # Given a Friday of hours worth 1 to 24, one of them estimated
    codes = [0] * 24
    codes[9] = DEFAULT_QUALITY.code("estimated")
    outcome = calculate(request(INTERVAL, SLICES, PMAX), {"energy": hours(list(range(1, 25)), codes)}, CONFIGURATION)
    # Then the sums are those of the hours by their START, the overlap twice
    total = one(outcome, Kind.INTERVAL)
    assert (total.value, total.unit, total.quality) == (UNIT * 300 // 1000, "kWh", "estimated")
    assert total.counts is not None
    assert (total.counts.expected, total.counts.present, total.counts.missing) == (24, 24, 0)
    assert total.counts.by_status == (("measured", 23), ("estimated", 1))
    assert total.counts.coverage == UNIT
    assert one(outcome, Kind.TIMESLICE, "PEAK").value == UNIT * sum(range(9, 21)) // 1000
    assert one(outcome, Kind.TIMESLICE, "EVENING").value == UNIT * sum(range(19, 23)) // 1000
    assert one(outcome, Kind.TIMESLICE, "EVENING").quality == "measured"
    uncovered = [*range(1, 9), 23, 24]
    assert one(outcome, Kind.TIMESLICE, UNCOVERED).value == UNIT * sum(uncovered) // 1000
    # And the maximum is the last hour's, with the period's worst quality
    pmax = one(outcome, Kind.PMAX)
    assert (pmax.value, pmax.unit, pmax.quality) == (UNIT * 24 // 1000, "kW", "estimated")
    assert [(peak.start_us, peak.end_us, peak.quality) for peak in pmax.peaks] == [
        (DAY[1] - HOUR_US, DAY[1], "measured")
    ]
    assert answered(outcome).catalog_version == 17
    assert (answered(outcome).holiday_calendar, answered(outcome).holiday_calendar_version) == ("nl", 4)
    # Which is named only where slices were judged by it
    without_slices = answered(calculate(request(INTERVAL), {"energy": hours([1] * 24, [0] * 24)}, CONFIGURATION))
    assert (without_slices.holiday_calendar, without_slices.holiday_calendar_version) == (None, None)


def test_a_gap_is_counted_and_never_cancels():
    kept = np.array([0, 1, 5, 9])
    readings = Readings(
        ListedTimes(START + HOUR_US * (kept + 1), HOUR_US), kept + 1, np.zeros(len(kept), dtype=np.uint8)
    )
    counts = one(calculate(request(INTERVAL), {"energy": readings}, CONFIGURATION), Kind.INTERVAL).counts
    assert counts is not None
    assert (counts.expected, counts.present, counts.missing) == (24, 4, 20)
    assert counts.by_status == (("measured", 4),)
    assert counts.coverage == round(UNIT * 4 / 24)


def test_intervals_are_expected_where_the_readings_own_grid_has_them():
    # Given 40 minutes, and quarters of an hour that end 5, 20 and 35 minutes after their beginning
    labels = START + MINUTE_US * np.array([5, 20, 35])
    readings = Readings(ListedTimes(labels, 15 * MINUTE_US), np.ones(3, np.int64), np.zeros(3, dtype=np.uint8))
    asked = replace(request(INTERVAL), end_us=START + 40 * MINUTE_US)
    counts = one(calculate(asked, {"energy": readings}, CONFIGURATION), Kind.INTERVAL).counts
    # Then three are expected, where quarters from the period's beginning would be two
    assert counts is not None
    assert (counts.expected, counts.present, counts.missing, counts.coverage) == (3, 3, 0, UNIT)


def test_a_slice_that_has_more_than_is_expected_misses_none():
    # Given an hour that ends on the grid, and one that was read five minutes late, just inside the evening
    labels = START + np.array([HOUR_US, 20 * HOUR_US + 5 * MINUTE_US])
    readings = Readings(ListedTimes(labels, HOUR_US), np.ones(2, np.int64), np.zeros(2, dtype=np.uint8))
    group = TimesliceGroup("group", (TimesliceInterval("EVENING", Days.DAILY, 1_141, 1_150),))
    configuration = replace(CONFIGURATION, timeslice_groups={"group": group})
    counts = one(calculate(request(SLICES), {"energy": readings}, configuration), Kind.TIMESLICE, "EVENING").counts
    assert counts is not None
    assert (counts.expected, counts.present, counts.missing, counts.coverage) == (0, 1, 0, None)


def test_a_slice_may_have_more_than_one_times_what_is_expected():
    # Given an hour on the grid, and two late ones that both begin where the grid has one beginning, at 20:00
    labels = START + np.array([HOUR_US, 20 * HOUR_US + 6 * MINUTE_US, 21 * HOUR_US + 6 * MINUTE_US])
    readings = Readings(ListedTimes(labels, HOUR_US), np.ones(3, np.int64), np.zeros(3, dtype=np.uint8))
    group = TimesliceGroup("group", (TimesliceInterval("EVENING", Days.DAILY, 1_145, 1_255),))
    configuration = replace(CONFIGURATION, timeslice_groups={"group": group})
    counts = one(calculate(request(SLICES), {"energy": readings}, configuration), Kind.TIMESLICE, "EVENING").counts
    assert counts is not None
    assert (counts.expected, counts.present, counts.missing, counts.coverage) == (1, 2, 0, 2 * UNIT)


def test_intervals_that_reach_over_the_periods_beginning_may_cover_more_than_it():
    # Given an hour of which the first interval began before it
    lengths = np.array([90, 30]) * MINUTE_US
    times = ListedTimes(START + np.array([30, 60]) * MINUTE_US, lengths)
    readings = Readings(times, np.ones(2, np.int64), np.zeros(2, dtype=np.uint8))
    asked = replace(request(INTERVAL), end_us=START + HOUR_US)
    counts = one(calculate(asked, {"energy": readings}, CONFIGURATION), Kind.INTERVAL).counts
    assert counts is not None
    assert (counts.expected, counts.present, counts.missing, counts.coverage) == (None, 2, None, 2 * UNIT)


def test_a_demand_counts_the_intervals_of_its_own_slice_and_month():
    # Given 90 days of hours, the third of each hundred left out
    kept = np.array([hour for hour in range(90 * 24) if hour % 100 != 2])
    values = kept % 7 + 1
    readings = Readings(ListedTimes(START + HOUR_US * (kept + 1), HOUR_US), values, np.zeros(len(kept), np.uint8))
    demand = DemandRequest("peaks", "energy", TimeOfUseDemand("group"))
    asked = replace(request(SLICES, demands=(demand,), split_by_month=True), end_us=START + 90 * 24 * HOUR_US)
    outcome = answered(calculate(asked, {"energy": readings}, CONFIGURATION))
    # Then each demand stands beside the energy of the same slice and period, and counts the same intervals
    energy, demands = (
        {
            (each.slice, each.start_us, each.end_us, each.is_month): each.counts
            for each in outcome.determinants
            if each.kind is kind
        }
        for kind in (Kind.TIMESLICE, Kind.DEMAND)
    )
    assert len({(start, end) for _, start, end, _ in demands}) >= 4
    assert demands == energy


@pytest.mark.parametrize("status", [status.name for status in DEFAULT_QUALITY.statuses if not status.is_billable])
def test_a_row_that_may_not_be_billed_cancels_and_names_channel_period_and_reason(status):
    codes = [0] * 24
    codes[3] = DEFAULT_QUALITY.code(status)
    readings = {"energy": hours([1] * 24, codes), "read": reads((DAY[0], 5), (DAY[1], 9))}
    outcome = calculate(request(INTERVAL, REGISTER), readings, CONFIGURATION)
    assert isinstance(outcome, Cancellation)
    assert (outcome.datasource, outcome.start_us, outcome.end_us) == ("meter", *DAY)
    (cause,) = outcome.causes
    assert (cause.reason, cause.channel, cause.start_us, cause.end_us) == (Reason.NOT_BILLABLE, "energy", *DAY)
    assert f"1 {status}" in cause.detail
    # On request it is computed all the same, and the result says so
    reported = calculate(request(INTERVAL, REGISTER, on_invalid=OnInvalid.REPORT), readings, CONFIGURATION)
    assert answered(reported).remarks == (cause,)
    total = one(reported, Kind.INTERVAL)
    assert total.quality == status
    assert total.value == UNIT * (23 if status == "missing" else 24) // 1000


def test_everything_that_is_wrong_is_named_at_once():
    codes = [DEFAULT_QUALITY.code("edited")] * 24
    outcome = calculate(
        request(INTERVAL, ChannelRequest("power", Kind.PMAX), REGISTER),
        {"energy": hours([1] * 24, codes)},
        CONFIGURATION,
    )
    assert isinstance(outcome, Cancellation)
    assert [(cause.reason, cause.channel) for cause in outcome.causes] == [
        (Reason.NOT_BILLABLE, "energy"),
        (Reason.NO_READINGS, "power"),
        (Reason.NO_READINGS, "read"),
    ]
    assert outcome.reason is Reason.NOT_BILLABLE


def test_no_rows_are_zero_without_a_status_and_without_a_maximum_when_reported():
    outcome = calculate(request(INTERVAL, SLICES, PMAX, on_invalid=OnInvalid.REPORT), {}, CONFIGURATION)
    total, pmax = one(outcome, Kind.INTERVAL), one(outcome, Kind.PMAX)
    assert (total.value, total.quality) == (0, None)
    assert (pmax.value, pmax.quality, pmax.peaks) == (None, None, ())
    assert total.counts is not None
    assert (total.counts.expected, total.counts.missing, total.counts.coverage) == (24, 24, 0)
    assert {remark.reason for remark in answered(outcome).remarks} == {Reason.NO_READINGS}


@pytest.mark.parametrize(
    ("calendar", "reason"),
    [
        (None, Reason.NO_HOLIDAY_CALENDAR),
        (HolidayCalendar("nl", 1, frozenset(), valid_to=date(2025, 1, 10)), Reason.HOLIDAY_CALENDAR_NOT_VALID),
        (HolidayCalendar("nl", 1, frozenset(), valid_from=date(2025, 1, 11)), Reason.HOLIDAY_CALENDAR_NOT_VALID),
        (HolidayCalendar("nl", 1, frozenset(), date(2025, 1, 10), date(2025, 1, 11)), None),
    ],
)
def test_a_holiday_calendar_is_needed_for_timeslices_and_nothing_else(calendar, reason):
    configuration = replace(CONFIGURATION, holiday_calendar=calendar)
    readings = {"energy": hours([1] * 24)}
    assert isinstance(calculate(request(INTERVAL, PMAX), readings, configuration), Result)
    for on_invalid in OnInvalid:
        outcome = calculate(request(SLICES, on_invalid=on_invalid), readings, configuration)
        demand = DemandRequest("peaks", "energy", TimeOfUseDemand("group"))
        other = calculate(request(demands=(demand,), on_invalid=on_invalid), readings, configuration)
        if reason is None:
            assert isinstance(outcome, Result)
            assert isinstance(other, Result)
        else:
            assert isinstance(outcome, Cancellation)
            assert isinstance(other, Cancellation)
            assert [(cause.reason, cause.channel) for cause in outcome.causes] == [(reason, "energy")]


def test_a_register_is_read_at_the_end_and_rolls_over_only_by_declared_digits():
    readings = {"read": reads((DAY[0], 9_950), (DAY[1] - HOUR_US, 9_999), (DAY[1], 21))}
    outcome = calculate(request(REGISTER), readings, CONFIGURATION)
    read, difference = one(outcome, Kind.REGISTER), one(outcome, Kind.REGISTER_DIFFERENCE)
    assert (read.value, read.quality, read.read_us) == (21 * UNIT // 10, "measured", DAY[1])
    assert difference.value == 71 * UNIT // 10
    no_digits = replace(CONFIGURATION.classifiers["read"], dial_digits=None)
    configuration = replace(CONFIGURATION, classifiers={**CONFIGURATION.classifiers, "read": no_digits})
    outcome = calculate(request(REGISTER), readings, configuration)
    assert one(outcome, Kind.REGISTER_DIFFERENCE).value == -9_929 * UNIT // 10


def test_a_register_s_difference_is_as_good_as_the_worse_of_its_two_reads():
    estimated = DEFAULT_QUALITY.code("estimated")
    for codes in ([estimated, 0], [0, estimated]):
        readings = Readings(ListedTimes(np.array(DAY), 1), np.array([5, 6]), np.array(codes, dtype=np.uint8))
        outcome = calculate(request(REGISTER), {"read": readings}, CONFIGURATION)
        assert one(outcome, Kind.REGISTER_DIFFERENCE).quality == "estimated"
        assert one(outcome, Kind.REGISTER).quality == DEFAULT_QUALITY.statuses[codes[1]].name


@pytest.mark.parametrize(
    ("tolerance_us", "rows", "value"),
    [
        (0, [(DAY[1] - 1, 7)], None),
        (1, [(DAY[1] - 1, 7)], 7),
        (5, [(DAY[1] - 4, 7), (DAY[1] + 3, 8)], 8),
        (5, [(DAY[1] - 4, 7), (DAY[1] + 4, 8)], 7),
        (5, [(DAY[1] - 6, 7), (DAY[1] + 5, 8)], 8),
    ],
)
def test_the_nearest_reading_within_the_tolerance_counts(tolerance_us, rows, value):
    configuration = replace(CONFIGURATION, register_tolerance_us=tolerance_us)
    outcome = calculate(request(REGISTER), {"read": reads((DAY[0] + 10, 1), *rows)}, configuration)
    read = one(outcome, Kind.REGISTER)
    assert read.value == (None if value is None else value * UNIT // 10)
    # A register without a reading at the end is a gap: it is said, and never cancels
    assert [remark.reason for remark in answered(outcome).remarks] == ([Reason.NO_READ_AT_END] if value is None else [])


def test_a_read_within_the_tolerance_is_judged_as_one_at_the_end_is():
    configuration = replace(CONFIGURATION, register_tolerance_us=5)
    late = reads((DAY[1] + 3, 8))
    assert one(calculate(request(REGISTER), {"read": late}, configuration), Kind.REGISTER).value == 8 * UNIT // 10
    substituted = late.quality + np.uint8(DEFAULT_QUALITY.code("substituted"))
    outcome = calculate(request(REGISTER), {"read": replace(late, quality=substituted)}, configuration)
    assert isinstance(outcome, Cancellation)
    assert [(cause.reason, cause.channel) for cause in outcome.causes] == [(Reason.NOT_BILLABLE, "read")]


def test_every_channel_that_a_demand_reads_has_to_be_billable():
    classifiers = {**CONFIGURATION.classifiers, "reactive": replace(CONFIGURATION.classifiers["energy"], unit="kvarh")}
    configuration = replace(CONFIGURATION, classifiers=classifiers)
    asked = request(demands=(DemandRequest("factor", "energy", PowerFactor("reactive")),))
    good, bad = hours([1] * 24, [0] * 24), hours([1] * 24, [0] * 23 + [DEFAULT_QUALITY.code("substituted")])
    assert isinstance(calculate(asked, {"energy": good, "reactive": good}, configuration), Result)
    for readings, reason in (
        ({"energy": good, "reactive": bad}, Reason.NOT_BILLABLE),
        ({"energy": good}, Reason.NO_READINGS),
    ):
        outcome = calculate(asked, readings, configuration)
        assert isinstance(outcome, Cancellation)
        assert [(cause.reason, cause.channel) for cause in outcome.causes] == [(reason, "reactive")]


def test_a_register_without_a_value_at_the_end_has_none():
    quality = np.array([0, DEFAULT_QUALITY.code("missing")], dtype=np.uint8)
    readings = Readings(ListedTimes(np.array(DAY), 1), np.array([5, 6]), quality)
    outcome = calculate(request(REGISTER, on_invalid=OnInvalid.REPORT), {"read": readings}, CONFIGURATION)
    assert one(outcome, Kind.REGISTER).value is None


def test_months_are_partial_at_the_ends_and_stored_apart():
    start, end = instant_us("2025-01-30T23:00Z"), instant_us("2025-03-01T23:00Z")
    readings = {
        "energy": hours([1] * 31 * 24, first_us=start + HOUR_US),
        "read": reads(*[(start + day * 24 * HOUR_US, 10 * day) for day in range(31)]),
    }
    asked = BillingRequest("meter", start, end, ZONE, (INTERVAL, PMAX, REGISTER), split_by_month=True)
    found = answered(calculate(asked, readings, CONFIGURATION)).determinants
    sums = [(each.is_month, each.start_us, each.end_us, each.value) for each in found if each.kind is Kind.INTERVAL]
    february, march = instant_us("2025-01-31T23:00Z"), instant_us("2025-02-28T23:00Z")
    assert sums == [
        (False, start, end, 720 * UNIT // 1000),
        (True, start, february, 24 * UNIT // 1000),
        (True, february, march, 672 * UNIT // 1000),
        (True, march, end, 24 * UNIT // 1000),
    ]
    assert [each.value for each in found if each.kind is Kind.REGISTER_DIFFERENCE] == [
        UNIT * days for days in (30, 1, 28, 1)
    ]
    assert {each.billing_channel for each in found} == {
        "BILLING_active_INTERVAL",
        "BILLING_active_INTERVAL_MONTH",
        "BILLING_active_PMAX_POWER",
        "BILLING_active_PMAX_POWER_MONTH",
        "BILLING_dial_REGISTER",
        "BILLING_dial_REGISTER_MONTH",
        "BILLING_dial_REGISTER_DIFFERENCE",
        "BILLING_dial_REGISTER_DIFFERENCE_MONTH",
    }


def test_the_largest_power_is_not_the_largest_energy_where_lengths_differ():
    lengths = np.array([60, 15, 60]) * MINUTE_US
    times = ListedTimes(START + np.cumsum(lengths), lengths)
    readings = Readings(times, np.array([1_000, 500, 1_200]), np.zeros(3, np.uint8))
    as_power = one(calculate(request(PMAX), {"energy": readings}, CONFIGURATION), Kind.PMAX)
    assert (as_power.value, as_power.peaks[0].start_us) == (2 * UNIT, START + HOUR_US)
    plain = calculate(request(ChannelRequest("energy", Kind.PMAX)), {"energy": readings}, CONFIGURATION)
    assert one(plain, Kind.PMAX).value == 1_200 * UNIT // 1000
    counts = one(plain, Kind.PMAX).counts
    assert counts is not None
    # Without one length nothing is expected, and the covered time says how much is there
    assert (counts.expected, counts.missing) == (None, None)
    assert counts.coverage == round(UNIT * 135 / 1_440)


def test_the_largest_power_of_all_months_is_not_the_largest_energy_of_one():
    # Given a quarter of 0.5 kWh in one month, and an hour of 1 kWh in the next
    times = ListedTimes(START + np.array([15, 40 * 24 * 60]) * MINUTE_US, np.array([15, 60]) * MINUTE_US)
    readings = Readings(times, np.array([500, 1_000]), np.zeros(2, dtype=np.uint8))
    asked = replace(request(PMAX, split_by_month=True), end_us=START + 40 * 24 * HOUR_US)
    found = answered(calculate(asked, {"energy": readings}, CONFIGURATION)).determinants
    assert [(each.is_month, each.value) for each in found] == [(False, 2 * UNIT), (True, 2 * UNIT), (True, UNIT)]


def test_sums_do_not_wrap_and_what_does_not_fit_cancels():
    classifier = ChannelClassifier("active", "kWh", 12)
    configuration = BillingConfiguration({"energy": classifier})
    largest = 2**63 - 1
    outcome = calculate(request(INTERVAL), {"energy": hours([largest] * 24)}, configuration)
    assert one(outcome, Kind.INTERVAL).value == 24 * largest
    configuration = BillingConfiguration({"energy": replace(classifier, decimal_places=0)})
    for on_invalid in OnInvalid:
        asked = request(INTERVAL, on_invalid=on_invalid)
        fits = calculate(asked, {"energy": hours([10**15 - 1])}, configuration)
        assert one(fits, Kind.INTERVAL).value == (10**15 - 1) * UNIT
        outcome = calculate(asked, {"energy": hours([10**15 - 1, 1])}, configuration)
        assert isinstance(outcome, Cancellation)
        assert [(cause.reason, cause.channel) for cause in outcome.causes] == [(Reason.DOES_NOT_FIT, "energy")]


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"end_us": START - 1}, "end_time"),
        ({"end_us": START + MAX_PERIOD_US + 1}, "end_time"),
        ({"start_us": FIRST_INSTANT_US - 1, "end_us": FIRST_INSTANT_US}, "start_time"),
        ({"start_us": LAST_INSTANT_US, "end_us": LAST_INSTANT_US + 1}, "end_time"),
        ({"channels": ()}, "channels"),
        ({"channels": (ChannelRequest("other", Kind.INTERVAL),)}, "channels[0].channel"),
        ({"channels": (INTERVAL, ChannelRequest("read", Kind.PMAX))}, "channels[1].kind"),
        ({"channels": (ChannelRequest("energy", Kind.REGISTER),)}, "channels[0].kind"),
        ({"channels": (ChannelRequest("energy", Kind.DEMAND),)}, "channels[0].kind"),
        ({"channels": (ChannelRequest("energy", Kind.TIMESLICE),)}, "channels[0].timeslice_group"),
        ({"channels": (ChannelRequest("energy", Kind.PMAX, "group"),)}, "channels[0].timeslice_group"),
        ({"channels": (ChannelRequest("energy", Kind.TIMESLICE, "other"),)}, "channels[0].timeslice_group"),
        ({"channels": (ChannelRequest("power", Kind.PMAX, as_power=True),)}, "channels[0].as_power"),
        ({"channels": (ChannelRequest("energy", Kind.INTERVAL, as_power=True),)}, "channels[0].as_power"),
        ({"channels": (PMAX, PMAX)}, "channels"),
        ({"channels": (REGISTER, REGISTER)}, "channels"),
        ({"demands": (DemandRequest("a", "read", RollingDemand(HOUR_US)),)}, "demands[0]"),
        ({"demands": (DemandRequest("a", "other", RollingDemand(HOUR_US)),)}, "demands[0]"),
        ({"demands": (DemandRequest("a", "energy", TimeOfUseDemand("other")),)}, "demands[0]"),
        ({"demands": (DemandRequest("a", "energy", RollingDemand(HOUR_US)),) * 2}, "demands[1].id"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(change, path):
    with pytest.raises(RequestFault) as fault:
        calculate(replace(request(INTERVAL), **change), {}, CONFIGURATION)
    assert str(fault.value).startswith(path)


@pytest.mark.parametrize("start_us", [FIRST_INSTANT_US, LAST_INSTANT_US - 24 * HOUR_US])
@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Niue"])
def test_periods_at_the_edges_of_the_calendar_are_answered(zone, start_us):
    asked = replace(request(INTERVAL, SLICES), start_us=start_us, end_us=start_us + 24 * HOUR_US, time_zone=zone)
    assert isinstance(calculate(asked, {"energy": hours([1] * 24, None, start_us + HOUR_US)}, CONFIGURATION), Result)


def test_an_unknown_zone_is_refused():
    with pytest.raises(UnknownZone):
        calculate(replace(request(INTERVAL), time_zone="Europe/Atlantis"), {}, CONFIGURATION)


def test_columns_that_are_no_readings_are_refused():
    labels = np.array([3, 2, 1], dtype=np.int64)
    values, codes = np.zeros(3, np.int64), np.zeros(3, np.uint8)
    for make in (
        lambda: ListedTimes(labels, 1),
        lambda: ListedTimes(np.array([1, 1, 2], dtype=np.int64), 1),
        lambda: ListedTimes(labels[::-1].astype(np.float64), 1),
        lambda: ListedTimes(labels[::-1], 0),
        lambda: ListedTimes(labels[::-1], np.array([1, 0, 1])),
        lambda: ListedTimes(labels[::-1], np.array([1, 1])),
        lambda: ListedTimes(np.array([-(2**63), 2], dtype=np.int64), 1),
        lambda: ListedTimes(labels[::-1], MAX_INTERVAL_US + 1),
        lambda: RegularTimes(0, 0, 3),
        lambda: RegularTimes(0, 1, -1),
        lambda: RegularTimes(2**62, 1, 3),
        lambda: RegularTimes(0, MAX_INTERVAL_US, 2**30),
        lambda: Readings(RegularTimes(0, 1, 2), values, codes),
        lambda: Readings(RegularTimes(0, 1, 3), values.astype(np.float64), codes),
        lambda: Readings(RegularTimes(0, 1, 3), values, codes.astype(np.int64)),
    ):
        with pytest.raises(ReadingsFault):
            make()
    with pytest.raises(ReadingsFault):
        calculate(request(INTERVAL), {"energy": hours([1], [7])}, CONFIGURATION)
    overlapping = ListedTimes(START + np.array([1, 2]) * HOUR_US, np.array([1, 2]) * HOUR_US)
    with pytest.raises(ReadingsFault, match="overlap"):
        calculate(request(INTERVAL), {"energy": Readings(overlapping, values[:2], codes[:2])}, CONFIGURATION)
    bad = Readings(ListedTimes(np.array(DAY), 1), np.array([5, 6]), np.array([0, 9], dtype=np.uint8))
    with pytest.raises(ReadingsFault):
        calculate(request(REGISTER), {"read": bad}, CONFIGURATION)


@pytest.mark.parametrize(
    ("label", "minutes", "lengths", "row"),
    [
        # Of one length, as near as they may be and a microsecond nearer
        (Label.END, [15, 30, 60], 15, None),
        (Label.BEGIN, [0, 15, 45], 15, None),
        (Label.END, [15, 22, 30], 15, 1),
        (Label.END, [5, 10, 15], 15, 1),
        (Label.BEGIN, [0, 15, 30 - 1 / MINUTE_US], 15, 2),
        # Of several lengths: END looks back, BEGIN ahead
        (Label.END, [60, 75], [60, 15], None),
        (Label.BEGIN, [0, 60], [60, 15], None),
        (Label.END, [15, 60], [15, 60], 1),
        (Label.BEGIN, [0, 45], [60, 15], 1),
        (Label.BEGIN, [0, 15], [15, 60], None),
    ],
)
def test_intervals_that_overlap_are_refused(label, minutes, lengths, row):
    labels = START + np.round(np.array(minutes) * MINUTE_US).astype(np.int64)
    of = ListedTimes(labels, lengths * MINUTE_US if isinstance(lengths, int) else np.array(lengths) * MINUTE_US)
    readings = Readings(of, np.ones(len(labels), np.int64), np.zeros(len(labels), np.uint8))
    configuration = replace(CONFIGURATION, classifiers={"energy": ChannelClassifier("active", "kWh", 0, label)})
    if row is None:
        outcome = calculate(request(INTERVAL), {"energy": readings}, configuration)
        assert isinstance(outcome, Result)
        assert outcome.determinants[0].value == len(labels) * UNIT
        return
    with pytest.raises(ReadingsFault) as fault:
        calculate(request(INTERVAL), {"energy": readings}, configuration)
    assert f"channel 'energy': intervals overlap, at row {row}: " in str(fault.value)
    assert instant_text(int(labels[row])) in str(fault.value)
    matrix = MeterMatrix(of, readings.values[np.newaxis], readings.quality[np.newaxis])
    with pytest.raises(ReadingsFault, match="channel 'energy': intervals overlap"):
        list(calculate_matrix(request(INTERVAL), ["meter"], {"energy": matrix}, configuration))


def test_readings_of_a_register_have_no_length_that_could_overlap():
    times = ListedTimes(START + np.array([0, 5, 24 * 60]) * MINUTE_US, HOUR_US)
    found = calculate(request(REGISTER), {"read": Readings(times, np.arange(3), np.zeros(3, np.uint8))}, CONFIGURATION)
    assert isinstance(found, Result)


def test_a_table_of_qualities_is_ordered_and_configurable():
    table = QualityTable((QualityStatus("good", is_billable=True), QualityStatus("so-so"), QualityStatus("bad")))
    assert table.translation(["bad", "good"]).tolist() == [2, 0]
    assert table.worst(np.array([3, 1, 0])) == "so-so"
    assert table.worst(np.zeros(3, np.int64)) is None
    with pytest.raises(KeyError):
        table.code("unheard of")
    for statuses in ((), (QualityStatus("twice"),) * 2, tuple(QualityStatus(str(n)) for n in range(257))):
        with pytest.raises(ValueError, match="quality table"):
            QualityTable(statuses)


def test_a_slice_named_like_anothers_month_is_refused():
    group = TimesliceGroup(
        "group",
        (TimesliceInterval("T1", Days.DAILY, 0, 60), TimesliceInterval("T1_MONTH", Days.DAILY, 60, 120)),
    )
    with pytest.raises(RequestFault, match="BILLING_active_TIMESLICE_group_T1_MONTH"):
        calculate(request(SLICES), {}, replace(CONFIGURATION, timeslice_groups={"group": group}))


def test_what_is_stored_says_what_it_is_of():
    outcome = answered(
        calculate(
            request(SLICES, PMAX, REGISTER),
            {"energy": hours(list(range(24))), "read": reads((DAY[0] + HOUR_US, 5), (DAY[1] - 1, 9))},
            CONFIGURATION,
        )
    )
    stored = list(billing_values(outcome, instant_us("2025-02-01T06:00Z")))
    # The register has no reading at the end: it is stored that it has none
    assert [each.channel for each in stored] == [
        "BILLING_active_TIMESLICE_group_PEAK",
        "BILLING_active_TIMESLICE_group_EVENING",
        "BILLING_active_TIMESLICE_group_UNCOVERED",
        "BILLING_active_PMAX_POWER",
        "BILLING_dial_REGISTER",
        "BILLING_dial_REGISTER_DIFFERENCE",
    ]
    assert [each.value is None for each in stored] == [False] * 4 + [True] * 2
    pmax = stored[3]
    assert (pmax.timestamp_us, pmax.value, pmax.unit, pmax.quality) == (DAY[1], 23 * UNIT // 1000, "kW", "measured")
    assert dict(pmax.annotations) == {
        "period_start": "2025-01-09T23:00:00Z",
        "period_end": "2025-01-10T23:00:00Z",
        "calculation_time": "2025-02-01T06:00:00Z",
        "catalog_version": "17",
        "holiday_calendar": "nl",
        "holiday_calendar_version": "4",
        "pmax_start": "2025-01-10T22:00:00Z",
        "pmax_end": "2025-01-10T23:00:00Z",
    }


def test_the_message_is_plain_data_keyed_by_datasource():
    outcome = answered(
        calculate(
            request(INTERVAL, SLICES, PMAX, REGISTER, split_by_month=True),
            {"energy": hours(list(range(24))), "read": reads((DAY[0], 5), (DAY[1], 9))},
            CONFIGURATION,
        )
    )
    message = billing_message(outcome, instant_us("2025-02-01T06:00:00.5Z"))
    assert json.loads(json.dumps(message)) == message
    body = message["meter"]
    assert body["calculation_time"] == "2025-02-01T06:00:00.5Z"
    assert (body["start_time"], body["end_time"]) == ("2025-01-09T23:00:00Z", "2025-01-10T23:00:00Z")
    assert len(body["determinants"]) == len(outcome.determinants)
    assert body["determinants"][0] == {
        "kind": "INTERVAL",
        "channel": "energy",
        "classifier": "active",
        "billing_channel": "BILLING_active_INTERVAL",
        "start_time": "2025-01-09T23:00:00Z",
        "end_time": "2025-01-10T23:00:00Z",
        "is_month": False,
        "value": "0.276",
        "unit": "kWh",
        "Quality_Status": "measured",
        "counts": {"expected": 24, "present": 24, "missing": 0, "by_status": {"measured": 24}, "coverage": "1"},
    }
    assert instant_text(-1) == "1969-12-31T23:59:59.999999Z"
