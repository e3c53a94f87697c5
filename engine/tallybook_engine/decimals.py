"""Decimal text and scaled integers, and the limits of every number in the system.

A quantity, unit price, rate or tier bound is a decimal with at most 12 decimals and below 10^15: an integer scaled by
10^12. An exact amount is the product of two such, scaled by 10^24, also below 10^15. Nothing else holds money or
billed quantities; floats never do.
"""

import re
from enum import Enum, IntEnum

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.kernels import inlined_kernel, kernel
from tallybook_engine.kernels.wide import ZERO, Limb, add128, lt128, lt192, neg128, to_limbs, umul64

Bytes = NDArray[np.uint8]
Integers = NDArray[np.int32] | NDArray[np.int64]
Words = NDArray[np.uint64]

QUANTITY_SCALE = 12
"""Decimals of quantities, unit prices, rates and tier bounds."""
AMOUNT_SCALE = 24
"""Decimals of exact amounts."""
WHOLE_DIGITS = 15
"""A number is below 10^15, before and after its sign."""
UNIT = 10**QUANTITY_SCALE
"""1 as a quantity; also what turns scale 12 into scale 24."""
QUANTITY_LIMIT = 10 ** (WHOLE_DIGITS + QUANTITY_SCALE)
"""A scaled quantity's magnitude is below this."""
AMOUNT_LIMIT = 10 ** (WHOLE_DIGITS + AMOUNT_SCALE)
"""A scaled exact amount's magnitude is below this."""

_LIMIT_2 = to_limbs(QUANTITY_LIMIT, 2)
_MINUS_LIMIT_2 = to_limbs(-QUANTITY_LIMIT, 2)
_LIMIT_3 = to_limbs(AMOUNT_LIMIT, 3)
_MINUS_LIMIT_3 = to_limbs(-AMOUNT_LIMIT, 3)


class Rounding(Enum):
    """How a quotient is rounded to its places."""

    UP = "UP"
    """Towards plus infinity (a ceiling)."""
    DOWN = "DOWN"
    """Towards minus infinity (a floor)."""
    HALF_AWAY_FROM_ZERO = "HALF_AWAY_FROM_ZERO"
    """To the nearest; a half goes away from zero."""
    HALF_EVEN = "HALF_EVEN"
    """To the nearest; a half goes to the even neighbour."""


class DoesNotFit(ArithmeticError):
    """A quantity or an amount would leave the limits. It is an error, never a wrap."""


@inlined_kernel
def quantity_fits(lo: Limb, hi: Limb) -> bool:
    """Whether a quantity (scale 12) lies within the limits, |x| < 10^15."""
    return lt128(_MINUS_LIMIT_2[0], _MINUS_LIMIT_2[1], lo, hi) and lt128(lo, hi, _LIMIT_2[0], _LIMIT_2[1])


@inlined_kernel
def amount_fits(lo: Limb, mid: Limb, hi: Limb) -> bool:
    """Whether an exact amount (scale 24) lies within the limits, |x| < 10^15."""
    return lt192(_MINUS_LIMIT_3[0], _MINUS_LIMIT_3[1], _MINUS_LIMIT_3[2], lo, mid, hi) and lt192(
        lo, mid, hi, _LIMIT_3[0], _LIMIT_3[1], _LIMIT_3[2]
    )


class DecimalFaultCode(IntEnum):
    """What is wrong with a decimal's text, in order of precedence; 0 in a column means nothing is."""

    EMPTY = 1
    MALFORMED = 2
    """Anything but: an optional '-', digits, and optionally '.' and digits. No '+', exponent, space, NaN."""
    TOO_MANY_DECIMALS = 3
    """More than 12 decimals, zeros at the end not counted."""
    OUT_OF_RANGE = 4
    """The magnitude is 10^15 or more."""


class DecimalFault(ValueError):
    """A text that is not a decimal within the limits."""

    def __init__(self, code: DecimalFaultCode, text: str) -> None:
        super().__init__(f"{text!r}: {code.name}")
        self.code = code
        self.text = text


_DECIMAL = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?")


def parse_decimal(text: str) -> int:
    """The quantity (scale 12) that a text writes. DecimalFault if it writes none within the limits."""
    if not text:
        raise DecimalFault(DecimalFaultCode.EMPTY, text)
    match = _DECIMAL.fullmatch(text)
    if match is None:
        raise DecimalFault(DecimalFaultCode.MALFORMED, text)
    sign, whole, decimals = match[1], match[2].lstrip("0"), (match[3] or "").rstrip("0")
    if len(decimals) > QUANTITY_SCALE:
        raise DecimalFault(DecimalFaultCode.TOO_MANY_DECIMALS, text)
    if len(whole) > WHOLE_DIGITS:
        raise DecimalFault(DecimalFaultCode.OUT_OF_RANGE, text)
    scaled = int((whole or "0") + decimals.ljust(QUANTITY_SCALE, "0"))
    return -scaled if sign else scaled


