"""The order of a stream: read ahead a little, stored and answered as it came."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tallybook_server.errors import ErrorCode, Fault
from tallybook_server.services import streaming
from tallybook_server.services.streaming import AnswersInOrder, Turn
from tallybook_server.services.unanswered import UnansweredBytes

PLENTY = 10**9


async def settled() -> None:
    """Until nothing that is ready is left to run."""
    for _ in range(50):
        await asyncio.sleep(0)


class Messages:
    """A stream of numbered messages that counts how many were read."""

    def __init__(self, count: int, size: int = 1) -> None:
        self.read_count = 0
        self._count = count
        self._size = size

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for index in range(self._count):
            self.read_count += 1
            yield bytes([index]) * self._size


def answers_of(messages: Messages, answer, bytes_max: int = PLENTY, unanswered_max: int = 16) -> AsyncIterator:
    return AnswersInOrder(aiter(messages), answer, UnansweredBytes(bytes_max), unanswered_max).answers()


def test_answers_keep_the_order_of_the_messages_whatever_is_ready_first():
    async def run() -> list[int]:
        ready = [asyncio.Event() for _ in range(4)]

        async def answer(message: bytes, turn: Turn) -> int:
            await ready[message[0]].wait()
            return message[0]

        answers = answers_of(Messages(4), answer)
        collected = asyncio.ensure_future(collect(answers))
        for index in (2, 3, 0, 1):
            await settled()
            ready[index].set()
        return await collected

    assert asyncio.run(run()) == [0, 1, 2, 3]


async def collect(answers: AsyncIterator) -> list:
    return [each async for each in answers]


@pytest.mark.parametrize("unanswered_max", [1, 3, 16])
def test_reading_stops_while_so_many_are_unanswered(unanswered_max):
    async def run() -> None:
        answered = asyncio.Semaphore(0)

        async def answer(message: bytes, turn: Turn) -> int:
            await answered.acquire()
            return message[0]

        messages = Messages(40)
        answers = answers_of(messages, answer, unanswered_max=unanswered_max)
        # Given nothing is answered, just so many are read
        first = asyncio.ensure_future(anext(answers))
        await settled()
        assert messages.read_count == unanswered_max
        # When one is answered and taken, one more is read
        answered.release()
        assert await first == 0
        second = asyncio.ensure_future(anext(answers))
        await settled()
        assert messages.read_count == unanswered_max + 1
        second.cancel()

    asyncio.run(run())


def test_reading_stops_while_all_streams_together_hold_their_bytes():
    async def run() -> None:
        answered = asyncio.Event()

        async def answer(message: bytes, turn: Turn) -> int:
            await answered.wait()
            return message[0]

        messages = Messages(10, size=40)
        collected = asyncio.ensure_future(collect(answers_of(messages, answer, bytes_max=100)))
        await settled()
        # Two messages of 40 bytes are within 100, the third is read and waits
        assert messages.read_count == 3
        answered.set()
        assert await collected == list(range(10))

    asyncio.run(run())


def test_batches_are_queued_in_order_though_decoded_side_by_side():
    async def run() -> list[int]:
        decoded = [asyncio.Event() for _ in range(4)]
        queued: list[int] = []

        async def ingest(index: int) -> int:
            queued.append(index)
            return index

        async def answer(message: bytes, turn: Turn) -> int:
            await decoded[message[0]].wait()
            if message[0] == 1:
                return -1  # wrong as a whole: never queued
            return await turn.store(lambda: ingest(message[0]))

        collected = asyncio.ensure_future(collect(answers_of(Messages(4), answer)))
        for index in (3, 1, 2, 0):
            await settled()
            assert queued == [], "none goes before the first"
            decoded[index].set()
        assert await collected == [0, -1, 2, 3]
        return queued

    assert asyncio.run(run()) == [0, 2, 3]


def test_the_next_batch_is_queued_before_the_one_before_is_durable():
    async def run() -> None:
        durable = asyncio.Event()
        queued: list[int] = []

        async def ingest(index: int) -> int:
            queued.append(index)
            await durable.wait()
            return index

        async def answer(message: bytes, turn: Turn) -> int:
            return await turn.store(lambda: ingest(message[0]))

        collected = asyncio.ensure_future(collect(answers_of(Messages(5), answer)))
        await settled()
        assert queued == [0, 1, 2, 3, 4]
        durable.set()
        assert await collected == [0, 1, 2, 3, 4]

    asyncio.run(run())


def test_a_full_queue_makes_the_stream_wait_in_its_order(monkeypatch):
    monkeypatch.setattr(streaming, "OVERLOADED_WAIT_SECONDS", 0)

    async def run() -> list[int]:
        refusals = [0, 3, 0, 1]
        queued: list[int] = []

        async def ingest(index: int) -> int:
            if refusals[index]:
                refusals[index] -= 1
                raise Fault(ErrorCode.OVERLOADED, "full")
            queued.append(index)
            return index

        async def answer(message: bytes, turn: Turn) -> int:
            return await turn.store(lambda: ingest(message[0]))

        assert await collect(answers_of(Messages(4), answer)) == [0, 1, 2, 3]
        return queued

    assert asyncio.run(run()) == [0, 1, 2, 3]


def test_any_other_fault_is_the_batchs_answer():
    async def run() -> str:
        async def ingest() -> int:
            raise Fault(ErrorCode.COMMIT_FAILED, "nothing was stored")

        turn = Turn(None)
        with pytest.raises(Fault) as fault:
            await turn.store(ingest)
        assert turn.passed.is_set()
        return fault.value.code.name

    assert asyncio.run(run()) == "COMMIT_FAILED"


def test_a_stream_that_breaks_gives_its_bytes_back_and_reads_no_further():
    async def run() -> None:
        shared = UnansweredBytes(5)

        async def answer(message: bytes, turn: Turn) -> int:
            await asyncio.Event().wait()
            return 0

        messages = Messages(10)
        answers = AnswersInOrder(aiter(messages), answer, shared).answers()
        waiting = asyncio.ensure_future(anext(answers))
        await settled()
        assert not shared.take(1)
        waiting.cancel()
        await settled()
        assert messages.read_count == 6
        assert shared.take(5)

    asyncio.run(run())


# --- The shared number of bytes -------------------------------------------------------------------------------------


def test_bytes_are_taken_up_to_the_limit_and_no_further():
    shared = UnansweredBytes(10)
    assert shared.take(10)
    assert not shared.take(1)
    shared.give_back(4)
    assert not shared.take(5)
    assert shared.take(4)


def test_who_waits_is_served_in_order_and_before_who_comes_later():
    async def run() -> list[str]:
        shared = UnansweredBytes(10)
        served: list[str] = []

        async def wait(name: str, byte_count: int) -> None:
            await shared.wait_for(byte_count)
            served.append(name)

        assert shared.take(10)
        waiters = [asyncio.ensure_future(wait(name, size)) for name, size in (("large", 8), ("small", 2))]
        await settled()
        shared.give_back(4)
        await settled()
        # The small one would fit, and so would a newcomer, but the large one was there first.
        assert served == []
        assert not shared.take(1)
        shared.give_back(6)
        await asyncio.gather(*waiters)
        assert not shared.take(1)
        return served

    assert asyncio.run(run()) == ["large", "small"]


def test_who_stops_waiting_keeps_nobody_waiting_and_no_bytes():
    async def run() -> None:
        shared = UnansweredBytes(10)
        assert shared.take(10)
        gone = asyncio.ensure_future(shared.wait_for(9))
        stays = asyncio.ensure_future(shared.wait_for(3))
        await settled()
        gone.cancel()
        await settled()
        shared.give_back(3)
        await stays
        # One that is cancelled in the moment of being served gives back what it was given.
        served = asyncio.ensure_future(shared.wait_for(7))
        await settled()
        shared.give_back(7)
        served.cancel()
        await settled()
        assert shared.take(7)

    asyncio.run(run())
