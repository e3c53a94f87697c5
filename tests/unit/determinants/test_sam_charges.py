"""NREL SAM's charges out of our determinants and our prices: energy by period, demand by period, fixed, the bill."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import pytest
from tests.support.energy.cases import run
from tests.support.energy.sam import SamTariff, month_period, sam_tariffs
from tests.support.energy.sam_prices import OPEN, Bounds, bounds_of, rows_by_period

from tallybook_engine.decimals import UNIT
from tallybook_engine.determinants.kinds import Kind
from tallybook_engine.determinants.numbers import rounded
from tallybook_engine.determinants.result import Result
from tallybook_engine.pricing.lines import exact_price
from tallybook_engine.pricing.model import Graduated, Price, Tier

TOLERANCE = Fraction(1, 10**6)
"""The cases add binary floats; bounds are rounded to twelve decimals here."""


def charge(bounds: Bounds, quantity: Fraction) -> Fraction:
    """A graduated price of a quantity."""
    tiers = tuple(
        Tier(None if up_to is None else rounded(up_to * UNIT), rounded(unit_price * UNIT))
        for up_to, unit_price in bounds
    )
    return Fraction(exact_price(Price(Graduated(tiers)), rounded(quantity * UNIT)), UNIT * UNIT)


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
