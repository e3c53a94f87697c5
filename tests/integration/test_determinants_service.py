"""DeterminantsService over gRPC: results, cancellations that say why, streams that go on, and errors with a reason."""

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from tests.support.call_errors import failed_with
from tests.support.energy.sent_meter import Request, small_request
from tests.support.energy.wire import cancellation_of, read_cancellation
from tests.support.live_server import live_server

from tallybook.v1 import determinants_pb2, determinants_pb2_grpc
from tallybook_engine.determinants.result import Reason
from tallybook_server import limits

TOO_LARGE = bytes(limits.MESSAGE_BYTES_MAX + 1)
StreamRequest = determinants_pb2.StreamingCalculateDeterminantsRequest


@pytest.fixture(scope="module")
def target() -> Iterator[str]:
    with live_server() as address:
        yield address


@pytest.fixture
def service(target: str) -> Iterator[Any]:
    with grpc.insecure_channel(target) as channel:
        yield determinants_pb2_grpc.DeterminantsServiceStub(channel)


def without_readings(request: Request) -> Request:
    request.readings[0].regular_times.first_time.FromJsonString("2025-01-01T00:00:00Z")
    return request


def with_a_bad_one(request: Request) -> Request:
    request.readings[0].quality_codes = b"\0\1\0\1"
    return request


def without_calendar(request: Request) -> Request:
    request.configuration.datasources[0].holiday_calendar = ""
    return request


def with_an_old_calendar(request: Request) -> Request:
    request.configuration.holiday_calendars[0].valid_to_date = "2026-01-01"
    return request


def too_large(request: Request) -> Request:
    request.configuration.channel_classifiers[0].decimal_places = 0
    request.readings[0].decimal_places = 0
    request.readings[0].values[1] = 10**15
    return request


CANCELLED = [
    (without_readings, Reason.NO_READINGS),
    (with_a_bad_one, Reason.NOT_BILLABLE),
    (without_calendar, Reason.NO_HOLIDAY_CALENDAR),
    (with_an_old_calendar, Reason.HOLIDAY_CALENDAR_NOT_VALID),
    (too_large, Reason.DOES_NOT_FIT),
]


def test_a_result_says_everything(service: Any) -> None:
    result = service.CalculateDeterminants(small_request()).result

    found = {each.billing_channel: each for each in result.determinants}
    assert list(found) == [
        "BILLING_ACTIVE_INTERVAL",
        "BILLING_ACTIVE_TIMESLICE_tariff_T1",
        "BILLING_ACTIVE_TIMESLICE_tariff_UNCOVERED",
        "BILLING_ACTIVE_PMAX_POWER",
        "BILLING_READ_REGISTER",
        "BILLING_READ_REGISTER_DIFFERENCE",
        "BILLING_ACTIVE_DEMAND_ratchet",
    ]
    assert [each.value for each in found.values()] == ["1.005", "0.495", "0.51", "1.04", "1001", "1", "2.1"]
    total, peak = found["BILLING_ACTIVE_INTERVAL"], found["BILLING_ACTIVE_PMAX_POWER"]
    assert (total.unit, total.quality, total.counts.expected_count, total.counts.coverage) == ("kWh", "good", 4, "1")
    assert (peak.unit, peak.peaks[0].period.start_time.ToJsonString()) == ("kW", "2026-01-01T00:15:00Z")
    assert found["BILLING_READ_REGISTER"].read_time.ToJsonString() == "2026-01-01T01:00:00Z"
    assert (result.holiday_calendar, result.holiday_calendar_version) == ("none", 7)
    assert result.calculation_time.seconds > 0


@pytest.mark.parametrize(("change", "reason"), CANCELLED)
def test_a_cancelled_call_names_channel_period_and_reason(service: Any, change: Any, reason: Reason) -> None:
    with pytest.raises(grpc.RpcError) as failure:
        service.CalculateDeterminants(change(small_request()))

    # The reason of ErrorInfo, its metadata and the causes agree: `cancellation_of` looks at that.
    found = cancellation_of(failure.value)
    assert found is not None
    assert (found.datasource, found.reason, found.causes[0].channel) == ("m1", reason, "load")
    assert found.causes[0].end_us - found.causes[0].start_us == 3_600_000_000


def test_reported_instead_of_cancelled(service: Any) -> None:
    request = with_a_bad_one(small_request())
    request.billing_request.on_invalid = determinants_pb2.BillingRequest.REPORT

    result = service.CalculateDeterminants(request).result

    assert [each.detail for each in result.remarks] == ["readings that may not be billed: 2 bad"]
    assert result.determinants[0].quality == "bad"


def test_every_cause_fits_the_metadata_of_a_failed_call(service: Any) -> None:
    request = small_request()
    del request.readings[:], request.billing_request.demands[:], request.billing_request.channels[:]
    for index in range(250):
        name = f"{index:03}".rjust(200, "x")
        request.configuration.datasources[0].channels.add(name=name, classifier=name)
        request.configuration.channel_classifiers.add(id=name, unit="kWh", decimal_places=0)
        request.billing_request.channels.add(channel=name, kind=determinants_pb2.Determinant.INTERVAL)

    with pytest.raises(grpc.RpcError) as failure:
        service.CalculateDeterminants(request)

    found = cancellation_of(failure.value)
    assert found is not None
    assert 1 < len(found.causes) < 250
    assert "and 249 more" in str(failure.value)


