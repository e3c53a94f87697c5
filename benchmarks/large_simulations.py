"""Simulations as large as a server takes, over gRPC: time, memory, and how soon a cancelled one stops.

    python -m benchmarks.large_simulations            # 10,000,000 uploaded rows, 10,000 contracts, 64 scenarios
    python -m benchmarks.large_simulations --smoke    # a size for the tests

A year of usage, uploaded; every second scenario has other prices in the tiers, the others another plan for half of the
contracts. One simulation is run to its end, then others are cancelled after a part of the time that it took:

- upload_s: UploadUsage, from the first request to the answer
- first_message_s, total_s: RunSimulation with all charges, to its first message and to its last
- base_mib, peak_mib: memory of the server with the usage uploaded, and the most that it held during the call
- idle_after_s: from a call's cancellation to the last instant at which the server's processor time grew
- cpu_after_s: processor time that it still used, which other programs on the machine do not lengthen

Not timed: starting the server, the catalogue, making the usage. The hash covers what each scenario comes to.
"""

from __future__ import annotations

import contextlib
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import polars as pl
from benchmarks.measuring import Figures, Size, hash_of, run_command, significant
from benchmarks.processes import Usage, server_process
from benchmarks.simulation import PRICES, catalogue, tiers, usage

import tallybook_client as tb
from tallybook.v1 import simulate_pb2 as wire
from tallybook.v1 import simulate_pb2_grpc
from tallybook_engine.catalog.change import CatalogObjects
from tallybook_engine.catalog.model import Plan
from tallybook_engine.pricing.model import Graduated, Price
from tallybook_server.codec.catalog import write_objects

ROWS = {Size.SMOKE: 20_000, Size.FULL: 10_000_000}
CONTRACTS = {Size.SMOKE: 200, Size.FULL: 10_000}
SCENARIOS = {Size.SMOKE: 4, Size.FULL: 64}
CANCELLED_AT = {Size.SMOKE: (0.5,), Size.FULL: (0.01, 0.03, 0.1, 0.3, 0.6, 0.9)}
"""Parts of the whole simulation's time after which others are cancelled."""
QUIET_SECONDS = 0.5
"""A server whose processor time does not grow for so long is idle."""
LOOK_SECONDS = 0.01


def measure(size: Size) -> list[Figures]:
    """A simulation to its end, and others that are cancelled."""
    catalog = catalogue(CONTRACTS[size])
    kinds = ("taxes", "meters", "products", "plans", "customers", "contracts")
    objects = CatalogObjects(**{kind: tuple(getattr(catalog, kind).values()) for kind in kinds})
    with (
        tempfile.TemporaryDirectory() as folder,
        server_process(Path(folder)) as server,
        tb.Client(server.address) as book,
        grpc.insecure_channel(server.address, [("grpc.max_receive_message_length", -1)]) as channel,
    ):
        book.apply_catalog(write_objects(objects))
        begun = time.perf_counter()
        uploaded = book.upload_usage(_frame(size))
        upload_seconds = time.perf_counter() - begun
        request = tb.simulation_request(uploaded, _scenarios(SCENARIOS[size]))
        simulate = simulate_pb2_grpc.SimulateServiceStub(channel).RunSimulation
        # The first one compiles, or loads what was compiled.
        for _ in simulate(tb.simulation_request(uploaded)):
            pass
        whole = _whole(server.pid, simulate(request))
        cancelled = [_cancelled(server.pid, simulate, request, part, whole.seconds) for part in CANCELLED_AT[size]]
    ran = {
        "case": f"{ROWS[size]:,} rows x {SCENARIOS[size]} scenarios",
        "upload_s": significant(upload_seconds),
        "first_message_s": significant(whole.first_seconds),
        "total_s": significant(whole.seconds),
        "row_scenarios_per_second": significant(ROWS[size] * (SCENARIOS[size] + 1) / whole.seconds),
        "base_mib": significant(whole.base_mib),
        "peak_mib": significant(whole.peak_mib),
        "hash": whole.hash,
    }
    return [ran, *cancelled]


