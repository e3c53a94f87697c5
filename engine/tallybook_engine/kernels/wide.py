"""Integers wider than a machine word, as loose 64-bit limbs, lowest first, two's complement.

A *quantity* (unit price, tier bound) is two limbs (lo, hi), an *exact amount* three (lo, mid, hi). All limbs are
``uint64``. LLVM's own 128- and 192-bit instructions do the work: they become carry chains and word multiplications
without any call. LLVM's wide *division* is a call into a runtime library that Numba does not link, so division is
built from words here (`divide192`).

Each operation is stated twice side by side: the instruction, and the same on Python integers, which is what runs
with the compiler switched off. Tests hold the two together.
"""

import inspect
import operator
from collections.abc import Callable
from functools import wraps
from typing import Any, Literal, NamedTuple, overload

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from tallybook_engine.kernels import JIT_DISABLED, inlined_kernel, kernel

WORD_BITS = 64
WORD_MASK = (1 << WORD_BITS) - 1
_WORD = ir.IntType(WORD_BITS)

ZERO = np.uint64(0)
ONE = np.uint64(1)
SIXTY_THREE = np.uint64(63)
_LEAST_WORD = np.uint64(1 << 63)
ALL_ONES = np.uint64(WORD_MASK)

Limb = np.uint64
"""One limb: a machine word inside kernels, a NumPy scalar outside."""
Pair = tuple[Limb, Limb]
Triple = tuple[Limb, Limb, Limb]
Words = NDArray[np.uint64]


@overload
def to_limbs(value: int, count: Literal[2]) -> Pair: ...
@overload
def to_limbs(value: int, count: Literal[3]) -> Triple: ...
@overload
def to_limbs(value: int, count: int) -> tuple[Limb, ...]: ...
def to_limbs(value: int, count: int) -> tuple[Limb, ...]:
    """A Python integer as `count` limbs, two's complement. OverflowError if it does not fit."""
    if not -(1 << (count * WORD_BITS - 1)) <= value < 1 << (count * WORD_BITS - 1):
        raise OverflowError(f"{value} does not fit {count} limbs")
    return tuple(np.uint64((value >> (WORD_BITS * index)) & WORD_MASK) for index in range(count))


def from_limbs(*limbs: Any) -> int:
    """The Python integer that two's complement limbs stand for, lowest first."""
    value = sum(int(limb) << (WORD_BITS * index) for index, limb in enumerate(limbs))
    bits = WORD_BITS * len(limbs)
    return value - (1 << bits) if value >> (bits - 1) else value


def limb_array(values: list[int], count: int) -> Words:
    """Python integers as a ``uint64[n, count]`` array of limbs."""
    rows = [to_limbs(value, count) for value in values]
    return np.array(rows, dtype=np.uint64).reshape(len(values), count)


@overload
def _operation(
    operands: tuple[int, ...], result: Literal[0], exact: Callable[..., int]
) -> Callable[[Any], Callable[..., bool]]: ...
@overload
def _operation(
    operands: tuple[int, ...], result: Literal[2], exact: Callable[..., int]
) -> Callable[[Any], Callable[..., Pair]]: ...
@overload
def _operation(
    operands: tuple[int, ...], result: Literal[3], exact: Callable[..., int]
) -> Callable[[Any], Callable[..., Triple]]: ...
def _operation(operands: tuple[int, ...], result: int, exact: Callable[..., int]) -> Any:
    """Makes a wide operation of its LLVM instruction (decorated) and its meaning on Python integers (`exact`).

    `operands` are the limbs of each operand, `result` the limbs of the result, 0 for a boolean. The arithmetic is
    done at the widest of them, sign-extended, and cut to the result's width.
    """

    def decorate(instruction: Callable[..., Any]) -> Any:
        if JIT_DISABLED:
            return _on_python_integers(operands, result, exact, instruction)
        return intrinsic(_typed(operands, result, instruction))

    return decorate


