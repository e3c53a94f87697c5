"""Streamed events, durable, deduplicated, costs returned: a server process and a client process on loopback.

Timed: from the first message given to one StreamingIngestEvents call until the answer to the last, costs read into
arrays; every answer comes after its commit is flushed to the disk. 1,000 customers whose charge lines open during the
run, decimal quantities, two properties matched, 1 or 4 charges an event, 32,768 events a message, 15 messages
unanswered at most. Not timed: starting the server, which compiles or loads the kernels, the catalogue, making the
events; and, where messages are pre-encoded, their encoding. Otherwise typed rows are made by the Python client from
one object an event, and Arrow from a Polars frame, as `ingest_frame` does.

CPU seconds a million are those of the whole process. `written` is what the server handed to the disk, `raw` the rate
at which a plain file of as many bytes, flushed every 4 MiB, was written in the same run.

    python -m benchmarks.streaming
    python -m benchmarks.streaming --smoke --json

The hash covers each event's amount and tax, in order.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

import grpc
import polars as pl
from benchmarks import workload
from benchmarks.measuring import Figures, Size, hash_of, median, run_command
from benchmarks.processes import ServerProcess, Usage, disk_bytes_per_second, server_process
from benchmarks.workload import Events

from tallybook.v1 import ingest_pb2
from tallybook_client import Client
from tallybook_client.channel import open_channel
from tallybook_client.costs import Costs
from tallybook_client.frames import ColumnMap, event_batches, ipc_stream
from tallybook_client.stream import WINDOW_BATCHES, Batch, BatchAnswer

BATCH_ROWS = 32_768
EVENT_COUNTS = {Size.SMOKE: 2_000, Size.FULL: 4_000_000}
OBJECT_EVENT_COUNTS = {Size.SMOKE: 2_000, Size.FULL: 500_000}
"""Where the client makes an object an event, it is what takes the time: fewer events tell as much."""
RUNS = {Size.SMOKE: 1, Size.FULL: 3}
METHOD = "/tallybook.v1.IngestService/StreamingIngestEvents"


class Answer(NamedTuple):
    """What became of one batch."""

    costs: Costs
    stored_count: int
    duplicate_count: int


Send = Callable[[], list[Answer]]


@dataclass(frozen=True)
class Case:
    """What is sent."""

    arrow: bool
    charge_count: int
    encoded: bool

    def __str__(self) -> str:
        form = "arrow" if self.arrow else "rows"
        charges = "1 charge" if self.charge_count == 1 else f"{self.charge_count} charges"
        return f"{form}, {charges}, {'pre-encoded' if self.encoded else 'encoded by the client'}"


EVERY_CASE = [
    Case(arrow, charges, encoded) for encoded in (True, False) for arrow in (False, True) for charges in (1, 4)
]
CASES = {
    # Each starts two processes, so half of them: every form with either number of charges, and with either encoding.
    Size.SMOKE: [each for each in EVERY_CASE if each.encoded == (each.arrow == (each.charge_count == 4))],
    Size.FULL: EVERY_CASE,
}


def measure(size: Size) -> list[Figures]:
    """Every case."""
    return [median(_run(case, size) for _ in range(RUNS[size])) for case in CASES[size]]


def _run(case: Case, size: Size) -> Figures:
    """One case against a fresh server."""
    count = (EVENT_COUNTS if case.encoded or case.arrow else OBJECT_EVENT_COUNTS)[size]
    with tempfile.TemporaryDirectory() as folder, server_process(Path(folder)) as server:
        with Client(server.address) as client:
            client.apply_catalog(workload.catalog(case.charge_count))
            send = sender(server.address, case.arrow, count) if case.encoded else _encoding(case.arrow, count, client)
            figures, answers = timed_stream(str(case), count, server, send)
        if sum(answer.stored_count for answer in answers) != count:
            raise AssertionError("events that were not stored")
        raw = disk_bytes_per_second(Path(folder), int(figures["written_bytes_per_event"] * count))
        return {**figures, "raw_megabytes_per_second": raw / 1e6, "hash": figures["hash"]}


def timed_stream(case: str, count: int, server: ServerProcess, send: Send) -> tuple[Figures, list[Answer]]:
    """The figures of a stream of `count` events."""
    server_before, client_before = Usage.of(server.pid), Usage.of(os.getpid())
    begun = time.perf_counter()
    answers = send()
    seconds = time.perf_counter() - begun
    server_used, client_used = Usage.of(server.pid).since(server_before), Usage.of(os.getpid()).since(client_before)
    million = count / 1e6
    figures = {
        "case": case,
        "events": count,
        "events_per_second": count / seconds,
        "server_cpu_seconds_per_million": server_used.cpu_seconds / million,
        "client_cpu_seconds_per_million": client_used.cpu_seconds / million,
        "journal_bytes_per_event": float(server.journal_bytes() / count),
        "written_bytes_per_event": server_used.written_bytes / count,
        "written_megabytes_per_second": server_used.written_bytes / 1e6 / seconds,
        "hash": _hash([answer.costs for answer in answers], count),
    }
    return figures, answers


def _hash(every: list[Costs], count: int) -> str:
    if sum(len(costs.rows) for costs in every) != count:
        raise AssertionError("events without costs")
    return hash_of(*(array.tobytes() for costs in every for array in (costs.amount_excluding_tax, costs.tax_amount)))


# --- Sending --------------------------------------------------------------------------------------------------------


def sender(address: str, arrow: bool, count: int) -> Send:
    """Sends pre-encoded messages, with nothing else that the client does; connected beforehand."""
    requests = _encoded(arrow, count)
    channel = open_channel(address, None)
    grpc.channel_ready_future(channel).result()
    call: Any = channel.stream_stream(METHOD, None, ingest_pb2.StreamingIngestEventsResponse.FromString)
    return lambda: list(_answers(call, requests, count))


def _encoding(arrow: bool, count: int, client: Client) -> Send:
    """Sends by way of the Python client, which makes the messages."""
    client.wait_until_ready()
    if arrow:
        frame = _frame(count)
        batches: Iterable[Batch] = event_batches(frame, ColumnMap(), BATCH_ROWS)
        return lambda: [_read(answer) for answer in client.stream(batches, return_costs=True)]
    events = _objects(count)
    lists = [events[start : start + BATCH_ROWS] for start in range(0, count, BATCH_ROWS)]
    return lambda: [_read(answer) for answer in client.stream(lists, return_costs=True)]


def _read(answer: BatchAnswer) -> Answer:
    assert answer.costs is not None
    return Answer(answer.costs, answer.stored_count, answer.duplicate_count)


def _answers(call: Any, requests: list[bytes], count: int) -> Iterator[Answer]:
    """Keeps as many messages unanswered as the client does."""
    outbox: SimpleQueue[bytes | None] = SimpleQueue()
    for request in requests[:WINDOW_BATCHES]:
        outbox.put(request)
    answers = call(iter(outbox.get, None))
    for number in range(len(requests)):
        response = next(answers)
        following = number + WINDOW_BATCHES
        outbox.put(requests[following] if following < len(requests) else None)
        if response.WhichOneof("outcome") != "result":
            raise RuntimeError(f"batch {number}: {response.status}")
        result = response.result
        costs = Costs.read(result.costs, min(BATCH_ROWS, count - number * BATCH_ROWS))
        yield Answer(costs, result.stored_count, result.duplicate_count)


@cache
def _encoded(arrow: bool, count: int) -> list[bytes]:
    """Whole requests, serialised."""
    events = Events(count)
    requests = []
    table = events.table() if arrow else None
    for number, rows in enumerate(events.batches(BATCH_ROWS)):
        request = ingest_pb2.StreamingIngestEventsRequest(batch_number=number, return_costs=True)
        if table is None:
            request.rows.events.extend(events.messages(rows))
        else:
            (batch,) = table.slice(rows.start, len(rows)).combine_chunks().to_batches()
            request.arrow = ipc_stream(batch)
        requests.append(request.SerializeToString())
    return requests


@cache
def _frame(count: int) -> pl.DataFrame:
    frame = pl.from_arrow(Events(count).table())
    assert isinstance(frame, pl.DataFrame)
    return frame


@cache
def _objects(count: int) -> list[Any]:
    return Events(count).objects()


def main(arguments: list[str] | None = None) -> list[Figures]:
    """The command line."""
    return run_command("streaming", __doc__, measure, arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
