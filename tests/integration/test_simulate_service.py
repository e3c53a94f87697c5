"""SimulateService over real gRPC."""

from datetime import UTC, date, datetime
from decimal import Decimal

import grpc
import pytest
from google.protobuf.json_format import ParseDict
from tests.support.live_server import live_server

import tallybook_client as tb
from tallybook.v1 import catalog_pb2, simulate_pb2, simulate_pb2_grpc
from tallybook_server.keys import ApiKeys
from tallybook_server.settings import Settings

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
    assert error.value.details().startswith(f"{named}: ")


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
