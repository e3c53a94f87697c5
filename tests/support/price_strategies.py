"""Random prices and quantities for property tests: every model and rule, every size, thick at the edges."""

from hypothesis import strategies as st

from tallybook_engine.decimals import QUANTITY_LIMIT, UNIT, Rounding
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
from tallybook_engine.pricing.unit_conversion import PLACES_MAX, PLACES_MIN

LARGEST = QUANTITY_LIMIT - 1

_cents = st.integers(0, 10_000).map(lambda cents: cents * UNIT // 100)
_any_size = st.integers(1, LARGEST.bit_length()).flatmap(lambda bits: st.integers(0, min(1 << bits, LARGEST)))
not_negative = st.one_of(_cents, _any_size, st.sampled_from([0, 1, UNIT, LARGEST - 1, LARGEST]))
"""Numbers of scale 12 from 0 to the limit."""
positive = not_negative.map(lambda number: max(number, 1))
any_number = st.builds(lambda number, sign: sign * number, not_negative, st.sampled_from([1, 1, 1, -1]))


@st.composite
def tier_lists(draw: st.DrawFn) -> tuple[Tier, ...]:
    """One to twenty tiers; the bounds lie anywhere, or one unit of the last decimal apart."""
    count = draw(st.one_of(st.integers(0, 4), st.integers(0, 19)))
    if draw(st.booleans()):
        bounds = sorted(draw(st.sets(positive, min_size=count, max_size=count)))
    else:
        first = draw(st.integers(1, LARGEST - count))
        bounds = list(range(first, first + count))
    return tuple(Tier(up_to, draw(any_number), draw(any_number)) for up_to in [*bounds, None])


def models() -> st.SearchStrategy:
    tiers = tier_lists()
    packages = st.builds(Package, positive, any_number, st.sampled_from([Rounding.UP, Rounding.DOWN]))
    return st.one_of(
        st.just(NoPrice()),
        st.builds(PerUnit, any_number),
        st.builds(Graduated, tiers),
        st.builds(Volume, tiers),
        st.builds(Stairstep, tiers),
        packages,
    )


def conversions() -> st.SearchStrategy[UnitConversion]:
    places = st.one_of(st.integers(PLACES_MIN, PLACES_MAX), st.sampled_from([0, PLACES_MIN, PLACES_MAX]))
    rounding = st.sampled_from(Rounding)
    return st.one_of(
        st.builds(UnitConversion, positive, st.none(), places, rounding),
        st.builds(UnitConversion, st.none(), positive, places, rounding),
    )


def prices() -> st.SearchStrategy[Price]:
    included = st.builds(IncludedQuantity, not_negative, st.sampled_from(IncludedMode))
    return st.builds(
        Price,
        models(),
        st.none() | included,
        st.none() | any_number,
        st.none() | any_number,
        st.booleans(),
        st.none() | st.none() | conversions(),
    )


@st.composite
def quantities_of(draw: st.DrawFn, price: Price) -> int:
    """A quantity, often exactly at, just below or just above something that the price knows."""
    known = [0, LARGEST, UNIT]
    included = 0 if price.included is None else price.included.quantity
    known.append(included)
    if isinstance(price.model, Graduated | Volume | Stairstep):
        bounds = [tier.up_to for tier in price.model.tiers if tier.up_to is not None]
        known += bounds + [included + bound for bound in bounds]
    if isinstance(price.model, Package):
        known += [included + price.model.size * count for count in (1, 2, 7)]
    if price.conversion is not None:
        measure = price.conversion.divisor or UNIT * UNIT // (price.conversion.factor or 1)
        known += [measure * count // 2 for count in (1, 2, 3, 5)]
    near = st.builds(lambda at, offset: at + offset, st.sampled_from(known), st.integers(-1, 1))
    # One beyond the limit is a quantity too, that does not fit.
    return draw(st.one_of(near, not_negative, any_number, st.sampled_from([LARGEST + 1, -LARGEST - 1])))


@st.composite
def priced_quantities(draw: st.DrawFn, count: int = 1) -> tuple:
    """(price, quantity, ...) with so many quantities."""
    price = draw(prices())
    return (price, *(draw(quantities_of(price)) for _ in range(count)))
