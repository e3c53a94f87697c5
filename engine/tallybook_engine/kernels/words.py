"""Eight bytes of a column read as one word, wherever they begin.

Numba widens bytes to words before it compares them, and so looks at an eighth of what a register holds.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from tallybook_engine.kernels import JIT_DISABLED, inlined_kernel

Bytes = NDArray[np.uint8]

WORD_BYTES = 8
_REPEATED_BYTE = np.uint64(0x0101010101010101)


def _load_word(_typing_context: Any, data: Any, index: Any) -> Any:
    """(data, index) -> the ``uint64`` of ``data[index:index + 8]``, lowest byte first; the caller checks the bounds."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        position = builder.bitcast(builder.gep(array.data, [arguments[1]]), ir.IntType(64).as_pointer())
        return builder.load(position, align=1)

    return types.uint64(data, types.intp), generate


def _word_of_bytes(data: Bytes, index: int) -> np.uint64:
    return np.uint64(int.from_bytes(data[index : index + WORD_BYTES].tobytes(), "little"))


load_word: Any = _word_of_bytes if JIT_DISABLED else intrinsic(_load_word)


@inlined_kernel
def run_end(data: Bytes, start: int, end: int) -> int:
    """The first index of ``data[start:end]`` whose byte is not that at `start`, or `end`; start < end <= len(data)."""
    first = data[start]
    repeated = np.uint64(first) * _REPEATED_BYTE
    index = start
    # Four words at once: most runs are long, and one branch for 32 bytes is cheaper than four.
    while index + 4 * WORD_BYTES <= end:
        different = load_word(data, index) ^ repeated
        different |= load_word(data, index + WORD_BYTES) ^ repeated
        different |= load_word(data, index + 2 * WORD_BYTES) ^ repeated
        different |= load_word(data, index + 3 * WORD_BYTES) ^ repeated
        if different != np.uint64(0):
            break
        index += 4 * WORD_BYTES
    while index + WORD_BYTES <= end and load_word(data, index) == repeated:
        index += WORD_BYTES
    while index < end and data[index] == first:
        index += 1
    return index
