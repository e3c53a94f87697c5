"""The state as bytes, so that a restart need not fold the whole journal.

A snapshot holds what opened and what it has come to; keys are kept apart, in runs that are written once. It is an
Arrow file of plain columns, and the state made of it equals the folded one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tallybook_engine.catalog.model import Catalog
from tallybook_engine.ledger.fold import settle
from tallybook_engine.ledger.opening import restore_openings
from tallybook_engine.ledger.outcomes import UNPINNED
from tallybook_engine.ledger.segments import (
    decimals,
    fixed_binary,
    limbs_of,
    net_of,
    net_pin_table,
    net_pins_of,
    net_table,
    numpy_of,
    opening_table,
    openings_of,
)
from tallybook_engine.ledger.state import Opening, State

_SEQUENCE, _RECEIPT_TIME = b"sequence", b"receipt_time_us"


def dump_state(state: State) -> bytes:
    """What is open and how far it has run."""
    order = _interleaved(state)
    openings = opening_table(order, list(state.pools.charges.index))
    openings = openings.replace_schema_metadata(
        {_SEQUENCE: str(state.sequence), _RECEIPT_TIME: str(state.receipt_time_us)}
    )
    parts, lines = state.parts.rows(), state.lines.rows()
    net = state.net.standing()
    tables = (
        openings,
        pa.table({"quantity": decimals(parts.quantity), "exact": fixed_binary(parts.exact)}),
        pa.table({"exact": fixed_binary(lines.exact), "amount": lines.amount, "tax": lines.tax}),
        net_table([(0, net.postings)]),
        net_pin_table([(0, net.pins)]),
    )
    bodies = [_bytes_of(table) for table in tables]
    return b"".join(len(body).to_bytes(8, "little") + body for body in bodies)


def restore_state(state: State, body: bytes, catalog_of: Callable[[int], Catalog]) -> None:
    """Brings a new state to where `dump_state` found it; `catalog_of` answers the versions that periods pin."""
    tables, at = [], 0
    while at < len(body):
        length = int.from_bytes(body[at : at + 8], "little")
        tables.append(pa.ipc.open_stream(pa.py_buffer(body[at + 8 : at + 8 + length])).read_all().combine_chunks())
        at += 8 + length
    openings, parts, lines, net, net_pins = tables
    pins = {*openings.column("version").to_pylist(), *net_pins.column("version").to_pylist()} - {UNPINNED}
    for version in sorted(pins):
        state.knows(catalog_of(version))
    metadata = openings.schema.metadata
    restore_openings(state, openings_of(openings, state.pools.charges.index))
    if len(state.parts):
        state.parts.rows().quantity[:] = limbs_of(parts.column("quantity").chunk(0), 2)
        state.parts.rows().exact[:] = limbs_of(parts.column("exact").chunk(0), 3)
        state.lines.rows().exact[:] = limbs_of(lines.column("exact").chunk(0), 3)
        state.lines.rows().amount[:] = numpy_of(lines.column("amount").chunk(0))
        state.lines.rows().tax[:] = numpy_of(lines.column("tax").chunk(0))
    state.net.apply(net_pins_of(net_pins), net_of(net))
    settle(state)
    state.sequence = int(metadata[_SEQUENCE])
    state.receipt_time_us = int(metadata[_RECEIPT_TIME])


_KEY_BYTES = 24


def dump_keys(runs: Sequence[NDArray[np.uint64]]) -> bytes:
    """Runs of [n, 3] keys and their locations, in the order in which they were given."""
    return b"".join(np.ascontiguousarray(run).data for run in runs)


def key_count(body_bytes: int) -> int:
    """How many keys a run of so many bytes holds."""
    return body_bytes // _KEY_BYTES


def restore_keys(state: State, body: bytes) -> None:
    """Puts a run of keys."""
    run = np.frombuffer(body, dtype=np.uint64).reshape(-1, 3)
    state.references.put_all(np.ascontiguousarray(run[:, :2]), np.ascontiguousarray(run[:, 2]))


def _interleaved(state: State) -> list[Opening]:
    """Openings and retirements in the order in which they happened."""
    order: list[Opening] = []
    at = 0
    for opened_before, retirement in state.retirements:
        order += [*state.openings[at:opened_before], retirement]
        at = opened_before
    return order + state.openings[at:]


def _bytes_of(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()
