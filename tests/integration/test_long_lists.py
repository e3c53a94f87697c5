"""Lists and invoices that take long, over real gRPC: events do not wait for them, they show what was committed when
they began, and they stop once nobody waits for them.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
from tests.support.live_server import live_server
from tests.support.own_customers import customer, event, span, use

import tallybook_client as tb
from tallybook.v1 import catalog_pb2, ingest_pb2, ingest_pb2_grpc, simulate_pb2, simulate_pb2_grpc
from tallybook_engine.ledger import reads
from tallybook_engine.ledger.invoices import stored_lines
from tallybook_server import book
from tallybook_server.services.until_ended import Ended

DAILY = {"basis": "CALENDAR", "interval": 1, "unit": "DAY"}
YEARLY = {"basis": "CALENDAR", "interval": 1, "unit": "YEAR"}
WAIT_SECONDS = 60


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with live_server() as address:
        yield address


@pytest.fixture(scope="module")
def client(address) -> Iterator[tb.Client]:
    with tb.Client(address) as client:
        yield client


@pytest.fixture
def channel(address) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(address) as channel:
        yield channel


def sold(client: tb.Client, name: str) -> None:
    """A customer who pays at least 1 a year, 2 a unit up to 10 units and 1 beyond, and at least 5 a month."""
    tiers = [{"up_to": "10", "unit_price": "2"}, {"unit_price": "1"}]
    plan = {"id": f"{name}_plan", "product": f"{name}_units", "graduated": {"tiers": tiers}, "minimum": "1"}
    sale = {"id": f"{name}_sold", "plan": f"{name}_plan", "accumulation_period": YEARLY}
    customer(client, name, "units", plans=(plan,), product_contracts=[sale], minimum="5")


def at(month: int, day: int = 10) -> datetime:
    return datetime(2024, month, day, 12, tzinfo=UTC)


class Held:
    """What is called waits until it is let go on."""

    def __init__(self, work: Callable[..., Any]) -> None:
        self._work = work
        self._go = threading.Event()
        self._begun = threading.Semaphore(0)
        self._ended = threading.Event()
        self.raised: list[BaseException] = []

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        self._begun.release()
        assert self._go.wait(WAIT_SECONDS)
        try:
            return self._work(*arguments, **named)
        except BaseException as error:
            self.raised.append(error)
            raise
        finally:
            self._ended.set()

    def wait_until_begun(self) -> None:
        assert self._begun.acquire(timeout=WAIT_SECONDS)

    def wait_until_ended(self) -> None:
        assert self._ended.wait(WAIT_SECONDS)

    def let_go(self) -> None:
        self._go.set()


@pytest.fixture
def held(monkeypatch) -> Iterator[Held]:
    """Makes every list wait behind the ledger's turn, before what it copied there is read."""
    held = Held(reads.as_of)
    monkeypatch.setattr(reads, "as_of", held)
    yield held
    held.let_go()


def invoice_request(name: str) -> simulate_pb2.PreviewInvoiceRequest:
    return simulate_pb2.PreviewInvoiceRequest(contract_id=name, date="2024-03-01", period_count=12)


def charges_request(name: str, **more: Any) -> ingest_pb2.ListChargesRequest:
    bounds = tb.Span(customer_id=name, start_time=at(3, 1), end_time=at(12, 1)).fields()
    return ingest_pb2.ListChargesRequest(**bounds, **more)


def ingest_service(channel: grpc.Channel) -> ingest_pb2_grpc.IngestServiceStub:
    return ingest_pb2_grpc.IngestServiceStub(channel)


def invoice(channel: grpc.Channel, name: str) -> Any:
    return simulate_pb2_grpc.SimulateServiceStub(channel).PreviewInvoice.future(invoice_request(name))


def usage(channel: grpc.Channel, name: str) -> Any:
    return ingest_service(channel).ListUsage.future(ingest_pb2.ListUsageRequest(**span(name).fields()))


def charges(**more: Any) -> Callable[[grpc.Channel, str], Any]:
    return lambda channel, name: ingest_service(channel).ListCharges.future(charges_request(name, **more))


def charges_before(channel: grpc.Channel, name: str) -> Any:
    return charges(as_of_sequence=FIRST_SEQUENCES[name])(channel, name)


LISTS: dict[str, Callable[[grpc.Channel, str], Any]] = {
    "PreviewInvoice": invoice,
    "ListCharges": charges(include_unopened=True),
    "ListCharges as invoiced": charges(as_invoiced=True),
    "ListCharges as of before": charges_before,
    "ListUsage": usage,
}
"""By kind, asks for a list of a customer."""
FIRST_SEQUENCES: dict[str, int] = {}
"""By customer, the sequence of the first event."""


def answer(call: Any) -> Any:
    return call.result(timeout=WAIT_SECONDS)


