"""Decimal text to scaled integers and back: one by one and by column, by the same rule."""

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallybook_engine.decimals import (
    AMOUNT_LIMIT,
    QUANTITY_LIMIT,
    DecimalFault,
    DecimalFaultCode,
    amount_fits,
    format_decimal,
    format_money,
    parse_decimal,
    parse_decimal_column,
    quantity_fits,
)
from tallybook_engine.kernels.wide import from_limbs, to_limbs

UNIT = 10**12

FINE = {
    "0": 0,
    "-0": 0,
    "-0.000": 0,
    "1": UNIT,
    "-1": -UNIT,
    "007.50": 7 * UNIT + UNIT // 2,
    "0.07": 7 * UNIT // 100,
    "0.000000000001": 1,
    "-0.000000000001": -1,
    "0.1234567890120000000": 123456789012,
    "999999999999999.999999999999": QUANTITY_LIMIT - 1,
    "-999999999999999.999999999999": 1 - QUANTITY_LIMIT,
    "0000000000000000000000000001": UNIT,
    # Beyond 2^64, where a word would wrap.
    "18446744.073709551616": 2**64,
}
FAULTY = {
    "": "EMPTY",
    **dict.fromkeys(
        [
            *("-", ".", "-.", "1.", ".5", "-.5", "1.2.3", "+1", "--1", "1-", " 1", "1 ", "1\n", "1e3", "1E3", "0x1"),
            *("NaN", "nan", "inf", "-Infinity", "1,5", "1_000", "10^400", "\u0663", "1\u0663", "\uff11", "1.\u0663"),
        ],
        "MALFORMED",
    ),
    **dict.fromkeys(["0.0000000000001", "1.1234567890123", "-0.1234567890121"], "TOO_MANY_DECIMALS"),
    **dict.fromkeys(
        ["1000000000000000", "-1000000000000000.0", "18446744073709551617", "1" + 400 * "0", "9" * 38], "OUT_OF_RANGE"
    ),
    # The first that holds, in the order of the codes.
    "1000000000000000.x": "MALFORMED",
    "0.0000000000001x": "MALFORMED",
    "1000000000000000.0000000000001": "TOO_MANY_DECIMALS",
}


def column(texts: list[str]) -> list[tuple[int, int]]:
    """(number, fault) of each text by the column kernel."""
    encoded = [text.encode() for text in texts]
    offsets = np.cumsum([0, *map(len, encoded)]).astype(np.int32)
    numbers, faults = parse_decimal_column(offsets, np.frombuffer(b"".join(encoded), dtype=np.uint8))
    return [(from_limbs(*number), int(fault)) for number, fault in zip(numbers, faults, strict=True)]


def one_by_one(text: str) -> tuple[int, int]:
    try:
        return parse_decimal(text), 0
    except DecimalFault as fault:
        return 0, int(fault.code)


@pytest.mark.parametrize(("text", "scaled"), FINE.items())
def test_what_a_decimal_writes(text: str, scaled: int):
    assert one_by_one(text) == (scaled, 0)
    assert column([text]) == [(scaled, 0)]


@pytest.mark.parametrize(("text", "code"), FAULTY.items())
def test_what_is_no_decimal(text: str, code: str):
    assert one_by_one(text) == (0, DecimalFaultCode[code])
    assert column([text]) == [(0, DecimalFaultCode[code])]


def test_a_fault_shows_its_text():
    with pytest.raises(DecimalFault, match="1e3") as raised:
        parse_decimal("1e3")
    assert raised.value.text == "1e3"


def test_a_column_is_its_rows():
    texts = [*FINE, *FAULTY]
    assert column(texts) == [one_by_one(text) for text in texts]
    assert column([]) == []


@given(st.lists(st.one_of(st.text("0123456789.-", max_size=34), st.decimals().map(str), st.text(max_size=5))))
def test_one_rule_for_texts_and_columns(texts: list[str]):
    assert column(texts) == [one_by_one(text) for text in texts]


@given(st.integers(1 - QUANTITY_LIMIT, QUANTITY_LIMIT - 1))
def test_a_printed_quantity_reads_back(scaled: int):
    text = format_decimal(scaled, 12)
    assert parse_decimal(text) == scaled
    assert Decimal(text) == Decimal(scaled).scaleb(-12)
    assert "e" not in text.lower()
    assert not text.endswith(".")
    assert "." not in text or not text.endswith("0")


@pytest.mark.parametrize(
    ("scaled", "scale", "text"),
    [
        (0, 24, "0"),
        (7 * 10**22, 24, "0.07"),
        (-1, 24, "-0.000000000000000000000001"),
        (-5 * UNIT, 12, "-5"),
        (10**15, 12, "1000"),
        (12, 0, "12"),
    ],
)
def test_printed_decimals(scaled: int, scale: int, text: str):
    assert format_decimal(scaled, scale) == text


@pytest.mark.parametrize(
    ("minor", "digits", "text"),
    [
        (0, 2, "0.00"),
        (7, 2, "0.07"),
        (-7, 2, "-0.07"),
        (-100, 2, "-1.00"),
        (1234, 0, "1234"),
        (-5, 0, "-5"),
        (5, 3, "0.005"),
        (123456, 4, "12.3456"),
        (2**63 - 1, 2, "92233720368547758.07"),
    ],
)
def test_printed_money_has_the_currencys_digits(minor: int, digits: int, text: str):
    assert format_money(minor, digits) == text


@pytest.mark.parametrize("offset", [-2, -1, 0, 1, 2])
@pytest.mark.parametrize("sign", [1, -1])
def test_limits(sign: int, offset: int):
    assert quantity_fits(*to_limbs(sign * (QUANTITY_LIMIT + offset), 2)) == (offset < 0)
    assert amount_fits(*to_limbs(sign * (AMOUNT_LIMIT + offset), 3)) == (offset < 0)


@given(st.integers(-(2**127), 2**127 - 1), st.integers(-(2**191), 2**191 - 1))
def test_limits_anywhere(quantity: int, amount: int):
    assert quantity_fits(*to_limbs(quantity, 2)) == (abs(quantity) < QUANTITY_LIMIT)
    assert amount_fits(*to_limbs(amount, 3)) == (abs(amount) < AMOUNT_LIMIT)
