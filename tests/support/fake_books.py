"""Books that answer as a test tells them, behind the real service, interceptor and gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
from tests.support.outcomes import CENTS_7, outcome_of

from tallybook_engine.ledger.columns import EventColumns
from tallybook_engine.ledger.costs import CostArrays
from tallybook_engine.ledger.faults import RowFault
from tallybook_engine.ledger.outcomes import EventSelector, Explained, Match, StageOutcome, Status
from tallybook_server.interceptors import Access, CallInterceptor, book_of_call
from tallybook_server.sandboxes import Sandboxes
from tallybook_server.services import ingest
from tallybook_server.services.ingest import IngestService


@dataclass
class Stored:
    """What a book answers for events."""

    outcome: StageOutcome
    sequence: int
    explained: list[list[Explained]] = field(default_factory=list)


@dataclass(eq=False)
class FakeBook:
    """Stores every sound event, at EUR 0.07, and notes what it was asked."""

    name: str = "default"
    queued: list[EventColumns] = field(default_factory=list)
    """What `ingest` was asked, in the order of its asking."""
    ingested: list[EventColumns] = field(default_factory=list)
    """What of it was stored."""
    before_ingest: Callable[[], Awaitable[object]] | None = None
    """Awaited before events are stored; may raise."""
    before_explain: Callable[[], Awaitable[object]] | None = None
    before_predict: Callable[[], Awaitable[object]] | None = None
    deleted: list[Sequence[EventSelector]] = field(default_factory=list)

    async def ingest(self, columns: EventColumns, *, duplicates_costed: bool) -> Stored:
        self.queued.append(columns)
        if self.before_ingest is not None:
            await self.before_ingest()
        self.ingested.append(columns)
        return Stored(_outcome(columns), len(self.ingested))

    async def predict(self, columns: EventColumns) -> Stored:
        if self.before_predict is not None:
            await self.before_predict()
        return Stored(_outcome(columns), 0, [[CENTS_7]] * columns.row_count)

    async def explain(self, outcome: StageOutcome, rows: Iterable[int]) -> list[list[Explained]]:
        if self.before_explain is not None:
            await self.before_explain()
        return [[CENTS_7] for _ in rows]

    def price_columns(self, outcome: StageOutcome) -> CostArrays:
        rows = np.flatnonzero(outcome.status == Status.STORED).astype(np.uint32)
        amounts = np.full(len(rows), 7, dtype=np.int64)
        taxes = np.ones_like(amounts)
        return CostArrays(rows, np.zeros_like(rows), amounts, taxes, amounts, taxes, ("EUR",), (2,))

    async def get_event(self, selector: EventSelector) -> None:
        return None

    async def delete(self, selectors: Sequence[EventSelector]) -> tuple[list[Any], int]:
        self.deleted.append(selectors)
        return [], 0


def _outcome(columns: EventColumns) -> StageOutcome:
    rows = [
        (Status.INVALID, Match.NOT_STORED, RowFault(fault)) if fault else (Status.STORED, Match.MATCHED, RowFault.NONE)
        for fault in columns.faults.tolist()
    ]
    return outcome_of(*rows, fault_fields=dict(columns.fault_fields))


class FakeBooks:
    """Opens a `FakeBook` a name."""

    def __init__(self) -> None:
        self.books: dict[str, FakeBook] = {}
        self.failure: BaseException | None = None
        """Raised by `open`, where there is one."""

    async def open(self, name: str) -> FakeBook:
        if self.failure is not None:
            raise self.failure
        return self.books.setdefault(name, FakeBook(name))


@asynccontextmanager
async def served(
    books: FakeBooks, access: Access | None = None, sandboxes: Sandboxes | None = None
) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to the ingest service over these books."""
    executor = ThreadPoolExecutor(2)
    server = grpc.aio.server(
        interceptors=[CallInterceptor(access or Access(None), books, sandboxes or Sandboxes(lambda: 0))],
        options=[("grpc.max_receive_message_length", -1)],
    )
    ingest.add_to_server(IngestService(book_of_call, executor), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel
    finally:
        await server.stop(0)
        executor.shutdown()


def call(channel: grpc.aio.Channel, method: str, request: bytes, **options: Any) -> Any:
    """A unary call of raw bytes to the ingest service; answers raw bytes."""
    method_of: Any = channel.unary_unary
    return method_of(f"/{ingest.SERVICE}/{method}")(request, **options)


async def stream(channel: grpc.aio.Channel, requests: Iterable[bytes]) -> list[bytes]:
    """All answers of StreamingIngestEvents to raw requests."""

    async def each() -> AsyncIterator[bytes]:
        for request in requests:
            yield request
            await asyncio.sleep(0)

    method_of: Any = channel.stream_stream
    answers = method_of(f"/{ingest.SERVICE}/StreamingIngestEvents")(each())
    return [answer async for answer in answers]
