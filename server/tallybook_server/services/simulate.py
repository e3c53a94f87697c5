"""SimulateService: what would be charged."""
# ruff: noqa: N802, ARG002 - methods bear the names and arguments of the contract

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from datetime import date
from typing import Any, Protocol, TypeVar, TypeVarTuple, Unpack

from grpc.aio import ServicerContext

from tallybook.v1 import simulate_pb2 as wire
from tallybook.v1 import simulate_pb2_grpc
from tallybook_engine.catalog.model import Catalog
from tallybook_engine.ledger.invoices import PreviewedInvoices
from tallybook_engine.simulation.compare import Comparison
from tallybook_engine.simulation.contracts import ContractTable, contract_table
from tallybook_engine.simulation.settlement import Settlement
from tallybook_server import invoices, limits, quotes
from tallybook_server.errors import ErrorCode, Fault
from tallybook_server.simulations import Simulation, prepare

PIECES_AT_WORK = 4
"""Pieces of one simulation that are priced or wait to be sent."""

Context = ServicerContext[Any, Any]
Arguments = TypeVarTuple("Arguments")
Answer = TypeVar("Answer")


class SimulatedBook(Protocol):
    """What the service needs of a book."""

    name: str

    def catalog(self) -> Catalog: ...

    async def invoices(
        self, contract_id: str, first_day: date, period_count: int, as_of_sequence: int | None
    ) -> PreviewedInvoices: ...


class SimulateService(simulate_pb2_grpc.SimulateServiceServicer):
    """Everything but the transport happens on the executor's threads."""

    def __init__(self, book_of: Callable[[Context], SimulatedBook], executor: Executor) -> None:
        """`book_of` answers the book that a call's credential names."""
        self._book_of = book_of
        self._executor = executor
        self._tables: dict[str, ContractTable] = {}
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
        return await self._beside(invoices.response, await self._book_of(context).invoices(*asked))

    async def RunSimulation(
        self, request: wire.RunSimulationRequest, context: Context
    ) -> AsyncIterator[wire.RunSimulationResponse]:
        """Pieces in their order, some at work at once; none is begun after the call has ended."""
        if self._at_work >= limits.SIMULATIONS_MAX:
            raise Fault(ErrorCode.OVERLOADED, f"{limits.SIMULATIONS_MAX} simulations are at work.")
        self._at_work += 1
        try:
            async for message in self._messages(request, self._book_of(context)):
                yield message
        finally:
            self._at_work -= 1

    async def _messages(
        self, request: wire.RunSimulationRequest, book: SimulatedBook
    ) -> AsyncIterator[wire.RunSimulationResponse]:
        simulation = await self._beside(self._prepared, request, book)
        yield simulation.started()
        comparison = await self._beside(Comparison, simulation.plan)
        settlement = await self._beside(Settlement, simulation.plan)
        unfit_row_counts = [0] * len(simulation.names)
        row_count_done = 0
        async for piece, (found, messages) in self._pieces(simulation):
            for message in messages:
                yield message
            await self._beside(comparison.add, found)
            await self._beside(settlement.add, found)
            unfit_row_counts = [
                count + lines.unfit_row_count for count, lines in zip(unfit_row_counts, found, strict=True)
            ]
            row_count_done += piece.row_count
            yield simulation.progress(row_count_done)
        batches = simulation.settled(settlement, comparison)
        while (batch := await self._beside(next, batches, None)) is not None:
            for message in batch:
                yield message
        for message in await self._beside(lambda: list(simulation.results(comparison, unfit_row_counts))):
            yield message

    def _prepared(self, request: wire.RunSimulationRequest, book: SimulatedBook) -> Simulation:
        catalog = book.catalog()
        table = contract_table(catalog.contracts, self._tables.get(book.name))
        self._tables[book.name] = table
        return prepare(request, catalog, table)

    async def _pieces(self, simulation: Simulation) -> AsyncIterator[Any]:
        """Each piece with what it came to, in order."""
        waiting = deque(simulation.plan.pieces)
        at_work: deque[Any] = deque()
        try:
            while waiting or at_work:
                while waiting and len(at_work) < PIECES_AT_WORK:
                    piece = waiting.popleft()
                    at_work.append((piece, asyncio.ensure_future(self._beside(simulation.run, piece))))
                piece, future = at_work.popleft()
                yield piece, await future
        finally:
            for _, future in at_work:
                future.cancel()

    async def _beside(self, work: Callable[[Unpack[Arguments]], Answer], *arguments: *Arguments) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work, *arguments)
