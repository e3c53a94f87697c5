"""Uploaded usage and the charges of past simulations, over real gRPC: kept for a while, for their book alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import polars as pl
import pytest
from google.protobuf.json_format import ParseDict
from tests.support.call_errors import failed_with, reason_raised_by
from tests.support.live_server import SETTINGS, live_server
from tests.support.moved_clock import MovedClock

import tallybook_client as tb
from tallybook.v1 import catalog_pb2, simulate_pb2, simulate_pb2_grpc
from tallybook_client.simulation import usage_requests
from tallybook_server import limits
from tallybook_server.errors import Fault
from tallybook_server.keys import ApiKeys
from tallybook_server.simulated_charges import SimulatedCharges
from tallybook_server.simulations import Simulation

START = datetime(2024, 1, 1, tzinfo=UTC)
CUSTOMERS = 40
CATALOG = {
    "meters": [{"id": "api", "values": ["calls"], "properties": ["kind"]}],
    "products": [{"id": "calls", "meter": "api", "aggregation": "SUM", "value": "calls"}],
    "plans": [
        {"id": "tiered", "product": "calls", "currency": "EUR",
         "volume": {"tiers": [{"up_to": "100", "unit_price": "2"}, {"unit_price": "1.5"}]}},
        {"id": "flat", "product": "calls", "currency": "EUR", "per_unit": {"unit_price": "1.255"}},
    ],
    "customers": [{"id": f"c{number}"} for number in range(CUSTOMERS)],
    "contracts": [
        {"id": f"contract{number}", "customer": f"c{number}", "time_zone": "UTC", "start_date": "2024-01-01",
         "billing_frequency": {"basis": "CALENDAR", "interval": 1, "unit": "MONTH"},
         "product_contracts": [{"id": f"calls{number}", "plan": "tiered"}]}
        for number in range(CUSTOMERS)
    ],
}  # fmt: skip
FLAT = tb.Scenario(name="flat", replace_plans={"tiered": "flat"})


def usage(months: int = 12) -> pl.DataFrame:
    """A row a customer and month."""
    rows = [
        (date(2024, month, 5), f"calls{number}", "calls", Decimal(number + month))
        for month in range(1, months + 1)
        for number in range(CUSTOMERS)
    ]
    schema: dict[str, Any] = {
        "date": pl.Date,
        "contract_id": pl.String,
        "product_id": pl.String,
        "quantity": pl.Decimal(38, 12),
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


@pytest.fixture
def clock():
    return MovedClock(START)


@pytest.fixture
def address(clock) -> Iterator[str]:
    with live_server(now_us=clock) as address:
        yield address


@pytest.fixture
def book(address) -> Iterator[tb.Client]:
    with tb.Client(address) as client:
        client.apply_catalog(ParseDict(CATALOG, catalog_pb2.Catalog()))
        yield client


def in_order(charges: pl.DataFrame) -> list[tuple[Any, ...]]:
    return sorted(charges.rows(), key=str)


# --- Uploaded usage -----------------------------------------------------------------------------------------------


def test_uploaded_usage_is_simulated_as_if_it_were_sent(book):
    # Given frames with other texts and columns each, as one upload
    frame = usage()
    parts = [frame[:100], frame[100:250].with_columns(pl.lit("a").alias("property:kind")), frame[250:].to_arrow()]
    uploaded = book.upload_usage(parts)
    assert uploaded.row_count == frame.height
    assert uploaded.expire_time == START + timedelta(seconds=limits.USAGE_FRAME_SECONDS)
    # When it is simulated, twice
    sent = book.simulate(frame, [FLAT])
    for _ in range(2):
        found = book.simulate(uploaded, [FLAT])
        # Then it is what the whole frame comes to
        assert in_order(found.to_polars()) == in_order(sent.to_polars())
        assert [each.message for each in found.totals] == [each.message for each in sent.totals]


def test_a_charge_of_uploaded_usage_is_explained(book):
    found = book.simulate(book.upload_usage(usage()), [FLAT])
    for row in found.to_polars().filter(pl.col("customer_id") == "c3").iter_rows(named=True):
        explained = found.explain(row)
        assert explained.amount == row["amount_excluding_tax"]
        assert sum(line.amount for part in explained.parts for line in part.lines) == Decimal(row["exact_amount"])
        assert [each.level.contract_path for each in explained.levels] == [("contract3",)]


def test_texts_of_properties_are_joined(address, book):
    matrix = {"rules": [{"match": {"kind": kind}, "per_unit": {"unit_price": price}} for kind, price in ("a1", "b2")]}
    plan = {"id": "tiered", "product": "calls", "currency": "EUR", "matrix": matrix}
    book.apply_catalog(ParseDict({"plans": [plan]}, catalog_pb2.Catalog()))
    frame = usage(1)
    kinds: list[list[str | None]] = [["b"], ["a"], [None], []]
    parts = [frame[number : number + 1].with_columns(pl.Series("property:kind", each, pl.String)) if each else
             frame[number : number + 1] for number, each in enumerate(kinds)]  # fmt: skip
    found = book.simulate(book.upload_usage(parts))
    charged = dict(found.to_polars().select("customer_id", "amount_excluding_tax").rows())
    assert charged == {"c0": 1 * 2, "c1": 2 * 1}
    assert found.unfit_row_counts == {"baseline": 2}


def test_uploaded_usage_is_judged_when_it_is_run(book):
    uploaded = book.upload_usage(usage(1).with_columns(contract_id=pl.lit("nobody's")))
    assert reason_raised_by(lambda: book.simulate(uploaded)) == "USAGE_INVALID"


def test_uploaded_usage_expires(book, clock):
    uploaded = book.upload_usage(usage(1))
    clock.move(limits.USAGE_FRAME_SECONDS - 0.000001)
    assert book.simulate(uploaded).row_count == CUSTOMERS
    clock.move(0.000001)
    assert reason_raised_by(lambda: book.simulate(uploaded)) == "USAGE_FRAME_NOT_FOUND"


def test_a_request_that_is_wrong_is_named_and_nothing_is_kept(address, book):
    good, bad = (next(usage_requests(frame)) for frame in (usage(1), usage(1).drop("quantity")))
    with grpc.insecure_channel(address) as channel:
        upload = simulate_pb2_grpc.SimulateServiceStub(channel).UploadUsage
        with pytest.raises(grpc.RpcError) as error:
            upload(iter([good, bad, good]))
        assert failed_with(error.value) == "ARROW_COLUMN_MISSING"
        found = tb.errors.from_call(error.value)
        assert (found.metadata["request_number"], found.metadata["column"]) == ("1", "quantity")
        for nothing in ([], [next(usage_requests(usage(1)[:1]))]):
            if nothing:
                upload(iter(nothing))
            else:
                with pytest.raises(grpc.RpcError) as error:
                    upload(iter(nothing))
                assert failed_with(error.value) == "FIELD_INVALID"


def test_a_frame_that_does_not_fit_is_not_sent(book):
    with pytest.raises(tb.FrameError, match="quantity"):
        book.upload_usage([usage(1), usage(1).with_columns(pl.col("quantity").cast(pl.Float64))])


@pytest.mark.parametrize(("limit", "value"), [("UPLOADED_ROWS_MAX", 80), ("UPLOADED_BYTES_MAX", 37 * 80)])
def test_limits_of_an_upload(book, monkeypatch, limit, value):
    # 80 rows in two requests, at 37 bytes a row
    parts = [usage(1), usage(1)]
    monkeypatch.setattr(limits, limit, value)
    assert book.upload_usage(parts).row_count == 80
    monkeypatch.setattr(limits, limit, value - 1)
    assert reason_raised_by(lambda: book.upload_usage(parts)) == "SIMULATION_TOO_LARGE"


def test_properties_of_some_requests_count_for_the_rows_of_all(book, monkeypatch):
    # Given 80 rows in two requests, of whom the second has a property that the first has not: 4 bytes a row for both
    parts = [usage(1), usage(1).with_columns(pl.lit("x").alias("property:kind"))]
    monkeypatch.setattr(limits, "UPLOADED_BYTES_MAX", (37 + 4) * 80)
    assert book.upload_usage(parts).row_count == 80
    monkeypatch.setattr(limits, "UPLOADED_BYTES_MAX", (37 + 4) * 80 - 1)
    assert reason_raised_by(lambda: book.upload_usage(parts)) == "SIMULATION_TOO_LARGE"


def test_limits_of_what_is_kept(book, clock, monkeypatch):
    monkeypatch.setattr(limits, "UPLOADED_BYTES_OF_SERVER_MAX", 4 * 37 * CUSTOMERS)
    frames = [book.upload_usage(usage(1)) for _ in range(limits.USAGE_FRAMES_MAX)]
    assert reason_raised_by(lambda: book.upload_usage(usage(1))) == "TOO_MANY_USAGE_FRAMES"
    assert {book.simulate(each).row_count for each in frames} == {CUSTOMERS}
    clock.move(limits.USAGE_FRAME_SECONDS)
    # One request of a byte too many for the server, though the book has few frames
    monkeypatch.setattr(limits, "UPLOADED_BYTES_OF_SERVER_MAX", 4 * 37 * CUSTOMERS - 1)
    for _ in range(3):
        book.upload_usage(usage(1))
    assert reason_raised_by(lambda: book.upload_usage(usage(1))) == "TOO_MANY_USAGE_FRAMES"


@pytest.mark.parametrize("is_deleted", [True, False])
def test_what_is_kept_of_a_sandbox_goes_with_it(address, book, clock, monkeypatch, is_deleted):
    # Given as much uploaded usage in a sandbox as the server keeps, and charges of a simulation
    monkeypatch.setattr(limits, "UPLOADED_BYTES_OF_SERVER_MAX", 37 * CUSTOMERS)
    stores = []
    keep = SimulatedCharges.keep

    def noted(self, *arguments):
        stores.append(self)
        return keep(self, *arguments)

    monkeypatch.setattr(SimulatedCharges, "keep", noted)
    made = book.create_sandbox(time_to_live=timedelta(seconds=60))
    with tb.Client(address, made.access_token) as sandbox:
        found = sandbox.simulate(sandbox.upload_usage(usage(1)))
    name = f"default/{made.sandbox.sandbox_id}"
    assert stores[0].get(name, found.simulation_id).byte_count > 0
    assert reason_raised_by(lambda: book.upload_usage(usage(1))) == "TOO_MANY_USAGE_FRAMES"
    # When it ends
    if is_deleted:
        book.delete_sandbox(made.sandbox.sandbox_id)
    else:
        clock.move(60)
        assert book.list_sandboxes() == []
    # Then nothing of it is kept, and there is room at once
    with pytest.raises(Fault, match="are not kept"):
        stores[0].get(name, found.simulation_id)
    assert book.upload_usage(usage(1)).row_count == CUSTOMERS


def test_what_is_at_work_as_its_sandbox_ends_is_not_kept(address, book, monkeypatch):
    monkeypatch.setattr(limits, "UPLOADED_BYTES_OF_SERVER_MAX", 37 * CUSTOMERS)
    made = [book.create_sandbox() for _ in range(2)]
    # Given an upload that is not at its end, and a simulation that is not either
    uploading, going_on, at_work = threading.Event(), threading.Event(), threading.Event()
    requests = list(usage_requests(usage(1)))
    add_up = Simulation.adding_up

    def sent() -> Iterator[simulate_pb2.UploadUsageRequest]:
        yield from requests
        uploading.set()
        assert going_on.wait(60)

    def held(self, go_on):
        at_work.set()
        assert going_on.wait(60)
        return add_up(self, go_on)

    monkeypatch.setattr(Simulation, "adding_up", held)
    with (
        grpc.insecure_channel(address) as channel,
        tb.Client(address, made[1].access_token) as sandbox,
        ThreadPoolExecutor(2) as threads,
    ):
        stub = simulate_pb2_grpc.SimulateServiceStub(channel)
        metadata = (("authorization", f"Bearer {made[0].access_token}"),)
        upload = threads.submit(stub.UploadUsage, sent(), metadata=metadata)
        simulated = threads.submit(reason_raised_by, partial(sandbox.simulate, usage(1)))
        assert uploading.wait(60)
        assert at_work.wait(60)
        # When the sandboxes end
        for each in made:
            book.delete_sandbox(each.sandbox.sandbox_id)
        going_on.set()
        # Then both are refused, and there is room at once
        assert simulated.result(60) == "SANDBOX_EXPIRED"
        assert failed_with(upload.exception(60)) == "SANDBOX_EXPIRED"
    assert book.upload_usage(usage(1)).row_count == CUSTOMERS


# --- Charges that are kept ----------------------------------------------------------------------------------------


def test_charges_of_a_simulation_are_listed_afterwards(book, clock):
    run = book.simulate(usage(), [FLAT])
    assert run.charges_expire_time == START + timedelta(seconds=limits.KEPT_CHARGES_SECONDS)
    # 960 lines of two scenarios
    listed = list(book.simulated_charges(run.simulation_id))
    expected = run.to_polars()
    assert len(listed) == expected.height == 2 * 12 * CUSTOMERS
    for each, row in zip(listed, expected.sort("scenario", maintain_order=True).iter_rows(named=True), strict=True):
        assert (each.scenario, each.customer_id, list(each.contract_path)) == (
            row["scenario"], row["customer_id"], row["contract_path"])  # fmt: skip
        assert (each.period_start_time, each.period_end_time) == (row["period_start_time"], row["period_end_time"])
        assert (each.quantity, each.unit_amount) == (row["quantity"], row["unit_amount"])
        assert each.exact_amount == Decimal(row["exact_amount"])
        assert each.amount_excluding_tax.quantity == row["amount_excluding_tax"]
        assert each.amount_including_tax.quantity == row["amount_including_tax"]
        assert each.amount_excluding_tax.currency == "EUR"
    # Some of it
    one = list(book.simulated_charges(run.simulation_id, "flat", ["c7", "c9"]))
    assert [(each.scenario, each.customer_id) for each in one] == [
        *([("flat", "c7")] * 12),
        *([("flat", "c9")] * 12),
    ]
    assert one[0].message.quantity == "8"
    assert one[0].message.amount_excluding_tax.quantity == "10.04"
    # And it ends
    clock.move(limits.KEPT_CHARGES_SECONDS - 0.000001)
    assert next(book.simulated_charges(run.simulation_id))
    clock.move(0.000001)
    assert reason_raised_by(lambda: next(book.simulated_charges(run.simulation_id))) == "SIMULATION_EXPIRED"


@pytest.mark.parametrize(("asked", "shown"), [(0, 960), (7, 7), (999, 960), (1_001, 960)])
def test_pages_neither_skip_nor_repeat(address, book, monkeypatch, asked, shown):
    # Given messages of few lines each
    monkeypatch.setattr(limits, "SIMULATED_LINES_IN_MESSAGE", 50)
    run = book.simulate(usage(), [FLAT])
    request = simulate_pb2.ListSimulationChargesRequest(simulation_id=run.simulation_id, page_size=asked)
    found: list[Any] = []
    with grpc.insecure_channel(address) as channel:
        stub = simulate_pb2_grpc.SimulateServiceStub(channel)
        while True:
            page = stub.ListSimulationCharges(request)
            assert len(page.charges) <= shown
            assert found or len(page.charges) == shown
            found += page.charges
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
        assert len(found) == 960
        assert len({each.SerializeToString() for each in found}) == 960
        # A token is good for the list that it is of
        if request.page_token:
            request.scenario = "flat"
            with pytest.raises(grpc.RpcError) as error:
                stub.ListSimulationCharges(request)
            assert failed_with(error.value) == "PAGE_TOKEN_INVALID"


def test_what_cannot_be_listed_is_named(book):
    run = book.simulate(usage(1), omit_charges=True)
    assert run.charges_expire_time is None
    assert reason_raised_by(lambda: list(book.simulated_charges(run.simulation_id))) == "SIMULATION_EXPIRED"
    kept = book.simulate(usage(1))
    with pytest.raises(tb.InvalidArgumentError, match="'gone' was not run; there are 'baseline'"):
        list(book.simulated_charges(kept.simulation_id, "gone"))


def test_customers_that_a_simulation_does_not_charge_are_named(book, monkeypatch):
    # Given messages of few lines, and a scenario under which one customer is not charged
    monkeypatch.setattr(limits, "SIMULATED_LINES_IN_MESSAGE", 7)
    changed = ParseDict(CATALOG, catalog_pb2.Catalog())
    changed.plans.append(
        ParseDict({"id": "free", "product": "calls", "currency": "EUR", "none": {}}, catalog_pb2.Plan())
    )
    changed.contracts[3].product_contracts[0].plan = "free"
    free = tb.Scenario(name="free", put=changed)
    run = book.simulate(usage(1), [free])
    # Then who is charged under any scenario is known under each
    assert list(book.simulated_charges(run.simulation_id, "free", ["c3"])) == []
    assert len(list(book.simulated_charges(run.simulation_id, "baseline", ["c3"]))) == 1
    # And the others are named, all of them, or the first ones and how many more there are
    with pytest.raises(tb.InvalidArgumentError, match=r'customer_ids: .* no charges of customer "c40", "c-1" \('):
        list(book.simulated_charges(run.simulation_id, customer_ids=["c40", "c3", "c-1", "c40"]))
    with pytest.raises(tb.InvalidArgumentError, match=r'"x19" and 1 more \('):
        list(book.simulated_charges(run.simulation_id, customer_ids=[f"x{number}" for number in range(21)]))


def test_limits_of_kept_charges(book, monkeypatch):
    # Given as much room as one simulation takes, and twice that for the server
    sizes = []
    keep = SimulatedCharges.keep

    def noted(self, book_name, simulation_id, charges):
        sizes.append(charges.byte_count)
        return keep(self, book_name, simulation_id, charges)

    monkeypatch.setattr(SimulatedCharges, "keep", noted)
    run = book.simulate(usage(1))
    assert len(list(book.simulated_charges(run.simulation_id))) == CUSTOMERS
    (size,) = sizes
    monkeypatch.setattr(limits, "KEPT_CHARGES_BYTES_MAX", size)
    monkeypatch.setattr(limits, "KEPT_CHARGES_OF_SERVER_BYTES_MAX", 2 * size)
    first, second = book.simulate(usage(1)), book.simulate(usage(1))
    assert list(book.simulated_charges(first.simulation_id))
    # When another one comes, the oldest goes
    third = book.simulate(usage(1))
    assert reason_raised_by(lambda: list(book.simulated_charges(first.simulation_id))) == "SIMULATION_EXPIRED"
    assert list(book.simulated_charges(second.simulation_id))
    assert list(book.simulated_charges(third.simulation_id))
    # And one that is larger is not kept at all
    monkeypatch.setattr(limits, "KEPT_CHARGES_BYTES_MAX", size - 1)
    assert book.simulate(usage(1)).charges_expire_time is None
    assert list(book.simulated_charges(third.simulation_id))


def test_to_another_book_nothing_is_there(tmp_path: Path):
    settings = replace(SETTINGS, data_directory=tmp_path)
    assert settings.keys_path is not None
    keys = ApiKeys(settings.keys_path, lambda: 0)
    (_, airline_key), (_, bakery_key) = keys.create("airline"), keys.create("bakery")
    keys.close()
    with live_server(settings) as address, tb.Client(address, airline_key) as airline:
        airline.apply_catalog(ParseDict(CATALOG, catalog_pb2.Catalog()))
        uploaded = airline.upload_usage(usage(1))
        run = airline.simulate(uploaded)
        made = airline.create_sandbox()
        for other_key in (bakery_key, made.access_token):
            with tb.Client(address, other_key) as other:
                assert reason_raised_by(partial(other.simulate, uploaded)) == "USAGE_FRAME_NOT_FOUND"
                charges = other.simulated_charges(run.simulation_id)
                assert reason_raised_by(partial(next, charges)) == "SIMULATION_EXPIRED"
