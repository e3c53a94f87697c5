"""The ingest service over a book that answers as it is told."""

import asyncio
import logging
from types import SimpleNamespace
from typing import Any, cast

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from tests.support.call_errors import failed_with, reason_of
from tests.support.events import PlainEvent, as_message, as_rows, as_stream, as_table
from tests.support.fake_books import FakeBooks, call, served, stream

from tallybook.v1 import ingest_pb2 as wire
from tallybook_server import limits
from tallybook_server.errors import ErrorCode, Fault
from tallybook_server.services.ingest import _prediction_budget_seconds

EVENTS = [as_message(PlainEvent(reference=f"event-{index}")) for index in range(3)]
FAILED, OK = wire.CostPrediction.FAILED, wire.CostPrediction.OK


def ingest(request: wire.IngestEventsRequest, books: FakeBooks | None = None, **options) -> wire.IngestEventsResponse:
    async def run() -> wire.IngestEventsResponse:
        async with served(books or FakeBooks()) as channel:
            return wire.IngestEventsResponse.FromString(
                await call(channel, "IngestEvents", request.SerializeToString(), **options)
            )

    return asyncio.run(run())


def test_events_are_stored_and_costed_in_their_order():
    response = ingest(wire.IngestEventsRequest(events=EVENTS, prediction_view=wire.CostPrediction.AMOUNTS))
    assert [row.event_id[-1] for row in response.results] == ["1", "2", "3"]
    assert [row.cost_prediction.details[0].amount_including_tax.quantity for row in response.results] == ["0.08"] * 3
    assert response.sequence == 1


def test_a_prediction_is_made_in_full_where_no_view_is_named():
    async def run() -> wire.PredictCostsResponse:
        async with served(FakeBooks()) as channel:
            request = wire.PredictCostsRequest(events=EVENTS).SerializeToString()
            return wire.PredictCostsResponse.FromString(await call(channel, "PredictCosts", request))

    response = asyncio.run(run())
    assert [len(row.cost_prediction.details[0].periods) for row in response.results] == [1, 1, 1]
    assert [row.event_id for row in response.results] == ["", "", ""], "nothing is stored"


# --- The prediction budget ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked_s", "deadline_s", "budget_s"),
    [
        (None, None, 5.0),
        (2.5, None, 2.5),
        (7.0, None, 5.0),
        (0.0, None, 0.0),
        (None, 1.0, 0.8),
        (None, 100.0, 5.0),
        (3.0, 2.0, 1.6),
    ],
)
def test_the_budget_is_at_most_5_s_and_80_percent_of_the_deadline(asked_s, deadline_s, budget_s):
    envelope = wire.IngestEventsRequest()
    if asked_s is not None:
        envelope.prediction_timeout.FromNanoseconds(int(asked_s * 1e9))
    assert _prediction_budget_seconds(envelope, deadline_s) == pytest.approx(budget_s)
    assert limits.PREDICTION_TIMEOUT_SECONDS_MAX == 5.0


def test_a_negative_budget_is_refused():
    envelope = SimpleNamespace(HasField=lambda _: True, prediction_timeout=Duration(seconds=-1))
    with pytest.raises(Fault, match="prediction_timeout"):
        _prediction_budget_seconds(envelope, None)


def test_costs_that_are_not_ready_in_time_fail_while_the_events_are_stored():
    # Given a book that never explains
    books = FakeBooks()
    book = asyncio.run(books.open("default"))
    book.before_explain = asyncio.Event().wait
    # When no time is given to it
    request = wire.IngestEventsRequest(
        events=EVENTS, prediction_view=wire.CostPrediction.FULL, prediction_timeout=Duration()
    )
    response = ingest(request, books)
    # Then
    assert [row.status for row in response.results] == [wire.EventResult.STORED] * 3
    assert [row.cost_prediction.response for row in response.results] == [FAILED] * 3
    assert len(book.ingested) == 1


def test_rows_that_were_ready_in_time_keep_their_costs():
    books = FakeBooks()
    book = asyncio.run(books.open("default"))
    asked: list[int] = []

    async def first_rows_only() -> None:
        asked.append(len(asked))
        if len(asked) > 1:
            await asyncio.Event().wait()

    book.before_explain = first_rows_only
    request = wire.IngestEventsRequest(events=[EVENTS[0]] * 1_100, prediction_view=wire.CostPrediction.AMOUNTS)
    request.prediction_timeout.nanos = 500_000_000
    response = ingest(request, books)
    assert [row.cost_prediction.response for row in response.results] == [OK] * 500 + [FAILED] * 600


# --- Streams --------------------------------------------------------------------------------------------------------


def batch(number: int, **payload) -> bytes:
    return wire.StreamingIngestEventsRequest(batch_number=number, **payload).SerializeToString()


