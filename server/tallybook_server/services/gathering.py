"""Small calls that come together are decoded, staged, committed and explained together.

A call alone goes its way at once. While batches are at work, the calls that come in the meantime wait and make the next
batch: the more callers, the larger the batch, and the less each costs. Messages are joined as bytes, which for Protobuf
is the same as joining their lists of events.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Protocol

from tallybook_engine.ledger.columns import EventColumns
from tallybook_engine.ledger.outcomes import Explained, StageOutcome, Status
from tallybook_server import limits
from tallybook_server.codec.events import decode_joined

BATCHES_AT_WORK = 2
"""One that is made durable, and one that is staged meanwhile: more would only make batches smaller."""
SMALL_BYTES = 4_096
"""So much is decoded at once: to hand it to another thread and back would take longer."""
EXPLAINED_ROWS = 500
"""Rows that are explained between two looks at whether anyone still waits."""


class Stored(Protocol):
    """What became of events."""

    outcome: StageOutcome
    sequence: int


class TakesEvents(Protocol):
    """What gathering needs of a book."""

    async def ingest(self, columns: EventColumns, *, duplicates_costed: bool) -> Stored: ...
    async def explain(self, outcome: StageOutcome, rows: Iterable[int]) -> list[list[Explained]]: ...


class Explaining:
    """The postings of a batch's costed rows, explained in their order while calls wait for them."""

    def __init__(self, book: TakesEvents, outcome: StageOutcome, rows: Sequence[int], waiting: int) -> None:
        """Begins at once; `waiting` calls will ask, each once."""
        self._book = book
        self._outcome = outcome
        self._rows = rows
        self._waiting = waiting
        self._explained: list[list[Explained]] = []
        self._task = asyncio.create_task(self._explain())

    async def rows(self, start: int, end: int, seconds: float) -> list[list[Explained]]:
        """What is explained of the rows [start, end), from the first on, when all are or the time is over."""
        try:
            await asyncio.wait({self._task}, timeout=max(seconds, 0))
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._task.cancel()
        if self._task.done() and not self._task.cancelled():
            self._task.result()
        return self._explained[start:end]

    async def _explain(self) -> None:
        for start in range(0, len(self._rows), EXPLAINED_ROWS):
            self._explained += await self._book.explain(self._outcome, self._rows[start : start + EXPLAINED_ROWS])


@dataclass(frozen=True, slots=True)
class Share:
    """What became of one call's events."""

    outcome: StageOutcome
    sequence: int
    """That holds them; 0 where nothing of the call was stored."""
    explaining: Explaining | None
    """None for a call without costs."""
    first_explained: int
    """Which of the batch's costed rows is the call's first."""

    async def explained(self, seconds: float) -> list[list[Explained]]:
        """The postings of as many rows, from the first on, as can be explained in the time."""
        if self.explaining is None:
            return []
        end = self.first_explained + len(self.outcome.status)
        return await self.explaining.rows(self.first_explained, end, seconds)


@dataclass(frozen=True, slots=True)
class _Call:
    message: bytes
    costed: bool
    answer: asyncio.Future[Share]


class Gathering:
    """The small calls of one book. For the event loop's thread."""

    def __init__(self, book: TakesEvents, beside: Callable[..., Awaitable[Any]]) -> None:
        """`beside` runs work on another thread."""
        self._book = book
        self._beside = beside
        self._waiting: deque[_Call] = deque()
        self._at_work = 0
        self._workers: set[asyncio.Task[None]] = set()
        """Held, because the loop alone would let go of them."""

    async def ingest(self, message: bytes, costed: bool) -> Share:
        """Stores the events of a serialised request; raises what is wrong with it, or with its commit."""
        call = _Call(message, costed, asyncio.get_running_loop().create_future())
        self._waiting.append(call)
        if self._at_work < BATCHES_AT_WORK:
            self._at_work += 1
            worker = asyncio.create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)
        return await call.answer

    async def _work(self) -> None:
        try:
            while self._waiting:
                batch = self._next_batch()
                try:
                    await self._serve(batch)
                except Exception as error:  # Whatever it is, it is the answer of every call of the batch.
                    _fail(batch, error)
        finally:
            # In the same turn of the loop in which nothing waited: a call that comes next finds no worker to count on.
            self._at_work -= 1

    def _next_batch(self) -> list[_Call]:
        batch = [self._waiting.popleft()]
        byte_count = len(batch[0].message)
        while self._waiting and byte_count + len(self._waiting[0].message) <= limits.GATHERED_BYTES_MAX:
            batch.append(self._waiting.popleft())
            byte_count += len(batch[-1].message)
        return batch

    async def _serve(self, batch: Sequence[_Call]) -> None:
        try:
            columns, ends = await self._decoded([call.message for call in batch])
        except Exception as error:
            if len(batch) == 1:
                _fail(batch, error)
                return
            # One of them is wrong, or they are too much together: none shall suffer for another.
            for call in batch:
                await self._serve([call])
            return
        stored = await self._book.ingest(columns, duplicates_costed=any(call.costed for call in batch))
        spans = list(pairwise([0, *ends]))
        costed = [span for call, span in zip(batch, spans, strict=True) if call.costed and not call.answer.done()]
        rows = [row for start, end in costed for row in range(start, end)]
        explaining = Explaining(self._book, stored.outcome, rows, len(costed)) if costed else None
        first_explained = 0
        for call, (start, end) in zip(batch, spans, strict=True):
            if call.answer.done():
                # Its caller has left.
                continue
            call.answer.set_result(_share(stored, start, end, explaining if call.costed else None, first_explained))
            first_explained += end - start if call.costed else 0

    async def _decoded(self, messages: Sequence[bytes]) -> tuple[EventColumns, list[int]]:
        if sum(map(len, messages)) <= SMALL_BYTES:
            return decode_joined(messages)
        columns, ends = await self._beside(decode_joined, messages)
        return columns, ends


def _fail(batch: Sequence[_Call], error: Exception) -> None:
    for call in batch:
        if not call.answer.done():
            call.answer.set_exception(error)


def _share(stored: Stored, start: int, end: int, explaining: Explaining | None, first_explained: int) -> Share:
    """The rows [start, end) of a batch."""
    outcome = stored.outcome
    if (start, end) == (0, len(outcome.status)):
        return Share(outcome, stored.sequence, explaining, first_explained)
    status = outcome.status[start:end]
    share = replace(
        outcome,
        status=status,
        match=outcome.match[start:end],
        faults=outcome.faults[start:end],
        fault_fields={row - start: found for row, found in outcome.fault_fields.items() if start <= row < end},
        event_ids=outcome.event_ids[start:end],
        generations=outcome.generations[start:end],
        posting_starts=outcome.posting_starts[start : end + 1],
        net=outcome.net.of_rows(start, end),
    )
    is_stored = not {Status.STORED, Status.UNPRICED}.isdisjoint(status.tolist())
    return Share(share, stored.sequence if is_stored else 0, explaining, first_explained)
