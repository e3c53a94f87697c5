"""Rows of usage with references, numbers of events, instants and properties, over real gRPC, in every way they come."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from google.protobuf.json_format import ParseDict
from tests.support.live_server import live_server
from tests.support.small_catalogue import MONTHLY

import tallybook_client as tb
from tallybook.v1 import catalog_pb2, simulate_pb2
from tallybook_client.numbers import to_timestamp
from tallybook_server import limits, offline_simulation
from tallybook_server.codec.catalog import read_catalog

CATALOG: dict[str, Any] = {
    "meters": [{"id": "flight", "values": ["miles", "seats"], "properties": ["origin"]}],
    "products": [
        {"id": "landing", "meter": "flight", "aggregation": "COUNT"},
        {"id": "miles", "meter": "flight", "aggregation": "SUM", "value": "miles"},
        {"id": "seats", "meter": "flight", "aggregation": "MAX", "value": "seats"},
    ],
    "plans": [
        {"id": "landing", "product": "landing", "currency": "USD",
         "package": {"size": "10", "amount": "250", "rounding": "UP"}},
        {"id": "miles", "product": "miles", "currency": "USD", "matrix": {"rules": [
            {"match": {"origin": "EWR"}, "graduated": {"tiers": [{"up_to": "500", "unit_price": "0.052"},
                                                                {"unit_price": "0.041"}]}},
            {"id": "elsewhere", "per_unit": {"unit_price": "0.06"}}]}},
        {"id": "seats", "product": "seats", "currency": "USD", "per_unit": {"unit_price": "1.5"}},
        {"id": "miles_flat", "product": "miles", "currency": "USD", "per_unit": {"unit_price": "0.05"}},
    ],
    "customers": [{"id": "UA"}, {"id": "DL"}],
    "contracts": [
        {"id": name, "customer": name, "time_zone": "America/New_York", "start_date": "2024-01-01",
         "end_date": "2025-01-01", "billing_frequency": MONTHLY,
         "product_contracts": [{"id": f"{name}_{plan}", "plan": plan} for plan in ("landing", "miles", "seats")]}
        for name in ("UA", "DL")
    ],
}  # fmt: skip
PRODUCTS = ("landing", "miles", "seats")
ORIGINS = ("EWR", "IAH", None)
SCHEMA: dict[str, Any] = {
    "contract_id": pl.String,
    "product_id": pl.String,
    "quantity": pl.Decimal(38, 12),
    "date": pl.Date,
    "time": pl.Datetime("us", "UTC"),
    "reference": pl.String,
    "event_count": pl.Int64,
    "property:origin": pl.String,
}


@pytest.fixture(scope="module")
def book() -> Iterator[tb.Client]:
    with live_server() as address, tb.Client(address) as client:
        client.apply_catalog(ParseDict(CATALOG, catalog_pb2.Catalog()))
        yield client


def events() -> list[tb.Event]:
    """Flights of two airlines around the year's ends of months, not in the order of time."""
    first = datetime(2024, 1, 1, 5, tzinfo=UTC)
    return [
        tb.Event(
            reference=f"flight-{number}",
            customer_reference=("UA", "DL")[number % 2],
            meter_reference="flight",
            time=first + timedelta(hours=(number * 997) % 7000),
            values={"miles": Decimal(100 + number * 7) + Decimal("0.125"), "seats": Decimal(50 + number % 90)},
            properties={"origin": origin} if (origin := ORIGINS[number % 3]) else {},
        )
        for number in range(120)
    ]


def rows_of(listed: list[tb.StoredEvent]) -> pl.DataFrame:
    """What ListEvents answers as rows, one of each product contract that charges the event."""
    rows = []
    for each in listed:
        event = each.event
        values = {value.reference: Decimal(value.number) for value in event.meter_values}
        texts = {text.reference: text.value for text in event.meter_properties}
        for product in PRODUCTS:
            quantity = Decimal(1) if product == "landing" else values[product]
            rows.append(
                (f"{event.customer_reference}_{product}", product, quantity, None, each.effective_time, event.reference,
                 None, texts.get("origin"))
            )  # fmt: skip
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def messages(frame: pl.DataFrame) -> list[simulate_pb2.UsageRow]:
    """The rows of a frame as messages."""
    return [
        simulate_pb2.UsageRow(
            contract_id=row["contract_id"],
            product_id=row["product_id"],
            quantity=format(row["quantity"], "f"),
            date=str(row["date"] or ""),
            time=None if row["time"] is None else to_timestamp(row["time"]),
            reference=row["reference"] or "",
            event_count=row["event_count"],
            properties={} if row["property:origin"] is None else {"origin": row["property:origin"]},
        )
        for row in frame.iter_rows(named=True)
    ]


