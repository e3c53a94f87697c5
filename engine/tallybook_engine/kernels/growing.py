"""Tables of arrays that grow by doubling, as the kernels read them."""

from __future__ import annotations

import copy
from typing import Any, Generic, NamedTuple, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.kernels.arrays import column_types

Table = TypeVar("Table", bound=NamedTuple)


class GrowingTable(Generic[Table]):
    """Rows of a NamedTuple of arrays.

    Element types come from the tuple's annotations (`NDArray[np.int32]`); columns named in `limbs` hold that many
    uint64 a row. `arrays` are views of the whole capacity, so that a kernel may write rows that are reserved.
    """

    def __init__(self, table: type[Table], limbs: dict[str, int] | None = None, capacity: int = 16) -> None:
        self._type = table
        widths = limbs or {}
        columns: list[NDArray[Any]] = []
        for name, dtype in zip(table._fields, column_types(table), strict=True):
            shape = (capacity, widths[name]) if name in widths else (capacity,)
            columns.append(np.zeros(shape, dtype=dtype))
        self._count = 0
        self._hold(columns)

    def _hold(self, columns: list[NDArray[Any]]) -> None:
        self._columns = columns
        self.arrays: Table = self._type._make(columns)

    def copy(self) -> Self:
        """A table with the same rows, which grows by itself from here on."""
        twin = copy.copy(self)
        twin._hold([column.copy() for column in self._columns])
        return twin

    def __len__(self) -> int:
        return self._count

    def append(self, *row: Any) -> int:
        """Adds a row and answers its index."""
        index = self._count
        self.reserve(1)
        for column, value in zip(self._columns, row, strict=True):
            column[index] = value
        self._count = index + 1
        return index

    def reserve(self, more: int) -> None:
        """Makes room for so many more rows; `arrays` may be new ones afterwards."""
        needed = self._count + more
        capacity = len(self._columns[0])
        if needed <= capacity:
            return
        capacity = max(needed, 2 * capacity)
        self._hold([_grown(column, capacity) for column in self._columns])

    def truncate(self, count: int) -> None:
        """Forgets the rows from `count` on."""
        self._count = count

    def extend(self, columns: Table) -> None:
        """Adds many rows at once."""
        more = len(columns[0])
        self.reserve(more)
        for mine, theirs in zip(self._columns, columns, strict=True):
            mine[self._count : self._count + more] = theirs
        self._count += more

    def rows(self) -> Table:
        """Views of the rows in use."""
        return self._type._make(column[: self._count] for column in self._columns)


def _grown(column: NDArray[Any], capacity: int) -> NDArray[Any]:
    larger = np.zeros((capacity, *column.shape[1:]), dtype=column.dtype)
    larger[: len(column)] = column
    return larger
