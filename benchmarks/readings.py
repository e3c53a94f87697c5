"""Meter readings: stored over gRPC and by the book alone, read from a large journal, and the whole rule over them.

Readings are of quarter hours, 0 to 60 kWh with three decimals; of every tenth meter some are estimated. A message holds
a month of 500 meters, as columns of the contract, and every answer comes after its commit is flushed to the disk.

- `stored over rpc`: a server process and a client process on loopback. Timed: from the first message given to one
  IngestReadings call until the answer to the last; 15 messages unanswered at most. Not timed: making the messages.
- `stored by the book`: the same messages from bytes to the disk in this process, without gRPC. Its journal is the one
  that is read next.
- `one channel-month`: from a journal of as many meters as the line says, one month of one of them: found, checked,
  unpacked and laid over one another. Each read is of another meter.
- `whole rule from the journal`: a year of each meter is read from the journal into a matrix, and five slices, total,
  maximum, quality and months are computed of it, 40 meters at a time, on two threads.
- `one meter's month over rpc`: CalculateDeterminants of stored readings, interval, timeslices and maximum, one call
  after the other; the configuration comes with each.
- `many meters' month over rpc`: the same of many meters on one StreamingCalculateDeterminants call, all of which the
  book's catalogue has. Timed: from the first request until the last answer, which the client reads as values.

    python -m benchmarks.readings                # two minutes, and 700 megabytes of disk
    python -m benchmarks.readings --part rule    # or rpc, or journal
    python -m benchmarks.readings --smoke --json

The large journal is written and read once; the other figures are the median of three runs.

The hash covers what was read back, or the determinants.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import grpc
import numpy as np
from benchmarks.determinants import CONFIGURATION, END_US, GROUP, HOLIDAYS, QUARTER_US, START_US, ZONE
from benchmarks.measuring import Figures, Size, hash_of, median, percentile, run_command
from benchmarks.processes import Usage, disk_bytes_per_second, server_process
from numpy.typing import NDArray
from tests.support.energy.wire import configuration_message

from tallybook.v1 import catalog_pb2, determinants_pb2
from tallybook_client import Client, channel_readings
from tallybook_engine.determinants.configuration import Label
from tallybook_engine.determinants.deliveries import Wanted
from tallybook_engine.determinants.interval import period_frame
from tallybook_engine.determinants.matrix import matrix_totals, whole_period
from tallybook_engine.determinants.quality import DEFAULT_QUALITY
from tallybook_server import limits
from tallybook_server.book import Book
from tallybook_server.journal.sqlite import SqliteJournal
from tallybook_server.memory import keep_freed_memory
from tallybook_server.services.readings import ReadingsStream
from tallybook_server.services.streaming import AnswersInOrder
from tallybook_server.services.unanswered import UnansweredBytes
from tallybook_server.stored_readings import load_channel, load_meters

SEED = 20250101
MONTH_START = datetime(2025, 3, 1, tzinfo=UTC)
MONTH_READINGS = 31 * 96
METERS_A_MESSAGE = {Size.SMOKE: 5, Size.FULL: 500}
RPC_MESSAGES = {Size.SMOKE: 3, Size.FULL: 40}
JOURNAL_METERS = {Size.SMOKE: 20, Size.FULL: 100_000}
RULE_METERS = {Size.SMOKE: 4, Size.FULL: 400}
STREAMED_METERS = {Size.SMOKE: 12, Size.FULL: 4_000}
READS = {Size.SMOKE: 5, Size.FULL: 1_000}
RUNS = {Size.SMOKE: 1, Size.FULL: 3}
WINDOW = 15
THREADS = 2
MATRIX_METERS = 40
"""Meters that a thread reads and then computes."""
wire: Any = determinants_pb2


def configuration(meters: Sequence[str]) -> Any:
    """Meters with the channel and slices of the determinants' benchmark."""
    found = configuration_message("", CONFIGURATION)
    (source,) = found.datasources
    del found.datasources[:]
    for meter in meters:
        source.id = meter
        found.datasources.add().CopyFrom(source)
    return found


