"""Batches over one streaming call: pipelined, in a bounded window, resent after a break."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, NamedTuple, TypeAlias, TypeVar, cast

import grpc
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tallybook.v1 import ingest_pb2
from tallybook_client.costs import Costs
from tallybook_client.errors import ServerFaultError, TallybookError, UnavailableError, from_call, from_status
from tallybook_client.events import AnyEvent, event_messages
from tallybook_client.frames import ipc_stream
from tallybook_client.results import Match, RowFault, Status

WINDOW_BATCHES = 15
"""Unanswered batches at most. The server stops reading at 16, so one less never waits for it."""

Batch: TypeAlias = Iterable[AnyEvent] | pa.RecordBatch
"""One batch: events, or a record batch of the Arrow schema `events`."""

Request = ingest_pb2.StreamingIngestEventsRequest
Response = ingest_pb2.StreamingIngestEventsResponse


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How a broken stream is taken up again."""

    attempt_limit: int = 20
    """Breaks in a row without an answer in between before giving up."""
    first_backoff_s: float = 0.1
    largest_backoff_s: float = 5.0
    sleep: Callable[[float], None] = time.sleep
    """Waits so many seconds."""

    def wait(self, error: TallybookError, attempt: int) -> None:
        """Wait before try `attempt` (from 1): as long as the server asked, else twice as long each time, spread out."""
        if error.pushback_s is not None:
            self.sleep(error.pushback_s)
            return
        backoff_s = min(self.first_backoff_s * 2 ** (attempt - 1), self.largest_backoff_s)
        self.sleep(backoff_s * random.uniform(0.8, 1.2))

    def gives_up(self, error: TallybookError, attempt: int) -> bool:
        """Whether `error`, the break number `attempt` in a row, is final."""
        refused = error.pushback_s is not None and error.pushback_s < 0
        return not isinstance(error, UnavailableError) or refused or attempt > self.attempt_limit


@dataclass(frozen=True, slots=True)
class ExceptionalRow:
    """A row of a batch that wants attention."""

    row: int
    status: Status
    match: Match
    fault: RowFault | None


@dataclass(frozen=True, slots=True)
class BatchAnswer:
    """What became of one batch."""

    batch_number: int
    """Counted from 0 in the order of the batches given."""
    row_count: int
    sequence: int
    """The committed sequence that holds it; 0 where nothing was stored."""
    stored_count: int
    duplicate_count: int
    conflict_count: int
    unpriced_count: int
    invalid_count: int
    matched_count: int
    duplicate_rows: NDArray[np.uint32]
    costs: Costs | None
    """None unless asked for."""
    message: ingest_pb2.BatchResult = field(repr=False, compare=False)

    @classmethod
    def read(cls, batch_number: int, result: ingest_pb2.BatchResult, row_count: int) -> BatchAnswer:
        """The answer to a batch of `row_count` rows."""
        return cls(
            batch_number,
            row_count,
            result.sequence,
            result.stored_count,
            result.duplicate_count,
            result.conflict_count,
            result.unpriced_count,
            result.invalid_count,
            result.matched_count,
            np.asarray(result.duplicate_rows, dtype=np.uint32),
            Costs.read(result.costs, row_count) if result.HasField("costs") else None,
            result,
        )

    def exceptional_rows(self) -> Iterator[ExceptionalRow]:
        """Rows that want attention, ascending by row, without those that were stored before: they are in
        `duplicate_rows`. Read one by one, for there may be one a row.
        """
        for row in self.message.exceptional_rows:
            if row.status != ingest_pb2.EventResult.DUPLICATE:
                yield _exceptional_row(row)


_Request = TypeVar("_Request")
_Sent = TypeVar("_Sent")
_Read = TypeVar("_Read")


class _SentBatch(NamedTuple):
    """A batch on its way, kept until it is answered."""

    request: Request
    row_count: int


