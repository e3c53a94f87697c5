"""SimulateService: what would be charged."""
# ruff: noqa: N802, ARG002 - methods bear the names and arguments of the contract

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from functools import partial
from typing import Any, TypeVar, TypeVarTuple, Unpack
from weakref import WeakKeyDictionary

from grpc.aio import ServicerContext

from tallybook.v1 import simulate_pb2 as wire
from tallybook.v1 import simulate_pb2_grpc
from tallybook_engine.asking import GoOn
from tallybook_engine.catalog.model import Catalog
from tallybook_engine.simulation.contracts import ContractTable, contract_table
from tallybook_engine.simulation.usage import UsageFrame
from tallybook_server import invoices, limits, quotes
from tallybook_server.book import Book
from tallybook_server.codec import sandboxes as codec
from tallybook_server.codec.results import timestamp
from tallybook_server.errors import ErrorCode, Fault, field_invalid
from tallybook_server.explained_charges import explain, of_customer, read_wanted
from tallybook_server.sandboxes import Sandboxes
from tallybook_server.services.until_ended import until_ended
from tallybook_server.simulated_charges import Charges, SimulatedCharges, charges_page
from tallybook_server.simulations import Simulation, prepare
from tallybook_server.uploads import Upload, UsageFrames

PIECES_AT_WORK = 4
"""Pieces of one simulation that are priced or wait to be sent."""

Context = ServicerContext[Any, Any]
Arguments = TypeVarTuple("Arguments")
Answer = TypeVar("Answer")


