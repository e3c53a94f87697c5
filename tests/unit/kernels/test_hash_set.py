"""The table of keys against a dict, while it grows."""

from __future__ import annotations

import numpy as np
import pytest

from tallybook_engine.kernels import hash_set
from tallybook_engine.kernels.hash_set import HashTable


def random_keys(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**64, (count, 2), dtype=np.uint64)


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(hash_set, "PREPARED_CAPACITY_MIN", 16)


def test_growth_is_due_once_a_size_and_only_when_the_table_is_nearly_full(small):
    table = HashTable(capacity=16)
    due = []
    for number, (low, high) in enumerate(random_keys(1, 40).tolist(), start=1):
        table.put(low, high, number)
        due.append(table.growth_due())
    # A table of 16 takes 12 keys: more than 9 are three quarters of them; one of 32 takes 24.
    assert {at + 1: capacity for at, capacity in enumerate(due) if capacity} == {10: 32, 19: 64, 37: 128}


@pytest.mark.parametrize("prepared", [(), (32,), (64,), (8,)], ids=str)
def test_a_table_is_the_same_whether_or_not_its_growth_was_prepared(prepared):
    keys = random_keys(2, 1_000)
    table = HashTable(capacity=16)
    table.put_all(keys[:10], np.arange(1, 11, dtype=np.uint64))
    for capacity in prepared:
        table.prepare(capacity)
    table.put_all(keys[10:], np.arange(11, 1_001, dtype=np.uint64))
    assert [table.get(low, high) for low, high in keys.tolist()] == list(range(1, 1_001))
    assert table.get(1, 1) == 0
    assert table.count == 1_000
    # What was prepared for a size that is past is not kept.
    assert table._prepared is None


def test_prepared_arrays_are_the_ones_that_the_table_grows_into():
    table = HashTable(capacity=16)
    table.prepare(32)
    prepared = table._prepared
    table.reserve(20)
    assert prepared is not None
    assert table.keys is prepared[0]
