"""Commits that fail, a full disk, a torn journal: what callers of a real server are told, and that it goes on."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import ParseDict
from tests.support.call_errors import failed_with, reason_of
from tests.support.events import PlainEvent, as_message
from tests.support.fake_books import served
from tests.support.faulty_journal import FaultyJournal, Outcome
from tests.support.held_journal import HeldJournal
from tests.support.live_server import SETTINGS
from tests.support.small_catalogue import MONTHLY, NOW_US, YEAR_START_US, catalogue, tiers
from tests.support.watched_files import Disk, watched_files

from tallybook.v1 import catalog_pb2, ingest_pb2, ingest_pb2_grpc
from tallybook_engine.catalog.faults import Faults
from tallybook_server.app import App, StartError
from tallybook_server.book import Book
from tallybook_server.codec.catalog import read_change
from tallybook_server.journal.interface import Journal
from tallybook_server.journal.memory import MemoryJournal
from tallybook_server.journal.sqlite import SqliteJournal

CATALOGUE = catalogue(tiers("volume", ("5", "0.31", "0"), (None, "0.27", "0.5")), billing=MONTHLY, tax={"rate": "0.21"})
STORED, DUPLICATE = ingest_pb2.EventResult.STORED, ingest_pb2.EventResult.DUPLICATE
DAY_SECONDS = YEAR_START_US // 10**6 + 3_600


def event(number: int) -> ingest_pb2.Event:
    return as_message(
        PlainEvent(
            customer_reference="ann", reference=f"event-{number}", time=(DAY_SECONDS, 0), values=(("units", "1.5"),)
        )
    )


class OneBook:
    """Opens the same book under every name."""

    def __init__(self, book: Book) -> None:
        self._book = book

    async def open(self, name: str) -> Book:
        return self._book


class Server:
    """The calls of these tests."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub: Any = ingest_pb2_grpc.IngestServiceStub(channel)

    async def ingest(self, *numbers: int) -> list[int] | str:
        """Statuses of the events, or the reason why the call failed."""
        request = ingest_pb2.IngestEventsRequest(events=[event(number) for number in numbers])
        try:
            response = await self._stub.IngestEvents(request)
        except grpc.RpcError as error:
            assert error.code() is grpc.StatusCode.UNAVAILABLE
            return failed_with(error)
        return [row.status for row in response.results]

    async def stream(self, *batches: tuple[int, ...]) -> list[tuple[int, int] | str]:
        """Of each batch (stored, duplicates) or the reason of its status; each is sent once the one before answers."""
        call = self._stub.StreamingIngestEvents()
        answers: list[tuple[int, int] | str] = []
        for number, batch in enumerate(batches):
            rows = ingest_pb2.EventRows(events=[event(each) for each in batch])
            await call.write(ingest_pb2.StreamingIngestEventsRequest(batch_number=number, rows=rows))
            answer = await call.read()
            assert answer.batch_number == number
            if answer.WhichOneof("outcome") == "status":
                assert answer.status.code == grpc.StatusCode.UNAVAILABLE.value[0]
                answers.append(reason_of(answer.status))
            else:
                answers.append((answer.result.stored_count, answer.result.duplicate_count))
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        return answers

    async def quantities(self) -> list[str]:
        """Of each charge line."""
        response = await self._stub.ListCharges(ingest_pb2.ListChargesRequest(customer_reference="ann"))
        return [line.quantity for line in response.charges]


@asynccontextmanager
async def server_on(journal: Journal) -> AsyncIterator[Server]:
    """A real book on a journal, behind the real service and gRPC, with the catalogue applied."""
    executor = ThreadPoolExecutor(2)
    book = Book("default", journal, executor, clock_us=lambda: NOW_US)
    try:
        put = ParseDict(CATALOGUE, catalog_pb2.Catalog())
        await book.apply_catalog(read_change(put, catalog_pb2.CatalogIds(), False, Faults()), None, False)
        async with served(OneBook(book)) as channel:  # type: ignore[arg-type]
            yield Server(channel)
    finally:
        await book.close()
        executor.shutdown()


def run(journal: Journal, scenario: Callable[[Server], Awaitable[None]]) -> None:
    async def all_of_it() -> None:
        async with server_on(journal) as server:
            await scenario(server)

    asyncio.run(all_of_it())


FAILURES = [
    (Outcome.FAILED, "COMMIT_FAILED"),
    (Outcome.FULL, "DISK_FULL"),
    # The journal tells afterwards that nothing is there, so that is what the call is told.
    (Outcome.UNKNOWN_LOST, "COMMIT_FAILED"),
]