def ratio(dividend: int, divisor: int) -> int:
    """The integer nearest to a ratio, `divisor` above 0; a half goes away from zero."""
    nearest = (2 * abs(dividend) + divisor) // (2 * divisor)
    return -nearest if dividend < 0 else nearest


def format_decimal(scaled: int, scale: int) -> str:
    """A scaled integer as text: no exponent, no zeros at the end, never "-0"."""
    digits = str(abs(scaled)).rjust(scale + 1, "0")
    whole, decimals = digits[: len(digits) - scale], digits[len(digits) - scale :].rstrip("0")
    sign = "-" if scaled < 0 else ""
    return f"{sign}{whole}.{decimals}" if decimals else f"{sign}{whole}"


def format_money(minor: int, minor_digits: int) -> str:
    """An amount in minor units as text with exactly the currency's decimals."""
    digits = str(abs(minor)).rjust(minor_digits + 1, "0")
    sign = "-" if minor < 0 else ""
    if minor_digits == 0:
        return sign + digits
    return f"{sign}{digits[:-minor_digits]}.{digits[-minor_digits:]}"


_EMPTY, _MALFORMED = np.uint8(DecimalFaultCode.EMPTY), np.uint8(DecimalFaultCode.MALFORMED)
_TOO_MANY_DECIMALS = np.uint8(DecimalFaultCode.TOO_MANY_DECIMALS)
_OUT_OF_RANGE = np.uint8(DecimalFaultCode.OUT_OF_RANGE)
_FINE = np.uint8(0)
_MINUS, _POINT, _DIGIT_ZERO, _DIGIT_NINE = ord("-"), ord("."), ord("0"), ord("9")
_TEN = np.uint64(10)
_UNIT_WORD = np.uint64(UNIT)
_WHOLE_LIMIT = np.uint64(10**WHOLE_DIGITS)


@kernel
def parse_span(data: Bytes, start: int, end: int) -> tuple[np.uint8, Limb, Limb]:
    """(fault, lo, hi) of the decimal that the bytes ``data[start:end]`` write; fault 0 or a `DecimalFaultCode`.

    The same rule as `parse_decimal`. `data` is ``uint8``; the caller keeps ``0 <= start <= end <= len(data)``.
    """
    if start == end:
        return _EMPTY, ZERO, ZERO
    position = start
    negative = data[position] == _MINUS
    if negative:
        position += 1
    whole = ZERO
    digit_count = 0
    while position < end and _DIGIT_ZERO <= data[position] <= _DIGIT_NINE:
        # Beyond the limit the digits no longer matter; the word must not wrap back into range.
        if whole < _WHOLE_LIMIT:
            whole = whole * _TEN + np.uint64(data[position] - _DIGIT_ZERO)
        digit_count += 1
        position += 1
    if digit_count == 0:
        return _MALFORMED, ZERO, ZERO
    decimals = ZERO
    decimal_count = 0
    too_fine = False
    if position < end:
        if data[position] != _POINT or position + 1 == end:
            return _MALFORMED, ZERO, ZERO
        position += 1
        while position < end and _DIGIT_ZERO <= data[position] <= _DIGIT_NINE:
            if decimal_count < QUANTITY_SCALE:
                decimals = decimals * _TEN + np.uint64(data[position] - _DIGIT_ZERO)
                decimal_count += 1
            elif data[position] != _DIGIT_ZERO:
                too_fine = True
            position += 1
        if position < end:
            return _MALFORMED, ZERO, ZERO
    if too_fine:
        return _TOO_MANY_DECIMALS, ZERO, ZERO
    if whole >= _WHOLE_LIMIT:
        return _OUT_OF_RANGE, ZERO, ZERO
    for _ in range(decimal_count, QUANTITY_SCALE):
        decimals *= _TEN
    lo, hi = umul64(whole, _UNIT_WORD)
    lo, hi = add128(lo, hi, decimals, ZERO)
    if negative:
        lo, hi = neg128(lo, hi)
    return _FINE, lo, hi


@kernel
def _parse_spans(offsets: Integers, data: Bytes, numbers: Words, faults: Bytes) -> None:
    for row in range(len(faults)):
        faults[row], numbers[row, 0], numbers[row, 1] = parse_span(data, offsets[row], offsets[row + 1])


def parse_decimal_column(offsets: Integers, data: Bytes) -> tuple[Words, Bytes]:
    """(numbers ``uint64[n, 2]`` at scale 12, faults ``uint8[n]``) of n texts laid out as an Arrow string array.

    `offsets` is ``int32`` or ``int64`` ``[n + 1]``, rising and within `data`, ``uint8``. A row with a fault is 0.
    """
    numbers = np.empty((len(offsets) - 1, 2), dtype=np.uint64)
    faults = np.empty(len(offsets) - 1, dtype=np.uint8)
    _parse_spans(offsets, data, numbers, faults)
    return numbers, faults
