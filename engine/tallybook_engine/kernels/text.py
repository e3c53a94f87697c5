"""Strings inside kernels: spans of bytes in one array, read in words, compared, checked and made distinct.

A span is (start, end) in a ``uint8`` array that the caller has checked to hold it; nothing here copies a string but
`copy_bytes`. The hash is for tables that live as long as one message: it is fast, seeded by its caller with a number
that each process draws so that nobody can choose strings that collide, and never stored (`siphash` is).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from tallybook_engine.kernels import JIT_DISABLED, inlined_kernel, kernel
from tallybook_engine.kernels.wide import umul64

Bytes = NDArray[np.uint8]
Index = Any
"""A position, length, row or code: int64 inside kernels, a Python or NumPy integer outside."""

WORD_BYTES = 8
_HIGH_BITS = np.uint64(0x8080808080808080)
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
"""2^64 divided by the golden ratio, odd: the multiplier of Fibonacci hashing (Knuth, volume 3, 6.4)."""
_ODD = np.uint64(1)


def _load(width: int) -> Any:
    """Makes `data[position]` of `width` bits, little-endian, at any alignment, without wrapping a negative index."""

    struct_proxy: Any = cgutils.create_struct_proxy

    def typing(_typing_context: Any, data: Any, position: Any) -> Any:
        answer = types.int64 if width == 8 else types.uint64

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            array = struct_proxy(signature.args[0])(context, builder, value=arguments[0])
            start = builder.gep(array.data, [arguments[1]])
            word = ir.IntType(width)
            loaded = builder.load(builder.bitcast(start, word.as_pointer()))
            loaded.align = 1
            return builder.zext(loaded, ir.IntType(64)) if width < WORD_BYTES * 8 else loaded

        return answer(data, types.int64), generate

    return intrinsic(typing)


def _store() -> Any:
    """Makes `target[position:position + 8] = word`, little-endian, at any alignment."""
    struct_proxy: Any = cgutils.create_struct_proxy

    def typing(_typing_context: Any, target: Any, position: Any, word: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            array = struct_proxy(signature.args[0])(context, builder, value=arguments[0])
            start = builder.gep(array.data, [arguments[1]])
            stored = builder.store(arguments[2], builder.bitcast(start, ir.IntType(64).as_pointer()))
            stored.align = 1
            return context.get_dummy_value()

        return types.void(target, types.int64, types.uint64), generate

    return intrinsic(typing)


def _plain_byte_at(data: Bytes, position: Index) -> Index:
    return np.int64(data[position])


def _plain_word_at(data: Bytes, position: Index) -> Any:
    return np.uint64(int.from_bytes(data[position : position + WORD_BYTES].tobytes(), "little"))


def _plain_put_word(target: Bytes, position: Index, word: Any) -> None:
    target[position : position + WORD_BYTES] = np.frombuffer(int(word).to_bytes(WORD_BYTES, "little"), dtype=np.uint8)


byte_at = _plain_byte_at if JIT_DISABLED else _load(8)
"""`byte_at(data, position)`: one byte as int64."""

word_at = _plain_word_at if JIT_DISABLED else _load(64)
"""`word_at(data, position)`: the eight bytes from `position` on as one little-endian uint64."""

put_word = _plain_put_word if JIT_DISABLED else _store()
"""`put_word(target, position, word)`: the eight bytes from `position` on become a little-endian uint64."""


@inlined_kernel
def last_word(data: Bytes, start: Index, end: Index) -> Any:
    """The last up to eight bytes of a span as one word; bytes before them in a longer span are read again."""
    if end - start >= WORD_BYTES:
        return word_at(data, end - WORD_BYTES)
    if end == start:
        return np.uint64(0)
    missing = np.uint64(8 * (WORD_BYTES - (end - start)))
    if end >= WORD_BYTES:
        # One load that begins before the span, whose foreign bytes are shifted out.
        return word_at(data, end - WORD_BYTES) >> missing
    word = np.uint64(0)
    for position in range(start, end):
        word |= np.uint64(byte_at(data, position)) << np.uint64(8 * (position - start))
    return word


@inlined_kernel
def equal_bytes(data: Bytes, start: Index, other_start: Index, length: Index) -> bool:
    """Whether two spans of the same length hold the same bytes."""
    position = 0
    while position + WORD_BYTES <= length:
        if word_at(data, start + position) != word_at(data, other_start + position):
            return False
        position += WORD_BYTES
    if position == length:
        return True
    return last_word(data, start, start + length) == last_word(data, other_start, other_start + length)


@inlined_kernel
def hash_bytes(data: Bytes, start: Index, end: Index, tag: Index, seed: Any) -> Any:
    """64 bits over a span and a tag, for tables that are never stored."""
    multiplier = seed | _ODD
    state = seed ^ (np.uint64(end - start) * _SPREAD) ^ np.uint64(tag)
    position = start
    while position + WORD_BYTES < end:
        state = _folded(state ^ word_at(data, position), multiplier)
        position += WORD_BYTES
    return _folded(_folded(state ^ last_word(data, start, end), multiplier), _SPREAD)


@inlined_kernel
def _folded(word: Any, multiplier: Any) -> Any:
    """Both halves of a product: unlike its low half alone, no difference of words survives without the multiplier."""
    low, high = umul64(word, multiplier)
    return low ^ high


@inlined_kernel
def is_utf8(data: Bytes, start: Index, end: Index) -> bool:
    """Whether a span is well-formed UTF-8 (The Unicode Standard, table 3-7)."""
    position = start
    while position + WORD_BYTES < end:
        if word_at(data, position) & _HIGH_BITS != np.uint64(0):
            return _is_utf8_by_character(data, position, end)
        position += WORD_BYTES
    if last_word(data, position, end) & _HIGH_BITS == np.uint64(0):
        return True
    return _is_utf8_by_character(data, position, end)


@kernel
def _is_utf8_by_character(data: Bytes, position: Index, end: Index) -> bool:
    while position < end:
        length = _sequence_length(data, position, end)
        if length == 0:
            return False
        position += length
    return True


@kernel
def _sequence_length(data: Bytes, position: Index, end: Index) -> Index:
    """Bytes of the character at `position`; 0 where it is not well-formed."""
    first = byte_at(data, position)
    if first < 0x80:
        return 1
    if first < 0xC2 or first > 0xF4:
        return 0
    length = 2 + (first >= 0xE0) + (first >= 0xF0)
    if position + length > end:
        return 0
    second = byte_at(data, position + 1)
    least = 0xA0 if first == 0xE0 else 0x90 if first == 0xF0 else 0x80
    most = 0x9F if first == 0xED else 0x8F if first == 0xF4 else 0xBF
    if second < least or second > most:
        return 0
    for follower in range(position + 2, position + length):
        if byte_at(data, follower) & 0xC0 != 0x80:
            return 0
    return length


@inlined_kernel
def copy_bytes(target: Bytes, target_start: Index, data: Bytes, start: Index, length: Index) -> None:
    """Copies a span. The arrays are different ones."""
    if length < WORD_BYTES:
        for position in range(length):
            target[target_start + position] = byte_at(data, start + position)
        return
    # The last word overlaps the one before it where the length is no multiple of eight.
    last = length - WORD_BYTES
    for position in range(0, last, WORD_BYTES):
        put_word(target, target_start + position, word_at(data, start + position))
    put_word(target, target_start + last, word_at(data, start + last))


class Interned(NamedTuple):
    """Distinct (string, tag) pairs in the order in which they were first met; the strings stay where they are."""

    slots: NDArray[np.int32]
    """[power of two] open addressing: entry + 1; 0 is empty."""
    hashes: NDArray[np.uint64]
    starts: NDArray[np.int32]
    lengths: NDArray[np.int32]
    tags: NDArray[np.int32]
    entry_count: NDArray[np.int64]
    """[1] number of entries."""
    seed: np.uint64
    """Drawn by each process; handed in, because a constant would be compiled in and kept on disk."""


def interned(occurrence_count: int, seed: int) -> Interned:
    """An empty table with room for so many occurrences, were they all distinct. Untouched room costs no memory."""
    slot_count = 1 << max(4, (2 * occurrence_count).bit_length())
    return Interned(
        slots=np.zeros(slot_count, dtype=np.int32),
        hashes=np.empty(occurrence_count, dtype=np.uint64),
        starts=np.empty(occurrence_count, dtype=np.int32),
        lengths=np.empty(occurrence_count, dtype=np.int32),
        tags=np.empty(occurrence_count, dtype=np.int32),
        entry_count=np.zeros(1, dtype=np.int64),
        seed=np.uint64(seed),
    )


@inlined_kernel
def intern(table: Interned, data: Bytes, start: Index, length: Index, tag: Index) -> Index:
    """The entry of a string with a tag, added where it is new. All entries' strings are spans of `data`."""
    key = hash_bytes(data, start, start + length, tag, table.seed)
    mask = np.uint64(len(table.slots) - 1)
    slot = key & mask
    while table.slots[slot] != 0:
        entry = np.int64(table.slots[slot]) - 1
        if (
            table.hashes[entry] == key
            and table.lengths[entry] == length
            and table.tags[entry] == tag
            and equal_bytes(data, start, np.int64(table.starts[entry]), length)
        ):
            return entry
        slot = (slot + np.uint64(1)) & mask
    entry = table.entry_count[0]
    table.slots[slot] = entry + 1
    table.hashes[entry] = key
    table.starts[entry] = start
    table.lengths[entry] = length
    table.tags[entry] = tag
    table.entry_count[0] = entry + 1
    return entry


