"""Billing requests and their configuration: what is taken, at every limit, and what is refused by name."""

from collections.abc import Callable

import pytest
from tests.support.energy.sent_meter import Request, small_request

from tallybook_engine.determinants.calculate import calculate
from tallybook_engine.determinants.configuration import MAX_CHANNELS, MAX_HOLIDAYS, MAX_WINDOWS
from tallybook_engine.determinants.result import Result
from tallybook_server import limits
from tallybook_server.codec.columns import CalculateDeterminantsEnvelope
from tallybook_server.codec.determinants import Asked, read_request
from tallybook_server.errors import Fault

Change = Callable[[Request], object]


def read(request: Request) -> Asked:
    return read_request(CalculateDeterminantsEnvelope.FromString(request.SerializeToString()))


def changed(change: Change) -> Request:
    request = small_request()
    change(request)
    return request


def refused(change: Change) -> tuple[str, str]:
    """(code, message) of what a change makes of the small request."""
    with pytest.raises(Fault) as failure:
        read(changed(change))
    return failure.value.code.name, failure.value.message


def test_the_small_request_is_good():
    asked = read(small_request())
    assert asked.readings is not None
    outcome = calculate(asked.request, asked.readings, asked.configuration)
    assert isinstance(outcome, Result)
    assert [each.value for each in outcome.determinants[:3]] == [1_005 * 10**9, 495 * 10**9, 510 * 10**9]
    assert asked.configuration.register_tolerance_us == 60_000_000


