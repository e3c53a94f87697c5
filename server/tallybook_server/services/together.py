"""Requests of one stream that come while others are at work are worked on together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from tallybook_server import limits

BATCHES_AT_WORK = 2
"""One waits for its turn on a processor or for the disk while the other has it: more would only be smaller."""

Answer = TypeVar("Answer")


@dataclass(frozen=True, eq=False, slots=True)
class Asked(Generic[Answer]):
    """A request, and where its answer goes."""

    message: bytes
    answer: asyncio.Future[Answer]

    @property
    def is_waited_for(self) -> bool:
        """Whether its caller is still there. From any thread."""
        return not self.answer.done()


class Together(Generic[Answer]):
    """Batches of a stream's requests. For the event loop's thread."""

    def __init__(self, work: Callable[[Sequence[Asked[Answer]]], Awaitable[Sequence[Answer]]]) -> None:
        """`work` answers each request of a batch, in their order; what it raises is the answer to all of them."""
        self._work_on = work
        self._waiting: deque[Asked[Answer]] = deque()
        self._at_work = 0
        self._workers: set[asyncio.Task[None]] = set()
        """Held, because the loop alone would let go of them."""

    async def answer(self, message: bytes) -> Answer:
        """The answer to a request, once it and those that came with it are done."""
        asked: Asked[Answer] = Asked(message, asyncio.get_running_loop().create_future())
        self._waiting.append(asked)
        if self._at_work < BATCHES_AT_WORK:
            self._at_work += 1
            worker = asyncio.create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)
        return await asked.answer

    async def _work(self) -> None:
        try:
            while batch := self._next_batch():
                try:
                    answers = await self._work_on(batch)
                except Exception as error:
                    for asked in (each for each in batch if each.is_waited_for):
                        asked.answer.set_exception(error)
                else:
                    for asked, answer in zip(batch, answers, strict=True):
                        if asked.is_waited_for:
                            asked.answer.set_result(answer)
        finally:
            # In the same turn of the loop in which nothing waited: what comes next finds no worker to count on.
            self._at_work -= 1

    def _next_batch(self) -> list[Asked[Answer]]:
        """As many as are not too large together, one at least; those that nobody waits for are dropped."""
        batch: list[Asked[Answer]] = []
        byte_count = 0
        while self._waiting:
            byte_count += len(self._waiting[0].message)
            if batch and byte_count > limits.GATHERED_BYTES_MAX:
                break
            asked = self._waiting.popleft()
            if asked.is_waited_for:
                batch.append(asked)
        return batch
