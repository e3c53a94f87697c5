"""Contract trees that a change leaves alone, but for what they cost, are not judged again, and no fault is missed."""

from dataclasses import replace
from datetime import date

import pytest

from tallybook_engine.catalog import check_contract
from tallybook_engine.catalog.change import CatalogChange, CatalogIds, CatalogObjects
from tallybook_engine.catalog.faults import CatalogInvalidError
from tallybook_engine.catalog.model import (
    Aggregation,
    Basis,
    Catalog,
    Contract,
    Customer,
    Discount,
    FixedFee,
    Frequency,
    Meter,
    PeriodUnit,
    Plan,
    Product,
    ProductContract,
)
from tallybook_engine.catalog.versions import apply_change
from tallybook_engine.decimals import UNIT
from tallybook_engine.pricing.model import PerUnit, Price

MONTH = Frequency(Basis.CALENDAR, 1, PeriodUnit.MONTH)
NEVER = Frequency(Basis.CALENDAR, 0, PeriodUnit.MONTH)
DAY = Frequency(Basis.CALENDAR, 1, PeriodUnit.DAY)
DECADE = Frequency(Basis.CALENDAR, 10, PeriodUnit.YEAR)


def plan(name: str, product: str = "calls", currency: str = "EUR", price: int = 1) -> Plan:
    return Plan(name, product, currency, Price(PerUnit(price * UNIT)))


def contract(name: str, *charges: ProductContract, **fields) -> Contract:
    fields = {"customer": "acme", "start_date": date(2025, 1, 1), "end_date": date(2026, 1, 1), **fields}
    return Contract(name, time_zone="Europe/Paris", billing_frequency=MONTH, product_contracts=charges, **fields)


ROOT = contract(
    "root",
    ProductContract("calls", "cheap"),
    sub_contracts=(contract("below", ProductContract("mails", "mail"), end_date=date(2025, 7, 1)),),
)
OTHER = contract("other", ProductContract("others", "cheap"), customer="globex")
AGES = replace(
    contract(
        "ages",
        ProductContract("age", "cheap"),
        customer="initech",
        sub_contracts=(contract("within", ProductContract("inner", "mail"), customer="initech"),),
    ),
    billing_frequency=DECADE,
    override_underlying=True,
)
BASE = apply_change(
    Catalog(),
    CatalogChange(
        CatalogObjects(
            meters=(Meter("api", "api", ("calls",), ()),),
            products=tuple(Product(each, each, "api", Aggregation.SUM, "calls") for each in ("calls", "mails")),
            plans=(plan("cheap"), plan("dear"), plan("dollars", currency="USD"), plan("mail", "mails")),
            customers=tuple(Customer(each, each, "", "") for each in ("acme", "globex", "initech")),
            contracts=(ROOT, OTHER, AGES),
        )
    ),
)


def with_charge(**fields) -> Contract:
    return replace(ROOT, product_contracts=(replace(ROOT.product_contracts[0], **fields),))


def with_below(**fields) -> Contract:
    return replace(ROOT, sub_contracts=(replace(ROOT.sub_contracts[0], **fields),))


def put(*contracts: Contract, plans: tuple[Plan, ...] = (), remove: CatalogIds | None = None) -> CatalogChange:
    return CatalogChange(CatalogObjects(plans=plans, contracts=contracts), remove or CatalogIds())


