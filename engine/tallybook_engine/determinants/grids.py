"""Stored readings of many meters at once: blocks on grids, unpacked with one kernel into the rows of matrices.

That is how nearly all meters deliver: without a hole, as the catalogue says, nothing twice. What is otherwise is for
`deliveries.overlaid`, which takes any blocks of one channel and answers the same for these.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.determinants.blocks import GridBlocks, meaning_of, open_block, open_grids
from tallybook_engine.determinants.deliveries import Fitting, Wanted
from tallybook_engine.determinants.matrix import MeterMatrix
from tallybook_engine.determinants.packing import PackedColumns, unpack_many
from tallybook_engine.determinants.readings import RegularTimes
from tallybook_engine.kernels.arrays import to_read


class Rows(NamedTuple):
    """Meters whose readings have the same timestamps."""

    meters: tuple[int, ...]
    matrix: MeterMatrix
    """Row i is `meters[i]`."""


def grid_rows(meters: Sequence[Sequence[bytes]], wanted: Wanted, fitting: Fitting) -> list[Rows]:
    """Readings between two timestamps of each meter whose blocks, in any order, follow one another on one grid and are
    of the meaning that `fitting` has; of any other meter, and of one that has none there, nothing.
    """
    bodies = list(chain.from_iterable(meters))
    if not bodies:
        return []
    meter = np.repeat(np.arange(len(meters)), [len(each) for each in meters])
    grids = open_grids(bodies)
    is_taken = grids.is_grid & _are_as_is(bodies, grids.is_grid, fitting)
    order = np.lexsort((grids.first_us, meter))
    return _laid_out(_in_order(grids, order), meter[order], is_taken[order], len(meters), wanted)


def _are_as_is(bodies: Sequence[bytes], is_grid: NDArray[np.bool_], fitting: Fitting) -> NDArray[np.bool_]:
    """Whether each block is of the meaning that the channel has."""
    known: dict[bytes, bool] = {}

    def is_as_is(body: bytes) -> bool:
        meaning = meaning_of(body)
        if meaning not in known:
            known[meaning] = fitting.takes_as_is(open_block(body))
        return known[meaning]

    every = (sound and is_as_is(body) for sound, body in zip(is_grid.tolist(), bodies, strict=True))
    return np.fromiter(every, np.bool_, len(bodies))


def _in_order(grids: GridBlocks, order: NDArray[np.int64]) -> GridBlocks:
    columns = PackedColumns(*(column[order] for column in grids.columns))
    return GridBlocks(
        grids.is_grid[order],
        grids.first_us[order],
        grids.interval_us[order],
        grids.row_count[order],
        grids.data,
        columns,
    )


def _laid_out(
    grids: GridBlocks, meter: NDArray[np.int64], is_taken: NDArray[np.bool_], meter_count: int, wanted: Wanted
) -> list[Rows]:
    """Blocks by meter and time."""
    first_us, interval_us, count = grids.first_us, grids.interval_us, grids.row_count
    follows = (first_us[1:] == first_us[:-1] + count[:-1] * interval_us[:-1]) & (interval_us[1:] == interval_us[:-1])
    is_taken[1:] &= follows | (meter[1:] != meter[:-1])
    is_whole = np.ones(meter_count, np.bool_)
    is_whole[meter[~is_taken]] = False
    # Where a grid is none its interval may be anything, and its meter is left out.
    step_us = np.maximum(interval_us, 1)
    first = np.clip(-((first_us - wanted.first_us) // step_us), 0, count)
    end = np.clip(-((first_us - wanted.last_us - 1) // step_us), first, count)
    rows = np.where(is_whole[meter], end - first, 0)
    groups: dict[tuple[int, int, int], list[int]] = {}
    row_count = np.bincount(meter, rows, meter_count).astype(np.int64)
    begins = np.flatnonzero(rows)
    begins = begins[np.append(True, meter[begins[1:]] != meter[begins[:-1]])] if len(begins) else begins
    for block in begins.tolist():
        times = int(first_us[block] + first[block] * step_us[block]), int(step_us[block])
        groups.setdefault((*times, int(row_count[meter[block]])), []).append(int(meter[block]))
    return [
        Rows(tuple(members), _unpacked(RegularTimes(*times), grids, meter, first, rows, members))
        for times, members in groups.items()
    ]


def _unpacked(
    times: RegularTimes,
    grids: GridBlocks,
    meter: NDArray[np.int64],
    first: NDArray[np.int64],
    rows: NDArray[np.int64],
    members: Sequence[int],
) -> MeterMatrix:
    """The blocks of some meters, in rising order, end to end."""
    shape = len(members), times.count
    values, quality = np.empty(shape, np.int64), np.empty(shape, np.uint8)
    is_member = np.zeros(meter[-1] + 1, np.bool_)
    is_member[members] = True
    chosen = np.flatnonzero(is_member[meter] & (rows > 0))
    end = np.cumsum(rows[chosen])
    columns = PackedColumns(*(to_read(column[chosen]) for column in grids.columns))
    bounds = to_read(end - rows[chosen]), to_read(end)
    unpack_many(grids.data, columns, to_read(first[chosen]), *bounds, values.reshape(-1), quality.reshape(-1))
    return MeterMatrix(times, values, quality)
