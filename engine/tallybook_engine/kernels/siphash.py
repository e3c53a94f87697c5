"""SipHash-2-4 with a 128-bit answer: the one hash that is ever stored.

Library hashes change between versions; this one is published and keyed, so that nobody can choose references that
collide. Source: J.-P. Aumasson and D. J. Bernstein, "SipHash: a fast short-input PRF" (2012), and the reference
implementation's 128-bit variant.
"""

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.kernels import inlined_kernel, kernel
from tallybook_engine.kernels.text import WORD_BYTES, Index, last_word, word_at
from tallybook_engine.kernels.wide import Limb, Pair

Bytes = NDArray[np.uint8]
Words = NDArray[np.uint64]

_INITIAL_0 = np.uint64(0x736F6D6570736575)
_INITIAL_1 = np.uint64(0x646F72616E646F6D)
_INITIAL_2 = np.uint64(0x6C7967656E657261)
_INITIAL_3 = np.uint64(0x7465646279746573)
_LONG_ANSWER = np.uint64(0xEE)
_SECOND_WORD = np.uint64(0xDD)
_EIGHT = np.uint64(8)
_WORD_BITS = np.uint64(64)
_LENGTH_BITS = np.uint64(56)
_LENGTH_PREFIX_BYTES = 4
_PREFIX_BITS = np.uint64(8 * _LENGTH_PREFIX_BYTES)
_ONE = np.uint64(1)


@inlined_kernel
def _rotate_left(word: Limb, bits: Limb) -> Limb:
    return (word << bits) | (word >> (_WORD_BITS - bits))


@inlined_kernel
def _round(v0: Limb, v1: Limb, v2: Limb, v3: Limb) -> tuple[Limb, Limb, Limb, Limb]:
    v0 += v1
    v1 = _rotate_left(v1, np.uint64(13)) ^ v0
    v0 = _rotate_left(v0, np.uint64(32))
    v2 += v3
    v3 = _rotate_left(v3, np.uint64(16)) ^ v2
    v0 += v3
    v3 = _rotate_left(v3, np.uint64(21)) ^ v0
    v2 += v1
    v1 = _rotate_left(v1, np.uint64(17)) ^ v2
    v2 = _rotate_left(v2, np.uint64(32))
    return v0, v1, v2, v3


@inlined_kernel
def _start(k0: Limb, k1: Limb) -> tuple[Limb, Limb, Limb, Limb]:
    return k0 ^ _INITIAL_0, k1 ^ _INITIAL_1 ^ _LONG_ANSWER, k0 ^ _INITIAL_2, k1 ^ _INITIAL_3


@inlined_kernel
def _absorb(v0: Limb, v1: Limb, v2: Limb, v3: Limb, word: Limb) -> tuple[Limb, Limb, Limb, Limb]:
    v3 ^= word
    v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    return v0 ^ word, v1, v2, v3


@inlined_kernel
def _finish(v0: Limb, v1: Limb, v2: Limb, v3: Limb) -> Pair:
    v2 ^= _LONG_ANSWER
    for _ in range(4):
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    lo = v0 ^ v1 ^ v2 ^ v3
    v1 ^= _SECOND_WORD
    for _ in range(4):
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    return lo, v0 ^ v1 ^ v2 ^ v3


@inlined_kernel
def _fill(
    v0: Limb, v1: Limb, v2: Limb, v3: Limb, word: Limb, filled: Limb, more: Limb, bits: Limb
) -> tuple[Limb, Limb, Limb, Limb, Limb, Limb]:
    """Puts the low `bits` (at most 64) of `more` behind the `filled` (below 64) bits of a word; absorbs a full one."""
    word |= more << filled
    if filled + bits < _WORD_BITS:
        return v0, v1, v2, v3, word, filled + bits
    v0, v1, v2, v3 = _absorb(v0, v1, v2, v3, word)
    # In two steps, because a shift by a whole word shifts by nothing.
    return v0, v1, v2, v3, (more >> _ONE) >> (_WORD_BITS - _ONE - filled), filled + bits - _WORD_BITS


@inlined_kernel
def _absorb_text(
    v0: Limb, v1: Limb, v2: Limb, v3: Limb, word: Limb, filled: Limb, data: Bytes, start: Index, end: Index
) -> tuple[Limb, Limb, Limb, Limb, Limb, Limb]:
    position = start
    while position + WORD_BYTES <= end:
        v0, v1, v2, v3, word, filled = _fill(v0, v1, v2, v3, word, filled, word_at(data, position), _WORD_BITS)
        position += WORD_BYTES
    rest_bits = np.uint64(end - position) * _EIGHT
    return _fill(v0, v1, v2, v3, word, filled, last_word(data, position, end), rest_bits)


@kernel
def siphash128(k0: Limb, k1: Limb, data: Bytes, start: int, end: int) -> Pair:
    """(lo, hi) of the bytes ``data[start:end]`` under the 128-bit key (k0, k1), both little-endian words.

    `data` is ``uint8``; the caller keeps ``0 <= start <= end <= len(data)``.
    """
    v0, v1, v2, v3 = _start(k0, k1)
    position = np.int64(start)
    while position + WORD_BYTES <= end:
        v0, v1, v2, v3 = _absorb(v0, v1, v2, v3, word_at(data, position))
        position += WORD_BYTES
    last = last_word(data, position, np.int64(end)) | np.uint64(end - start) << _LENGTH_BITS
    v0, v1, v2, v3 = _absorb(v0, v1, v2, v3, last)
    return _finish(v0, v1, v2, v3)


@kernel
def siphash128_words(k0: Limb, k1: Limb, words: Words, count: int) -> Pair:
    """(lo, hi) of the first `count` of ``uint64`` words: `siphash128` of their little-endian bytes."""
    v0, v1, v2, v3 = _start(k0, k1)
    for index in range(count):
        v0, v1, v2, v3 = _absorb(v0, v1, v2, v3, words[index])
    v0, v1, v2, v3 = _absorb(v0, v1, v2, v3, np.uint64(8 * count) << _LENGTH_BITS)
    return _finish(v0, v1, v2, v3)


@kernel
def siphash128_pair(k0: Limb, k1: Limb, a: Bytes, a_start: int, a_end: int, b: Bytes, b_start: int, b_end: int) -> Pair:
    """(lo, hi) of ``uint32 LE length of a, a, uint32 LE length of b, b``: two texts, and no other two.

    The lengths in front keep ("ab", "c") and ("a", "bc") apart. Each text is shorter than 2^32 bytes.
    """
    v0, v1, v2, v3 = _start(k0, k1)
    # A word is filled from the bottom and absorbed when full; `filled` is how many bits of it are.
    word = np.uint64(a_end - a_start)
    filled = _PREFIX_BITS
    v0, v1, v2, v3, word, filled = _absorb_text(v0, v1, v2, v3, word, filled, a, np.int64(a_start), np.int64(a_end))
    v0, v1, v2, v3, word, filled = _fill(v0, v1, v2, v3, word, filled, np.uint64(b_end - b_start), _PREFIX_BITS)
    v0, v1, v2, v3, word, filled = _absorb_text(v0, v1, v2, v3, word, filled, b, np.int64(b_start), np.int64(b_end))
    total_length = np.uint64(2 * _LENGTH_PREFIX_BYTES + (a_end - a_start) + (b_end - b_start))
    v0, v1, v2, v3 = _absorb(v0, v1, v2, v3, word | (total_length << _LENGTH_BITS))
    return _finish(v0, v1, v2, v3)
