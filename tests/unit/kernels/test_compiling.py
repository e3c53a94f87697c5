"""What kernels are compiled to: machine code where Python calls them, code for the linker where kernels do."""

import numpy as np
import pytest
from numba import types

from tallybook_engine.kernels import JIT_DISABLED, inlined_kernel, kernel

pytestmark = pytest.mark.skipif(JIT_DISABLED, reason="nothing is compiled")


def made_kernels():
    """A callee and two callers, compiled by nobody yet."""

    @kernel
    def put(numbers, at, number):
        numbers[at] = number
        return number

    @kernel
    def fill(numbers, narrow):
        total = 0
        for at in range(len(numbers)):
            total += put(numbers, at, 7)
        return total + put(numbers, narrow[0], 8) + put(numbers, 1, narrow[1])

    @kernel
    def fill_wide(numbers, codes):
        return put(numbers, 0, np.uint64(1)) + put(numbers, 1, codes[0])

    return put, fill, fill_wide


def test_a_callee_is_compiled_once_for_all_integers_with_a_sign():
    put, fill, _ = made_kernels()
    numbers = np.zeros(3, np.int64)
    assert fill(numbers, np.array([2, -5], np.int32)) == 3 * 7 + 8 - 5
    assert numbers.tolist() == [7, -5, 8]
    assert put.inside_signatures == [(types.int64[::1], types.int64, types.int64)]


def test_integers_without_a_sign_stay_as_wide_as_they_are():
    # Given numbers that a signed integer of the same width cannot hold
    put, _, fill_wide = made_kernels()
    numbers = np.zeros(2, np.uint64)
    assert fill_wide(numbers, np.array([255], np.uint8)) == 256
    assert put.inside_signatures == [
        (types.uint64[::1], types.int64, types.uint64),
        (types.uint64[::1], types.int64, types.uint8),
    ]


def test_what_only_kernels_call_is_no_machine_code_and_is_not_kept():
    put, fill, _ = made_kernels()
    fill(np.zeros(3, np.int64), np.array([0, 0], np.int32))
    assert len(fill.signatures) == 1
    assert put.signatures == []
    [inside] = put.get_call_template((types.int64[::1], types.int64, types.int64), {})[0].cases
    assert put.get_overload(inside.args).llvm_func_name  # a description for the linker, nothing that can be called


def test_python_may_call_what_kernels_call_before_and_after():
    put, fill, _ = made_kernels()
    numbers = np.zeros(3, np.int64)
    assert put(numbers, 2, 9) == 9
    assert fill(numbers, np.array([0, 0], np.int32)) == 3 * 7 + 8
    assert put(numbers, 2, 10) == 10
    assert numbers.tolist() == [8, 0, 10]
    assert len(put.signatures) == 1


@pytest.mark.parametrize("decorator", [kernel, inlined_kernel])
def test_defaults_and_names_of_arguments_are_as_in_python(decorator):
    @decorator
    def difference(number, less=3, more=0):
        return number - less + more

    @kernel
    def differences():
        return difference(10), difference(10, 1), difference(less=2, number=5, more=7)

    assert differences() == (7, 9, 10)