def _typed(operands: tuple[int, ...], result: int, instruction: Callable[..., Any]) -> Callable[..., Any]:
    width = ir.IntType(WORD_BITS * max(*operands, result))
    parameters = [types.uint64] * sum(operands)
    # Numba states no types.
    answer = types.UniTuple(types.uint64, result) if result else types.boolean  # type: ignore[no-untyped-call]

    def generate(context: Any, builder: Any, signature: Any, limbs: Any) -> Any:
        wide_operands = []
        position = 0
        for count in operands:
            wide_operands.append(_join(builder, limbs[position : position + count], width))
            position += count
        value = instruction(builder, *wide_operands)
        if not result:
            return value
        return context.make_tuple(builder, signature.return_type, _split(builder, value, result))

    @wraps(instruction)
    def typing(_typing_context: Any, *_limbs: Any) -> Any:
        return answer(*parameters), generate

    # Numba wants a fixed number of arguments and reads it from the signature.
    names = ["typing_context", *(f"limb_{index}" for index in range(len(parameters)))]
    stated = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_ONLY) for name in names]
    typing.__signature__ = inspect.Signature(stated)  # type: ignore[attr-defined]
    return typing


def _join(builder: Any, limbs: Any, width: ir.IntType) -> Any:
    own_width = ir.IntType(WORD_BITS * len(limbs))
    value = builder.zext(limbs[0], own_width) if len(limbs) > 1 else limbs[0]
    for index, limb in enumerate(limbs[1:], start=1):
        raised = builder.shl(builder.zext(limb, own_width), ir.Constant(own_width, WORD_BITS * index))
        value = builder.or_(value, raised)
    return builder.sext(value, width) if own_width.width < width.width else value


def _split(builder: Any, value: Any, count: int) -> list[Any]:
    limbs = []
    for index in range(count):
        lowered = builder.lshr(value, ir.Constant(value.type, WORD_BITS * index)) if index else value
        limbs.append(builder.trunc(lowered, _WORD) if value.type.width > WORD_BITS else lowered)
    return limbs


def _on_python_integers(
    operands: tuple[int, ...], result: int, exact: Callable[..., int], instruction: Callable[..., Any]
) -> Callable[..., Any]:
    @wraps(instruction)
    def twin(*limbs: Any) -> Any:
        values = []
        position = 0
        for count in operands:
            values.append(from_limbs(*limbs[position : position + count]))
            position += count
        value = exact(*values)
        if not result:
            return bool(value)
        return tuple(np.uint64((value >> (WORD_BITS * index)) & WORD_MASK) for index in range(result))

    return twin


# A decorated function states the LLVM instruction: its first parameter is LLVM's builder, the others the joined
# operands. Called from a kernel it takes the limbs that its docstring names.


@_operation((2, 2), 2, operator.add)
def add128(builder: Any, a: Any, b: Any) -> Any:
    """(a_lo, a_hi, b_lo, b_hi) -> (lo, hi) of a + b, wrapping at 2^128."""
    return builder.add(a, b)


@_operation((2, 2), 2, operator.sub)
def sub128(builder: Any, a: Any, b: Any) -> Any:
    """(a_lo, a_hi, b_lo, b_hi) -> (lo, hi) of a - b, wrapping at 2^128."""
    return builder.sub(a, b)


@_operation((2,), 2, operator.neg)
def neg128(builder: Any, a: Any) -> Any:
    """(lo, hi) -> (lo, hi) of -a, wrapping at 2^128."""
    return builder.neg(a)


@_operation((2, 2), 0, operator.lt)
def lt128(builder: Any, a: Any, b: Any) -> Any:
    """(a_lo, a_hi, b_lo, b_hi) -> whether a < b, signed."""
    return builder.icmp_signed("<", a, b)


@_operation((3, 3), 3, operator.add)
def add192(builder: Any, a: Any, b: Any) -> Any:
    """(a_lo, a_mid, a_hi, b_lo, b_mid, b_hi) -> (lo, mid, hi) of a + b, wrapping at 2^192."""
    return builder.add(a, b)


@_operation((3, 3), 3, operator.sub)
def sub192(builder: Any, a: Any, b: Any) -> Any:
    """(a_lo, a_mid, a_hi, b_lo, b_mid, b_hi) -> (lo, mid, hi) of a - b, wrapping at 2^192."""
    return builder.sub(a, b)


@_operation((3,), 3, operator.neg)
def neg192(builder: Any, a: Any) -> Any:
    """(lo, mid, hi) -> (lo, mid, hi) of -a, wrapping at 2^192."""
    return builder.neg(a)


@_operation((3, 3), 0, operator.lt)
def lt192(builder: Any, a: Any, b: Any) -> Any:
    """(a_lo, a_mid, a_hi, b_lo, b_mid, b_hi) -> whether a < b, signed."""
    return builder.icmp_signed("<", a, b)