ALIKE = {
    "the same again": put(ROOT, OTHER),
    "another plan": put(with_charge(plan="dear")),
    "another accumulation period": put(with_charge(accumulation_period=Frequency(Basis.CONTRACT, 1, PeriodUnit.YEAR))),
    "days of a month": put(with_charge(accumulation_period=DAY)),
    "another price": put(with_charge(plan="dear"), plans=(plan("dear", price=2),)),
    "a plan below": put(with_below(product_contracts=(replace(ROOT.sub_contracts[0].product_contracts[0]),))),
}
CHANGED = {
    "an unknown plan": put(with_charge(plan="none")),
    "a plan that is removed": put(with_charge(plan="dear"), remove=CatalogIds(plans=("dear", "cheap"))),
    "a plan in another currency": put(with_charge(plan="dollars")),
    "a plan for another product": put(with_charge(plan="mail")),
    "a plan that is for another product now": put(ROOT, plans=(plan("cheap", "mails"),)),
    "a plan that is in another currency now": put(with_charge(plan="dear"), plans=(plan("dear", currency="USD"),)),
    "an impossible accumulation period": put(with_charge(accumulation_period=NEVER)),
    "days of ten years": put(
        replace(AGES, product_contracts=(replace(AGES.product_contracts[0], accumulation_period=DAY),))
    ),
    "days of ten years, by which a contract is billed that is above": put(
        replace(
            AGES,
            sub_contracts=(replace(AGES.sub_contracts[0], product_contracts=(ProductContract("inner", "mail", DAY),)),),
        )
    ),
    "an unknown zone": put(replace(ROOT, time_zone="Nowhere")),
    "an impossible billing frequency": put(replace(ROOT, billing_frequency=NEVER)),
    "a customer who is removed": put(ROOT, remove=CatalogIds(customers=("acme",))),
    "another customer": put(replace(ROOT, customer="globex")),
    "another customer below": put(with_below(customer="globex")),
    "an end before the start": put(replace(ROOT, end_date=date(2024, 1, 1))),
    "a part that ends after the whole": put(with_below(end_date=date(2027, 1, 1))),
    "a charge that ends after its contract": put(with_charge(end_date=date(2027, 1, 1))),
    "a charge that is there twice": put(replace(ROOT, product_contracts=ROOT.product_contracts * 2)),
    "a charge of another contract": put(with_charge(id="others")),
    "an id of another contract": put(with_below(id="other")),
    "a cycle": put(with_below(id="root")),
    "the same contract twice": put(ROOT, ROOT),
    "a charge for the same product": put(
        replace(ROOT, product_contracts=(*ROOT.product_contracts, ProductContract("more", "dear"))), OTHER
    ),
    "a discount of more than all": put(replace(ROOT, discount=Discount(2 * UNIT))),
    "a fee that is finer than its currency": put(with_below(fixed_fees=(FixedFee("fee", 1),))),
}


def faults_of(change: CatalogChange) -> list[str]:
    try:
        apply_change(BASE, change)
    except CatalogInvalidError as error:
        return list(map(str, error.faults))
    return []


@pytest.fixture
def judged(monkeypatch):
    """Ids of the contracts that are judged."""
    found = []
    check_level = check_contract._check_level

    def noted(catalog, level, faults):
        found.append(level.contract.id)
        check_level(catalog, level, faults)

    monkeypatch.setattr(check_contract, "_check_level", noted)
    return found


@pytest.mark.parametrize("what", ALIKE)
def test_a_tree_that_only_costs_something_else_is_not_judged_again(what, judged):
    assert faults_of(ALIKE[what]) == []
    assert judged == []


@pytest.mark.parametrize("what", CHANGED)
def test_every_fault_is_found_that_judging_all_trees_finds(what, judged, monkeypatch):
    # Given a change whose every tree is judged
    monkeypatch.setattr(check_contract._Alike, "is_alike", lambda self, root: False)
    expected = faults_of(CHANGED[what])
    assert expected
    monkeypatch.undo()
    # When only those are judged that are not as they were, then the same is found
    assert faults_of(CHANGED[what]) == expected


def test_what_is_judged_is_not_what_is_put_beside_it(judged):
    # Given one tree that is as it was and one that is not
    assert faults_of(put(ROOT, replace(OTHER, end_date=date(2025, 2, 1)))) == []
    # Then the one is judged
    assert judged == ["other"]


def test_an_id_that_is_taken_is_a_fault_of_the_tree_that_takes_it():
    # Given a tree that takes an id of another one, which is put as it was, behind it
    assert faults_of(put(with_charge(id="others"), OTHER)) == [
        'contracts[0].product_contracts[0].id: "others" is an id in contracts[1] too'
    ]
