"""Recorded usage over real gRPC: as usage of a simulation, and copied into a sandbox in whole accumulation periods."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import grpc
import pytest
from google.protobuf.json_format import ParseDict
from tests.support.call_errors import failed_with, reason_raised_by
from tests.support.live_server import live_server

import tallybook_client as tb
from tallybook.v1 import catalog_pb2, simulate_pb2, simulate_pb2_grpc
from tallybook_server import limits

JANUARY, FEBRUARY = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 2, 1, tzinfo=UTC)
YEAR = (JANUARY, datetime(2025, 1, 1, tzinfo=UTC))
MONTHLY = {"basis": "CALENDAR", "interval": 1, "unit": "MONTH"}
CATALOG = {
    "meters": [{"id": "api", "values": ["calls", "seats"], "properties": ["kind"]}],
    "products": [
        {"id": "calls", "meter": "api", "aggregation": "SUM", "value": "calls"},
        {"id": "special", "meter": "api", "aggregation": "COUNT", "filter": {"kind": "special"}},
        {"id": "seats", "meter": "api", "aggregation": "MAX", "value": "seats"},
    ],
    "plans": [
        {
            "id": "yearly",
            "product": "calls",
            "currency": "EUR",
            "graduated": {"tiers": [{"up_to": "50", "unit_price": "2"}, {"unit_price": "1"}]},
        },
        {"id": "special", "product": "special", "currency": "EUR", "per_unit": {"unit_price": "5"}},
        {"id": "seats", "product": "seats", "currency": "EUR", "per_unit": {"unit_price": "10"}},
        {"id": "flat", "product": "calls", "currency": "EUR", "per_unit": {"unit_price": "3"}},
    ],
    "customers": [{"id": "ann", "reference": "ANN"}, {"id": "bob"}],
    "contracts": [
        {
            "id": f"{customer}_contract",
            "customer": customer,
            "time_zone": "UTC",
            "start_date": "2024-01-01",
            "billing_frequency": MONTHLY,
            "product_contracts": [
                {"id": f"{customer}_calls", "plan": "yearly", "accumulation_period": {"interval": 1, "unit": "YEAR"}},
                {"id": f"{customer}_special", "plan": "special"},
                {"id": f"{customer}_seats", "plan": "seats"},
            ],
        }
        for customer in ("ann", "bob")
    ],
}


def event(customer: str, number: int, day: int, kind: str = "plain", **values: int) -> tb.Event:
    return tb.Event(
        reference=f"{customer}{number}",
        customer_reference=customer,
        meter_reference="api",
        time=JANUARY + timedelta(days=day),
        values={name: Decimal(value) for name, value in values.items()},
        properties={"kind": kind},
    )


EVENTS = [
    event("ANN", 0, 3, calls=40, seats=3),
    event("ANN", 1, 5, kind="special", calls=20),
    event("ANN", 2, 40, kind="special", seats=4),
    event("ANN", 3, 45, calls=100),
    event("bob", 0, 33, calls=30),
    event("bob", 1, 34, calls=30, seats=1),
]


def total(client: tb.Client, *customers: str) -> Decimal:
    lines = [line for each in customers or ("ann", "bob") for line in client.charges(tb.Span(customer_id=each))]
    return sum((line.amount_excluding_tax.quantity for line in lines), Decimal(0))


@pytest.fixture
def address() -> Iterator[str]:
    with live_server() as address:
        yield address


@pytest.fixture
def book(address) -> Iterator[tb.Client]:
    """Events of two customers, one of them deleted."""
    with tb.Client(address) as client:
        client.apply_catalog(ParseDict(CATALOG, catalog_pb2.Catalog()))
        client.ingest([*EVENTS, event("ANN", 9, 6, calls=7)])
        client.delete([tb.EventKey(customer_reference="ANN", reference="ANN9", generation=1)])
        # Of nobody that the catalogue knows
        client.ingest([event("carl", 0, 7, calls=1)])
        yield client


def recorded(start: datetime = YEAR[0], end: datetime = YEAR[1], sequence: int = 0) -> tb.RecordedUsage:
    return tb.RecordedUsage(start_time=start, end_time=end, as_of_sequence=sequence)


# --- Of a simulation ----------------------------------------------------------------------------------------------


def test_what_is_recorded_is_simulated_as_it_is_charged(book):
    # When the year is simulated under today's catalogue and another plan
    found = book.simulate(recorded(), [tb.Scenario(name="flat", replace_plans={"yearly": "flat"})])
    # Then the baseline is what is charged, and an event is a row of each product contract that it touches
    baseline, flat = found.totals
    assert baseline.amount_excluding_tax.quantity == total(book) == 50 * 2 + 110 + 2 * 5 + (3 + 4) * 10 + 110 + 10
    assert flat.difference_excluding_tax.quantity == (160 + 60) * 3 - (50 * 2 + 110 + 110)
    assert found.row_count == (2 + 2 + 2 + 1) + (1 + 2)
    assert found.usage_sequence == 3


def test_some_customers_and_a_part_of_the_time(book):
    assert book.simulate(recorded(), customer_ids=["bob"]).totals[0].amount_excluding_tax.quantity == total(book, "bob")
    # The end of the time is not in it, its start is
    day = JANUARY + timedelta(days=33)
    second = timedelta(seconds=1)
    assert book.simulate(recorded(day, day + second)).row_count == 1
    assert book.simulate(recorded(day - second, day)).row_count == 0


def test_usage_as_it_stood_at_a_sequence(book):
    # Given a sequence at which the event that is gone now was there
    before = book.simulate(recorded(sequence=1))
    assert before.usage_sequence == 1
    assert before.totals[0].amount_excluding_tax.quantity == total(book) + 7
    assert reason_raised_by(lambda: book.simulate(recorded(sequence=9))) == "SEQUENCE_NOT_COMMITTED"
    with pytest.raises(tb.InvalidArgumentError, match=r"recorded\.as_of_sequence: is below 0"):
        book.simulate(recorded(sequence=-1))


def test_customers_that_the_baseline_adds_have_their_events(book):
    put = catalog_pb2.Catalog(customers=[catalog_pb2.Customer(id="carl")])
    contract = put.contracts.add(id="c", customer="carl", time_zone="UTC", start_date="2024-01-01")
    contract.billing_frequency.CopyFrom(ParseDict(MONTHLY, catalog_pb2.Frequency()))
    contract.product_contracts.add(plan="flat")
    found = book.simulate(recorded(), baseline=tb.Scenario(name="", put=put), customer_ids=["carl"])
    assert found.totals[0].amount_excluding_tax.quantity == 3


def test_what_is_wrong_with_recorded_usage_is_named(address, book):
    assert reason_raised_by(lambda: book.simulate(recorded(), customer_ids=["nobody", "ann"])) == "USAGE_INVALID"
    assert reason_raised_by(lambda: book.simulate(recorded(FEBRUARY, JANUARY))) == "FIELD_INVALID"
    request = simulate_pb2.RunSimulationRequest(recorded=simulate_pb2.RecordedUsage())
    with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError) as error:
        list(simulate_pb2_grpc.SimulateServiceStub(channel).RunSimulation(request))
    assert failed_with(error.value) == "FIELD_INVALID"
    assert (error.value.details() or "").startswith("recorded.start_time: ")


@pytest.mark.parametrize(("most", "fits"), [(7, True), (6, False)])
def test_a_limit_of_recorded_events(book, monkeypatch, most, fits):
    # Given seven events that were ever stored of these customers
    monkeypatch.setattr(limits, "RECORDED_EVENTS_MAX", most)
    if fits:
        assert book.simulate(recorded()).totals
        assert book.create_sandbox(recorded_usage=YEAR).sandbox.recorded_usage.event_count == 6
    else:
        assert reason_raised_by(lambda: book.simulate(recorded())) == "RECORDED_USAGE_TOO_LARGE"
        assert reason_raised_by(lambda: book.create_sandbox(recorded_usage=YEAR)) == "RECORDED_USAGE_TOO_LARGE"
        # And no sandbox was left behind
        assert book.list_sandboxes() == []


# --- Explained ----------------------------------------------------------------------------------------------------


def test_a_line_is_explained_down_to_the_tier(book):
    # Given Ann's calls of February, which cross the yearly tier at 50 in January's wake
    found = book.simulate(recorded(), [tb.Scenario(name="flat", replace_plans={"yearly": "flat"})])
    (row,) = (
        row
        for row in found.to_polars().iter_rows(named=True)
        if (row["scenario"], row["contract_path"][-1], row["period_start_time"]) == ("baseline", "ann_calls", FEBRUARY)
    )
    # When it is explained, after more was recorded
    book.ingest([event("ANN", 77, 2, calls=1000)])
    explained = found.explain(row)
    # Then quantities, tiers and levels are those of then
    (part,) = explained.parts
    assert part.accumulation_start_time == JANUARY
    assert (part.quantity_before, part.quantity_after) == (60, 160)
    assert [(line.tier, line.quantity, line.unit_amount, line.amount) for line in part.lines] == [(2, 100, 1, 100)]
    assert (explained.amount, explained.exact_amount, explained.tax_amount) == (100, 100, 0)
    # Calls, one special call and four seats
    assert [(each.level.contract_path, each.level.total.quantity) for each in explained.levels] == [
        (("ann_contract",), 100 + 5 + 40)
    ]
    # And a line of another scenario, as the list of charges has it, by another plan
    (other,) = (
        each
        for each in book.simulated_charges(found.simulation_id, "flat", ["ann"])
        if each.contract_path[-1] == "ann_calls" and each.period_start_time == FEBRUARY
    )
    assert found.explain(other).plan_id == "flat"
    assert found.explain(other).amount == other.amount_excluding_tax.quantity == 300


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"contract_path": ("nobody",)}, "FIELD_INVALID"),
        ({"scenario": "gone"}, "FIELD_INVALID"),
        ({"period_start_time": JANUARY + timedelta(days=1)}, "CHARGE_NOT_FOUND"),
        ({"cell_id": "red"}, "CHARGE_NOT_FOUND"),
    ],
)
def test_a_line_that_is_not_there(book, changes, reason):
    found = book.simulate(recorded())
    row = {**found.to_polars().row(0, named=True), **changes}
    assert reason_raised_by(lambda: found.explain(row)) == reason


# --- In a sandbox -------------------------------------------------------------------------------------------------


def test_a_sandbox_begins_with_recorded_usage(address, book):
    made = book.create_sandbox(recorded_usage=YEAR)
    copied = made.sandbox.recorded_usage
    assert (copied.sequence, copied.event_count, copied.refused_count) == (3, 6, 0)
    assert (copied.start_time, copied.end_time) == YEAR
    with tb.Client(address, made.access_token) as sandbox:
        # Then it charges what the book charges, and knows the events again
        assert total(sandbox) == total(book)
        assert {each.status for each in sandbox.ingest(EVENTS)} == {"DUPLICATE"}
        # And goes on by itself
        sandbox.ingest([event("bob", 7, 50, calls=1)])
        assert total(sandbox) == total(book) + 1
    assert book.get_sandbox(made.sandbox.sandbox_id).recorded_usage == copied


def test_whole_accumulation_periods_are_copied(address, book):
    # When a week of February is asked for
    week = (FEBRUARY + timedelta(days=8), FEBRUARY + timedelta(days=15))
    made = book.create_sandbox(recorded_usage=week, customer_ids=["ann"])
    with tb.Client(address, made.access_token) as sandbox:
        # Then the year that a product contract accumulates over is there, of that customer alone
        assert made.sandbox.recorded_usage.start_time == JANUARY
        assert made.sandbox.recorded_usage.event_count == 4
        assert total(sandbox, "ann") == total(book, "ann")
        assert total(sandbox, "bob") == 0


def test_copied_events_are_rated_by_the_catalogue_of_now(address, book):
    # Given a catalogue that changed since, and no longer has a value that events carry
    changed = ParseDict(CATALOG, catalog_pb2.Catalog())
    changed.meters[0].values[:] = ["calls"]
    del changed.products[2], changed.plans[2], changed.contracts[0].product_contracts[2]
    del changed.contracts[1].product_contracts[2]
    changed.plans[0].graduated.tiers[0].unit_price = "4"
    book.apply_catalog(changed, remove=catalog_pb2.CatalogIds(products=["seats"], plans=["seats"]))
    made = book.create_sandbox(recorded_usage=YEAR)
    # Then events that it refuses are counted, and the others cost what it says
    copied = made.sandbox.recorded_usage
    assert (copied.event_count, copied.refused_count) == (3, 3)
    with tb.Client(address, made.access_token) as sandbox:
        assert total(sandbox) == 50 * 4 + 70 + 5 + 30 * 4


def test_what_is_wrong_with_usage_to_copy_is_named(book):
    with pytest.raises(tb.InvalidArgumentError, match="no customer 'nobody', 'no one'"):
        book.create_sandbox(recorded_usage=YEAR, customer_ids=["nobody", "ann", "no one"])
    assert reason_raised_by(lambda: book.create_sandbox(recorded_usage=YEAR[::-1])) == "FIELD_INVALID"


def test_a_sandbox_that_cannot_hold_the_usage_is_not_made(book, monkeypatch):
    monkeypatch.setattr(limits, "SANDBOX_BYTES_MAX", 100)
    assert reason_raised_by(lambda: book.create_sandbox(recorded_usage=YEAR)) == "SANDBOX_FULL"
    assert book.list_sandboxes() == []
