"""Determinants through the client: columns, frames, typed results, cancellations with their causes, streams."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np
import polars as pl
import pytest
from tests.support.energy.sent_meter import Request, small_request
from tests.support.live_server import live_server

import tallybook_client as tb
from tallybook.v1 import determinants_pb2

START = datetime(2026, 1, 1, tzinfo=UTC)
QUARTER = timedelta(minutes=15)


@pytest.fixture(scope="module")
def client() -> Iterator[tb.Client]:
    with live_server() as target, tb.Client(target) as connected:
        yield connected


@pytest.fixture
def request_() -> Request:
    """The small meter's request for its load alone."""
    request = small_request()
    del request.billing_request.channels[3:], request.readings[:]
    return request


def load() -> determinants_pb2.ChannelReadings:
    return tb.channel_readings(
        "load", np.array([250, 260, 240, 255]), START + QUARTER, QUARTER, decimal_places=3, statuses=["good"]
    )


def frame(**columns: pl.Series) -> pl.DataFrame:
    made = pl.DataFrame(
        {
            "channel": ["load"] * 4,
            "time": [START + QUARTER * row for row in (1, 2, 3, 4)],
            "value": pl.Series([Decimal("0.25"), Decimal("0.26"), Decimal("0.24"), Decimal("0.255")]),
            "quality": ["good"] * 4,
        }
    )
    return made.with_columns(**columns)


def test_columns_and_frames_are_answered_alike(client, request_):
    parts = request_.billing_request, request_.configuration
    by_columns, by_frame = client.determinants(*parts, [load()]), client.determinants(*parts, frame())
    assert by_columns.determinants == by_frame.determinants
    total, first, uncovered, peak, ratchet = by_columns
    assert (total.kind, total.value, total.unit, total.quality) == (tb.Kind.INTERVAL, Decimal("1.005"), "kWh", "good")
    assert (total.counts.expected_count, total.counts.missing_count, total.counts.coverage) == (4, 0, 1)
    assert total.counts.status_counts == {"good": 4}
    assert [(each.slice, each.value) for each in (first, uncovered)] == [
        ("T1", Decimal("0.495")),
        ("UNCOVERED", Decimal("0.51")),
    ]
    assert (peak.value, peak.peaks[0].start_time, peak.peaks[0].end_time) == (
        Decimal("1.04"),
        START + QUARTER,
        START + 2 * QUARTER,
    )
    assert (ratchet.demand, ratchet.value, ratchet.billing_channel) == (
        "ratchet",
        Decimal("2.1"),
        "BILLING_ACTIVE_DEMAND_ratchet",
    )
    assert by_columns.holiday_calendar_version == 7


def test_the_frame_of_a_result(client, request_):
    found = client.determinants(request_.billing_request, request_.configuration, [load()]).frame()
    assert found.schema == dict(tb.DETERMINANTS_SCHEMA)
    assert found["value"].to_list()[:2] == [Decimal("1.005"), Decimal("0.495")]


def test_quality_codes(client, request_):
    readings = tb.channel_readings(
        "load",
        np.array([1, 2, 3, 4]),
        START + QUARTER,
        QUARTER,
        statuses=["good", "none"],
        quality_codes=np.array([0, 1, 0, 0], dtype=np.uint8),
    )
    request_.billing_request.on_invalid = determinants_pb2.BillingRequest.REPORT
    result = client.determinants(request_.billing_request, request_.configuration, [readings])
    assert (result[0].value, result[0].quality) == (Decimal(8), "none")
    assert [cause.reason for cause in result.remarks] == ["NOT_BILLABLE"]


def test_a_cancellation_has_its_causes(client, request_):
    with pytest.raises(tb.DeterminantsCancelledError) as failure:
        client.determinants(request_.billing_request, request_.configuration, [])
    [cause] = failure.value.causes
    assert failure.value.reason == cause.reason == "NO_READINGS"
    assert (cause.channel, cause.start_time, cause.end_time) == ("load", START, START + timedelta(hours=1))


def test_a_stream_of_requests(client, request_):
    def requests() -> Iterator[Request]:
        for readings in ([load()], [], frame()):
            yield tb.determinants_request(request_.billing_request, request_.configuration, readings)
        yield Request()

    answers = list(client.stream_determinants(requests()))

    assert [each.request_number for each in answers] == [0, 1, 2, 3]
    assert answers[0].determinants.determinants == answers[2].determinants.determinants
    assert [cause.reason for cause in answers[1].causes] == ["NO_READINGS"]
    assert isinstance(answers[3].error, tb.InvalidArgumentError)
    assert (answers[3].answered_count, answers[3].cancelled_count, answers[3].refused_count) == (4, 1, 1)


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        ({"value": pl.Series([0.1, 0.2, float("nan"), 0.3])}, "floating-point numbers are not exact"),
        ({"time": pl.Series([START.replace(tzinfo=None)] * 4)}, "times without a zone"),
        ({"interval": pl.Series([15] * 4)}, "not a duration"),
        ({"quality": pl.Series([True] * 4)}, "not text"),
    ],
)
def test_a_frame_that_does_not_fit_is_refused_before_it_is_sent(request_, columns, found):
    with pytest.raises(tb.FrameError, match=found):
        tb.determinants_request(request_.billing_request, request_.configuration, frame(**columns))


def test_a_frame_without_a_column(request_):
    with pytest.raises(tb.FrameError, match="no column quality"):
        tb.determinants_request(request_.billing_request, request_.configuration, frame().drop("quality"))


def test_the_intervals_of_a_frame(client, request_):
    request_.configuration.channel_classifiers[0].ClearField("interval")
    readings = frame(interval=pl.Series([QUARTER] * 4, dtype=pl.Duration("us")))
    result = client.determinants(request_.billing_request, request_.configuration, readings)
    assert result[3].value == Decimal("1.04")
