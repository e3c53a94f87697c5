"""SimulateService over real gRPC."""

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, localcontext
from typing import Any

import grpc
import polars as pl
import pyarrow as pa
import pytest
from google.protobuf.json_format import MessageToDict, ParseDict
from tests.support.live_book import LiveBook
from tests.support.live_server import live_server
from tests.support.small_catalogue import MONTHLY, NOW_US

import tallybook_client as tb
from tallybook.v1 import catalog_pb2, simulate_pb2, simulate_pb2_grpc
from tallybook_engine.simulation.charges import CHARGES_SCHEMA
from tallybook_engine.simulation.contracts import ContractTable
from tallybook_engine.simulation.evaluation import price_slots
from tallybook_server import limits, simulations
from tallybook_server.book import Book
from tallybook_server.codec.catalog import read_catalog
from tallybook_server.errors import Fault
from tallybook_server.journal.memory import MemoryJournal
from tallybook_server.keys import ApiKeys
from tallybook_server.sandboxes import Sandboxes
from tallybook_server.services.simulate import SimulateService
from tallybook_server.settings import Settings
from tallybook_server.simulations import Simulation, prepare

STREAM_OS_TIERS = [
    {"up_to": "100", "unit_price": "100"},
    {"up_to": "200", "unit_price": "90"},
    {"up_to": "300", "unit_price": "80"},
    {"unit_price": "70"},
]
"""streamOS, plans: the amounts of STEPPED and RAMPED at 500 units."""


def plan(**fields) -> catalog_pb2.Plan:
    return ParseDict({"currency": "USD", **fields}, catalog_pb2.Plan())


@pytest.fixture(scope="module")
def address():
    with live_server() as address:
        yield address


@pytest.fixture(scope="module")
def client(address):
    with tb.Client(address) as client:
        yield client


@pytest.mark.parametrize(("model", "amount"), [("volume", 35000), ("graduated", 41000)])
def test_a_quote_is_what_stream_os_says(client, model, amount):
    quote = client.quote_price(plan(**{model: {"tiers": STREAM_OS_TIERS}}), 500)
    assert quote.amount == amount
    assert sum(line.amount for line in quote.lines) == quote.exact_amount == amount


def test_a_quote_from_one_quantity_to_another_is_signed(client):
    # Given a volume price, when the second tier is reached
    quote = client.quote_price(plan(volume={"tiers": STREAM_OS_TIERS}), 101, 100)
    # Then all units become cheaper
    assert quote.amount == Decimal(101 * 90 - 100 * 100)
    assert (quote.quantity_before, quote.quantity_after, quote.next_tier_from) == (100, 101, 200)


def test_a_rule_of_a_matrix_is_named(client):
    matrix = plan(matrix={"rules": [{"match": {"origin": "EWR"}, "per_unit": {"unit_price": "2"}}]})
    assert client.quote_price(matrix, 3, rule_id="origin=EWR").amount == 6
    with pytest.raises(tb.InvalidArgumentError, match="which rule"):
        client.quote_price(matrix, 3)


def test_everything_wrong_with_a_plan_is_named_at_once(client):
    tiers = [{"starts_at": "5", "up_to": "100", "unit_price": "1"}, {"up_to": "200", "unit_price": "1"}]
    with pytest.raises(tb.InvalidArgumentError) as error:
        client.quote_price(plan(currency="XXQ", graduated={"tiers": tiers}, minimum="x"), 5)
    assert error.value.reason == "CATALOG_INVALID"
    fields = {fault.field for fault in error.value.fields}
    assert {"plan.graduated.tiers[0].starts_at", "plan.minimum", "plan.currency"} <= fields


def test_a_closed_last_tier_is_refused(client):
    with pytest.raises(tb.InvalidArgumentError, match=r"tiers\[0\].up_to: the last tier has no end"):
        client.quote_price(plan(graduated={"tiers": [{"up_to": "200", "unit_price": "1"}]}), 5)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"quantity_to": ""}, "quantity_to"),
        ({"quantity_to": "1e3"}, "quantity_to"),
        ({"quantity_to": "1000000000000000"}, "quantity_to"),
        ({"quantity_to": "1", "quantity_from": "x"}, "quantity_from"),
        ({"quantity_to": "1", "rule_id": "no"}, "rule_id"),
    ],
)
def test_a_bad_quantity_names_its_field(address, fields, named):
    request = simulate_pb2.QuotePriceRequest(plan=plan(per_unit={"unit_price": "1"}), **fields)
    with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError) as error:
        simulate_pb2_grpc.SimulateServiceStub(channel).QuotePrice(request)
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (error.value.details() or "").startswith(f"{named}: ")


def frequency(basis, interval=1, unit="MONTH"):
    return ParseDict({"basis": basis, "interval": interval, "unit": unit}, catalog_pb2.Frequency())


