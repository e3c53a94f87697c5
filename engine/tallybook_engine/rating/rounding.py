"""Rounding an exact amount to the currency's smallest unit: once a charge line, and nowhere else.

Half away from zero, or half to even where the plan says so.
"""

import numpy as np

from tallybook_engine.decimals import AMOUNT_SCALE, DoesNotFit, Rounding
from tallybook_engine.kernels import kernel
from tallybook_engine.kernels.wide import (
    ONE,
    ZERO,
    Limb,
    add192,
    divide192,
    divisor_array,
    is_negative,
    limb_array,
    neg192,
)

MINOR_DIGITS_MAX = 4
"""ISO 4217 has currencies of 0, 2, 3 and 4 decimals."""

_DROPPED_DIGITS = [AMOUNT_SCALE - minor_digits for minor_digits in range(MINOR_DIGITS_MAX + 1)]
_HALF = limb_array([10**digits // 2 for digits in _DROPPED_DIGITS], 3)
# 10^d = 2^d x 5^d: the twos are shifted out, so that the fives fit a word.
_SHIFT = np.array(_DROPPED_DIGITS, dtype=np.uint64)
_FIVES = divisor_array([5**digits for digits in _DROPPED_DIGITS])
_WORD_BITS = np.uint64(64)
_MINOR_LIMIT = np.uint64(2**63)


@kernel
def round_to_minor(lo: Limb, mid: Limb, hi: Limb, minor_digits: int, half_even: bool) -> tuple[bool, np.int64]:
    """(fits, amount in minor units, int64) of an exact amount (scale 24), 0 <= minor_digits <= 4.

    It fits where the rounded magnitude is below 2^63.
    """
    negative = is_negative(hi)
    if negative:
        lo, mid, hi = neg192(lo, mid, hi)
    lo, mid, hi = add192(lo, mid, hi, _HALF[minor_digits, 0], _HALF[minor_digits, 1], _HALF[minor_digits, 2])
    shift = _SHIFT[minor_digits]
    back = _WORD_BITS - shift
    dropped = lo << back
    lo = (lo >> shift) | (mid << back)
    mid = (mid >> shift) | (hi << back)
    hi = hi >> shift
    lo, mid, hi, remainder, _, _ = divide192(
        lo,
        mid,
        hi,
        _FIVES[minor_digits, 0],
        _FIVES[minor_digits, 1],
        _FIVES[minor_digits, 2],
        _FIVES[minor_digits, 3],
        _FIVES[minor_digits, 4],
        _FIVES[minor_digits, 5],
    )
    # The half was added before the division, so an exact tie leaves nothing behind.
    if half_even and (remainder | dropped) == ZERO:
        lo &= ~ONE
    if (mid | hi) != ZERO or lo >= _MINOR_LIMIT:
        return False, np.int64(0)
    minor = np.int64(lo)
    return True, -minor if negative else minor


def rounded_to_minor(amount: int, minor_digits: int, rounding: Rounding) -> int:
    """The same of a Python integer (scale 24). DoesNotFit from 2^63 on."""
    step = 10 ** (AMOUNT_SCALE - minor_digits)
    minor, rest = divmod(abs(amount) + step // 2, step)
    if rounding is Rounding.HALF_EVEN and rest == 0:
        minor -= minor % 2
    if minor >= int(_MINOR_LIMIT):
        raise DoesNotFit("the rounded amount is not below 2^63 minor units")
    return minor if amount >= 0 else -minor
