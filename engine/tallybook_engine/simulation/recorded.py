"""Recorded events as usage: each is a row of every product contract of its customer that would charge it.

What an event touches is what the ledger says (`matching`): a product contract of its customer over its meter, active at
its time, the one that it pins if it pins one, whose value it has and whose filter it fits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tallybook_engine.asking import GoOn, asking, unasked
from tallybook_engine.catalog.model import Aggregation, Catalog, Product
from tallybook_engine.kernels.wide import to_limbs
from tallybook_engine.ledger.recorded import RecordedEvents
from tallybook_engine.ledger.segments import PROPERTY_PREFIX
from tallybook_engine.simulation.contracts import ContractTable
from tallybook_engine.simulation.grouping import group_rows, lay_codes
from tallybook_engine.simulation.usage import UsageFrame, UsageProperty, concatenated, gathered

ONE = np.array(to_limbs(10**12, 2), dtype=np.uint64)
"""What an event is to a product that counts, scale 12."""


@dataclass(frozen=True)
class _Charge:
    """A product contract as events meet it."""

    id: str
    product: Product
    start_us: int
    end_us: int


def recorded_usage(events: RecordedEvents, catalog: Catalog, table: ContractTable, go_on: GoOn = unasked) -> UsageFrame:
    """The rows that a catalogue makes of events; `table` is of its contracts. Events of other customers and meters are
    in no row.
    """
    sorted_events = _Sorted(events, catalog, go_on)
    contracts: dict[str, int] = {}
    products: dict[str, int] = {}
    picked: list[NDArray[np.int32]] = []
    codes: list[tuple[int, int, int]] = []
    quantities: list[NDArray[np.uint64]] = []
    for customer_id, charges in asking(_charges(catalog, table, sorted_events.customer_ids).items(), go_on):
        for charge in charges:
            rows = sorted_events.of(customer_id, charge)
            if len(rows):
                picked.append(rows)
                quantities.append(sorted_events.quantities(charge.product, rows))
                code = contracts.setdefault(charge.id, len(contracts))
                codes.append((code, products.setdefault(charge.product.id, len(products)), len(rows)))
    counts = [count for _, _, count in codes]
    rows = concatenated(picked, go_on) if picked else np.empty(0, dtype=np.int32)
    return UsageFrame(
        tuple(contracts),
        np.repeat(np.array([code for code, _, _ in codes], dtype=np.int32), counts),
        tuple(products),
        np.repeat(np.array([code for _, code, _ in codes], dtype=np.int32), counts),
        np.zeros(len(rows), dtype=np.int32),
        gathered(events.times_us, rows, go_on),
        np.ones(len(rows), dtype=np.bool_),
        concatenated(quantities, go_on) if quantities else np.empty((0, 2), dtype=np.uint64),
        tuple(
            UsageProperty(name, gathered(text_codes, rows, go_on), tuple(texts.to_pylist()))
            for name, (text_codes, texts) in sorted_events.properties.items()
        ),
    )


def _charges(catalog: Catalog, table: ContractTable, customer_ids: set[str]) -> dict[str, list[_Charge]]:
    """The product contracts of customers."""
    customers = list(table.customers)
    products = [catalog.plans[name].product if name in catalog.plans else "" for name in table.plans]
    found: dict[str, list[_Charge]] = {}
    rows = table.of_customers(customer_ids)
    columns = (each[rows].tolist() for each in (table.customer, table.plan, table.start_us, table.end_us))
    for row, customer, plan, start_us, end_us in zip(rows.tolist(), *columns, strict=True):
        charge = _Charge(table.paths[row][-1], catalog.products[products[plan]], start_us, end_us)
        found.setdefault(customers[customer], []).append(charge)
    return found


class _Sorted:
    """Events by customer and meter."""

    def __init__(self, events: RecordedEvents, catalog: Catalog, go_on: GoOn) -> None:
        go_on()
        self._events = events
        customers, customer_names = events.codes("customer")
        meters, meter_names = events.codes("meter")
        ids = {each.reference: each.id for each in catalog.customers.values()}
        self._customer_codes = {ids[name]: code for code, name in enumerate(customer_names.to_pylist()) if name in ids}
        self.customer_ids = set(self._customer_codes)
        """Of all events whose customer the catalogue has."""
        self._meter_codes = {name: code for code, name in enumerate(meter_names.to_pylist())}
        self._meter_references = {each.id: each.reference for each in catalog.meters.values()}
        # Events whose meter nobody knows come behind those of the others.
        meters = np.where(meters < 0, np.int32(len(meter_names)), meters)
        self._meter_count = len(meter_names) + 1
        self._order = _order(customers, len(customer_names), meters, self._meter_count, go_on)
        self._keys = gathered(customers, self._order, go_on).astype(np.int64) * self._meter_count
        self._keys += gathered(meters, self._order, go_on)
        self._pins, pinned = events.codes("contract")
        self._pin_codes = {name: code for code, name in enumerate(pinned.to_pylist())}
        self._values: dict[str, tuple[NDArray[np.uint64], NDArray[np.bool_]] | None] = {}
        # What no event has is a column all the same: an event without a property fits no rule that asks for it.
        nothing = np.full(events.row_count, -1, dtype=np.int32), pa.array([], pa.string())
        names = dict.fromkeys(name for each in catalog.meters.values() for name in each.properties)
        self.properties = dict.fromkeys(names, nothing)
        for name in events.names(PROPERTY_PREFIX):
            go_on()
            self.properties[name] = events.codes(PROPERTY_PREFIX + name)

    def of(self, customer_id: str, charge: _Charge) -> NDArray[np.int32]:
        """The events that a product contract of a customer charges, in the order of their storing."""
        product = charge.product
        # A meter of a determinant has its id for a reference.
        meter = self._meter_codes.get(self._meter_references.get(product.meter, product.meter))
        if meter is None:
            return np.empty(0, dtype=np.int32)
        key = self._customer_codes[customer_id] * self._meter_count + meter
        rows = self._order[np.searchsorted(self._keys, key) : np.searchsorted(self._keys, key, side="right")]
        times_us = self._events.times_us[rows]
        fits = (times_us >= charge.start_us) & (times_us < charge.end_us)
        for other in self._others(product, charge.id, rows):
            fits &= other
        return rows[fits]

    def _others(
        self, product: Product, product_contract_id: str, rows: NDArray[np.int32]
    ) -> Iterator[NDArray[np.bool_]]:
        """[rows] whether events fit each further condition of a product contract."""
        if self._pin_codes:
            pins = self._pins[rows]
            yield (pins < 0) | (pins == self._pin_codes.get(product_contract_id, -2))
        if product.value is not None:
            value = self._value(product.value)
            yield np.zeros(len(rows), dtype=np.bool_) if value is None else value[1][rows]
        for name, text in product.filter:
            if name not in self.properties:
                yield np.zeros(len(rows), dtype=np.bool_)
                continue
            codes, texts = self.properties[name]
            # A text that no event has is a code that no event has.
            at = pc.index(texts, text).as_py()
            yield codes[rows] == (-2 if at < 0 else at)

    def quantities(self, product: Product, rows: NDArray[np.int32]) -> NDArray[np.uint64]:
        """[rows, 2] what the events are to a product, scale 12."""
        if product.aggregation is Aggregation.COUNT or product.value is None:
            return np.tile(ONE, (len(rows), 1))
        value = self._value(product.value)
        assert value is not None
        return value[0][rows]

    def _value(self, name: str) -> tuple[NDArray[np.uint64], NDArray[np.bool_]] | None:
        if name not in self._values:
            self._values[name] = self._events.value(name)
        return self._values[name]


def _order(
    customers: NDArray[np.int32], customer_count: int, meters: NDArray[np.int32], meter_count: int, go_on: GoOn
) -> NDArray[np.int32]:
    """Rows by customer and meter, those of both as they came: grouped by meter, and these rows by customer."""
    by_meter, order = np.empty(len(meters), dtype=np.int32), np.empty(len(meters), dtype=np.int32)
    lay_codes(group_rows(meters, meter_count, go_on), np.arange(len(meters), dtype=np.int32), by_meter, go_on)
    lay_codes(group_rows(gathered(customers, by_meter, go_on), customer_count, go_on), by_meter, order, go_on)
    return order