def test_billing_dates_are_those_of_stream_os(client):
    start, end = date(2024, 11, 26), date(2025, 11, 26)
    by_contract = client.billing_dates(start, frequency("CONTRACT", 2), end)
    assert [str(each.start_date) for each in by_contract] == [
        *("2024-11-26", "2025-01-26", "2025-03-26", "2025-05-26", "2025-07-26", "2025-09-26"),
    ]
    by_calendar = client.billing_dates(start, frequency("CALENDAR", 2), end)
    assert [str(each.whole_start_date) for each in by_calendar[:2]] == ["2024-11-01", "2025-01-01"]
    assert (by_calendar[0].start_date, by_calendar[-1].end_date) == (start, end)
    assert (by_calendar[0].day_count, by_calendar[0].whole_day_count) == (36, 61)


def test_billing_dates_are_instants_of_the_zone(client):
    (march, *_) = client.billing_dates(date(2024, 3, 1), frequency("CALENDAR"), time_zone="Europe/Amsterdam")
    assert march.start_time == datetime(2024, 2, 29, 23, tzinfo=UTC)
    assert march.end_time == datetime(2024, 3, 31, 22, tzinfo=UTC)


def preview(address, **fields):
    with grpc.insecure_channel(address) as channel:
        return simulate_pb2_grpc.SimulateServiceStub(channel).PreviewBillingDates(
            simulate_pb2.PreviewBillingDatesRequest(**fields)
        )


def test_an_end_at_the_last_second_is_the_next_day(address):
    answer = preview(
        address, start_date="2024-01-01", end_date="2024-01-31 23:59:59", billing_frequency=frequency("CALENDAR")
    )
    assert [(each.start_date, each.end_date) for each in answer.periods] == [("2024-01-01", "2024-02-01")]
    assert answer.next_from_date == ""


@pytest.mark.parametrize(("asked", "shown"), [(0, 1000), (1000, 1000), (1001, 1000), (3, 3)])
def test_an_endless_contract_is_shown_a_page_at_a_time(address, asked, shown):
    daily = frequency("CONTRACT", 1, "DAY")
    page = preview(address, start_date="2024-01-01", billing_frequency=daily, period_count=asked)
    assert len(page.periods) == shown
    following = preview(
        address,
        start_date="2024-01-01",
        billing_frequency=daily,
        from_date=page.next_from_date,
        period_count=1,
    )
    assert following.periods[0].start_date == page.periods[-1].end_date == page.next_from_date


def test_dates_behind_the_calendar_are_refused(address):
    fields = {"start_date": "2024-01-01", "billing_frequency": frequency("CALENDAR")}
    assert len(preview(address, **fields, from_date="9999-12-29").periods) == 1
    with pytest.raises(grpc.RpcError) as error:
        preview(address, **fields, from_date="9999-12-31")
    assert "from_date: is 9999-12-31, and no billing period begins or goes on there" in str(error.value.details())


def test_every_wrong_field_of_the_dates_is_named_at_once(address):
    with pytest.raises(grpc.RpcError) as error:
        preview(
            address,
            start_date="2024-13-01",
            time_zone="Europe/Atlantis",
            billing_frequency=frequency("CALENDAR", 0),
            from_date="soon",
            period_count=-1,
        )
    found = tb.errors.from_call(error.value)
    assert {each.field for each in found.fields} == {
        *("start_date", "time_zone", "billing_frequency.interval", "from_date", "period_count"),
    }


def test_what_looks_at_no_book_needs_no_key_over_loopback(tmp_path):
    settings = Settings(address="127.0.0.1:0", stop_grace_seconds=1.0, data_directory=tmp_path)
    assert settings.keys_path is not None
    keys = ApiKeys(settings.keys_path, lambda: 0)
    keys.create("airline")
    keys.close()
    per_unit = plan(per_unit={"unit_price": "2"})
    with live_server(settings) as address:
        with tb.Client(address) as client:
            assert client.quote_price(per_unit, 3).amount == 6
            assert client.billing_dates(date(2024, 1, 1), frequency("CALENDAR"), period_count=1)
            with pytest.raises(tb.UnauthenticatedError):
                client.get_catalog()
        with tb.Client(address, "tb_wrong") as client, pytest.raises(tb.UnauthenticatedError):
            client.quote_price(per_unit, 3)


# --- Simulations --------------------------------------------------------------------------------------------------

DAYS = 300


