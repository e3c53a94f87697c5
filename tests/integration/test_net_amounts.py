"""Net amounts over real gRPC: what events move of invoices, and that invoices are the sums of what events were told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from tests.support.live_server import SETTINGS, live_server

import tallybook_client as tb
from tallybook.v1 import catalog_pb2
from tallybook_engine.ledger import stage
from tallybook_engine.ledger.outcomes import Cause, NetPosting
from tallybook_engine.ledger.state import State
from tallybook_server.verify import verify

MONTHLY = {"basis": "CALENDAR", "interval": 1, "unit": "MONTH"}
MARCH, APRIL = date(2024, 3, 1), date(2024, 4, 1)
NOON = datetime(2024, 3, 10, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def client() -> Iterator[tb.Client]:
    with live_server() as address, tb.Client(address) as client:
        yield client


def put(client: tb.Client, name: str, *, tax: str | None = None, **terms: Any) -> None:
    """A customer with one contract of its name that sells one unit for 1 euro."""
    taxes = [] if tax is None else [{"id": f"tax_{tax}", "country_code": tax, "rate": "0.2"}]
    catalogue = {
        "taxes": taxes,
        "meters": [{"id": f"{name}_meter", "values": ["units"]}],
        "products": [{"id": f"{name}_units", "meter": f"{name}_meter", "aggregation": "SUM", "value": "units"}],
        "plans": [
            {"id": f"{name}_plan", "product": f"{name}_units", "currency": "EUR", "per_unit": {"unit_price": "1"}}
        ],
        "customers": [{"id": name, "country_code": tax or ""}],
        "contracts": [
            {
                "id": name,
                "customer": name,
                "time_zone": "UTC",
                "start_date": MARCH.isoformat(),
                "billing_frequency": MONTHLY,
                "product_contracts": [{"id": f"{name}_sold", "plan": f"{name}_plan"}],
                **terms,
            }
        ],
    }
    client.apply_catalog(ParseDict(catalogue, catalog_pb2.Catalog()))


def event(name: str, reference: str, units: str, time: datetime = NOON) -> tb.Event:
    return tb.Event(
        reference=reference,
        customer_reference=name,
        meter_reference=f"{name}_meter",
        time=time,
        values={"units": Decimal(units)},
    )


def store(client: tb.Client, sent: tb.Event) -> tb.EventResult:
    (result,) = client.ingest([sent], tb.View.FULL)
    return result


def detail_of(cost: tb.CostPrediction | None) -> tb.CostDetail:
    assert cost is not None
    (detail,) = cost.details
    return detail


def amounts(cost: tb.CostPrediction | None) -> tuple[str, str]:
    """(amount, net amount), both without tax."""
    detail = detail_of(cost)
    return str(detail.amount_excluding_tax.quantity), str(detail.net_amount_excluding_tax.quantity)


def test_usage_below_a_minimum_is_paid_already(client):
    # Given a minimum of 100 a month
    put(client, "least", minimum="100")
    # When usage comes to 30, then 110
    foreseen = client.predict([event("least", "first", "30")])[0]
    first, second = store(client, event("least", "first", "30")), store(client, event("least", "second", "80"))
    # Then the first costs nothing more, and the second what lies above
    assert amounts(foreseen.cost) == amounts(first.cost) == ("30.00", "0.00")
    assert amounts(second.cost) == ("80.00", "10.00")
    (adjustment,) = detail_of(second.cost).adjustments
    assert (adjustment.contract_id, adjustment.start_time) == ("least", datetime(2024, 3, 1, tzinfo=UTC))
    assert adjustment.amount_excluding_tax.quantity == -70
    # And the invoice is the minimum, at which the month opened, and the net amounts
    (invoice,) = client.preview_invoices("least", MARCH)
    assert invoice.amount_excluding_tax.quantity == 100 + 0 + 10
    # And who sends it again, or asks, is told the same
    assert store(client, event("least", "second", "80")).status is tb.Status.DUPLICATE
    assert amounts(store(client, event("least", "second", "80")).cost) == ("80.00", "10.00")
    stored = client.get_event(tb.EventKey(event_id=second.event_id))
    assert [amounts(each.cost) for each in stored.history] == [("80.00", "10.00")]
    # And a delete gives back what it moves
    for _ in range(2):
        (deleted,) = client.delete([tb.EventKey(event_id=second.event_id)])
        assert amounts(deleted.cost) == ("-80.00", "-10.00")
    assert client.preview_invoices("least", MARCH)[0].amount_excluding_tax.quantity == 100


def test_without_terms_the_net_amount_is_the_amount(client):
    put(client, "plain")
    result = store(client, event("plain", "one", "3"))
    assert amounts(result.cost) == ("3.00", "3.00")
    assert detail_of(result.cost).adjustments == ()


def test_a_credit_that_is_used_earlier_is_missing_later(client):
    # Given a credit of 100, and usage of 80 in April
    put(client, "credited", credits=[{"id": "opening", "amount": "100"}])
    april = store(client, event("credited", "april", "80", NOON + timedelta(days=31)))
    assert amounts(april.cost) == ("80.00", "0.00")
    # When 50 of March come late
    late = store(client, event("credited", "march", "50"))
    # Then March is paid by the credit, and April by 30 less
    assert amounts(late.cost) == ("50.00", "30.00")
    moved = [
        (each.start_time.month, int(each.amount_excluding_tax.quantity)) for each in detail_of(late.cost).adjustments
    ]
    assert sorted(moved) == [(3, -50), (4, 30)]
    invoices = client.preview_invoices("credited", MARCH, period_count=2)
    assert [int(each.amount_excluding_tax.quantity) for each in invoices] == [0, 30]


def test_net_amounts_are_taxed_as_the_lines_of_the_invoice_are(client):
    # Given 10 % off and a tax of 20 %
    put(client, "taxed", tax="DK", discount={"rate": "0.1"})
    detail = detail_of(store(client, event("taxed", "one", "50")).cost)
    assert str(detail.amount_including_tax) == "60.00 EUR"
    assert (str(detail.net_amount_excluding_tax), str(detail.net_amount_including_tax)) == ("45.00 EUR", "54.00 EUR")
    assert str(client.preview_invoices("taxed", MARCH)[0].amount_including_tax) == "54.00 EUR"


def test_other_terms_hold_from_the_next_period_on_and_a_reprocess_moves_the_pin(client):
    # Given a month that opened under 10 % off
    put(client, "changed", discount={"rate": "0.1"})
    assert amounts(store(client, event("changed", "one", "50")).cost) == ("50.00", "45.00")
    # When the discount is 50 % from now on
    put(client, "changed", discount={"rate": "0.5"})
    # Then it holds from April on
    assert amounts(store(client, event("changed", "two", "50")).cost) == ("50.00", "45.00")
    april = store(client, event("changed", "three", "50", NOON + timedelta(days=31)))
    assert amounts(april.cost) == ("50.00", "25.00")
    # And a reprocess takes it to March: no charge line moves, and 40 less are due
    *_, last = client.reprocess(tb.Span(customer_id="changed"), move_pins=True)
    assert last.amounts == ()
    assert [str(each.base_amount) for each in last.net_amounts] == ["-40.00 EUR"]
    assert client.preview_invoices("changed", MARCH)[0].amount_excluding_tax.quantity == 50
    assert amounts(store(client, event("changed", "four", "10")).cost) == ("10.00", "5.00")


def test_a_month_that_began_without_terms_stays_without(client):
    put(client, "began")
    store(client, event("began", "one", "50"))
    put(client, "began", discount={"rate": "0.5"})
    assert amounts(store(client, event("began", "two", "50")).cost) == ("50.00", "50.00")
    # Until it is reprocessed
    *_, last = client.reprocess(tb.Span(customer_id="began"), move_pins=True)
    assert [str(each.base_amount) for each in last.net_amounts] == ["-50.00 EUR"]
    assert amounts(store(client, event("began", "three", "50")).cost) == ("50.00", "25.00")


def test_events_of_one_call_are_told_one_after_the_other(client):
    # Given a cap of 100
    put(client, "capped", cap="100")
    results = client.ingest([event("capped", str(number), "40") for number in range(4)], tb.View.AMOUNTS)
    assert [amounts(each.cost)[1] for each in results] == ["40.00", "40.00", "20.00", "0.00"]


def test_net_lines_are_verified(tmp_path):
    # Given a book with net lines that kernels and oracle agree with
    settings = replace(SETTINGS, data_directory=tmp_path)
    with live_server(settings) as address, tb.Client(address) as client:
        put(client, "verified", minimum="100", credits=[{"id": "opening", "amount": "30"}])
        store(client, event("verified", "one", "120"))
        store(client, event("verified", "two", "50", NOON + timedelta(days=31)))
    for oracle in (False, True):
        report = verify(tmp_path, "default", oracle, None)
        assert (report.net_line_count, report.differences) == (2, [])
    # And after a restart they go on
    with live_server(settings) as address, tb.Client(address) as client:
        assert amounts(store(client, event("verified", "three", "60", NOON + timedelta(days=31))).cost) == (
            "60.00",
            "10.00",
        )


@pytest.mark.parametrize("oracle", [False, True])
def test_a_net_line_that_is_wrong_is_named(tmp_path, monkeypatch, oracle):
    # Given a server that posts a cent too much to net lines
    posted = NetPosting(0, Cause.EVENT, 0, 1, 0)
    post_net = stage.post_net
    monkeypatch.setattr(stage, "post_net", lambda state, steps: with_more(state, post_net(state, steps), posted))
    with live_server(replace(SETTINGS, data_directory=tmp_path)) as address, tb.Client(address) as client:
        put(client, "wrong", minimum="100")
        store(client, event("wrong", "one", "120"))
    # Then the verification names the net line
    (difference,) = verify(tmp_path, "default", oracle, None).differences
    assert difference.startswith("net line 1 of wrong, from 1709251200000000 us: postings add up to 1 and 0 tax")


def with_more(state: State, made: tuple[NetPosting, ...], more: NetPosting) -> tuple[NetPosting, ...]:
    """The postings with one that should not be."""
    state.net.apply([more])
    return (*made, more)
