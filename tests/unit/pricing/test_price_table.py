"""Every row of the table of prices, through the kernel, the explained lines and the oracle."""

from fractions import Fraction

import pytest
from tests.support.kernel_prices import kernel_price
from tests.support.oracle_prices import amount_fraction, fraction, oracle_price
from tests.support.price_table import BANDS, GRADUATED, ROWS, VOLUME, Row, free_tier, number, subtracted

from tallybook_engine.decimals import DoesNotFit, Rounding
from tallybook_engine.kernels.wide import from_limbs, to_limbs
from tallybook_engine.pricing.line import LineKind
from tallybook_engine.pricing.lines import (
    exact_price,
    included_left,
    marginal_lines,
    next_tier_from,
    price_lines,
)
from tallybook_engine.pricing.model import Package, PerUnit, Price, Stairstep, Tier, UnitConversion
from tallybook_engine.pricing.price import price
from tallybook_engine.pricing.tables import PricePool
from tallybook_oracle import pricing as oracle

SCALE = 10**12


def scaled(text: str) -> int:
    """Scale 12, also beyond the limit."""
    return int(Fraction(text) * SCALE)


@pytest.mark.parametrize("row", [pytest.param(row, id=f"{row.why} [{row.quantity}]") for row in ROWS])
def test_a_row_of_the_table(row: Row):
    quantity = scaled(row.quantity)
    expected = None if row.amount is None else Fraction(row.amount)
    exact = kernel_price(row.price, quantity)
    assert (None if exact is None else amount_fraction(exact)) == expected
    assert oracle.exact_price(oracle_price(row.price), fraction(quantity)) == expected
    if expected is None:
        with pytest.raises(DoesNotFit):
            price_lines(row.price, quantity)
    else:
        assert amount_fraction(exact_price(row.price, quantity)) == expected


def as_text(price: Price, before: str | None, after: str) -> list[str]:
    """Lines written "kind tier: quantity x unit + flat = amount"."""
    if before is None:
        lines = price_lines(price, scaled(after))
    else:
        lines = marginal_lines(price, scaled(before), scaled(after))

    def text(value: int | None) -> str:
        return "-" if value is None else f"{value / SCALE:g}"

    return [
        f"{line.kind.value} {line.tier}: {text(line.quantity)} x {text(line.unit_amount)} + {text(line.flat_fee)}"
        f" = {text(line.amount // SCALE)}"
        for line in lines
    ]


@pytest.mark.parametrize(
    ("price", "before", "after", "expected"),
    [
        (Price(PerUnit(number("0.5"))), None, "3", ["TIER 1: 3 x 0.5 + 0 = 1.5"]),
        (Price(PerUnit(number("0.5"))), None, "0", []),
        (GRADUATED, None, "12", ["TIER 1: 10 x 10 + 2 = 102", "TIER 2: 2 x 5 + 3 = 13"]),
        (GRADUATED, "8", "12", ["TIER 1: 2 x 10 + 0 = 20", "TIER 2: 2 x 5 + 3 = 13"]),
        (GRADUATED, "12", "8", ["TIER 1: -2 x 10 + 0 = -20", "TIER 2: -2 x 5 + -3 = -13"]),
        (GRADUATED, "11", "12", ["TIER 2: 1 x 5 + 0 = 5"]),
        (GRADUATED, "-5", "0", []),
        (VOLUME, "10", "12", ["TIER 1: -10 x 10 + -2 = -102", "TIER 2: 12 x 5 + 3 = 63"]),
        (Price(Stairstep(BANDS)), "10", "12", ["TIER 1: -10 x - + -2 = -2", "TIER 2: 12 x - + 3 = 3"]),
        (Price(Package(number("10"), number("3"))), "5", "25", ["PACKAGE 0: 2 x 3 + 0 = 6"]),
        (Price(Package(number("10"), number("3"))), "5", "9", []),
        (
            Price(PerUnit(number("1")), subtracted("100")),
            "99",
            "104",
            ["INCLUDED 0: 1 x 0 + 0 = 0", "TIER 1: 4 x 1 + 0 = 4"],
        ),
        (
            Price(VOLUME.model, free_tier("100")),
            "100",
            "104",
            ["INCLUDED 0: -100 x 0 + 0 = 0", "TIER 1: 104 x 10 + 2 = 1042"],
        ),
        (Price(GRADUATED.model, zero_usage=True), None, "0", ["TIER 1: 0 x - + 2 = 2"]),
        (Price(GRADUATED.model, zero_usage=True), "0", "1", ["TIER 1: 1 x 10 + 0 = 10"]),
        (
            Price(PerUnit(number("1")), minimum=number("5")),
            None,
            "3",
            ["TIER 1: 3 x 1 + 0 = 3", "MINIMUM 0: 0 x - + 0 = 2"],
        ),
        (Price(PerUnit(number("1")), minimum=number("5")), None, "5", ["TIER 1: 5 x 1 + 0 = 5"]),
        (
            Price(PerUnit(number("1")), minimum=number("5")),
            "3",
            "7",
            ["TIER 1: 4 x 1 + 0 = 4", "MINIMUM 0: 0 x - + 0 = -2"],
        ),
        (Price(PerUnit(number("1")), cap=number("5")), None, "7", ["TIER 1: 7 x 1 + 0 = 7", "CAP 0: 0 x - + 0 = -2"]),
        (Price(PerUnit(number("1")), cap=number("5")), None, "5", ["TIER 1: 5 x 1 + 0 = 5"]),
    ],
)
def test_explained_lines(price: Price, before: str | None, after: str, expected: list[str]):
    assert as_text(price, before, after) == expected


