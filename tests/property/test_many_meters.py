"""Law of billing requests that are computed together: each is answered as it is alone, to the last bit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.metered_book import MINUTE_US, QUARTER_US, MeteredBook, Row, delivery, message

from tallybook.v1 import determinants_pb2
from tallybook_engine.determinants.result import Result
from tallybook_server import limits, many_meters
from tallybook_server.billing import Calculated, Prepared, outcome_of, prepared
from tallybook_server.codec.columns import CalculateDeterminantsEnvelope
from tallybook_server.codec.metering import read_metering
from tallybook_server.errors import Fault
from tallybook_server.journal.memory import MemoryJournal
from tallybook_server.many_meters import outcomes_together
from tallybook_server.stored_readings import load_meters

wire: Any = determinants_pb2
METERS = ("m0", "m1", "m2", "m3", "m4", "m5")
START_US = 1_740_787_200_000_000
"""2025-03-01."""
QUARTERS = 2 * 96
DAY_US = 96 * QUARTER_US
READINGS_EXPECTED = (2 + 2 * 32) * 96
"""Of the blocks of two days, each of which has 32 days at most."""
STATUSES = ("measured", "estimated", "questionable")
CONFIGURATION = wire.DeterminantsConfiguration(
    datasources=[
        {
            "id": name,
            # One meter is configured otherwise.
            "quality_table": "turned" if name == "m5" else "",
            "holiday_calendar": "none",
            "register_tolerance": {"seconds": 600},
            "channels": [
                {"name": "load", "classifier": "ACTIVE"},
                {"name": "other", "classifier": "OTHER"},
                {"name": "dial", "classifier": "DIAL"},
            ],
        }
        for name in METERS
    ],
    channel_classifiers=[
        {"id": "ACTIVE", "unit": "kWh", "decimal_places": 3},
        {"id": "OTHER", "unit": "kvarh", "decimal_places": 4},
        {"id": "DIAL", "unit": "kWh", "decimal_places": 3, "kind": "REGISTER"},
    ],
    timeslice_groups=[
        {"id": "day", "intervals": [{"slice": "DAY", "start_time_of_day": "07:00", "end_time_of_day": "23:00"}]}
    ],
    holiday_calendars=[{"id": "none", "version": 1}],
    quality_tables=[{"id": "turned", "statuses": [{"name": name, "is_billable": True} for name in STATUSES[::-1]]}],
)
METERING = read_metering(CONFIGURATION)
ASKED = (
    {"channel": "load", "kind": "INTERVAL"},
    {"channel": "load", "kind": "TIMESLICE", "timeslice_group": "day"},
    {"channel": "load", "kind": "PMAX", "as_power": True},
    {"channel": "other", "kind": "INTERVAL"},
    {"channel": "dial", "kind": "REGISTER"},
)
DEMANDS = (
    {"id": "rolling", "channel": "load", "rolling": {"window": {"seconds": 1800}}},
    {"id": "factor", "channel": "load", "power_factor": {"reactive_channel": "other"}},
)


def asked(datasource: str, **fields: Any) -> Prepared:
    """A request, as the service reads it."""
    billing = {
        "datasource": datasource,
        "time_zone": "Europe/Amsterdam",
        "start_time": {"seconds": START_US // 10**6},
        "end_time": {"seconds": (START_US + 2 * DAY_US) // 10**6},
        "channels": ASKED[:3],
        **fields,
    }
    as_of = billing.pop("as_of_sequence", 0)
    request = wire.CalculateDeterminantsRequest(billing_request=billing, as_of_sequence=as_of)
    return prepared(CalculateDeterminantsEnvelope.FromString(request.SerializeToString()), METERING)


def alone(each: Prepared, book: MeteredBook) -> Calculated | str:
    """The outcome of one request, or what is wrong with it."""
    try:
        return outcome_of(each, book.book)
    except Fault as fault:
        return str(fault)


def rows(first: int, count: int, status: str = "measured", stride: int = 1) -> list[Row]:
    """Readings of quarter hours."""
    labels = (START_US + (first + place * stride) * QUARTER_US for place in range(count))
    return [Row(label, (label // MINUTE_US * 7_919) % 5_000, status) for label in labels]


ALIKE = rows(1, QUARTERS)


def of_meter(datasource: str, readings: Sequence[Row]) -> list[Row]:
    """The readings with values that no other meter has."""
    return [row._replace(value=10 * row.value + METERS.index(datasource)) for row in readings]


def deliver(book: MeteredBook, datasource: str, readings: Sequence[Row], channel: str = "load") -> None:
    """Stores readings of a meter."""
    readings = of_meter(datasource, readings)
    (answer,) = book.ingest(message([delivery(datasource, readings, channel=channel)], CONFIGURATION))
    assert answer.WhichOneof("outcome") == "result", answer


@st.composite
def delivered(draw: st.DrawFn) -> list[Row]:
    """A grid as most meters have it, or one with other bounds, a hole, or readings that may not be billed."""
    if draw(st.booleans()):
        return ALIKE
    status = draw(st.sampled_from(STATUSES))
    return rows(draw(st.integers(-3, 20)), draw(st.integers(1, QUARTERS)), status, draw(st.sampled_from([1, 1, 3])))


@given(st.data())
@settings(max_examples=30)
def test_requests_together_are_answered_as_each_is_alone(data: st.DataObject) -> None:
    book = MeteredBook(MemoryJournal())
    for name in METERS:
        for channel in ("load", "load", "other", "dial"):
            if data.draw(st.sampled_from([True, True, True, False])):
                deliver(book, name, data.draw(delivered()), channel)
    deliver(book, "m1", ALIKE)
    if data.draw(st.booleans()):
        bounds = {"start_time": {"seconds": START_US // 10**6}, "end_time": {"seconds": START_US // 10**6 + 7_200}}
        book.delete(datasource="m1", channel="load", **bounds)
    shapes = [
        {
            "channels": data.draw(st.lists(st.sampled_from(ASKED), min_size=1, unique_by=str)),
            "demands": data.draw(st.lists(st.sampled_from(DEMANDS), max_size=2, unique_by=str)),
            "split_by_month": data.draw(st.booleans()),
            "on_invalid": data.draw(st.sampled_from(["CANCEL", "REPORT"])),
            "start_time": {"seconds": (START_US - data.draw(st.sampled_from([0, DAY_US]))) // 10**6},
            "as_of_sequence": data.draw(st.sampled_from([0, 0, 5, 1_000])),
        }
        for _ in range(data.draw(st.integers(1, 2)))
    ]
    requests = [asked(name, **data.draw(st.sampled_from(shapes))) for name in data.draw(st.permutations(METERS * 2))]

    found = outcomes_together(requests, book.book)

    for place, each in enumerate(requests):
        if place in found:
            assert found[place] == alone(each, book)
    book.close()


@pytest.fixture
def book() -> Any:
    """Six meters that are alike, but for one that is configured otherwise."""
    made = MeteredBook(MemoryJournal())
    for name in METERS:
        deliver(made, name, ALIKE)
        deliver(made, name, ALIKE, "other")
        deliver(made, name, rows(0, 3, stride=96), "dial")
    yield made
    made.close()


def test_what_is_alike_is_computed_together_and_nothing_else(book: MeteredBook) -> None:
    requests = [asked(name, channels=ASKED, demands=DEMANDS) for name in METERS]
    # Of the meter that is configured otherwise, and of the second request of a meter, nothing is known yet.
    found = outcomes_together([*requests, requests[2]], book.book)
    assert sorted(found) == [0, 1, 2, 3, 4]
    assert all(found[place] == alone(requests[place], book) for place in found)
    assert all(isinstance(each.outcome, Result) for each in found.values())
    # Another period, another sequence: another group
    assert sorted(outcomes_together([asked("m0"), asked("m1", as_of_sequence=10)], book.book)) == []
    assert sorted(outcomes_together([asked("m0"), asked("m1", split_by_month=True)], book.book)) == []
    # Readings that come with a request
    assert outcomes_together([each._replace(readings={}) for each in requests], book.book) == {}


def test_meters_of_another_grid_are_computed_together_with_their_like(book: MeteredBook) -> None:
    for name in ("m1", "m3"):
        deliver(book, name, rows(QUARTERS + 1, 96), "other")
    period = {"end_time": {"seconds": (START_US + 3 * DAY_US) // 10**6}}
    requests = [asked(name, channels=ASKED, **period) for name in METERS]
    found = outcomes_together(requests, book.book)
    assert sorted(found) == [0, 1, 2, 3, 4]
    assert all(found[place] == alone(requests[place], book) for place in found)


def test_what_is_wrong_with_one_is_left_to_be_looked_at_alone(book: MeteredBook) -> None:
    # Given readings of a meter that do not fit what is configured of it by now
    other = wire.DeterminantsConfiguration()
    other.CopyFrom(CONFIGURATION)
    other.channel_classifiers[0].unit = "Wh"
    (answer,) = book.ingest(message([delivery("m3", of_meter("m3", ALIKE))], other))
    assert answer.WhichOneof("outcome") == "result"
    requests = [asked(name) for name in METERS]
    # When they are computed together, then alone: all but one have a result, and that one its fault
    assert outcomes_together(requests, book.book) == {}
    assert "its readings are stored in 'Wh'" in str(alone(requests[3], book))


@pytest.mark.parametrize(("at_once", "pieces"), [(10**9, [5]), (2 * READINGS_EXPECTED, [2, 2]), (100, [])])
def test_what_is_read_at_once_is_bounded(
    book: MeteredBook, monkeypatch: pytest.MonkeyPatch, at_once: int, pieces: list[int]
) -> None:
    sizes: list[int] = []

    def noted(journal: Any, datasources: Sequence[str], *arguments: Any) -> Any:
        sizes.append(len(datasources))
        return load_meters(journal, datasources, *arguments)

    monkeypatch.setattr(many_meters, "load_meters", noted)
    monkeypatch.setattr(limits, "READINGS_AT_ONCE_MAX", at_once)
    requests = [asked(name) for name in METERS]
    found = outcomes_together(requests, book.book)
    assert sizes == pieces
    assert all(found[place] == alone(requests[place], book) for place in found)
    assert len(found) == sum(pieces)


def test_more_than_was_expected_is_read_meter_by_meter(book: MeteredBook, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given meters whose readings were delivered again and again
    (answer,) = book.ingest(message([delivery("m0", ALIKE)] * 70, CONFIGURATION))
    assert answer.result.stored_count == 70 * QUARTERS
    monkeypatch.setattr(limits, "READINGS_AT_ONCE_MAX", 2 * READINGS_EXPECTED)
    requests = [asked(name) for name in METERS]
    assert sorted(outcomes_together(requests, book.book)) == [2, 3]


def test_readings_that_one_request_may_not_take_are_not_taken_together(
    book: MeteredBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "READINGS_IN_REQUEST_MAX", QUARTERS - 1)
    requests = [asked(name) for name in METERS]
    assert outcomes_together(requests, book.book) == {}
    assert "over 191 readings" in str(alone(requests[0], book))


def test_readings_that_demands_may_not_look_at_are_not_looked_at_together(
    book: MeteredBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "DEMAND_READINGS_MAX", QUARTERS - 1)
    requests = [asked(name, demands=DEMANDS[:1]) for name in METERS]
    assert outcomes_together(requests, book.book) == {}
    assert isinstance(alone(requests[0], book), str)


def test_a_stream_answers_what_its_requests_are_answered_alone(book: MeteredBook) -> None:
    # Given requests of which some are cancelled, and one names a datasource that is not there
    requests = []
    for index, name in enumerate([*METERS * 8, "nobody", *METERS]):
        billing = {
            "datasource": name,
            "time_zone": "Europe/Amsterdam",
            "start_time": {"seconds": (START_US - (DAY_US if index == 20 else 0)) // 10**6},
            "end_time": {"seconds": (START_US + (-1 if index == 21 else 2) * DAY_US) // 10**6},
            "channels": ASKED,
        }
        requests.append(wire.CalculateDeterminantsRequest(billing_request=billing, configuration=CONFIGURATION))
    alone_ = [book.calculate(each) for each in requests]
    # When they are sent on one stream
    answers = book.calculate_many(requests)
    # Then each has its answer, in order, and the progress counts them
    assert [each.request_number for each in answers] == list(range(len(requests)))
    for mine, other in zip(answers, alone_, strict=True):
        other.request_number = mine.request_number
        other.progress.CopyFrom(mine.progress)
        assert mine == other
    progress = answers[-1].progress
    assert (progress.answered_count, progress.cancelled_count, progress.refused_count) == (len(requests), 0, 2)
