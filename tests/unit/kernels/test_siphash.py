"""SipHash against its authors' reference vectors, and the pair against the bytes that it stands for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallybook_engine.kernels.siphash import siphash128, siphash128_pair, siphash128_words

# Of `vectors_sip128` in the reference implementation (github.com/veorq/SipHash): key 00 01 .. 0f, message 00 01 ..
REFERENCE = {
    0: "a3817f04ba25a8e66df67214c7550293",
    1: "da87c1d86b99af44347659119b22fc45",
    2: "8177228da4a45dc7fca38bdef60affe4",
    7: "a1f1ebbed8dbc153c0b84aa61ff08239",
    8: "3b62a9ba6258f5610f83e264f31497b4",
    9: "264499060ad9baabc47f8b02bb6d71ed",
    15: "5493e99933b0a8117e08ec0f97cfc3d9",
    16: "6ee2a4ca67b054bbfd3315bf85230577",
    17: "473d06e8738db89854c066c47ae47740",
    23: "c9d184ddd5a9f5e0cf8ce29a9abf691c",
    24: "2db479ae78bd50d8882a8a178a6132ad",
    31: "2939b0183223fafc1723de4f52c43d35",
    32: "7c3956ca5eeafc3e363e9d556546eb68",
    63: "5150d1772f50834a503e069a973fbd7c",
}
KEY = np.frombuffer(bytes(range(16)), dtype="<u8")


def as_array(data: bytes) -> np.ndarray:
    return np.frombuffer(data, dtype=np.uint8)


def as_hex(pair) -> str:
    lo, hi = pair
    return (int(lo) | int(hi) << 64).to_bytes(16, "little").hex()


def prefixed(data: bytes) -> bytes:
    return len(data).to_bytes(4, "little") + data


@pytest.mark.parametrize(("length", "expected"), REFERENCE.items())
def test_reference_vectors(length: int, expected: str):
    assert as_hex(siphash128(KEY[0], KEY[1], as_array(bytes(range(length))), 0, length)) == expected


@given(st.binary(max_size=20), st.binary(max_size=40), st.binary(max_size=20))
def test_only_the_span_counts(before: bytes, data: bytes, behind: bytes):
    whole = as_array(before + data + behind)
    span = siphash128(KEY[0], KEY[1], whole, len(before), len(before) + len(data))
    assert span == siphash128(KEY[0], KEY[1], as_array(data), 0, len(data))


@given(
    st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.binary(max_size=40), st.binary(max_size=40), st.binary()
)
def test_a_pair_is_the_hash_of_its_length_prefixed_texts(k0: int, k1: int, a: bytes, b: bytes, around: bytes):
    key = np.uint64(k0), np.uint64(k1)
    both = as_array(around + a + around + b + around)
    a_start = len(around)
    b_start = 2 * len(around) + len(a)
    pair = siphash128_pair(*key, both, a_start, a_start + len(a), both, b_start, b_start + len(b))
    flat = prefixed(a) + prefixed(b)
    assert pair == siphash128(*key, as_array(flat), 0, len(flat))


def test_a_pair_keeps_its_texts_apart():
    def pair(a: bytes, b: bytes):
        return siphash128_pair(KEY[0], KEY[1], as_array(a), 0, len(a), as_array(b), 0, len(b))

    assert len({pair(b"ab", b"c"), pair(b"a", b"bc"), pair(b"abc", b""), pair(b"", b"abc")}) == 4


@given(st.lists(st.integers(0, 2**64 - 1), max_size=9))
def test_words_hash_as_their_bytes(words: list[int]):
    array = np.array([*words, 7], dtype=np.uint64)
    of_bytes = siphash128(KEY[0], KEY[1], array.view(np.uint8), 0, 8 * len(words))
    assert siphash128_words(KEY[0], KEY[1], array, len(words)) == of_bytes
