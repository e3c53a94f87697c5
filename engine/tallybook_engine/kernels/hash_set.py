"""Open addressing table from 128-bit keys to 64-bit payloads, linear probing, in two arrays.

Keys are outputs of a keyed hash, so their low bits choose the slot as they are. Payload 0 marks an empty slot.
Load stays at or below one half to three quarters; `remove` shifts followers back, so there are no tombstones.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.kernels import kernel

EMPTY = np.uint64(0)
LOAD_NUMERATOR = 3
LOAD_DENOMINATOR = 4

PREPARED_CAPACITY_MIN = 1 << 18
"""A smaller table grows faster than another thread could be asked."""
_AHEAD_NUMERATOR = 3
_AHEAD_DENOMINATOR = 4
"""The next size is due when so much of the room is taken."""
_PAGE_BYTES = 4096

_Arrays = tuple[NDArray[np.uint64], NDArray[np.uint64]]


@kernel
def find(keys: NDArray[np.uint64], payloads: NDArray[np.uint64], low: np.uint64, high: np.uint64) -> np.int64:
    """Slot of a key, or where it would go; `payloads[slot]` is 0 there. keys [capacity, 2], capacity a power of 2."""
    mask = np.uint64(len(payloads) - 1)
    slot = low & mask
    while payloads[slot] != EMPTY:
        if keys[slot, 0] == low and keys[slot, 1] == high:
            break
        slot = (slot + np.uint64(1)) & mask
    return np.int64(slot)


@kernel
def put_all(
    keys: NDArray[np.uint64],
    payloads: NDArray[np.uint64],
    new_keys: NDArray[np.uint64],
    new_payloads: NDArray[np.uint64],
) -> int:
    """Puts m keys [m, 2]; a known key takes the new payload. Answers how many were new. Room is the caller's care."""
    added = 0
    for row in range(len(new_payloads)):
        slot = find(keys, payloads, new_keys[row, 0], new_keys[row, 1])
        if payloads[slot] == EMPTY:
            added += 1
            keys[slot, 0] = new_keys[row, 0]
            keys[slot, 1] = new_keys[row, 1]
        payloads[slot] = new_payloads[row]
    return added


@kernel
def rehash(
    keys: NDArray[np.uint64],
    payloads: NDArray[np.uint64],
    larger_keys: NDArray[np.uint64],
    larger_payloads: NDArray[np.uint64],
) -> None:
    """Moves every key into an empty, larger table."""
    for row in range(len(payloads)):
        if payloads[row] != EMPTY:
            slot = find(larger_keys, larger_payloads, keys[row, 0], keys[row, 1])
            larger_keys[slot, 0] = keys[row, 0]
            larger_keys[slot, 1] = keys[row, 1]
            larger_payloads[slot] = payloads[row]


@kernel
def remove(keys: NDArray[np.uint64], payloads: NDArray[np.uint64], low: np.uint64, high: np.uint64) -> bool:
    """Takes a key out and moves the keys behind it into the gap. Answers whether it was there."""
    mask = np.uint64(len(payloads) - 1)
    gap = np.uint64(find(keys, payloads, low, high))
    if payloads[gap] == EMPTY:
        return False
    slot = gap
    while True:
        slot = (slot + np.uint64(1)) & mask
        if payloads[slot] == EMPTY:
            break
        home = keys[slot, 0] & mask
        # The key may stay where its home lies behind the gap, seen round the end of the table.
        if ((slot - home) & mask) >= ((slot - gap) & mask):
            keys[gap, 0] = keys[slot, 0]
            keys[gap, 1] = keys[slot, 1]
            payloads[gap] = payloads[slot]
            gap = slot
    payloads[gap] = EMPTY
    return True


@kernel
def remove_all(
    keys: NDArray[np.uint64], payloads: NDArray[np.uint64], old_keys: NDArray[np.uint64], wanted: NDArray[np.bool_]
) -> int:
    """Takes the wanted ones of m keys [m, 2] out; answers how many were there."""
    removed = 0
    for row in range(len(old_keys)):
        if wanted[row] and remove(keys, payloads, old_keys[row, 0], old_keys[row, 1]):
            removed += 1
    return removed


class HashTable:
    """The table with its count and growth.

    Memory that was never touched costs far more than moving the keys: a third of the time of a thread that stores
    millions of keys a minute. So the next size is laid out ahead, by whoever asks `growth_due` and calls `prepare` on
    another thread. Where nobody did, the table grows all the same.
    """

    def __init__(self, capacity: int = 1 << 12) -> None:
        self.keys, self.payloads = _empty(capacity)
        self.count = 0
        self._prepared: _Arrays | None = None
        self._asked_capacity = 0

    def reserve(self, more: int) -> None:
        """Makes room for so many more keys; the arrays may be new ones afterwards."""
        capacity = len(self.payloads)
        while (self.count + more) * LOAD_DENOMINATOR > capacity * LOAD_NUMERATOR:
            capacity *= 2
        if capacity == len(self.payloads):
            return
        prepared, self._prepared = self._prepared, None
        fitting = prepared is not None and len(prepared[1]) == capacity
        keys, payloads = prepared if prepared is not None and fitting else _empty(capacity)
        rehash(self.keys, self.payloads, keys, payloads)
        self.keys, self.payloads = keys, payloads

    def growth_due(self) -> int:
        """The capacity that will be wanted soon, 0 if none; each is answered once. For one thread at a time."""
        capacity = 2 * len(self.payloads)
        soon = (
            self.count * LOAD_DENOMINATOR * _AHEAD_DENOMINATOR > len(self.payloads) * LOAD_NUMERATOR * _AHEAD_NUMERATOR
        )
        if not soon or capacity < PREPARED_CAPACITY_MIN or capacity == self._asked_capacity:
            return 0
        self._asked_capacity = capacity
        return capacity

    def prepare(self, capacity: int) -> None:
        """Lays out empty arrays for a growth to `capacity`, every page of them touched. Safe beside all else."""
        keys, payloads = _empty(capacity)
        for array in (keys.reshape(-1), payloads):
            array[:: _PAGE_BYTES // array.itemsize] = EMPTY
        if capacity > len(self.payloads):
            self._prepared = keys, payloads

    def put_all(self, keys: NDArray[np.uint64], payloads: NDArray[np.uint64]) -> None:
        """Puts m keys; a known key takes the new payload."""
        self.reserve(len(payloads))
        self.count += put_all(self.keys, self.payloads, keys, payloads)

    def get(self, low: int, high: int) -> int:
        """Payload of a key; 0 where it is unknown."""
        return int(self.payloads[find(self.keys, self.payloads, np.uint64(low), np.uint64(high))])

    def put(self, low: int, high: int, payload: int) -> None:
        """Puts one key; payload 0 takes it out."""
        if payload == 0:
            self.count -= remove(self.keys, self.payloads, np.uint64(low), np.uint64(high))
            return
        self.put_all(np.array([[low, high]], dtype=np.uint64), np.array([payload], dtype=np.uint64))


def _empty(capacity: int) -> _Arrays:
    return np.zeros((capacity, 2), dtype=np.uint64), np.zeros(capacity, dtype=np.uint64)
