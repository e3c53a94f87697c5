"""The periods that a scheme answers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray


def whole_and_months(bounds: NDArray[np.int64], split_by_month: bool) -> Iterator[tuple[range, int, int, bool]]:
    """(cells, start, end, is month) of the whole period, and of each month where they are asked for."""
    edges = bounds.tolist()
    yield range(len(edges) - 1), edges[0], edges[-1], False
    if split_by_month:
        yield from months(bounds, is_part=True)


def months(bounds: NDArray[np.int64], *, is_part: bool | None = None) -> Iterator[tuple[range, int, int, bool]]:
    """(cells, start, end, is month) of each month; a period of one month is itself, unless told otherwise."""
    edges = bounds.tolist()
    is_month = len(edges) > 2 if is_part is None else is_part
    for cell in range(len(edges) - 1):
        yield range(cell, cell + 1), edges[cell], edges[cell + 1], is_month
