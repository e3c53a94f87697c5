"""IngestService: events in, exact money out; readings in."""
# ruff: noqa: N802 - methods bear the names of the contract

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Any, Protocol, TypeVar
from weakref import WeakKeyDictionary

import grpc
from google.protobuf import message_factory
from grpc.aio import ServicerContext

from tallybook.v1 import determinants_pb2
from tallybook.v1 import ingest_pb2 as wire
from tallybook_engine.asking import GoOn
from tallybook_engine.ledger.columns import EventColumns
from tallybook_engine.ledger.costs import CostArrays
from tallybook_engine.ledger.invoices import InvoicedCharges
from tallybook_engine.ledger.net_amounts import NetAmount
from tallybook_engine.ledger.outcomes import (
    ChargeLine,
    DeleteOutcome,
    EventSelector,
    Explained,
    ReprocessProgress,
    StageOutcome,
    StoredEvent,
    UsageTotal,
)
from tallybook_engine.ledger.reads import EventFilter
from tallybook_server import invoices, limits
from tallybook_server.codec import results
from tallybook_server.codec.envelope import IngestEventsEnvelope, StreamRequest, parsed, read_stream_request
from tallybook_server.codec.events import decode_payload, decode_predict_request
from tallybook_server.codec.pagination import page_size, read_token, write_token
from tallybook_server.codec.selectors import (
    read_customer,
    read_delete_selectors,
    read_event_filter,
    read_selector,
    read_stretch,
)
from tallybook_server.errors import ErrorCode, Fault, field_invalid, status_message
from tallybook_server.interceptors import check_size, internal_fault
from tallybook_server.services.deletions import found_deletion
from tallybook_server.services.gathering import Gathering, Stored
from tallybook_server.services.readings import ReadingsBook, ReadingsStream
from tallybook_server.services.stored_lists import ListedBook
from tallybook_server.services.streaming import AnswersInOrder, Turn
from tallybook_server.services.unanswered import UnansweredBytes
from tallybook_server.services.until_ended import until_ended

SMALL_ROWS = 8
"""So many results are encoded at once: to hand them to another thread and back would take longer."""

SERVICE = "tallybook.v1.IngestService"
RAW_METHODS = ("IngestEvents", "StreamingIngestEvents", "PredictCosts", "IngestReadings")
"""Take their requests as bytes, so that no object is made for an event."""
RAW_ANSWERS = ("StreamingIngestEvents",)
"""Answer bytes, so that no object is made for a cost."""

Context = ServicerContext[Any, Any]
Answer = TypeVar("Answer")


class Predicted(Stored, Protocol):
    """What events would do."""

    explained: list[list[Explained]]


class Page(Protocol):
    """Stored events, and how to go on."""

    events: list[StoredEvent]
    next_position: tuple[int, int] | None
    upto_sequence: int


class IngestBook(ReadingsBook, ListedBook, Protocol):
    """What the service needs of a book."""

    name: str

    async def ingest(self, columns: EventColumns, *, duplicates_costed: bool) -> Stored: ...
    async def predict(self, columns: EventColumns) -> Predicted: ...
    async def explain(self, outcome: StageOutcome, rows: Iterable[int]) -> list[list[Explained]]: ...
    def price_columns(self, outcome: StageOutcome) -> CostArrays: ...
    async def delete(self, selectors: Sequence[EventSelector]) -> tuple[list[DeleteOutcome], int]: ...
    async def get_event(self, selector: EventSelector) -> StoredEvent | None: ...
    async def list_events(
        self, wanted: EventFilter, after: tuple[int, int] | None, upto_sequence: int | None, limit: int
    ) -> Page: ...
    async def usage(
        self,
        customer: str,
        customer_is_id: bool,
        start_us: int | None,
        end_us: int | None,
        as_of_sequence: int | None,
        go_on: GoOn,
    ) -> tuple[list[UsageTotal], int]: ...
    async def charges(
        self,
        customer: str,
        customer_is_id: bool,
        start_us: int | None,
        end_us: int | None,
        as_of_sequence: int | None,
        include_unopened: bool,
        go_on: GoOn,
    ) -> tuple[list[ChargeLine], int]: ...
    async def net_amounts(
        self,
        customer: str,
        customer_is_id: bool,
        start_us: int | None,
        end_us: int | None,
        as_of_sequence: int | None,
        go_on: GoOn,
    ) -> list[NetAmount]: ...
    async def invoiced(
        self,
        customer: str,
        customer_is_id: bool,
        start_us: int,
        end_us: int,
        as_of_sequence: int | None,
        go_on: GoOn,
    ) -> InvoicedCharges: ...
    def reprocess(
        self,
        customer: str | None,
        customer_is_id: bool,
        start_us: int | None,
        end_us: int | None,
        move_pins: bool,
        validate_only: bool,
        resume_token: str,
    ) -> AsyncIterator[ReprocessProgress]: ...


