"""A simulation from memory: a customer base under today's catalogue and four scenarios, on all cores.

    python -m benchmarks.simulation            # 1,000,000 rows of usage, 10,000 contracts
    python -m benchmarks.simulation --smoke    # a size for the tests

A year of usage; monthly bills, one product contract a contract, half of them with tiers over a year. The scenarios:
other prices in the tiers, a flat price, another plan for a third of the contracts, another accumulation period for a
tenth.
Timed, the median of the runs:

- plan: contracts resolved, rows grouped and judged, calendars laid out, four scenarios applied and checked
- run: rows added up, priced, rounded, taxed and compared, under the baseline and every scenario
- settle: contract trees with terms settled under the baseline and every scenario, and their lines as Arrow tables
- charges: the charges of all five as Arrow tables
- total: all four, one after the other

The first case has no terms; "with terms" is the same of three levels, each with discount, cap and minimum, the root
with a credit, the lowest with a fee and a revenue share.

Then the same job as a user would write it (see `pricing_rivals`), which answers what each customer pays and no charges:
Polars expressions on as many threads, and a loop over customers with Decimal, once. All three answer the same cents.

Then growth, one run each: with rows, with contracts, with levels of sub-contracts above each product contract, with
scenarios; all else as it was, but 1,000 contracts where levels grow. With terms: with contracts of three levels, and
with the levels of ten contracts.

Not timed: making the usage and the catalogue, the table of its contracts (once a version), compilation, the transport.
The hash covers every amount of every customer under every scenario.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from typing import Any

import numpy as np
import polars as pl
from benchmarks.measuring import Figures, Size, hash_of, median, run_command, significant
from benchmarks.pricing_rivals import Bills, PriceList, by_decimals, by_polars
from numpy.typing import NDArray

from tallybook_engine.catalog.change import CatalogChange, CatalogObjects
from tallybook_engine.catalog.model import (
    Aggregation,
    Basis,
    Catalog,
    Contract,
    Credit,
    Customer,
    Discount,
    FixedFee,
    Frequency,
    Meter,
    PeriodUnit,
    Plan,
    Product,
    ProductContract,
    RevenueShare,
    Tax,
)
from tallybook_engine.catalog.versions import apply_change
from tallybook_engine.decimals import UNIT
from tallybook_engine.pricing.model import Graduated, PerUnit, Price, Tier, Volume
from tallybook_engine.simulation.charges import ChargesWriter, Laid, charges_writers, settled_tables
from tallybook_engine.simulation.compare import Comparison
from tallybook_engine.simulation.contracts import ContractTable
from tallybook_engine.simulation.plan import Planner
from tallybook_engine.simulation.run import PieceLines, run_piece
from tallybook_engine.simulation.settlement import Settlement
from tallybook_engine.simulation.usage import UsageFrame
from tallybook_server.memory import keep_freed_memory

SEED = 20250101
ROWS = {Size.SMOKE: 20_000, Size.FULL: 1_000_000}
CONTRACTS = {Size.SMOKE: 200, Size.FULL: 10_000}
RUNS = {Size.SMOKE: 1, Size.FULL: 5}
LEVELS = {Size.SMOKE: (1, 3), Size.FULL: (1, 4, 16)}
DEEP_LEVELS = {Size.SMOKE: (1, 30), Size.FULL: (1, 10, 100, 1_000)}
DEEP_CONTRACTS = 10
PRICES = {
    "graduated": (100, 90, 80, 70),
    "dearer": (99, 91, 82, 60),
    "volume": (95, 88, 81, 74),
    "flat": (85, 85, 85, 85),
}
"""Thousandths a unit, in tiers of 1,000 units."""
THREADS = os.cpu_count() or 1
FIRST_DAY = (date(2025, 1, 1) - date(1970, 1, 1)).days
MONTH = Frequency(Basis.CALENDAR, 1, PeriodUnit.MONTH)
YEAR = Frequency(Basis.CALENDAR, 1, PeriodUnit.YEAR)
QUARTER = Frequency(Basis.CALENDAR, 3, PeriodUnit.MONTH)


TERMS: dict[str, Any] = {"discount": Discount(UNIT // 20, 100 * UNIT), "cap": 50_000 * UNIT, "minimum": 20 * UNIT}
"""Of every level of a tree with terms."""
FLAT = Price(PerUnit(PRICES["flat"][0] * UNIT // 1_000))


def tiers(*prices: int) -> tuple[Tier, ...]:
    """Tiers of 1,000 units, prices in thousandths."""
    bounds = [1_000 * UNIT * (number + 1) for number in range(len(prices) - 1)]
    return tuple(Tier(bound, price * UNIT // 1_000) for bound, price in zip([*bounds, None], prices, strict=True))


def catalogue(contract_count: int, levels: int = 1, with_terms: bool = False) -> Catalog:
    """A customer and a contract each, with its product contract in the lowest of so many levels."""
    plans = (
        Plan("graduated", "calls", "EUR", Price(Graduated(tiers(*PRICES["graduated"])))),
        Plan("volume", "calls", "EUR", Price(Volume(tiers(*PRICES["volume"])))),
        Plan("flat", "calls", "EUR", FLAT),
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
                contracts=tuple(
                    # Every second one with tiers over a year.
                    contract(number, levels, with_terms, *(("volume", YEAR) if number % 2 else ("graduated", None)))
                    for number in range(contract_count)
                ),
            )
        ),
    )


def contract(number: int, levels: int, with_terms: bool, plan: str, accumulation: Frequency | None) -> Contract:
    """One customer's."""
    charge = f"charge{number}"
    made = Contract(
        f"contract{number}",
        f"customer{number}",
        "Europe/Amsterdam",
        date(2025, 1, 1),
        None,
        MONTH,
        (ProductContract(charge, plan, accumulation),),
    )
    if with_terms:
        share = RevenueShare(f"share{number}", UNIT // 50, (charge,))
        made = replace(made, fixed_fees=(FixedFee(f"fee{number}", 5 * UNIT),), revenue_shares=(share,), **TERMS)
    for level in range(1, levels):
        made = replace(
            made,
            id=f"contract{number}.{level}",
            product_contracts=(),
            fixed_fees=(),
            revenue_shares=(),
            # So many levels cannot be written within each other.
            sub_contracts=(replace(made, listed=True),),
        )
    return replace(made, credits=(Credit("welcome", 100 * UNIT),)) if with_terms else made


def scenarios(contract_count: int, levels: int, count: int, with_terms: bool = False) -> list[CatalogChange]:
    """The first `count` changes of the catalogue; from the fifth on, other prices in the tiers again and again."""

    def other_prices(*prices: int) -> CatalogChange:
        return CatalogChange(
            CatalogObjects(plans=(Plan("graduated", "calls", "EUR", Price(Graduated(tiers(*prices)))),))
        )

    def other_contracts(step: int, plan: str, accumulation: Frequency | None) -> CatalogChange:
        numbers = range(0, contract_count, step)
        return CatalogChange(
            CatalogObjects(
                contracts=tuple(contract(number, levels, with_terms, plan, accumulation) for number in numbers)
            )
        )

    flat = tuple(Plan(each, "calls", "EUR", FLAT) for each in ("graduated", "volume", "flat"))
    if count == 0:
        return []
    return [
        other_prices(*PRICES["dearer"]),
        CatalogChange(CatalogObjects(plans=flat)),
        other_contracts(3, "flat", None),
        other_contracts(10, "volume", QUARTER),
        *(other_prices(100 + number, 90, 80, 70) for number in range(count - 4)),
    ]


def price_lists(contract_count: int) -> list[PriceList]:
    """The baseline and the four scenarios in the terms of the rivals."""
    number = np.arange(contract_count)
    odd = number % 2 == 1

    def listed(graduated: str, volume: str, third: bool = False, tenth: bool = False) -> PriceList:
        prices = np.where(odd[:, None], PRICES[volume], PRICES[graduated])
        is_volume, months = odd.copy(), np.where(odd, 12, 1)
        if third:
            prices[::3], is_volume[::3], months[::3] = PRICES["flat"], True, 1
        if tenth:
            prices[::10], is_volume[::10], months[::10] = PRICES["volume"], True, 3
        return PriceList(prices, is_volume, months)

    return [
        listed("graduated", "volume"),
        listed("dearer", "volume"),
        listed("flat", "flat"),
        listed("graduated", "volume", third=True),
        listed("graduated", "volume", tenth=True),
    ]


@dataclass(frozen=True)
class Usage:
    """n rows in the order of time, contracts at random."""

    contract: NDArray[np.int32]
    day: NDArray[np.int32]
    """Since 1970-01-01."""
    thousandths: NDArray[np.int64]

    def frame(self, contract_count: int) -> UsageFrame:
        """As a simulation takes it."""
        count = len(self.contract)
        quantities = np.zeros((count, 2), dtype=np.uint64)
        quantities[:, 0] = self.thousandths.astype(np.uint64) * np.uint64(10**9)
        return UsageFrame(
            tuple(f"charge{number}" for number in range(contract_count)),
            self.contract,
            ("calls",),
            np.zeros(count, dtype=np.int32),
            self.day,
            np.zeros(count, dtype=np.int64),
            np.zeros(count, dtype=np.bool_),
            quantities,
        )


def usage(row_count: int, contract_count: int) -> Usage:
    """A year."""
    random = np.random.default_rng(SEED)
    thousandths = random.integers(1, 200_000, row_count)
    contract = random.integers(0, contract_count, row_count).astype(np.int32)
    return Usage(contract, FIRST_DAY + np.sort(random.integers(0, 365, row_count)).astype(np.int32), thousandths)


def measure(size: Size) -> list[Figures]:
    """The simulation, its rivals, and how it grows."""
    rows, contracts = ROWS[size], CONTRACTS[size]
    used = usage(rows, contracts)
    ours, bills = _simulated("tallybook", used, contracts, 1, 4, RUNS[size])
    with_terms, _ = _simulated("with terms", used, contracts, 3, 4, RUNS[size], with_terms=True)
    return [
        ours,
        *_rivals(used, contracts, bills, RUNS[size]),
        with_terms,
        *(_growth("rows", rows * factor // 4, contracts, 1, 4) for factor in (1, 2, 4, 8)),
        *(_growth("contracts", rows, contracts * factor // 10, 1, 4) for factor in (1, 10, 100)),
        *(_growth("levels", rows, contracts // 10, levels, 4) for levels in LEVELS[size]),
        *(_growth("scenarios", rows, contracts, 1, count) for count in (0, 4, 16, 64)),
        *(_growth("contracts with terms", rows, contracts * factor // 10, 3, 4, True) for factor in (1, 10)),
        *(_growth("levels with terms", rows // 100, DEEP_CONTRACTS, levels, 4, True) for levels in DEEP_LEVELS[size]),
    ]


def _growth(
    what: str, rows: int, contracts: int, levels: int, scenario_count: int, with_terms: bool = False
) -> Figures:
    figures, _ = _simulated(what, usage(rows, contracts), contracts, levels, scenario_count, 1, with_terms)
    kept = ("plan_ms", "run_ms", "settle_ms", "charges_ms", "total_ms", "row_scenarios_per_second", "hash")
    return {
        "growth_with": what,
        "rows": rows,
        "contracts": contracts,
        "levels": levels,
        "scenarios": scenario_count,
        **{name: figures[name] for name in kept},
    }


def _rivals(used: Usage, contracts: int, bills: Bills, run_count: int) -> list[Figures]:
    """The rivals' figures. ValueError where one answers other cents."""
    listed = price_lists(contracts)
    table = pl.DataFrame({"contract": used.contract, "date": used.day, "thousandths": used.thousandths}).with_columns(
        pl.col("date").cast(pl.Date)
    )
    month = table["date"].dt.month().to_list()

    def expressions() -> Bills:
        return by_polars(table, listed)

    def decimals() -> Bills:
        return by_decimals(used.contract.tolist(), month, used.thousandths.tolist(), listed)

    found = []
    for name, work, runs in (("polars", expressions, run_count), ("decimal loop", decimals, 1)):
        times = []
        for _ in range(runs):
            begun = time.perf_counter()
            answer = work()
            times.append(time.perf_counter() - begun)
            if not np.array_equal(answer, bills):
                raise ValueError(f"{name} answers other cents")
        seconds = statistics.median(times)
        found.append(
            {
                "case": name,
                "total_ms": significant(seconds * 1e3),
                "row_scenarios_per_second": significant(len(used.day) * len(listed) / seconds),
                "hash": _hash(answer),
            }
        )
    return found


def _simulated(
    case: str,
    used: Usage,
    contracts: int,
    levels: int,
    scenario_count: int,
    run_count: int,
    with_terms: bool = False,
) -> tuple[Figures, Bills]:
    """The medians of the runs, and what each customer pays, by contract."""
    catalog = catalogue(contracts, levels, with_terms)
    table = ContractTable(catalog.contracts)
    # As the rank of its rows, once a version.
    _ = table.rank
    frame, changes = used.frame(contracts), scenarios(contracts, levels, scenario_count, with_terms)
    with ThreadPoolExecutor(THREADS) as executor:
        # The first run compiles, or loads what was compiled, and is not counted.
        runs = [_run(case, catalog, table, frame, changes, executor) for _ in range(run_count + 1)]
    return median(figures for figures, _ in runs[1:]), runs[0][1]


def _run(
    case: str,
    catalog: Catalog,
    table: ContractTable,
    frame: UsageFrame,
    changes: list[CatalogChange],
    executor: ThreadPoolExecutor,
) -> tuple[Figures, Bills]:
    begun = time.perf_counter()
    planner = Planner(frame, catalog, table, ())
    for change in changes:
        planner.add(apply_change(catalog, change))
    plan = planner.finish()
    planned = time.perf_counter()
    settlement = Settlement(plan)
    comparison = Comparison(plan, settlement.payers())
    found = list(executor.map(partial(run_piece, plan), plan.pieces))
    for lines in found:
        comparison.add(lines)
        settlement.add(lines)
    ran = time.perf_counter()
    settled_count = 0
    for number in range(len(plan.terms)):
        for each in settlement.settle(number):
            comparison.add_settled(number, each)
            settled_count += sum(table.num_rows for table in settled_tables(each))
    customers = comparison.customers()
    settled = time.perf_counter()
    line_count = sum(executor.map(partial(_written, charges_writers(plan)), found))
    ended = time.perf_counter()
    of_customer = np.array([int(name.removeprefix("customer")) for name in customers.customer_ids])
    bills = np.stack([customers.excluding_tax, customers.tax], axis=2)[np.argsort(of_customer)]
    figures = {
        "case": case,
        "plan_ms": significant((planned - begun) * 1e3),
        "run_ms": significant((ran - planned) * 1e3),
        "settle_ms": significant((settled - ran) * 1e3),
        "charges_ms": significant((ended - settled) * 1e3),
        "total_ms": significant((ended - begun) * 1e3),
        "row_scenarios_per_second": significant(frame.row_count * len(plan.terms) / (ended - begun)),
        "line_count": line_count + settled_count,
        "hash": _hash(bills),
    }
    return figures, bills


def _hash(bills: Bills) -> str:
    return hash_of(np.ascontiguousarray(bills).tobytes())


def _written(writers: Sequence[ChargesWriter], piece: Sequence[PieceLines]) -> int:
    """Writes the charges of a piece; answers how many lines they are."""
    laid = Laid()
    return sum(writer.table(lines, laid).num_rows for writer, lines in zip(writers, piece, strict=True))


def main() -> None:
    """Prints the figures."""
    # As a server does when it starts.
    keep_freed_memory()
    run_command("simulation", __doc__ or "", measure)


if __name__ == "__main__":
    main()
