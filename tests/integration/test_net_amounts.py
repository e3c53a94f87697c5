"""Net amounts over real gRPC: what events move of invoices, and that invoices are the sums of what events were told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf.json_format import ParseDict
from tests.support.live_server import SETTINGS, live_server
from tests.support.own_customers import MONTHLY, NOON, event

import tallybook_client as tb
from tallybook.v1 import catalog_pb2
from tallybook_engine.ledger import stage
from tallybook_engine.ledger.net import post_net
from tallybook_engine.ledger.outcomes import Cause, NetChanges
from tallybook_engine.ledger.state import State
from tallybook_server.folding import open_book
from tallybook_server.journal.sqlite import SqliteJournal
from tallybook_server.verify import verify

MARCH, APRIL = date(2024, 3, 1), date(2024, 4, 1)


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
                "product_contracts": [{"id": f"{name}_sold", "plan": f"{name}_plan", "shared": True}],
                **terms,
            }
        ],
    }
    client.apply_catalog(ParseDict(catalogue, catalog_pb2.Catalog()))


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


def costs_of(answer: tb.BatchAnswer) -> tb.Costs:
    assert answer.costs is not None
    return answer.costs


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
    # And a reprocess that only says what it would do leaves it so
    *_, last = client.reprocess(tb.Span(customer_id="changed"), move_pins=True, validate_only=True)
    assert [str(each.base_amount) for each in last.net_amounts] == ["-40.00 EUR"]
    assert amounts(client.predict([event("changed", "next", "10")])[0].cost) == ("10.00", "9.00")
    # And one that does takes it to March: no charge line moves, and 40 less are due
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


DIVISIONS = {
    "sub_contracts": [
        {
            "id": "north",
            "discount": {"rate": "0.15", "threshold": "40", "mode": "EXCESS"},
            "cap": "900",
            "product_contracts": [{"id": "north_sold", "plan": "whole_plan", "shared": True}],
            "fixed_fees": [{"id": "support", "amount": "12.34"}],
        },
        {
            "id": "south",
            "billing_frequency": {"basis": "CONTRACT", "interval": 1, "unit": "WEEK"},
            "minimum": "35",
            "product_contracts": [{"id": "south_sold", "plan": "whole_plan", "shared": True}],
        },
    ],
    "revenue_shares": [{"id": "royalty", "charges": ["north_sold", "south_sold"], "rate": "0.07"}],
    "credits": [{"id": "late", "amount": "80"}, {"id": "soon", "amount": "50", "end_date": "2024-04-10"}],
    "minimum": "210",
}
"""A tree with every term, two divisions that each event is charged in, and the root's own charge."""


def whole(name: str) -> dict[str, Any]:
    """`DIVISIONS` with ids of its own."""
    text = json.dumps(DIVISIONS).replace("whole_plan", f"{name}_plan")
    for each in ("north", "south", "support", "royalty", "late", "soon"):
        text = text.replace(f'"{each}', f'"{name}_{each}')
    return json.loads(text)


def season(name: str, count: int) -> list[tb.Event]:
    """Events of March and April, not in the order of time."""
    days = [(17 * number) % 60 for number in range(count)]
    return [
        event(name, str(row), f"{row % 7}.{row % 100:02d}", NOON + timedelta(days=day - 9))
        for row, day in enumerate(days)
    ]


def opened(data: Path, contract_id: str) -> Decimal:
    """What the periods of a contract came to beyond their charge lines as they opened, without tax."""
    journal = SqliteJournal.open(data / "default.sqlite", read_only=True)
    with closing(journal):
        folded = open_book(journal, from_snapshot=False)
        lines = [number for number, each in enumerate(folded.state.net.lines) if each.contract_id == contract_id]
        total = 0
        for segment in journal.read():
            net = folded.records.opened(segment).net
            chosen = np.isin(net.net_line, lines) & (net.cause == Cause.OPEN)
            total += int(net.amount[chosen].sum())
    return Decimal(total).scaleb(-2)


def test_invoices_are_what_periods_opened_with_and_the_net_amounts_of_their_events(tmp_path):
    # Given a tree with every term, and events in two months, whose last week is billed in the third
    settings = replace(SETTINGS, data_directory=tmp_path)
    events = season("tree", 120)
    with live_server(settings) as address, tb.Client(address) as client:
        put(client, "tree", tax="DK", **whole("tree"))
        told = [detail_of(each.cost) for each in client.ingest(events, tb.View.AMOUNTS)]
        # When some are deleted
        keys = [tb.EventKey(customer_reference="tree", reference=str(row), generation=1) for row in range(0, 120, 7)]
        told += [detail_of(each.cost) for each in client.delete(keys)]
        foreseen = client.predict([event("tree", "next", "55")])[0].cost
        invoices = client.preview_invoices("tree", MARCH, period_count=3)
    # Then the invoices are what their periods opened with, and the net amounts of all that happened
    total = sum(each.net_amount_excluding_tax.quantity for each in told)
    assert opened(tmp_path, "tree") + total == sum(each.amount_excluding_tax.quantity for each in invoices)
    assert total != sum(each.amount_excluding_tax.quantity for each in told)
    # And another process foresees the same
    with live_server(settings) as address, tb.Client(address) as client:
        assert client.predict([event("tree", "next", "55")])[0].cost == foreseen
    for oracle in (False, True):
        assert verify(tmp_path, "default", oracle, None).differences == []


