"""The pricing kernels called on Python integers."""

from tallybook_engine.kernels.wide import from_limbs, to_limbs
from tallybook_engine.pricing.model import Price
from tallybook_engine.pricing.price import price
from tallybook_engine.pricing.tables import price_tables
from tallybook_engine.rating.rounding import round_to_minor


def kernel_price(model: Price, quantity: int) -> int | None:
    """The exact price (scale 24) of a quantity (scale 12) by the kernel; None if it does not fit."""
    fits, *limbs = price(price_tables([model]), 0, *to_limbs(quantity, 2))
    assert fits or from_limbs(*limbs) == 0
    return from_limbs(*limbs) if fits else None


def kernel_minor(amount: int, minor_digits: int, half_even: bool = False) -> int | None:
    """An exact amount (scale 24) in minor units by the kernel; None if it does not fit."""
    fits, minor = round_to_minor(*to_limbs(amount, 3), minor_digits, half_even)
    assert fits or minor == 0
    return int(minor) if fits else None