@inlined_kernel
def intern_like(table: Interned, data: Bytes, start: Index, length: Index, tag: Index, guess: Index) -> Index:
    """`intern`, quicker where `guess`, an entry of the same tag or -1, is right: rows often repeat those before."""
    if guess >= 0 and table.lengths[guess] == length:
        if equal_bytes(data, start, np.int64(table.starts[guess]), length):
            return guess
    return intern(table, data, start, length, tag)


@kernel
def offsets_of(lengths: NDArray[np.int32], offsets: NDArray[np.int32]) -> Index:
    """Fills the offsets [n + 1] of strings of these lengths laid end to end, and answers their bytes in all."""
    total = 0
    for row in range(len(lengths)):
        offsets[row] = total
        total += lengths[row]
    offsets[len(lengths)] = total
    return total


@kernel
def gather(data: Bytes, starts: NDArray[np.int32], offsets: NDArray[np.int32], target: Bytes) -> None:
    """Copies the spans that begin at `starts` [n] into `target`, laid out by `offsets` [n + 1]."""
    for row in range(len(starts)):
        begin = np.int64(offsets[row])
        copy_bytes(target, begin, data, np.int64(starts[row]), np.int64(offsets[row + 1]) - begin)


def string_array(data: Bytes, starts: NDArray[np.int32], lengths: NDArray[np.int32]) -> pa.StringArray:
    """An Arrow column of its own, from spans of UTF-8 that begin at `starts` [n] and have `lengths` [n] bytes."""
    offsets = np.empty(len(lengths) + 1, dtype=np.int32)
    target = np.empty(offsets_of(lengths, offsets), dtype=np.uint8)
    gather(data, starts, offsets, target)
    return pa.StringArray.from_buffers(len(lengths), pa.py_buffer(offsets), pa.py_buffer(target))