def columns(count: int, first: datetime, interval_count: int) -> list[Any]:
    """Readings of so many meters; the same every time."""
    chance = np.random.default_rng(SEED)
    made = []
    for number in range(count):
        codes = None
        if number % 10 == 0:
            codes = np.zeros(interval_count, np.uint8)
            codes[100:116] = 1
        values = chance.integers(0, 60_000, interval_count)
        statuses = ("measured",) if codes is None else ("measured", "estimated")
        quarter = timedelta(minutes=15)
        made.append(
            channel_readings("load", values, first, quarter, decimal_places=3, statuses=statuses, quality_codes=codes)
        )
    return made


def messages(readings: Sequence[Any], message_count: int) -> Iterator[bytes]:
    """Messages of the same readings, each of other meters."""
    for number in range(message_count):
        names = [f"meter {number * len(readings) + index}" for index in range(len(readings))]
        request = wire.IngestReadingsRequest(batch_number=number, configuration=configuration(names))
        for name, each in zip(names, readings, strict=True):
            request.deliveries.deliveries.add(datasource=name).readings.CopyFrom(each)
        yield request.SerializeToString()


def month(size: Size) -> list[Any]:
    """A month of each meter of a message."""
    return columns(METERS_A_MESSAGE[size], MONTH_START + timedelta(minutes=15), MONTH_READINGS)


# --- Stored ---------------------------------------------------------------------------------------------------------


def over_rpc(size: Size) -> list[Figures]:
    """A stream of readings, and then determinants of them."""
    encoded = list(messages(month(size), RPC_MESSAGES[size]))
    runs = [_stream(encoded, size) for _ in range(RUNS[size])]
    return [median(each) for each in zip(*runs, strict=True)]


def _stream(encoded: Sequence[bytes], size: Size) -> list[Figures]:
    count = len(encoded) * METERS_A_MESSAGE[size] * MONTH_READINGS
    with tempfile.TemporaryDirectory() as folder, server_process(Path(folder)) as server:
        with grpc.insecure_channel(server.address, [("grpc.max_receive_message_length", -1)]) as channel:
            grpc.channel_ready_future(channel).result()
            method: Any = channel.stream_stream(
                "/tallybook.v1.IngestService/IngestReadings",
                request_serializer=None,
                response_deserializer=wire.IngestReadingsResponse.FromString,
            )
            before = Usage.of(server.pid)
            begun = time.perf_counter()
            stored = sum(_answers(method, encoded))
            seconds = time.perf_counter() - begun
            used = Usage.of(server.pid).since(before)
        if stored != count:
            raise AssertionError("readings that were not stored")
        figures: Figures = {
            "case": "stored over rpc",
            "readings": count,
            "readings_per_second": count / seconds,
            "server_cpu_seconds_per_million": used.cpu_seconds / count * 1e6,
            "journal_bytes_per_reading": float(server.journal_bytes() / count),
            "written_bytes_per_reading": used.written_bytes / count,
            "raw_megabytes_per_second": disk_bytes_per_second(Path(folder), max(1 << 20, used.written_bytes)) / 1e6,
        }
        with Client(server.address) as client:
            back = [str(each.value) for each in client.list_readings("meter 1", "load")]
            figures["hash"] = hash_of(" ".join(back).encode())
            return [figures, _determinants_over_rpc(client, size), _many_meters_over_rpc(client, size, server.pid)]


def _answers(method: Any, encoded: Sequence[bytes]) -> Iterator[int]:
    outbox: SimpleQueue[bytes | None] = SimpleQueue()
    for request in encoded[:WINDOW]:
        outbox.put(request)
    answers = method(iter(outbox.get, None))
    for number in range(len(encoded)):
        response = next(answers)
        following = number + WINDOW
        outbox.put(encoded[following] if following < len(encoded) else None)
        if response.WhichOneof("outcome") != "result":
            raise RuntimeError(f"message {number}: {response.status}")
        yield response.result.stored_count


