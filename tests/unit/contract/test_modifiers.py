"""Each modifier of a contract level by itself: what it takes off or adds, and at its very edge."""

from datetime import date

import pytest

from tallybook_engine.calendar.proration import prorated
from tallybook_engine.catalog.model import DiscountMode, RevenueShare
from tallybook_engine.contract.cap import overage
from tallybook_engine.contract.credits import Balance, in_order, pay
from tallybook_engine.contract.discount import discount_of
from tallybook_engine.contract.minimum import true_up
from tallybook_engine.contract.revenue_share import cycle, share_of
from tallybook_engine.contract.revenue_share import in_order as shares_in_order
from tallybook_engine.contract.spread import spread
from tallybook_engine.decimals import UNIT

TENTH = UNIT // 10


@pytest.mark.parametrize(
    ("amount", "threshold", "mode", "discount"),
    [
        (1_000, 0, "ALL", 100),
        (1_000, 999, "ALL", 100),
        (1_000, 1_000, "ALL", 0),  # at the threshold is not above it
        (1_000, 999, "EXCESS", 0),  # a tenth of 1
        (1_005, 1_000, "EXCESS", 1),  # half a unit goes away from zero
        (1_004, 1_000, "EXCESS", 0),
        (1_005, 0, "ALL", 101),
        (0, 0, "ALL", 0),
        (-500, 0, "ALL", 0),
        (-500, -1_000, "ALL", 0),
    ],
)
def test_discount(amount, threshold, mode, discount):
    assert discount_of(amount, threshold, TENTH, DiscountMode(mode)) == discount


@pytest.mark.parametrize(("amount", "over", "lacking"), [(99, 0, 1), (100, 0, 0), (101, 1, 0), (-5, 0, 105)])
def test_cap_and_minimum(amount, over, lacking):
    assert overage(amount, 100) == over
    assert true_up(amount, 100) == lacking


class TestCredits:
    START, END = date(2024, 3, 1), date(2024, 4, 1)

    def balances(self, *rows):
        return in_order(
            [Balance(name, date.fromisoformat(start), date.fromisoformat(end), 10) for name, start, end in rows]
        )

    def paid(self, balances, amount):
        return [(balance.id, used) for balance, used in pay(balances, amount, self.START, self.END)]

    def test_the_earliest_expiry_pays_first_then_the_earliest_start_then_as_listed(self):
        balances = self.balances(
            ("late", "2024-01-01", "2025-01-01"),
            ("b", "2024-02-01", "2024-12-01"),
            ("c", "2024-02-01", "2024-12-01"),
            ("a", "2024-01-01", "2024-12-01"),
        )
        assert self.paid(balances, 35) == [("a", 10), ("b", 10), ("c", 10), ("late", 5)]
        # What is left is there for the next one
        assert self.paid(balances, 35) == [("late", 5)]
        assert self.paid(balances, 35) == []

    @pytest.mark.parametrize(
        ("start", "end", "pays"),
        [
            ("2024-03-31", "2024-04-01", True),  # its only day is the period's last
            ("2024-04-01", "2024-05-01", False),
            ("2024-02-01", "2024-03-02", True),  # its last day is the period's first
            ("2024-02-01", "2024-03-01", False),
        ],
    )
    def test_a_credit_pays_where_the_period_has_a_day_of_it(self, start, end, pays):
        assert bool(self.paid(self.balances(("one", start, end)), 5)) is pays

    @pytest.mark.parametrize("amount", [0, -5])
    def test_nothing_to_pay(self, amount):
        assert self.paid(self.balances(("one", "2024-01-01", "2025-01-01")), amount) == []


@pytest.mark.parametrize(
    ("amount", "weights", "parts"),
    [
        (100, [1], [100]),
        (100, [1, 1, 1], [34, 33, 33]),  # equal remainders: the first
        (100, [1, 2], [33, 67]),
        (10, [333, 333, 334], [3, 3, 4]),
        (-100, [1, 1, 1], [-34, -33, -33]),
        (1, [1, 1_000_000], [0, 1]),
        (5, [0, 1, 0], [0, 5, 0]),
        (0, [1, 2], [0, 0]),
    ],
)
def test_spread_by_largest_remainder(amount, weights, parts):
    assert spread(amount, weights) == parts


@pytest.mark.parametrize(
    ("amount", "first", "last", "part"),
    [
        # Flexprice and Meteroid: 10 and 20 a month of 31 days, changed on its 15th day
        (1_000, 0, 14, 452),
        (2_000, 14, 31, 1_097),
        (1_000, 0, 31, 1_000),
        (1_000, 5, 5, 0),
        (-1_000, 0, 14, -452),
    ],
)
def test_proration(amount, first, last, part):
    assert prorated(amount, first, last, 31) == part


def test_prorated_parts_add_up_to_the_whole():
    for amount in (1, 100, 333, -1_001):
        assert sum(prorated(amount, day, day + 1, 31) for day in range(31)) == amount


def share(name, *charges):
    return RevenueShare(name, TENTH, charges)


class TestRevenueShares:
    @pytest.mark.parametrize(
        ("amounts", "rate", "amount"), [((105,), TENTH, 11), ((-105,), TENTH, -11), ((104, 1), TENTH, 11)]
    )
    def test_of_rounded_lines_rounded_once(self, amounts, rate, amount):
        assert share_of(amounts, rate) == amount

    def test_each_behind_those_it_is_of(self):
        shares = [share("a", "b", "fee"), share("b", "c"), share("c", "fee")]
        assert [each.id for each in shares_in_order(shares)] == ["c", "b", "a"]
        assert cycle(shares) == ()

    @pytest.mark.parametrize(
        ("shares", "chain"),
        [
            ([share("a", "a")], ("a", "a")),
            ([share("x", "a"), share("a", "b"), share("b", "fee", "c"), share("c", "a")], ("a", "b", "c", "a")),
            ([share("a", "b", "c"), share("b", "d"), share("c", "d"), share("d", "fee")], ()),
        ],
    )
    def test_a_cycle_is_named(self, shares, chain):
        assert cycle(shares) == chain

    def test_a_long_chain(self):
        shares = [share(f"s{number}", f"s{number + 1}") for number in range(1_000)]
        assert cycle(shares) == ()
        assert cycle([*shares, share("s1000", "s0")])[0] == "s0"