@_operation((2, 2), 3, operator.mul)
def mul128(builder: Any, a: Any, b: Any) -> Any:
    """(a_lo, a_hi, b_lo, b_hi) -> (lo, mid, hi) of a * b, signed.

    Exact while |a|, |b| < 2^95; every number within the limits is below 10^27 < 2^90.
    """
    return builder.mul(a, b)


@_operation((2,), 3, operator.pos)
def widen(_builder: Any, a: Any) -> Any:
    """(lo, hi) -> (lo, mid, hi) of the same signed number."""
    return a


def _unsigned_product(a: int, b: int) -> int:
    return (a & WORD_MASK) * (b & WORD_MASK)


@_operation((1, 1), 2, _unsigned_product)
def umul64(builder: Any, a: Any, b: Any) -> Any:
    """(a, b) -> (lo, hi) of the product of two unsigned words."""
    word_mask = ir.Constant(a.type, WORD_MASK)
    return builder.mul(builder.and_(a, word_mask), builder.and_(b, word_mask))


@inlined_kernel
def is_negative(high: Limb) -> bool:
    """Whether the number whose highest limb this is lies below zero."""
    return (high >> SIXTY_THREE) != ZERO


@inlined_kernel
def eq128(a_lo: Limb, a_hi: Limb, b_lo: Limb, b_hi: Limb) -> bool:
    """Whether two pairs are the same number."""
    return a_lo == b_lo and a_hi == b_hi


@inlined_kernel
def is_zero128(lo: Limb, hi: Limb) -> bool:
    """Whether a pair is 0."""
    return (lo | hi) == ZERO


@inlined_kernel
def is_zero192(lo: Limb, mid: Limb, hi: Limb) -> bool:
    """Whether a triple is 0."""
    return (lo | mid | hi) == ZERO


@inlined_kernel
def widened(value: np.int64) -> Pair:
    """A signed word as a pair."""
    return np.uint64(value), np.uint64(value >> np.int64(63))


@inlined_kernel
def narrow(lo: Limb, hi: Limb) -> tuple[bool, np.int64]:
    """(fits, the pair as a signed word). It fits where its magnitude is below 2^63."""
    value = np.int64(lo)
    return hi == np.uint64(value >> np.int64(63)) and lo != _LEAST_WORD, value


class Divisor(NamedTuple):
    """A divisor made ready for `divide192`; as a row of a table, six ``uint64``."""

    lo: Limb
    mid: Limb
    hi: Limb
    normalised: Limb
    """The divisor shifted left until its top bit is set; 0 if it is wider than a word."""
    shift: Limb
    """By how many bits, 0 to 63."""
    reciprocal: Limb
    """floor((2^128 - 1) / normalised) - 2^64 (Moeller and Granlund)."""


DIVISOR_LIMIT = 1 << 190
"""A divisor is below this."""


def divisor_of(divisor: int) -> Divisor:
    """Prepares a divisor. ValueError unless 0 < divisor < `DIVISOR_LIMIT`."""
    if not 0 < divisor < DIVISOR_LIMIT:
        raise ValueError(f"divisor {divisor} is not in 1 .. 2^190 - 1")
    lo, mid, hi = to_limbs(divisor, 3)
    if divisor > WORD_MASK:
        return Divisor(lo, mid, hi, ZERO, ZERO, ZERO)
    shift = WORD_BITS - divisor.bit_length()
    normalised = divisor << shift
    reciprocal = ((1 << (2 * WORD_BITS)) - 1) // normalised - (1 << WORD_BITS)
    return Divisor(lo, mid, hi, np.uint64(normalised), np.uint64(shift), np.uint64(reciprocal))


def divisor_array(divisors: list[int]) -> Words:
    """Prepared divisors as a ``uint64[n, 6]`` array."""
    rows = [divisor_of(divisor) for divisor in divisors]
    return np.array(rows, dtype=np.uint64).reshape(len(divisors), len(Divisor._fields))


@inlined_kernel
def _divide_pair_by_word(lo: Limb, hi: Limb, normalised: Limb, reciprocal: Limb) -> Pair:
    """(quotient, remainder) of a pair whose high limb is below the normalised divisor.

    Source: N. Moeller and T. Granlund, "Improved division by invariant integers" (2011), algorithm 4.
    """
    estimate_lo, estimate_hi = umul64(hi, reciprocal)
    estimate_lo, estimate_hi = add128(estimate_lo, estimate_hi, lo, hi)
    quotient = estimate_hi + ONE
    remainder = lo - quotient * normalised
    if remainder > estimate_lo:
        quotient -= ONE
        remainder += normalised
    if remainder >= normalised:
        quotient += ONE
        remainder -= normalised
    return quotient, remainder


