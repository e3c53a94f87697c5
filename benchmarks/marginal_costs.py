"""Exact marginal costs on one core: each event raises one subscription's quantity and costs F after less F before.

    python benchmarks/marginal_costs.py            # 4 million events over 10,000 subscriptions
    python benchmarks/marginal_costs.py --smoke    # a size for the tests

Timed: one kernel call over all events, in random order of subscriptions, with decimal quantities. It reads and writes
each subscription's quantity and exact price at random and writes 192-bit costs; it checks every limit. Not timed:
compilation, making the events, the tables. Each line is one pricing model, the last all of them mixed, a model a
subscription; the best of the runs counts, by the clock and by the thread's processor time. The hash covers every cost
and where every subscription ends, so that the work cannot silently change.
"""

import argparse
import hashlib
import json
import time
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.decimals import UNIT
from tallybook_engine.kernels import kernel
from tallybook_engine.kernels.wide import Words, add128, sub192
from tallybook_engine.pricing.model import Graduated, Package, PerUnit, Price, Stairstep, Tier, Volume
from tallybook_engine.pricing.price import price
from tallybook_engine.pricing.tables import PricePool, PriceTables

SEED = 20130101
SUBSCRIPTIONS = 10_000
EVENTS = 4_000_000
RUNS = 5
SMOKE_SUBSCRIPTIONS = 100
SMOKE_EVENTS = 10_000
SMOKE_RUNS = 1
MILLI = UNIT // 1000
LARGEST_ADDED_MILLI = 40_000

PRICES = {
    "per_unit": Price(PerUnit(70 * MILLI)),
    "graduated": Price(
        Graduated((Tier(1000 * UNIT, 52 * MILLI), Tier(5000 * UNIT, 41 * MILLI, UNIT), Tier(None, 3 * MILLI)))
    ),
    "volume": Price(Volume((Tier(1000 * UNIT, 52 * MILLI), Tier(5000 * UNIT, 41 * MILLI), Tier(None, 3 * MILLI)))),
    "stairstep": Price(Stairstep((Tier(1000 * UNIT, 0, 5 * UNIT), Tier(None, 0, 50 * UNIT)))),
    "package": Price(Package(100 * UNIT, 250 * MILLI)),
}


class Work(NamedTuple):
    """n events over s subscriptions."""

    tables: PriceTables
    price_of: NDArray[np.int64]
    """[s] price of each subscription."""
    subscription: NDArray[np.uint64]
    """[n]"""
    added: Words
    """[n, 2] quantity that each event adds, scale 12."""


class State(NamedTuple):
    """Where the subscriptions stand, and what the events cost."""

    quantity: Words
    """[s, 2] scale 12."""
    exact: Words
    """[s, 3] scale 24."""
    cost: Words
    """[n, 3] scale 24."""


@kernel
def post(work: Work, state: State) -> int:
    """Posts the events in order; answers how many did not fit."""
    unfit = 0
    for event in range(len(work.subscription)):
        at = work.subscription[event]
        lo, hi = add128(state.quantity[at, 0], state.quantity[at, 1], work.added[event, 0], work.added[event, 1])
        fits, after_lo, after_mid, after_hi = price(work.tables, work.price_of[at], lo, hi)
        if not fits:
            unfit += 1
            continue
        cost_lo, cost_mid, cost_hi = sub192(
            after_lo, after_mid, after_hi, state.exact[at, 0], state.exact[at, 1], state.exact[at, 2]
        )
        state.quantity[at, 0], state.quantity[at, 1] = lo, hi
        state.exact[at, 0], state.exact[at, 1], state.exact[at, 2] = after_lo, after_mid, after_hi
        state.cost[event, 0], state.cost[event, 1], state.cost[event, 2] = cost_lo, cost_mid, cost_hi
    return unfit


def work_of(names: list[str], subscription_count: int, event_count: int) -> Work:
    """The same events every time; subscription i has the price i of the names, in turn."""
    random = np.random.default_rng(SEED)
    pool = PricePool()
    indexes = np.array([pool.add(PRICES[name]) for name in names])
    added = np.zeros((event_count, 2), dtype=np.uint64)
    added[:, 0] = random.integers(1, LARGEST_ADDED_MILLI, event_count, dtype=np.uint64) * np.uint64(MILLI)
    return Work(
        pool.tables,
        np.resize(indexes, subscription_count),
        random.integers(0, subscription_count, event_count, dtype=np.uint64),
        added,
    )


def measured(names: list[str], subscription_count: int, event_count: int, runs: int) -> dict[str, object]:
    """Best rate of the runs, and the hash of what they answered."""
    work = work_of(names, subscription_count, event_count)
    best_seconds = best_cpu_seconds = float("inf")
    digests: set[str] = set()
    for _ in range(runs + 1):  # The first one compiles, or loads what was compiled.
        state = State(
            np.zeros((subscription_count, 2), dtype=np.uint64),
            np.zeros((subscription_count, 3), dtype=np.uint64),
            np.zeros((event_count, 3), dtype=np.uint64),
        )
        state.cost.fill(1)  # Pages are there before the clock starts.
        started, started_cpu = time.perf_counter(), time.thread_time()
        unfit = post(work, state)
        seconds, cpu_seconds = time.perf_counter() - started, time.thread_time() - started_cpu
        if digests:
            best_seconds, best_cpu_seconds = min(best_seconds, seconds), min(best_cpu_seconds, cpu_seconds)
        if unfit:
            raise ArithmeticError(f"{unfit} events do not fit")
        digests.add(hashlib.sha256(b"".join(array.tobytes() for array in state)).hexdigest()[:16])
    (digest,) = digests
    return {
        "benchmark": "marginal_costs",
        "prices": "+".join(names),
        "subscriptions": subscription_count,
        "events": event_count,
        "events_per_second": round(event_count / best_seconds),
        "events_per_cpu_second": round(event_count / best_cpu_seconds),
        "hash": digest,
    }


def main() -> None:
    """Prints one JSON line a model, and one for all of them mixed."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--smoke", action="store_true", help="a size for the tests")
    smoke = arguments.parse_args().smoke
    size = (SMOKE_SUBSCRIPTIONS, SMOKE_EVENTS, SMOKE_RUNS) if smoke else (SUBSCRIPTIONS, EVENTS, RUNS)
    for names in [*([name] for name in PRICES), list(PRICES)]:
        print(json.dumps(measured(names, *size)))


if __name__ == "__main__":
    main()
