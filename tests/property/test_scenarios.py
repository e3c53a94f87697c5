"""A scenario is priced where it differs from the baseline: it comes to what it would come to by itself."""

import random
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest
from google.protobuf.json_format import ParseDict
from tests.property.test_simulation import Rows, simulated
from tests.support.random_catalogue import FIRST_DAY, LAST_DAY, RandomCatalogue

from tallybook.v1 import catalog_pb2
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
)
from tallybook_engine.catalog.versions import apply_change
from tallybook_engine.decimals import UNIT
from tallybook_engine.kernels.wide import limb_array
from tallybook_engine.pricing.included_quantity import IncludedQuantity
from tallybook_engine.pricing.model import PerUnit, Price
from tallybook_engine.simulation import run
from tallybook_engine.simulation.contracts import ContractTable
from tallybook_engine.simulation.evaluation import price_slots
from tallybook_engine.simulation.plan import Planner
from tallybook_engine.simulation.usage import UsageFrame
from tallybook_server.codec.catalog import read_catalog

SEEDS = range(80)
WEEK = Frequency(Basis.CONTRACT, 1, PeriodUnit.WEEK)
ZONES = ("Asia/Tokyo", "America/New_York")
QUARTER = Frequency(Basis.CALENDAR, 3, PeriodUnit.MONTH)


def catalogue(chance, made):
    """Random, and often with quantities by days in contracts that begin and end within their periods."""
    put = made.first()
    if chance.random() < 0.5:
        for each in put["plans"]:
            for price in each.get("matrix", {}).get("rules", [each]):
                if "none" not in price:
                    price["included_quantity"] = {"quantity": "40", "mode": "SUBTRACT_FIRST", "prorate": True}
        for contract in put["contracts"]:
            contract["start_date"] = (FIRST_DAY + timedelta(days=chance.randrange(40))).isoformat()
            contract["end_date"] = (LAST_DAY - timedelta(days=chance.randrange(40))).isoformat()
    return read_catalog(ParseDict(put, catalog_pb2.Catalog()))


def other_contract(chance, contract):
    """A contract that differs in one thing; what it charged it charges still."""
    earlier = replace(contract, start_date=contract.start_date - timedelta(days=chance.randrange(1, 40)))
    charges = contract.product_contracts
    return chance.choice(
        [
            earlier,
            replace(
                earlier, time_zone=chance.choice(["Asia/Tokyo", "America/New_York"]), end_date=None, auto_renewal=False
            ),
            replace(contract, end_date=contract.end_date and contract.end_date + timedelta(days=5)),
            replace(contract, billing_frequency=chance.choice([WEEK, QUARTER])),
            replace(contract, product_contracts=tuple(replace(each, accumulation_period=WEEK) for each in charges)),
            replace(contract, product_contracts=charges[::-1]),
        ]
    )


def other_product(product):
    """Another aggregation of the same values."""
    others = {Aggregation.SUM: Aggregation.MAX, Aggregation.MAX: Aggregation.SUM}
    return replace(product, aggregation=others.get(product.aggregation, product.aggregation))


