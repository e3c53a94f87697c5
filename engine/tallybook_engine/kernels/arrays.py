"""Arrays as kernels take them."""

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Element = TypeVar("Element", bound=np.generic)


def to_read(array: NDArray[Element]) -> NDArray[Element]:
    """The array contiguous and read-only, without a copy where it is contiguous.

    A kernel is compiled once for each type of its arguments, and to Numba an array that may be written, one that may
    not (out of a message or a file) and one with gaps are three types.
    """
    view: NDArray[Any] = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view