def catalogue(customer_count: int = 3) -> catalog_pb2.Catalog:
    """Two products, and customers with a contract of two levels over them; a tax."""
    plans = [
        {"id": "tiered", "product": "calls", "volume": {"tiers": STREAM_OS_TIERS}},
        {"id": "flat", "product": "calls", "per_unit": {"unit_price": "75.005"}},
        {"id": "seats", "product": "seats", "per_unit": {"unit_price": "10"}},
        {
            "id": "by_kind",
            "product": "calls",
            "matrix": {"rules": [{"match": {"kind": "a"}, "per_unit": {"unit_price": "1"}}]},
        },
    ]
    return ParseDict(
        {
            "taxes": [{"id": "nl", "country_code": "NL", "rate": "0.21"}],
            "meters": [{"id": "api", "values": ["calls", "seats"], "properties": ["kind"]}],
            "products": [
                {"id": "calls", "meter": "api", "aggregation": "SUM", "value": "calls"},
                {"id": "seats", "meter": "api", "aggregation": "MAX", "value": "seats"},
            ],
            "plans": [{"currency": "EUR", **each} for each in plans],
            "customers": [{"id": f"c{number}", "country_code": "NL"} for number in range(customer_count)],
            "contracts": [
                {
                    "id": f"root{number}",
                    "customer": f"c{number}",
                    "time_zone": "Europe/Amsterdam",
                    "start_date": "2024-01-01",
                    "end_date": "2025-01-01",
                    "billing_frequency": MONTHLY,
                    "product_contracts": [{"id": f"seats{number}", "plan": "seats"}],
                    "sub_contracts": [
                        {
                            "id": f"division{number}",
                            "product_contracts": [{"id": f"calls{number}", "plan": "tiered"}],
                        }
                    ],
                }
                for number in range(customer_count)
            ],
        },
        catalog_pb2.Catalog(),
    )


def usage(**columns: object) -> pl.DataFrame:
    """A call or some a day, more the higher the customer's number; and seats."""
    start = date(2024, 1, 1)
    rows = [
        (start + timedelta(days=day), f"{product}{number}", product, Decimal(number * 7 + day % 3))
        for number in range(3)
        for product in ("calls", "seats")
        for day in range(DAYS)
    ]
    schema: dict[str, Any] = {
        "date": pl.Date,
        "contract_id": pl.String,
        "product_id": pl.String,
        "quantity": pl.Decimal(38, 12),
    }
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    return frame.with_columns(**{name: pl.lit(value) for name, value in columns.items()})


@pytest.fixture(scope="module")
def book(client):
    client.apply_catalog(catalogue())
    return client


def test_a_simulation_is_what_list_charges_shows(book):
    # Given usage that was ingested as events, too
    rows = usage()
    events = [
        tb.Event(
            reference=f"row{index}",
            customer_reference=f"c{row['contract_id'][-1]}",
            meter_reference="api",
            contract_id=row["contract_id"],
            # Noon is on the same local date as its midnight.
            time=datetime.combine(row["date"], datetime.min.time(), UTC) + timedelta(hours=12),
            values={row["product_id"]: row["quantity"]},
        )
        for index, row in enumerate(rows.iter_rows(named=True))
    ]
    book.ingest(events)
    # When it is simulated
    found = book.simulate(rows).to_polars()
    # Then every line is the ledger's
    columns = ["contract_path", "plan_id", "period_start_time", "period_end_time", "quantity", "exact_amount"]
    columns += ["currency", "amount_excluding_tax", "tax_amount", "amount_including_tax"]
    held = pl.concat([book.charges(tb.Span(customer_id=f"c{number}")).frame() for number in range(3)])
    expected = held.select(columns).rows()
    assert sorted(found.select(columns).rows(), key=str) == sorted(expected, key=str)
    assert found.height == len(expected) > 50


def test_scenarios_are_compared_by_customer_and_in_total(book):
    progress: list[tuple[int, int]] = []
    scenarios = [
        tb.Scenario(name="flat", replace_plans={"tiered": "flat"}),
        tb.Scenario(name="same"),
        tb.Scenario(
            name="dearer seats",
            put=ParseDict(
                {"plans": [{"id": "seats", "product": "seats", "currency": "EUR", "per_unit": {"unit_price": "10.5"}}]},
                catalog_pb2.Catalog(),
            ),
        ),
    ]
    found = book.simulate(usage(), scenarios, on_progress=lambda *at: progress.append(at))
    assert found.scenarios == ("baseline", "flat", "same", "dearer seats")
    assert progress[-1] == (found.row_count, found.row_count)
    charges = found.to_polars()
    sums = dict(charges.group_by("scenario").agg(pl.col("amount_excluding_tax").sum()).rows())
    for total in found.totals:
        assert total.amount_excluding_tax.quantity == sums[total.scenario]
        assert total.difference_excluding_tax.quantity == sums[total.scenario] - sums["baseline"]
        assert total.amount_including_tax.quantity > total.amount_excluding_tax.quantity
    same = next(total for total in found.totals if total.scenario == "same")
    assert (same.customer_count_more, same.customer_count_less, same.customer_count_same) == (0, 0, 3)
    dearer = next(total for total in found.totals if total.scenario == "dearer seats")
    assert (dearer.customer_count_more, dearer.customer_count_cheapest) == (3, 0)
    # By customer the same sums, and somebody's cheapest is marked
    customers = found.customers()
    assert customers.height == 3 * 4
    by_scenario = customers.group_by("scenario").agg(pl.col("amount_excluding_tax").sum())
    assert dict(by_scenario.rows()) == sums
    cheapest = customers.filter(
        pl.col("amount_excluding_tax") == pl.col("amount_excluding_tax").min().over("customer_id")
    )
    assert cheapest["is_cheapest"].all()
    assert customers["is_cheapest"].sum() == cheapest.height


