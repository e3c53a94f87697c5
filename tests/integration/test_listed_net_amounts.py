"""What contract trees with terms come to in their billing periods, by the ledger's postings.

ListCharges has it behind the charge lines, now and as of an earlier sequence.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import ParseDict
from tests.support.live_server import live_server
from tests.support.own_customers import NOON, customer, span, use

import tallybook_client as tb
from tallybook.v1 import catalog_pb2, ingest_pb2, ingest_pb2_grpc

YEARLY = {"basis": "CALENDAR", "interval": 1, "unit": "YEAR"}
APRIL = NOON + timedelta(days=31)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with live_server() as address:
        yield address


@pytest.fixture(scope="module")
def client(address) -> Iterator[tb.Client]:
    with tb.Client(address) as client:
        yield client


def sold(client: tb.Client, name: str, *, tax: str = "", **terms: Any) -> None:
    """A customer who pays 1 a unit under terms."""
    if tax:
        taxes = [{"id": f"{name}_tax", "country_code": tax, "rate": "0.2"}]
        client.apply_catalog(ParseDict({"taxes": taxes}, catalog_pb2.Catalog()))
    plan = {"id": f"{name}_plan", "product": f"{name}_units", "per_unit": {"unit_price": "1"}}
    sale = {"id": f"{name}_sold", "plan": f"{name}_plan"}
    customer(
        client,
        name,
        "units",
        plans=(plan,),
        country_code=tax,
        **{"product_contracts": [sale], **terms},
    )


def change(client: tb.Client, name: str, **terms: Any) -> None:
    """Other terms of a contract."""
    (contract,) = [each for each in client.get_catalog().catalog.contracts if each.id == name]
    client.apply_catalog(catalog_pb2.Catalog(contracts=[ParseDict(terms, contract)]))


Shown = list[tuple[str, str, str, str, str]]


def shown(charges: Any) -> Shown:
    """(contract, month, charges, net, net with tax) of each net amount."""
    return [
        (
            each.contract_id,
            f"{each.start_time:%Y-%m}",
            str(each.amount_excluding_tax.quantity),
            str(each.net_amount_excluding_tax.quantity),
            str(each.net_amount_including_tax.quantity),
        )
        for each in charges.net_amounts
    ]


def net(client: tb.Client, name: str, sequence: int = 0) -> Shown:
    return shown(client.charges(span(name), as_of_sequence=sequence))


def delete(client: tb.Client, name: str, reference: str) -> None:
    client.delete([tb.EventKey(customer_reference=name, reference=reference, generation=1)])


def test_the_net_amounts_are_those_of_the_invoices(client):
    # Given a tree with a discount, a minimum and a credit on two levels, taxed, in two months
    below = {
        "id": "tree_below",
        "minimum": "40",
        "product_contracts": [{"id": "tree_more", "plan": "tree_plan", "shared": True}],
    }
    sale = {"id": "tree_sold", "plan": "tree_plan", "shared": True}
    sold(
        client,
        "tree",
        tax="SE",
        product_contracts=[sale],
        sub_contracts=[below],
        discount={"rate": "0.1"},
        credits=[{"id": "gift", "amount": "70"}],
    )
    for time, contract, quantity in ((NOON, "sold", "50"), (APRIL, "sold", "30"), (APRIL, "more", "60")):
        use(client, "tree", "units", quantity, time, f"tree_{contract}")
    # When the charges are listed, then each month comes to what its invoice comes to
    assert net(client, "tree") == [
        ("tree", "2024-03", "50.00", "11.00", "13.20"),
        ("tree", "2024-04", "90.00", "81.00", "97.20"),
    ]
    invoices = client.preview_invoices("tree", date(2024, 3, 1), period_count=2)
    assert [
        (str(each.amount_excluding_tax.quantity), str(each.amount_including_tax.quantity)) for each in invoices
    ] == [
        ("11.00", "13.20"),
        ("81.00", "97.20"),
    ]
    # And of a stretch only the months that touch it
    april = tb.Span(customer_id="tree", start_time=datetime(2024, 4, 1, tzinfo=UTC))
    assert [each[1] for each in shown(client.charges(april))] == ["2024-04"]
    march = tb.Span(customer_id="tree", end_time=datetime(2024, 4, 1, tzinfo=UTC))
    assert [each[1] for each in shown(client.charges(march))] == ["2024-03"]
    # And none where all lines of the invoices are listed
    both = tb.Span(customer_id="tree", start_time=NOON, end_time=APRIL)
    assert client.charges(both, as_invoiced=True).net_amounts == []


def test_tax_that_prices_include_is_not_of_the_net_amount(client):
    # Given a price of which a sixth is tax, and 10 % off
    taxes = [{"id": "fi", "country_code": "FI", "rate": "0.2", "mode": "INCLUSIVE"}]
    client.apply_catalog(ParseDict({"taxes": taxes}, catalog_pb2.Catalog()))
    sold(client, "within", discount={"rate": "0.1"})
    client.apply_catalog(catalog_pb2.Catalog(customers=[catalog_pb2.Customer(id="within", country_code="FI")]))
    use(client, "within", "units", "120")
    (invoice,) = client.preview_invoices("within", date(2024, 3, 1))
    assert net(client, "within") == [("within", "2024-03", "100.00", "90.00", "108.00")]
    assert (invoice.amount_excluding_tax.quantity, invoice.amount_including_tax.quantity) == (90, 108)


def test_without_terms_there_are_none(client):
    sold(client, "plain")
    use(client, "plain", "units", "5")
    assert net(client, "plain") == []


def test_as_of_an_earlier_sequence(client):
    # Given a minimum of 20 a month, and usage that is stored, late, and deleted again
    sold(client, "past", minimum="20")
    steps = [use(client, "past", "units", "7")]
    steps.append(use(client, "past", "units", "9", APRIL))
    steps.append(use(client, "past", "units", "30", NOON + timedelta(days=1)))
    delete(client, "past", f"units{NOON}7")
    expected = {
        steps[0]: [("past", "2024-03", "7.00", "20.00", "20.00")],
        steps[1]: [("past", "2024-03", "7.00", "20.00", "20.00"), ("past", "2024-04", "9.00", "20.00", "20.00")],
        steps[2]: [("past", "2024-03", "37.00", "37.00", "37.00"), ("past", "2024-04", "9.00", "20.00", "20.00")],
        0: [("past", "2024-03", "30.00", "30.00", "30.00"), ("past", "2024-04", "9.00", "20.00", "20.00")],
    }
    # Then each is shown as it was
    assert {sequence: net(client, "past", sequence) for sequence in expected} == expected
    # And before the first event there was none
    assert net(client, "past", steps[0] - 1) == []


def test_before_a_reprocess_moved_the_pin_and_after_it(client):
    # Given two months that opened under a minimum of 20, and one without terms, which a reprocess takes to other terms
    sold(client, "moved")
    use(client, "moved", "units", "8", NOON - timedelta(days=9))
    change(client, "moved", minimum="20")
    april = use(client, "moved", "units", "5", APRIL)
    use(client, "moved", "units", "6", APRIL + timedelta(days=30))
    before = net(client, "moved")
    assert before == [
        ("moved", "2024-04", "5.00", "20.00", "20.00"),
        ("moved", "2024-05", "6.00", "20.00", "20.00"),
    ]
    # And the root is billed by the year from then on
    change(client, "moved", minimum="100", billing_frequency=YEARLY)
    last = use(client, "moved", "units", "1", APRIL + timedelta(days=31))
    mixed = net(client, "moved", last)
    for _ in client.reprocess(span("moved"), move_pins=True):
        pass
    now = net(client, "moved")
    assert [each[2:] for each in now] == [("20.00", "100.00", "100.00")]
    # Then what was before is shown as it was
    assert (
        net(client, "moved", last)
        == mixed
        == [
            ("moved", "2024-04", "5.00", "20.00", "20.00"),
            ("moved", "2024-05", "7.00", "20.00", "20.00"),
        ]
    )
    assert net(client, "moved", april) == [("moved", "2024-04", "5.00", "20.00", "20.00")]
    invoiced = client.preview_invoices("moved", date(2024, 3, 1), period_count=1)
    assert [each.amount_excluding_tax.quantity for each in invoiced] == [100]


def test_they_come_in_pages_behind_the_charge_lines(address, client):
    # Given three months with a minimum
    sold(client, "pages", minimum="20")
    for month in range(3):
        use(client, "pages", "units", "5", NOON + timedelta(days=31 * month))
    request = ingest_pb2.ListChargesRequest(customer_id="pages", page_size=2)
    found = []
    with grpc.insecure_channel(address) as channel:
        stub = ingest_pb2_grpc.IngestServiceStub(channel)
        while True:
            page = stub.ListCharges(request)
            found.append((len(page.charges), len(page.net_amounts)))
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
            # What comes meanwhile is of no page
            use(client, "pages", "units", "500", NOON + timedelta(days=31 * len(found), hours=1))
    assert found == [(2, 0), (1, 1), (0, 2)]
    assert [each.net_amount_excluding_tax.quantity for each in page.net_amounts] == ["20.00", "20.00"]