def charged(simulation: tb.Simulation) -> list[tuple[Any, ...]]:
    """All lines, by their amounts and what they are of."""
    return sorted(simulation.to_polars().rows(), key=str)


def simulated_without_a_server(frame: pl.DataFrame) -> tb.Simulation:
    catalog = read_catalog(ParseDict(CATALOG, catalog_pb2.Catalog()))
    return tb.Simulation(offline_simulation.simulate(tb.simulation_request(frame), catalog))


def test_listed_events_simulate_to_what_the_ledger_charged(book):
    # Given events that are stored, and listed
    made = events()
    assert {each.status.name for each in book.ingest(made)} == {"STORED"}
    frame = rows_of(list(book.list_events()))
    assert frame.height == len(PRODUCTS) * len(made)
    # When they are simulated as rows, with and without references, and in another order
    found = book.simulate(frame)
    others = [frame.drop("reference"), frame.reverse(), frame.sample(fraction=1, shuffle=True, seed=1)]
    assert [charged(book.simulate(each)) for each in others] == [charged(found)] * 3
    # Then every line is the ledger's
    columns = ["contract_path", "cell_id", "period_start_time", "period_end_time", "quantity", "exact_amount"]
    columns += ["currency", "amount_excluding_tax", "tax_amount"]
    held = pl.concat([book.charges(tb.Span(customer_id=name)).frame() for name in ("UA", "DL")])
    lines = found.to_polars()
    assert sorted(lines.select(columns).rows(), key=str) == sorted(held.select(columns).rows(), key=str)
    assert lines.height > 60
    assert lines["cell_id"].n_unique() == 3


def days() -> pl.DataFrame:
    """Some events a row: by date and by instant, with and without their number."""
    first = date(2024, 1, 1)
    rows = []
    for number in range(90):
        product, count = PRODUCTS[number % 3], 1 + number % 4
        quantity = {"landing": Decimal(count), "miles": Decimal("33.333") * count, "seats": Decimal(number)}[product]
        given = None if number % 5 == 0 else 1 if product == "seats" else count
        at = first + timedelta(days=number * 3)
        instant = datetime(at.year, at.month, at.day, 23, 30, tzinfo=UTC) if number % 2 else None
        rows.append(
            (f"UA_{product}", product, quantity, None if instant else at, instant, f"day-{number}", given,
             ORIGINS[number % 3 - number % 2])
        )  # fmt: skip
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def test_rows_come_to_the_same_in_every_way_that_they_come(book):
    frame = days()
    found = charged(book.simulate(frame))
    assert len(found) > 20
    # As messages, as another Arrow frame, uploaded whole and in parts, and without a server
    assert charged(book.simulate(messages(frame))) == found
    assert charged(book.simulate(frame.to_arrow())) == found
    assert charged(book.simulate(book.upload_usage(frame))) == found
    parts = [frame[:40].drop("event_count"), frame[40:].drop("reference")]
    counted = frame.with_columns(event_count=pl.lit(None, pl.Int64))
    assert charged(book.simulate(book.upload_usage(parts))) == charged(book.simulate(counted)) == found
    assert charged(simulated_without_a_server(frame)) == found


def test_a_row_of_several_events_is_those_events(book):
    # Given rows that are several events, and each event as a row of its own
    frame = days().filter(pl.col("product_id") != "seats").with_columns(pl.col("event_count").fill_null(1))
    landings = pl.col("product_id") == "landing"
    frame = frame.with_columns(event_count=pl.when(landings).then(pl.col("quantity").cast(pl.Int64)).otherwise(3))
    one = [
        {**row, "quantity": row["quantity"] / row["event_count"], "event_count": 1, "reference": f"{index}-{number}"}
        for index, row in enumerate(frame.iter_rows(named=True))
        for number in range(row["event_count"])
    ]
    alone = pl.DataFrame(one, schema=SCHEMA)
    assert alone["quantity"].sum() == frame["quantity"].sum()
    assert alone.height > 2 * frame.height
    assert charged(book.simulate(alone)) == charged(book.simulate(frame))


def row(product: str, quantity: str = "1", **more: Any) -> dict[str, Any]:
    """A row of UA; `more` are other columns."""
    usual = dict.fromkeys(SCHEMA) | {"contract_id": f"UA_{product}", "product_id": product, "date": date(2024, 2, 3)}
    return usual | {"quantity": Decimal(quantity), "property:origin": "EWR"} | more