def changed(chance, catalog):
    """A scenario: here and there another price, product, contract, tax or country."""

    def some(objects, other, share):
        return tuple(other(each) for each in objects.values() if chance.random() < share)

    def other_price(plan):
        meters = {each.id: catalog.products[each.product].meter for each in catalog.plans.values()}
        others = [each.price for each in catalog.plans.values() if meters[each.id] == meters[plan.id]]
        return replace(plan, price=chance.choice(others))

    share = chance.choice([0, 0, 0.4])
    return apply_change(
        catalog,
        CatalogChange(
            CatalogObjects(
                taxes=some(catalog.taxes, lambda each: replace(each, rate=each.rate // 2), share),
                products=some(catalog.products, other_product, share),
                plans=some(catalog.plans, other_price, chance.choice([0, 0.4])),
                customers=some(catalog.customers, lambda each: replace(each, country_code="NL"), share),
                contracts=some(catalog.contracts, lambda each: other_contract(chance, each), chance.choice([0, 0.5])),
            )
        ),
    )


def unfit_row_count(plan, number):
    return sum(run.run_piece(plan, piece)[number].unfit_row_count for piece in plan.pieces)


def test_a_scenario_comes_to_what_it_comes_to_by_itself():
    found: set[tuple[bool, bool]] = set()
    for seed in SEEDS:
        # Given a catalogue, usage, and a change of some of it
        chance = random.Random(seed)
        catalog = catalogue(chance, RandomCatalogue(chance))
        rows = Rows(chance, catalog)
        scenario = changed(chance, catalog)
        # When it is a scenario, and when it is the only catalogue
        planner = Planner(rows.frame(), catalog, ContractTable(catalog.contracts), ())
        planner.add(scenario)
        plan = planner.finish()
        alone = Planner(rows.frame(), scenario, ContractTable(scenario.contracts), ()).finish()
        # Then the lines are the same
        assert simulated(plan, 1) == simulated(alone, 0), seed
        assert unfit_row_count(plan, 1) == unfit_row_count(alone, 0), seed
        terms = plan.terms[1]
        found.update(zip(terms.has_same_slots.tolist(), terms.has_same_lines.tolist(), strict=True))
    # And among them are product contracts with other slots, with other lines alone, and with none that differ
    assert found == {(False, False), (True, False), (True, True)}


MONTH = Frequency(Basis.CALENDAR, 1, PeriodUnit.MONTH)
BY_DAYS = Price(PerUnit(UNIT), IncludedQuantity(31 * UNIT, prorate=True))
CHARGE = ProductContract("charge", "plan", start_date=date(2025, 1, 10), end_date=date(2025, 3, 20))
CONTRACT = Contract("contract", "customer", "UTC", date(2025, 1, 1), None, MONTH, (CHARGE,))
WEEKLY = replace(CONTRACT, product_contracts=(replace(CHARGE, accumulation_period=WEEK),))


def charging(**changed):
    return CatalogObjects(contracts=(replace(CONTRACT, product_contracts=(replace(CHARGE, **changed),)),))


def of_one_contract(price, contract):
    return apply_change(
        Catalog(),
        CatalogChange(
            CatalogObjects(
                meters=(Meter("api", "api", ("calls",), ()),),
                products=(Product("calls", "calls", "api", Aggregation.SUM, "calls"),),
                plans=(Plan("plan", "calls", "EUR", price),),
                customers=(Customer("customer", "customer", "", ""),),
                contracts=(contract,),
            )
        ),
    )


@pytest.mark.parametrize(
    ("price", "contract", "other"),
    [
        # More of the first, and of the last accumulation period
        (BY_DAYS, CONTRACT, charging(start_date=date(2025, 1, 5))),
        (BY_DAYS, CONTRACT, charging(end_date=date(2025, 3, 25))),
        # Weeks without usage that cost something too
        (
            Price(PerUnit(UNIT)),
            WEEKLY,
            CatalogObjects(plans=(Plan("plan", "calls", "EUR", Price(PerUnit(UNIT), minimum=5 * UNIT)),)),
        ),
    ],
)
def test_a_scenario_of_one_contract_comes_to_what_it_comes_to_by_itself(price, contract, other):
    # Given usage of the first and the last month
    catalog = of_one_contract(price, contract)
    days = np.array([(date(2025, month, 12) - date(1970, 1, 1)).days for month in (1, 3)], dtype=np.int32)
    nothing = np.zeros(2, dtype=np.int32)
    quantities = limb_array([50 * UNIT, 60 * UNIT], 2)
    times_us, time_given = np.zeros(2, dtype=np.int64), np.zeros(2, dtype=np.bool_)
    given = UsageFrame(("charge",), nothing, ("calls",), nothing, days, times_us, time_given, quantities)
    # When there is a scenario, and when it is the only catalogue
    scenario = apply_change(catalog, CatalogChange(other))
    planner = Planner(given, catalog, ContractTable(catalog.contracts), ())
    planner.add(scenario)
    plan = planner.finish()
    alone = Planner(given, scenario, ContractTable(scenario.contracts), ()).finish()
    # Then the lines are the same, and not those of the baseline
    assert simulated(plan, 1) == simulated(alone, 0) != simulated(plan, 0)


@pytest.mark.parametrize("seed", range(5))
def test_what_is_as_under_the_baseline_is_not_priced_again(seed, monkeypatch):
    # Given a scenario in which some product contracts differ
    chance = random.Random(seed)
    catalog = catalogue(chance, RandomCatalogue(chance))
    rows = Rows(chance, catalog)
    planner = Planner(rows.frame(), catalog, ContractTable(catalog.contracts), ())
    planner.add(changed(chance, catalog))
    planner.add(catalog)
    plan = planner.finish()
    priced = []

    def noted(subjects, *arguments):
        priced.extend(subjects.tolist())
        return price_slots(subjects, *arguments)

    monkeypatch.setattr(run, "price_slots", noted)
    # When it is run, and the baseline as a scenario
    for piece in plan.pieces:
        run.run_piece(plan, piece)
    # Then those that differ are priced, and nothing of the other
    differing = [subject for subject, is_same in enumerate(plan.terms[1].has_same_lines.tolist()) if not is_same]
    assert priced == [*range(len(plan.subjects)), *differing]