def rows(*events: PlainEvent) -> wire.EventRows:
    return wire.EventRows.FromString(as_rows(list(events)))


def answers(requests: list[bytes], books: FakeBooks | None = None) -> list[wire.StreamingIngestEventsResponse]:
    async def run() -> list[bytes]:
        async with served(books or FakeBooks()) as channel:
            return await stream(channel, requests)

    return [wire.StreamingIngestEventsResponse.FromString(each) for each in asyncio.run(run())]


def test_rows_and_arrow_are_answered_with_counts_and_costs_where_asked():
    sound, faulty = PlainEvent(), PlainEvent(reference="")
    with_rows, with_arrow, silent = answers(
        [
            batch(5, rows=rows(sound, faulty, sound), return_costs=True),
            batch(3, arrow=as_stream(as_table([sound, sound])), return_costs=True),
            batch(9, rows=rows(sound)),
        ]
    )
    assert [each.batch_number for each in (with_rows, with_arrow, silent)] == [5, 3, 9]
    assert (with_rows.result.stored_count, with_rows.result.invalid_count) == (2, 1)
    assert with_rows.result.exceptional_rows[0].fault.reason == "REFERENCE_EMPTY"
    assert list(with_rows.result.costs.row) == [0, 2]
    assert list(with_arrow.result.costs.amount_excluding_tax) == [7, 7]
    assert not with_arrow.result.costs.row, "every row has one entry"
    assert not silent.result.HasField("costs")


BAD_BATCHES = [
    (b"\xff\xff", "MESSAGE_MALFORMED"),
    (batch(2), "FIELD_INVALID"),
    (batch(3, rows=rows(PlainEvent()))[:-1], "MESSAGE_MALFORMED"),
    (batch(4, arrow=b"no stream"), "ARROW_MALFORMED"),
    (batch(5, arrow=as_stream(as_table([PlainEvent()]).drop_columns(["reference"]))), "ARROW_COLUMN_MISSING"),
    (batch(6, rows=wire.EventRows(events=[EVENTS[0]] * (limits.EVENTS_IN_BATCH_MAX + 1))), "TOO_MANY_EVENTS"),
    (batch(7, arrow=bytes(limits.MESSAGE_BYTES_MAX)), "MESSAGE_TOO_LARGE"),
]


def test_a_message_that_is_wrong_as_a_whole_is_answered_and_the_stream_goes_on():
    # Given a sound batch behind each wrong one
    books = FakeBooks()
    sound = batch(100, rows=rows(PlainEvent()))
    found = answers([each for bad, _ in BAD_BATCHES for each in (bad, sound)], books)
    # Then each is answered in its place, by its number where it can be read
    assert [reason_of(each.status) for each in found[::2]] == [reason for _, reason in BAD_BATCHES]
    assert [each.batch_number for each in found[::2]] == [0, 2, 0, 4, 5, 6, 0]
    assert [each.result.stored_count for each in found[1::2]] == [1] * len(BAD_BATCHES)
    assert len(asyncio.run(books.open("default")).ingested) == len(BAD_BATCHES), "nothing of the wrong ones is stored"


def test_a_commit_that_fails_is_the_answer_of_its_batch():
    books = FakeBooks()
    book = asyncio.run(books.open("default"))
    failures = iter(
        [Fault(ErrorCode.COMMIT_FAILED, "nothing was stored"), RuntimeError("a secret of the server"), None]
    )

    async def fail() -> None:
        failure = next(failures)
        if failure is not None:
            raise failure

    book.before_ingest = fail
    refused, broken, stored = answers([batch(number, rows=rows(PlainEvent())) for number in range(3)], books)
    assert (refused.status.code, reason_of(refused.status)) == (grpc.StatusCode.UNAVAILABLE.value[0], "COMMIT_FAILED")
    assert reason_of(broken.status) == "INTERNAL"
    assert "secret" not in broken.status.message
    assert stored.result.stored_count == 1


# --- What the interceptor sees to -----------------------------------------------------------------------------------


def failure_of(method: str, request: bytes, books: FakeBooks | None = None) -> grpc.aio.AioRpcError:
    async def run() -> grpc.aio.AioRpcError:
        async with served(books or FakeBooks()) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await call(channel, method, request)
            return error.value

    return asyncio.run(run())


@pytest.mark.parametrize("method", ["IngestEvents", "PredictCosts", "DeleteEvents", "GetEvent", "ListEvents"])
def test_truncated_messages_are_refused(method):
    request = wire.IngestEventsRequest(events=EVENTS).SerializeToString()
    assert failed_with(failure_of(method, request[:-1])) == "MESSAGE_MALFORMED"