@pytest.mark.parametrize("is_rated_again", [False, True])
@pytest.mark.parametrize("kind", LISTS)
def test_a_list_stands_still_while_the_book_goes_on(client, channel, monkeypatch, kind, is_rated_again):
    # Given a customer with two events, and a list of how that stands
    name = f"ann{list(LISTS).index(kind)}{is_rated_again}"
    sold(client, name)
    FIRST_SEQUENCES[name] = use(client, name, "units", "7", at(4))
    use(client, name, "units", "8", at(7))
    ask = LISTS[kind]
    before = answer(ask(channel, name))
    # When the same list is asked for again, and waits behind the ledger's turn
    held = Held(reads.as_of)
    monkeypatch.setattr(reads, "as_of", held)
    call = ask(channel, name)
    held.wait_until_begun()
    # And meanwhile an event moves its lines, one opens a part between them, one is deleted, prices change in the middle
    # of a month, and then everything is rated again or not
    use(client, name, "units", "9", at(7, 12))
    use(client, name, "units", "4", at(5))
    client.delete([tb.EventKey(customer_reference=name, reference=f"units{at(7)}8", generation=1)])
    (plan,) = [each for each in client.get_catalog().catalog.plans if each.id == f"{name}_plan"]
    plan.minimum = "3"
    client.apply_catalog(catalog_pb2.Catalog(plans=[plan]), effective_from=at(7, 20))
    use(client, name, "units", "2", at(9))
    del plan.graduated.tiers[0]
    client.apply_catalog(catalog_pb2.Catalog(plans=[plan]))
    for _ in client.reprocess(span(name), move_pins=True) if is_rated_again else ():
        pass
    # Then the list is what it was, to the last field
    held.let_go()
    assert answer(call) == before
    # And a new one is not
    monkeypatch.undo()
    assert kind == "ListCharges as of before" or answer(ask(channel, name)) != before


def test_events_do_not_wait_for_lists(client, channel, held):
    # Given as many invoices as are made at once, and two more, none of which goes on
    sold(client, "bob")
    stub = simulate_pb2_grpc.SimulateServiceStub(channel)
    calls = [stub.PreviewInvoice.future(invoice_request("bob")) for _ in range(book.LISTING_THREADS + 2)]
    for _ in range(book.LISTING_THREADS):
        held.wait_until_begun()
    # When events are sent, then they are stored, predicted, found and deleted
    use(client, "bob", "units", "3", at(4))
    assert client.ingest([event("bob", "one", 20, at(5))], tb.View.AMOUNTS)[0].cost is not None
    key = tb.EventKey(customer_reference="bob", reference="one")
    assert client.get_event(key).match is tb.Match.MATCHED
    client.delete([tb.EventKey(customer_reference="bob", reference="one", generation=1)])
    assert not any(call.done() for call in calls)
    # And the invoices come once they go on
    held.let_go()
    assert {len(answer(call).invoices) for call in calls} == {12}


class _Cancellations(logging.Handler):
    """Waits until the server knows that a call was cancelled."""

    def __init__(self, method: str) -> None:
        super().__init__()
        self._words = f"{method} CANCELLED"
        self.noticed = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if self._words in record.getMessage():
            self.noticed.set()


@contextmanager
def cancellations(method: str) -> Iterator[threading.Event]:
    calls = logging.getLogger("tallybook.calls")
    calls.addHandler(handler := _Cancellations(method))
    before = calls.level
    calls.setLevel(logging.INFO)
    try:
        yield handler.noticed
    finally:
        calls.removeHandler(handler)
        calls.setLevel(before)


@pytest.mark.parametrize("kind", LISTS)
def test_a_cancelled_list_stops(client, channel, monkeypatch, kind):
    # Given a list that has begun to be made
    name = f"eve{list(LISTS).index(kind)}"
    sold(client, name)
    FIRST_SEQUENCES[name] = use(client, name, "units", "7", at(4))
    use(client, name, "units", "7", at(5))
    held = Held(reads.as_of)
    monkeypatch.setattr(reads, "as_of", held)
    with cancellations(kind.split()[0]) as noticed:
        call = LISTS[kind](channel, name)
        held.wait_until_begun()
        # When its call is cancelled, and the server knows
        call.cancel()
        assert noticed.wait(WAIT_SECONDS)
    held.let_go()
    # Then it goes no further than to ask, and the next one is answered
    monkeypatch.undo()
    answer(LISTS[kind](channel, name))
    assert [type(error) for error in held.raised] == [Ended]


def test_a_long_invoice_stops_while_it_is_made(client, channel, monkeypatch):
    # Given a contract with credits that is billed by the day: an invoice of the year 2600 looks at 210,000 days
    plan = {"id": "long_plan", "product": "long_units", "per_unit": {"unit_price": "1"}, "minimum": "0.01"}
    sale = [{"id": "long_sold", "plan": "long_plan"}]
    more = {"credits": [{"id": "gift", "amount": "1000000"}], "billing_frequency": DAILY}
    customer(client, "long", "units", plans=(plan,), product_contracts=sale, **more)
    lines = Held(stored_lines)
    lines.let_go()
    monkeypatch.setattr(book, "stored_lines", lines)
    request = simulate_pb2.PreviewInvoiceRequest(contract_id="long", date="2600-01-01")
    with cancellations("PreviewInvoice") as noticed:
        call = simulate_pb2_grpc.SimulateServiceStub(channel).PreviewInvoice.future(request)
        lines.wait_until_begun()
        # When it is cancelled while it is made
        call.cancel()
        assert noticed.wait(WAIT_SECONDS)
    # Then it is not made
    lines.wait_until_ended()
    assert [type(error) for error in lines.raised] == [Ended]
