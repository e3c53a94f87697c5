"""Many streams drive one customer at once: what they are told adds up to the lines, to the last digit."""

from __future__ import annotations

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from google.protobuf.json_format import ParseDict
from tests.support.events import PlainEvent, as_message, as_table
from tests.support.live_server import SETTINGS, live_server

from tallybook.v1 import catalog_pb2
from tallybook_client.client import Client, Span
from tallybook_client.results import ChargeLine
from tallybook_client.stream import Batch
from tallybook_server.verify import verify

STREAM_COUNT = 16
BATCHES_A_STREAM = 6
EVENTS_A_BATCH = 60
EVENT_COUNT = STREAM_COUNT * BATCHES_A_STREAM * EVENTS_A_BATCH
MARCH_SECONDS = int(datetime(2024, 3, 1, tzinfo=UTC).timestamp())
SEASON_SECONDS = 90 * 86_400
CATALOGUE: dict[str, Any] = {
    "taxes": [{"id": "vat", "country_code": "NL", "rate": "0.21"}],
    "meters": [{"id": "power", "values": ["kwh"], "properties": ["kind"]}],
    "products": [
        {"id": "energy", "meter": "power", "aggregation": "SUM", "value": "kwh"},
        {"id": "readings", "meter": "power", "aggregation": "COUNT"},
    ],
    "plans": [
        # A month sees some 18,000 of these, a year 54,000: every tier is reached, and the middle of each.
        {
            "id": "graduated",
            "product": "energy",
            "currency": "EUR",
            "graduated": {
                "tiers": [
                    {"up_to": "100.5", "unit_price": "0.123456789012", "flat_fee": "1.005"},
                    {"up_to": "2000", "unit_price": "0.07", "flat_fee": "2.5"},
                    {"up_to": "2000.000000000001", "unit_price": "9"},
                    {"up_to": "9000.25", "unit_price": "0.03"},
                    {"unit_price": "-0.000000000001", "flat_fee": "0.004"},
                ]
            },
        },
        {
            "id": "volume",
            "product": "energy",
            "currency": "EUR",
            "volume": {
                "tiers": [
                    {"up_to": "1000", "unit_price": "0.31"},
                    {"up_to": "12345.678901234", "unit_price": "0.27", "flat_fee": "10"},
                    {"up_to": "40000", "unit_price": "0.333333333333"},
                    {"unit_price": "0.2"},
                ]
            },
        },
    ],
    "customers": [{"id": "one", "country_code": "NL"}],
    "contracts": [
        {
            "id": "contract",
            "customer": "one",
            "time_zone": "Europe/Amsterdam",
            "start_date": "2024-01-01",
            "billing_frequency": {"basis": "CALENDAR", "interval": 1, "unit": "MONTH"},
            "product_contracts": [
                {"id": "monthly", "plan": "graduated", "shared": True},
                {
                    "id": "yearly",
                    "plan": "volume",
                    "shared": True,
                    "accumulation_period": {"interval": 1, "unit": "YEAR"},
                },
            ],
        }
    ],
}


def usage() -> list[PlainEvent]:
    """Decimal quantities over three months, always the same ones."""
    chance = random.Random(20240301)
    return [
        PlainEvent(
            customer_reference="one",
            meter_reference="power",
            reference=f"reading-{number}",
            time=(MARCH_SECONDS + chance.randrange(SEASON_SECONDS), 0),
            values=(("kwh", f"{chance.randrange(19)}.{chance.randrange(10**12):012d}"),),
            properties=(("kind", chance.choice(["day", "night"])),),
        )
        for number in range(EVENT_COUNT)
    ]


class Sums(NamedTuple):
    """Minor units of everything that a customer was told."""

    amount: int
    tax: int
    currencies: frozenset[str]
    stored_count: int


def drive(address: str, batches: list[Batch]) -> Sums:
    """One stream with its own connection; the costs of all its batches."""
    amount = tax = stored = 0
    currencies: set[str] = set()
    with Client(address) as client:
        for answer in client.stream(batches, return_costs=True):
            assert answer.costs is not None
            amount += int(answer.costs.amount_excluding_tax.sum())
            tax += int(answer.costs.tax_amount.sum())
            currencies.update(answer.costs.currencies)
            stored += answer.stored_count
            assert answer.stored_count == answer.matched_count == answer.row_count
    return Sums(amount, tax, frozenset(currencies), stored)


