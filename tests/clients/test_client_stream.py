"""A stream keeps few batches unanswered, gives each one answer, and survives breaks by sending again."""

import grpc
import numpy as np
import polars as pl
import pytest

from tallybook.v1 import determinants_pb2, ingest_pb2
from tallybook_client import (
    WINDOW_BATCHES,
    Client,
    ColumnMap,
    Event,
    InvalidArgumentError,
    RetryPolicy,
    UnavailableError,
)


def batches_of(count: int, rows: int = 2) -> list[list[Event]]:
    return [
        [
            Event(reference=f"{batch}-{row}", customer_reference="c", meter_reference="m", values={"v": row})
            for row in range(rows)
        ]
        for batch in range(count)
    ]


def numbers(requests) -> list[int]:
    return [request.batch_number for request in requests]


def test_every_batch_is_answered_in_order(client, service):
    # Given more batches than the window holds
    # When they are streamed
    answers = list(client.stream(batches_of(40)))

    # Then each is answered once, in order, and the key went along
    assert [answer.batch_number for answer in answers] == list(range(40))
    assert [answer.stored_count for answer in answers] == [2] * 40
    assert numbers(service.streams[0]) == list(range(40))
    assert service.metadata[0]["authorization"] == "Bearer tb_secret"


def test_no_more_than_the_window_is_unanswered(client, service):
    # Given a server that answers nothing until it has a full window
    received = []

    def after_a_full_window(requests, context, attempt):
        for request in requests:
            received.append(request)
            if len(received) == WINDOW_BATCHES:
                break
        # One batch more can only come once one is answered.
        for index in range(40):
            yield service_answer(received[index])
            if len(received) < 40:
                received.append(next(requests))
            largest.append(len(received) - index - 1)

    def service_answer(request):
        return ingest_pb2.StreamingIngestEventsResponse(
            batch_number=request.batch_number, result=ingest_pb2.BatchResult(stored_count=2)
        )

    largest: list[int] = []
    service.on_stream = after_a_full_window

    # When 40 batches are streamed
    taken: list[int] = []

    def source():
        for number, batch in enumerate(batches_of(40)):
            taken.append(number)
            yield batch

    unanswered = [len(taken) - answer.batch_number for answer in client.stream(source())]

    # Then the window is used in full, and never passed
    assert len(unanswered) == 40
    assert max(unanswered) == max(largest) == WINDOW_BATCHES


@pytest.mark.parametrize("answered", [0, 1, 7])
def test_after_a_break_all_unanswered_batches_are_sent_again(client, service, waits, answered):
    # Given a server that breaks the first stream after a few answers
    def break_once(requests, context, attempt):
        for index, request in enumerate(requests):
            if attempt == 1 and index == answered:
                context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
            yield ingest_pb2.StreamingIngestEventsResponse(
                batch_number=request.batch_number, result=ingest_pb2.BatchResult(stored_count=2)
            )

    service.on_stream = break_once

    # When 20 batches are streamed
    got = [answer.batch_number for answer in client.stream(batches_of(20))]

    # Then each is answered once, and the second stream began at the first that was not
    assert got == list(range(20))
    assert numbers(service.streams[1]) == list(range(answered, 20))
    assert len(waits) == 1


def test_a_batch_that_was_not_committed_is_sent_again(client, service, answers):
    # Given a server whose first commit fails
    def fail_first(requests, context, attempt):
        for request in requests:
            if attempt == 1 and request.batch_number == 3:
                yield answers.failed(request, answers.UNAVAILABLE, "COMMIT_FAILED")
            else:
                yield answers.OK(request)

    service.on_stream = fail_first

    # When five batches are streamed, then the fourth is answered in the end, in its place
    assert [answer.batch_number for answer in client.stream(batches_of(5))] == [0, 1, 2, 3, 4]
    assert numbers(service.streams[1])[0] == 3


def test_a_batch_that_is_refused_as_a_whole_raises_its_reason(client, service, answers, waits):
    # Given a server that finds the second batch wrong
    def refuse(requests, context, attempt):
        for request in requests:
            if request.batch_number == 1:
                yield answers.failed(request, answers.INVALID_ARGUMENT, "ARROW_COLUMN_TYPE")
            else:
                yield answers.OK(request)

    service.on_stream = refuse

    # When it is streamed
    with pytest.raises(InvalidArgumentError) as raised:
        list(client.stream(batches_of(3)))

    # Then the caller learns why and of which batch, and nothing was tried again
    assert raised.value.reason == "ARROW_COLUMN_TYPE"
    assert raised.value.__notes__ == ["batch 1"]
    assert waits == []


@pytest.mark.parametrize(
    ("pushback", "expected_waits"),
    [("250", [0.25]), ("0", [0.0])],
)
def test_the_server_says_how_long_to_wait(client, service, waits, pushback, expected_waits):
    def overloaded_once(requests, context, attempt):
        if attempt == 1:
            context.set_trailing_metadata((("grpc-retry-pushback-ms", pushback),))
            context.abort(grpc.StatusCode.UNAVAILABLE, "overloaded")
        for request in requests:
            yield ingest_pb2.StreamingIngestEventsResponse(
                batch_number=request.batch_number, result=ingest_pb2.BatchResult()
            )

    service.on_stream = overloaded_once
    assert len(list(client.stream(batches_of(2)))) == 2
    assert waits == expected_waits


@pytest.mark.parametrize("pushback", ["-1", "soon"])
def test_a_server_that_wants_no_retry_gets_none(client, service, waits, pushback):
    def refuse(requests, context, attempt):
        context.set_trailing_metadata((("grpc-retry-pushback-ms", pushback),))
        context.abort(grpc.StatusCode.UNAVAILABLE, "go away")

    service.on_stream = refuse
    with pytest.raises(UnavailableError, match="go away"):
        list(client.stream(batches_of(2)))
    assert waits == []


