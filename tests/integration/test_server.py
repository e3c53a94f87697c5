"""The server's life: what it needs to start, what it says while it runs, and how it stops."""

import asyncio
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tests.support.call_errors import failed_with
from tests.support.events import PlainEvent, as_message
from tests.support.fake_books import FakeBooks, call, served
from tests.support.held_journal import HeldJournal
from tests.support.live_server import live_server

from tallybook.v1 import ingest_pb2 as wire
from tallybook.v1 import ingest_pb2_grpc
from tallybook_server.app import SERVICES, App, StartError
from tallybook_server.book import Book
from tallybook_server.journal.attached import Attached
from tallybook_server.journal.interface import Journal, Segment
from tallybook_server.journal.memory import MemoryJournal
from tallybook_server.keys import ApiKeys
from tallybook_server.settings import Settings

EVENTS = [as_message(PlainEvent(reference=f"event-{index}")) for index in range(10)]
ROWS = wire.EventRows(events=EVENTS)
SERVE = """
import sys
from pathlib import Path
from tallybook_server.app import serve
from tallybook_server.settings import Settings
settings = Settings(address="127.0.0.1:0", data_directory=Path(sys.argv[1]))
serve(settings, lambda port: print(port, flush=True))
"""


def ingest(target: str, events: list[wire.Event]) -> list[int]:
    """Statuses of the events."""
    with grpc.insecure_channel(target) as channel:
        stub: Any = ingest_pb2_grpc.IngestServiceStub(channel)
        return [row.status for row in stub.IngestEvents(wire.IngestEventsRequest(events=events)).results]


# --- Starting -------------------------------------------------------------------------------------------------------


def start_error(settings: Settings) -> str:
    async def run() -> str:
        with pytest.raises(StartError) as error:
            async with App(settings):
                pass
        return str(error.value)

    return asyncio.run(run())


def test_a_server_without_keys_does_not_listen_beyond_loopback(tmp_path):
    assert "loopback only" in start_error(Settings(address="0.0.0.0:0"))
    assert "loopback only" in start_error(Settings(address="0.0.0.0:0", data_directory=tmp_path))


def test_a_server_with_keys_does(tmp_path):
    settings = Settings(address="0.0.0.0:0", data_directory=tmp_path, stop_grace_seconds=1.0)
    assert settings.keys_path is not None
    ApiKeys(settings.keys_path, lambda: 1).create("book")
    with live_server(settings) as target:
        port = target.rpartition(":")[2]
        with pytest.raises(grpc.RpcError) as error:
            ingest(f"127.0.0.1:{port}", EVENTS)
        assert failed_with(error.value) == "CREDENTIAL_MISSING"


def test_an_address_that_is_taken_is_said():
    with live_server() as target:
        assert "another process listens there" in start_error(Settings(address=target))


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.1:65536", "127.0.0.1:http", "", ":"])
def test_an_address_that_is_none_is_said(address):
    assert "host:port" in start_error(Settings(address=address))


def test_a_certificate_needs_its_key(tmp_path):
    assert "give both or none" in start_error(Settings(address="127.0.0.1:0", certificate_path=tmp_path / "a.pem"))
    certificate_path, private_key_path = tmp_path / "certificate.pem", tmp_path / "key.pem"
    missing = Settings("127.0.0.1:0", certificate_path=certificate_path, private_key_path=private_key_path)
    assert "key.pem" in start_error(missing)


def test_a_damaged_journal_keeps_the_server_from_starting_and_is_named(tmp_path):
    (tmp_path / "default.sqlite").write_bytes(b"no journal at all" * 100)
    assert "default.sqlite" in start_error(Settings(address="127.0.0.1:0", data_directory=tmp_path))


# --- Running --------------------------------------------------------------------------------------------------------


def test_health_needs_no_key_and_ends_when_the_server_stops(tmp_path):
    settings = Settings(address="127.0.0.1:0", data_directory=tmp_path, stop_grace_seconds=1.0)
    assert settings.keys_path is not None
    ApiKeys(settings.keys_path, lambda: 1).create("book")
    with live_server(settings) as target:
        channel = grpc.insecure_channel(target)
        stub: Any = health_pb2_grpc.HealthStub(channel)
        for service in ("", *SERVICES):
            answer = stub.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        watch = stub.Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
    channel.close()