class SimulateService(simulate_pb2_grpc.SimulateServiceServicer):
    """Everything but the transport happens on the executor's threads."""

    def __init__(
        self,
        book_of: Callable[[Context], Book],
        executor: Executor,
        sandboxes: Sandboxes,
        now_us: Callable[[], int],
    ) -> None:
        """`book_of` answers the book that a call's credential names; `now_us` tells the time in microseconds since 1970
        UTC.
        """
        self._book_of = book_of
        self._executor = executor
        self._sandboxes = sandboxes
        self._frames = UsageFrames(now_us)
        self._charges = SimulatedCharges(now_us)
        for kept in (self._frames, self._charges):
            sandboxes.let_go_by(kept.forget)
        self._tables: WeakKeyDictionary[Book, ContractTable] = WeakKeyDictionary()
        self._at_work = 0

    async def QuotePrice(self, request: wire.QuotePriceRequest, context: Context) -> wire.QuotePriceResponse:
        """A quantity under a plan."""
        return await self._beside(quotes.quote_price, request)

    async def PreviewBillingDates(
        self, request: wire.PreviewBillingDatesRequest, context: Context
    ) -> wire.PreviewBillingDatesResponse:
        """The billing periods of a contract."""
        return await self._beside(quotes.billing_dates, request)

    async def PreviewInvoice(
        self, request: wire.PreviewInvoiceRequest, context: Context
    ) -> wire.PreviewInvoiceResponse:
        """What a contract tree comes to, from what is stored."""
        asked = invoices.read_request(request)
        with until_ended() as go_on:
            found = await self._book_of(context).invoices(*asked, go_on)
            return await self._beside(invoices.response, found)

    async def CreateSandbox(self, request: wire.CreateSandboxRequest, context: Context) -> wire.CreateSandboxResponse:
        """A new sandbox, and its token this once."""
        wanted = codec.read_wanted(request, self._book_of(context).catalog())
        with until_ended() as go_on:
            sandbox, token = await self._sandboxes.create(self._book_of(context), wanted, go_on)
        return wire.CreateSandboxResponse(sandbox=codec.write_sandbox(sandbox), access_token=token)

    async def GetSandbox(self, request: wire.GetSandboxRequest, context: Context) -> wire.GetSandboxResponse:
        """One of the book's."""
        sandbox = self._sandboxes.get(self._book_of(context).name, request.sandbox_id)
        return wire.GetSandboxResponse(sandbox=codec.write_sandbox(sandbox))

    async def ListSandboxes(self, request: wire.ListSandboxesRequest, context: Context) -> wire.ListSandboxesResponse:
        """All of the book's."""
        sandboxes = self._sandboxes.list(self._book_of(context).name)
        return wire.ListSandboxesResponse(sandboxes=map(codec.write_sandbox, sandboxes))

    async def DeleteSandbox(self, request: wire.DeleteSandboxRequest, context: Context) -> wire.DeleteSandboxResponse:
        """Ends one of the book's."""
        self._sandboxes.delete(self._book_of(context).name, request.sandbox_id)
        return wire.DeleteSandboxResponse()

    async def RunSimulation(
        self, request: wire.RunSimulationRequest, context: Context
    ) -> AsyncIterator[wire.RunSimulationResponse]:
        """Pieces in their order, some at work at once, then contract trees. After the call has ended none is begun, and
        pieces at work stop before the next scenario.
        """
        if self._at_work >= limits.SIMULATIONS_MAX:
            raise Fault(ErrorCode.OVERLOADED, f"{limits.SIMULATIONS_MAX} simulations are at work.")
        self._at_work += 1
        try:
            with until_ended() as go_on:
                async for message in self._messages(request, self._book_of(context), go_on):
                    yield message
        finally:
            self._at_work -= 1

    async def _messages(
        self, request: wire.RunSimulationRequest, book: Book, go_on: GoOn
    ) -> AsyncIterator[wire.RunSimulationResponse]:
        uploaded = self._uploaded(request, book)
        simulation = await self._beside(self._prepared, request, book, uploaded, go_on)
        yield simulation.started()
        charges = Charges(simulation.names)
        settlement, comparison = await self._beside(simulation.adding_up, go_on)
        unfit_row_counts = [0] * len(simulation.names)
        row_count_done = 0
        async for piece, (found, messages) in self._pieces(simulation, go_on):
            for message in messages:
                charges.add(message)
                yield message
            await self._beside(comparison.add, found)
            await self._beside(settlement.add, found)
            unfit_row_counts = [
                count + lines.unfit_row_count for count, lines in zip(unfit_row_counts, found, strict=True)
            ]
            row_count_done += piece.row_count
            yield simulation.progress(row_count_done)
        batches = simulation.settled(settlement, comparison, go_on)
        while (batch := await self._beside(next, batches, None)) is not None:
            for message in batch:
                charges.add(message)
                yield message
        results = simulation.results(comparison, unfit_row_counts, go_on)
        while (message := await self._beside(next, results, None)) is not None:
            if message.HasField("totals") and not request.omit_charges:
                book.check_open()
                expire_time_us = self._charges.keep(book.name, simulation.simulation_id, charges)
                if expire_time_us is not None:
                    message.totals.charges_expire_time.CopyFrom(timestamp(expire_time_us))
            yield message

    async def UploadUsage(
        self, request_iterator: AsyncIterator[wire.UploadUsageRequest], context: Context
    ) -> wire.UploadUsageResponse:
        """Reads request by request, and keeps what they come to."""
        book = self._book_of(context)
        self._frames.check_room(book.name, 0)
        with until_ended() as go_on:
            upload = Upload(go_on)
            async for request in request_iterator:
                self._frames.check_room(book.name, upload.byte_count)
                await self._beside(upload.add, request.arrow)
            if upload.row_count == 0:
                raise field_invalid("arrow", "no request has a row of usage")
            frame = await self._beside(upload.frame)
        # A sandbox may have ended meanwhile, and what is kept of it is gone.
        book.check_open()
        frame_id, entry = self._frames.put(book.name, frame)
        return wire.UploadUsageResponse(
            usage_frame_id=frame_id, row_count=frame.row_count, expire_time=timestamp(entry.expire_time_us)
        )

    async def ListSimulationCharges(
        self, request: wire.ListSimulationChargesRequest, context: Context
    ) -> wire.ListSimulationChargesResponse:
        """A page of what is kept."""
        book = self._book_of(context).name
        return await self._beside(charges_page, book, request, self._charges.get(book, request.simulation_id))

    async def ExplainSimulatedCharge(
        self, request: wire.ExplainSimulatedChargeRequest, context: Context
    ) -> wire.ExplainSimulatedChargeResponse:
        """One line, by running its customer's usage again."""
        book = self._book_of(context)
        uploaded = self._uploaded(request.simulation, book)
        with until_ended() as go_on:
            return await self._beside(self._explained, request, book, uploaded, go_on)

    def _explained(
        self, request: wire.ExplainSimulatedChargeRequest, book: Book, uploaded: UsageFrame | None, go_on: GoOn
    ) -> wire.ExplainSimulatedChargeResponse:
        catalog = book.catalog()
        wanted = read_wanted(request, catalog)
        table = self._table(book, catalog, go_on)
        narrowed = partial(of_customer, product_contract_id=wanted.product_contract_id)
        narrowings = {"narrowed": narrowed} if wanted.is_narrow else {}
        simulation = prepare(wanted.simulation, catalog, table, book, uploaded, go_on, **narrowings)
        return explain(simulation, wanted, go_on)

    def _uploaded(self, request: wire.RunSimulationRequest, book: Book) -> UsageFrame | None:
        """The uploaded usage that a request names; None where it names none."""
        if request.WhichOneof("usage") != "usage_frame_id":
            return None
        return self._frames.get(book.name, request.usage_frame_id)

    def _table(self, book: Book, catalog: Catalog, go_on: GoOn) -> ContractTable:
        """The contracts of a book's catalogue, made of those of the version before."""
        table = contract_table(catalog.contracts, self._tables.get(book), go_on)
        self._tables[book] = table
        return table

    def _prepared(
        self,
        request: wire.RunSimulationRequest,
        book: Book,
        uploaded: UsageFrame | None,
        go_on: GoOn,
    ) -> Simulation:
        catalog = book.catalog()
        return prepare(request, catalog, self._table(book, catalog, go_on), book, uploaded, go_on)

    async def _pieces(self, simulation: Simulation, go_on: GoOn) -> AsyncIterator[Any]:
        """Each piece with what it came to, in order."""
        waiting = deque(simulation.plan.pieces)
        at_work: deque[Any] = deque()
        try:
            while waiting or at_work:
                while waiting and len(at_work) < PIECES_AT_WORK:
                    piece = waiting.popleft()
                    at_work.append((piece, asyncio.ensure_future(self._beside(simulation.run, piece, go_on))))
                piece, future = at_work.popleft()
                yield piece, await future
        finally:
            for _, future in at_work:
                future.cancel()

    async def _beside(self, work: Callable[[Unpack[Arguments]], Answer], *arguments: *Arguments) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work, *arguments)