def faults(book: tb.Client, *rows: dict[str, Any], **request: Any) -> list[str]:
    """What is told of rows as messages, which is as much as of a frame and of uploaded usage."""
    frame = pl.DataFrame(list(rows), schema=SCHEMA)
    told = []
    for usage in (messages(frame), frame):
        with pytest.raises(tb.InvalidArgumentError) as error:
            book.simulate(usage, **request)
        assert error.value.reason == "USAGE_INVALID"
        assert error.value.metadata["fault_count"] == str(len(error.value.fields))
        told.append([f"{each.field}: {each.description}" for each in error.value.fields])
    assert len(told[0]) == len(told[1])
    return told[0]


# Rows, and what is told of them; the document says of each aggregation what it takes
@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([row("seats", event_count=1), row("seats", event_count=2)],
         'event_count: 1 rows of "UA_seats", of product "seats", stand for several events, of which its product wants '
         "the largest: give each its row; the first is row 1, counted from 0"),
        ([row("landing", "3", event_count=3), row("landing", "3", event_count=2)],
         'event_count: 1 rows of "UA_landing", of product "landing", say another number of events than their quantity, '
         "which its product counts; the first is row 1, counted from 0"),
        ([row("landing", "3"), row("landing", "2.5"), row("landing", "0.1")],
         'quantity: 2 rows of "UA_landing", of product "landing", are no whole number from 0, and its product counts '
         "events; the first is row 1, counted from 0"),
        ([row("miles", reference="a"), row("seats", reference="a"), row("miles", reference="a")],
         'rows[2].reference: "a" is that of rows[0] too, under "UA_miles": a reference names one row of a product '
         "contract, leave one of them out"),
    ],
)  # fmt: skip
def test_what_a_product_cannot_take_names_row_product_and_column(book, rows, expected):
    assert faults(book, *rows) == [expected]


def test_everything_wrong_with_usage_is_told_in_one_round(book):
    # Given rows that are wrong in themselves, of ids that nobody has, and that do not fit their contracts, each once
    rows = [
        row("miles", reference="twice"),
        row("miles", reference="twice"),
        row("miles", "-1", date=date(1899, 1, 1)),
        row("landing", event_count=0, date=date(2026, 1, 1)),
        row("miles", contract_id="nobody"),
        row("nothing", contract_id="UA_seats"),
        row("landing", contract_id="UA_miles"),
        row("seats", "-2"),
        row("seats", event_count=5),
        row("landing", contract_id="DL_landing"),
    ]
    told = faults(book, *rows, customer_ids=["UA", "XX"])
    # Then one answer has it all
    assert [each.partition(": ")[::2] for each in told] == [
        ("customer_ids", 'no customer "XX" in the catalogue'),
        ("contract_id", 'no product contract "nobody" in the catalogue'),
        ("product_id", 'no product "nothing" in the catalogue'),
        ("contract_id", '"DL_landing" is of customer "DL", who is not asked'),
        ("rows[2].date", "1899-01-01 is not from 1900-01-01 to 2999-12-31"),
        ("rows[3].event_count", "0 is not from 1 to 999999999999999"),
        ("rows[1].reference", '"twice" is that of rows[0] too, under "UA_miles": '
         "a reference names one row of a product contract, leave one of them out"),
        ("product_id", '1 rows of "UA_miles" are of product "landing"; its plan "miles" is for "miles"'),
        ("date", '1 rows of "UA_landing" lie outside its dates'),
        ("quantity", '1 rows of "UA_miles" are below 0, which its meter does not take'),
        ("quantity", '1 rows of "UA_seats" are below 0, which its meter does not take'),
        ("event_count", '1 rows of "UA_seats", of product "seats", stand for several events, of which its product '
         "wants the largest: give each its row; the first is row 8, counted from 0"),
    ]  # fmt: skip


def test_a_missing_column_is_told_with_all_else(book):
    # Given rows without the property that a matrix looks at, one of which is wrong in itself, and one of nobody
    frame = pl.DataFrame([row("miles"), row("miles"), row("miles", contract_id="nobody")], schema=SCHEMA)
    wrong = frame.drop("property:origin").with_columns(date=pl.Series([date(2024, 2, 3), None, date(2024, 2, 3)]))
    with pytest.raises(tb.InvalidArgumentError) as error:
        book.simulate(wrong)
    assert [each.field for each in error.value.fields] == ["contract_id", "date", "property:origin"]


