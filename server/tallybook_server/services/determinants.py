"""DeterminantsService: readings in, billing determinants out, and lists of what is stored of both."""
# ruff: noqa: N802 - methods bear the names of the contract

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, Protocol, cast

import grpc
from grpc.aio import ServicerContext

from tallybook.v1 import determinants_pb2 as wire
from tallybook_engine.catalog.model import Catalog
from tallybook_engine.determinants.result import Cancellation, Result
from tallybook_server import limits
from tallybook_server.billing import BookOfReadings, Calculated, Prepared, outcome_of, parcel_of, prepared, values_gone
from tallybook_server.codec import determinants as codec
from tallybook_server.codec.columns import CalculateDeterminantsEnvelope, StreamingCalculateDeterminantsEnvelope
from tallybook_server.codec.envelope import parsed
from tallybook_server.errors import ErrorCode, Fault, status_message
from tallybook_server.interceptors import check_size, internal_fault
from tallybook_server.journal.interface import DamagedJournal, UnreadableJournal
from tallybook_server.many_meters import outcomes_together
from tallybook_server.services import stored_lists as lists
from tallybook_server.services.readings import metering_of
from tallybook_server.services.stored_lists import message_id_text
from tallybook_server.services.streaming import AnswersInOrder, Turn
from tallybook_server.services.together import Asked, Together
from tallybook_server.services.unanswered import UnansweredBytes
from tallybook_server.writer import Basis, Overtaken, Parcel, Stored

SERVICE = "tallybook.v1.DeterminantsService"
RAW_METHODS = ("CalculateDeterminants", "StreamingCalculateDeterminants")
"""Take their requests as bytes, so that no object is made for a reading."""

Context = ServicerContext[Any, Any]


class DeterminantsBook(BookOfReadings, Protocol):
    """What the service needs of a book."""

    name: str

    def catalog(self) -> Catalog: ...
    def partitions(self, datasources: Sequence[str]) -> list[int]: ...
    async def store_determinants(self, result: Result, parcel: Parcel) -> Stored: ...


class Computed(NamedTuple):
    """What became of a request, before any of it is stored."""

    outcome: Result | Cancellation
    result: wire.DeterminantsResult | None
    parcel: Parcel | None
    """What is to be stored of it."""


_NOT_WAITED_FOR = RuntimeError("a request was given up before it was looked at")
"""In the place of an answer that nobody gets."""


class _Read(NamedTuple):
    """A request as it was read."""

    prepared: Prepared
    is_stored: bool
    catalog: Catalog
    sequence: int
    """The committed sequence that what is stored is computed at, or later."""


