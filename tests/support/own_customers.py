"""Customers that a test has for itself in a shared book: each with a contract, meter and products of its own name."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from google.protobuf.json_format import ParseDict

import tallybook_client as tb
from tallybook.v1 import catalog_pb2, simulate_pb2

Objects = dict[str, Any]
MONTHLY = {"basis": "CALENDAR", "interval": 1, "unit": "MONTH"}
START = date(2024, 3, 1)
NOON = datetime(2024, 3, 10, 12, tzinfo=UTC)


def customer(client: tb.Client, name: str, *products: str, plans: tuple[Objects, ...] = (), **contract: Any) -> None:
    """One customer with one contract of his name, products of his own, and their plans."""
    put: Objects = {
        "meters": [{"id": f"{name}_meter", "values": list(products)}] if products else [],
        "products": [
            {"id": f"{name}_{each}", "meter": f"{name}_meter", "aggregation": "SUM", "value": each} for each in products
        ],
        "plans": [{"currency": "EUR", **each} for each in plans],
        "customers": [{"id": name, "country_code": contract.pop("country_code", "")}],
        "contracts": [
            {
                "id": name,
                "customer": name,
                "time_zone": "UTC",
                "start_date": START.isoformat(),
                "billing_frequency": MONTHLY,
                **contract,
            }
        ],
    }
    client.apply_catalog(ParseDict(put, catalog_pb2.Catalog()))


def event(
    name: str, reference: str, quantity: str | int, time: datetime = NOON, value: str = "units", contract_id: str = ""
) -> tb.Event:
    """An event of a customer."""
    return tb.Event(
        reference=reference,
        customer_reference=name,
        meter_reference=f"{name}_meter",
        contract_id=contract_id,
        time=time,
        values={value: Decimal(quantity)},
    )


def use(client: tb.Client, name: str, value: str, quantity: str, time: datetime = NOON, contract_id: str = "") -> int:
    """Stores one event of a customer; the sequence of its commit."""
    reference = f"{value}{time}{contract_id}{quantity}"
    (result,) = client.ingest([event(name, reference, quantity, time, value, contract_id)])
    assert result.status is tb.Status.STORED
    return int(result.event_id.removeprefix("evt_"), 16) >> 24


def use_and_rows(
    client: tb.Client, name: str, contract_id: str, used: Iterable[tuple[date, str]]
) -> list[simulate_pb2.UsageRow]:
    """Stores an event of the product `units` at each date's midnight; the same as usage of a product contract."""
    rows = []
    for day, quantity in used:
        use(client, name, "units", quantity, datetime(day.year, day.month, day.day, tzinfo=UTC))
        rows.append(
            simulate_pb2.UsageRow(
                date=day.isoformat(), product_id=f"{name}_units", contract_id=contract_id, quantity=quantity
            )
        )
    return rows


def span(name: str) -> tb.Span:
    """All of a customer's time."""
    return tb.Span(customer_reference=name)


def amounts(client: tb.Client, name: str) -> list[Decimal]:
    """What a customer's charge lines come to, without tax."""
    return [each.amount_excluding_tax.quantity for each in client.charges(span(name))]