@kernel
def _divide_by_word(
    lo: Limb, mid: Limb, hi: Limb, normalised: Limb, shift: Limb, reciprocal: Limb
) -> tuple[Limb, Limb, Limb, Limb]:
    """(quotient lo, mid, hi, remainder) of an unsigned triple by a prepared word."""
    # Two shifts, because a shift by a whole word is undefined.
    back = SIXTY_THREE - shift
    top = (hi >> ONE) >> back
    third = (hi << shift) | ((mid >> ONE) >> back)
    second = (mid << shift) | ((lo >> ONE) >> back)
    first = lo << shift
    quotient_hi = ZERO
    quotient_mid = ZERO
    remainder = top
    if (top | third) != ZERO:
        quotient_hi, remainder = _divide_pair_by_word(third, remainder, normalised, reciprocal)
    if (remainder | second) != ZERO:
        quotient_mid, remainder = _divide_pair_by_word(second, remainder, normalised, reciprocal)
    quotient_lo, remainder = _divide_pair_by_word(first, remainder, normalised, reciprocal)
    return quotient_lo, quotient_mid, quotient_hi, remainder >> shift


@kernel
def _divide_by_triple(
    lo: Limb, mid: Limb, hi: Limb, divisor_lo: Limb, divisor_mid: Limb, divisor_hi: Limb
) -> tuple[Limb, Limb, Limb, Limb, Limb, Limb]:
    """(quotient, remainder) of unsigned triples, one step a bit: divisors wider than a word are rare."""
    rest_lo, rest_mid, rest_hi = ZERO, ZERO, ZERO
    for _ in range(3 * 64):
        rest_hi = (rest_hi << ONE) | (rest_mid >> SIXTY_THREE)
        rest_mid = (rest_mid << ONE) | (rest_lo >> SIXTY_THREE)
        rest_lo = (rest_lo << ONE) | (hi >> SIXTY_THREE)
        hi = (hi << ONE) | (mid >> SIXTY_THREE)
        mid = (mid << ONE) | (lo >> SIXTY_THREE)
        lo = lo << ONE
        if not lt192(rest_lo, rest_mid, rest_hi, divisor_lo, divisor_mid, divisor_hi):
            rest_lo, rest_mid, rest_hi = sub192(rest_lo, rest_mid, rest_hi, divisor_lo, divisor_mid, divisor_hi)
            lo |= ONE
    return lo, mid, hi, rest_lo, rest_mid, rest_hi


@inlined_kernel
def divide192(
    lo: Limb,
    mid: Limb,
    hi: Limb,
    divisor_lo: Limb,
    divisor_mid: Limb,
    divisor_hi: Limb,
    normalised: Limb,
    shift: Limb,
    reciprocal: Limb,
) -> tuple[Limb, Limb, Limb, Limb, Limb, Limb]:
    """(quotient lo, mid, hi, remainder lo, mid, hi) of an unsigned triple by a `Divisor`, given as its fields."""
    if (divisor_mid | divisor_hi) != ZERO:
        return _divide_by_triple(lo, mid, hi, divisor_lo, divisor_mid, divisor_hi)
    if (mid | hi) == ZERO:
        return lo // divisor_lo, ZERO, ZERO, lo % divisor_lo, ZERO, ZERO
    quotient_lo, quotient_mid, quotient_hi, rest = _divide_by_word(lo, mid, hi, normalised, shift, reciprocal)
    return quotient_lo, quotient_mid, quotient_hi, rest, ZERO, ZERO


@kernel
def divide_pair(lo: Limb, hi: Limb, divisor: Limb) -> tuple[Limb, Limb]:
    """(quotient, remainder) of an unsigned pair by a word that is not prepared; hi < divisor <= 2^63.

    One instruction where the pair is a word, otherwise a step a bit: for divisors that are met once.
    """
    if hi == ZERO:
        return lo // divisor, lo % divisor
    rest, quotient = hi, ZERO
    for _ in range(WORD_BITS):
        rest = (rest << ONE) | (lo >> SIXTY_THREE)
        lo = lo << ONE
        quotient = quotient << ONE
        if rest >= divisor:
            rest -= divisor
            quotient |= ONE
    return quotient, rest
