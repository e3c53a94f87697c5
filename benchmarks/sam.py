"""SAM's commercial demand tariff on its own load: a year's determinants and charges, by us and by nrel-pysam."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
from benchmarks.measuring import Figures, hash_of, median
from benchmarks.rivals import installed
from numpy.typing import NDArray
from tests.support.energy.cases import VECTORS
from tests.support.energy.sam import SamTariff, sam_tariffs

from tallybook_engine.decimals import UNIT
from tallybook_engine.determinants.calculate import calculate
from tallybook_engine.determinants.kinds import Kind
from tallybook_engine.determinants.result import Result

TARIFF = "sam/Test_Commercial_Demand_Charges"
DECIMALS = 8
"""Charges are compared so far: SAM adds binary floats, and exact charges have seven."""
_EXECUTIONS = 20
Charges = NDArray[np.float64]
"""float64[2, 12] charges of energy and of demand by month."""


def measure(run_count: int) -> list[Figures]:
    """A line each; a rival that is not installed says so."""
    tariff = next(each for each in sam_tariffs() if each.document["id"] == TARIFF)
    package = installed("PySAM.Utilityrate5")
    cases: dict[str, Callable[[], Charges] | None] = {
        "tallybook_bill": _by_us(tariff),
        "pysam": None if package is None else _by_pysam(package, tariff),
    }
    lines: list[Figures] = []
    for name, work in cases.items():
        if work is None:
            lines.append({"case": name, "years_per_second": "not installed", "hash": ""})
            continue
        runs: list[Figures] = []
        for run in range(run_count + 1):
            begun = time.perf_counter()
            for _ in range(_EXECUTIONS):
                found = work()
            rate = _EXECUTIONS / (time.perf_counter() - begun)
            if run:
                digest = hash_of(np.round(found, DECIMALS).tobytes())
                runs.append({"case": name, "years_per_second": rate, "hash": digest})
        lines.append(median(runs))
    return lines


def _by_us(tariff: SamTariff) -> Callable[[], Charges]:
    case, rates = tariff.case, tariff.document["tariff"]
    tables = ((Kind.TIMESLICE, _tiers(rates["ur_ec_tou_mat"], 4)), (Kind.DEMAND, _tiers(rates["ur_dc_tou_mat"], 3)))

    def calculated() -> Charges:
        result = calculate(case.request, case.readings, case.configuration)
        assert isinstance(result, Result)
        months = sorted({each.start_us for each in result.determinants if each.is_month})
        charges = [[0] * len(months) for _ in range(2)]
        for row, (kind, tiers) in enumerate(tables):
            for each in result.determinants:
                if each.kind is kind and each.is_month and each.slice in tiers and each.value is not None:
                    charges[row][months.index(each.start_us)] += _priced(each.value, tiers[each.slice])
        return np.array([[charge / UNIT**2 for charge in row] for row in charges])

    return calculated


def _tiers(table: list[list[float]], price: int) -> dict[str, list[tuple[int, int]]]:
    """(up to, price) of each period, scale 12; the columns are period, tier, up to, and further on the price."""
    found: dict[str, list[tuple[int, int]]] = {}
    for row in table:
        up_to, unit_price = Fraction(row[2]) * UNIT, Fraction(str(row[price])) * UNIT
        assert up_to.denominator == unit_price.denominator == 1
        found.setdefault(str(int(row[0])), []).append((up_to.numerator, unit_price.numerator))
    return found


def _priced(quantity: int, tiers: list[tuple[int, int]]) -> int:
    """Scale 24."""
    below = charge = 0
    for up_to, price in tiers:
        charge += max(0, min(quantity, up_to) - below) * price
        below = up_to
    return charge


def _by_pysam(package: Any, tariff: SamTariff) -> Callable[[], Charges]:
    document = tariff.document
    with gzip.open(VECTORS / "sam" / f"{document['load_file']}.gz", "rt", encoding="utf-8") as file:
        load = [float(text) for text in file.read().split()]
    model = package.new()
    model.ElectricityRates.assign({**document["tariff"], "rate_escalation": [0.0]})
    model.Load.assign({"load": load, "load_escalation": [0.0]})
    model.SystemOutput.assign({"gen": [0.0] * len(load), "degradation": [0.0]})
    model.Lifetime.assign({"analysis_period": 1, "system_use_lifetime_output": 0, "inflation_rate": 0})

    def executed() -> Charges:
        model.execute()
        found = model.Outputs
        return np.array([found.charge_wo_sys_ec_ym[1], found.charge_wo_sys_dc_tou_ym[1]])

    return executed
