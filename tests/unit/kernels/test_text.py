"""Strings inside kernels, held against Python's own."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tallybook_engine.kernels.text import (
    equal_bytes,
    gather,
    hash_bytes,
    intern,
    interned,
    is_utf8,
    offsets_of,
)

byte_strings = st.one_of(st.binary(max_size=40), st.text(max_size=20).map(str.encode))


def laid_out(strings: list[bytes]) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """The strings one behind the other, and the (start, length) of each."""
    spans, start = [], 0
    for each in strings:
        spans.append((start, len(each)))
        start += len(each)
    return np.frombuffer(b"".join(strings), dtype=np.uint8), spans


@given(st.binary(max_size=20), byte_strings, st.binary(max_size=20))
def test_utf8_is_what_python_decodes(before, text, behind):
    data = np.frombuffer(before + text + behind, dtype=np.uint8)
    try:
        text.decode()
        expected = True
    except UnicodeDecodeError:
        expected = False
    assert is_utf8(data, len(before), len(before) + len(text)) == expected


@given(st.binary(max_size=12), byte_strings, byte_strings)
def test_equal_is_pythons_equal(before, one, other):
    length = min(len(one), len(other))
    data, ((_, _), (start, _), (other_start, _)) = laid_out([before, one, other])
    assert equal_bytes(data, start, other_start, length) == (one[:length] == other[:length])


@given(st.binary(max_size=12), st.binary(max_size=12), byte_strings, st.integers(0, 5), st.integers(0, 2**64 - 1))
def test_hash_depends_on_the_string_alone_and_not_on_its_neighbours(before, between, text, tag, seed):
    data, (_, (start, length), _, (again, _)) = laid_out([before, text, between, text])
    seed = np.uint64(seed)
    assert hash_bytes(data, start, start + length, tag, seed) == hash_bytes(data, again, again + length, tag, seed)


def test_hash_changes_with_seed_and_tag_and_length():
    data = np.zeros(32, dtype=np.uint8)
    seen = {
        int(hash_bytes(data, 8, 8 + length, tag, np.uint64(seed)))
        for length in range(20)
        for tag in range(3)
        for seed in (1 << 40, 5 << 50, 2**64 - 9)
    }
    assert len(seen) == 20 * 3 * 3


def test_no_pair_of_strings_collides_under_every_seed():
    """Flipping the top bits of two words cancels out in a hash by low halves of products, whatever its seed."""
    words = [0x61 * 0x0101010101010101, 0x62 * 0x0101010101010101, 0x63 * 0x0101010101010101]
    flipped = [words[0] ^ (1 << 63), words[1] ^ (1 << 63) ^ (1 << 31), words[2]]
    data = np.array(words + flipped, dtype=np.uint64).view(np.uint8)
    for seed in (1 << 40, 5 << 50, 2**64 - 9):
        assert hash_bytes(data, 0, 24, 0, np.uint64(seed)) != hash_bytes(data, 24, 48, 0, np.uint64(seed))


@given(st.lists(st.tuples(byte_strings, st.integers(0, 2)), max_size=30))
def test_intern_numbers_strings_in_the_order_of_their_first_meeting(given_strings):
    data, spans = laid_out([text for text, _ in given_strings])
    table = interned(len(given_strings), seed=7)
    entries = [
        intern(table, data, start, length, tag) for (start, length), (_, tag) in zip(spans, given_strings, strict=True)
    ]
    distinct = list(dict.fromkeys(given_strings))
    assert [distinct[entry] for entry in entries] == given_strings
    assert table.entry_count[0] == len(distinct)


@given(st.lists(byte_strings, max_size=10), st.randoms())
def test_gather_copies_spans_in_the_order_asked(strings, random):
    data, spans = laid_out(strings)
    random.shuffle(spans)
    starts = np.array([start for start, _ in spans], dtype=np.int32)
    lengths = np.array([length for _, length in spans], dtype=np.int32)
    offsets = np.empty(len(spans) + 1, dtype=np.int32)
    target = np.empty(offsets_of(lengths, offsets), dtype=np.uint8)
    gather(data, starts, offsets, target)
    source = data.tobytes()
    assert target.tobytes() == b"".join(source[start : start + length] for start, length in spans)
    assert offsets.tolist() == np.concatenate([[0], np.cumsum(lengths)]).tolist()
