"""Trees have one form where they differ in names, rates and amounts alone, and another where anything else differs."""

from dataclasses import replace
from datetime import date

import pytest
from tests.support.renamed import at_other_amounts, renamed
from tests.unit.contract.test_settle import HIGH, LOW, MONTH, START, START_US, YEAR, charge, contract, lines

from tallybook_engine.catalog.model import Credit, Discount, DiscountMode, FeeTiming, FixedFee, ProductContract
from tallybook_engine.catalog.model import RevenueShare as Share
from tallybook_engine.contract.forest import Forest
from tallybook_engine.contract.form import amount_numbers, amounts_of, form_of
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
    return form_of(tree_in(replace(ROOT, sub_contracts=(sub,), **of_root), currency, tax))[0]


def test_other_names_are_the_same_form():
    assert form_of(tree_in(renamed(ROOT, "bob", "2"), "EUR", HIGH))[0] == form()
    # Nor do terms of payment and plans matter to what levels come to
    assert form(payment_term_days=14) == form()
    assert form(replace(SUB, product_contracts=(ProductContract("a", "x"), ProductContract("b", "y")))) == form()
    assert form(currency="USD") == form(currency="JPY") == form()


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
        {"discount": Discount(UNIT // 10, 0, DiscountMode.EXCESS)},
        {"discount": None},
        {"cap": None},
        {"minimum": None},
        {"prorate": True},
        {"fixed_fees": (OTHER, FEE)},  # a share is of the second one now
        {"fixed_fees": (replace(FEE, timing=FeeTiming.IN_ADVANCE), OTHER)},
        {"fixed_fees": (replace(FEE, once=True), OTHER)},
        {"fixed_fees": (replace(FEE, frequency=MONTH), OTHER)},
        {"fixed_fees": (replace(FEE, start_date=START), OTHER)},
        {"fixed_fees": (replace(FEE, end_date=date(2024, 5, 1)), OTHER)},
        {"fixed_fees": (replace(FEE, prorate=True), OTHER)},
        {"fixed_fees": (replace(FEE, per_term=True), OTHER)},
        {"revenue_shares": (replace(SHARE, charges=("b", "fee")), SECOND)},
        {"revenue_shares": (replace(SHARE, charges=("a", "other")), SECOND)},
        {"revenue_shares": (SECOND, SHARE)},
        {"credits": (replace(CREDIT, start_date=START),)},
        {"credits": (replace(CREDIT, end_date=date(2024, 5, 1)),)},
        {"credits": ()},
    ],
    ids=str,
)
def test_other_terms_are_another_form(changes):
    assert form(replace(SUB, **changes)) != form()


@pytest.mark.parametrize(
    ("changes", "place", "amount"),
    [
        ({"discount": Discount(1, 7)}, 0, 1),
        ({"discount": Discount(1, 7)}, 1, 7),
        ({"cap": 51 * UNIT}, 2, 51 * UNIT),
        ({"minimum": 2 * UNIT}, 3, 2 * UNIT),
        ({"fixed_fees": (FEE, replace(OTHER, amount=2 * UNIT))}, 5, 2 * UNIT),
        ({"revenue_shares": (replace(SHARE, rate=1), SECOND)}, 6, 1),
        ({"credits": (replace(CREDIT, amount=1),)}, 8, 1),
    ],
    ids=str,
)
def test_other_amounts_are_of_the_same_form(changes, place, amount):
    (one, amounts), (other, others) = (
        form_of(tree_in(replace(ROOT, sub_contracts=(sub,)), "EUR", HIGH)) for sub in (SUB, replace(SUB, **changes))
    )
    assert one == other
    assert (others[place], len(others)) == (amount, len(amounts))


def test_the_amounts_of_a_level_lie_behind_those_of_the_level_above():
    numbers = amount_numbers(SUB, 3)
    amounts = [7, 7, 7, *amounts_of(SUB)]
    assert (numbers.discount_rate, numbers.end) == (3, len(amounts))
    found = [amounts[each] for each in numbers[:-1]]
    assert found == [UNIT // 10, 0, SUB.cap, SUB.minimum, FEE.amount, SHARE.rate, CREDIT.amount]


def test_another_tax_or_tree_is_another_form():
    assert len({form(), form(tax=LOW), form(tax=None), form_of(tree_in(SUB, "EUR", HIGH))[0]}) == 4


def test_a_tree_of_a_known_form_keeps_its_own_names():
    # Given two trees of one form in a forest
    forest = Forest()
    trees = [tree_in(each, "EUR", HIGH) for each in (ROOT, at_other_amounts(renamed(ROOT, "bob", "2"), 3))]
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


def test_trees_of_one_form_have_their_own_amounts_in_a_forest():
    # Given two trees of one form, the other at three times the amounts
    forest = Forest()
    for root in (ROOT, at_other_amounts(renamed(ROOT, "bob", "2"), 3)):
        planted = forest.add(tree_in(root, "EUR", None), START_US, START_US + 1)
        # When each is settled without charge lines
        assert forest.settle_all(planted)
    # Then it comes to its own: fees less discount, less credits; all in all nothing, shown at what it is before credits
    subtotals = forest.state.places.subtotal.tolist()
    of_fees = [200 + 10 + 2, 600 + 10 + 1]
    assert [subtotals[0], subtotals[2]] == of_fees


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
