"""Kernels over charge lines: where the open ones belong, and what groups of them come to."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.kernels import kernel

_LOW = np.int64(2**32 - 1)


class Sums(NamedTuple):
    """Sums of int64 amounts by group, which may leave int64: high and low halves are added up apart."""

    high: NDArray[np.int64]
    low: NDArray[np.int64]


def no_sums(*shape: int) -> Sums:
    """Sums of nothing."""
    return Sums(np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64))


@kernel
def add_lines(
    group_of: NDArray[np.int64],
    inclusive: NDArray[np.bool_],
    subject: NDArray[np.int32],
    amount: NDArray[np.int64],
    tax: NDArray[np.int64],
    excluding_sums: Sums,
    tax_sums: Sums,
) -> None:
    """Adds n lines to the group of their subject, without tax and the tax; group_of and inclusive are [subjects]."""
    for row in range(len(subject)):
        group = group_of[subject[row]]
        # Both are minor units, and an inclusive amount's tax is a part of it.
        excluding = amount[row] - tax[row] if inclusive[subject[row]] else amount[row]
        excluding_sums.high[group] += excluding >> 32
        excluding_sums.low[group] += excluding & _LOW
        tax_sums.high[group] += tax[row] >> 32
        tax_sums.low[group] += tax[row] & _LOW


@kernel
def place_lines(
    first: int,
    end: int,
    line_start: NDArray[np.int64],
    first_billing: NDArray[np.int32],
    billing_count: NDArray[np.int32],
    opened: NDArray[np.bool_],
    subject: NDArray[np.int32],
    cell: NDArray[np.int32],
    billing: NDArray[np.int32],
) -> None:
    """Subject, cell and billing period of each open line of subjects [first, end), whose lines are cell by cell,
    billing period by billing period. `first_billing` and `billing_count` are of those subjects alone.
    """
    found = 0
    for number in range(first, end):
        within_cell, cells = 0, 0
        for line in range(line_start[number] - line_start[first], line_start[number + 1] - line_start[first]):
            if opened[line]:
                subject[found] = number
                cell[found] = cells
                billing[found] = first_billing[number - first] + within_cell
                found += 1
            within_cell += 1
            if within_cell == billing_count[number - first]:
                within_cell = 0
                cells += 1
