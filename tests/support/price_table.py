"""The pricing rules as a table: what a quantity costs, and why, read like a price list.

Amounts and quantities are decimals as text; None means that it does not fit.
"""

from typing import NamedTuple

from tallybook_engine.decimals import Rounding, parse_decimal
from tallybook_engine.pricing.model import (
    Graduated,
    IncludedMode,
    IncludedQuantity,
    NoPrice,
    Package,
    PerUnit,
    Price,
    Stairstep,
    Tier,
    UnitConversion,
    Volume,
)

LARGEST = "999999999999999.999999999999"


class Row(NamedTuple):
    """One line of the table."""

    why: str
    price: Price
    quantity: str
    amount: str | None


def number(text: str) -> int:
    """Scale 12."""
    return parse_decimal(text)


def tiers(*rows: str) -> tuple[Tier, ...]:
    """Tiers written "up_to: unit price + flat fee"; "-" is open."""
    made = []
    for row in rows:
        up_to, prices = row.split(": ")
        unit_price, flat_fee = prices.split(" + ")
        made.append(Tier(None if up_to == "-" else number(up_to), number(unit_price), number(flat_fee)))
    return tuple(made)


def subtracted(text: str) -> IncludedQuantity:
    return IncludedQuantity(number(text), IncludedMode.SUBTRACT_FIRST)


def free_tier(text: str) -> IncludedQuantity:
    return IncludedQuantity(number(text), IncludedMode.FREE_FIRST_TIER)


def divided(divisor: str, places: int, rounding: Rounding) -> Price:
    """One each unit, so that the price is the converted quantity."""
    return Price(PerUnit(number("1")), conversion=UnitConversion(number(divisor), None, places, rounding))


def multiplied(factor: str, places: int, rounding: Rounding) -> Price:
    """One each unit, so that the price is the converted quantity."""
    return Price(PerUnit(number("1")), conversion=UnitConversion(None, number(factor), places, rounding))


PER_UNIT = Price(PerUnit(number("0.07")))
BANDS = tiers("10: 10 + 2", "20: 5 + 3", "-: 1 + 4")
GRADUATED, VOLUME, STAIRSTEP = Price(Graduated(BANDS)), Price(Volume(BANDS)), Price(Stairstep(BANDS))
MANY = tuple(Tier(number(str(bound)), number("1"), number(str(bound))) for bound in range(1, 20))
MANY_BANDS = Price(Stairstep((*MANY, Tier(None, 0, number("20")))))
UP, DOWN = Rounding.UP, Rounding.DOWN
HALF_AWAY, HALF_EVEN = Rounding.HALF_AWAY_FROM_ZERO, Rounding.HALF_EVEN
PACKAGES = Price(Package(number("10"), number("3"), UP))
FULL_PACKAGES = Price(Package(number("10"), number("3"), DOWN))