def test_reflection_lists_the_services():
    with live_server() as target, grpc.insecure_channel(target) as channel:
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        [answer] = stub.ServerReflectionInfo(iter([request]))
        names = {service.name for service in answer.list_services_response.service}
    assert {*SERVICES, "grpc.health.v1.Health"} <= names


def test_a_method_that_does_not_exist_is_unimplemented():
    with live_server() as target, grpc.insecure_channel(target) as channel:
        unary: Any = channel.unary_unary
        with pytest.raises(grpc.RpcError) as error:
            unary("/tallybook.v1.IngestService/Nothing")(b"")
        assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED


class WatchedJournal(HeldJournal):
    """Also says when an append has begun."""

    def __init__(self, journal: Journal) -> None:
        super().__init__(journal)
        self.begun = threading.Event()

    def append(self, expected_sequence: int, segment: Segment, attached: Attached | None = None) -> None:
        self.begun.set()
        super().append(expected_sequence, segment, attached)


def test_the_end_of_a_call_is_not_the_end_of_its_commit():
    async def run() -> None:
        # Given a book whose commit is under way
        executor = ThreadPoolExecutor(2)
        journal = WatchedJournal(MemoryJournal())
        book = Book("default", journal, executor)
        books = FakeBooks()
        books.books["default"] = cast(Any, book)
        request = wire.IngestEventsRequest(events=EVENTS).SerializeToString()
        async with served(books) as channel:
            with journal.held():
                ongoing = call(channel, "IngestEvents", request)
                await asyncio.to_thread(journal.begun.wait)
                # When its call ends, as it does at its deadline too
                ongoing.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await ongoing
            # Then the events are stored all the same
            again = wire.IngestEventsResponse.FromString(await call(channel, "IngestEvents", request))
            assert {row.status for row in again.results} == {wire.EventResult.DUPLICATE}
        await book.close()
        executor.shutdown()

    asyncio.run(run())


# --- Stopping -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_is_told_to_stop_keeps_what_it_acknowledged(tmp_path: Path, number: signal.Signals):
    # Given a server with events
    server = subprocess.Popen([sys.executable, "-c", SERVE, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    target = f"127.0.0.1:{server.stdout.readline().strip()}"
    assert ingest(target, EVENTS) == [wire.EventResult.STORED] * len(EVENTS)
    # When it is told to stop
    server.send_signal(number)
    # Then it ends well, answers no more, and the next one holds the events
    assert server.wait() == 0
    with pytest.raises(grpc.RpcError) as error:
        ingest(target, EVENTS)
    assert error.value.code() is grpc.StatusCode.UNAVAILABLE
    with live_server(Settings(address="127.0.0.1:0", data_directory=tmp_path, stop_grace_seconds=1.0)) as again:
        assert ingest(again, EVENTS) == [wire.EventResult.DUPLICATE] * len(EVENTS)


def test_a_stream_in_flight_is_answered_before_the_server_stops():
    async def run() -> None:
        # Given a stream with a batch answered
        app = App(Settings(address="127.0.0.1:0"))
        await app.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{app.port}") as channel:
            stub: Any = ingest_pb2_grpc.IngestServiceStub(channel)
            stream = stub.StreamingIngestEvents()
            await stream.write(wire.StreamingIngestEventsRequest(batch_number=1, rows=ROWS))
            assert (await stream.read()).result.stored_count == len(EVENTS)
            # When the server is told to stop
            stopping = asyncio.ensure_future(app.stop())
            await asyncio.sleep(0)
            # Then the stream goes on to its end
            await stream.write(wire.StreamingIngestEventsRequest(batch_number=2, rows=ROWS))
            assert (await stream.read()).result.duplicate_count == len(EVENTS)
            await stream.done_writing()
            assert await stream.read() is grpc.aio.EOF
            await stopping

    asyncio.run(run())
