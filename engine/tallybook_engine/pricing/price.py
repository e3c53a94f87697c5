"""The exact price F of an aggregated quantity: the rules around the model in their order, and the model."""

from tallybook_engine.decimals import amount_fits, quantity_fits
from tallybook_engine.kernels import kernel
from tallybook_engine.kernels.wide import ZERO, Limb, Triple, is_negative, is_zero128
from tallybook_engine.pricing.graduated import graduated_price
from tallybook_engine.pricing.included_quantity import subtract_included
from tallybook_engine.pricing.minimum_and_cap import at_least_minimum, at_most_cap
from tallybook_engine.pricing.package import package_price
from tallybook_engine.pricing.per_unit import per_unit_price
from tallybook_engine.pricing.stairstep import stairstep_price
from tallybook_engine.pricing.tables import ModelCode, PriceTables, Rules
from tallybook_engine.pricing.unit_conversion import convert_quantity
from tallybook_engine.pricing.volume import volume_price
from tallybook_engine.pricing.zero_usage import zero_usage_price

# Kernels see plain integers; an enumeration's members would be objects.
_PER_UNIT, _GRADUATED, _VOLUME = int(ModelCode.PER_UNIT), int(ModelCode.GRADUATED), int(ModelCode.VOLUME)
_STAIRSTEP, _PACKAGE = int(ModelCode.STAIRSTEP), int(ModelCode.PACKAGE)
_CONVERSION, _INCLUDED, _ZERO_USAGE = int(Rules.CONVERSION), int(Rules.INCLUDED), int(Rules.ZERO_USAGE)
_MINIMUM, _CAP = int(Rules.MINIMUM), int(Rules.CAP)


@kernel
def _model_price(tables: PriceTables, price_index: int, lo: Limb, hi: Limb) -> Triple:
    """The model's exact price (scale 24) of a quantity above 0."""
    model = tables.model[price_index]
    if model == _GRADUATED:
        return graduated_price(tables, price_index, lo, hi)
    if model == _VOLUME:
        return volume_price(tables, price_index, lo, hi)
    if model == _PER_UNIT:
        return per_unit_price(tables, price_index, lo, hi)
    if model == _STAIRSTEP:
        return stairstep_price(tables, price_index, lo, hi)
    if model == _PACKAGE:
        return package_price(tables, price_index, lo, hi)
    return ZERO, ZERO, ZERO


@kernel
def price(tables: PriceTables, price_index: int, quantity_lo: Limb, quantity_hi: Limb) -> tuple[bool, Limb, Limb, Limb]:
    """(fits, lo, mid, hi): the exact price (scale 24) of an aggregated quantity (scale 12).

    It does not fit, and is 0, where the quantity, the converted quantity or the price is not below 10^15.
    """
    lo, hi = quantity_lo, quantity_hi
    if not quantity_fits(lo, hi):
        return False, ZERO, ZERO, ZERO
    if is_negative(hi):
        lo, hi = ZERO, ZERO
    rules = tables.rules[price_index]
    if rules & _CONVERSION:
        fits, lo, hi = convert_quantity(tables, price_index, lo, hi)
        if not fits:
            return False, ZERO, ZERO, ZERO
    if rules & _INCLUDED:
        lo, hi = subtract_included(tables, price_index, lo, hi)
    amount_lo, amount_mid, amount_hi = ZERO, ZERO, ZERO
    if not is_zero128(lo, hi):
        amount_lo, amount_mid, amount_hi = _model_price(tables, price_index, lo, hi)
    elif rules & _ZERO_USAGE:
        amount_lo, amount_mid, amount_hi = zero_usage_price(tables, price_index)
    if rules & _MINIMUM:
        amount_lo, amount_mid, amount_hi = at_least_minimum(tables, price_index, amount_lo, amount_mid, amount_hi)
    if rules & _CAP:
        amount_lo, amount_mid, amount_hi = at_most_cap(tables, price_index, amount_lo, amount_mid, amount_hi)
    if not amount_fits(amount_lo, amount_mid, amount_hi):
        return False, ZERO, ZERO, ZERO
    return True, amount_lo, amount_mid, amount_hi
