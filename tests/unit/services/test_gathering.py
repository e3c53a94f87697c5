"""Small calls that come together: one batch, and each its own answer."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from tests.support.events import PlainEvent, as_rows
from tests.support.fake_books import FakeBook
from tests.unit.services.test_streaming import settled

from tallybook_engine.ledger.outcomes import Status
from tallybook_server import limits
from tallybook_server.errors import ErrorCode, Fault
from tallybook_server.services.gathering import BATCHES_AT_WORK, SMALL_BYTES, Gathering


async def at_once(work: Callable[..., Any], *arguments: Any) -> Any:
    return work(*arguments)


def message(*references: str) -> bytes:
    return as_rows([PlainEvent(reference=reference) for reference in references])


def references_of(book: FakeBook) -> list[list[str]]:
    """The references of each batch; those that are at fault are empty."""
    return [columns.references.to_pylist() for columns in book.queued]


class Held:
    """A book that stores nothing until it is let go."""

    def __init__(self) -> None:
        self.book = FakeBook()
        self.go_on = asyncio.Event()
        self.book.before_ingest = self.go_on.wait
        self.gathering = Gathering(self.book, at_once)

    async def busy(self) -> list[asyncio.Future[Any]]:
        """Calls that keep every worker at work."""
        calls: list[asyncio.Future[Any]] = []
        for index in range(BATCHES_AT_WORK):
            calls.append(asyncio.ensure_future(self.gathering.ingest(message(f"busy-{index}"), False)))
            await settled()
        return calls

    def call(self, *references: str) -> asyncio.Future:
        return asyncio.ensure_future(self.gathering.ingest(message(*references), False))


def test_a_call_alone_goes_its_way_at_once():
    async def run() -> None:
        book = FakeBook()
        share = await Gathering(book, at_once).ingest(message("a", "b"), True)
        assert share.outcome.status.tolist() == [Status.STORED] * 2
        assert share.sequence == 1

    asyncio.run(run())


def test_calls_that_come_while_batches_are_at_work_make_the_next_one_in_their_order():
    async def run() -> list[list[str]]:
        held = Held()
        busy = await held.busy()
        # Given calls that come meanwhile, one of them with a row at fault
        calls = [held.call("a"), held.call("b", "", "c"), held.call("d")]
        await settled()
        held.go_on.set()
        shares = await asyncio.gather(*busy, *calls)
        # Then each has its own rows and faults
        one, three, last = shares[BATCHES_AT_WORK:]
        assert [share.outcome.status.tolist() for share in (one, three, last)] == [[1], [1, 5, 1], [1]]
        assert three.outcome.fault_fields == {1: ("reference", "")}
        assert [int(share.outcome.event_ids[0]) for share in (one, three, last)] == [1, 2, 5]
        return references_of(held.book)[BATCHES_AT_WORK:]

    assert asyncio.run(run()) == [["a", "b", "", "c", "d"]]


def test_a_call_that_comes_as_the_last_batches_end_is_served():
    async def run() -> bool:
        held = Held()
        busy = await held.busy()

        async def call_when_they_end() -> None:
            await held.go_on.wait()
            await held.gathering.ingest(message("late"), False)

        late = asyncio.ensure_future(call_when_they_end())
        await settled()
        held.go_on.set()
        await asyncio.gather(*busy)
        await settled()
        return late.done()

    assert asyncio.run(run())


def test_a_call_of_which_nothing_is_stored_names_no_sequence():
    async def run() -> None:
        held = Held()
        busy = await held.busy()
        stored, refused = held.call("a"), held.call("")
        await settled()
        held.go_on.set()
        await asyncio.gather(*busy)
        assert (await stored).sequence > 0
        assert (await refused).sequence == 0

    asyncio.run(run())


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (b"\x0a\x05ab", ErrorCode.MESSAGE_MALFORMED),
        (b"\x0a\x04\x2a\x02\xff\xfe", ErrorCode.MESSAGE_MALFORMED),
        (b"\x0a\x00" * (limits.EVENTS_IN_CALL_MAX + 1), ErrorCode.TOO_MANY_EVENTS),
    ],
)
def test_a_call_that_is_wrong_as_a_whole_is_refused_alone(bad, code):
    async def run() -> None:
        held = Held()
        busy = await held.busy()
        before, wrong, behind = (
            held.call("a"),
            asyncio.ensure_future(held.gathering.ingest(bad, False)),
            held.call("b"),
        )
        await settled()
        held.go_on.set()
        await asyncio.gather(*busy, before, behind)
        with pytest.raises(Fault) as fault:
            await wrong
        assert fault.value.code is code
        assert references_of(held.book)[BATCHES_AT_WORK:] == [["a"], ["b"]]

    asyncio.run(run())


def test_a_commit_that_fails_is_the_answer_of_all_its_calls_and_of_no_other():
    async def run() -> None:
        held = Held()
        busy = await held.busy()
        calls = [held.call("a"), held.call("b")]
        await settled()

        async def fail() -> None:
            held.book.before_ingest = None
            raise Fault(ErrorCode.COMMIT_FAILED, "nothing was stored")

        held.book.before_ingest = fail
        held.go_on.set()
        await asyncio.gather(*busy)
        for call in calls:
            with pytest.raises(Fault, match="nothing was stored"):
                await call
        assert (await held.gathering.ingest(message("c"), False)).sequence == BATCHES_AT_WORK + 1

    asyncio.run(run())


def test_a_caller_that_leaves_takes_nothing_from_the_others():
    async def run() -> list[list[str]]:
        held = Held()
        busy = await held.busy()
        stays, leaves = held.call("a"), held.call("b")
        await settled()
        leaves.cancel()
        held.go_on.set()
        await asyncio.gather(*busy, stays)
        return references_of(held.book)[BATCHES_AT_WORK:]

    assert asyncio.run(run()) == [["a", "b"]], "what was sent is stored, whoever waits for it"


def test_a_batch_is_no_larger_than_its_limit(monkeypatch):
    monkeypatch.setattr(limits, "GATHERED_BYTES_MAX", 2 * len(message("a")))

    async def run() -> list[list[str]]:
        held = Held()
        busy = await held.busy()
        calls = [held.call(reference) for reference in "abcde"]
        calls.append(held.call("far", "too", "large"))
        await settled()
        held.go_on.set()
        await asyncio.gather(*busy, *calls)
        return references_of(held.book)[BATCHES_AT_WORK:]

    assert sorted(asyncio.run(run())) == [["a", "b"], ["c", "d"], ["e"], ["far", "too", "large"]]


def test_what_nobody_expected_is_an_answer_too():
    async def run() -> None:
        async def broken(work: Callable[..., Any], *arguments: Any) -> Any:
            raise RuntimeError("a fault of ours")

        with pytest.raises(RuntimeError, match="a fault of ours"):
            await Gathering(FakeBook(), broken).ingest(
                message(*(f"far-{index}" for index in range(SMALL_BYTES))), False
            )

    asyncio.run(run())