def test_everything_wrong_with_usage_under_a_scenario_is_told_in_one_round(book):
    # Given a scenario without one contract, and with another product of the other contract's seats
    changed = {**CATALOG["products"][2], "aggregation": "COUNT"}
    scenario = tb.Scenario(
        name="less",
        remove=catalog_pb2.CatalogIds(contracts=["DL"]),
        put=ParseDict({"products": [changed]}, catalog_pb2.Catalog()),
    )
    frame = pl.DataFrame([row("miles", contract_id="DL_miles"), row("miles"), row("seats", "2.5")], schema=SCHEMA)
    with pytest.raises(tb.InvalidArgumentError) as error:
        book.simulate(frame, [scenario])
    assert error.value.reason == "SCENARIO_INVALID"
    assert [f"{each.field}: {each.description}" for each in error.value.fields] == [
        'contract_id: no product contract "DL_miles" in this scenario: keep its id',
        'quantity: 1 rows of "UA_seats", of product "seats", are no whole number from 0, and its product counts '
        "events; the first is row 2, counted from 0",
    ]


def test_faults_beyond_the_limit_are_counted(book):
    frame = pl.DataFrame([row("miles", reference="same") for _ in range(1_500)], schema=SCHEMA)
    with pytest.raises(tb.InvalidArgumentError) as error:
        book.simulate(frame.with_columns(contract_id=pl.lit("UA_miles")), customer_ids=["XX"])
    # One of them is that XX is nobody, and one that UA is not asked
    assert error.value.metadata["fault_count"] == str(1_499 + 2)
    assert len(error.value.fields) <= 1_001


def test_what_is_wrong_with_rows_is_told_of_all_requests_of_an_upload(book):
    # Given three requests, of whom the second repeats references of the first and its own, and the third has no dates
    frame = days()
    parts = [
        frame[:30],
        frame[30:60].vstack(frame[7:9]).vstack(frame[31:32]),
        frame[60:].with_columns(date=None, time=None),
    ]
    with pytest.raises(tb.InvalidArgumentError) as error:
        book.upload_usage([each.cast(pl.Schema(SCHEMA)) for each in parts])
    # Then all of it is told, and nothing is kept
    assert (error.value.reason, error.value.metadata["fault_count"]) == ("USAGE_INVALID", "4")
    words = "a reference names one row of a product contract, leave one of them out"
    repeated = "requests[1].reference: row"
    assert [f"{each.field}: {each.description}" for each in error.value.fields] == [
        f'{repeated} 30, counted from 0, has "day-7" as row 7 of all requests together under "UA_miles": {words}',
        f'{repeated} 31, counted from 0, has "day-8" as row 8 of all requests together under "UA_seats": {words}',
        f'{repeated} 32, counted from 0, has "day-31" as row 1 under "UA_miles": {words}',
        "requests[2].date: 30 rows have no date and no time, the first is row 0, counted from 0",
    ]
    # And what cannot be read is told at once
    with pytest.raises(tb.InvalidArgumentError) as error:
        book.upload_usage([parts[1], parts[0].drop("quantity"), parts[0]])
    assert (error.value.reason, error.value.metadata["request_number"]) == ("ARROW_COLUMN_MISSING", "1")


def test_numbers_of_events_of_uploaded_usage_are_judged_when_it_is_run(book):
    # Given two requests, of whom the second alone says numbers of events
    several = pl.DataFrame([row("seats", event_count=1), row("seats", event_count=2)], schema=SCHEMA)
    uploaded = book.upload_usage([days()[:10].drop("event_count"), several])
    with pytest.raises(tb.InvalidArgumentError, match="the first is row 11, counted from 0"):
        book.simulate(uploaded)


def test_faults_of_an_upload_beyond_the_limit_are_counted(book):
    same = pl.DataFrame([row("miles", reference="same") for _ in range(700)], schema=SCHEMA)
    with pytest.raises(tb.InvalidArgumentError) as error:
        book.upload_usage([same, same])
    assert error.value.metadata["fault_count"] == "1399"
    assert len(error.value.fields) <= 1_001


def test_numbers_of_events_count_for_the_rows_of_all_requests(book, monkeypatch):
    # Given 40 rows in two requests, of whom the second says how many events they are: 8 bytes a row for both
    frame = days().drop("reference", "property:origin")
    parts = [frame[:20].drop("event_count"), frame[20:40]]
    monkeypatch.setattr(limits, "UPLOADED_BYTES_MAX", (37 + 8) * 40)
    assert book.upload_usage(parts).row_count == 40
    monkeypatch.setattr(limits, "UPLOADED_BYTES_MAX", (37 + 8) * 40 - 1)
    with pytest.raises(tb.LimitExceededError):
        book.upload_usage(parts)


def test_a_charge_of_rows_of_several_events_is_explained(book):
    found = book.simulate(days())
    for line in found.to_polars().iter_rows(named=True):
        explained = found.explain(line)
        assert explained.amount == line["amount_excluding_tax"]
        assert sum(each.amount for part in explained.parts for each in part.lines) == Decimal(line["exact_amount"])
