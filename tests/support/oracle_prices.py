"""The engine's prices in the oracle's words."""

from fractions import Fraction
from typing import Any

from tallybook_engine.decimals import UNIT
from tallybook_engine.pricing.model import (
    Graduated,
    NoPrice,
    Package,
    PerUnit,
    Price,
    Stairstep,
    Tier,
    Volume,
)
from tallybook_oracle.pricing import OraclePrice, OracleTier


def fraction(scaled: int) -> Fraction:
    """A quantity, unit price or rate of scale 12."""
    return Fraction(scaled, UNIT)


def amount_fraction(scaled: int) -> Fraction:
    """An exact amount of scale 24."""
    return Fraction(scaled, UNIT * UNIT)


def oracle_price(price: Price) -> OraclePrice:
    """The same price for the oracle."""
    rules: dict[str, Any] = {
        "minimum": None if price.minimum is None else fraction(price.minimum),
        "cap": None if price.cap is None else fraction(price.cap),
        "zero_usage": price.zero_usage,
    }
    if price.included is not None:
        rules |= {"included": fraction(price.included.quantity), "included_mode": price.included.mode.value}
    conversion = price.conversion
    if conversion is not None:
        rules |= {
            "divide_by": None if conversion.divisor is None else fraction(conversion.divisor),
            "multiply_by": None if conversion.factor is None else fraction(conversion.factor),
            "conversion_decimals": conversion.rounding_places,
            "conversion_rounding": conversion.rounding.value,
        }
    match price.model:
        case NoPrice():
            return OraclePrice("none", **rules)
        case PerUnit(unit_price):
            return OraclePrice("per_unit", unit_price=fraction(unit_price), **rules)
        case Graduated(tiers):
            return OraclePrice("graduated", tiers=_tiers(tiers), **rules)
        case Volume(tiers):
            return OraclePrice("volume", tiers=_tiers(tiers), **rules)
        case Stairstep(tiers):
            return OraclePrice("stairstep", tiers=_tiers(tiers), **rules)
        case Package(size, amount, rounding):
            return OraclePrice(
                "package",
                package_size=fraction(size),
                package_amount=fraction(amount),
                package_rounding=rounding.value,
                **rules,
            )


def _tiers(tiers: tuple[Tier, ...]) -> tuple[OracleTier, ...]:
    return tuple(
        OracleTier(
            None if tier.up_to is None else fraction(tier.up_to), fraction(tier.unit_price), fraction(tier.flat_fee)
        )
        for tier in tiers
    )