@pytest.mark.parametrize(
    ("change", "path", "found"),
    [
        (lambda r: r.billing_request.ClearField("start_time"), "billing_request.start_time", "is required"),
        (lambda r: r.billing_request.ClearField("end_time"), "billing_request.end_time", "is required"),
        (
            lambda r: r.billing_request.end_time.FromJsonString("2025-12-31T00:00:00Z"),
            "billing_request.end_time",
            "before start_time",
        ),
        (
            lambda r: r.billing_request.end_time.FromJsonString("2127-01-01T00:00:00Z"),
            "billing_request.end_time",
            "more than 100 years",
        ),
        (
            lambda r: setattr(r.billing_request.start_time, "nanos", 10**9),
            "billing_request.start_time",
            "is no instant",
        ),
        (
            lambda r: r.billing_request.start_time.FromJsonString("1899-12-31T23:59:59Z"),
            "billing_request.start_time",
            "is no instant from 1900-01-01",
        ),
        (
            lambda r: r.billing_request.end_time.FromJsonString("3000-01-01T00:00:00Z"),
            "billing_request.end_time",
            "is no instant",
        ),
        (lambda r: setattr(r.billing_request, "time_zone", "Mars/Base"), "billing_request.time_zone", "Mars/Base"),
        (lambda r: setattr(r.billing_request, "time_zone", ""), "billing_request.time_zone", "has none"),
        (lambda r: setattr(r.billing_request, "datasource", "m2"), "billing_request.datasource", 'no datasource "m2"'),
        (lambda r: setattr(r.billing_request, "on_invalid", 9), "billing_request.on_invalid", "CANCEL, REPORT"),
        (
            lambda r: (r.billing_request.ClearField("channels"), r.billing_request.ClearField("demands")),
            "billing_request.channels",
            "nothing is asked for",
        ),
        (
            lambda r: setattr(r.billing_request.channels[0], "channel", "x"),
            "billing_request.channels[0].channel",
            "no channel 'x'",
        ),
        (
            lambda r: r.billing_request.channels[0].ClearField("kind"),
            "billing_request.channels[0].kind",
            "is none of INTERVAL",
        ),
        (
            lambda r: setattr(r.billing_request.channels[0], "kind", 6),
            "billing_request.channels[0].kind",
            "DEMAND is not asked of a channel",
        ),
        (
            lambda r: setattr(r.billing_request.channels[1], "timeslice_group", "x"),
            "billing_request.channels[1].timeslice_group",
            "no timeslice group 'x'",
        ),
        (
            lambda r: setattr(r.billing_request.channels[0], "as_power", True),
            "billing_request.channels[0].as_power",
            "only PMAX",
        ),
        (
            lambda r: r.billing_request.channels.append(r.billing_request.channels[0]),
            "billing_request.channels",
            "would be stored in BILLING_ACTIVE_INTERVAL",
        ),
        (lambda r: r.billing_request.demands[0].ClearField("ratchet"), "billing_request.demands[0]", "has no scheme"),
        (lambda r: setattr(r.billing_request.demands[0], "id", ""), "billing_request.demands[0].id", "1 to 255 bytes"),
        (
            lambda r: r.billing_request.demands[0].history.append("4,2"),
            "billing_request.demands[0].history[2]",
            "",
        ),
        (
            lambda r: r.billing_request.demands[0].ratchet.shares.append("0.5"),
            "billing_request.demands[0].ratchet",
            "one entry or twelve",
        ),
        (
            lambda r: setattr(r.billing_request.demands[0].ratchet, "minimum", "-1"),
            "billing_request.demands[0].ratchet",
            "minimum is at least 0, not -1",
        ),
        (
            lambda r: r.billing_request.demands[0].rolling.SetInParent(),
            "billing_request.demands[0].rolling.window",
            "is required",
        ),
        (
            lambda r: r.billing_request.demands[0].rolling.window.FromNanoseconds(1),
            "billing_request.demands[0].rolling.window",
            "finer than a microsecond",
        ),
        (
            lambda r: r.billing_request.demands[0].coincident_peak.SetInParent(),
            "billing_request.demands[0].coincident_peak",
            "one of them",
        ),
        (
            lambda r: setattr(r.billing_request.demands[0].power_factor, "reactive_channel", "x"),
            "billing_request.demands[0]",
            "no channel 'x'",
        ),
        (
            lambda r: setattr(r.billing_request.demands[0].mean_of_top_peaks, "share_start_time_of_day", "6:00"),
            "billing_request.demands[0].mean_of_top_peaks.share_start_time_of_day",
            "no time of day",
        ),
        (
            lambda r: r.configuration.datasources.append(r.configuration.datasources[0]),
            "configuration.datasources[1].id",
            "is the id of datasources[0] too",
        ),
        (
            lambda r: setattr(r.configuration.datasources[0].channels[0], "classifier", "x"),
            "configuration.datasources[0].channels[0].classifier",
            "no channel classifier",
        ),
        (
            lambda r: setattr(r.configuration.datasources[0].channels[1], "name", "load"),
            "configuration.datasources[0].channels[1].name",
            "is there twice",
        ),
        (
            lambda r: setattr(r.configuration.datasources[0], "holiday_calendar", "x"),
            "configuration.datasources[0].holiday_calendar",
            "no holiday calendar",
        ),
        (
            lambda r: setattr(r.configuration.datasources[0], "quality_table", "x"),
            "configuration.datasources[0].quality_table",
            "no quality table",
        ),
        (
            lambda r: r.configuration.channel_classifiers[0].ClearField("decimal_places"),
            "configuration.channel_classifiers[0].decimal_places",
            "is required",
        ),
        (
            lambda r: setattr(r.configuration.channel_classifiers[0], "decimal_places", 13),
            "configuration.channel_classifiers[0].decimal_places",
            "0 to 12",
        ),
        (
            lambda r: setattr(r.configuration.channel_classifiers[0], "unit", ""),
            "configuration.channel_classifiers[0].unit",
            "is required",
        ),
        (
            lambda r: setattr(r.configuration.channel_classifiers[1], "dial_digits", 16),
            "configuration.channel_classifiers[1].dial_digits",
            "1 to 15 dial digits",
        ),
        (
            lambda r: setattr(r.configuration.timeslice_groups[0].intervals[0], "slice", "UNCOVERED"),
            "configuration.timeslice_groups[0].intervals[0].slice",
            "UNCOVERED",
        ),
        (
            lambda r: setattr(r.configuration.timeslice_groups[0].intervals[0], "start_time_of_day", "24:00"),
            "configuration.timeslice_groups[0].intervals[0].start_time_of_day",
            "within 00:00 and 24:00",
        ),
        (
            lambda r: setattr(r.configuration.timeslice_groups[0].intervals[0], "end_time_of_day", "24:01"),
            "configuration.timeslice_groups[0].intervals[0].end_time_of_day",
            "no time of day",
        ),
        (
            lambda r: r.configuration.timeslice_groups[0].intervals[0].months.extend([1, 13]),
            "configuration.timeslice_groups[0].intervals[0].months",
            "months are 1 to 12",
        ),
        (
            lambda r: r.configuration.timeslice_groups[0].intervals[0].months.extend([1, 1]),
            "configuration.timeslice_groups[0].intervals[0].months",
            "names a month twice",
        ),
        (
            lambda r: r.configuration.timeslice_groups[0].ClearField("intervals"),
            "configuration.timeslice_groups[0].intervals",
            "1 to 62 slices",
        ),
        (
            lambda r: r.configuration.holiday_calendars[0].dates.append("2026-02-30"),
            "configuration.holiday_calendars[0].dates[0]",
            "is no date",
        ),
        (
            lambda r: r.configuration.holiday_calendars[0].dates.append("20260228"),
            "configuration.holiday_calendars[0].dates[0]",
            "is no date",
        ),
        (
            lambda r: setattr(r.configuration.quality_tables[0].statuses[1], "name", "good"),
            "configuration.quality_tables[0].statuses[1].name",
            "is there twice",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(change, path, found):
    code, message = refused(change)
    assert code == "FIELD_INVALID"
    assert message.startswith(f"{path}: ")
    assert found in message


def channels(request: Request, count: int) -> None:
    """The request asks for so many channels of the datasource, each with a classifier of its own."""
    del request.billing_request.demands[:], request.billing_request.channels[:]
    source, classifiers = request.configuration.datasources[0], request.configuration.channel_classifiers
    while len(source.channels) < count:
        name = f"c{len(source.channels)}"
        source.channels.add(name=name, classifier=name)
        classifiers.add(id=name, unit="kWh", decimal_places=0)
    for channel in source.channels[:count]:
        request.billing_request.channels.add(channel=channel.name, kind=4 if channel.name == "read" else 1)


def demands(request: Request, count: int) -> None:
    demand = request.billing_request.demands.pop()
    for index in range(count):
        request.billing_request.demands.append(demand)
        request.billing_request.demands[index].id = f"d{index}"


def months(request: Request, channel_count: int, month_count: int) -> None:
    channels(request, channel_count)
    request.billing_request.split_by_month = True
    years, rest = divmod(month_count, 12)
    request.billing_request.end_time.FromJsonString(f"{2026 + years}-{rest + 1:02}-01T00:00:00Z")


def windows(request: Request, count: int) -> None:
    intervals = request.configuration.timeslice_groups[0].intervals
    while len(intervals) < count:
        intervals.append(intervals[0])


def cells(request: Request, slice_count: int, day_count: int) -> None:
    """One window edge beside midnight and 24:00, and so many slices over so many days."""
    request.billing_request.end_time.seconds = request.billing_request.start_time.seconds + day_count * 86_400 - 1
    intervals = request.configuration.timeslice_groups[0].intervals
    for index in range(1, slice_count):
        intervals.append(intervals[0])
        intervals[index].slice = f"T{index + 1}"


def filled(entries, count: int) -> None:
    """A list of objects with ids, up to so many."""
    for index in range(len(entries), count):
        entries.append(entries[0])
        entries[index].id = f"more{index}"


def statuses(request: Request, count: int) -> None:
    table = request.configuration.quality_tables[0]
    for index in range(len(table.statuses), count):
        table.statuses.add(name=f"s{index}")


# 62 slices and 3 edges: 5,637 days are 1,048,482 cells, one more is over.
CELL_DAYS = limits.TIMESLICE_CELLS_MAX // (62 * 3)


@pytest.mark.parametrize(
    ("at", "over", "code"),
    [
        pytest.param(
            lambda r: channels(r, limits.REQUESTED_CHANNELS_MAX),
            lambda r: r.billing_request.channels.extend([r.billing_request.channels[0]] * 257),
            "TOO_MANY_DETERMINANTS",
            id="channels",
        ),
        pytest.param(
            lambda r: demands(r, limits.REQUESTED_DEMANDS_MAX),
            lambda r: demands(r, limits.REQUESTED_DEMANDS_MAX + 1),
            "TOO_MANY_DETERMINANTS",
            id="demands",
        ),
        pytest.param(
            # 254 intervals and a register, which counts twice: 256 times 256.
            lambda r: months(r, 255, 255),
            lambda r: months(r, 256, 255),
            "TOO_MANY_DETERMINANTS",
            id="determinants",
        ),
        pytest.param(
            lambda r: cells(r, 62, CELL_DAYS),
            lambda r: cells(r, 62, CELL_DAYS + 1),
            "TOO_MANY_TIMESLICES",
            id="timeslice cells",
        ),
        pytest.param(
            lambda r: filled(r.configuration.datasources, 1_000),
            lambda r: filled(r.configuration.datasources, 1_001),
            "FIELD_INVALID",
            id="datasources",
        ),
        pytest.param(
            lambda r: filled(r.configuration.channel_classifiers, 1_000),
            lambda r: filled(r.configuration.channel_classifiers, 1_001),
            "FIELD_INVALID",
            id="classifiers",
        ),
        pytest.param(
            lambda r: filled(r.configuration.timeslice_groups, 64),
            lambda r: filled(r.configuration.timeslice_groups, 65),
            "FIELD_INVALID",
            id="groups",
        ),
        pytest.param(
            lambda r: filled(r.configuration.holiday_calendars, 64),
            lambda r: filled(r.configuration.holiday_calendars, 65),
            "FIELD_INVALID",
            id="calendars",
        ),
        pytest.param(
            lambda r: filled(r.configuration.quality_tables, 64),
            lambda r: filled(r.configuration.quality_tables, 65),
            "FIELD_INVALID",
            id="quality tables",
        ),
        pytest.param(
            lambda r: windows(r, MAX_WINDOWS),
            lambda r: windows(r, MAX_WINDOWS + 1),
            "FIELD_INVALID",
            id="windows",
        ),
        pytest.param(lambda r: cells(r, 62, 1), lambda r: cells(r, 63, 1), "FIELD_INVALID", id="slices"),
        pytest.param(lambda r: statuses(r, 256), lambda r: statuses(r, 257), "FIELD_INVALID", id="statuses"),
        pytest.param(
            lambda r: r.configuration.holiday_calendars[0].dates.extend(["2026-12-25"] * MAX_HOLIDAYS),
            lambda r: r.configuration.holiday_calendars[0].dates.extend(["2026-12-25"] * (MAX_HOLIDAYS + 1)),
            "FIELD_INVALID",
            id="holidays",
        ),
        pytest.param(
            lambda r: r.billing_request.demands[0].history.extend(["1"] * (limits.HISTORY_MONTHS_MAX - 2)),
            lambda r: r.billing_request.demands[0].history.extend(["1"] * (limits.HISTORY_MONTHS_MAX - 1)),
            "FIELD_INVALID",
            id="history",
        ),
        pytest.param(
            lambda r: setattr(r.billing_request.demands[0].ratchet, "lookback_month_count", 1_200),
            lambda r: setattr(r.billing_request.demands[0].ratchet, "lookback_month_count", 1_201),
            "FIELD_INVALID",
            id="lookback",
        ),
        pytest.param(
            lambda r: setattr(r.billing_request.demands[0].mean_of_top_peaks, "count", limits.DEMAND_PEAKS_MAX),
            lambda r: setattr(r.billing_request.demands[0].mean_of_top_peaks, "count", limits.DEMAND_PEAKS_MAX + 1),
            "FIELD_INVALID",
            id="peaks",
        ),
        pytest.param(
            lambda r: r.billing_request.demands[0].rolling.window.FromSeconds(366 * 86_400),
            lambda r: r.billing_request.demands[0].rolling.window.FromSeconds(366 * 86_400 + 1),
            "FIELD_INVALID",
            id="window",
        ),
        pytest.param(
            lambda r: r.configuration.datasources[0].register_tolerance.FromSeconds(31 * 86_400),
            lambda r: r.configuration.datasources[0].register_tolerance.FromSeconds(31 * 86_400 + 1),
            "FIELD_INVALID",
            id="tolerance",
        ),
    ],
)
def test_limits_hold_at_their_edge(at, over, code):
    read(changed(at))
    assert refused(over)[0] == code


def test_demands_look_at_so_many_readings():
    def many(request: Request, count: int) -> None:
        demands(request, 2)
        del request.readings[0].values[:], request.readings[0].statuses[1:]
        request.readings[0].values.extend([1] * count)
        request.readings[0].quality_codes = b""

    half = limits.DEMAND_READINGS_MAX // 2
    read(changed(lambda request: many(request, half)))
    assert refused(lambda request: many(request, half + 1))[0] == "TOO_MANY_READINGS"


def test_a_datasource_has_256_channels():
    def more(request: Request) -> None:
        channels(request, MAX_CHANNELS)
        request.configuration.datasources[0].channels.add(name="one more", classifier="ACTIVE")

    assert refused(more) == ("FIELD_INVALID", "configuration.datasources[0].channels: has 257 entries; at most 256")


def test_all_that_is_wrong_with_a_configuration_is_named():
    # Given faults of every sort, two of them in one object
    def several(request: Request) -> None:
        configuration = request.configuration
        configuration.channel_classifiers[0].decimal_places = 13
        configuration.channel_classifiers[0].dial_digits = 16
        configuration.holiday_calendars[0].dates.append("2026-02-30")
        configuration.timeslice_groups[0].intervals[0].slice = " T1"
        configuration.datasources[0].channels.add(name="more", classifier="x")

    with pytest.raises(Fault) as failure:
        read(changed(several))
    # Then each has its path, and the message names the first one
    assert [each.field for each in failure.value.fields] == [
        "configuration.holiday_calendars[0].dates[0]",
        "configuration.timeslice_groups[0].intervals[0].slice",
        "configuration.channel_classifiers[0].decimal_places",
        "configuration.channel_classifiers[0].dial_digits",
        "configuration.datasources[0].channels[2].classifier",
    ]
    assert failure.value.message.endswith("(and 4 more)")


def test_who_pays_is_not_for_a_request_to_say():
    def paid(request: Request) -> None:
        request.configuration.datasources[0].customer = "nobody's"
        request.configuration.datasources[0].contract_id = "none"

    read(changed(paid))