def test_waits_grow_up_to_a_bound_and_end(target, service):
    # Given a server that is never there
    def absent(requests, context, attempt):
        context.abort(grpc.StatusCode.UNAVAILABLE, "absent")

    service.on_stream = absent
    waits: list[float] = []
    retry = RetryPolicy(attempt_limit=6, first_backoff_s=0.1, largest_backoff_s=1.0, sleep=waits.append)

    # When something is streamed to it
    with Client(target, retry=retry) as client, pytest.raises(UnavailableError, match="absent"):
        list(client.stream(batches_of(1)))

    # Then the client waited twice as long each time, up to the bound, and gave up after the limit
    assert len(waits) == 6
    for wait, middle in zip(waits, [0.1, 0.2, 0.4, 0.8, 1.0, 1.0], strict=True):
        assert 0.8 * middle <= wait <= 1.2 * middle


def test_an_answer_resets_the_count_of_breaks(target, service):
    # Given a server that answers one batch a stream and then breaks
    def one_each(requests, context, attempt):
        yield ingest_pb2.StreamingIngestEventsResponse(
            batch_number=next(requests).batch_number, result=ingest_pb2.BatchResult()
        )
        context.abort(grpc.StatusCode.UNAVAILABLE, "again")

    service.on_stream = one_each
    waits: list[float] = []

    # When ten batches are streamed by a client that bears one break in a row
    with Client(target, retry=RetryPolicy(attempt_limit=1, sleep=waits.append)) as client:
        answered = [answer.batch_number for answer in client.stream(batches_of(10))]

    # Then it comes through
    assert answered == list(range(10))
    assert len(waits) == 9


def test_a_fault_of_the_source_reaches_the_caller(client):
    def source():
        yield from batches_of(1)
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        list(client.stream(source()))


def test_a_frame_comes_back_as_costs_by_row(client, service):
    # Given a frame of 7 rows
    frame = pl.DataFrame(
        {
            "reference": [f"r{row}" for row in range(7)],
            "who": ["a", "b", "a", "b", "a", "b", "a"],
            "miles": [1, 2, None, 4, 5, 6, 7],
        }
    )
    seen: list[int] = []

    # When it is ingested in batches of 3 with costs
    report = client.ingest_frame(
        frame,
        ColumnMap({"customer_reference": "who", "value:miles": "miles"}, {"meter_reference": "flight"}),
        batch_rows=3,
        return_costs=True,
        on_progress=lambda progress: seen.append(progress.row_count),
    )

    # Then rows count through all batches
    assert (report.row_count, report.stored_count, report.sequence) == (7, 7, 3)
    assert seen == [3, 6, 7]
    costs = report.costs_frame()
    assert costs["row"].to_list() == list(range(7))
    assert [str(amount) for amount in costs["amount_excluding_tax"]] == [
        "0.00", "0.01", "0.02", "0.00", "0.01", "0.02", "0.00",
    ]  # fmt: skip
    assert costs["currency"].to_list() == ["EUR"] * 7
    assert costs.schema["amount_excluding_tax"] == pl.Decimal(38, 2)


def test_exceptional_rows_are_rows_of_the_frame(client, service):
    # Given a server that finds row 1 of each batch invalid, and row 0 stored before
    def row_one_is_bad(requests, context, attempt):
        for request in requests:
            result = ingest_pb2.BatchResult(stored_count=2, invalid_count=1, duplicate_rows=[2])
            result.exceptional_rows.add(row=0, status=ingest_pb2.EventResult.DUPLICATE)
            row = result.exceptional_rows.add(row=1, status=ingest_pb2.EventResult.INVALID)
            row.fault.reason = "VALUE_UNKNOWN"
            result.exceptional_rows.add(
                row=2, status=ingest_pb2.EventResult.STORED, match=ingest_pb2.EventResult.NO_CUSTOMER
            )
            yield ingest_pb2.StreamingIngestEventsResponse(batch_number=request.batch_number, result=result)

    service.on_stream = row_one_is_bad
    frame = pl.DataFrame({"reference": list("abcdef"), "customer_reference": "c", "meter_reference": "m"})

    # When two batches are ingested
    report = client.ingest_frame(frame, batch_rows=3)

    # Then the report names rows 1 and 4
    assert [(row.row, row.status, row.fault.reason) for row in report.refused_rows] == [
        (1, "INVALID", "VALUE_UNKNOWN"),
        (4, "INVALID", "VALUE_UNKNOWN"),
    ]
    assert report.refused_count == 2
    assert report.unmatched_counts == {"NO_CUSTOMER": 2}
    assert report.costs.rows.dtype == np.int64


def test_readings_are_sent_again_after_a_break_too(client, service, waits):
    # Given a server that breaks the first stream after one answer
    def break_once(requests, context, attempt):
        for count, request in enumerate(requests):
            if attempt == 1 and count:
                context.abort(grpc.StatusCode.UNAVAILABLE, "broken")
            result = determinants_pb2.ReadingsBatchResult(sequence=attempt, stored_count=1)
            yield determinants_pb2.IngestReadingsResponse(batch_number=request.batch_number, result=result)

    service.on_stream = break_once
    readings = determinants_pb2.ChannelReadings(channel="load")

    answers = list(client.ingest_readings([[("m1", readings)]] * 5))

    assert [(answer.batch_number, answer.sequence) for answer in answers] == [
        (0, 1),
        *((each, 2) for each in range(1, 5)),
    ]
    assert [request.batch_number for request in service.streams[1]] == [1, 2, 3, 4]
    assert len(waits) == 1
