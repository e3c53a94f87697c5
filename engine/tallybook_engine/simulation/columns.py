"""Charge lines -> the buffers of Arrow's columns, all of them in one pass over the lines."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.kernels import kernel
from tallybook_engine.kernels.wide import add128, sub128
from tallybook_engine.simulation.evaluation import Lines, minor_times


class SubjectColumns(NamedTuple):
    """What all lines of a product contract have in common, [subjects] each."""

    product: NDArray[np.int32]
    """Code of its name, as the next two."""
    plan: NDArray[np.int32]
    currency: NDArray[np.int32]
    factor: NDArray[np.int64]
    """From minor units to those of the money columns."""
    inclusive: NDArray[np.bool_]
    """Whether amounts contain their tax."""
    cell_start: NDArray[np.int64]
    """[subjects + 1] where its cells begin."""


class CellColumns(NamedTuple):
    """What all lines of a matrix cell have in common, [cells] each."""

    name: NDArray[np.int32]
    """Code of its name."""
    unit_price: NDArray[np.uint64]
    """[cells, 2] scale 12, where the price is one."""
    has_unit_price: NDArray[np.bool_]


class ChargeBuffers(NamedTuple):
    """[n] each; amounts in two limbs, exact ones in four, two's complement."""

    product: NDArray[np.int32]
    plan: NDArray[np.int32]
    cell: NDArray[np.int32]
    currency: NDArray[np.int32]
    unit_amount: NDArray[np.uint64]
    has_unit_amount: NDArray[np.bool_]
    exact: NDArray[np.uint64]
    excluding_tax: NDArray[np.uint64]
    tax: NDArray[np.uint64]
    including_tax: NDArray[np.uint64]


def charge_buffers(
    subject: NDArray[np.int32], cell: NDArray[np.int32], lines: Lines, subjects: SubjectColumns, cells: CellColumns
) -> ChargeBuffers:
    """The columns of n lines, each of a subject and a cell of its plan, from 0."""
    count = len(subject)
    buffers = ChargeBuffers(
        product=np.empty(count, dtype=np.int32),
        plan=np.empty(count, dtype=np.int32),
        cell=np.empty(count, dtype=np.int32),
        currency=np.empty(count, dtype=np.int32),
        unit_amount=np.empty((count, 2), dtype=np.uint64),
        has_unit_amount=np.empty(count, dtype=np.bool_),
        exact=np.empty((count, 4), dtype=np.uint64),
        excluding_tax=np.empty((count, 2), dtype=np.uint64),
        tax=np.empty((count, 2), dtype=np.uint64),
        including_tax=np.empty((count, 2), dtype=np.uint64),
    )
    _fill(subject, cell, lines, subjects, cells, buffers)
    return buffers


@kernel
def _fill(
    subject: NDArray[np.int32],
    cell: NDArray[np.int32],
    lines: Lines,
    subjects: SubjectColumns,
    cells: CellColumns,
    buffers: ChargeBuffers,
) -> None:
    for row in range(len(subject)):
        of, at = subject[row], subjects.cell_start[subject[row]] + cell[row]
        buffers.product[row], buffers.plan[row] = subjects.product[of], subjects.plan[of]
        buffers.currency[row], buffers.cell[row] = subjects.currency[of], cells.name[at]
        buffers.has_unit_amount[row] = cells.has_unit_price[at]
        buffers.unit_amount[row, 0], buffers.unit_amount[row, 1] = cells.unit_price[at, 0], cells.unit_price[at, 1]
        for limb in range(3):
            buffers.exact[row, limb] = lines.exact[row, limb]
        buffers.exact[row, 3] = np.uint64(np.int64(lines.exact[row, 2]) >> 63)
        low, high = minor_times(lines.amount[row], subjects.factor[of])
        tax_low, tax_high = minor_times(lines.tax[row], subjects.factor[of])
        buffers.tax[row, 0], buffers.tax[row, 1] = tax_low, tax_high
        less_low, less_high, more_low, more_high = low, high, low, high
        if subjects.inclusive[of]:
            less_low, less_high = sub128(low, high, tax_low, tax_high)
        else:
            more_low, more_high = add128(low, high, tax_low, tax_high)
        buffers.excluding_tax[row, 0], buffers.excluding_tax[row, 1] = less_low, less_high
        buffers.including_tax[row, 0], buffers.including_tax[row, 1] = more_low, more_high