def test_the_wide_frame_goes_down_the_contract_tree(book):
    wide = book.simulate(usage()).to_pandas()
    january = wide.iloc[0]
    assert wide.index[0] == datetime(2023, 12, 31, 23, tzinfo=UTC)
    division = january["root1", "division1", "total", ""]
    seats = january["root1", "seats", "", "total_amount"]
    assert january["root1", "division1", "tiered", "total_amount"] == division
    assert january["root1", "total", "", ""] == division + seats
    assert (january["root1", "seats", "", "unit_amount"], january["root1", "seats", "", "quantity"]) == (10, 9)
    assert isinstance(division, Decimal)


def test_the_wide_frame_has_floats_where_they_are_asked(book):
    found = book.simulate(usage())
    exact, floats = found.to_pandas(), found.to_pandas(as_float=True)
    assert set(floats.dtypes.astype(str)) == {"float64"}
    assert floats.columns.equals(exact.columns)
    assert floats["root1", "total", "", ""].tolist() == [float(each) for each in exact["root1", "total", "", ""]]


def test_the_wide_frame_has_the_digits_of_its_currency_and_no_zeros_that_fill_up(book):
    january = book.simulate(usage()).to_pandas().iloc[0]
    seats = [january["root1", "seats", "", each] for each in ("unit_amount", "quantity", "total_amount")]
    assert [str(each) for each in seats] == ["10", "9", "90.00"]


def test_the_wide_frame_of_a_scenario_that_was_not_run_is_refused(book):
    found = book.simulate(usage(), [tb.Scenario(name="flat", replace_plans={"tiered": "flat"})])
    with pytest.raises(ValueError, match="'falt' was not run; there are 'baseline', 'flat'"):
        found.to_pandas("falt")


def test_an_exact_amount_keeps_every_digit(book):
    # Given a price and a quantity of 12 decimals each, whose product has 38 digits
    flat = {"id": "flat", "product": "calls", "currency": "EUR", "per_unit": {"unit_price": "99.000000000001"}}
    price = tb.Scenario(
        name="fine", put=ParseDict({"plans": [flat]}, catalog_pb2.Catalog()), replace_plans={"tiered": "flat"}
    )
    quantity = Decimal("999999999999.123456789012")
    row = usage_row("2024-02-01", "calls0", "calls", str(quantity))
    # Then the frame has all of them, and so has its explanation
    found = book.simulate([row], [price])
    (line,) = found.to_polars().filter(scenario="fine").iter_rows(named=True)
    with localcontext(prec=60):
        exact = quantity * Decimal("99.000000000001")
    assert line["exact_amount"] == str(exact) == "98999999999914.222222112187123456789012"
    assert found.explain(line).exact_amount == exact


