"""A server killed under load, again and again: what it acknowledged is there, once, and the law holds.

The short form kills a server a few times; `--hypothesis-profile=long` kills it fifty times.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import grpc
from google.protobuf.json_format import ParseDict
from hypothesis import settings
from tests.support.events import PlainEvent, as_message
from tests.support.small_catalogue import DAY_US, YEAR_START_US, YEARLY, catalogue, tiers

from tallybook.v1 import catalog_pb2, catalog_pb2_grpc, ingest_pb2, ingest_pb2_grpc
from tallybook_server.verify import verify

KILLS_SHORT = 5
KILLS_LONG = 50
STREAM_COUNT = 3
EVENTS_A_BATCH = 40
UNANSWERED_MAX = 8
CATALOGUE = catalogue(
    tiers("volume", ("1000", "0.31", "0"), ("9000", "0.271", "5.555"), (None, "0.2", "0")),
    tiers("graduated", ("100", "0.07", "0"), (None, "0.0333", "1")),
    accumulation=YEARLY,
    tax={"rate": "0.21"},
)


# --- A server that is killed ------------------------------------------------------------------------------------------


@contextmanager
def server_to_kill(data: Path, log: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A server in a process of its own: (address, process). It gets SIGKILL at the end at the latest."""
    command = [sys.executable, "-m", "tallybook_cli", "serve", "--data", str(data), "--listen", "127.0.0.1:0", "--json"]
    with log.open("a") as log_file:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log_file, text=True)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, f"the server did not start: {log.read_text()[-2000:]}"
        yield json.loads(line)["address"], process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


# --- Load -------------------------------------------------------------------------------------------------------------


def batch_of(number: int) -> list[ingest_pb2.Event]:
    """The events of a batch, which its number alone decides."""
    chance = random.Random(number)
    return [
        as_message(
            PlainEvent(
                customer_reference="ann",
                reference=f"{number}-{index}",
                time=((YEAR_START_US + chance.randrange(150 * DAY_US)) // 10**6, 0),
                values=(("units", f"{chance.randrange(10)}.{chance.randrange(10**12):012d}"),),
            )
        )
        for index in range(EVENTS_A_BATCH)
    ]


@dataclass
class Load:
    """What was sent, and what of it was acknowledged, over all lives of the server."""

    kill_after: int
    """Batches to be acknowledged in this life before the server is killed."""
    acknowledged: set[int] = field(default_factory=set)
    sent: set[int] = field(default_factory=set)
    unexpected: list[str] = field(default_factory=list)
    acknowledged_in_life: int = 0
    next_number: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self) -> int:
        """The next batch's number."""
        with self.lock:
            self.next_number += 1
            self.sent.add(self.next_number)
            return self.next_number

    def acknowledge(self, response: ingest_pb2.StreamingIngestEventsResponse) -> bool:
        """Notes an answer; whether now is the time to kill."""
        with self.lock:
            result = response.result
            if result.stored_count != EVENTS_A_BATCH or result.matched_count != EVENTS_A_BATCH:
                self.unexpected.append(str(response))
            self.acknowledged.add(response.batch_number)
            self.acknowledged_in_life += 1
            return self.acknowledged_in_life == self.kill_after


def stream_until_killed(address: str, process: subprocess.Popen[str], load: Load) -> None:
    """Streams new batches, some always unanswered, until the server is gone; kills it when the load says so."""
    outbox: SimpleQueue[ingest_pb2.StreamingIngestEventsRequest | None] = SimpleQueue()

    def send() -> None:
        number = load.take()
        rows = ingest_pb2.EventRows(events=batch_of(number))
        outbox.put(ingest_pb2.StreamingIngestEventsRequest(batch_number=number, rows=rows, return_costs=True))

    for _ in range(UNANSWERED_MAX):
        send()
    with grpc.insecure_channel(address) as channel:
        stub: Any = ingest_pb2_grpc.IngestServiceStub(channel)
        call = stub.StreamingIngestEvents(iter(outbox.get, None))
        try:
            for response in call:
                if load.acknowledge(response):
                    process.send_signal(signal.SIGKILL)
                send()
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                load.unexpected.append(str(error))
        finally:
            outbox.put(None)


def live_and_die(data: Path, log: Path, load: Load) -> None:
    """One life of the server: begun, put under load, killed in the midst of it."""
    with server_to_kill(data, log) as (address, process):
        streams = [
            threading.Thread(target=stream_until_killed, args=(address, process, load)) for _ in range(STREAM_COUNT)
        ]
        for stream in streams:
            stream.start()
        for stream in streams:
            stream.join()
        assert process.wait() == -signal.SIGKILL


# --- What is there afterwards -----------------------------------------------------------------------------------------


def test_nothing_acknowledged_is_lost_and_nothing_is_there_twice(tmp_path: Path):
    long_form = settings.get_current_profile_name() == "long"
    kill_count = KILLS_LONG if long_form else KILLS_SHORT
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    data, log = tmp_path / "data", tmp_path / "log"
    load = Load(0)
    with server_to_kill(data, log) as (address, _), grpc.insecure_channel(address) as channel:
        catalog: Any = catalog_pb2_grpc.CatalogServiceStub(channel)
        put = ParseDict(CATALOGUE, catalog_pb2.Catalog())
        catalog.ApplyCatalog(catalog_pb2.ApplyCatalogRequest(put=put))
    for _ in range(kill_count):
        load.kill_after, load.acknowledged_in_life = chance.randint(1, 30), 0
        live_and_die(data, log, load)
    assert load.unexpected == []
    assert len(load.acknowledged) >= kill_count
    # Every life ended with batches on their way, so it was killed at work.
    assert len(load.sent - load.acknowledged) >= kill_count
    with server_to_kill(data, log) as (address, _):
        stored_before, stored_now = resent(address, load)
        assert load.acknowledged <= stored_before
        assert stored_before | stored_now == load.sent
        assert not stored_before & stored_now
        assert resent(address, load) == (load.sent, set())
    for oracle in (False, True):
        report = verify(data, "default", oracle, None)
        assert report.differences == []
        assert report.event_count == len(load.sent) * EVENTS_A_BATCH


def resent(address: str, load: Load) -> tuple[set[int], set[int]]:
    """Sends everything once more: (batches that were stored before, batches that are new). No batch is torn."""
    before: set[int] = set()
    now: set[int] = set()
    requests = (
        ingest_pb2.StreamingIngestEventsRequest(batch_number=number, rows=ingest_pb2.EventRows(events=batch_of(number)))
        for number in sorted(load.sent)
    )
    with grpc.insecure_channel(address) as channel:
        stub: Any = ingest_pb2_grpc.IngestServiceStub(channel)
        for response in stub.StreamingIngestEvents(requests):
            result = response.result
            assert (result.duplicate_count, result.stored_count) in ((EVENTS_A_BATCH, 0), (0, EVENTS_A_BATCH)), response
            (before if result.duplicate_count else now).add(response.batch_number)
    return before, now
