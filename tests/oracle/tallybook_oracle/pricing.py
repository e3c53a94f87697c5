"""What a quantity costs, written as slowly and plainly as it can be said. Units and amounts are fractions.

Rules (in this order): a quantity below 0 is 0; unit conversion; included quantity; the model; minimum; cap. A result
that is not below 10^15 is no result: None.
"""

from dataclasses import dataclass
from fractions import Fraction

from tallybook_oracle.numbers import fits, rounded


@dataclass(frozen=True)
class OracleTier:
    """Units above the tier before, up to and including `up_to`; None: without end."""

    up_to: Fraction | None
    unit_price: Fraction = Fraction(0)
    flat_fee: Fraction = Fraction(0)


@dataclass(frozen=True)
class OraclePrice:
    """A price by the words of the catalogue file."""

    model: str
    """none, per_unit, graduated, volume, stairstep or package."""
    unit_price: Fraction = Fraction(0)
    tiers: tuple[OracleTier, ...] = ()
    package_size: Fraction = Fraction(1)
    package_amount: Fraction = Fraction(0)
    package_rounding: str = "UP"
    included: Fraction = Fraction(0)
    included_mode: str = "SUBTRACT_FIRST"
    included_by_days: bool = False
    """Whether a period that is not whole includes less; `included` is that of the whole one."""
    minimum: Fraction | None = None
    cap: Fraction | None = None
    zero_usage: bool = False
    divide_by: Fraction | None = None
    multiply_by: Fraction | None = None
    conversion_decimals: int = 12
    conversion_rounding: str = "HALF_AWAY_FROM_ZERO"


def exact_price(price: OraclePrice, quantity: Fraction) -> Fraction | None:
    """The price of a quantity; None if the quantity, the converted quantity or the price does not fit."""
    if not fits(quantity):
        return None
    units = converted(price, max(quantity, Fraction(0)))
    if not fits(units):
        return None
    amount = _model_amount(price, units)
    if price.minimum is not None:
        amount = max(amount, price.minimum)
    if price.cap is not None:
        amount = min(amount, price.cap)
    return amount if fits(amount) else None


def converted(price: OraclePrice, units: Fraction) -> Fraction:
    """The quantity in the units that the plan bills."""
    if price.divide_by is not None:
        return rounded(units / price.divide_by, price.conversion_decimals, price.conversion_rounding)
    if price.multiply_by is not None:
        return rounded(units * price.multiply_by, price.conversion_decimals, price.conversion_rounding)
    return units


def _model_amount(price: OraclePrice, units: Fraction) -> Fraction:
    tiers = price.tiers
    if tiers and price.included > 0 and price.included_mode == "FREE_FIRST_TIER":
        # A tier that costs nothing is put in front, and every other one begins that much later.
        tiers = (
            OracleTier(price.included),
            *(
                OracleTier(None if tier.up_to is None else tier.up_to + price.included, tier.unit_price, tier.flat_fee)
                for tier in tiers
            ),
        )
    else:
        units = max(units - price.included, Fraction(0))
    if price.model == "none":
        return Fraction(0)
    if price.model == "per_unit":
        return units * price.unit_price
    if price.model == "package":
        return rounded(units / price.package_size, 0, price.package_rounding) * price.package_amount
    if units == 0:
        return tiers[0].flat_fee if price.zero_usage else Fraction(0)
    if price.model == "graduated":
        return _graduated(tiers, units)
    reached = _tier_reached(tiers, units)
    if price.model == "volume":
        return units * reached.unit_price + reached.flat_fee
    if price.model == "stairstep":
        return reached.flat_fee
    raise ValueError(f"no model is called {price.model}")


def _graduated(tiers: tuple[OracleTier, ...], units: Fraction) -> Fraction:
    amount = Fraction(0)
    begin = Fraction(0)
    for tier in tiers:
        if units > begin:
            end = units if tier.up_to is None else min(units, tier.up_to)
            amount += (end - begin) * tier.unit_price + tier.flat_fee
        if tier.up_to is not None:
            begin = tier.up_to
    return amount


def _tier_reached(tiers: tuple[OracleTier, ...], units: Fraction) -> OracleTier:
    for tier in tiers:
        if tier.up_to is None or units <= tier.up_to:
            return tier
    raise ValueError("the last tier has an end")