class IngestService:
    """Decodes and encodes on the executor's threads, and leaves the rest to the book."""

    def __init__(self, book_of: Callable[[Context], IngestBook], executor: Executor) -> None:
        """`book_of` answers the book that a call's credential names."""
        self._book_of = book_of
        self._executor = executor
        self._unanswered = UnansweredBytes(limits.UNANSWERED_BYTES_MAX)
        self._gatherings: WeakKeyDictionary[IngestBook, Gathering] = WeakKeyDictionary()

    async def IngestEvents(self, request: bytes, context: Context) -> wire.IngestEventsResponse:
        """Stores events; their costs may take as long as the prediction budget."""
        begun = time.monotonic()
        if not self._unanswered.take(len(request)):
            raise Fault(ErrorCode.OVERLOADED, f"{limits.UNANSWERED_BYTES_MAX} bytes of requests are unanswered.")
        try:
            envelope = parsed(IngestEventsEnvelope, request)
            budget_ends = begun + _prediction_budget_seconds(envelope, context.time_remaining())
            view = envelope.prediction_view
            costed = view in (wire.CostPrediction.AMOUNTS, wire.CostPrediction.FULL)
            book = self._book_of(context)
            stored = await self._gathering(book).ingest(request, costed)
            explained = await stored.explained(budget_ends - time.monotonic())
            if len(stored.outcome.status) <= SMALL_ROWS:
                each = results.event_results(stored.outcome, view, explained)
            else:
                each = await self._beside(results.event_results, stored.outcome, view, explained)
            return wire.IngestEventsResponse(results=each, sequence=stored.sequence)
        finally:
            self._unanswered.give_back(len(request))

    async def StreamingIngestEvents(self, requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        """Batches, answered in order; what is wrong with one is its answer, and the stream goes on."""
        book = self._book_of(context)

        async def answer(message: bytes, turn: Turn) -> bytes:
            batch_number = 0
            try:
                check_size(message)
                request = read_stream_request(message)
                batch_number = request.batch_number
                return await self._batch(book, request, turn)
            except Fault as fault:
                status = status_message(fault)
            except Exception:
                status = status_message(internal_fault())
            return wire.StreamingIngestEventsResponse(batch_number=batch_number, status=status).SerializeToString()

        async for response in AnswersInOrder(requests, answer, self._unanswered).answers():
            yield response

    async def IngestReadings(
        self, requests: AsyncIterator[bytes], context: Context
    ) -> AsyncIterator[determinants_pb2.IngestReadingsResponse]:
        """Readings, answered in order; what is wrong with one message is its answer, and the stream goes on."""
        stream = ReadingsStream(self._book_of(context), self._beside)
        async for response in AnswersInOrder(requests, stream.answer, self._unanswered).answers():
            yield stream.with_progress(response)

    async def DeleteReadings(
        self, request: determinants_pb2.DeleteReadingsRequest, context: Context
    ) -> determinants_pb2.DeleteReadingsResponse:
        """Takes readings of one channel back."""
        book = self._book_of(context)
        found = await self._beside(found_deletion, book, request)
        stored = await book.store(found.parcel)
        return determinants_pb2.DeleteReadingsResponse(deleted_count=found.deleted_count, sequence=stored.sequence)

    async def _batch(self, book: IngestBook, request: StreamRequest, turn: Turn) -> bytes:
        columns = await self._beside(decode_payload, request)
        costed = request.return_costs
        stored = await turn.store(lambda: book.ingest(columns, duplicates_costed=costed))
        return await self._beside(_encode_batch, request.batch_number, book, stored, costed)

    async def PredictCosts(self, request: bytes, context: Context) -> wire.PredictCostsResponse:
        """What IngestEvents would answer; nothing is written."""
        envelope, columns = await self._beside(decode_predict_request, request)
        predicted = await self._book_of(context).predict(columns)
        view = envelope.prediction_view or wire.CostPrediction.FULL
        each = await self._beside(results.event_results, predicted.outcome, view, predicted.explained)
        for result in each:
            if result.status != wire.EventResult.DUPLICATE:
                result.ClearField("event_id")
        return wire.PredictCostsResponse(results=each, sequence=predicted.sequence)

    async def DeleteEvents(self, request: wire.DeleteEventsRequest, context: Context) -> wire.DeleteEventsResponse:
        """Takes events out of every line they moved."""
        outcomes, sequence = await self._book_of(context).delete(read_delete_selectors(request))
        each = [results.delete_result(outcome, request.prediction_view) for outcome in outcomes]
        return wire.DeleteEventsResponse(results=each, sequence=sequence)

    async def GetEvent(self, request: wire.GetEventRequest, context: Context) -> wire.GetEventResponse:
        """One event with its history."""
        event = await self._book_of(context).get_event(read_selector(request.event))
        if event is None:
            raise Fault(ErrorCode.EVENT_NOT_FOUND, "The book holds no such event.")
        return wire.GetEventResponse(event=results.stored_event(event))

    async def ListEvents(self, request: wire.ListEventsRequest, context: Context) -> wire.ListEventsResponse:
        """A page of stored events; a token names the last one shown and where the list ends."""
        book = self._book_of(context)
        wanted, limit = read_event_filter(request), page_size(request.page_size)
        after, upto_sequence = None, None
        token = read_token(book.name, request, 3)
        if token is not None:
            after, upto_sequence = (token[0], token[1]), token[2]
        page = await book.list_events(wanted, after, upto_sequence, limit)
        following = page.next_position
        return wire.ListEventsResponse(
            events=[results.stored_event(each) for each in page.events],
            next_page_token=write_token(book.name, request, *following, page.upto_sequence) if following else "",
        )

    async def ReprocessEvents(
        self, request: wire.ReprocessEventsRequest, context: Context
    ) -> AsyncIterator[wire.ReprocessEventsResponse]:
        """Rates stored events again, with progress."""
        customer, customer_is_id = read_customer(request, needed=False)
        start_us, end_us = read_stretch(request)
        steps = self._book_of(context).reprocess(
            *(customer, customer_is_id, start_us, end_us),
            *(request.move_pins, request.validate_only, request.resume_token),
        )
        async for progress in steps:
            yield results.reprocess_progress(progress)

    async def ListUsage(self, request: wire.ListUsageRequest, context: Context) -> wire.ListUsageResponse:
        """A page of running totals."""
        book = self._book_of(context)
        customer, customer_is_id = read_customer(request, needed=True)
        as_of, first = _place(book, request)
        with until_ended() as go_on:
            totals, sequence = await book.usage(str(customer), customer_is_id, *read_stretch(request), as_of, go_on)
        shown, token = _page_of(totals, book, request, sequence, first)
        return wire.ListUsageResponse(
            usage=[results.usage_total(each) for each in shown], next_page_token=token, sequence=sequence
        )

    async def ListCharges(self, request: wire.ListChargesRequest, context: Context) -> wire.ListChargesResponse:
        """A page of charge lines."""
        book = self._book_of(context)
        customer, customer_is_id = read_customer(request, needed=True)
        start_us, end_us = read_stretch(request)
        if request.include_unopened and (start_us is None or end_us is None):
            raise field_invalid("include_unopened", "needs start_time and end_time")
        as_of, first = _place(book, request)
        if request.as_invoiced:
            if start_us is None or end_us is None:
                raise field_invalid("as_invoiced", "needs start_time and end_time")
            with until_ended() as go_on:
                found = await book.invoiced(str(customer), customer_is_id, start_us, end_us, as_of, go_on)
            every: list[invoices.InvoicedLine] = [*found.charges, *found.others]
            page, token = _page_of(every, book, request, found.sequence, first)
            return invoices.charges_page(page, token, found.sequence)
        with until_ended() as go_on:
            lines, sequence = await book.charges(
                str(customer), customer_is_id, start_us, end_us, as_of, request.include_unopened, go_on
            )
            net = await book.net_amounts(str(customer), customer_is_id, start_us, end_us, sequence, go_on)
        both: list[ChargeLine | NetAmount] = [*lines, *net]
        found_lines, token = _page_of(both, book, request, sequence, first)
        return wire.ListChargesResponse(
            charges=[results.charge_line(each) for each in found_lines if isinstance(each, ChargeLine)],
            net_amounts=[results.net_amount(each) for each in found_lines if isinstance(each, NetAmount)],
            next_page_token=token,
            sequence=sequence,
        )

    def _gathering(self, book: IngestBook) -> Gathering:
        if book not in self._gatherings:
            self._gatherings[book] = Gathering(book, self._beside)
        return self._gatherings[book]

    async def _beside(self, work: Callable[..., Answer], *arguments: Any) -> Answer:
        """Runs work on one of the executor's threads, so that other calls go on."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, partial(work, *arguments))


def add_to_server(service: IngestService, server: grpc.aio.Server) -> None:
    """Registers the service: as the generated code does, but for the methods that take bytes."""
    handlers = {}
    for method in wire.DESCRIPTOR.services_by_name["IngestService"].methods:
        request_class, response_class = (
            message_factory.GetMessageClass(each) for each in (method.input_type, method.output_type)
        )
        kind = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
        make = getattr(grpc, f"{kind}_rpc_method_handler")
        deserializer = None if method.name in RAW_METHODS else request_class.FromString
        serializer = None if method.name in RAW_ANSWERS else response_class.SerializeToString
        handlers[method.name] = make(getattr(service, method.name), deserializer, serializer)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))


def _prediction_budget_seconds(envelope: Any, deadline_seconds: float | None) -> float:
    """How long costs may take, counted from the call's beginning."""
    seconds = limits.PREDICTION_TIMEOUT_SECONDS_MAX
    if envelope.HasField("prediction_timeout"):
        asked = envelope.prediction_timeout.seconds + envelope.prediction_timeout.nanos / 1e9
        if asked < 0:
            raise field_invalid("prediction_timeout", "is below 0")
        seconds = min(seconds, asked)
    if deadline_seconds is not None:
        seconds = min(seconds, deadline_seconds * limits.PREDICTION_DEADLINE_PERCENT / 100)
    return seconds


def _encode_batch(batch_number: int, book: IngestBook, stored: Stored, costed: bool) -> bytes:
    costs = book.price_columns(stored.outcome) if costed else None
    return results.batch_response(batch_number, stored.outcome, stored.sequence, costs)


def _place(book: IngestBook, request: Any) -> tuple[int | None, int]:
    """(sequence, first row) of the page of a list that stands on one sequence."""
    if request.as_of_sequence < 0:
        raise field_invalid("as_of_sequence", "is below 0")
    token = read_token(book.name, request, 2)
    if token is not None:
        return token[0], token[1]
    return request.as_of_sequence or None, 0


def _page_of(
    every: Sequence[Answer], book: IngestBook, request: Any, sequence: int, first: int
) -> tuple[Sequence[Answer], str]:
    """The page that begins with row `first`, and the token of the next."""
    end = first + page_size(request.page_size)
    return every[first:end], write_token(book.name, request, sequence, end) if end < len(every) else ""