@pytest.mark.parametrize("levels", [100, 300])
def test_the_wide_frame_goes_to_any_depth(levels):
    # Given a line below so many contracts, one beside the last of them, and a line of each contract
    path = [f"level{number}" for number in range(levels)]
    charges = pa.Table.from_pylist(
        [
            {
                **dict.fromkeys(("customer_id", "product_id", "cell_id"), ""),
                **dict.fromkeys(("period_start_time", "period_end_time"), datetime(2024, 1, 1, tzinfo=UTC)),
                "contract_path": [*contracts, *plan],
                "plan_id": plan[0] if plan else None,
                "quantity": Decimal(2) if plan else None,
                "unit_amount": None,
                "exact_amount": Decimal(amount),
                "currency": "EUR",
                "amount_excluding_tax": Decimal(amount),
                "tax_amount": Decimal(0),
                "amount_including_tax": Decimal(amount),
                "line_kind": kind,
            }
            for contracts, plan, amount, kind in (
                (path, ["deep"], 5, "CHARGE"),
                (path[:-1], ["beside"], 7, "CHARGE"),
                *((path[:depth], [], 0, "DISCOUNT") for depth in range(1, levels + 1)),
            )
        ],
        schema=CHARGES_SCHEMA,
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, charges.schema) as writer:
        writer.write_table(charges)
    stream = simulate_pb2.SimulationCharges(scenario="baseline", arrow=sink.getvalue().to_pybytes())
    total = simulate_pb2.ScenarioTotal(scenario="baseline")
    for amount in (total.amount_excluding_tax, total.amount_including_tax, total.difference_excluding_tax):
        amount.quantity, amount.currency = "12.00", "EUR"
    messages = [
        simulate_pb2.RunSimulationResponse(started=simulate_pb2.SimulationStarted(scenarios=["baseline"])),
        simulate_pb2.RunSimulationResponse(charges=stream),
        simulate_pb2.RunSimulationResponse(totals=simulate_pb2.SimulationTotals(totals=[total], unfit_row_counts=[0])),
    ]
    wide = tb.Simulation(messages).to_pandas()
    # Then each level has its total, and each plan its columns below its contract
    assert wide.columns.nlevels == levels + 2
    row = wide.iloc[0]
    assert row[(*path, "deep", "total_amount")] == row[(*path, "total", "")] == 5
    assert row[(*path[:-1], "beside", "", "total_amount")] == 7
    assert [row[(*path[:depth], "total", *[""] * (levels + 1 - depth))] for depth in (1, levels // 2)] == [12] * 2


@pytest.mark.parametrize("as_rows", [True, False])
def test_a_limit_of_properties(book, monkeypatch, as_rows):
    # Given two rows, and three properties of which each row has at most two
    properties = [{"a": "x", "b": "x"}, {"c": "x"}]
    rows = [usage_row("2024-02-01", "calls0", "calls", "1") for _ in properties]
    for row, named in zip(rows, properties, strict=True):
        row.properties.update(named)
    frame = (
        usage()
        .head(2)
        .with_columns(
            **{
                f"property:{name}": pl.Series([each.get(name) for each in properties], dtype=pl.String)
                for name in "abc"
            }
        )
    )
    # Then each counts for every row
    monkeypatch.setattr(limits, "USAGE_CELLS_MAX", 6)
    assert book.simulate(rows if as_rows else frame).row_count == 2
    monkeypatch.setattr(limits, "USAGE_CELLS_MAX", 5)
    with pytest.raises(tb.LimitExceededError) as error:
        book.simulate(rows if as_rows else frame)
    assert error.value.reason == "TOO_MANY_NAMES"


@pytest.mark.parametrize("name", ["", "x" * 256])
def test_a_property_has_a_name(book, name):
    with pytest.raises(tb.InvalidArgumentError, match="properties: a name has 1 to 255 bytes"):
        book.simulate(usage().head(1).with_columns(pl.lit("x").alias(f"property:{name}")))


@pytest.mark.parametrize(
    ("seconds", "nanos"), [(10**18, 0), (-(10**18), 0), (1_700_000_000, -1), (1_700_000_000, 1_000_000_000)]
)
def test_a_row_of_no_instant_is_named(book, seconds, nanos):
    row = usage_row("", "calls0", "calls", "1")
    row.time.seconds, row.time.nanos = seconds, nanos
    with pytest.raises(tb.InvalidArgumentError) as error:
        book.simulate([row])
    assert [each.field for each in error.value.fields] == ["rows[0].time"]


def test_a_null_in_a_dictionary_is_none(book):
    # Given a column whose row points at a null among the distinct texts
    texts = pa.DictionaryArray.from_arrays(pa.array([1, 0], pa.int32()), pa.array(["calls0", None]))
    days = pa.array([date(2024, 2, 1)] * 2)
    table = pa.table({"date": days, "contract_id": texts, "product_id": ["calls"] * 2, "quantity": [1, 1]})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    request = simulate_pb2.RunSimulationRequest(arrow=sink.getvalue().to_pybytes())
    with pytest.raises(tb.InvalidArgumentError, match="contract_id: 1 rows have none, the first is row 0"):
        book.run_simulation(request)


def test_a_dictionary_that_says_a_text_twice_means_one(book):
    texts = pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int32()), pa.array(["calls0", "calls0"]))
    days = pa.array([date(2024, 2, 1)] * 2)
    columns = {"date": days, "product_id": ["calls"] * 2, "quantity": [60, 60]}
    twice, once = (
        book.simulate(pa.table({**columns, "contract_id": contracts})).to_polars().to_dicts()
        for contracts in (texts, texts.cast(pa.string()))
    )
    assert len(once) == 1
    assert twice == once


def test_an_id_that_is_out_of_all_bounds_is_named_by_its_beginning(book):
    # Given an id that no error could carry whole
    with pytest.raises(tb.InvalidArgumentError) as error:
        book.simulate([usage_row("2024-02-01", "é" * 1_000_000, "calls", "1")])
    assert error.value.reason == "USAGE_INVALID"
    (fault,) = error.value.fields
    assert fault.description.startswith('no product contract "éééé')
    assert len(fault.description.encode()) <= limits.FAULT_TEXT_BYTES_MAX


def test_rows_are_what_a_frame_is(book):
    frame = usage().head(40)
    rows = [
        simulate_pb2.UsageRow(
            date=str(row["date"]),
            contract_id=row["contract_id"],
            product_id=row["product_id"],
            quantity=format(row["quantity"], "f"),
        )
        for row in frame.iter_rows(named=True)
    ]
    assert book.simulate(rows).to_polars().equals(book.simulate(frame).to_polars())


