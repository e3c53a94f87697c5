"""Who an event is: the 128-bit key of (customer, reference), its payload's fingerprint, and where it is stored.

Keys and fingerprints are SipHash-2-4-128 under the journal's secret, so that nobody can send references that collide.
They are computed by our own kernel over length-prefixed bytes; no library's hash is ever stored.

A **location** says where a key's latest record is: `deleted << 63 | sequence << 24 | row`. Sequence and row never
change, also when segments are merged, so `sequence << 24 | row` of an event's first record is its event id.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tallybook_engine.kernels import kernel
from tallybook_engine.kernels.hash_set import EMPTY, find
from tallybook_engine.kernels.siphash import siphash128, siphash128_pair, siphash128_words
from tallybook_engine.ledger.columns import EventColumns, PropertyColumn

ROW_BITS = 24
MAXIMUM_ROWS = 1 << ROW_BITS
"""Records in one commit."""
ROW_MASK = MAXIMUM_ROWS - 1
DELETED_BIT = 1 << 63
SEQUENCE_MAXIMUM = (1 << 39) - 1

# What a payload carries, in one word of its fingerprint.
_TIME_GIVEN, _CONTRACT_GIVEN, _ONE_VALUE = np.uint64(1), np.uint64(2), np.uint64(1 << 8)


def location(sequence: int, row: int, deleted: bool = False) -> int:
    """Packs a location."""
    return (DELETED_BIT if deleted else 0) | sequence << ROW_BITS | row


def sequence_and_row(packed: int) -> tuple[int, int]:
    """Unpacks a location or event id."""
    return (packed & (DELETED_BIT - 1)) >> ROW_BITS, packed & ROW_MASK


def utf8_buffers(texts: pa.StringArray) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """(offsets int32[n + 1], bytes) of a string array without nulls; views, not copies."""
    if len(texts) == 0:
        return np.zeros(1, dtype=np.int32), np.zeros(0, dtype=np.uint8)
    _, offsets, data = texts.buffers()
    starts = np.frombuffer(offsets, dtype=np.int32, count=len(texts) + texts.offset + 1)[texts.offset :]
    content = np.frombuffer(data, dtype=np.uint8) if data is not None else np.zeros(0, dtype=np.uint8)
    return starts, content


@kernel
def _keys(
    k0: np.uint64,
    k1: np.uint64,
    customer_codes: NDArray[np.int32],
    customer_offsets: NDArray[np.int32],
    customer_bytes: NDArray[np.uint8],
    offsets: NDArray[np.int32],
    reference_bytes: NDArray[np.uint8],
    keys: NDArray[np.uint64],
) -> None:
    for row in range(len(keys)):
        code = customer_codes[row]
        if code < 0:
            continue
        keys[row, 0], keys[row, 1] = siphash128_pair(
            k0,
            k1,
            customer_bytes,
            customer_offsets[code],
            customer_offsets[code + 1],
            reference_bytes,
            offsets[row],
            offsets[row + 1],
        )


@kernel
def _text_hashes(
    k0: np.uint64, k1: np.uint64, offsets: NDArray[np.int32], data: NDArray[np.uint8], hashes: NDArray[np.uint64]
) -> None:
    for row in range(len(hashes)):
        hashes[row, 0], hashes[row, 1] = siphash128(k0, k1, data, offsets[row], offsets[row + 1])


@kernel
def _fingerprints(
    k0: np.uint64,
    k1: np.uint64,
    meter_codes: NDArray[np.int32],
    meter_hashes: NDArray[np.uint64],
    contract_codes: NDArray[np.int32],
    contract_hashes: NDArray[np.uint64],
    times_us: NDArray[np.int64],
    time_given: NDArray[np.bool_],
    value_names: NDArray[np.uint64],
    numbers: NDArray[np.uint64],
    present: NDArray[np.bool_],
    property_codes: NDArray[np.int32],
    property_hashes: NDArray[np.uint64],
    property_starts: NDArray[np.int64],
    words: NDArray[np.uint64],
    fingerprints: NDArray[np.uint64],
) -> None:
    for row in range(len(fingerprints)):
        if meter_codes[row] < 0:
            continue
        words[0] = meter_hashes[meter_codes[row], 0]
        words[1] = meter_hashes[meter_codes[row], 1]
        # What is there: so that no word is ever read as another, all else follows only where it is given.
        given = np.uint64(0)
        count = 3
        if time_given[row]:
            given |= _TIME_GIVEN
            words[count] = np.uint64(times_us[row])
            count += 1
        if contract_codes[row] >= 0:
            given |= _CONTRACT_GIVEN
            words[count] = contract_hashes[contract_codes[row], 0]
            words[count + 1] = contract_hashes[contract_codes[row], 1]
            count += 2
        for column in range(len(value_names)):
            if present[column, row]:
                words[count] = value_names[column, 0]
                words[count + 1] = value_names[column, 1]
                words[count + 2] = numbers[column, row, 0]
                words[count + 3] = numbers[column, row, 1]
                count += 4
                given += _ONE_VALUE
        words[2] = given
        for column in range(len(property_starts)):
            code = property_codes[column, row]
            if code >= 0:
                entry = property_starts[column] + code
                words[count] = property_hashes[entry, 0]
                words[count + 1] = property_hashes[entry, 1]
                count += 2
        fingerprints[row, 0], fingerprints[row, 1] = siphash128_words(k0, k1, words, count)


@kernel
def _hash_with_name(
    k0: np.uint64, k1: np.uint64, name: NDArray[np.uint64], words: NDArray[np.uint64], hashes: NDArray[np.uint64]
) -> None:
    """Turns the hash of each value into that of (name, value)."""
    words[0] = name[0]
    words[1] = name[1]
    for entry in range(len(hashes)):
        words[2] = hashes[entry, 0]
        words[3] = hashes[entry, 1]
        hashes[entry, 0], hashes[entry, 1] = siphash128_words(k0, k1, words, 4)


@kernel
def look_up(
    keys: NDArray[np.uint64],
    payloads: NDArray[np.uint64],
    new_keys: NDArray[np.uint64],
    wanted: NDArray[np.bool_],
    first_location: np.uint64,
    before: NDArray[np.uint64],
) -> int:
    """Looks up n keys in order and claims the unknown ones for `first_location + row`.

    `before[row]` becomes what the key's location was: 0 where it was unknown, and the location of an earlier row of
    the same call where that claimed it. Rows not wanted stay untouched. Answers how many were claimed.
    """
    claimed = 0
    for row in range(len(new_keys)):
        if not wanted[row]:
            continue
        slot = find(keys, payloads, new_keys[row, 0], new_keys[row, 1])
        before[row] = payloads[slot]
        if payloads[slot] == EMPTY:
            keys[slot, 0] = new_keys[row, 0]
            keys[slot, 1] = new_keys[row, 1]
            payloads[slot] = first_location + np.uint64(row)
            claimed += 1
    return claimed


@kernel
def locations_of(
    keys: NDArray[np.uint64],
    payloads: NDArray[np.uint64],
    wanted_keys: NDArray[np.uint64],
    locations: NDArray[np.uint64],
) -> None:
    """Location of each of n keys [n, 2]; 0 where it is unknown."""
    for row in range(len(locations)):
        locations[row] = payloads[find(keys, payloads, wanted_keys[row, 0], wanted_keys[row, 1])]


class Hasher:
    """Keys, fingerprints and partitions under one journal's secret of 16 bytes."""

    def __init__(self, secret: bytes) -> None:
        self._k0, self._k1 = (np.uint64(word) for word in np.frombuffer(secret, dtype="<u8"))

    def keys(
        self, customer_codes: NDArray[np.int32], customer_references: pa.StringArray, references: pa.StringArray
    ) -> NDArray[np.uint64]:
        """[n, 2] keys of n (customer, reference); rows without a customer code keep 0."""
        keys = np.zeros((len(references), 2), dtype=np.uint64)
        _keys(
            self._k0,
            self._k1,
            customer_codes,
            *utf8_buffers(customer_references),
            *utf8_buffers(references),
            keys,
        )
        return keys

    def text_hashes(self, texts: pa.StringArray) -> NDArray[np.uint64]:
        """[n, 2] hash of each text."""
        hashes = np.zeros((len(texts), 2), dtype=np.uint64)
        _text_hashes(self._k0, self._k1, *utf8_buffers(texts), hashes)
        return hashes

    def partitions(self, customer_references: pa.StringArray, partition_count: int) -> NDArray[np.int32]:
        """[n] partition of each customer reference: its hash modulo the number of partitions."""
        return (self.text_hashes(customer_references)[:, 0] % np.uint64(partition_count)).astype(np.int32)

    def fingerprints(self, columns: EventColumns, meter_references: pa.StringArray) -> NDArray[np.uint64]:
        """[n, 2] fingerprint of each payload as sent: an absent time stays absent, numbers compare by value, names
        are sorted, and the meter is its reference however it was named (DESIGN, Idempotency)."""
        count = columns.row_count
        values = sorted(columns.values, key=lambda column: column.name)
        properties = sorted(columns.properties, key=lambda column: column.name)
        property_hashes = [self._property_hashes(column) for column in properties]
        words = np.zeros(6 + 4 * len(values) + 2 * len(properties), dtype=np.uint64)
        fingerprints = np.zeros((count, 2), dtype=np.uint64)
        _fingerprints(
            self._k0,
            self._k1,
            columns.meters.codes,
            self.text_hashes(meter_references),
            columns.contracts.codes,
            self.text_hashes(columns.contracts.names),
            columns.times_us,
            columns.time_given,
            self._name_hashes([column.name for column in values]),
            stacked([column.numbers for column in values], (0, count, 2), np.uint64),
            stacked([column.present for column in values], (0, count), np.bool_),
            stacked([column.codes for column in properties], (0, count), np.int32),
            np.concatenate([*property_hashes, np.zeros((0, 2), dtype=np.uint64)]),
            starts_of([len(hashes) for hashes in property_hashes]),
            words,
            fingerprints,
        )
        return fingerprints

    def _property_hashes(self, column: PropertyColumn) -> NDArray[np.uint64]:
        """[k, 2] hash of the property's name with each of its values."""
        hashes = self.text_hashes(column.values)
        _hash_with_name(self._k0, self._k1, self._name_hashes([column.name])[0], np.zeros(4, dtype=np.uint64), hashes)
        return hashes

    def _name_hashes(self, names: Sequence[str]) -> NDArray[np.uint64]:
        return self.text_hashes(pa.array(names, type=pa.string()))


def stacked(arrays: Sequence[NDArray[Any]], empty_shape: tuple[int, ...], dtype: type) -> NDArray[Any]:
    """The arrays behind one another along a new first axis; an empty array of the shape where there are none."""
    return np.stack(arrays) if arrays else np.zeros(empty_shape, dtype=dtype)


def starts_of(lengths: Sequence[int]) -> NDArray[np.int64]:
    """[n] where each of n runs starts."""
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(np.array(lengths, dtype=np.int64))])[: len(lengths)]