def dealt(seed: int) -> list[list[Batch]]:
    """The same events in another order, dealt to the streams; every other batch is Arrow."""
    events = usage()
    random.Random(seed).shuffle(events)
    batches: list[Batch] = []
    for first in range(0, EVENT_COUNT, EVENTS_A_BATCH):
        chosen = events[first : first + EVENTS_A_BATCH]
        as_rows = len(batches) % 2
        batches.append([as_message(event) for event in chosen] if as_rows else as_table(chosen).to_batches()[0])
    return [batches[stream::STREAM_COUNT] for stream in range(STREAM_COUNT)]


def minor(money: Decimal) -> int:
    """Cents of an amount that has no finer digit."""
    cents = money * 100
    assert cents == int(cents)
    return int(cents)


def unnumbered(lines: list[ChargeLine]) -> list[ChargeLine]:
    """Lines without their numbers, which depend on which event came first."""
    return [replace(line, line_number=0) for line in lines]


def lines_and_sums(directory: Path, seed: int) -> tuple[list[ChargeLine], Sums]:
    """The lines of a new server that 16 streams drove, and what the streams were told."""
    with live_server(replace(SETTINGS, data_directory=directory)) as address, Client(address) as client:
        client.apply_catalog(ParseDict(CATALOGUE, catalog_pb2.Catalog()))
        with ThreadPoolExecutor(STREAM_COUNT) as threads:
            told = list(threads.map(lambda batches: drive(address, batches), dealt(seed)))
        lines = list(client.charges(Span(customer_id="one")))
    return lines, Sums(
        sum(each.amount for each in told),
        sum(each.tax for each in told),
        frozenset().union(*(each.currencies for each in told)),
        sum(each.stored_count for each in told),
    )


@pytest.fixture(scope="module")
def driven(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, list[ChargeLine], Sums]]:
    """Twice the same events, in two orders and interleavings."""
    made = []
    for seed in (1, 2):
        directory = tmp_path_factory.mktemp(f"order-{seed}")
        made.append((directory, *lines_and_sums(directory, seed)))
    return made


def test_the_usage_crosses_every_tier(driven):
    # From 0, in steps that are smaller than the tiers, to beyond the last one's beginning.
    months = [line.quantity for line in driven[0][1] if line.contract_path[-1] == "monthly"]
    year = sum(line.quantity for line in driven[0][1] if line.contract_path[-1] == "yearly")
    assert len(months) == 3
    assert min(months) > 9_001
    assert year > 40_000


def test_what_sixteen_streams_were_told_adds_up_to_the_lines(driven):
    for _, lines, sums in driven:
        assert sums.stored_count == EVENT_COUNT
        assert sums.currencies == {"EUR"}
        assert sums.amount == sum(minor(line.amount_excluding_tax.quantity) for line in lines)
        assert sums.tax == sum(minor(line.tax_summary.tax_amount.quantity) for line in lines)
        assert sums.amount + sums.tax == sum(minor(line.amount_including_tax.quantity) for line in lines)


def test_every_reading_is_in_its_lines_once(driven):
    quantities = Counter({"monthly": Decimal(0), "yearly": Decimal(0)})
    for line in driven[0][1]:
        quantities[line.contract_path[-1]] += line.quantity
    total = sum(Decimal(event.values[0][1]) for event in usage())
    assert quantities == {"monthly": total, "yearly": total}


def test_the_order_of_arrival_changes_no_line(driven):
    (_, first, first_sums), (_, second, second_sums) = driven
    assert unnumbered(first) == unnumbered(second)
    assert first_sums == second_sums


@pytest.mark.parametrize("oracle", [False, True], ids=["kernels", "oracle"])
def test_verify_finds_no_difference(driven, oracle):
    for directory, lines, _ in driven:
        report = verify(directory, "default", oracle, None)
        assert report.differences == []
        assert (report.line_count, report.event_count) == (len(lines), EVENT_COUNT)