def test_what_does_not_fit_the_baseline_is_named_at_once(book):
    rows = [
        ("2024-02-01", "calls0", "seats", "1"),
        ("2025-01-01", "calls1", "calls", "1"),
        ("2024-02-01", "calls2", "calls", "-1"),
    ]
    with pytest.raises(tb.InvalidArgumentError) as error:
        book.simulate([usage_row(*row) for row in rows])
    assert error.value.reason == "USAGE_INVALID"
    assert [fault.field for fault in error.value.fields] == ["product_id", "date", "quantity"]
    with pytest.raises(tb.InvalidArgumentError) as error:
        book.simulate(
            [usage_row("2024-02-01", "nobody", "nothing", "1"), usage_row("2024-02-01", "calls1", "calls", "1")],
            customer_ids=["c0", "c9"],
        )
    told = {fault.description for fault in error.value.fields}
    assert told == {
        'no product contract "nobody" in the catalogue',
        'no product "nothing" in the catalogue',
        'no customer "c9" in the catalogue',
        '"calls1" is of customer "c1", who is not asked',
    }


def usage_row(day: str, contract: str, product: str, quantity: str) -> simulate_pb2.UsageRow:
    return simulate_pb2.UsageRow(date=day, contract_id=contract, product_id=product, quantity=quantity)


@pytest.mark.parametrize(
    ("row", "field"),
    [
        (("", "calls0", "calls", "1"), "rows[0].date"),
        (("1899-12-31", "calls0", "calls", "1"), "rows[0].date"),
        (("2024-01-01", "calls0", "calls", "1e3"), "rows[0].quantity"),
    ],
)
def test_a_row_that_is_wrong_in_itself_is_named(book, row, field):
    with pytest.raises(tb.InvalidArgumentError) as error:
        book.simulate([usage_row(*row)])
    assert (error.value.reason, [each.field for each in error.value.fields]) == ("USAGE_INVALID", [field])


def test_an_invalid_scenario_is_named_and_the_others_run_if_asked(book):
    scenarios = [
        tb.Scenario(name="unknown plan", replace_plans={"tiered": "nothing"}),
        tb.Scenario(name="gone", remove=catalog_pb2.CatalogIds(contracts=["root0"])),
        tb.Scenario(name="matrix", replace_plans={"tiered": "by_kind"}),
        tb.Scenario(name="flat", replace_plans={"tiered": "flat"}),
    ]
    with pytest.raises(tb.InvalidArgumentError, match="unknown plan") as error:
        book.simulate(usage(), scenarios)
    assert error.value.reason == "SCENARIO_INVALID"
    found = book.simulate(usage(), scenarios, skip_invalid_scenarios=True)
    assert found.scenarios == ("baseline", "flat")
    assert {each.name: each.faults[0].partition(":")[0] for each in found.skipped} == {
        "unknown plan": 'replace_plans["tiered"]',
        "gone": "contract_id",
        "matrix": "property",
    }


def test_a_matrix_looks_at_properties(book):
    scenario = tb.Scenario(name="matrix", replace_plans={"tiered": "by_kind"})
    calls = usage(**{"property:kind": "a"}).filter(pl.col("product_id") == "calls")
    other = calls.with_columns(pl.lit("b").alias("property:kind"))
    assert book.simulate(calls, [scenario]).unfit_row_counts == {"baseline": 0, "matrix": 0}
    found = book.simulate(other, [scenario])
    assert found.unfit_row_counts == {"baseline": 0, "matrix": calls.height}
    assert set(found.to_polars()["scenario"]) == {"baseline"}


@pytest.mark.parametrize(("count", "reason"), [(64, ""), (65, "FIELD_INVALID")])
def test_a_limit_of_scenarios(book, count, reason):
    scenarios = [tb.Scenario(name=f"s{number}") for number in range(count)]
    try:
        assert len(book.simulate(usage().head(3), scenarios).scenarios) == 65
        found = ""
    except tb.InvalidArgumentError as error:
        found = error.reason
    assert found == reason


@pytest.mark.parametrize(("names", "field"), [(["a", "a"], 1), (["baseline"], 0), ([""], 0), (["x" * 256], 0)])
def test_names_of_scenarios(book, names, field):
    with pytest.raises(tb.InvalidArgumentError, match=rf"scenarios\[{field}\].name"):
        book.simulate(usage().head(1), [tb.Scenario(name=name) for name in names])


@pytest.mark.parametrize(("more", "reason"), [(0, ""), (1, "SIMULATION_TOO_LARGE")])
def test_a_limit_of_rows(book, monkeypatch, more, reason):
    monkeypatch.setattr("tallybook_server.limits.USAGE_ROWS_MAX", 20)
    for rows in (usage().head(20 + more), [usage_row("2024-02-01", "calls0", "calls", "1")] * (20 + more)):
        try:
            book.simulate(rows)
            found = ""
        except tb.LimitExceededError as error:
            found = error.reason
        assert found == reason


def test_more_periods_than_the_limit(book, monkeypatch):
    monkeypatch.setattr("tallybook_engine.simulation.calendars.PERIODS_MAX", 10)
    with pytest.raises(tb.LimitExceededError) as error:
        book.simulate(usage())
    assert error.value.reason == "SIMULATION_TOO_LARGE"
    monkeypatch.undo()
    monkeypatch.setattr("tallybook_engine.simulation.plan.SLOTS_MAX", 10)
    with pytest.raises(tb.LimitExceededError) as error:
        book.simulate(usage())
    assert error.value.reason == "SIMULATION_TOO_LARGE"