@pytest.mark.parametrize("method", ["IngestEvents", "PredictCosts", "DeleteEvents", "GetEvent", "ListEvents"])
def test_a_message_may_have_16_mib_and_not_a_byte_more(method):
    # A field that no message has, so long that the message has just the size
    length = limits.MESSAGE_BYTES_MAX - 6
    field = b"\xfa\x07" + bytes(
        [length & 0x7F | 0x80, length >> 7 & 0x7F | 0x80, length >> 14 & 0x7F | 0x80, length >> 21]
    )
    at_the_edge = field + bytes(length)
    assert len(at_the_edge) == limits.MESSAGE_BYTES_MAX
    assert failed_with(failure_of(method, at_the_edge + b"\0")) == "MESSAGE_TOO_LARGE"
    books = FakeBooks()
    books.failure = Fault(ErrorCode.OVERLOADED, "got as far as the book")
    assert failed_with(failure_of(method, at_the_edge, books)) == "OVERLOADED"


def test_what_nobody_expected_is_internal_and_the_log_has_the_number(caplog):
    books = FakeBooks()
    book = asyncio.run(books.open("default"))

    async def fail() -> None:
        raise RuntimeError("a secret of the server")

    book.before_ingest = fail
    with caplog.at_level(logging.ERROR, logger="tallybook.calls"):
        error = failure_of("IngestEvents", wire.IngestEventsRequest(events=EVENTS).SerializeToString(), books)
    assert failed_with(error) == "INTERNAL"
    assert "secret" not in str(error.details())
    [record] = caplog.records
    assert str(record.args[0]) in str(error.details())
    assert "a secret of the server" in caplog.text


def test_more_unanswered_bytes_than_the_limit_are_overload(monkeypatch):
    monkeypatch.setattr(limits, "UNANSWERED_BYTES_MAX", 50)
    small, large = (
        wire.IngestEventsRequest(events=EVENTS[:count]).SerializeToString() for count in (1, 3)
    )  # fmt: skip
    assert len(small) <= 50 < len(large)
    error = failure_of("IngestEvents", large)
    assert failed_with(error) == "OVERLOADED"
    assert limits.PUSHBACK_MS_MIN <= int(dict(error.trailing_metadata())["grpc-retry-pushback-ms"]) <= 400


@pytest.mark.parametrize(
    ("method", "request_", "reason"),
    [
        ("GetEvent", wire.GetEventRequest(), "FIELD_INVALID"),
        ("GetEvent", wire.GetEventRequest(event=wire.EventSelector(event_id="evt_1")), "FIELD_INVALID"),
        ("GetEvent", wire.GetEventRequest(event=wire.EventSelector(event_id="evt_" + "1" * 16)), "EVENT_NOT_FOUND"),
        (
            "DeleteEvents",
            wire.DeleteEventsRequest(events=[wire.EventSelector()] * (limits.SELECTORS_IN_CALL_MAX + 1)),
            "TOO_MANY_SELECTORS",
        ),
        ("ListEvents", wire.ListEventsRequest(page_size=-1), "FIELD_INVALID"),
        ("ListEvents", wire.ListEventsRequest(page_token="abc"), "PAGE_TOKEN_INVALID"),
        ("ListEvents", wire.ListEventsRequest(matches=[cast(Any, 77)]), "FIELD_INVALID"),
        ("ListEvents", wire.ListEventsRequest(start_time=Timestamp(seconds=-1)), "FIELD_INVALID"),
        (
            "ListEvents",
            wire.ListEventsRequest(start_time=Timestamp(seconds=5), end_time=Timestamp(seconds=4)),
            "FIELD_INVALID",
        ),
        ("ListEvents", wire.ListEventsRequest(customer_id="a", customer_reference="a"), "FIELD_INVALID"),
        ("ListUsage", wire.ListUsageRequest(), "FIELD_INVALID"),
        ("ListUsage", wire.ListUsageRequest(customer_id="a", as_of_sequence=-1), "FIELD_INVALID"),
        ("ListCharges", wire.ListChargesRequest(customer_id="a", include_unopened=True), "FIELD_INVALID"),
        ("ListCharges", wire.ListChargesRequest(customer_id="a", page_token="=?"), "PAGE_TOKEN_INVALID"),
    ],
)
def test_requests_that_are_wrong_say_why(method, request_, reason):
    assert failed_with(failure_of(method, request_.SerializeToString())) == reason


def test_so_many_selectors_are_taken():
    async def run() -> FakeBooks:
        books = FakeBooks()
        async with served(books) as channel:
            request = wire.DeleteEventsRequest(events=[wire.EventSelector()] * limits.SELECTORS_IN_CALL_MAX)
            await call(channel, "DeleteEvents", request.SerializeToString())
        return books

    books = asyncio.run(run())
    assert len(books.books["default"].deleted[0]) == limits.SELECTORS_IN_CALL_MAX
