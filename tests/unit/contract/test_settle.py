"""Settling by hand: the order of lines, what is spread over taxes, what credits leave, a thousand levels."""

from contextlib import nullcontext
from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from tallybook_engine.catalog.model import (
    Basis,
    Contract,
    Credit,
    Discount,
    FixedFee,
    Frequency,
    PeriodUnit,
    ProductContract,
    RevenueShare,
    Tax,
    TaxMode,
)
from tallybook_engine.contract.calendars import level_periods
from tallybook_engine.contract.forest import Forest, line_room
from tallybook_engine.contract.invoice import Charge
from tallybook_engine.contract.settle import settle
from tallybook_engine.contract.tables import CREDIT, DISCOUNT, NONE, MoveColumns
from tallybook_engine.contract.tree import Level, Tree
from tallybook_engine.decimals import UNIT, DoesNotFit
from tallybook_engine.kernels.arrays import typed
from tallybook_engine.kernels.wide import from_limbs
from tallybook_engine.rating.tax import tax_amount

MONTH = Frequency(Basis.CALENDAR, 1, PeriodUnit.MONTH)
YEAR = Frequency(Basis.CALENDAR, 1, PeriodUnit.YEAR)
LARGEST = 2**63 - 1
START, END = date(2024, 1, 1), date(2025, 1, 1)
START_US, DAY_US = 1_704_067_200_000_000, 86_400_000_000
HIGH, LOW = Tax("high", "NL", UNIT * 21 // 100), Tax("low", "NL", UNIT * 9 // 100)
INCLUSIVE = Tax("in", "NL", UNIT // 4, TaxMode.INCLUSIVE)


def contract(name, frequency=MONTH, **terms):
    return Contract(name, "ann", "UTC", START, END, frequency, **terms)


def tree(*contracts, tax=HIGH):
    """A chain: each contract lies below the one before it."""
    levels = [
        Level(
            each, tuple(above.id for above in contracts[: number + 1]), number - 1, each.billing_frequency, START, END
        )
        for number, each in enumerate(contracts)
    ]
    return Tree(tuple(levels), {each.id: number for number, each in enumerate(contracts)}, "EUR", tax)


def charge(path, amount, tax=HIGH, month=0):
    start_us, end_us = (START_US + (-31, 0, 31, 60, 91)[month + 1 + at] * DAY_US for at in (0, 1))
    tax_minor = 0 if tax is None else tax_amount(tax.rate, tax.mode, amount)
    return Charge(tuple(path.split("/")), start_us, end_us, "EUR", amount, tax_minor, tax)


def lines(invoice):
    return [(each.contract_path[-1], each.kind.value, each.amount, each.tax and each.tax.id) for each in invoice.lines]


def test_modifiers_are_spread_over_taxes_in_their_order():
    # Given lines of two taxes and of none, and every modifier
    root = contract(
        "root",
        discount=Discount(UNIT // 10),
        cap=120 * UNIT,
        minimum=119 * UNIT,
        credits=(Credit("credit", 10 * UNIT),),
    )
    charges = [charge("root/a", 10_000), charge("root/b", 5_001, LOW), charge("root/c", -100, None)]
    # When the month is settled
    (invoice,) = settle(tree(root), charges, START_US, START_US + 1)
    # Then each modifier has a line a tax that is above 0, which together are its amount
    assert lines(invoice) == [
        ("a", "CHARGE", 10_000, "high"),
        ("b", "CHARGE", 5_001, "low"),
        ("c", "CHARGE", -100, None),
        ("root", "DISCOUNT", -993, "high"),  # 1,490 of 14,901, spread over 15,001
        ("root", "DISCOUNT", -497, "low"),
        ("root", "CAP", -941, "high"),
        ("root", "CAP", -470, "low"),
        ("root", "CREDIT", -667, "high"),
        ("root", "CREDIT", -333, "low"),
    ]
    assert [(each.tax and each.tax.id, each.base_amount, each.tax_amount) for each in invoice.taxes] == [
        (None, -100, 0),
        ("high", 7_399, 2_100 - 209 - 198 - 140),
        ("low", 3_701, 450 - 45 - 42 - 30),
    ]
    assert invoice.amount_excluding_tax == 11_000


def test_each_modifier_is_of_what_those_before_it_left():
    # Given a minimum above the cap, and two credits
    root = contract(
        "root",
        discount=Discount(UNIT // 10),
        cap=80 * UNIT,
        minimum=85 * UNIT,
        credits=(Credit("one", 30 * UNIT), Credit("other", 20 * UNIT)),
    )
    # When a level has 100.00
    (invoice,) = settle(tree(root, tax=None), [charge("root/a", 10_000, None)], START_US, START_US + 1)
    # Then 90.00 are left of it, 80.00, 85.00, 55.00, and 35.00
    assert [(each.kind.value, each.amount) for each in invoice.lines] == [
        ("CHARGE", 10_000),
        ("DISCOUNT", -1_000),
        ("CAP", -1_000),
        ("MINIMUM", 500),
        ("CREDIT", -3_000),
        ("CREDIT", -2_000),
    ]
    assert [(each.subtotal, each.total) for each in invoice.levels] == [(10_000, 3_500)]


def test_a_month_finds_what_the_one_before_left_of_each_credit():
    # Given 100.00 that expire, and 50.00 that do not
    credits_given = (Credit("late", 50 * UNIT), Credit("early", 100 * UNIT, end_date=date(2024, 12, 1)))
    charges = [charge("root/a", 6_000, None, month) for month in range(3)]
    # When each month needs 60.00
    chain = tree(contract("root", credits=credits_given), tax=None)
    invoices = settle(chain, charges, START_US, START_US + 80 * DAY_US)
    # Then the second has 40.00 of the one and takes 20.00 of the other, of which the third finds 30.00
    assert [[(each.id, each.amount) for each in invoice.lines[1:]] for invoice in invoices] == [
        [("early", -6_000)],
        [("early", -4_000), ("late", -2_000)],
        [("late", -3_000)],
    ]


def test_divisions_keep_their_credits_apart():
    # Given a division with 100.00, one beside it with 40.00 and 30.00, and three months
    north = contract("north", credits=(Credit("norths", 100 * UNIT),))
    south = contract("south", credits=(Credit("first", 40 * UNIT), Credit("second", 30 * UNIT)))
    chain = tree(contract("root"), north, south, tax=None)
    root_level, north_level, south_level = chain.levels
    both = replace(chain, levels=(root_level, north_level, replace(south_level, path=("root", "south"), parent=0)))
    charges = [charge("root/north/a", 2_000, None, month) for month in range(3)]
    charges += [charge("root/south/a", 3_000, None, month) for month in range(3)]
    # When the one needs 20.00 a month and the other 30.00
    invoices = settle(both, charges, START_US, START_US + 80 * DAY_US)
    # Then each pays with its own
    assert [[(each.id, each.amount) for each in invoice.lines if each.id != "a"] for invoice in invoices] == [
        [("norths", -2_000), ("first", -3_000)],
        [("norths", -2_000), ("first", -1_000), ("second", -2_000)],
        [("norths", -2_000), ("second", -1_000)],
    ]


def test_trees_of_one_form_are_settled_one_after_the_other_where_the_first_was():
    # Given three months of a form, and charge lines (month, amount) of two trees of it
    root = contract("root", discount=Discount(UNIT // 10), credits=(Credit("credit", 3 * UNIT),))
    forest = Forest()
    planted = forest.add(tree(root), START_US, START_US + 80 * DAY_US, {HIGH})
    assert (planted.place_first, planted.place_end) == (0, 3)
    trees = [[(0, 100), (1, 200), (2, 300)], [(1, 1_000), (2, 500)]]
    rows = [(month, planted.compiled.tax_numbers[HIGH], NONE, amount) for each in trees for month, amount in each]
    # When the first is shown from its second month on, and the other from its third
    made = line_room(2 * planted.compiled.line_count_max)
    first, shown, end = (np.array(places, dtype=np.int32) for places in ([0, 0], [1, 2], [3, 3]))
    moves = typed(MoveColumns, *np.array(rows).T)
    failed, excluding_tax, tax = forest.settle_trees(first, shown, end, moves, np.array([0, 3, 5]), made)
    # Then each has the lines of its own charges, and what earlier months left of its credit
    lines = [column[: made.line_count[0]].tolist() for column in made.lines]
    _, _, kinds, _, _, amounts, taxes = lines
    assert list(zip(*lines[:2], kinds, amounts, taxes, strict=True)) == [
        (0, 1, DISCOUNT, -20, -4),  # of 200
        (0, 1, CREDIT, -180, -38),  # 90 of 300 went to the first month
        (0, 2, DISCOUNT, -30, -6),
        (0, 2, CREDIT, -30, -6),
        (1, 2, DISCOUNT, -50, -11),  # of 500; the month before took the whole credit
    ]
    # And comes to what is shown of it
    assert failed == NONE
    assert [from_limbs(*row) for row in excluding_tax] == [-260, -50]
    assert [from_limbs(*row) for row in tax] == [-54, -11]


def test_a_minimum_without_lines_is_taxed_by_the_customers_tax():
    (invoice,) = settle(tree(contract("root", minimum=5 * UNIT)), [], START_US, START_US + 1)
    assert lines(invoice) == [("root", "MINIMUM", 500, "high")]


def test_an_inclusive_amount_contains_its_tax():
    (invoice,) = settle(
        tree(contract("root", cap=100 * UNIT)), [charge("root/a", 12_500, INCLUSIVE)], START_US, START_US + 1
    )
    assert lines(invoice)[1] == ("root", "CAP", -2_500, "in")
    assert (invoice.amount_excluding_tax, invoice.tax_amount) == (8_000, 2_000)


def test_a_charge_of_a_level_that_is_gone_is_of_the_one_above():
    (invoice,) = settle(tree(contract("root"), contract("sub")), [charge("root/sub/gone/a", 7)], START_US, START_US + 1)
    assert [each.contract_path for each in invoice.levels] == [("root", "sub"), ("root",)]


def test_a_year_below_a_month_is_of_its_last_month():
    chain = tree(contract("root"), contract("sub", YEAR, minimum=12 * UNIT))
    invoices = settle(chain, [], START_US, START_US + 366 * DAY_US)
    assert [lines(each) for each in invoices] == [[]] * 11 + [[("sub", "MINIMUM", 1_200, "high")]]


def test_a_month_that_is_asked_for_alone_knows_what_credits_are_left():
    root = contract("root", credits=(Credit("credit", 100 * UNIT),))
    charges = [charge("root/a", 6_000, month=month) for month in range(3)]
    (invoice,) = settle(tree(root), charges, START_US + 40 * DAY_US, START_US + 41 * DAY_US)
    assert lines(invoice)[1] == ("root", "CREDIT", -4_000, "high")


@pytest.mark.parametrize(
    ("terms", "amounts", "fits"),
    [
        ({}, (LARGEST, 1, -1), True),  # what counts is what they come to
        ({}, (LARGEST, 1), False),
        ({}, (-LARGEST, -1), False),
        ({"minimum": 10 * UNIT}, (-LARGEST + 1_000,), True),
        ({"minimum": 10 * UNIT}, (-LARGEST + 999,), False),  # the true-up
        ({"fixed_fees": (FixedFee("fee", UNIT),)}, (LARGEST - 100,), True),
        ({"fixed_fees": (FixedFee("fee", UNIT),)}, (LARGEST - 99,), False),
        ({"revenue_shares": (RevenueShare("share", -UNIT, ("a",)),)}, (LARGEST,), True),
        ({"revenue_shares": (RevenueShare("share", -1_000 * UNIT, ("a",)),)}, (LARGEST,), False),
    ],
)
def test_what_does_not_fit_is_refused(terms, amounts, fits):
    root = contract("root", product_contracts=(ProductContract("a", "plan"),), **terms)
    charges = [charge("root/a", amount, None) for amount in amounts]
    with nullcontext() if fits else pytest.raises(DoesNotFit, match="what a level comes to"):
        settle(tree(root, tax=None), charges, START_US, START_US + 1)


def test_the_tax_of_a_line_that_does_not_fit():
    # Given a tax of 300 %
    tax, minor = Tax("triple", "NL", 3 * UNIT), UNIT // 100
    root = contract("root", minimum=LARGEST // 3 * minor)
    # When a true-up is a third of the limit, its tax fits; one unit more, and it does not
    (invoice,) = settle(tree(root, tax=tax), [], START_US, START_US + 1)
    assert [(each.amount, each.tax_amount) for each in invoice.lines] == [(LARGEST // 3, LARGEST // 3 * 3)]
    with pytest.raises(DoesNotFit):
        settle(tree(replace(root, minimum=root.minimum + minor), tax=tax), [], START_US, START_US + 1)


@pytest.mark.parametrize("terms", [{"minimum": 10**29}, {"fixed_fees": (FixedFee("fee", 10**29),)}])
def test_terms_that_do_not_fit(terms):
    with pytest.raises(DoesNotFit, match="not below 2\\^63"):
        settle(tree(contract("root", **terms)), [], START_US, START_US + 1)


def test_a_cap_and_a_threshold_that_nothing_reaches():
    root = contract("root", cap=10**29, discount=Discount(UNIT, 10**29))
    (invoice,) = settle(tree(root, tax=None), [charge("root/a", LARGEST, None)], START_US, START_US + 1)
    assert lines(invoice) == [("a", "CHARGE", LARGEST, None)]


def test_a_thousand_levels():
    # Given a thousand levels, each of which takes a cent off by its cap
    count = 1_000
    levels = [contract(f"l{number}", cap=(1_000 + number) * UNIT // 100) for number in range(count)]
    path = "/".join(each.id for each in levels)
    # When the lowest has a line
    chain = tree(*levels)
    (invoice,) = settle(chain, [charge(f"{path}/a", 2_000)], START_US, START_US + 1)
    # Then each has one too, from the lowest up
    assert len(invoice.lines) == 1 + count
    assert (invoice.amount_excluding_tax, len(invoice.levels)) == (1_000, count)
    assert [each.amount for each in invoice.lines[1:4]] == [-1, -1, -1]
    assert len(level_periods(chain, START_US, START_US + 1)) == count


def test_a_division_whose_zone_is_behind():
    # Given a root whose March begins before the February of a division far in the west ends
    west = replace(contract("west", minimum=5 * UNIT), time_zone="America/New_York")
    chain = tree(replace(contract("root"), time_zone="Asia/Kathmandu"), west)
    # When March is asked for, alone or with February
    march_us = START_US + 61 * DAY_US
    (alone,) = settle(chain, [], march_us, march_us + 1)
    _, _, after_february = settle(chain, [], START_US, march_us + 1)
    # Then the division's February is of March, which holds its last instant
    assert lines(alone) == lines(after_february) == [("west", "MINIMUM", 500, "high")]
    assert alone.lines[0].end_us == START_US + 60 * DAY_US + 5 * 3_600_000_000


def test_a_charge_before_the_contract_is_of_its_first_period():
    # As one is whose contract began earlier under the version that it is pinned to
    charges = [charge("root/a", 7, month=-1)]
    first, second = settle(tree(contract("root")), charges, START_US, START_US + 40 * DAY_US)
    assert (len(first.lines), len(second.lines)) == (1, 0)
