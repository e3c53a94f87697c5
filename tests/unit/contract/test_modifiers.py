"""Each modifier of a contract level by itself: what it takes off or adds, and at its very edge."""

from datetime import date

import numpy as np
import pytest

from tallybook_engine.calendar.proration import prorated
from tallybook_engine.catalog.model import Basis, Contract, Credit, Frequency, PeriodUnit, RevenueShare
from tallybook_engine.contract.cap import NO_CAP, overage
from tallybook_engine.contract.credits import balances, paid_by
from tallybook_engine.contract.discount import discount_of
from tallybook_engine.contract.holding import holding
from tallybook_engine.contract.minimum import NO_MINIMUM, true_up
from tallybook_engine.contract.percentage import percentage_of
from tallybook_engine.contract.revenue_share import cycle, share_of
from tallybook_engine.contract.revenue_share import in_order as shares_in_order
from tallybook_engine.contract.spread import spread
from tallybook_engine.decimals import UNIT
from tallybook_engine.kernels.wide import to_limbs

TENTH = UNIT // 10
LARGEST = 2**63 - 1


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
        (LARGEST, 0, "ALL", 922337203685477581),
        (LARGEST, LARGEST - 5, "EXCESS", 1),
        (LARGEST, LARGEST, "ALL", 0),
    ],
)
def test_discount(amount, threshold, mode, discount):
    assert discount_of(np.int64(amount), np.int64(threshold), np.int64(TENTH), mode == "EXCESS") == discount


def test_a_discount_of_all_there_is():
    assert discount_of(np.int64(LARGEST), np.int64(0), np.int64(UNIT), False) == LARGEST


