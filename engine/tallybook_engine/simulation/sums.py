"""Kernels over charge lines: where the open ones belong, and what groups of them come to."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.kernels import kernel
from tallybook_engine.simulation.evaluation import Lines, room_for_lines

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


class PlacedLines(NamedTuple):
    """n open charge lines, by subject, cell and billing period."""

    subject: NDArray[np.int32]
    cell: NDArray[np.int32]
    """Which cell of the plan, from 0."""
    billing: NDArray[np.int32]
    """Billing period, of the plan's calendars."""
    lines: Lines


def room_for_placed(count: int) -> PlacedLines:
    """So many that are yet to be written."""
    subject, cell, billing = (np.empty(count, dtype=np.int32) for _ in range(3))
    return PlacedLines(subject, cell, billing, room_for_lines(count))


@kernel
def place_lines(
    first: int,
    number_of: NDArray[np.int64],
    line_start: NDArray[np.int64],
    first_billing: NDArray[np.int32],
    billing_count: NDArray[np.int32],
    opened: NDArray[np.bool_],
    lines: Lines,
    base_start: NDArray[np.int64],
    base: PlacedLines,
    placed: PlacedLines,
) -> None:
    """Puts the open lines of a piece one behind the other: those of each subject from `first` on are its own, where
    `number_of` says which of `line_start` it is, and else those that it has in `base`.

    number_of, first_billing, billing_count are [subjects], base_start [subjects + 1]. Own lines are cell by cell,
    billing period by billing period.
    """
    found = 0
    for at in range(len(number_of)):
        number = number_of[at]
        if number < 0:
            for line in range(base_start[at], base_start[at + 1]):
                placed.subject[found] = first + at
                placed.cell[found] = base.cell[line]
                placed.billing[found] = base.billing[line]
                _copy_line(base.lines, line, placed.lines, found)
                found += 1
            continue
        within_cell, cell = 0, 0
        for line in range(line_start[number], line_start[number + 1]):
            if opened[line]:
                placed.subject[found] = first + at
                placed.cell[found] = cell
                placed.billing[found] = first_billing[at] + within_cell
                _copy_line(lines, line, placed.lines, found)
                found += 1
            within_cell += 1
            if within_cell == billing_count[at]:
                within_cell = 0
                cell += 1


@kernel
def _copy_line(source: Lines, line: int, target: Lines, at: int) -> None:
    target.quantity[at, 0], target.quantity[at, 1] = source.quantity[line, 0], source.quantity[line, 1]
    for limb in range(3):
        target.exact[at, limb] = source.exact[line, limb]
    target.amount[at] = source.amount[line]
    target.tax[at] = source.tax[line]
