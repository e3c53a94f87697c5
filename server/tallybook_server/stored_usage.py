"""Usage that a book has stored, for a simulation: its recorded events, or its billing determinants."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from tallybook.v1 import simulate_pb2 as wire
from tallybook_engine.asking import GoOn
from tallybook_engine.catalog.model import Aggregation, Catalog
from tallybook_engine.decimals import QUANTITY_SCALE, parse_decimal
from tallybook_engine.determinants.configuration import Datasource
from tallybook_engine.determinants.naming import MONTH_SUFFIX
from tallybook_engine.kernels.wide import limb_array
from tallybook_engine.ledger.recorded import RecordedEvents, Spans
from tallybook_engine.simulation.contracts import ContractTable
from tallybook_engine.simulation.recorded import recorded_usage
from tallybook_engine.simulation.usage import FAULTS_MAX, Flaws, UsageFault, UsageFrame, UsageProperty
from tallybook_server.billing import read_body
from tallybook_server.codec.instants import read_instant
from tallybook_server.codec.usage import check_row_count
from tallybook_server.errors import field_invalid
from tallybook_server.journal.attached import StoredValue
from tallybook_server.journal.interface import Journal

DATASOURCE = "datasource"
"""Property of the rows that determinants become, as of their events."""


class UsageBook(Protocol):
    """What is needed of a book."""

    @property
    def readings(self) -> Journal: ...

    def committed_sequence(self, as_of_sequence: int = 0) -> int: ...

    def recorded_events(self, spans: Spans, sequence: int, go_on: GoOn = ...) -> RecordedEvents: ...


def read_stretch(message: Any, path: str) -> tuple[int, int]:
    """`start_time` and `end_time` of a message, both required. FIELD_INVALID where the end is not behind the start."""
    start_us, end_us = (read_instant(message, field, path) for field in ("start_time", "end_time"))
    if end_us <= start_us:
        raise field_invalid(f"{path}.end_time", "is not after start_time")
    return start_us, end_us


def _sequence(message: Any, path: str, book: UsageBook) -> int:
    """The committed sequence that `as_of_sequence` of a message means."""
    if message.as_of_sequence < 0:
        raise field_invalid(f"{path}.as_of_sequence", "is below 0")
    return book.committed_sequence(message.as_of_sequence)


def events_as_usage(
    request: wire.RunSimulationRequest, catalog: Catalog, table: ContractTable, book: UsageBook, go_on: GoOn
) -> tuple[UsageFrame, int]:
    """Recorded events of the customers asked, and the committed sequence that they are of. Raises Fault."""
    stretch = read_stretch(request.recorded, "recorded")
    sequence = _sequence(request.recorded, "recorded", book)
    # An id that nobody has is named with whatever else does not fit.
    wanted = set(request.customer_ids) or catalog.customers.keys()
    spans = {each.reference: stretch for each in catalog.customers.values() if each.id in wanted}
    frame = recorded_usage(book.recorded_events(spans, sequence, go_on), catalog, table, go_on)
    return frame, sequence


class _Row(NamedTuple):
    """One determinant under one product contract."""

    product_contract_id: str
    product_id: str
    datasource_id: str
    time_us: int
    value: int
    """Of the determinant, scale 12."""
    quantity: int
    """What it is to the product."""


def determinants_as_usage(
    request: wire.RunSimulationRequest, catalog: Catalog, table: ContractTable, book: UsageBook, go_on: GoOn
) -> tuple[UsageFrame, int]:
    """Stored determinants, and the committed sequence that they are of. Raises Fault."""
    wanted = request.determinants
    start_us, end_us = read_stretch(wanted, "determinants")
    sequence = _sequence(wanted, "determinants", book)
    rows = []
    sources, faults = _sources(request, catalog)
    for source, product_contract_id, product_id, channel in _charged(catalog, table, sources):
        # Each channel is a read of the journal.
        go_on()
        for each in _counting(book.readings, source.id, channel, start_us, end_us, sequence):
            body = read_body(each.body)
            # What was withdrawn, or only reported, is not billed.
            if not body.value or not body.billable:
                continue
            value = parse_decimal(body.value)
            counts = catalog.products[product_id].aggregation is Aggregation.COUNT
            # The last instant of its period, which lies in the period that it is billed in.
            time_us = max(each.end_us - 1, each.start_us)
            quantity = 10**QUANTITY_SCALE if counts else value
            rows.append(_Row(product_contract_id, product_id, source.id, time_us, value, quantity))
            check_row_count(len(rows))
    faults += [
        UsageFault("determinants", f"of datasource {row.datasource_id!r} for {row.product_id!r} one is negative")
        for row in rows
        if row.value < 0
    ]
    frame = _frame([row for row in rows if row.value >= 0])
    if faults:
        is_undated = np.zeros(frame.row_count, dtype=np.bool_)
        frame = replace(frame, flaws=Flaws(tuple(faults[:FAULTS_MAX]), len(faults), is_undated))
    return frame, sequence


def _sources(request: wire.RunSimulationRequest, catalog: Catalog) -> tuple[list[Datasource], list[UsageFault]]:
    """The datasources whose determinants are wanted, and what is wrong with those that cannot be."""
    customers = set(request.customer_ids)
    faults = []
    for number, name in enumerate(request.determinants.datasources):
        source = catalog.datasources.get(name)
        path = f"determinants.datasources[{number}]"
        if source is None:
            faults.append(UsageFault(path, f'no datasource "{name}" in the catalogue'))
        elif source.customer is None:
            faults.append(UsageFault(path, f'"{name}" has no customer: its determinants are nobody\'s usage'))
        elif customers and source.customer not in customers:
            faults.append(UsageFault(path, f'"{name}" is of customer "{source.customer}", who is not asked'))
    named = request.determinants.datasources or catalog.datasources
    found = (catalog.datasources[name] for name in dict.fromkeys(named) if name in catalog.datasources)
    wanted = [each for each in found if each.customer is not None and (not customers or each.customer in customers)]
    return wanted, faults


def _charged(
    catalog: Catalog, table: ContractTable, sources: Sequence[Datasource]
) -> Iterator[tuple[Datasource, str, str, str]]:
    """(datasource, product contract, product, BILLING channel) of everything that determinants are charged by."""
    made = {each.id: each for each in catalog.products.values() if each.determinant is not None}
    plans, customers = list(table.plans), list(table.customers)
    by_customer: dict[str, list[tuple[str, str]]] = {}
    for row in table.of_customers({each.customer for each in sources if each.customer is not None}).tolist():
        product = catalog.plans[plans[table.plan[row]]].product
        if product in made:
            by_customer.setdefault(customers[table.customer[row]], []).append((table.paths[row][-1], product))
    for source in sources:
        for name, product in by_customer.get(source.customer or "", ()):
            fits = all(key == DATASOURCE and text == source.id for key, text in made[product].filter)
            if fits and source.contract_id in (None, name):
                yield source, name, product, made[product].meter


def _counting(
    journal: Journal, datasource: str, channel: str, start_us: int, end_us: int, sequence: int
) -> list[StoredValue]:
    """The values of a channel, and of its months, of which none meets another: later ones before earlier ones."""
    months, wholes = (
        list(journal.billing_values(datasource, name, start_us + 1, end_us + 1, sequence))
        for name in (f"{channel}_{MONTH_SUFFIX}", channel)
    )
    # One calculation is one message; sorting is stable, so its months come first.
    found: list[StoredValue] = []
    for each in sorted([*months, *wholes], key=attrgetter("message_id"), reverse=True):
        if not any(each.start_us < other.end_us and other.start_us < each.end_us for other in found):
            found.append(each)
    return sorted(found)


def _frame(rows: Sequence[_Row]) -> UsageFrame:
    def coded(names: list[str]) -> tuple[tuple[str, ...], NDArray[np.int32]]:
        known: dict[str, int] = {}
        codes = np.array([known.setdefault(name, len(known)) for name in names], dtype=np.int32)
        return tuple(known), codes

    datasources, datasource_codes = coded([row.datasource_id for row in rows])
    return UsageFrame(
        *coded([row.product_contract_id for row in rows]),
        *coded([row.product_id for row in rows]),
        np.zeros(len(rows), dtype=np.int32),
        np.array([row.time_us for row in rows], dtype=np.int64),
        np.ones(len(rows), dtype=np.bool_),
        limb_array([row.quantity for row in rows], 2),
        (UsageProperty(DATASOURCE, datasource_codes, datasources),),
    )
