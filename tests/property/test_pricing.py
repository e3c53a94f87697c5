"""The laws of prices, over every model and rule and every size of number, up to and beyond the limits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.kernel_prices import kernel_minor, kernel_price
from tests.support.oracle_prices import amount_fraction, fraction, oracle_price
from tests.support.price_strategies import priced_quantities, prices, quantities_of

from tallybook_engine.catalog.model import Tax, TaxMode
from tallybook_engine.decimals import AMOUNT_LIMIT, QUANTITY_LIMIT, DoesNotFit, Rounding
from tallybook_engine.kernels.wide import from_limbs, to_limbs
from tallybook_engine.pricing.line import LineKind
from tallybook_engine.pricing.lines import (
    billed_quantity,
    exact_price,
    included_left,
    marginal_lines,
    next_tier_from,
    price_lines,
)
from tallybook_engine.pricing.model import Price
from tallybook_engine.pricing.price import price
from tallybook_engine.pricing.tables import PricePool
from tallybook_engine.rating.rounding import MINOR_DIGITS_MAX, rounded_to_minor
from tallybook_engine.rating.tax import RATE_MAX, TaxPool, tax_amount, tax_of
from tallybook_oracle import pricing as oracle
from tallybook_oracle.rounding import minor_units
from tallybook_oracle.tax import tax_minor_units


def or_none(answer, *arguments):
    """What a function answers, None if it says that a number does not fit."""
    try:
        return answer(*arguments)
    except DoesNotFit:
        return None


@given(priced_quantities())
def test_kernel_and_oracle_agree_to_the_last_digit(priced: tuple[Price, int]):
    model, quantity = priced
    exact = kernel_price(model, quantity)
    expected = oracle.exact_price(oracle_price(model), fraction(quantity))
    assert (None if exact is None else amount_fraction(exact)) == expected


@given(priced_quantities())
def test_lines_add_up_to_the_kernels_price(priced: tuple[Price, int]):
    model, quantity = priced
    assert or_none(exact_price, model, quantity) == kernel_price(model, quantity)


@given(priced_quantities())
def test_each_line_is_its_own_sum(priced: tuple[Price, int]):
    model, quantity = priced
    for line in or_none(price_lines, model, quantity) or []:
        if line.kind in (LineKind.TIER, LineKind.PACKAGE):
            assert line.amount == line.quantity * (line.unit_amount or 0) + line.flat_fee * 10**12
        elif line.kind is LineKind.INCLUDED:
            assert line.amount == 0
            assert line.quantity > 0
        assert (line.kind is LineKind.CAP) <= (line.amount < 0)
        assert (line.kind is LineKind.MINIMUM) <= (line.amount > 0)


@given(priced_quantities(count=2))
def test_marginal_lines_are_the_lines_after_less_the_lines_before(priced: tuple[Price, int, int]):
    model, before, after = priced
    first, last = kernel_price(model, before), kernel_price(model, after)
    moved = or_none(marginal_lines, model, before, after)
    if first is None or last is None:
        assert moved is None
        return
    assert moved is not None
    assert sum(line.amount for line in moved) == last - first
    assert all(line.quantity or line.amount for line in moved)
    assert len({(line.kind, line.tier) for line in moved}) == len(moved)
    back = marginal_lines(model, after, before)
    assert [(line.kind, line.tier, -line.quantity, -line.amount) for line in back] == [
        (line.kind, line.tier, line.quantity, line.amount) for line in moved
    ]
    assert marginal_lines(model, after, after) == []


@given(priced_quantities())
def test_the_next_tier_begins_above_the_bound_that_is_said(priced: tuple[Price, int]):
    model, quantity = priced
    billed = or_none(billed_quantity, model, quantity)
    if billed is None:
        return
    plain = Price(model.model, model.included)
    bound = next_tier_from(model, quantity)
    assert bound == next_tier_from(plain, billed)
    if bound is None or bound + 1 >= QUANTITY_LIMIT:
        return
    assert bound >= billed
    assert next_tier_from(plain, bound) == bound
    assert next_tier_from(plain, bound + 1) != bound


@given(priced_quantities())
def test_included_units_are_used_up_one_by_one(priced: tuple[Price, int]):
    model, quantity = priced
    billed = or_none(billed_quantity, model, quantity)
    if billed is None:
        return
    included = 0 if model.included is None else model.included.quantity
    assert included_left(model, quantity) == max(included - billed, 0)


@given(st.data(), st.lists(prices(), min_size=1, max_size=6))
def test_a_pool_answers_for_each_of_its_prices(data: st.DataObject, models: list[Price]):
    pool = PricePool()
    indexes = [pool.add(model) for model in models]
    assert len(pool) == len(set(models))
    for model, index in zip(models, indexes, strict=True):
        assert pool[index] == model
        quantity = data.draw(quantities_of(model))
        fits, *limbs = price(pool.tables, index, *to_limbs(quantity, 2))
        assert (from_limbs(*limbs) if fits else None) == kernel_price(model, quantity)


def halves(digits: int) -> st.SearchStrategy[int]:
    """Exact amounts at, just above and just below a tie of so many digits."""
    step = 10 ** (24 - digits)
    ties = st.integers(0, AMOUNT_LIMIT // step - 1).map(lambda count: count * step + step // 2)
    return st.builds(
        lambda tie, offset, sign: sign * (tie + offset), ties, st.integers(-1, 1), st.sampled_from([1, -1])
    )


@given(st.data(), st.integers(0, MINOR_DIGITS_MAX), st.sampled_from([Rounding.HALF_AWAY_FROM_ZERO, Rounding.HALF_EVEN]))
def test_rounding_to_the_smallest_unit(data: st.DataObject, digits: int, rounding: Rounding):
    sizes = st.integers(1, AMOUNT_LIMIT.bit_length()).flatmap(
        lambda bits: st.integers(0, min(1 << bits, AMOUNT_LIMIT - 1))
    )
    step = 10 ** (24 - digits)
    # The largest that fits 63 bits: with four digits it lies inside the limits of amounts.
    edges = st.integers(-1, 1).map(lambda offset: min(2**63 * step - step // 2 + offset, AMOUNT_LIMIT - 1))
    amount = data.draw(st.one_of(sizes, sizes.map(lambda size: -size), halves(digits), edges, edges.map(lambda e: -e)))
    expected = minor_units(amount_fraction(amount), digits, rounding.value)
    assert kernel_minor(amount, digits, rounding is Rounding.HALF_EVEN) == expected
    assert or_none(rounded_to_minor, amount, digits, rounding) == expected


@given(
    st.one_of(st.integers(0, RATE_MAX), st.integers(0, 100).map(lambda percent: percent * 10**10), st.just(RATE_MAX)),
    st.sampled_from(TaxMode),
    st.one_of(st.integers(-(2**63) + 1, 2**63 - 1), st.integers(-100_000, 100_000)),
)
def test_tax_of_a_line(rate: int, mode: TaxMode, amount: int):
    pool = TaxPool()
    fits, tax = tax_of(pool.tables, pool.add(None), amount)
    assert (fits, tax) == (True, 0)
    index = pool.add(Tax("tax", "NL", rate, mode))
    expected = tax_minor_units(amount, fraction(rate), inclusive=mode is TaxMode.INCLUSIVE)
    fits, tax = tax_of(pool.tables, index, np.int64(amount))
    assert (int(tax) if fits else None) == expected
    assert or_none(tax_amount, rate, mode, amount) == expected


@pytest.mark.parametrize("rate", [-1, RATE_MAX + 1])
def test_a_tax_rate_outside_its_range_is_refused(rate: int):
    with pytest.raises(ValueError, match="tax rate"):
        TaxPool().add(Tax("tax", "NL", rate))
