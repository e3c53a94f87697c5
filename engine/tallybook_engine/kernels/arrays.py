"""Arrays as kernels take them."""

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple, TypeVar, get_type_hints

import numpy as np
from numpy.typing import NDArray

Element = TypeVar("Element", bound=np.generic)
Table = TypeVar("Table", bound=NamedTuple)


def to_read(array: NDArray[Element]) -> NDArray[Element]:
    """The array contiguous and read-only, without a copy where it is contiguous.

    A kernel is compiled once for each type of its arguments, and to Numba an array that may be written, one that may
    not (out of a message or a file) and one with gaps are three types.
    """
    view: NDArray[Any] = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view


@cache
def column_types(table: type[Any]) -> Sequence[Any]:
    """The element types of a NamedTuple of arrays, as it is annotated (`NDArray[np.int32]`)."""
    hints = get_type_hints(table)
    return [hints[name].__args__[1].__args__[0] for name in table._fields]


def typed(table: type[Table], *columns: NDArray[Any], **named: NDArray[Any]) -> Table:
    """A NamedTuple of arrays, contiguous and of the element types that it is annotated with; all columns by their
    places, or all by their names."""
    given = columns or [named[name] for name in table._fields]
    types = column_types(table)
    return table._make(np.ascontiguousarray(column, dtype=of) for column, of in zip(given, types, strict=True))