def test_a_stream_answers_in_order_and_goes_on(service: Any) -> None:
    unknown_zone = small_request()
    unknown_zone.billing_request.time_zone = "Mars/Base"
    requests = [small_request(), with_a_bad_one(small_request()), unknown_zone, *[small_request()] * 40]
    sent = (StreamRequest(request_number=7 * index, request=each) for index, each in enumerate(requests))

    answers = list(service.StreamingCalculateDeterminants(sent))

    assert [each.request_number for each in answers] == [7 * index for index in range(43)]
    outcomes = [each.WhichOneof("outcome") for each in answers]
    assert outcomes == ["result", "cancellation", "status", *["result"] * 40]
    assert read_cancellation(answers[1].cancellation).reason is Reason.NOT_BILLABLE
    assert answers[2].status.message.startswith("billing_request.time_zone: ")
    whole = service.CalculateDeterminants(small_request()).result
    assert [list(each.result.determinants) for each in answers[3:]] == [list(whole.determinants)] * 40
    progress = answers[-1].progress
    assert (progress.answered_count, progress.cancelled_count, progress.refused_count) == (43, 1, 1)


def test_bytes_that_are_no_request(target: str) -> None:
    with grpc.insecure_channel(target) as channel:
        unary: Any = channel.unary_unary("/tallybook.v1.DeterminantsService/CalculateDeterminants")
        for message, reason in ((b"\xff", "MESSAGE_MALFORMED"), (TOO_LARGE, "MESSAGE_TOO_LARGE")):
            with pytest.raises(grpc.RpcError) as failure:
                unary(message)
            assert failed_with(failure.value) == reason
        stream: Any = channel.stream_stream("/tallybook.v1.DeterminantsService/StreamingCalculateDeterminants")
        whole = StreamRequest(request_number=3, request=small_request()).SerializeToString()
        messages = [b"\xff", TOO_LARGE, whole]
        answers = [
            determinants_pb2.StreamingCalculateDeterminantsResponse.FromString(each) for each in stream(iter(messages))
        ]
    assert [each.WhichOneof("outcome") for each in answers] == ["status", "status", "result"]
    assert [each.status.code for each in answers[:2]] == [3, 8]


def test_intervals_that_overlap_are_refused(service: Any) -> None:
    request = small_request()
    request.configuration.channel_classifiers[0].ClearField("interval")
    start_us = 1_767_225_600_000_000
    times = request.readings[0].listed_times
    times.times_us.extend(start_us + minute * 60_000_000 for minute in (10, 20, 30, 60))
    times.intervals_us.extend(minutes * 60_000_000 for minutes in (10, 10, 10, 45))
    with pytest.raises(grpc.RpcError) as failure:
        service.CalculateDeterminants(request)
    assert failed_with(failure.value) == "FIELD_INVALID"
    assert "overlap" in str(failure.value)


def test_intervals_of_one_length_that_overlap_are_refused(service: Any) -> None:
    request = small_request()
    start_us = 1_767_225_600_000_000
    request.readings[0].listed_times.times_us.extend(start_us + minute * 60_000_000 for minute in (15, 22, 30, 60))
    with pytest.raises(grpc.RpcError) as failure:
        service.CalculateDeterminants(request)
    assert failed_with(failure.value) == "FIELD_INVALID"
    assert "channel 'load': intervals overlap, at row 1: the one at 2026-01-01T00:22:00Z of 900 s" in str(failure.value)


def test_a_window_that_no_intervals_fill_is_refused(service: Any) -> None:
    request = small_request()
    demand = request.billing_request.demands.add(id="rolling", channel="load")
    demand.rolling.window.FromSeconds(1_200)
    with pytest.raises(grpc.RpcError) as failure:
        service.CalculateDeterminants(request)
    assert failed_with(failure.value) == "FIELD_INVALID"
    assert "billing_request.demands[1].rolling.window: 1200 s is no multiple of the 900 s" in str(failure.value)


def test_an_empty_request(service: Any) -> None:
    with pytest.raises(grpc.RpcError) as failure:
        service.CalculateDeterminants(Request())
    assert failed_with(failure.value) == "FIELD_INVALID"


TOO_LONG = "é" * 5_000


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda sent: setattr(sent.billing_request, "time_zone", TOO_LONG), "billing_request.time_zone"),
        (lambda sent: setattr(sent.billing_request.channels[0], "channel", TOO_LONG), "billing_request.channels"),
        (lambda sent: sent.billing_request.demands[0].history.append(TOO_LONG), "billing_request.demands[0].history"),
        (lambda sent: setattr(sent.readings[0], "channel", TOO_LONG), "readings[0].channel"),
        (lambda sent: setattr(sent.readings[0], "unit", TOO_LONG), "readings[0].unit"),
    ],
)
def test_a_name_of_any_length_is_refused_by_its_field(service: Any, change: Any, field: str) -> None:
    """What the error quotes is cut: clients refuse longer trailers, and would say nothing of the field."""
    sent = small_request()
    change(sent)

    with pytest.raises(grpc.RpcError) as failure:
        service.CalculateDeterminants(sent)

    assert failed_with(failure.value) == "FIELD_INVALID"
    assert str(failure.value.details()).startswith(field)


@pytest.mark.parametrize("method", ["ListReadings", "ListBillingReadings"])
def test_a_list_of_a_datasource_with_a_name_of_any_length_is_not_found(service: Any, method: str) -> None:
    sent = getattr(determinants_pb2, f"{method}Request")(datasource=TOO_LONG)
    setattr(sent, "channel" if method == "ListReadings" else "billing_channel", "load")

    with pytest.raises(grpc.RpcError) as failure:
        getattr(service, method)(sent)

    assert failure.value.code() is grpc.StatusCode.NOT_FOUND
