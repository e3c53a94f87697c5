"""Compiling every kernel before the first call is answered, so that no caller waits for a compiler.

A small book in memory does what books do: rows and Arrow, duplicates, conflicts and faults, predictions, deletes,
reprocessing, an invoice, a simulation, a restart and its verification; a meter's day gets its determinants. What that
compiles stays on disk (`tallybook_engine.kernels.cache`), so only the first start on a machine takes long; later ones
load it.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from decimal import Decimal
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

from tallybook.v1 import ingest_pb2 as wire
from tallybook.v1 import simulate_pb2
from tallybook_engine.asking import unasked
from tallybook_engine.catalog.change import CatalogChange, CatalogObjects
from tallybook_engine.catalog.model import (
    Aggregation,
    Basis,
    Catalog,
    Contract,
    Customer,
    Discount,
    Frequency,
    Matrix,
    MatrixRule,
    Meter,
    PeriodUnit,
    Plan,
    Product,
    ProductContract,
    Tax,
)
from tallybook_engine.demand.coincident_peak import CoincidentPeak
from tallybook_engine.demand.reactive import ExcessReactive
from tallybook_engine.demand.rolling import RollingDemand
from tallybook_engine.determinants.blocks import Delivered, decode_block, encode_blocks
from tallybook_engine.determinants.calculate import calculate
from tallybook_engine.determinants.configuration import (
    ChannelClassifier,
    ChannelKind,
    Days,
    HolidayCalendar,
    Label,
    TimesliceGroup,
    TimesliceInterval,
)
from tallybook_engine.determinants.deliveries import Fitting, Wanted
from tallybook_engine.determinants.grids import grid_rows
from tallybook_engine.determinants.kinds import Kind
from tallybook_engine.determinants.readings import FIRST_LABEL_US, LAST_LABEL_US, ListedTimes, Readings
from tallybook_engine.determinants.request import (
    BillingConfiguration,
    BillingRequest,
    ChannelRequest,
    DemandRequest,
    OnInvalid,
)
from tallybook_engine.ledger.columns import EventColumns
from tallybook_engine.ledger.outcomes import EventSelector
from tallybook_engine.ledger.reads import EventFilter
from tallybook_engine.ledger.verify import verify
from tallybook_engine.pricing.model import Graduated, Package, PerUnit, Price, Tier, Volume
from tallybook_engine.simulation.contracts import ContractTable
from tallybook_server.book import Book
from tallybook_server.codec import arrow
from tallybook_server.codec.events import decode_rows
from tallybook_server.folding import open_book
from tallybook_server.journal.memory import MemoryJournal
from tallybook_server.simulations import prepare

ONE = 10**12
FIRST_SECOND = 1_700_000_000
DAY_SECONDS = 86_400


@cache
def warm_up() -> None:
    """Compiles, or loads, every kernel; once a process.

    Takes about a minute where nothing is compiled yet, a few seconds otherwise.
    """
    _warm_up_determinants()
    asyncio.run(_warm_up())


def _warm_up_determinants() -> None:
    """A day of one meter, by everything that a billing request can ask of it, and as it is stored."""
    hour_us, start_us = 3_600_000_000, FIRST_SECOND * 1_000_000
    classifiers = {name: ChannelClassifier(name, unit, 3) for name, unit in (("energy", "kWh"), ("power", "kW"))}
    group = TimesliceGroup("group", (TimesliceInterval("slice", Days.DAILY, 0, 720),))
    configuration = BillingConfiguration(classifiers, {"group": group}, HolidayCalendar("none", 1, frozenset()))
    labels = start_us + hour_us * np.arange(1, 25)
    readings = Readings(ListedTimes(labels, hour_us), np.arange(24), np.repeat(np.array([0, 6], np.uint8), 12))
    request = BillingRequest(
        "warm",
        start_us,
        start_us + 24 * hour_us,
        "Europe/Amsterdam",
        (ChannelRequest("energy", Kind.TIMESLICE, "group"), ChannelRequest("power", Kind.PMAX)),
        (
            *(DemandRequest(name, name, RollingDemand(2 * hour_us, is_block=True)) for name in classifiers),
            DemandRequest("coincident", "energy", CoincidentPeak("power", block_us=2 * hour_us)),
            DemandRequest("excess", "energy", ExcessReactive("power", is_by_interval=True)),
        ),
        on_invalid=OnInvalid.REPORT,
    )
    calculate(request, dict.fromkeys(classifiers, readings), configuration)
    statuses = tuple(status.name for status in configuration.quality.statuses)
    [blocks] = encode_blocks([Delivered(readings, statuses, "kWh", 3, ChannelKind.INTERVAL, Label.END)])
    for block in blocks:
        decode_block(block.body)
    fitting = Fitting(classifiers["energy"], configuration.quality)
    grid_rows([[block.body for block in blocks]], Wanted("energy", FIRST_LABEL_US, LAST_LABEL_US), fitting)


async def _warm_up() -> None:
    with ThreadPoolExecutor(2) as executor:
        journal = MemoryJournal()
        book = Book("warm-up", journal, executor)
        await book.apply_catalog(_catalog(ONE), None, False)
        # A batch of events that are all new and sound takes other paths than a mixed one; a first part, a later one.
        for columns in itertools.chain(*(_batches(day) for day in (0, 400, 1))):
            ingested = await book.ingest(columns, duplicates_costed=True)
            book.price_columns(ingested.outcome)
            await book.explain(ingested.outcome, range(columns.row_count))
            await book.predict(columns)
        await _use(book)
        _simulate(book.catalog())
        await book.close()
        folded = open_book(journal)
        verify(folded.state, list(folded.records.segments()))


async def _use(book: Book) -> None:
    await book.list_events(EventFilter(), None, None, 10)
    await book.charges("warm", False, None, None, None, False)
    await book.usage("warm", False, None, None, 1)
    await book.invoices("contract", date(2023, 11, 1), 1, None)
    selectors = [
        EventSelector(customer="warm", reference=f"rows-{day}-{row}", generation=1) for day in (0, 1) for row in (0, 1)
    ]
    await book.delete(selectors)
    await book.get_event(selectors[0])
    for columns in _batches(0):
        await book.ingest(columns, duplicates_costed=True)
    await book.apply_catalog(_catalog(2 * ONE), None, False)
    async for _ in book.reprocess(None, False, None, None, True, False, ""):
        pass
    book.tidy()


def _simulate(catalog: Catalog) -> None:
    """Usage of every product contract, as rows and as Arrow, under the catalogue and under itself as a scenario."""
    scenarios = [simulate_pb2.Scenario(name="again")]
    request = simulate_pb2.RunSimulationRequest(scenarios=scenarios)
    for (contract,) in (path for each in catalog.contracts.values() for path in each.levels()):
        for each in contract.product_contracts:
            request.rows.rows.add(
                date="2023-11-15",
                product_id=catalog.plans[each.plan].product,
                contract_id=each.id,
                quantity="7",
                properties={"kind": "a"},
                reference="one",
            )
    rows = request.rows.rows
    table = pa.table(
        {
            "date": pa.array([date.fromisoformat(each.date) for each in rows]),
            "product_id": [each.product_id for each in rows],
            "contract_id": [each.contract_id for each in rows],
            "quantity": pa.array([Decimal(each.quantity) for each in rows]),
            "property:kind": ["a"] * len(rows),
            "reference": [each.reference for each in rows],
        }
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    arrow = simulate_pb2.RunSimulationRequest(scenarios=scenarios, arrow=sink.getvalue().to_pybytes())
    for sent in (request, arrow):
        simulation = prepare(sent, catalog, ContractTable(catalog.contracts))
        settlement, comparison = simulation.adding_up(unasked)
        for piece in simulation.plan.pieces:
            found, _ = simulation.run(piece, unasked)
            comparison.add(found)
            settlement.add(found)
        for _ in simulation.settled(settlement, comparison, unasked):
            pass


def _batches(day: int) -> list[EventColumns]:
    """The same kinds of events as rows and as Arrow, twice: the second time they are duplicates, and one conflicts."""
    rows = [_rows(f"rows-{day}", day, number) for number in ("7.5", "7.5", "8")]
    return [*(decode_rows(each, 1_000) for each in rows), *(decode(day) for decode in _ARROW)]


def _rows(reference: str, day: int, number: str) -> bytes:
    message = wire.EventRows()
    for row, customer in enumerate(("warm", "warm", "stranger", "")):
        event = message.events.add(
            customer_reference=customer, meter_id="meter", reference=f"{reference}-{row}", contract_id=""
        )
        event.time.seconds = FIRST_SECOND + day * DAY_SECONDS + row
        event.meter_values.add(reference="value", number=number)
        event.meter_properties.add(reference="kind", value="a" if row else "b")
    return message.SerializeToString()


def _arrow(day: int, text: pa.DataType, number: pa.DataType) -> EventColumns:
    count = 3
    table = pa.table(
        {
            "reference": pa.array([f"arrow-{day}-{text}-{number}-{row}" for row in range(count)]),
            "customer_reference": pa.array(["warm"] * count, type=pa.string()).cast(text),
            "meter_reference": pa.array(["meter"] * count, type=pa.string()).cast(text),
            "time": pa.array([(FIRST_SECOND + day * DAY_SECONDS) * 1_000_000 + row for row in range(count)]).cast(
                pa.timestamp("us", "UTC")
            ),
            "value:value": pa.array([5, None, 9], type=pa.int32()).cast(number),
            "property:kind": pa.array(["a", None, "b"], type=pa.string()).cast(text),
        }
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return arrow.decode_events(sink.getvalue().to_pybytes())


def _as_arrow(text: pa.DataType, number: pa.DataType) -> Callable[[int], EventColumns]:
    return lambda day: _arrow(day, text, number)


_ARROW = [
    _as_arrow(text, number)
    for text in (pa.string(), pa.dictionary(pa.int32(), pa.string()))
    for number in (pa.int32(), pa.int64(), pa.decimal128(22, 3), pa.decimal128(38, 12))
]


def _catalog(unit_price: int) -> CatalogChange:
    """Every aggregation and every way through pricing: tiers, packages, a matrix, periods of several lengths."""
    month, year = (Frequency(Basis.CALENDAR, 1, unit) for unit in (PeriodUnit.MONTH, PeriodUnit.YEAR))
    tiers = (Tier(10 * ONE, unit_price, ONE), Tier(None, unit_price // 2))
    prices: dict[str, Any] = {
        "SUM": Price(Volume(tiers)),
        "COUNT": Price(Package(3 * ONE, ONE)),
        "MAX": Matrix(
            (MatrixRule("a", (("kind", "a"),), Price(Graduated(tiers))), MatrixRule("b", (), Price(PerUnit(ONE))))
        ),
    }
    products = tuple(
        Product(name, name, "meter", Aggregation[name], None if name == "COUNT" else "value") for name in prices
    )
    plans = tuple(Plan(name, name, "EUR", price) for name, price in prices.items())
    contract = Contract(
        id="contract",
        customer="warm",
        time_zone="UTC",
        start_date=date(2023, 1, 1),
        end_date=None,
        billing_frequency=month,
        product_contracts=tuple(ProductContract(name, name, year, shared=True) for name in prices),
        discount=Discount(ONE // 10),
    )
    return CatalogChange(
        CatalogObjects(
            taxes=(Tax("tax", "NL", ONE // 5),),
            meters=(Meter("meter", "meter", ("value",), ("kind",), True),),
            products=products,
            plans=plans,
            customers=(Customer("warm", "warm", "", "NL"),),
            contracts=(contract,),
        )
    )


if __name__ == "__main__":
    warm_up()
