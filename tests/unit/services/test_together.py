"""Requests of one stream that come while others are at work are worked on together, and each has its own answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from tallybook_server import limits
from tallybook_server.services.together import BATCHES_AT_WORK, Asked, Together


class Held:
    """Work that is not done until it is let go."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.batches: list[list[bytes]] = []
        self.together = Together(self._work)

    async def _work(self, batch: Sequence[Asked[bytes]]) -> list[bytes]:
        self.batches.append([each.message for each in batch])
        await self.go_on.wait()
        if any(each.message == b"broken" for each in batch):
            raise ValueError("broken")
        return [each.message.upper() for each in batch]

    async def ask(self, *messages: bytes) -> list[asyncio.Task[bytes]]:
        calls = [asyncio.create_task(self.together.answer(each)) for each in messages]
        for _ in range(5):
            await asyncio.sleep(0)
        return calls

    async def busy(self) -> list[asyncio.Task[bytes]]:
        """Requests that keep every worker at work."""
        return [call for _ in range(BATCHES_AT_WORK) for call in await self.ask(b"busy")]


def test_what_comes_while_others_are_at_work_is_the_next_batch():
    async def run() -> None:
        held = Held()
        calls = [*await held.busy(), *await held.ask(b"c", b"d", b"e")]
        assert held.batches == [[b"busy"]] * BATCHES_AT_WORK
        held.go_on.set()
        assert await asyncio.gather(*calls) == [b"BUSY"] * BATCHES_AT_WORK + [b"C", b"D", b"E"]
        assert held.batches[BATCHES_AT_WORK:] == [[b"c", b"d", b"e"]]
        # And what comes when nothing is at work goes at once
        assert await held.together.answer(b"f") == b"F"

    asyncio.run(run())


def test_a_batch_is_not_larger_than_its_limit_unless_one_request_is(monkeypatch):
    monkeypatch.setattr(limits, "GATHERED_BYTES_MAX", 4)

    async def run() -> None:
        held = Held()
        calls = [*await held.busy(), *await held.ask(b"aa", b"bb", b"c", b"a large one", b"d")]
        held.go_on.set()
        await asyncio.gather(*calls)
        assert sorted(held.batches[BATCHES_AT_WORK:]) == sorted([[b"aa", b"bb"], [b"c"], [b"a large one"], [b"d"]])

    asyncio.run(run())


def test_what_nobody_waits_for_is_not_worked_on():
    async def run() -> None:
        held = Held()
        busy = await held.busy()
        calls = await held.ask(b"a", b"b", b"c")
        for call in (busy[0], calls[1]):
            call.cancel()
        held.go_on.set()
        assert await asyncio.gather(calls[0], calls[2]) == [b"A", b"C"]
        assert held.batches[BATCHES_AT_WORK:] == [[b"a", b"c"]]

    asyncio.run(run())


def test_what_breaks_a_batch_is_the_answer_to_each_of_it_and_the_next_one_goes_on():
    async def run() -> None:
        held = Held()
        busy = await held.busy()
        calls = await held.ask(b"a", b"broken")
        calls[0].cancel()
        held.go_on.set()
        await asyncio.gather(*busy)
        with pytest.raises(ValueError, match="broken"):
            await calls[1]
        assert await held.together.answer(b"f") == b"F"

    asyncio.run(run())
