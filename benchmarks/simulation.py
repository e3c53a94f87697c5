"""A simulation from memory: a customer base under today's catalogue and four scenarios, on all cores.

    python -m benchmarks.simulation            # 1,000,000 rows of usage, 10,000 contracts
    python -m benchmarks.simulation --smoke    # a size for the tests

A year of usage; monthly bills, one product contract a contract, half of them with tiers over a year. The scenarios:
other prices in the tiers, a flat price, another plan for a third of the contracts, another accumulation period for a
tenth.
Timed, the median of the runs:

- plan: contracts resolved, rows grouped and judged, calendars laid out, four scenarios applied and checked
- run: rows added up, priced, rounded, taxed and compared, under the baseline and every scenario
- charges: the charges of all five as Arrow tables
- total: all three, one after the other

Not timed: making the usage and the catalogue, the table of its contracts (once a version), compilation, the transport.
The hash covers every amount of every customer under every scenario.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from functools import partial

import numpy as np
from benchmarks.measuring import Figures, Size, hash_of, median, run_command, significant

from tallybook_engine.catalog.change import CatalogChange, CatalogObjects
from tallybook_engine.catalog.model import (
    Aggregation,
    Basis,
    Catalog,
    Contract,
    Customer,
    Frequency,
    Meter,
    PeriodUnit,
    Plan,
    Product,
    ProductContract,
    Tax,
)
from tallybook_engine.catalog.versions import apply_change
from tallybook_engine.decimals import UNIT
from tallybook_engine.pricing.model import Graduated, PerUnit, Price, Tier, Volume
from tallybook_engine.simulation.charges import ChargesWriter, charges_writers
from tallybook_engine.simulation.compare import Comparison
from tallybook_engine.simulation.contracts import ContractTable
from tallybook_engine.simulation.plan import Planner
from tallybook_engine.simulation.run import PieceLines, run_piece
from tallybook_engine.simulation.usage import UsageFrame

SEED = 20250101
ROWS = {Size.SMOKE: 20_000, Size.FULL: 1_000_000}
CONTRACTS = {Size.SMOKE: 200, Size.FULL: 10_000}
RUNS = {Size.SMOKE: 1, Size.FULL: 5}
THREADS = os.cpu_count() or 1
FIRST_DAY = (date(2025, 1, 1) - date(1970, 1, 1)).days
MONTH = Frequency(Basis.CALENDAR, 1, PeriodUnit.MONTH)
YEAR = Frequency(Basis.CALENDAR, 1, PeriodUnit.YEAR)
QUARTER = Frequency(Basis.CALENDAR, 3, PeriodUnit.MONTH)


def tiers(*prices: int) -> tuple[Tier, ...]:
    """Tiers of 1,000 units, prices in thousandths."""
    bounds = [1_000 * UNIT * (number + 1) for number in range(len(prices) - 1)]
    return tuple(Tier(bound, price * UNIT // 1_000) for bound, price in zip([*bounds, None], prices, strict=True))


def catalogue(contract_count: int) -> Catalog:
    """A customer and a contract each."""
    plans = (
        Plan("graduated", "calls", "EUR", Price(Graduated(tiers(100, 90, 80, 70)))),
        Plan("volume", "calls", "EUR", Price(Volume(tiers(95, 88, 81, 74)))),
        Plan("flat", "calls", "EUR", Price(PerUnit(85 * UNIT // 1_000))),
    )
    contracts = tuple(
        Contract(
            f"contract{number}",
            f"customer{number}",
            "Europe/Amsterdam",
            date(2025, 1, 1),
            None,
            MONTH,
            (ProductContract(f"charge{number}", plans[number % 2].id, YEAR if number % 2 else None),),
        )
        for number in range(contract_count)
    )
    return apply_change(
        Catalog(),
        CatalogChange(
            CatalogObjects(
                taxes=(Tax("nl", "NL", 21 * UNIT // 100),),
                meters=(Meter("api", "api", ("calls",), ()),),
                products=(Product("calls", "calls", "api", Aggregation.SUM, "calls"),),
                plans=plans,
                customers=tuple(
                    Customer(f"customer{number}", f"customer{number}", "", "NL") for number in range(contract_count)
                ),
                contracts=contracts,
            )
        ),
    )


def scenarios(catalog: Catalog) -> list[CatalogChange]:
    """Four changes of the catalogue."""
    contracts, plans = list(catalog.contracts.values()), list(catalog.plans.values())

    def with_plan(contract: Contract, plan: str, accumulation: Frequency | None) -> Contract:
        (each,) = contract.product_contracts
        return replace(contract, product_contracts=(replace(each, plan=plan, accumulation_period=accumulation),))

    return [
        CatalogChange(
            CatalogObjects(plans=(Plan("graduated", "calls", "EUR", Price(Graduated(tiers(99, 91, 82, 60)))),))
        ),
        CatalogChange(CatalogObjects(plans=tuple(replace(each, price=catalog.plans["flat"].price) for each in plans))),
        CatalogChange(CatalogObjects(contracts=tuple(with_plan(each, "flat", None) for each in contracts[::3]))),
        CatalogChange(CatalogObjects(contracts=tuple(with_plan(each, "volume", QUARTER) for each in contracts[::10]))),
    ]


def usage(row_count: int, contract_count: int) -> UsageFrame:
    """Rows in the order of time, contracts at random."""
    random = np.random.default_rng(SEED)
    quantities = np.zeros((row_count, 2), dtype=np.uint64)
    # Thousandths, so that a quantity is below 2^64 at scale 12.
    quantities[:, 0] = random.integers(1, 200_000, row_count).astype(np.uint64) * np.uint64(10**9)
    return UsageFrame(
        tuple(f"charge{number}" for number in range(contract_count)),
        random.integers(0, contract_count, row_count).astype(np.int32),
        ("calls",),
        np.zeros(row_count, dtype=np.int32),
        FIRST_DAY + np.sort(random.integers(0, 365, row_count)).astype(np.int32),
        np.zeros(row_count, dtype=np.int64),
        np.zeros(row_count, dtype=np.bool_),
        quantities,
    )


def measure(size: Size) -> list[Figures]:
    """One simulation, again and again."""
    catalog = catalogue(CONTRACTS[size])
    table = ContractTable(catalog.contracts)
    # As the rank of its rows, once a version.
    _ = table.rank
    frame = usage(ROWS[size], CONTRACTS[size])
    changes = scenarios(catalog)
    with ThreadPoolExecutor(THREADS) as executor:
        # The first run compiles, or loads what was compiled, and is not counted.
        runs = [_run(catalog, table, frame, changes, executor) for _ in range(RUNS[size] + 1)]
    return [median(runs[1:])]


def _run(
    catalog: Catalog,
    table: ContractTable,
    frame: UsageFrame,
    changes: list[CatalogChange],
    executor: ThreadPoolExecutor,
) -> Figures:
    begun = time.perf_counter()
    planner = Planner(frame, catalog, table, ())
    for change in changes:
        planner.add(apply_change(catalog, change))
    plan = planner.finish()
    planned = time.perf_counter()
    comparison = Comparison(plan)
    found = list(executor.map(partial(run_piece, plan), plan.pieces))
    for lines in found:
        comparison.add(lines)
    customers = comparison.customers()
    ran = time.perf_counter()
    line_count = sum(executor.map(partial(_written, charges_writers(plan)), found))
    ended = time.perf_counter()
    amounts = [
        (customer_id, number, amount, tax)
        for customer_id, amounts, taxes in zip(
            customers.customer_ids, customers.excluding_tax.tolist(), customers.tax.tolist(), strict=True
        )
        for number, (amount, tax) in enumerate(zip(amounts, taxes, strict=True))
    ]
    return {
        "case": "baseline and 4 scenarios",
        "plan_ms": significant((planned - begun) * 1e3),
        "run_ms": significant((ran - planned) * 1e3),
        "charges_ms": significant((ended - ran) * 1e3),
        "total_ms": significant((ended - begun) * 1e3),
        "row_scenarios_per_second": significant(frame.row_count * len(plan.terms) / (ended - begun)),
        "line_count": line_count,
        "hash": hash_of(repr(amounts).encode()),
    }


def _written(writers: Sequence[ChargesWriter], piece: Sequence[PieceLines]) -> int:
    """Writes the charges of a piece; answers how many lines they are."""
    return sum(writer.table(lines).num_rows for writer, lines in zip(writers, piece, strict=True))


def main() -> None:
    """Prints the figures."""
    run_command("simulation", __doc__ or "", measure)


if __name__ == "__main__":
    main()
