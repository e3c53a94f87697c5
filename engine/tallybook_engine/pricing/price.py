"""The exact price F of an aggregated quantity: the rules around the model in their order, and the model."""

import numpy as np

from tallybook_engine.decimals import amount_fits, quantity_fits
from tallybook_engine.kernels import inlined_kernel
from tallybook_engine.kernels.wide import ZERO, Limb, Triple, is_negative, is_zero128
from tallybook_engine.pricing.included_quantity import subtract_included
from tallybook_engine.pricing.minimum_and_cap import at_least_minimum, at_most_cap
from tallybook_engine.pricing.package import package_price
from tallybook_engine.pricing.tables import PriceTables, Rules
from tallybook_engine.pricing.tiers import tier_at, tier_price
from tallybook_engine.pricing.unit_conversion import convert_quantity
from tallybook_engine.pricing.zero_usage import zero_usage_price

# Kernels see plain integers; an enumeration's members would be objects.
_CONVERSION, _INCLUDED, _ZERO_USAGE = int(Rules.CONVERSION), int(Rules.INCLUDED), int(Rules.ZERO_USAGE)
_MINIMUM, _CAP, _PACKAGE = int(Rules.MINIMUM), int(Rules.CAP), int(Rules.PACKAGE)


@inlined_kernel
def _model_price(tables: PriceTables, row: np.void, lo: Limb, hi: Limb) -> Triple:
    """The model's exact price (scale 24) of a quantity above 0."""
    if row["rules"] & _PACKAGE:
        return package_price(row, lo, hi)
    return tier_price(tables.tiers[tier_at(tables.tiers, row["first_tier"], row["end_tier"], lo, hi)], lo, hi)


@inlined_kernel
def price(tables: PriceTables, price_index: int, quantity_lo: Limb, quantity_hi: Limb) -> tuple[bool, Limb, Limb, Limb]:
    """(fits, lo, mid, hi): the exact price (scale 24) of an aggregated quantity (scale 12).

    It does not fit, and is 0, where the quantity, the converted quantity or the price is not below 10^15.
    """
    # An index that may be negative would be looked at for counting from the end.
    row = tables.prices[np.uint64(price_index)]
    rules = row["rules"]
    lo, hi = quantity_lo, quantity_hi
    if not quantity_fits(lo, hi):
        return False, ZERO, ZERO, ZERO
    if is_negative(hi):
        lo, hi = ZERO, ZERO
    if rules & _CONVERSION:
        fits, lo, hi = convert_quantity(row, lo, hi)
        if not fits:
            return False, ZERO, ZERO, ZERO
    if rules & _INCLUDED:
        lo, hi = subtract_included(row, lo, hi)
    amount_lo, amount_mid, amount_hi = ZERO, ZERO, ZERO
    if not is_zero128(lo, hi):
        amount_lo, amount_mid, amount_hi = _model_price(tables, row, lo, hi)
    elif rules & _ZERO_USAGE:
        amount_lo, amount_mid, amount_hi = zero_usage_price(tables.tiers[row["first_tier"]])
    if rules & _MINIMUM:
        amount_lo, amount_mid, amount_hi = at_least_minimum(row, amount_lo, amount_mid, amount_hi)
    if rules & _CAP:
        amount_lo, amount_mid, amount_hi = at_most_cap(row, amount_lo, amount_mid, amount_hi)
    if not amount_fits(amount_lo, amount_mid, amount_hi):
        return False, ZERO, ZERO, ZERO
    return True, amount_lo, amount_mid, amount_hi
