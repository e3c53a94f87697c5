"""Trees have one form where they differ in names alone, and another one where anything else differs."""

from dataclasses import replace
from datetime import date

import pytest
from tests.support.renamed import renamed
from tests.unit.contract.test_settle import HIGH, LOW, MONTH, START, START_US, YEAR, charge, contract, lines

from tallybook_engine.catalog.model import Credit, Discount, DiscountMode, FeeTiming, FixedFee, ProductContract
from tallybook_engine.catalog.model import RevenueShare as Share
from tallybook_engine.contract.forest import Forest
from tallybook_engine.contract.form import form_of
from tallybook_engine.contract.settle import settle
from tallybook_engine.contract.tree import tree_in
from tallybook_engine.decimals import UNIT

SUB = contract(
    "sub",
    product_contracts=(ProductContract("a", "plan"), ProductContract("b", "plan")),
    fixed_fees=(FixedFee("fee", UNIT), FixedFee("other", UNIT)),
    revenue_shares=(Share("share", UNIT // 10, ("a", "fee")), Share("second", UNIT // 5, ("share",))),
    credits=(Credit("credit", 5 * UNIT),),
    discount=Discount(UNIT // 10),
    cap=50 * UNIT,
    minimum=UNIT,
)
ROOT = contract("root", sub_contracts=(SUB,))


def form(sub=SUB, currency="EUR", tax=HIGH, **of_root):
    return form_of(tree_in(replace(ROOT, sub_contracts=(sub,), **of_root), currency, tax))


def test_other_names_are_the_same_form():
    assert form_of(tree_in(renamed(ROOT, "bob", "2"), "EUR", HIGH)) == form()
    # Nor do terms of payment and plans matter to what levels come to
    assert form(payment_term_days=14) == form()
    assert form(replace(SUB, product_contracts=(ProductContract("a", "x"), ProductContract("b", "y")))) == form()
    assert form(currency="USD") == form()


FEE, OTHER = SUB.fixed_fees
SHARE, SECOND = SUB.revenue_shares
(CREDIT,) = SUB.credits


@pytest.mark.parametrize(
    "changes",
    [
        {"billing_frequency": YEAR},
        {"start_date": date(2024, 1, 2)},
        {"end_date": None},
        {"time_zone": "Europe/Amsterdam"},
        {"discount": Discount(UNIT // 11)},
        {"discount": Discount(UNIT // 10, 1)},
        {"discount": Discount(UNIT // 10, 0, DiscountMode.EXCESS)},
        {"discount": None},
        {"cap": 51 * UNIT},
        {"minimum": None},
        {"prorate": True},
        {"fixed_fees": (OTHER, FEE)},  # a share is of the second one now
        {"fixed_fees": (replace(FEE, amount=2 * UNIT), OTHER)},
        {"fixed_fees": (replace(FEE, timing=FeeTiming.IN_ADVANCE), OTHER)},
        {"fixed_fees": (replace(FEE, once=True), OTHER)},
        {"fixed_fees": (replace(FEE, frequency=MONTH), OTHER)},
        {"fixed_fees": (replace(FEE, start_date=START), OTHER)},
        {"fixed_fees": (replace(FEE, end_date=date(2024, 5, 1)), OTHER)},
        {"fixed_fees": (replace(FEE, prorate=True), OTHER)},
        {"fixed_fees": (replace(FEE, per_term=True), OTHER)},
        {"revenue_shares": (replace(SHARE, rate=1), SECOND)},
        {"revenue_shares": (replace(SHARE, charges=("b", "fee")), SECOND)},
        {"revenue_shares": (replace(SHARE, charges=("a", "other")), SECOND)},
        {"revenue_shares": (SECOND, SHARE)},
        {"credits": (replace(CREDIT, amount=1),)},
        {"credits": (replace(CREDIT, start_date=START),)},
        {"credits": (replace(CREDIT, end_date=date(2024, 5, 1)),)},
        {"credits": ()},
    ],
    ids=str,
)
def test_other_terms_are_another_form(changes):
    assert form(replace(SUB, **changes)) != form()


def test_another_currency_tax_or_tree_is_another_form():
    assert len({form(), form(currency="JPY"), form(tax=LOW), form(tax=None), form_of(tree_in(SUB, "EUR", HIGH))}) == 5


def test_a_tree_of_a_known_form_keeps_its_own_names():
    # Given two trees of one form in a forest
    forest = Forest()
    trees = [tree_in(each, "EUR", HIGH) for each in (ROOT, renamed(ROOT, "bob", "2"))]
    first, second = (forest.add(tree, START_US, START_US + 1) for tree in trees)
    # Then they are compiled once, and each finds its own product contracts
    assert first.compiled is second.compiled
    for planted, ending in ((first, ""), (second, "2")):
        path = tuple(f"{name}{ending}" for name in ("root", "sub", "a"))
        place = forest.place_of(planted, path, START_US + 1)
        assert planted.place_first <= place < planted.place_end
        item = forest.item_of(planted, path, place)
        assert forest.tables.places.item_start[place] <= item < forest.tables.places.made_item_start[place]
        assert forest.item_of(planted, (*path[:-1], f"b{ending}"), place) == -1


def test_settled_by_hand():
    # 10.00 of a, fees of 1.00 each, 10 % of a and the fee, 20 % of that; less 10 %, less 5.00 of credit
    (invoice,) = settle(tree_in(ROOT, "EUR", None), [charge("root/sub/a", 1_000, None)], START_US, START_US + 1)
    assert lines(invoice) == [
        ("a", "CHARGE", 1_000, None),
        ("sub", "FIXED_FEE", 100, None),
        ("sub", "FIXED_FEE", 100, None),
        ("sub", "REVENUE_SHARE", 110, None),
        ("sub", "REVENUE_SHARE", 22, None),
        ("sub", "DISCOUNT", -133, None),
        ("sub", "CREDIT", -500, None),
    ]
    assert [(each.subtotal, each.total) for each in invoice.levels] == [(1_332, 699), (699, 699)]


def test_fees_of_a_term_are_of_another_form_where_the_first_term_is_longer():
    # Given renewed contracts, which have no end
    terms = [date(2025, 1, 1), date(2026, 1, 1)]
    for fee, is_same in ((FEE, True), (replace(FEE, per_term=True), False)):
        one, other = (
            form(
                replace(SUB, fixed_fees=(fee, OTHER), end_date=each, auto_renewal=True),
                end_date=each,
                auto_renewal=True,
            )
            for each in terms
        )
        assert (one == other) is is_same
