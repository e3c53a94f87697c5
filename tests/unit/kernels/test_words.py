"""Runs of bytes, found a word at a time."""

import numpy as np
import pytest

from tallybook_engine.kernels import kernel
from tallybook_engine.kernels.words import load_word, run_end


@kernel
def word_at(data: np.ndarray, index: int) -> np.uint64:
    return load_word(data, index)


@kernel
def end_of_run(data: np.ndarray, start: int, end: int) -> int:
    return run_end(data, start, end)


def test_a_word_is_read_wherever_it_begins():
    data = np.arange(1, 40, dtype=np.uint8)
    for index in range(32):
        assert int(word_at(data, index)) == int.from_bytes(data[index : index + 8].tobytes(), "little")


@pytest.mark.parametrize("length", [1, 2, 7, 8, 9, 31, 32, 33, 64, 71])
@pytest.mark.parametrize("start", [0, 3])
def test_a_run_ends_at_the_first_other_byte(length, start):
    end = start + length
    for byte, other in ((0, 255), (7, 6)):
        data = np.full(end + 9, byte, dtype=np.uint8)
        data[end:] = other
        assert end_of_run(data, start, end) == end
        for at in range(start + 1, end):
            changed = data.copy()
            changed[at] = other
            assert end_of_run(changed, start, end) == at