@pytest.mark.parametrize(("outcome", "reason"), FAILURES)
def test_a_failed_commit_fails_its_own_call_and_a_resend_stores(outcome, reason):
    async def scenario(server: Server) -> None:
        assert await server.ingest(1, 2) == [STORED, STORED]
        assert await server.ingest(3, 4) == reason
        assert await server.quantities() == ["3"]
        assert await server.ingest(5) == [STORED]
        assert await server.ingest(1, 3, 4) == [DUPLICATE, STORED, STORED]
        assert await server.quantities() == ["7.5"]

    run(FaultyJournal(MemoryJournal(), [Outcome.COMMITTED, outcome]), scenario)


def test_a_commit_that_was_not_confirmed_but_is_there_is_answered_as_stored():
    async def scenario(server: Server) -> None:
        assert await server.ingest(1) == [STORED]
        assert await server.ingest(1, 2) == [DUPLICATE, STORED]
        assert await server.quantities() == ["3"]

    run(FaultyJournal(MemoryJournal(), [Outcome.UNKNOWN_WRITTEN]), scenario)


@pytest.mark.parametrize(("outcome", "reason"), FAILURES)
def test_a_stream_answers_each_batch_with_its_own_status(outcome, reason):
    async def scenario(server: Server) -> None:
        assert await server.stream((1,), (2, 3), (4, 1), (5,)) == [(1, 0), reason, (1, 1), reason]
        assert await server.stream((2, 3), (5, 4)) == [(2, 0), (1, 1)]
        assert await server.quantities() == ["7.5"]

    run(FaultyJournal(MemoryJournal(), [Outcome.COMMITTED, outcome, Outcome.COMMITTED, outcome]), scenario)


def test_calls_staged_on_a_failed_commit_fail_with_it_and_no_others():
    journal = HeldJournal(MemoryJournal(), [Outcome.COMMITTED, Outcome.FAILED])

    async def scenario(server: Server) -> None:
        assert await server.ingest(0) == [STORED]
        with journal.held():
            # However many commits these become, the first one fails, and what was staged on it was judged by it.
            sent = [asyncio.ensure_future(server.ingest(number)) for number in (1, 1, 2)]
            while journal.outcomes.total() < 1:
                await asyncio.sleep(0)
            await asyncio.sleep(0)
        answers = await asyncio.gather(*sent)
        assert "COMMIT_FAILED" in answers
        assert all(answer in ("COMMIT_FAILED", [STORED], [DUPLICATE]) for answer in answers)
        assert await server.ingest(0) == [DUPLICATE]
        await server.ingest(1, 2)
        assert await server.ingest(1, 2) == [DUPLICATE, DUPLICATE]
        assert await server.quantities() == ["4.5"]

    run(journal, scenario)


# --- A disk -----------------------------------------------------------------------------------------------------------


@contextmanager
def journal_on(disk: Disk, path: Path) -> Iterator[SqliteJournal]:
    with watched_files(disk) as layer:
        yield SqliteJournal.open(path, vfs=layer)


def test_a_full_disk_is_said_and_the_service_resumes_when_there_is_room(tmp_path):
    disk = Disk()

    async def scenario(server: Server) -> None:
        assert await server.ingest(1) == [STORED]
        disk.full = True
        assert await server.ingest(2) == "DISK_FULL"
        assert await server.stream((3,), (4,)) == ["DISK_FULL", "DISK_FULL"]
        assert await server.ingest(1) == [DUPLICATE]
        assert await server.quantities() == ["1.5"]
        disk.full = False
        assert await server.stream((2, 3), (4, 1)) == [(2, 0), (1, 1)]
        assert await server.quantities() == ["6"]

    with journal_on(disk, tmp_path / "default.sqlite") as journal:
        run(journal, scenario)

    async def after_a_restart(server: Server) -> None:
        assert await server.ingest(1, 2, 3, 4) == [DUPLICATE] * 4
        assert await server.quantities() == ["6"]

    run(SqliteJournal.open(tmp_path / "default.sqlite"), after_a_restart)


def test_a_server_does_not_start_on_a_torn_last_segment_and_names_it(tmp_path):
    path = tmp_path / "default.sqlite"

    async def store(server: Server) -> None:
        assert await server.ingest(1) == [STORED]
        assert await server.ingest(2) == [STORED]

    run(SqliteJournal.open(path), store)
    with closing(sqlite3.connect(path)) as file, file:
        # Bodies lie in the order of their sequences; half of the last one is not what was written.
        [(position, body)] = file.execute("SELECT position, part FROM segment_bodies ORDER BY position DESC LIMIT 1")
        torn = body[: len(body) // 2] + bytes(len(body) - len(body) // 2)
        file.execute("UPDATE segment_bodies SET part = ? WHERE position = ?", (torn, position))

    async def start() -> None:
        async with App(replace(SETTINGS, data_directory=tmp_path)):
            pass

    with pytest.raises(StartError, match=r"default\.sqlite.*sequences 2 to 2"):
        asyncio.run(start())
