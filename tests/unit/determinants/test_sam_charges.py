"""NREL SAM's charges out of our determinants and our prices: energy by period, demand by period, fixed, the bill.

How each tariff becomes graduated prices is stated here, for whoever writes it as a catalogue:

- tiers of kWh a period are graduated as they are;
- tiers of kWh a day hold a month of them, and are shared among the periods by their energy: a period's bound is the
  tier's, times days, times the period's share of the month's energy;
- tiers of kWh per kW hold billing demand times their size; the tiers of kWh that follow the first of them divide it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import pytest
from tests.support.energy.cases import run
from tests.support.energy.sam import SamTariff, month_period, sam_tariffs

from tallybook_engine.decimals import UNIT
from tallybook_engine.determinants.kinds import Kind
from tallybook_engine.determinants.numbers import rounded
from tallybook_engine.determinants.result import Result
from tallybook_engine.pricing.lines import exact_price
from tallybook_engine.pricing.model import Graduated, Price, Tier

TOLERANCE = Fraction(1, 10**6)
"""The cases add binary floats; bounds are rounded to twelve decimals here."""
OPEN = 10**37
KWH, KWH_PER_KW, KWH_DAILY = 0, 1, 2

Bounds = list[tuple[Fraction | None, Fraction]]
"""(up to, unit price); None is open."""


def charge(bounds: Bounds, quantity: Fraction) -> Fraction:
    """A graduated price of a quantity."""
    tiers = tuple(
        Tier(None if up_to is None else rounded(up_to * UNIT), rounded(unit_price * UNIT))
        for up_to, unit_price in bounds
    )
    return Fraction(exact_price(Price(Graduated(tiers)), rounded(quantity * UNIT)), UNIT * UNIT)


def rows_by_period(matrix: Sequence[Sequence[float]]) -> dict[str, list[Sequence[float]]]:
    rows = defaultdict(list)
    for row in matrix:
        rows[str(int(row[0]))].append(row)
    return rows


def bounds_of(rows: Sequence[Sequence[float]], days: int, share: Fraction, demand: Fraction | None) -> Bounds:
    """The tiers of one period in one month."""
    bounds: Bounds = []
    first_block: Fraction | None = None
    for row in rows:
        size, unit, unit_price = row[2], int(row[3]), Fraction(str(row[4]))
        if unit == KWH_PER_KW and first_block is None:
            # Its own price is not used: the tiers of kWh that follow divide it.
            assert demand is not None
            first_block = Fraction(str(size)) * demand
            continue
        up_to: Fraction | None = None if size >= OPEN else Fraction(str(size))
        if up_to is None and unit == KWH:
            up_to = first_block
        elif up_to is not None and unit == KWH and first_block is not None:
            up_to = min(up_to, first_block)
        elif up_to is not None and unit == KWH_PER_KW:
            assert demand is not None
            up_to *= demand
        elif up_to is not None and unit == KWH_DAILY:
            up_to *= days * share
        if not bounds or up_to is None or bounds[-1][0] is None or up_to > bounds[-1][0]:
            bounds.append((up_to, unit_price))
    return bounds


def month_determinants(outcome: Result, month: int) -> Mapping[tuple[Kind, str | None, str | None], Fraction]:
    start, end = month_period(month)
    return {
        (each.kind, each.demand, each.slice): Fraction(each.value or 0, UNIT)
        for each in outcome.determinants
        if (each.is_month, each.start_us, each.end_us) == (True, start, end)
    }


@pytest.mark.parametrize("tariff", [pytest.param(each, id=each.case.id) for each in sam_tariffs()])
def test_a_tariffs_charges(tariff: SamTariff):
    outcome = run(tariff.case)
    assert isinstance(outcome, Result)
    document, rates = tariff.document, tariff.document["tariff"]
    bills = []
    for month in range(1, 13):
        found = month_determinants(outcome, month)
        energy = energy_charge(rates, month, found)
        assert abs(energy - Fraction(document["energy_charge"][month - 1])) <= TOLERANCE
        demand = Fraction(0)
        if rates["ur_dc_enable"]:
            for period, rows in rows_by_period(rates["ur_dc_tou_mat"]).items():
                tiers: Bounds = [
                    (None if row[2] >= OPEN else Fraction(str(row[2])), Fraction(str(row[3]))) for row in rows
                ]
                demand += charge(tiers, found.get((Kind.DEMAND, "peaks", period), Fraction(0)))
        assert abs(demand - Fraction(document["demand_charge_tou"][month - 1])) <= TOLERANCE
        bills.append(energy + demand + Fraction(str(rates["ur_monthly_fixed_charge"])))
        assert abs(bills[-1] - Fraction(document["expected_monthly_bill_wo_system"][month - 1])) <= TOLERANCE
    assert abs(sum(bills, Fraction(0)) - Fraction(document["expected_annual_bill_wo_system"])) <= 12 * TOLERANCE
    for expected, tolerance in document["expected_from_peer_test"].get("utility_bill_wo_sys_year1", ()):
        assert abs(sum(bills, Fraction(0)) - Fraction(str(expected))) <= Fraction(str(tolerance))


def energy_charge(
    rates: Mapping[str, Any], month: int, found: Mapping[tuple[Kind, str | None, str | None], Fraction]
) -> Fraction:
    start, end = month_period(month)
    days = (end - start) // 86_400_000_000
    demand = found.get((Kind.DEMAND, "billing_demand", None))
    total = found[(Kind.INTERVAL, None, None)]
    charged = Fraction(0)
    for period, rows in rows_by_period(rates["ur_ec_tou_mat"]).items():
        kwh = found.get((Kind.TIMESLICE, None, period), Fraction(0))
        charged += charge(bounds_of(rows, days, kwh / total, demand), kwh)
    return charged