def _billing_request(name: str) -> Any:
    billing = wire.BillingRequest(
        datasource=name,
        time_zone="UTC",
        channels=[
            {"channel": "load", "kind": "INTERVAL"},
            {"channel": "load", "kind": "TIMESLICE", "timeslice_group": GROUP.id},
            {"channel": "load", "kind": "PMAX", "as_power": True},
        ],
    )
    billing.start_time.FromDatetime(MONTH_START)
    billing.end_time.FromDatetime(datetime(2025, 4, 1, tzinfo=UTC))
    return billing


def _determinants_over_rpc(client: Client, size: Size) -> Figures:
    seconds, texts = [], []
    for number in range(READS[size]):
        name = f"meter {number % METERS_A_MESSAGE[size]}"
        request = wire.CalculateDeterminantsRequest(
            billing_request=_billing_request(name), configuration=configuration([name])
        )
        begun = time.perf_counter()
        found = client.calculate_determinants(request)
        seconds.append(time.perf_counter() - begun)
        texts.append(" ".join(str(each.value) for each in found))
    return {
        "case": "one meter's month over rpc",
        "calls": len(seconds),
        "p50_ms": percentile(seconds, 50),
        "p99_ms": percentile(seconds, 99),
        "hash": hash_of("\n".join(texts).encode()),
    }


def _many_meters_over_rpc(client: Client, size: Size, server_pid: int) -> Figures:
    names = [f"meter {number}" for number in range(STREAMED_METERS[size])]
    known = configuration(names)
    put = {field.name: getattr(known, field.name) for field in known.DESCRIPTOR.fields}
    client.apply_catalog(catalog_pb2.Catalog(**put))
    requests = [wire.CalculateDeterminantsRequest(billing_request=_billing_request(name)) for name in names]
    before = Usage.of(server_pid)
    begun = time.perf_counter()
    answers = [each.determinants for each in client.stream_determinants(requests)]
    seconds = time.perf_counter() - begun
    used = Usage.of(server_pid).since(before)
    found = [each for each in answers if each is not None]
    if len(found) != len(names):
        raise AssertionError("requests that were not answered with determinants")
    texts = [" ".join(str(each.value) for each in determinants) for determinants in found]
    return {
        "case": "many meters' month over rpc",
        "meters": len(names),
        "meters_per_second": len(names) / seconds,
        "server_cpu_ms_per_meter": used.cpu_seconds / len(names) * 1e3,
        "hash": hash_of("\n".join(texts).encode()),
    }


def by_the_book(folder: Path, readings: Sequence[Any], message_count: int) -> float:
    """Seconds that a book takes from the bytes of messages to the disk."""
    with ThreadPoolExecutor(THREADS) as executor:
        book = Book("default", SqliteJournal.open(folder / "default.sqlite"), executor)

        async def beside(work: Any, *arguments: Any) -> Any:
            return await asyncio.get_running_loop().run_in_executor(executor, work, *arguments)

        async def sent(some: Sequence[bytes]) -> AsyncIterator[bytes]:
            for each in some:
                yield each

        async def store() -> float:
            total = 0.0
            stream = ReadingsStream(book, beside)
            source = messages(readings, message_count)
            while some := [each for each, _ in zip(source, range(WINDOW), strict=False)]:
                begun = time.perf_counter()
                unanswered = UnansweredBytes(limits.UNANSWERED_BYTES_MAX)
                async for answer in AnswersInOrder(sent(some), stream.answer, unanswered).answers():
                    if answer.result.stored_count == 0:
                        raise RuntimeError(str(answer.status))
                total += time.perf_counter() - begun
            await book.close()
            return total

        return asyncio.run(store())


