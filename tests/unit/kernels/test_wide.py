"""Wide integers against Python's own, at every size and at the edges of every limb."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tallybook_engine.kernels import kernel, wide
from tallybook_engine.kernels.wide import divide192, divisor_of, from_limbs, limb_array, to_limbs


def signed(bits: int) -> st.SearchStrategy[int]:
    """Signed integers of so many bits, of every size, thick at the edges of the limbs."""
    edges = [
        sign * ((1 << shift) + offset) for shift in (0, 63, 64, 127, 128) for offset in (-1, 0, 1) for sign in (1, -1)
    ]
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    inside = [edge for edge in [*edges, low, high] if low <= edge <= high]
    sizes = st.integers(1, bits - 1).flatmap(lambda size: st.integers(-(1 << size), (1 << size) - 1))
    return st.one_of(st.sampled_from(inside), sizes)


def unsigned(bits: int) -> st.SearchStrategy[int]:
    edges = [(1 << shift) + offset for shift in range(64, bits, 64) for offset in (-1, 0, 1)]
    sizes = st.integers(1, bits).flatmap(lambda size: st.integers(1 << (size - 1), (1 << size) - 1))
    return st.one_of(st.sampled_from([1, *edges, (1 << bits) - 1]), sizes)


def wrapped(value: int, bits: int) -> int:
    return (value + (1 << (bits - 1))) % (1 << bits) - (1 << (bits - 1))


# Operations are laid into kernels, so a kernel must stand between them and a test.


@kernel
def add128(a_lo, a_hi, b_lo, b_hi):
    return wide.add128(a_lo, a_hi, b_lo, b_hi)


@kernel
def sub128(a_lo, a_hi, b_lo, b_hi):
    return wide.sub128(a_lo, a_hi, b_lo, b_hi)


@kernel
def neg128(lo, hi):
    return wide.neg128(lo, hi)


@kernel
def lt128(a_lo, a_hi, b_lo, b_hi):
    return wide.lt128(a_lo, a_hi, b_lo, b_hi)


@kernel
def mul128(a_lo, a_hi, b_lo, b_hi):
    return wide.mul128(a_lo, a_hi, b_lo, b_hi)


@kernel
def widen(lo, hi):
    return wide.widen(lo, hi)


@kernel
def umul64(a, b):
    return wide.umul64(a, b)


@kernel
def add192(a_lo, a_mid, a_hi, b_lo, b_mid, b_hi):
    return wide.add192(a_lo, a_mid, a_hi, b_lo, b_mid, b_hi)


@kernel
def sub192(a_lo, a_mid, a_hi, b_lo, b_mid, b_hi):
    return wide.sub192(a_lo, a_mid, a_hi, b_lo, b_mid, b_hi)


@kernel
def neg192(lo, mid, hi):
    return wide.neg192(lo, mid, hi)


@kernel
def lt192(a_lo, a_mid, a_hi, b_lo, b_mid, b_hi):
    return wide.lt192(a_lo, a_mid, a_hi, b_lo, b_mid, b_hi)


@given(signed(128), signed(128))
def test_128_bits(a: int, b: int):
    limbs = *to_limbs(a, 2), *to_limbs(b, 2)
    assert from_limbs(*add128(*limbs)) == wrapped(a + b, 128)
    assert from_limbs(*sub128(*limbs)) == wrapped(a - b, 128)
    assert from_limbs(*neg128(*limbs[:2])) == wrapped(-a, 128)
    assert from_limbs(*widen(*limbs[:2])) == a
    assert lt128(*limbs) == (a < b)
    assert wide.eq128(*limbs) == (a == b)
    assert wide.is_negative(limbs[1]) == (a < 0)
    assert wide.is_zero128(*limbs[:2]) == (a == 0)


@given(signed(192), signed(192))
def test_192_bits(a: int, b: int):
    limbs = *to_limbs(a, 3), *to_limbs(b, 3)
    assert from_limbs(*add192(*limbs)) == wrapped(a + b, 192)
    assert from_limbs(*sub192(*limbs)) == wrapped(a - b, 192)
    assert from_limbs(*neg192(*limbs[:3])) == wrapped(-a, 192)
    assert lt192(*limbs) == (a < b)
    assert wide.is_zero192(*limbs[:3]) == (a == 0)


@given(signed(96), signed(96))
def test_products(a: int, b: int):
    assert from_limbs(*mul128(*to_limbs(a, 2), *to_limbs(b, 2))) == a * b


@given(unsigned(64), unsigned(64))
def test_unsigned_products(a: int, b: int):
    lo, hi = umul64(np.uint64(a), np.uint64(b))
    assert int(lo) + (int(hi) << 64) == a * b


@given(unsigned(191), unsigned(190))
def test_division(dividend: int, divisor: int):
    quotient_and_rest = divide192(*to_limbs(dividend, 3), *divisor_of(divisor))
    assert (from_limbs(*quotient_and_rest[:3]), from_limbs(*quotient_and_rest[3:])) == divmod(dividend, divisor)


@given(unsigned(64), unsigned(64), st.integers(-2, 2))
def test_division_around_an_exact_quotient(quotient: int, divisor: int, offset: int):
    dividend = max(quotient * divisor + offset, 0)
    quotient_and_rest = divide192(*to_limbs(dividend, 3), *divisor_of(divisor))
    assert (from_limbs(*quotient_and_rest[:3]), from_limbs(*quotient_and_rest[3:])) == divmod(dividend, divisor)


@given(unsigned(64), st.integers(1, 2**63), unsigned(64))
def test_division_by_a_word_that_is_not_prepared(low: int, divisor: int, high: int):
    dividend = low + (high % divisor << 64)
    found = wide.divide_pair(*to_limbs(dividend, 3)[:2], np.uint64(divisor))
    assert tuple(map(int, found)) == divmod(dividend, divisor)


@given(signed(128))
@example(-(2**63))
@example(2**63)
@example(2**63 - 1)
@example(1 - 2**63)
def test_narrow_is_what_a_word_holds(value: int):
    fits, found = wide.narrow(*to_limbs(value, 2))
    assert fits == (abs(value) < 2**63)
    if fits:
        assert found == value
        assert from_limbs(*wide.widened(np.int64(value))) == value


@pytest.mark.parametrize("divisor", [0, -1, 1 << 190])
def test_a_divisor_outside_its_range_is_refused(divisor: int):
    with pytest.raises(ValueError, match="divisor"):
        divisor_of(divisor)


@given(st.lists(signed(128), max_size=5))
def test_limb_arrays(values: list[int]):
    assert [from_limbs(*row) for row in limb_array(values, 2)] == values


@pytest.mark.parametrize("value", [1 << 127, -(1 << 127) - 1])
def test_what_does_not_fit_its_limbs_is_refused(value: int):
    with pytest.raises(OverflowError):
        to_limbs(value, 2)