def test_an_amount_that_does_not_fit_names_its_product_contract(book):
    rows = [usage_row("2024-02-01", "calls0", "calls", "999999999999999")] * 2
    with pytest.raises(tb.FailedPreconditionError, match="calls0") as error:
        book.simulate(rows)
    assert error.value.reason == "SIMULATION_DOES_NOT_FIT"


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (lambda: usage().drop("quantity"), "ARROW_COLUMN_MISSING"),
        (lambda: usage().drop("date"), "ARROW_COLUMN_MISSING"),
        (lambda: usage(wrong="x"), "ARROW_COLUMN_UNKNOWN"),
        (lambda: usage().with_columns(pl.col("date").cast(pl.Datetime("us"))), "ARROW_COLUMN_TYPE"),
        (lambda: usage().with_columns(pl.lit(None, pl.String).alias("contract_id")), "USAGE_INVALID"),
        (lambda: usage().with_columns(pl.lit(None, pl.Date).alias("date")), "USAGE_INVALID"),
        (lambda: usage().with_columns(pl.lit(10**15).alias("quantity")), "USAGE_INVALID"),
    ],
)
def test_a_stranger_frame_is_refused(book, frame, reason):
    with pytest.raises(tb.InvalidArgumentError) as error:
        book.simulate(frame())
    assert error.value.reason == reason


def test_floats_are_refused_before_they_are_sent(book):
    with pytest.raises(tb.FrameError, match="quantity"):
        book.simulate(usage().with_columns(pl.col("quantity").cast(pl.Float64)))


@pytest.mark.parametrize(
    ("made", "words"), [(lambda: usage().lazy(), r"\.collect\(\)"), (lambda: usage().to_pandas(), "pl.from_pandas")]
)
def test_frames_of_others_are_refused_with_what_makes_them_fit(book, made, words):
    for call in (book.simulate, book.upload_usage):
        with pytest.raises(tb.FrameError, match=words):
            call(made())


def test_rows_that_are_too_large_are_counted_and_the_first_named(book):
    quantities = pl.Series("quantity", [None, 1, -(10**15), 10**15], pl.Decimal(38, 0))
    with pytest.raises(tb.InvalidArgumentError) as error:
        book.simulate(usage().head(4).with_columns(quantities))
    assert [f"{each.field}: {each.description}" for each in error.value.fields] == [
        "quantity: 1 rows have none, the first is row 0, counted from 0",
        "quantity: 2 rows are not below 10^15 in size, the first is row 2, counted from 0",
    ]


def test_no_usage_is_no_charges(book):
    found = book.simulate(usage().head(0))
    assert (found.to_polars().height, found.totals, found.row_count) == (0, (), 0)


def test_charges_are_left_out_where_they_are_not_asked(book):
    found = book.simulate(usage(), omit_charges=True)
    assert found.to_polars().height == 0
    assert found.totals[0].amount_excluding_tax.quantity > 0


def test_cancelled_calls_are_at_work_no_more(address, book, monkeypatch):
    # Given a simulation of many pieces, of which the client takes the first message
    monkeypatch.setattr("tallybook_engine.simulation.plan.PIECE_SLOTS", 1)
    request = tb.simulation_request(usage(), [tb.Scenario(name=f"s{number}") for number in range(8)])
    # When it cancels, more often than simulations may be at work
    for _ in range(12):
        with grpc.insecure_channel(address) as channel:
            call = simulate_pb2_grpc.SimulateServiceStub(channel).RunSimulation(request)
            assert next(call).WhichOneof("event") == "started"
            call.cancel()
            with pytest.raises(grpc.RpcError) as error:
                list(call)
        assert error.value.code() is grpc.StatusCode.CANCELLED
    # Then the server goes on answering
    assert book.simulate(usage().head(1)).row_count == 1


def test_a_message_has_so_many_lines_at_most(address, book, monkeypatch):
    monkeypatch.setattr("tallybook_server.limits.SIMULATED_LINES_IN_MESSAGE", 7)
    whole = book.simulate(usage()).to_polars()
    request = tb.simulation_request(usage())
    with grpc.insecure_channel(address) as channel:
        messages = list(simulate_pb2_grpc.SimulateServiceStub(channel).RunSimulation(request))
    counts = [
        pa.ipc.open_stream(each.charges.arrow).read_all().num_rows
        for each in messages
        if each.WhichOneof("event") == "charges"
    ]
    assert max(counts) == 7
    assert sum(counts) == whole.height
    assert len({each.simulation_id for each in messages}) == 1
    assert messages[-1].WhichOneof("event") == "totals"


@pytest.fixture
def book_in_memory():
    """The book itself, with the catalogue, for a service that is called without a channel."""
    live = LiveBook(MemoryJournal(), NOW_US)
    live.apply(MessageToDict(catalogue()))
    yield live.book
    live.close()