ROWS = (
    Row("nothing is billed", Price(NoPrice()), "5", "0"),
    Row("nothing is billed, but for a minimum", Price(NoPrice(), minimum=number("3")), "5", "3"),
    Row("every unit at one price", PER_UNIT, "3", "0.21"),
    Row("a part of a unit", PER_UNIT, "0.000000000001", "0.00000000000007"),
    Row("no unit", PER_UNIT, "0", "0"),
    Row("below 0 is 0", PER_UNIT, "-3", "0"),
    Row("a rebate each unit", Price(PerUnit(number("-0.5"))), "3", "-1.5"),
    *(
        Row(f"graduated: {why}", GRADUATED, quantity, amount)
        for why, quantity, amount in (
            ("no unit, no flat fee", "0", "0"),
            ("the smallest quantity enters tier 1", "0.000000000001", "2.00000000001"),
            ("the bound is in its tier", "10", "102"),
            ("just above it the next tier is entered", "10.000000000001", "105.000000000005"),
            ("tier 2 full", "20", "155"),
            ("tier 3 entered", "20.5", "159.5"),
        )
    ),
    *(
        Row(f"volume: {why}", VOLUME, quantity, amount)
        for why, quantity, amount in (
            ("no unit", "0", "0"),
            ("the bound is in its tier", "10", "102"),
            ("above it all units are cheaper", "10.1", "53.5"),
            ("the last tier", "21", "25"),
        )
    ),
    *(
        Row(f"stairstep: {why}", STAIRSTEP, quantity, amount)
        for why, quantity, amount in (
            ("no unit", "0", "0"),
            ("the smallest quantity", "0.000000000001", "2"),
            ("the bound is in its band", "10", "2"),
            ("the next band", "10.000000000001", "3"),
            ("the last band", "1000000", "4"),
        )
    ),
    *(Row("many bands: on a bound", MANY_BANDS, str(bound), str(bound)) for bound in range(1, 20)),
    *(Row("many bands: above a bound", MANY_BANDS, f"{bound}.1", str(bound + 1)) for bound in range(1, 20)),
    *(
        Row(f"package: {why}", PACKAGES, quantity, amount)
        for why, quantity, amount in (
            ("none begun", "0", "0"),
            ("one begun", "0.000000000001", "3"),
            ("one full", "10", "3"),
            ("a second begun", "10.000000000001", "6"),
            ("seven full", "70", "21"),
        )
    ),
    *(
        Row(f"full packages: {why}", FULL_PACKAGES, quantity, amount)
        for why, quantity, amount in (
            ("none full", "9.999999999999", "0"),
            ("one full", "10", "3"),
            ("still one", "19.999999999999", "3"),
        )
    ),
    Row(
        "packages of a size beyond a word",
        Price(Package(number("30000000.5"), number("2"))),
        "60000001.000000000001",
        "6",
    ),
    Row("packages counted beyond a word", Price(Package(1, 1)), "20000000", "20000000"),
    Row("quantities beyond a word", PACKAGES, "123456789012345.678", "37037036703705"),
    # Included quantity.
    Row("inside the included units", Price(PerUnit(number("1")), subtracted("100")), "100", "0"),
    Row("above the included units", Price(PerUnit(number("1")), subtracted("100")), "100.5", "0.5"),
    Row("included, in packages", Price(PACKAGES.model, subtracted("100")), "101", "3"),
    Row("subtracted first: tiers count from 0 on the rest", Price(GRADUATED.model, subtracted("100")), "110", "102"),
    Row("subtracted first, volume", Price(VOLUME.model, subtracted("100")), "110", "102"),
    Row("a free first tier, graduated: the same", Price(GRADUATED.model, free_tier("100")), "110", "102"),
    Row("a free first tier: in it", Price(VOLUME.model, free_tier("100")), "100", "0"),
    Row("a free first tier, volume: all units are paid above it", Price(VOLUME.model, free_tier("100")), "110", "1102"),
    Row("a free first tier, stairstep", Price(STAIRSTEP.model, free_tier("100")), "110.1", "3"),
    Row("a free first tier, per unit: subtracted", Price(PerUnit(number("1")), free_tier("100")), "101", "1"),
    Row("a free first tier, package: subtracted", Price(PACKAGES.model, free_tier("100")), "111", "6"),
    *(
        # Autumn's allowance of 50 (v419 to v423 of the peers' cases, where its free tier is written out).
        Row(
            "a free first tier is an allowance",
            Price(Volume(tiers("100: 0.1 + 0", "500: 0.05 + 0", "-: 0.02 + 0")), free_tier("50")),
            *row,
        )
        for row in (("30", "0"), ("50", "0"), ("51", "5.1"), ("120", "12"), ("200", "10"), ("551", "11.02"))
    ),
    Row("an empty free first tier", Price(VOLUME.model, free_tier("0"), zero_usage=True), "0", "2"),
    # Zero usage.
    Row("zero usage: tier 1's flat fee", Price(GRADUATED.model, zero_usage=True), "0", "2"),
    Row("zero usage, below 0", Price(VOLUME.model, zero_usage=True), "-1", "2"),
    Row("zero usage, used", Price(GRADUATED.model, zero_usage=True), "1", "12"),
    Row("zero usage, stairstep", Price(STAIRSTEP.model, zero_usage=True), "0", "2"),
    Row("zero usage inside the included units", Price(GRADUATED.model, subtracted("5"), zero_usage=True), "5", "2"),
    Row("zero usage behind a free first tier", Price(GRADUATED.model, free_tier("5"), zero_usage=True), "0", "0"),
    Row("zero usage means nothing to packages", Price(PACKAGES.model, zero_usage=True), "0", "0"),
    Row("zero usage means nothing per unit", Price(PER_UNIT.model, zero_usage=True), "0", "0"),
    # Minimum and cap.
    Row("raised to the minimum", Price(PER_UNIT.model, minimum=number("1")), "3", "1"),
    Row("above the minimum", Price(PER_UNIT.model, minimum=number("0.2")), "3", "0.21"),
    Row("cut to the cap", Price(PER_UNIT.model, cap=number("0.2")), "3", "0.2"),
    Row("below the cap", Price(PER_UNIT.model, cap=number("1")), "3", "0.21"),
    Row("a minimum above the cap gives way", Price(PER_UNIT.model, minimum=number("5"), cap=number("1")), "3", "1"),
    Row("a minimum of 0 stops rebates", Price(PerUnit(number("-1")), minimum=0), "3", "0"),
    Row("a cap of 0", Price(PER_UNIT.model, cap=0), "3", "0"),
    # Conversion.
    *(
        Row(f"divided by 1000, {rounding.value}", divided("1000", 0, rounding), quantity, amount)
        for rounding, quantity, amount in (
            (UP, "7400", "8"),
            (UP, "7000", "7"),
            (UP, "0.000000000001", "1"),
            (DOWN, "7999.999999999999", "7"),
            (DOWN, "7000", "7"),
            (HALF_AWAY, "7499.999999999999", "7"),
            (HALF_AWAY, "7500", "8"),
            (HALF_AWAY, "6500", "7"),
            (HALF_EVEN, "6500", "6"),
            (HALF_EVEN, "7500", "8"),
            (HALF_EVEN, "6500.000000000001", "7"),
            (HALF_EVEN, "6499.999999999999", "6"),
        )
    ),
    Row("divided by 3, to 12 places", divided("3", 12, HALF_AWAY), "2", "0.666666666667"),
    Row("divided by 3, just below a half", divided("3", 12, HALF_AWAY), "1", "0.333333333333"),
    Row("divided by 3, half even has no tie", divided("3", 12, HALF_EVEN), "2", "0.666666666667"),
    Row("divided by 3 of the last place", divided("0.000000000003", 0, HALF_EVEN), "0.000000000002", "1"),
    Row("divided by more than a word", divided("30000000", 2, UP), "10000000", "0.34"),
    Row("to hundreds", divided("1", -2, UP), "123.456", "200"),
    Row("to the coarsest places", divided("1", -14, HALF_AWAY), "50000000000000", "100000000000000"),
    Row("to the coarsest places, by much", divided("999999999999999", -14, UP), LARGEST, "100000000000000"),
    Row("multiplied", multiplied("0.001", 3, HALF_AWAY), "1234.5", "1.235"),
    Row("multiplied, half to even", multiplied("0.001", 3, HALF_EVEN), "1234.5", "1.234"),
    Row("multiplied beyond the limit", multiplied("10", 12, HALF_AWAY), "100000000000000", None),
    Row("multiplied far beyond the limit", multiplied(LARGEST, 12, HALF_AWAY), LARGEST, None),
    Row("rounded up to the limit", divided("1", -14, UP), "900000000000000.1", None),
    Row(
        "rounded up to the limit, costing nothing",
        Price(PerUnit(0), conversion=divided("1", -14, UP).conversion),
        "900000000000000.1",
        None,
    ),
    Row(
        "converted, then included",
        Price(PerUnit(number("1")), subtracted("5"), conversion=divided("10", 0, UP).conversion),
        "71",
        "3",
    ),
    # Limits.
    Row("the largest quantity", Price(PerUnit(number("1"))), LARGEST, LARGEST),
    Row("beyond the largest quantity", Price(PerUnit(0)), "1000000000000000", None),
    Row("beyond the smallest quantity", Price(PerUnit(0)), "-1000000000000000", None),
    Row("far below 0", Price(PerUnit(number("1"))), "-" + LARGEST, "0"),
    Row("the largest amount", Price(PerUnit(number("3"))), "333333333333333.333333333333", LARGEST),
    Row("beyond the largest amount", Price(PerUnit(number("1.000000000001"))), LARGEST, None),
    Row("beyond the smallest amount", Price(PerUnit(number("-1.000000000001"))), LARGEST, None),
    Row("far beyond, but capped", Price(PerUnit(number(LARGEST)), cap=number("7")), LARGEST, "7"),
    Row("far below, but a minimum", Price(PerUnit(number("-" + LARGEST)), minimum=number("-7")), LARGEST, "-7"),
    Row("too many packages", Price(Package(1, number(LARGEST))), LARGEST, None),
    Row("too many packages, but capped", Price(Package(1, number(LARGEST)), cap=number("7")), LARGEST, "7"),
    Row("too many rebates", Price(Package(1, number("-" + LARGEST))), LARGEST, None),
    Row(
        "too many rebates, but a minimum", Price(Package(1, number("-" + LARGEST)), minimum=number("-7")), LARGEST, "-7"
    ),
    Row("as many packages as fit", Price(Package(1, 1)), LARGEST, LARGEST),
    Row("packages that just do not fit", Price(Package(number("1"), number("2"))), "500000000000000", None),
    Row("packages that just fit", Price(Package(number("1"), number("2"))), "499999999999999", "999999999999998"),
)
