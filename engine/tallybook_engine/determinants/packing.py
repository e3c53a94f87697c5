"""Columns as few bytes, and back: one pass each way, without an array between.

Threads that read and write blocks side by side are slowed down by each call that gives the interpreter lock away and
takes it again; so one packs the columns of many blocks, and one unpacks a block, or many.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.kernels import inlined_kernel, kernel
from tallybook_engine.kernels.arrays import to_read
from tallybook_engine.kernels.words import run_end

ONE_STATUS, STATUS_EACH, STATUS_RUNS = range(3)
"""How a block holds its codes."""
RUN_END_BYTES = 4

_U1, _U2, _U4, _U8 = (np.dtype(f"<u{width}") for width in (1, 2, 4, 8))


class Narrowed(NamedTuple):
    """A piece of a column as few bytes."""

    base: int
    """Its smallest value."""
    width: int
    """Bytes a value."""
    packed: bytes
    """What each value has above the smallest."""


def narrowed(column: NDArray[np.int64], bounds: NDArray[np.int64]) -> list[Narrowed]:
    """The pieces of int64[n] from each bound to the next, int64[p + 1] ascending from 0 to n."""
    packed = np.empty(len(column), _U8)
    in_bytes = packed.view(_U1)
    bases, widths = np.empty(len(bounds) - 1, np.int64), np.empty(len(bounds) - 1, np.int64)
    _narrow(to_read(column), to_read(bounds), in_bytes, packed.view(_U2), packed.view(_U4), packed, bases, widths)
    # A piece begins where its values would lie with eight bytes each, whatever its width.
    starts = (_U8.itemsize * bounds[:-1]).tolist()
    ends = (_U8.itemsize * bounds[:-1] + widths * np.diff(bounds)).tolist()
    memory = in_bytes.data
    return [
        Narrowed(base, width, bytes(memory[start:end]))
        for base, width, start, end in zip(bases.tolist(), widths.tolist(), starts, ends, strict=True)
    ]


def are_of_one_status(codes: NDArray[np.uint8], bounds: NDArray[np.int64]) -> list[bool]:
    """Of each piece of uint8[n], as in `narrowed` and none empty, whether its codes are all alike."""
    alike = np.empty(len(bounds) - 1, np.bool_)
    _are_alike(to_read(codes), to_read(bounds), alike)
    found: list[bool] = alike.tolist()
    return found


@kernel
def _are_alike(codes: NDArray[np.uint8], bounds: NDArray[np.int64], alike: NDArray[np.bool_]) -> None:
    for piece in range(len(alike)):
        end = bounds[piece + 1]
        alike[piece] = run_end(codes, bounds[piece], end) == end


@kernel
def _narrow(
    column: NDArray[np.int64],
    bounds: NDArray[np.int64],
    in_1: NDArray[np.uint8],
    in_2: NDArray[np.uint16],
    in_4: NDArray[np.uint32],
    in_8: NDArray[np.uint64],
    bases: NDArray[np.int64],
    widths: NDArray[np.int64],
) -> None:
    """Fills the smallest value and the width of each piece, and one of `in_1` to `in_8`, which are the same memory."""
    for piece in range(len(bases)):
        first, end = bounds[piece], bounds[piece + 1]
        bases[piece] = widths[piece] = 0
        if first < end:
            bases[piece], widths[piece] = _narrow_piece(
                column[first:end],
                in_1[8 * first : 8 * end],
                in_2[4 * first : 4 * end],
                in_4[2 * first : 2 * end],
                in_8[first:end],
            )


@inlined_kernel
def _narrow_piece(
    column: NDArray[np.int64],
    in_1: NDArray[np.uint8],
    in_2: NDArray[np.uint16],
    in_4: NDArray[np.uint32],
    in_8: NDArray[np.uint64],
) -> tuple[np.int64, int]:
    """(smallest value, width) of a piece that is not empty."""
    least = most = column[0]
    for row in range(len(column)):
        value = column[row]
        least = min(least, value)
        most = max(most, value)
    base = np.uint64(least)
    span = np.uint64(most) - base
    if span == np.uint64(0):
        return least, 0
    if span < np.uint64(1 << 8):
        for row in range(len(column)):
            in_1[row] = np.uint8(np.uint64(column[row]) - base)
        return least, 1
    if span < np.uint64(1 << 16):
        for row in range(len(column)):
            in_2[row] = np.uint16(np.uint64(column[row]) - base)
        return least, 2
    if span < np.uint64(1 << 32):
        for row in range(len(column)):
            in_4[row] = np.uint32(np.uint64(column[row]) - base)
        return least, 4
    for row in range(len(column)):
        in_8[row] = np.uint64(column[row]) - base
    return least, 8


@inlined_kernel
def _little_endian(body: NDArray[np.uint8], at: np.uint64, width: np.uint64) -> np.uint64:
    """The number that lies in so many bytes."""
    number = np.uint64(0)
    for place in range(width):
        number |= np.uint64(body[at + np.uint64(place)]) << np.uint64(8) * np.uint64(place)
    return number


@kernel
def widen(body: NDArray[np.uint8], at: int, width: int, base: int, column: NDArray[np.int64]) -> None:
    """Fills a column with what lies from `at` on, so many bytes a value, above its smallest."""
    start, least = np.uint64(at), np.uint64(np.int64(base))
    # A width that is a constant in its loop is what makes loops over whole registers of them.
    if width == 0:
        for row in range(len(column)):
            column[row] = np.int64(least)
    elif width == 1:
        for row in range(len(column)):
            column[row] = np.int64(np.uint64(body[start + np.uint64(row)]) + least)
    elif width == 2:
        for row in range(len(column)):
            here = start + np.uint64(2 * row)
            above = np.uint64(body[here]) | np.uint64(body[here + np.uint64(1)]) << np.uint64(8)
            column[row] = np.int64(above + least)
    else:
        for row in range(len(column)):
            here = start + np.uint64(width * row)
            column[row] = np.int64(_little_endian(body, here, np.uint64(width)) + least)


class PackedColumns(NamedTuple):
    """Where the columns of a block, or of each of many, lie within bytes."""

    values_at: Any
    width: Any
    """Bytes a value."""
    base: Any
    """The smallest value."""
    codes_at: Any
    code_kind: Any


@kernel
def unpack(
    body: NDArray[np.uint8], packed: PackedColumns, first: int, values: NDArray[np.int64], codes: NDArray[np.uint8]
) -> None:
    """Fills both columns with rows of a block from `first` on: values as `widen` does, codes of one of the kinds."""
    widen(body, packed.values_at + packed.width * first, packed.width, packed.base, values)
    here = np.uint64(packed.codes_at)
    if packed.code_kind == ONE_STATUS:
        for row in range(len(codes)):
            codes[row] = body[here]
    elif packed.code_kind == STATUS_EACH:
        here += np.uint64(first)
        for row in range(len(codes)):
            codes[row] = body[here + np.uint64(row)]
    else:
        width_of_end = np.uint64(RUN_END_BYTES)
        run_count = _little_endian(body, here, width_of_end)
        ends = here + width_of_end
        of_run = ends + width_of_end * run_count
        row = 0
        for run in range(run_count):
            end = np.int64(_little_endian(body, ends + width_of_end * np.uint64(run), width_of_end)) - first
            code = body[of_run + np.uint64(run)]
            while row < end and row < len(codes):
                codes[row] = code
                row += 1


@kernel
def unpack_many(
    data: NDArray[np.uint8],
    packed: PackedColumns,
    first: NDArray[np.int64],
    start: NDArray[np.int64],
    end: NDArray[np.int64],
    values: NDArray[np.int64],
    codes: NDArray[np.uint8],
) -> None:
    """`unpack` of each of b blocks: those of its rows that fill [start, end) of both columns, int64[b] each."""
    for block in range(len(first)):
        of_block = PackedColumns(
            packed.values_at[block],
            packed.width[block],
            packed.base[block],
            packed.codes_at[block],
            packed.code_kind[block],
        )
        unpack(data, of_block, first[block], values[start[block] : end[block]], codes[start[block] : end[block]])