def stream_batches(
    open_call: Callable[[Iterator[Request]], Any],
    batches: Iterable[Batch],
    return_costs: bool,
    retry: RetryPolicy,
) -> Iterator[BatchAnswer]:
    """The answer to each batch of events, in order; what had been stored unseen is answered DUPLICATE, with its costs.
    See `stream_in_window`.
    """

    def read(response: Response, sent: _SentBatch) -> BatchAnswer:
        return BatchAnswer.read(response.batch_number, response.result, sent.row_count)

    sent = (_request(number, batch, return_costs) for number, batch in enumerate(batches))
    return stream_in_window(open_call, sent, lambda each: each.request, read, retry)


def stream_in_window(
    open_call: Callable[[Iterator[_Request]], Any],
    batches: Iterator[_Sent],
    request_of: Callable[[_Sent], _Request],
    read: Callable[[Any, _Sent], _Read],
    retry: RetryPolicy,
) -> Iterator[_Read]:
    """What `read` makes of the answer to each batch, in order. `open_call` starts a call from an iterator of requests.

    At most WINDOW_BATCHES are unanswered. When the call breaks, or one batch was not committed, all unanswered batches
    are sent again on a new call. Raises what the server answers for a whole batch, with a note that gives the batch's
    number.
    """
    unanswered: dict[int, _Sent] = {}
    attempt = 0
    source = enumerate(batches)
    while True:
        try:
            for answer in _one_call(open_call, source, unanswered, request_of, read):
                attempt = 0
                yield answer
            return
        except TallybookError as error:
            attempt += 1
            if retry.gives_up(error, attempt):
                raise
            retry.wait(error, attempt)


def _one_call(
    open_call: Callable[[Iterator[_Request]], Any],
    source: Iterator[tuple[int, _Sent]],
    unanswered: dict[int, _Sent],
    request_of: Callable[[_Sent], _Request],
    read: Callable[[Any, _Sent], _Read],
) -> Iterator[_Read]:
    """Answers of one call, until every batch is answered; raises TallybookError where it breaks."""
    outbox: SimpleQueue[_Request | None] = SimpleQueue()
    for sent in unanswered.values():
        outbox.put(request_of(sent))
    call = open_call(cast(Iterator[_Request], iter(outbox.get, None)))
    try:
        while True:
            while len(unanswered) < WINDOW_BATCHES and (numbered := next(source, None)) is not None:
                number, sent = numbered
                unanswered[number] = sent
                outbox.put(request_of(sent))
            if not unanswered:
                return
            response, sent = _answered(_next(call), unanswered)
            yield read(response, sent)
    finally:
        # Everything is answered, or will be sent again: nothing that this call still holds is wanted.
        outbox.put(None)
        call.cancel()


def _next(call: Any) -> Any:
    """The next answer; TallybookError where the call is over."""
    try:
        return next(call)
    except grpc.RpcError as error:
        raise from_call(error) from None
    except StopIteration:
        message = "the server ended the stream with batches unanswered"
        raise UnavailableError(grpc.StatusCode.UNAVAILABLE, message) from None


def _request(number: int, batch: Batch, return_costs: bool) -> _SentBatch:
    if isinstance(batch, pa.RecordBatch):
        arrow = ipc_stream(batch)
        return _SentBatch(Request(batch_number=number, arrow=arrow, return_costs=return_costs), batch.num_rows)
    rows = ingest_pb2.EventRows(events=event_messages(batch))
    return _SentBatch(Request(batch_number=number, rows=rows, return_costs=return_costs), len(rows.events))


def _answered(response: Any, unanswered: dict[int, _Sent]) -> tuple[Any, _Sent]:
    """(response, the batch that it answers); raises what the server says of the whole batch."""
    number = response.batch_number
    if response.WhichOneof("outcome") == "status":
        error = from_status(response.status)
        error.add_note(f"batch {number}")
        raise error
    if number not in unanswered:
        raise ServerFaultError(grpc.StatusCode.INTERNAL, f"the server answered batch {number}, which is not awaited")
    return response, unanswered.pop(number)


def _exceptional_row(message: ingest_pb2.ExceptionalRow) -> ExceptionalRow:
    return ExceptionalRow(
        message.row,
        Status(ingest_pb2.EventResult.Status.Name(message.status)),
        Match(ingest_pb2.EventResult.Match.Name(message.match)),
        RowFault.read(message.fault) if message.HasField("fault") else None,
    )