def book_of(book: Book) -> Callable[[object], Book]:
    """A credential that always names this book."""
    return lambda _context: book


@pytest.mark.parametrize("at_work", [7, 8])
def test_a_limit_of_simulations_at_once(book_in_memory, at_work):
    # Given a service with simulations at work whose first message was taken
    async def outcome() -> str:
        with ThreadPoolExecutor(2) as executor:
            service = SimulateService(book_of(book_in_memory), executor, Sandboxes(lambda: 0), lambda: 0)
            request = tb.simulation_request(usage())
            begun = [service.RunSimulation(request, None) for _ in range(at_work)]  # type: ignore[arg-type]
            for each in begun:
                assert (await anext(each)).WhichOneof("event") == "started"
            # When one more comes
            try:
                one_more = service.RunSimulation(request, None)  # type: ignore[arg-type]
                kinds = [each.WhichOneof("event") async for each in one_more]
                found = str(kinds[-1])
            except Fault as fault:
                found = fault.code.name
            # Then those at work are not disturbed
            for each in begun:
                assert [message.WhichOneof("event") async for message in each][-1] == "totals"
            return found

    assert asyncio.run(outcome()) == ("totals" if at_work < 8 else "OVERLOADED")


def test_no_piece_begins_once_the_call_has_ended(book_in_memory, monkeypatch):
    # Given a simulation of six pieces, one product contract each
    monkeypatch.setattr("tallybook_engine.simulation.plan.PIECE_SLOTS", 1)
    request = tb.simulation_request(usage(), omit_charges=True)
    simulation = prepare(request, read_catalog(catalogue()), ContractTable(read_catalog(catalogue()).contracts))
    assert len(simulation.plan.pieces) == 6
    begun = []
    run = Simulation.run

    def counted(self, piece, go_on):
        begun.append(piece)
        return run(self, piece, go_on)

    monkeypatch.setattr(Simulation, "run", counted)
    monkeypatch.setattr("tallybook_server.services.simulate.PIECES_AT_WORK", 1)

    async def ended_after_one() -> None:
        with ThreadPoolExecutor(2) as executor:
            service = SimulateService(book_of(book_in_memory), executor, Sandboxes(lambda: 0), lambda: 0)
            messages = service.RunSimulation(request, None)  # type: ignore[arg-type]
            kinds = [(await anext(messages)).WhichOneof("event") for _ in range(2)]
            assert kinds == ["started", "progress"]
            # When the call ends after the first piece
            await messages.aclose()  # type: ignore[attr-defined]

    asyncio.run(ended_after_one())
    # Then no other was begun
    assert len(begun) == 1


def test_a_cancelled_call_stops_before_the_next_scenario(address, book, monkeypatch):
    # Given a simulation of 65 catalogues and one piece, of which the first is being priced
    begun, cancelled = threading.Event(), threading.Event()
    priced = []

    def slow(*arguments):
        priced.append(arguments)
        begun.set()
        cancelled.wait()
        return price_slots(*arguments)

    class Noticed(logging.Handler):
        def emit(self, record):
            if "RunSimulation CANCELLED" in record.getMessage():
                cancelled.set()

    monkeypatch.setattr("tallybook_engine.simulation.run.price_slots", slow)
    calls = logging.getLogger("tallybook.calls")
    calls.addHandler(handler := Noticed())
    before = calls.level
    calls.setLevel(logging.INFO)
    # What is as under the baseline is not priced again.
    scenarios = [tb.Scenario(name=f"s{number}", replace_plans={"tiered": "flat"}) for number in range(64)]
    try:
        with grpc.insecure_channel(address) as channel:
            call = simulate_pb2_grpc.SimulateServiceStub(channel).RunSimulation(
                tb.simulation_request(usage(), scenarios)
            )
            assert begun.wait(60)
            # When the call is cancelled, and the server knows
            call.cancel()
            assert cancelled.wait(60)
    finally:
        cancelled.set()
        calls.removeHandler(handler)
        calls.setLevel(before)
    monkeypatch.undo()
    # Then the piece is not priced under any other catalogue, and others are served
    assert book.simulate(usage().head(3)).row_count == 3
    assert len(priced) == 1


def test_a_cancelled_call_stops_while_it_is_prepared(address, book, monkeypatch):
    # Given 64 scenarios, of which the second is being applied when nobody waits any more
    ended = threading.Event()
    applied = []

    def counted(*arguments):
        applied.append(arguments)
        if len(applied) == 2:
            ended.set()
        return changed(*arguments)

    def go_on():
        if ended.is_set():
            raise InterruptedError

    changed = simulations._changed
    monkeypatch.setattr(simulations, "_changed", counted)
    scenarios = [tb.Scenario(name=f"s{number}") for number in range(64)]
    catalog = read_catalog(catalogue())
    with pytest.raises(InterruptedError):
        prepare(tb.simulation_request(usage(), scenarios), catalog, ContractTable({}), go_on=go_on)
    assert len(applied) == 2
