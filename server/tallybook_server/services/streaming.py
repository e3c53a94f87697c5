"""One stream of batches: decoded side by side, stored in the order of their coming, answered in the same order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Generic, TypeVar

from tallybook_server import limits
from tallybook_server.errors import ErrorCode, Fault
from tallybook_server.services.unanswered import UnansweredBytes

Answer = TypeVar("Answer")
Stored = TypeVar("Stored")

OVERLOADED_WAIT_SECONDS = limits.PUSHBACK_MS_MIN / 1_000
"""How long a batch waits before it knocks again at a queue that is full: a stream waits, it is not refused."""


class Turn:
    """A batch's place in its stream's order."""

    def __init__(self, earlier: Turn | None) -> None:
        self._earlier = earlier
        self.passed = asyncio.Event()
        """Set once the batch and all before it are in the writer's queue, or need none of it."""

    async def wait_for_earlier(self) -> None:
        """Returns once all batches before this one have passed."""
        if self._earlier is not None:
            await self._earlier.passed.wait()
            self._earlier = None

    async def store(self, ingest: Callable[[], Awaitable[Stored]]) -> Stored:
        """Queues the batch behind the one before it and answers what became of it."""
        await self.wait_for_earlier()
        while True:
            queued = asyncio.ensure_future(ingest())
            # One turn of the loop takes the task to its first wait: it is in the queue then, or was refused.
            await asyncio.sleep(0)
            if not _is_overloaded(queued):
                self.passed.set()
                return await queued
            await asyncio.sleep(OVERLOADED_WAIT_SECONDS)


def _is_overloaded(queued: asyncio.Future[Stored]) -> bool:
    if not queued.done() or queued.cancelled():
        return False
    refused = queued.exception()
    return isinstance(refused, Fault) and refused.code is ErrorCode.OVERLOADED


class AnswersInOrder(Generic[Answer]):
    """Reads a stream while few enough of its messages, and of all streams' bytes, are unanswered."""

    def __init__(
        self,
        messages: AsyncIterator[bytes],
        answer: Callable[[bytes, Turn], Awaitable[Answer]],
        unanswered_bytes: UnansweredBytes,
        unanswered_max: int = limits.UNANSWERED_BATCHES_MAX,
    ) -> None:
        """`answer` never raises: what is wrong with one message is its answer."""
        self._messages = messages
        self._answer = answer
        self._bytes = unanswered_bytes
        self._slots = asyncio.Semaphore(unanswered_max)
        self._answers: asyncio.Queue[tuple[asyncio.Task[Answer], int] | None] = asyncio.Queue()

    async def answers(self) -> AsyncIterator[Answer]:
        """The answers, in the order of the messages."""
        reader = asyncio.create_task(self._read())
        try:
            while (due := await self._answers.get()) is not None:
                task, byte_count = due
                try:
                    yield await task
                finally:
                    self._bytes.give_back(byte_count)
                self._slots.release()
            await reader
        finally:
            # A stream that breaks is read no further; what is in the writer's queue is stored all the same.
            reader.cancel()
            self._drop_the_rest()

    def _drop_the_rest(self) -> None:
        while not self._answers.empty():
            due = self._answers.get_nowait()
            if due is not None:
                due[0].cancel()
                self._bytes.give_back(due[1])

    async def _read(self) -> None:
        earlier: Turn | None = None
        try:
            while True:
                await self._slots.acquire()
                message = await anext(self._messages, None)
                if message is None:
                    return
                await self._bytes.wait_for(len(message))
                turn = Turn(earlier)
                self._answers.put_nowait((asyncio.create_task(self._answered(message, turn)), len(message)))
                earlier = turn
        finally:
            self._answers.put_nowait(None)

    async def _answered(self, message: bytes, turn: Turn) -> Answer:
        answer = await self._answer(message, turn)
        await turn.wait_for_earlier()
        turn.passed.set()
        return answer