class DeterminantsService:
    """Everything but the transport and the writer's turn happens on the executor's threads."""

    def __init__(
        self, book_of: Callable[[Context], DeterminantsBook], executor: Executor, now_us: Callable[[], int]
    ) -> None:
        """`book_of` answers the book that a call's credential names."""
        self._book_of = book_of
        self._executor = executor
        self._now_us = now_us
        self._unanswered = UnansweredBytes(limits.UNANSWERED_BYTES_MAX)

    async def CalculateDeterminants(self, request: bytes, context: Context) -> wire.CalculateDeterminantsResponse:
        """One billing request."""
        if not self._unanswered.take(len(request)):
            raise Fault(ErrorCode.OVERLOADED, f"{limits.UNANSWERED_BYTES_MAX} bytes of requests are unanswered.")
        try:
            book = self._book_of(context)
            envelope = await self._beside(parsed, CalculateDeterminantsEnvelope, request)
            computed = await self._beside(self._calculate, book, envelope)
            outcome = await self._answered(book, envelope, computed, asyncio.Lock())
            if isinstance(outcome, Cancellation):
                raise codec.cancelled(outcome)
            return wire.CalculateDeterminantsResponse(result=outcome)
        finally:
            self._unanswered.give_back(len(request))

    async def StreamingCalculateDeterminants(
        self, requests: AsyncIterator[bytes], context: Context
    ) -> AsyncIterator[wire.StreamingCalculateDeterminantsResponse]:
        """Many requests: what is wrong with one is its answer, and the stream goes on.

        Those that come while others are at work are computed together; where they ask the same of many datasources,
        their readings are read at once.
        """
        progress = wire.DeterminantsProgress()
        answer = self._stream(self._book_of(context))
        unanswered = AnswersInOrder(requests, answer, self._unanswered, limits.UNANSWERED_REQUESTS_MAX)
        async for response in unanswered.answers():
            progress.answered_count += 1
            progress.cancelled_count += response.HasField("cancellation")
            progress.refused_count += response.HasField("status")
            response.progress.CopyFrom(progress)
            yield response

    def _stream(
        self, book: DeterminantsBook
    ) -> Callable[[bytes, Turn], Awaitable[wire.StreamingCalculateDeterminantsResponse]]:
        """The answer to one message of a stream, of which it may have many at once; never raises."""
        anew = asyncio.Lock()
        together = Together(lambda batch: self._beside(self._calculate_many, book, batch))

        async def answer(message: bytes, turn: Turn) -> wire.StreamingCalculateDeterminantsResponse:
            response = wire.StreamingCalculateDeterminantsResponse()
            try:
                check_size(message)
                envelope, computed = await together.answer(message)
                if envelope is not None:
                    response.request_number = envelope.request_number
                if isinstance(computed, Exception):
                    raise computed
                outcome = await self._answered(book, envelope.request, computed, anew, turn)
                if isinstance(outcome, Cancellation):
                    response.cancellation.CopyFrom(codec.cancellation_message(outcome))
                else:
                    response.result.CopyFrom(outcome)
            except Fault as fault:
                response.status.CopyFrom(status_message(fault))
            except (DamagedJournal, UnreadableJournal) as error:
                response.status.CopyFrom(status_message(Fault(ErrorCode.JOURNAL_DAMAGED, str(error))))
            except Exception:
                response.status.CopyFrom(status_message(internal_fault()))
            return response

        return answer

    async def _answered(
        self, book: DeterminantsBook, envelope: Any, computed: Computed, anew: asyncio.Lock, turn: Turn | None = None
    ) -> wire.DeterminantsResult | Cancellation:
        """Stores what was computed where that is asked for, and only then answers."""
        try:
            return await self._stored(book, computed, turn)
        except Overtaken:
            pass
        # Another calculation of the period was stored meanwhile, which may have seen more. Those of one stream are
        # computed anew one after the other, for they would only overtake each other again.
        async with anew:
            while True:
                with suppress(Overtaken):
                    return await self._stored(book, await self._beside(self._calculate, book, envelope), turn)

    async def _stored(
        self, book: DeterminantsBook, computed: Computed, turn: Turn | None
    ) -> wire.DeterminantsResult | Cancellation:
        """Raises Overtaken, and nothing is stored then."""
        outcome, result, parcel = computed
        if isinstance(outcome, Cancellation) or result is None:
            return cast(Cancellation, outcome)
        if parcel is not None:
            store = partial(book.store_determinants, outcome, parcel)
            stored = await (store() if turn is None else turn.store(store))
            result.stored_sequence = stored.sequence
            result.message_id = message_id_text(stored.message_ids[0])
        return result

    def _calculate(self, book: DeterminantsBook, envelope: Any) -> Computed:
        asked = self._read(book, envelope)
        return self._computed(book, asked, outcome_of(asked.prepared, book))

    def _calculate_many(
        self, book: DeterminantsBook, batch: Sequence[Asked[tuple[Any, Computed | Exception]]]
    ) -> list[tuple[Any, Computed | Exception]]:
        """Each message as it is read, where it can be, and what became of it."""
        envelopes: list[Any] = []
        read: list[_Read | Exception] = []
        for each in batch:
            envelope = None
            try:
                envelope = parsed(StreamingCalculateDeterminantsEnvelope, each.message)
                read.append(self._read(book, envelope.request))
            except Exception as error:
                read.append(error)
            envelopes.append(envelope)
        sound = [place for place, each in enumerate(read) if isinstance(each, _Read)]
        together = outcomes_together([cast(_Read, read[place]).prepared for place in sound], book)
        known = {sound[index]: calculated for index, calculated in together.items()}
        answers: list[tuple[Any, Computed | Exception]] = []
        for place, (asked, envelope, each) in enumerate(zip(read, envelopes, batch, strict=True)):
            computed: Computed | Exception
            try:
                if isinstance(asked, Exception):
                    computed = asked
                elif place in known:
                    computed = self._computed(book, asked, known[place])
                elif each.is_waited_for:
                    computed = self._computed(book, asked, outcome_of(asked.prepared, book))
                else:
                    computed = _NOT_WAITED_FOR
            except Exception as error:
                computed = error
            answers.append((envelope, computed))
        return answers

    def _read(self, book: DeterminantsBook, envelope: Any) -> _Read:
        # Before the catalogue and the readings are looked at: they are of this sequence or later.
        sequence = book.committed_sequence() if envelope.store else 0
        catalog = book.catalog()
        return _Read(
            prepared(envelope, metering_of(envelope.configuration, catalog)), envelope.store, catalog, sequence
        )

    def _computed(self, book: DeterminantsBook, asked: _Read, calculated: Calculated) -> Computed:
        outcome = calculated.outcome
        if isinstance(outcome, Cancellation):
            return Computed(outcome, None, None)
        now_us = self._now_us()
        result = codec.result_message(outcome, now_us)
        result.readings_sequence = calculated.readings_sequence
        parcel = None
        if asked.is_stored:
            (partition,) = book.partitions([outcome.datasource])
            gone = values_gone(book.readings, outcome, asked.catalog.datasources.get(outcome.datasource))
            parcel = parcel_of(outcome, partition, now_us, gone)
            # Readings that the request names are those to bill, whatever the book holds by now.
            if calculated.readings_sequence and not asked.prepared.as_of_sequence:
                basis = Basis(outcome.datasource, outcome.start_us, outcome.end_us, asked.sequence)
                parcel = replace(parcel, basis=basis)
        return Computed(outcome, result, parcel)

    # What is stored

    async def ListReadings(self, request: wire.ListReadingsRequest, context: Context) -> wire.ListReadingsResponse:
        """A page of stored readings; a token names the last one shown and the sequence that the list stands on."""
        return cast(wire.ListReadingsResponse, await self._beside(lists.readings, self._book_of(context), request))

    async def ListBillingReadings(
        self, request: wire.ListBillingReadingsRequest, context: Context
    ) -> wire.ListBillingReadingsResponse:
        """A page of stored determinants."""
        page = await self._beside(lists.billing_readings, self._book_of(context), request)
        return cast(wire.ListBillingReadingsResponse, page)

    async def ListBillingMessages(
        self, request: wire.ListBillingMessagesRequest, context: Context
    ) -> wire.ListBillingMessagesResponse:
        """A page of the outbox."""
        page = await self._beside(lists.billing_messages, self._book_of(context), request)
        return cast(wire.ListBillingMessagesResponse, page)

    async def AcknowledgeBillingMessages(
        self, request: wire.AcknowledgeBillingMessagesRequest, context: Context
    ) -> wire.AcknowledgeBillingMessagesResponse:
        """Takes messages out of the outbox."""
        answer = await self._beside(lists.acknowledge, self._book_of(context), request)
        return cast(wire.AcknowledgeBillingMessagesResponse, answer)

    async def _beside(self, work: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._executor, partial(work, *arguments))


def add_to_server(service: DeterminantsService, server: grpc.aio.Server) -> None:
    """Registers the service: as the generated code does, but for the methods that take bytes."""
    handlers = {}
    for method in wire.DESCRIPTOR.services_by_name["DeterminantsService"].methods:
        request_class, response_class = (getattr(wire, each.name) for each in (method.input_type, method.output_type))
        make = grpc.stream_stream_rpc_method_handler if method.client_streaming else grpc.unary_unary_rpc_method_handler
        deserializer = None if method.name in RAW_METHODS else request_class.FromString
        handlers[method.name] = make(getattr(service, method.name), deserializer, response_class.SerializeToString)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
