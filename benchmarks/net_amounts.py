"""Net amounts: events of customers whose contracts have terms, beside the same events of customers without.

Each customer has a contract of three levels. With terms these are a discount and a cap on the lowest, a fixed fee and a
revenue share on the next, a minimum and credits on the root, so that every event is settled up to the root. Each event
has one charge.

Timed: staging, committing and pricing batches of 10,000 events with their costs as columns, one batch after the other
in one process, on a journal in memory; by the clock, and by the process's processor time. Not timed: decoding, and the
first batch, in which what events fall into opens. The best of the runs counts; the two cases are measured in turn.

    python -m benchmarks.net_amounts
    python -m benchmarks.net_amounts --smoke --json

The hash covers each event's amount, net amount and their taxes, in order.
"""

from __future__ import annotations

import asyncio
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
from benchmarks.measuring import Figures, Size, hash_of, run_command, significant
from google.protobuf.json_format import ParseDict

from tallybook.v1 import catalog_pb2
from tallybook_engine.catalog.change import CatalogChange
from tallybook_engine.catalog.faults import Faults
from tallybook_engine.ledger.columns import EventColumns
from tallybook_server.book import Book
from tallybook_server.codec.arrow import decode_events
from tallybook_server.codec.catalog import read_objects
from tallybook_server.journal.memory import MemoryJournal

SEED = 20130101
CUSTOMERS = {Size.SMOKE: 5, Size.FULL: 1_000}
BATCHES = {Size.SMOKE: 2, Size.FULL: 20}
BATCH_EVENTS = {Size.SMOKE: 500, Size.FULL: 10_000}
RUNS = {Size.SMOKE: 1, Size.FULL: 5}
FIRST_TIME_US = 1_709_251_200_000_000
"""2024-03-01 UTC; all events lie in that month."""
MONTH_US = 31 * 86_400 * 1_000_000


def contract(number: int, has_terms: bool) -> dict[str, Any]:
    """A customer's contract."""
    lowest: dict[str, Any] = {
        "id": f"team_{number}",
        "product_contracts": [{"id": f"calls_{number}", "plan": "calls"}],
    }
    middle: dict[str, Any] = {"id": f"division_{number}", "sub_contracts": [lowest]}
    root: dict[str, Any] = {
        "id": f"company_{number}",
        "customer": f"customer_{number}",
        "time_zone": "Europe/Amsterdam",
        "start_date": "2024-01-01",
        "billing_frequency": {"basis": "CALENDAR", "interval": 1, "unit": "MONTH"},
        "sub_contracts": [middle],
    }
    if has_terms:
        lowest |= {"discount": {"rate": "0.1", "threshold": "5"}, "cap": "250"}
        middle["fixed_fees"] = [{"id": f"support_{number}", "amount": "15"}]
        middle["revenue_shares"] = [{"id": f"share_{number}", "charges": [f"calls_{number}"], "rate": "0.03"}]
        root |= {"minimum": "40", "credits": [{"id": f"opening_{number}", "amount": "100"}]}
    return root


def catalog(size: Size, has_terms: bool) -> catalog_pb2.Catalog:
    """The customers' catalogue."""
    numbers = range(CUSTOMERS[size])
    return ParseDict(
        {
            "taxes": [{"id": "vat", "country_code": "NL", "rate": "0.21"}],
            "meters": [{"id": "call", "values": ["seconds"]}],
            "products": [{"id": "calls", "meter": "call", "aggregation": "SUM", "value": "seconds"}],
            "plans": [
                {
                    "id": "calls",
                    "product": "calls",
                    "currency": "EUR",
                    "graduated": {"tiers": [{"up_to": "1000", "unit_price": "0.05"}, {"unit_price": "0.03"}]},
                }
            ],
            "customers": [{"id": f"customer_{number}", "country_code": "NL"} for number in numbers],
            "contracts": [contract(number, has_terms) for number in numbers],
        },
        catalog_pb2.Catalog(),
    )


def batches(size: Size) -> list[EventColumns]:
    """Events in random order of customers."""
    chance, count, found = np.random.default_rng(SEED), BATCH_EVENTS[size], []
    for batch in range(BATCHES[size]):
        customer = chance.integers(0, CUSTOMERS[size], count)
        if batch == 0:
            customer[: CUSTOMERS[size]] = np.arange(CUSTOMERS[size])
        seconds = pa.array(chance.integers(1, 600, count))
        times_us = np.sort(FIRST_TIME_US + chance.integers(0, MONTH_US - 7_200_000_000, count))
        table = pa.table(
            {
                "reference": pa.array([f"{batch}-{row}" for row in range(count)]),
                "customer_reference": pa.array([f"customer_{number}" for number in customer]),
                "meter_reference": pa.repeat(pa.scalar("call"), count),
                "time": pa.array(times_us, pa.timestamp("us", "UTC")),
                "value:seconds": seconds,
            }
        )
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        found.append(decode_events(sink.getvalue().to_pybytes()))
    return found


async def _run(size: Size, has_terms: bool, events: list[EventColumns]) -> Figures:
    """One case against a fresh book."""
    with ThreadPoolExecutor(2) as executor:
        book = Book("benchmark", MemoryJournal(), executor)
        await book.apply_catalog(CatalogChange(read_objects(catalog(size, has_terms), Faults())), None, False)
        pieces: list[bytes] = []
        seconds = processor_seconds = 0.0
        for number, columns in enumerate(events):
            begun, begun_processor = time.perf_counter(), time.process_time()
            ingested = await book.ingest(columns, duplicates_costed=True)
            costs = book.price_columns(ingested.outcome)
            if number:
                seconds += time.perf_counter() - begun
                processor_seconds += time.process_time() - begun_processor
            money = costs.amount_excluding_tax, costs.tax_amount, costs.net_amount_excluding_tax, costs.net_tax_amount
            pieces += [column.tobytes() for column in money]
        await book.close()
    count = (len(events) - 1) * BATCH_EVENTS[size]
    return {
        "case": "with terms" if has_terms else "without terms",
        "events_per_second": significant(count / seconds),
        "processor_seconds_per_million": significant(processor_seconds * 1e6 / count),
        "hash": hash_of(*pieces),
    }


def measure(size: Size) -> list[Figures]:
    """Both cases, in turn."""
    events = batches(size)
    best: dict[bool, Figures] = {}
    for _ in range(RUNS[size]):
        for has_terms in (True, False):
            found = asyncio.run(_run(size, has_terms, events))
            known = best.setdefault(has_terms, found)
            if known["hash"] != found["hash"]:
                raise AssertionError("two runs came to different costs")
            if found["events_per_second"] > known["events_per_second"]:
                best[has_terms] = found
    return list(best.values())


def main(arguments: list[str] | None = None) -> list[Figures]:
    """The command line."""
    return run_command("net_amounts", __doc__, measure, arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