@pytest.mark.parametrize(
    ("price", "quantity", "bound"),
    [
        (GRADUATED, "0", "10"),
        (GRADUATED, "10", "10"),
        (GRADUATED, "10.1", "20"),
        (GRADUATED, "20.1", None),
        (Price(GRADUATED.model, subtracted("100")), "50", "110"),
        (Price(GRADUATED.model, subtracted("100")), "110.5", "120"),
        (Price(VOLUME.model, free_tier("100")), "50", "100"),
        (Price(VOLUME.model, free_tier("100")), "101", "110"),
        (Price(PerUnit(number("1"))), "5", None),
        (Price(GRADUATED.model, conversion=UnitConversion(number("10"), None)), "50", "10"),
    ],
)
def test_where_the_next_tier_begins(price: Price, quantity: str, bound: str | None):
    assert next_tier_from(price, scaled(quantity)) == (None if bound is None else scaled(bound))


@pytest.mark.parametrize(
    ("price", "quantity", "left"),
    [
        (GRADUATED, "5", "0"),
        (Price(GRADUATED.model, subtracted("100")), "-5", "100"),
        (Price(GRADUATED.model, subtracted("100")), "99.5", "0.5"),
        (Price(GRADUATED.model, free_tier("100")), "101", "0"),
    ],
)
def test_what_is_left_of_the_included_units(price: Price, quantity: str, left: str):
    assert included_left(price, scaled(quantity)) == scaled(left)


def test_one_pool_answers_for_every_row():
    pool = PricePool()
    indexes = [pool.add(row.price) for row in ROWS]
    for row, index in zip(ROWS, indexes, strict=True):
        fits, *limbs = price(pool.tables, index, *to_limbs(scaled(row.quantity), 2))
        assert (amount_fraction(from_limbs(*limbs)) if fits else None) == (row.amount and Fraction(row.amount))


def test_what_a_price_means_where_it_names_no_rounding():
    assert Package(SCALE, 1) == Package(SCALE, 1, Rounding.UP)
    assert UnitConversion(SCALE, None) == UnitConversion(SCALE, None, 12, Rounding.HALF_AWAY_FROM_ZERO)


def test_equal_prices_share_an_index_that_never_changes():
    pool = PricePool()
    first = pool.add(GRADUATED)
    tables = pool.tables
    assert pool.add(Price(GRADUATED.model)) == first
    assert pool.tables is tables
    assert pool.add(VOLUME) == first + 1
    assert len(pool.tables.prices) == 2
    assert pool[first] == GRADUATED


@pytest.mark.parametrize(
    "tiers",
    [
        (),
        (Tier(10, 1, 0),),
        (Tier(None, 1, 0), Tier(None, 1, 0)),
        (Tier(0, 1, 0), Tier(None, 1, 0)),
        (Tier(10, 1, 0), Tier(10, 1, 0), Tier(None, 1, 0)),
        (Tier(10, 1, 0), Tier(9, 1, 0), Tier(None, 1, 0)),
    ],
)
def test_what_are_no_tiers_is_refused(tiers: tuple[Tier, ...]):
    with pytest.raises(ValueError, match="tier"):
        PricePool().add(Price(Stairstep(tiers)))


@pytest.mark.parametrize(
    "conversion",
    [
        UnitConversion(None, None),
        UnitConversion(SCALE, SCALE),
        UnitConversion(0, None),
        UnitConversion(None, -1),
        UnitConversion(10**27, None),
        UnitConversion(SCALE, None, 13),
        UnitConversion(SCALE, None, -15),
    ],
)
def test_what_is_no_conversion_is_refused(conversion: UnitConversion):
    pool = PricePool()
    with pytest.raises(ValueError, match=r"conversion|places"):
        pool.add(Price(PerUnit(1), conversion=conversion))
    assert len(pool) == 0


@pytest.mark.parametrize("size", [0, -1])
def test_a_package_without_a_size_is_refused(size: int):
    with pytest.raises(ValueError, match="divisor"):
        PricePool().add(Price(Package(size, 1)))


def test_kinds_are_listed_in_the_order_of_their_rules():
    assert [kind.value for kind in LineKind] == ["INCLUDED", "TIER", "PACKAGE", "MINIMUM", "CAP"]
    assert {rounding.value for rounding in Rounding} == {"UP", "DOWN", "HALF_AWAY_FROM_ZERO", "HALF_EVEN"}
