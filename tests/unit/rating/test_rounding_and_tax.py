"""Rounding to the smallest unit and tax, row by row, through the kernel, the Python form and the oracle."""

from fractions import Fraction

import numpy as np
import pytest
from tests.support.kernel_prices import kernel_minor
from tests.support.rounding_table import ROUNDINGS, TAXES

from tallybook_engine.catalog.model import Tax, TaxMode
from tallybook_engine.decimals import DoesNotFit, Rounding
from tallybook_engine.rating.rounding import rounded_to_minor
from tallybook_engine.rating.tax import NO_TAX, TaxPool, tax_amount, tax_of
from tallybook_oracle.rounding import minor_units
from tallybook_oracle.tax import tax_minor_units


def negated(value: int | None) -> int | None:
    return None if value is None else -value


@pytest.mark.parametrize(("amount", "digits", "rounding", "minor"), ROUNDINGS)
def test_a_rounding(amount: str, digits: int, rounding: Rounding, minor: int | None):
    exact = int(Fraction(amount) * 10**24)
    for value, expected in ((exact, minor), (-exact, negated(minor))):
        assert kernel_minor(value, digits, rounding is Rounding.HALF_EVEN) == expected
        assert minor_units(Fraction(value, 10**24), digits, rounding.value) == expected
        if expected is None:
            with pytest.raises(DoesNotFit):
                rounded_to_minor(value, digits, rounding)
        else:
            assert rounded_to_minor(value, digits, rounding) == expected


@pytest.mark.parametrize(("rate", "mode", "line", "tax"), TAXES)
def test_a_tax(rate: str, mode: TaxMode, line: int, tax: int | None):
    scaled = int(Fraction(rate) * 10**12)
    pool = TaxPool()
    index = pool.add(Tax("tax", "NL", scaled, mode))
    for value, expected in ((line, tax), (-line, negated(tax))):
        fits, taxed = tax_of(pool.tables, index, np.int64(value))
        assert (int(taxed) if fits else None) == expected
        assert tax_minor_units(value, Fraction(rate), inclusive=mode is TaxMode.INCLUSIVE) == expected
        if expected is None:
            assert taxed == 0
            with pytest.raises(DoesNotFit):
                tax_amount(scaled, mode, value)
        else:
            assert tax_amount(scaled, mode, value) == expected


def test_taxes_of_one_rate_and_mode_share_an_index():
    pool = TaxPool()
    first = pool.add(Tax("a", "NL", 21 * 10**10))
    assert pool.add(None) == NO_TAX
    assert pool.add(Tax("b", "BE", 21 * 10**10)) == first
    assert pool.add(Tax("c", "NL", 21 * 10**10, TaxMode.INCLUSIVE)) != first
    assert len(pool.tables.numerator) == 2


def test_no_tax_is_none():
    pool = TaxPool()
    assert tax_of(pool.tables, NO_TAX, np.int64(100)) == (True, 0)
    pool.add(Tax("a", "NL", 21 * 10**10))
    assert tax_of(pool.tables, NO_TAX, np.int64(100)) == (True, 0)
