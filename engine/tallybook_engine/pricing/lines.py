"""A price explained: lines, tier by tier, that sum to the exact price, and the same for the step from one quantity to
another.

These are the same rules as the kernel's, on Python integers and written the way one reads them; tests hold the two
together.
"""

from collections.abc import Iterable

from tallybook_engine.decimals import AMOUNT_LIMIT, QUANTITY_LIMIT, DoesNotFit
from tallybook_engine.pricing.graduated import Graduated, graduated_lines
from tallybook_engine.pricing.line import LineKind, PriceLine
from tallybook_engine.pricing.minimum_and_cap import cap_lines, minimum_lines
from tallybook_engine.pricing.model import NoPrice, Package, PerUnit, Price, Stairstep, Volume
from tallybook_engine.pricing.package import package_lines
from tallybook_engine.pricing.per_unit import per_unit_lines
from tallybook_engine.pricing.stairstep import stairstep_lines
from tallybook_engine.pricing.tables import subtracted_quantity, tiers_of
from tallybook_engine.pricing.tiers import tier_index_at
from tallybook_engine.pricing.unit_conversion import converted_quantity
from tallybook_engine.pricing.volume import volume_lines
from tallybook_engine.pricing.zero_usage import zero_usage_lines

_TIER_LINES = {Graduated: graduated_lines, Volume: volume_lines, Stairstep: stairstep_lines}


def billed_quantity(price: Price, quantity: int) -> int:
    """What of an aggregated quantity (scale 12) meets the included quantity: not below 0, converted.

    DoesNotFit where it, or what it is converted to, is not below 10^15.
    """
    if abs(quantity) >= QUANTITY_LIMIT:
        raise DoesNotFit("the quantity is not below 10^15")
    billed = max(quantity, 0)
    return billed if price.conversion is None else converted_quantity(price.conversion, billed)


def price_lines(price: Price, quantity: int) -> list[PriceLine]:
    """The lines of an aggregated quantity (scale 12); their amounts sum to its exact price.

    DoesNotFit where the quantity, the converted quantity or the price is not below 10^15.
    """
    lines = _usage_lines(price, billed_quantity(price, quantity))
    for rule, bound in ((minimum_lines, price.minimum), (cap_lines, price.cap)):
        lines += rule(bound, _total(lines))
    if abs(_total(lines)) >= AMOUNT_LIMIT:
        raise DoesNotFit("the price is not below 10^15")
    return lines


def exact_price(price: Price, quantity: int) -> int:
    """The exact price (scale 24) of an aggregated quantity (scale 12). DoesNotFit as for `price_lines`."""
    return _total(price_lines(price, quantity))


def marginal_lines(price: Price, before: int, after: int) -> list[PriceLine]:
    """Lines after less lines before, tier by tier and signed; lines that did not move are left out.

    Quantities are aggregated ones, scale 12. DoesNotFit as for `price_lines`.
    """
    earlier = {(line.kind, line.tier): line for line in price_lines(price, before)}
    later = {(line.kind, line.tier): line for line in price_lines(price, after)}
    moved = []
    for key in sorted(earlier.keys() | later.keys(), key=lambda key: (list(LineKind).index(key[0]), key[1])):
        line = _difference(earlier.get(key), later.get(key))
        if line.quantity != 0 or line.amount != 0:
            moved.append(line)
    return moved


def next_tier_from(price: Price, quantity: int) -> int | None:
    """The quantity (scale 12, after conversion) above which the next tier begins; None if there is none."""
    if not isinstance(price.model, Graduated | Volume | Stairstep):
        return None
    _, tiers = tiers_of(price)
    subtracted = subtracted_quantity(price)
    seen = max(billed_quantity(price, quantity) - subtracted, 0)
    up_to = tiers[tier_index_at(tiers, seen)].up_to
    return None if up_to is None else up_to + subtracted


def included_left(price: Price, quantity: int) -> int:
    """How many included units (scale 12, after conversion) an aggregated quantity leaves."""
    if price.included is None:
        return 0
    return max(price.included.quantity - billed_quantity(price, quantity), 0)


def _usage_lines(price: Price, billed: int) -> list[PriceLine]:
    """Lines of the included quantity and the model."""
    free = min(billed, subtracted_quantity(price))
    charged = billed - free
    lines = [_included_line(free)] if free else []
    match price.model:
        case NoPrice():
            return lines
        case PerUnit():
            return lines + (per_unit_lines(price.model, charged) if charged else [])
        case Package():
            return lines + package_lines(price.model, charged)
    first_number, tiers = tiers_of(price)
    if charged == 0:
        return lines + (zero_usage_lines(tiers, first_number) if price.zero_usage else [])
    tier_lines = _TIER_LINES[type(price.model)](tiers, first_number, charged)
    # The free tier in front is number 0; what lies in it is included, not charged.
    return lines + [_included_line(line.quantity) if line.tier == 0 else line for line in tier_lines]


def _included_line(quantity: int) -> PriceLine:
    return PriceLine(LineKind.INCLUDED, 0, quantity, 0, 0, 0)


def _total(lines: Iterable[PriceLine]) -> int:
    return sum(line.amount for line in lines)


def _difference(earlier: PriceLine | None, later: PriceLine | None) -> PriceLine:
    """Later less earlier, of lines of one kind and tier."""
    known = later or earlier
    assert known is not None
    sign_and_line = [(sign, line) for sign, line in ((-1, earlier), (1, later)) if line is not None]
    return PriceLine(
        known.kind,
        known.tier,
        sum(sign * line.quantity for sign, line in sign_and_line),
        known.unit_amount,
        sum(sign * line.flat_fee for sign, line in sign_and_line),
        sum(sign * line.amount for sign, line in sign_and_line),
    )
