"""Currencies and their smallest units."""

import pytest

from tallybook_engine.currencies import is_currency, minor_digits


@pytest.mark.parametrize(
    ("code", "digits"), [("USD", 2), ("EUR", 2), ("JPY", 0), ("KWD", 3), ("CLF", 4), ("UYW", 4), ("ISK", 0), ("TND", 3)]
)
def test_minor_digits(code: str, digits: int):
    assert is_currency(code)
    assert minor_digits(code) == digits


@pytest.mark.parametrize("code", ["", "usd", "XAU", "XXX", "XTS", "DEM", "EURO", "US"])
def test_what_is_no_currency_to_bill_in(code: str):
    assert not is_currency(code)
    with pytest.raises(KeyError):
        minor_digits(code)