def test_streams_answer_net_amounts_too(client):
    # Given the same events in a stream and in a call
    put(client, "streamed", tax="DK", **whole("streamed"))
    put(client, "called", tax="DK", **whole("called"))
    batches = [season("streamed", 60)[at : at + 20] for at in range(0, 60, 20)]
    answers = list(client.stream(batches, return_costs=True))
    called = [detail_of(each.cost) for each in client.ingest(season("called", 60), tb.View.AMOUNTS)]
    # Then they are told the same
    net = np.concatenate([costs_of(each).net_amount_excluding_tax for each in answers])
    tax = np.concatenate([costs_of(each).net_tax_amount for each in answers])
    assert [Decimal(int(each)).scaleb(-2) for each in net] == [
        each.net_amount_excluding_tax.quantity for each in called
    ]
    assert [Decimal(int(each)).scaleb(-2) for each in net + tax] == [
        each.net_amount_including_tax.quantity for each in called
    ]
    # And whoever sends them again, too
    again = list(client.stream(batches, return_costs=True))
    assert [each.duplicate_count for each in again] == [20, 20, 20]
    assert np.concatenate([costs_of(each).net_amount_excluding_tax for each in again]).tolist() == net.tolist()
    # And without terms the columns are the amounts
    put(client, "bare")
    (answer,) = client.stream([[event("bare", "one", "3")]], return_costs=True)
    assert costs_of(answer).net_amount_excluding_tax.tolist() == costs_of(answer).amount_excluding_tax.tolist() == [300]


def test_parallel_streams_on_one_tree_add_up(tmp_path):
    # Given 16 streams that send events of one tree at once
    events = season("busy", 640)
    with (
        live_server(replace(SETTINGS, data_directory=tmp_path)) as address,
        tb.Client(address) as client,
        ThreadPoolExecutor(16) as threads,
    ):
        put(client, "busy", tax="DK", **whole("busy"))

        def send(stream: int) -> int:
            mine = events[stream::16]
            batches = [mine[at : at + 10] for at in range(0, len(mine), 10)]
            with tb.Client(address) as own:
                answers = own.stream(batches, return_costs=True)
                return sum(int(costs_of(each).net_amount_excluding_tax.sum()) for each in answers)

        total = sum(threads.map(send, range(16)))
        invoices = client.preview_invoices("busy", MARCH, period_count=3)
    # Then what they are told and what the periods opened with are the invoices
    assert opened(tmp_path, "busy") + Decimal(total).scaleb(-2) == sum(
        each.amount_excluding_tax.quantity for each in invoices
    )
    assert verify(tmp_path, "default", True, None).differences == []


def test_what_cannot_be_settled_has_no_net_amounts_until_it_can(tmp_path):
    # Given a share of a thousand times what is sold, of which 2^63 cents are soon too much
    settings = replace(SETTINGS, data_directory=tmp_path)
    with live_server(settings) as address, tb.Client(address) as client:
        put(client, "huge", revenue_shares=[{"id": "huge_share", "charges": ["huge_sold"], "rate": "1000"}])
        units = {"one": "10", "two": "1", "much": "100000000000000", "three": "5"}
        told = client.ingest([event("huge", name, number) for name, number in units.items()], tb.View.AMOUNTS)
        # Then what was there is taken back with the event that is too much, and nothing comes for the next
        assert [amounts(each.cost) for each in told] == [
            ("10.00", "10010.00"),
            ("1.00", "1001.00"),
            ("100000000000000.00", "99999999989000.00"),
            ("5.00", "5.00"),
        ]
        assert amounts(store(client, event("huge", "four", "2")).cost) == ("2.00", "2.00")
        assert amounts(client.predict([event("huge", "next", "1")])[0].cost) == ("1.00", "1.00")
    for oracle in (False, True):
        assert verify(tmp_path, "default", oracle, None).differences == []
    with live_server(settings) as address, tb.Client(address) as client:
        # And once that is deleted, all is due that there is by then
        (deleted,) = client.delete([tb.EventKey(customer_reference="huge", reference="much", generation=1)])
        assert amounts(deleted.cost) == ("-100000000000000.00", "-99999999982000.00")
        assert amounts(store(client, event("huge", "five", "1")).cost) == ("1.00", "1001.00")
    for oracle in (False, True):
        assert verify(tmp_path, "default", oracle, None).differences == []


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
    monkeypatch.setattr(stage, "post_net", lambda state, *what: with_more(state, post_net(state, *what)))
    with live_server(replace(SETTINGS, data_directory=tmp_path)) as address, tb.Client(address) as client:
        put(client, "wrong", minimum="100")
        store(client, event("wrong", "one", "120"))
    # Then the verification names the net line
    (difference,) = verify(tmp_path, "default", oracle, None).differences
    assert difference.startswith("net line 1 of wrong, from 1709251200000000 us: postings add up to 1 and 0 tax")


def with_more(state: State, made: NetChanges) -> NetChanges:
    """The changes with a cent that should not be."""
    amounts = made.postings.amount.copy()
    amounts[-1] += 1
    state.net.values.arrays.amount[made.postings.net_line[-1]] += 1
    return made._replace(postings=made.postings._replace(amount=amounts))
