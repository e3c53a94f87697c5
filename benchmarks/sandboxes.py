"""Sandboxes of a book with 100,000 contracts: making one over gRPC, and what it costs production meanwhile.

    python -m benchmarks.sandboxes            # 100,000 contracts, a product contract each
    python -m benchmarks.sandboxes --smoke    # a size for the tests

Timed, over gRPC on loopback, the median and the longest of the calls:

- create: CreateSandbox, from the request to the token
- first_event: the first IngestEvents in the new sandbox, one event
- production: one IngestEvents of production while sandboxes are being made, and while none is

Not timed: starting the server, the catalogue. The hash covers what the events cost in the sandboxes.
"""

from __future__ import annotations

import tempfile
import threading
import time
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path

from benchmarks.measuring import Figures, Size, hash_of, percentile, run_command, significant, timed
from benchmarks.processes import resident_bytes, server_process

from tallybook.v1 import catalog_pb2
from tallybook_client import Client, Event, View

CONTRACTS = {Size.SMOKE: 100, Size.FULL: 100_000}
SANDBOXES = {Size.SMOKE: 2, Size.FULL: 15}
"""Made one after the other, all alive at the end."""
QUIET_CALLS = {Size.SMOKE: 5, Size.FULL: 200}


def catalogue(contract_count: int) -> catalog_pb2.Catalog:
    """A customer and a contract each."""
    catalog = catalog_pb2.Catalog()
    catalog.meters.add(id="api", values=["calls"])
    catalog.products.add(id="calls", meter="api", aggregation=catalog_pb2.Product.SUM, value="calls")
    catalog.plans.add(id="flat", product="calls", currency="EUR").per_unit.unit_price = "0.05"
    for number in range(contract_count):
        catalog.customers.add(id=f"c{number}")
        contract = catalog.contracts.add(
            id=f"contract{number}", customer=f"c{number}", start_date="2024-01-01", time_zone="UTC"
        )
        contract.billing_frequency.CopyFrom(
            catalog_pb2.Frequency(basis=catalog_pb2.Frequency.CALENDAR, interval=1, unit=catalog_pb2.Frequency.MONTH)
        )
        contract.product_contracts.add(plan="flat")
    return catalog


def event(number: int) -> Event:
    """An event of the customer of this number."""
    return Event(
        reference=f"event{number}",
        customer_reference=f"c{number}",
        meter_reference="api",
        time=datetime(2024, 1, 15, tzinfo=UTC),
        values={"calls": Decimal(100 + number)},
    )


def measure(size: Size) -> list[Figures]:
    """Sandboxes one after the other, while production takes events."""
    with (
        tempfile.TemporaryDirectory() as folder,
        server_process(Path(folder)) as server,
        Client(server.address) as book,
    ):
        book.apply_catalog(catalogue(CONTRACTS[size]))
        quiet = [timed(partial(book.ingest, [event(number)])) for number in range(QUIET_CALLS[size])]
        busy: list[float] = []
        made = threading.Event()
        caller = threading.Thread(target=_ingest_until, args=(server.address, made, busy))
        caller.start()
        create, first, costs = [], [], []
        for number in range(SANDBOXES[size]):
            begun = time.perf_counter()
            token = book.create_sandbox().access_token
            create.append(time.perf_counter() - begun)
            with Client(server.address, token) as sandbox:
                sandbox.wait_until_ready()
                begun = time.perf_counter()
                (result,) = sandbox.ingest([event(number)], View.AMOUNTS)
                first.append(time.perf_counter() - begun)
                assert result.cost is not None
                costs.append(result.cost.details[0].amount_excluding_tax.quantity)
        made.set()
        caller.join()
        held_bytes = resident_bytes(server.pid)
    return [
        {
            "case": f"{CONTRACTS[size]:,} contracts",
            "create_p50_ms": significant(percentile(create, 50)),
            "create_max_ms": significant(percentile(create, 100)),
            "first_event_p50_ms": significant(percentile(first, 50)),
            "production_quiet_p50_ms": significant(percentile(quiet, 50)),
            "production_busy_p50_ms": significant(percentile(busy, 50)),
            "production_busy_max_ms": significant(percentile(busy, 100)),
            "server_mib": significant(held_bytes / 2**20),
            "hash": hash_of(repr(costs).encode()),
        }
    ]


def _ingest_until(address: str, made: threading.Event, busy: list[float]) -> None:
    """One event after the other, until it is told to stop; at least one."""
    number = QUIET_CALLS[Size.FULL]
    with Client(address) as production:
        while not (made.is_set() and busy):
            busy.append(timed(partial(production.ingest, [event(number)])))
            number += 1


def main() -> None:
    """Prints the figures."""
    run_command("sandboxes", __doc__ or "", measure)


if __name__ == "__main__":
    main()
