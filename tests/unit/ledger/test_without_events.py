"""A ledger without events over the same catalogue: both go on, and neither notices the other."""

from typing import Any

import numpy as np
from google.protobuf.json_format import ParseDict
from tests.support.small_catalogue import catalogue

from tallybook.v1 import catalog_pb2
from tallybook_engine.ledger.state import State
from tallybook_server.codec.catalog import read_catalog

SECRET = bytes(16)


def catalog_of(*prices: str):
    return read_catalog(
        ParseDict(catalogue(*({"per_unit": {"unit_price": each}} for each in prices)), catalog_pb2.Catalog())
    )


def contents(state: State) -> dict[str, Any]:
    """Everything that the pools of a ledger number, copied."""
    pools = state.pools
    tables = (pools.definition_table, pools.cell_table, pools.condition_table, pools.prices.tables)
    return {
        "names": [list(pool.index) for pool in (pools.customers, pools.meters, pools.charges, pools.value_names)],
        "definitions": list(pools.definitions),
        "references": dict(pools.customer_references),
        "prices": len(pools.prices),
        "tables": [[column.copy() for column in table] for table in tables],
        "version": state.current.version,
        "compiled": sorted(state.compiled),
    }


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    tables = zip(one.pop("tables"), other.pop("tables"), strict=True)
    equal = all(np.array_equal(a, b) for table in tables for a, b in zip(*table, strict=True))
    return equal and one == other


def test_it_begins_with_what_the_catalogue_means():
    state = State(SECRET, 16)
    state.adopt(catalog_of("2", "3"))
    twin = state.without_events(bytes(range(16)))
    assert same(contents(twin), {**contents(state), "compiled": [state.current.version]})
    assert twin.current is state.current
    assert len(twin.parts) == len(twin.lines) == twin.sequence == 0


def test_what_one_adopts_the_other_does_not_have():
    state = State(SECRET, 16)
    state.adopt(catalog_of("2"))
    twin = state.without_events(SECRET)
    before, twins = contents(state), contents(twin)
    # When the new one adopts a catalogue with more product contracts than its tables have room for
    twin.adopt(catalog_of(*(str(number) for number in range(40))))
    assert same(contents(state), before)
    # And when the old one does, after it
    after = contents(twin)
    assert len(after["definitions"]) > len(twins["definitions"])
    state.adopt(catalog_of("7", "8", "9"))
    assert same(contents(twin), after)


def test_what_splits_running_periods_is_known_to_both():
    state = State(SECRET, 16)
    state.adopt(catalog_of("2"))
    state.splits = {0: []}
    twin = state.without_events(SECRET)
    twin.splits[0].append("split")  # type: ignore[arg-type]  # stands for any
    assert state.splits == {0: []}