@dataclass(frozen=True)
class _Whole:
    """A simulation that was run to its end."""

    first_seconds: float
    seconds: float
    base_mib: float
    peak_mib: float
    hash: str


def _frame(size: Size) -> pl.DataFrame:
    used = usage(ROWS[size], CONTRACTS[size])
    names = np.array([f"charge{number}" for number in range(CONTRACTS[size])])
    contracts = pl.Series(names).cast(pl.Categorical)
    return pl.DataFrame(
        {
            "contract_id": contracts.gather(pl.Series(used.contract)),
            "product_id": pl.Series(["calls"])
            .cast(pl.Categorical)
            .gather(pl.zeros(len(used.day), pl.UInt32, eager=True)),
            "date": pl.Series(used.day).cast(pl.Date),
            "quantity": pl.Series(used.thousandths).cast(pl.Decimal(18, 3)) / 1000,
        }
    )


def _scenarios(count: int) -> Iterator[tb.Scenario]:
    for number in range(count):
        if number % 2:
            other = ("flat", "volume")[number // 2 % 2]
            yield tb.Scenario(name=f"replaced{number}", replace_plans={"graduated": other})
        else:
            prices = (PRICES["graduated"][0] + number, *PRICES["graduated"][1:])
            plan = Plan("graduated", "calls", "EUR", Price(Graduated(tiers(*prices))))
            yield tb.Scenario(name=f"priced{number}", put=write_objects(CatalogObjects(plans=(plan,))))


def _whole(pid: int, call: Iterator[wire.RunSimulationResponse]) -> _Whole:
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    base_mib = _mib(pid, "VmRSS")
    begun = time.perf_counter()
    first_seconds, totals = 0.0, b""
    for message in call:
        first_seconds = first_seconds or time.perf_counter() - begun
        if message.WhichOneof("event") == "totals":
            message.totals.ClearField("charges_expire_time")
            totals = message.totals.SerializeToString(deterministic=True)
    return _Whole(first_seconds, time.perf_counter() - begun, base_mib, _mib(pid, "VmHWM"), hash_of(totals))


class _Reader(threading.Thread):
    """Takes a call's messages until it ends, so that nothing holds the server back."""

    def __init__(self, call: Iterator[wire.RunSimulationResponse]) -> None:
        super().__init__()
        self._call = call

    def run(self) -> None:
        """Takes them all; a call that was cancelled ends with an error."""
        with contextlib.suppress(grpc.RpcError):
            for _ in self._call:
                pass


def _cancelled(
    pid: int,
    simulate: Callable[[wire.RunSimulationRequest], Any],
    request: wire.RunSimulationRequest,
    part: float,
    seconds: float,
) -> Figures:
    """How long the server goes on after a call that is cancelled after a part of the time that it would take."""
    call = simulate(request)
    ends = time.perf_counter() + part * seconds
    reader = _Reader(call)
    reader.start()
    time.sleep(max(ends - time.perf_counter(), 0))
    call.cancel()
    cancelled = last = time.perf_counter()
    begun = used = Usage.of(pid).cpu_seconds
    while time.perf_counter() - last < QUIET_SECONDS:
        time.sleep(LOOK_SECONDS)
        now = Usage.of(pid).cpu_seconds
        if now > used:
            used, last = now, time.perf_counter()
    reader.join()
    return {
        "case": f"cancelled at {part:.0%}",
        "after_s": significant(part * seconds),
        "idle_after_s": significant(last - cancelled),
        "cpu_after_s": significant(used - begun),
        "hash": hash_of(f"{part:.0%}".encode()),
    }


def _mib(pid: int, name: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1024


def main() -> None:
    """Prints the figures."""
    run_command("large_simulations", __doc__ or "", measure)


if __name__ == "__main__":
    main()