@pytest.mark.parametrize(
    ("amount", "rate", "fits", "percentage"),
    [
        (5, TENTH, True, 1),  # a half goes away from zero
        (4, TENTH, True, 0),
        (-5, TENTH, True, -1),
        (-4, TENTH, True, 0),
        (5, -TENTH, True, -1),
        (-5, -TENTH, True, 1),
        (LARGEST, UNIT, True, LARGEST),
        (-LARGEST, UNIT, True, -LARGEST),
        (LARGEST // 1_000, 1_000 * UNIT, True, LARGEST // 1_000 * 1_000),
        (LARGEST // 1_000 + 1, 1_000 * UNIT, False, 0),
        (2**62, 2 * UNIT, False, 0),  # 2^63 itself
        (LARGEST, 1_000 * UNIT, False, 0),
        (0, UNIT, True, 0),
    ],
)
def test_a_percentage_is_rounded_once(amount, rate, fits, percentage):
    assert percentage_of(np.int64(amount), np.int64(rate)) == (fits, percentage)


@pytest.mark.parametrize(
    ("amount", "over", "lacking"),
    [(99, 0, 1), (100, 0, 0), (101, 1, 0), (-5, 0, 105), (-LARGEST, 0, None), (100 - LARGEST, 0, LARGEST)],
)
def test_cap_and_minimum(amount, over, lacking):
    assert overage(np.int64(amount), np.int64(100)) == over
    assert true_up(np.int64(amount), np.int64(100)) == ((False, 0) if lacking is None else (True, lacking))


@pytest.mark.parametrize("amount", [-LARGEST, 0, LARGEST])
def test_no_cap_and_no_minimum(amount):
    assert overage(np.int64(amount), np.int64(NO_CAP)) == 0
    assert true_up(np.int64(amount), np.int64(NO_MINIMUM)) == (True, 0)


START, END = date(2024, 3, 1), date(2024, 4, 1)


def balances_of(*rows):
    def day(text):
        return None if text is None else date.fromisoformat(text)

    month = Frequency(Basis.CALENDAR, 1, PeriodUnit.MONTH)
    credits_of = tuple(Credit(name, 10, day(start), day(end)) for name, start, end in rows)
    return balances(Contract("root", "ann", "UTC", date(2024, 2, 1), None, month, credits=credits_of))


def paid_of(balance, amount, left=10):
    days = [day.toordinal() for day in (balance.start_date, balance.end_date, START, END)]
    first, last, start, end = map(np.int32, days)
    return paid_by(np.int64(left), first, last, np.int64(amount), start, end)


def test_credits_the_earliest_expiry_pays_first_then_the_earliest_start_then_as_listed():
    found = balances_of(
        ("late", "2024-01-01", "2025-01-01"),
        ("never", None, None),
        ("b", "2024-02-01", "2024-12-01"),
        ("c", None, "2024-12-01"),  # from the contract's start on
        ("a", "2024-01-01", "2024-12-01"),
    )
    assert [each.id for each in found] == ["a", "b", "c", "late", "never"]


@pytest.mark.parametrize(
    ("start", "end", "pays"),
    [
        ("2024-03-31", "2024-04-01", True),  # its only day is the period's last
        ("2024-04-01", "2024-05-01", False),
        ("2024-02-01", "2024-03-02", True),  # its last day is the period's first
        ("2024-02-01", "2024-03-01", False),
    ],
)
def test_a_credit_pays_where_the_period_has_a_day_of_it(start, end, pays):
    [balance] = balances_of(("one", start, end))
    assert paid_of(balance, 5) == (5 if pays else 0)


@pytest.mark.parametrize(("amount", "paid"), [(0, 0), (-5, 0), (9, 9), (10, 10), (11, 10)])
def test_a_credit_pays_what_is_needed_and_no_more_than_is_left(amount, paid):
    [balance] = balances_of(("one", "2024-01-01", "2025-01-01"))
    assert paid_of(balance, amount) == paid


def spread_of(amount, weights):
    """(fits, whether there is a weight, parts)."""
    count = len(weights)
    parts = np.full(count, 99)
    fits, is_spread = spread(
        np.int64(amount), np.array(weights, np.int64), count, parts, np.empty(count, dtype=np.uint64)
    )
    return fits, is_spread, parts.tolist()


@pytest.mark.parametrize(
    ("amount", "weights", "parts"),
    [
        (100, [1], [100]),
        (100, [1, 1, 1], [34, 33, 33]),  # equal remainders: the first
        (101, [1, 1, 1], [34, 34, 33]),
        (100, [1, 2], [33, 67]),
        (10, [333, 333, 334], [3, 3, 4]),
        (-100, [1, 1, 1], [-34, -33, -33]),
        (1, [1, 1_000_000], [0, 1]),
        (5, [0, 1, 0], [0, 5, 0]),
        (5, [-7, 1, 0], [0, 5, 0]),  # what is below 0 has no part
        (0, [1, 2], [0, 0]),
        (LARGEST, [1, LARGEST - 1], [1, LARGEST - 1]),
        (-LARGEST, [LARGEST // 2, LARGEST // 2], [-(2**62), 1 - 2**62]),
        (LARGEST, [1, 1, 1], [3074457345618258603, 3074457345618258602, 3074457345618258602]),
    ],
)
def test_spread_by_largest_remainder(amount, weights, parts):
    assert spread_of(amount, weights) == (True, True, parts)


def test_nothing_to_spread_over():
    assert spread_of(5, [0, -1]) == (True, False, [0, 0])


@pytest.mark.parametrize(("weights", "fits"), [([LARGEST, -5], True), ([LARGEST, 1], False), ([LARGEST] * 3, False)])
def test_weights_fit_together(weights, fits):
    assert spread_of(5, weights)[0] is fits


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


@pytest.mark.parametrize(
    ("instant", "is_from_start", "is_to_end", "found"),
    [
        (9, True, True, 1),  # before the first: the first
        (9, False, True, -1),
        (10, False, False, 1),
        (19, False, False, 1),
        (20, False, False, 2),
        (29, False, False, 2),
        (30, False, False, 3),
        (39, False, False, 3),
        (40, True, False, -1),
        (40, True, True, 3),  # behind the last: the last
        (99, True, True, 3),
    ],
)
def test_the_period_that_holds_an_instant(instant, is_from_start, is_to_end, found):
    # Periods 1 to 3 of a column in which others stand before and behind
    starts = np.array([0, 10, 20, 30, 35])
    assert holding(starts, 1, 4, 40, is_from_start, is_to_end, instant) == found
    assert holding(starts, 1, 1, 40, is_from_start, is_to_end, instant) == -1


def share(name, *charges):
    return RevenueShare(name, TENTH, charges)


@pytest.mark.parametrize(
    ("amount", "rate", "found"),
    [
        (105, TENTH, (True, 11)),
        (-105, TENTH, (True, -11)),
        (-LARGEST, UNIT, (True, -LARGEST)),
        (2**63, TENTH, (False, 0)),  # the sum does not fit
        (-(2**63), TENTH, (False, 0)),
        (2**64, TENTH, (False, 0)),
        (2**62, 2 * UNIT, (False, 0)),
    ],
)
def test_a_share_is_of_rounded_lines_rounded_once(amount, rate, found):
    assert share_of(*to_limbs(amount, 2), np.int64(rate)) == found


def test_shares_each_behind_those_it_is_of():
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
def test_a_cycle_of_shares_is_named(shares, chain):
    assert cycle(shares) == chain


def test_a_long_chain_of_shares():
    shares = [share(f"s{number}", f"s{number + 1}") for number in range(1_000)]
    assert cycle(shares) == ()
    assert cycle([*shares, share("s1000", "s0")])[0] == "s0"
