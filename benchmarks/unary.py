"""Unary calls: one event, durable, with its full prediction, against a call that does nothing.

Timed, each call by itself: IngestEvents with one new event and the prediction FULL, on one channel, one call after the
other; the health check, which does nothing, on the same channel in turn; and both by 64 callers at once, each with a
channel and a thread of its own. Every answer comes after its commit is flushed to the disk. 1,000 customers, one charge
an event. Not timed: starting the server, the catalogue, making the events, and the first calls, in which lines open.

    python -m benchmarks.unary
    python -m benchmarks.unary --smoke --json

The hash covers how many events were stored and what they cost together.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc
from benchmarks import workload
from benchmarks.measuring import Figures, Size, hash_of, percentile, run_command
from benchmarks.processes import server_process
from benchmarks.workload import Events
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tallybook.v1 import ingest_pb2, ingest_pb2_grpc
from tallybook_client import Client

CALL_COUNTS = {Size.SMOKE: 20, Size.FULL: 2_000}
CALLERS = 64
CALLS_EACH = {Size.SMOKE: 2, Size.FULL: 100}
WARM_CALLS = {Size.SMOKE: 5, Size.FULL: 1_000}


def measure(size: Size) -> list[Figures]:
    """One after the other, and many at once."""
    count = WARM_CALLS[size] + CALL_COUNTS[size] + CALLERS * CALLS_EACH[size]
    requests = [
        ingest_pb2.IngestEventsRequest(events=[event], prediction_view=ingest_pb2.CostPrediction.FULL)
        for event in Events(count).messages(range(count))
    ]
    with tempfile.TemporaryDirectory() as folder, server_process(Path(folder)) as server:
        with Client(server.address) as client:
            client.apply_catalog(workload.catalog(1))
        with grpc.insecure_channel(server.address) as channel:
            stub = ingest_pb2_grpc.IngestServiceStub(channel)
            warm, rest = requests[: WARM_CALLS[size]], requests[WARM_CALLS[size] :]
            cost = sum((_cost(stub.IngestEvents(request)) for request in warm), Decimal(0))
            sequential, concurrent = rest[: CALL_COUNTS[size]], rest[CALL_COUNTS[size] :]
            nothing, one, paid = _in_turn(channel, stub, sequential)
        none, none_seconds, _ = _at_once(server.address, [None] * len(concurrent), CALLS_EACH[size])
        many, seconds, paid_by_many = _at_once(server.address, concurrent, CALLS_EACH[size])
    total = hash_of(f"{count} {cost + paid + paid_by_many}".encode())
    return [
        _figures("no-op, one after the other", nothing, sum(nothing), total),
        _figures("one event, one after the other", one, sum(one), total),
        _figures(f"no-op, {CALLERS} callers at once", none, none_seconds, total),
        _figures(f"one event, {CALLERS} callers at once", many, seconds, total),
    ]


def _figures(case: str, seconds: list[float], elapsed_seconds: float, total: str) -> Figures:
    return {
        "case": case,
        "calls": len(seconds),
        "calls_per_second": len(seconds) / elapsed_seconds,
        "p50_ms": percentile(seconds, 50),
        "p99_ms": percentile(seconds, 99),
        "hash": total,
    }


def _in_turn(
    channel: grpc.Channel, stub: ingest_pb2_grpc.IngestServiceStub, requests: list[ingest_pb2.IngestEventsRequest]
) -> tuple[list[float], list[float], Decimal]:
    """(seconds of each no-op, seconds of each event, what the events cost)."""
    health: Any = health_pb2_grpc.HealthStub(channel)
    nothing, one = [], []
    paid = Decimal(0)
    for request in requests:
        nothing.append(_seconds(lambda: health.Check(health_pb2.HealthCheckRequest())))
        begun = time.perf_counter()
        response = stub.IngestEvents(request)
        one.append(time.perf_counter() - begun)
        paid += _cost(response)
    return nothing, one, paid


def _at_once(
    address: str, requests: Sequence[ingest_pb2.IngestEventsRequest | None], calls_each: int
) -> tuple[list[float], float, Decimal]:
    """(seconds of each call, of all together, what the events cost), each caller in a thread of its own.

    None instead of a request is a call that does nothing.
    """
    seconds: list[float] = []
    paid: list[Decimal] = []
    ready = threading.Barrier(CALLERS + 1)

    def call(mine: Sequence[ingest_pb2.IngestEventsRequest | None]) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(address, options=options) as channel:
            grpc.channel_ready_future(channel).result()
            stub = ingest_pb2_grpc.IngestServiceStub(channel)
            health: Any = health_pb2_grpc.HealthStub(channel)
            ready.wait()
            for request in mine:
                begun = time.perf_counter()
                if request is None:
                    health.Check(health_pb2.HealthCheckRequest())
                    seconds.append(time.perf_counter() - begun)
                    continue
                response = stub.IngestEvents(request)
                seconds.append(time.perf_counter() - begun)
                paid.append(_cost(response))

    threads = [
        threading.Thread(target=call, args=(requests[index * calls_each : (index + 1) * calls_each],))
        for index in range(CALLERS)
    ]
    for thread in threads:
        thread.start()
    ready.wait()
    begun = time.perf_counter()
    for thread in threads:
        thread.join()
    return seconds, time.perf_counter() - begun, sum(paid, Decimal(0))


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _cost(response: ingest_pb2.IngestEventsResponse) -> Decimal:
    (result,) = response.results
    if (
        result.status != ingest_pb2.EventResult.STORED
        or result.cost_prediction.response != ingest_pb2.CostPrediction.OK
    ):
        raise AssertionError(f"not stored and priced: {result}")
    return sum((Decimal(each.amount_including_tax.quantity) for each in result.cost_prediction.details), Decimal(0))


def main(arguments: list[str] | None = None) -> list[Figures]:
    """The command line."""
    return run_command("unary", __doc__, measure, arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