def large_journal(size: Size) -> list[Figures]:
    """Stored by the book, and then read channel by channel."""
    readings = month(size)
    message_count = JOURNAL_METERS[size] // len(readings)
    count = message_count * len(readings) * MONTH_READINGS
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seconds = by_the_book(folder, readings, message_count)
        journal = SqliteJournal.open(folder / "default.sqlite", read_only=True)
        sequence = journal.last_sequence
        first_us = int(MONTH_START.timestamp()) * 10**6
        wanted = Wanted("load", first_us, first_us + 31 * 96 * QUARTER_US)
        chosen = np.random.default_rng(SEED).integers(0, JOURNAL_METERS[size], READS[size]).tolist()
        reads, values = [], []
        for meter in chosen:
            begun = time.perf_counter()
            found, _ = load_channel(journal, f"meter {meter}", wanted, CONFIGURATION, sequence)
            reads.append(time.perf_counter() - begun)
            values.append(found.values.tobytes())
        journal.close()
        size_bytes = sum(path.stat().st_size for path in folder.iterdir())
    digest = hash_of(*values)
    return [
        {
            "case": "stored by the book",
            "readings": count,
            "readings_per_second": count / seconds,
            "journal_bytes_per_reading": size_bytes / count,
            "hash": digest,
        },
        {
            "case": "one channel-month",
            "meters": JOURNAL_METERS[size],
            "p50_ms": percentile(reads, 50),
            "p99_ms": percentile(reads, 99),
            "hash": digest,
        },
    ]


# --- The rule -------------------------------------------------------------------------------------------------------


def whole_rule(size: Size) -> list[Figures]:
    """A year of each meter, from the journal to the columns of determinants."""
    meter_count, interval_count = RULE_METERS[size], (END_US - START_US) // QUARTER_US
    first = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=START_US + QUARTER_US)
    readings = columns(min(meter_count, 40), first, interval_count)
    names = [f"meter {number}" for number in range(meter_count)]
    runs = []
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(THREADS) as executor:
        folder = Path(name)
        by_the_book(folder, readings, meter_count // len(readings))
        journal = SqliteJournal.open(folder / "default.sqlite", read_only=True)
        for run in range(RUNS[size] + 1):
            begun = time.perf_counter()
            answers = list(read_and_computed(journal, names, executor))
            seconds = time.perf_counter() - begun
            if run:  # The first one compiles, or loads what was compiled.
                count = meter_count * interval_count
                figures: Figures = {
                    "case": "whole rule from the journal",
                    "intervals": count,
                    "intervals_per_second": count / seconds,
                    "hash": hash_of(*(array.tobytes() for each in answers for array in each)),
                }
                runs.append(figures)
        journal.close()
    return [median(runs)]


def read_and_computed(
    journal: SqliteJournal, names: Sequence[str], executor: ThreadPoolExecutor
) -> Iterator[list[NDArray[Any]]]:
    """Totals of some meters after the other: each thread reads some into a matrix of its own, and computes them."""
    laid_out = period_frame(ZONE, START_US, END_US, GROUP, HOLIDAYS)
    wanted = Wanted("load", START_US + QUARTER_US, END_US)
    sequence = journal.last_sequence

    def answered(start: int) -> list[NDArray[Any]]:
        (meters,) = load_meters(journal, names[start : start + MATRIX_METERS], wanted, CONFIGURATION, sequence)
        totals = matrix_totals(laid_out, meters.matrix, Label.END, DEFAULT_QUALITY)
        return [*totals, *whole_period(totals)]

    return executor.map(answered, range(0, len(names), MATRIX_METERS))


def main(arguments: list[str] | None = None) -> list[Figures]:
    """The command line."""
    # As a server does when it starts.
    keep_freed_memory()
    return run_command("readings", __doc__, {"rpc": over_rpc, "journal": large_journal, "rule": whole_rule}, arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
