"""Sandboxes over real gRPC: every service works in one, production never notices, and nothing outlives its time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import ParseDict
from tests.support.call_errors import failed_with, reason_raised_by
from tests.support.call_errors import reason_of as reason_of_status
from tests.support.live_server import SETTINGS, live_server
from tests.support.moved_clock import MovedClock
from tests.support.small_catalogue import catalogue, tiers

import tallybook_client as tb
from tallybook.v1 import catalog_pb2, ingest_pb2, ingest_pb2_grpc, simulate_pb2, simulate_pb2_grpc
from tallybook_server import limits
from tallybook_server.keys import ApiKeys
from tallybook_server.maintenance import Maintenance

START = datetime(2024, 1, 1, tzinfo=UTC)
PLAIN = catalogue({"per_unit": {"unit_price": "2"}})
DEARER = catalogue({"per_unit": {"unit_price": "3"}})


def catalog_of(content: dict[str, Any]) -> catalog_pb2.Catalog:
    return ParseDict(content, catalog_pb2.Catalog())


def event(reference: str, units: str = "10") -> tb.Event:
    return tb.Event(
        reference=reference,
        customer_reference="ann",
        meter_reference="meter",
        time=START + timedelta(days=3),
        values={"units": Decimal(units)},
    )


def charged(client: tb.Client) -> list[Decimal]:
    return [line.amount_excluding_tax.quantity for line in client.charges(tb.Span(customer_id="ann"))]


@pytest.fixture
def clock():
    return MovedClock(START)


@pytest.fixture
def address(clock):
    with live_server(now_us=clock) as address:
        yield address


@pytest.fixture
def production(address) -> Iterator[tb.Client]:
    """A client of the book `default`, which has a catalogue and an event."""
    with tb.Client(address) as client:
        client.apply_catalog(catalog_of(PLAIN))
        client.ingest([event("first")])
        yield client


@contextmanager
def inside(address: str, production: tb.Client, **wanted) -> Iterator[tb.Client]:
    """A client that works in a new sandbox."""
    with tb.Client(address, production.create_sandbox(**wanted).access_token) as client:
        yield client


def test_a_sandbox_begins_with_productions_catalogue_and_no_event(address, production):
    with inside(address, production) as sandbox:
        assert sandbox.get_catalog().version == production.get_catalog().version == 1
        assert sandbox.get_catalog().catalog == production.get_catalog().catalog
        assert list(sandbox.list_events()) == []
        assert charged(sandbox) == []
        assert charged(production) == [20]


def test_what_happens_in_a_sandbox_stays_there(address, production):
    # Given a sandbox
    with inside(address, production) as sandbox:
        # When its catalogue changes and events come, one of them under a reference that production knows
        assert sandbox.apply_catalog(catalog_of(DEARER), expected_version=1).version == 2
        assert [each.status for each in sandbox.ingest([event("first"), event("second")])] == ["STORED", "STORED"]
        # Then it charges by its own catalogue, and production knows nothing of it
        assert charged(sandbox) == [60]
        assert charged(production) == [20]
        assert production.get_catalog().version == 1
        assert [each.event.reference for each in production.list_events()] == ["first"]
        # And nothing of what production does later comes into it
        production.ingest([event("third")])
        production.apply_catalog(catalog_of(catalogue({"per_unit": {"unit_price": "9"}})))
        assert charged(sandbox) == [60]
        assert sandbox.get_catalog().version == 2
        # And another one begins with what production is now
        with inside(address, production) as later:
            later.ingest([event("first")])
            assert charged(later) == [90]


def test_every_service_works_in_a_sandbox(address, production):
    with inside(address, production) as sandbox:
        # Ingest: predict, stream, delete, reprocess, lists
        assert sandbox.predict([event("a")])[0].cost is not None
        (answer,) = sandbox.stream([[event("a"), event("b")]])
        assert answer.stored_count == 2
        assert (
            sandbox.delete([tb.EventKey(customer_reference="ann", reference="a", generation=1)])[0].status == "DELETED"
        )
        assert list(sandbox.reprocess(move_pins=True))[-1].done
        assert sandbox.usage(tb.Span(customer_id="ann"))[0].quantity == 10
        assert sandbox.get_event(tb.EventKey(customer_reference="ann", reference="b")).history
        # Catalogue: earlier versions of production too
        assert [each.id for each in sandbox.list_customers()] == ["ann"]
        assert sandbox.get_catalog(1).version == 1
        # Simulate
        row = simulate_pb2.UsageRow(date="2024-01-05", product_id="product", contract_id="charge0", quantity="4")
        assert sandbox.simulate([row]).totals[0].amount_excluding_tax.quantity == 8
        # Determinants: readings and billing messages of its own
        assert list(sandbox.billing_messages()) == []


def test_a_period_that_production_pinned_opens_anew_in_a_sandbox(address, production):
    # Given a period that is pinned to the first version, while the second one is current
    production.apply_catalog(catalog_of(DEARER))
    production.ingest([event("late")])
    assert charged(production) == [40]
    # Then a sandbox that was made since knows the current one only
    with inside(address, production) as sandbox:
        sandbox.ingest([event("late")])
        assert charged(sandbox) == [30]


def test_net_amounts_of_a_sandbox_begin_with_its_own_events(address, production):
    # Given a contract that gets a minimum of 100 when January has been charged already, at two euros a unit
    least = catalogue({"per_unit": {"unit_price": "2"}})
    least["contracts"][0]["minimum"] = "100"
    production.apply_catalog(catalog_of(least))
    later = replace(event("later"), time=START + timedelta(days=33))
    assert [net_of(each) for each in production.ingest([event("second"), later], tb.View.AMOUNTS)] == [20, 0]
    # Then a sandbox that is made has no net line, and January has the minimum from its first event on
    with inside(address, production) as sandbox:
        foreseen = [net_of(each) for each in sandbox.predict([event("first", "30"), event("second", "30")])]
        stored = [
            net_of(each) for each in sandbox.ingest([event("first", "30"), event("second", "30")], tb.View.AMOUNTS)
        ]
        assert foreseen == stored == [0, 20]
        assert sandbox.preview_invoices("contract", START.date())[0].amount_excluding_tax.quantity == 120
        # And production knows nothing of it
        assert net_of(production.ingest([replace(later, reference="more")], tb.View.AMOUNTS)[0]) == 0


def net_of(result: tb.EventResult) -> Decimal:
    """What an event costs with its contract's terms, without tax."""
    assert result.cost is not None
    (detail,) = result.cost.details
    return detail.net_amount_excluding_tax.quantity


def test_a_sandbox_is_described_listed_and_deleted(address, production, clock):
    made = production.create_sandbox("next year", timedelta(hours=2))
    assert made.sandbox.display_name == "next year"
    assert made.sandbox.create_time == START
    assert made.sandbox.expire_time == START + timedelta(hours=2)
    assert made.sandbox.catalog_version == 1
    assert made.sandbox.stored_bytes == 0
    assert made.access_token not in repr(made)
    clock.move(1)
    other = production.create_sandbox()
    assert other.sandbox.expire_time == START + timedelta(seconds=1 + limits.SANDBOX_SECONDS_DEFAULT)
    assert [each.sandbox_id for each in production.list_sandboxes()] == [
        made.sandbox.sandbox_id,
        other.sandbox.sandbox_id,
    ]
    with tb.Client(address, made.access_token) as sandbox:
        sandbox.ingest([event("a")])
        found = production.get_sandbox(made.sandbox.sandbox_id)
        assert 0 < found.stored_bytes < found.stored_bytes_max == limits.SANDBOX_BYTES_MAX
        # When it is deleted
        production.delete_sandbox(made.sandbox.sandbox_id)
        # Then its token opens nothing, and nobody finds it
        assert reason_raised_by(lambda: charged(sandbox)) == "SANDBOX_EXPIRED"
    assert reason_raised_by(lambda: production.get_sandbox(made.sandbox.sandbox_id)) == "SANDBOX_NOT_FOUND"
    assert reason_raised_by(lambda: production.delete_sandbox(made.sandbox.sandbox_id)) == "SANDBOX_NOT_FOUND"
    assert [each.sandbox_id for each in production.list_sandboxes()] == [other.sandbox.sandbox_id]


def test_an_expired_token_never_reaches_production(address, production, clock):
    # Given a sandbox on a server that asks for no key
    made = production.create_sandbox(time_to_live=timedelta(seconds=60))
    with tb.Client(address, made.access_token) as sandbox:
        clock.move(59.999999)
        assert charged(sandbox) == []
        # When its time is over
        clock.move(0.000001)
        # Then every call is refused
        refused = [
            lambda: sandbox.ingest([event("a")]),
            lambda: list(sandbox.stream([[event("a")]])),
            sandbox.get_catalog,
            lambda: sandbox.apply_catalog(catalog_of(DEARER)),
            sandbox.list_sandboxes,
            lambda: list(sandbox.billing_messages()),
            lambda: sandbox.quote_price(catalog_pb2.Plan(currency="EUR"), 1),
        ]
        assert {reason_raised_by(call) for call in refused} == {"SANDBOX_EXPIRED"}
    assert production.list_sandboxes() == []
    assert [each.event.reference for each in production.list_events()] == ["first"]


@pytest.mark.parametrize(
    "credentials",
    [
        ["Bearer tbs_unknown"],
        ["Bearer   tbs_unknown  "],
        ["bearer tbs_unknown"],
        ["tbs_unknown"],
        ["Basic tbs_unknown"],
        ["Bearer tb_good", "Bearer tbs_unknown"],
        ["Bearer tbs_unknown", "Bearer tbs_unknown"],
    ],
)
def test_whatever_holds_a_token_of_a_sandbox_never_reaches_production(address, production, credentials):
    with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError) as error:
        ingest_pb2_grpc.IngestServiceStub(channel).ListEvents(
            ingest_pb2.ListEventsRequest(), metadata=tuple(("authorization", each) for each in credentials)
        )
    assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert failed_with(error.value) in ("SANDBOX_EXPIRED", "CREDENTIAL_INVALID")


def test_a_stream_at_work_ends_with_its_sandbox(address, production, monkeypatch):
    # Given a book whose closing takes its time
    close, ended = Maintenance.close, threading.Event()

    def slow(self: Maintenance) -> None:
        ended.wait(60)
        close(self)

    monkeypatch.setattr(Maintenance, "close", slow)
    made = production.create_sandbox()
    requests: SimpleQueue[ingest_pb2.StreamingIngestEventsRequest | None] = SimpleQueue()

    def send(number: int, reference: str) -> None:
        rows = ingest_pb2.EventRows(events=[event(reference).message()])
        requests.put(ingest_pb2.StreamingIngestEventsRequest(batch_number=number, rows=rows))

    with grpc.insecure_channel(address) as channel:
        answers = ingest_pb2_grpc.IngestServiceStub(channel).StreamingIngestEvents(
            iter(requests.get, None), metadata=(("authorization", f"Bearer {made.access_token}"),)
        )
        send(0, "a")
        assert next(answers).result.stored_count == 1
        production.delete_sandbox(made.sandbox.sandbox_id)
        send(1, "b")
        # Then what comes after the answer to its end is refused all the same
        assert reason_of_status(next(answers).status) == "SANDBOX_EXPIRED"
        ended.set()
        requests.put(None)
        assert list(answers) == []


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A data directory with keys to two books."""
    return tmp_path / "data"


def test_the_sandboxes_of_another_organisation_do_not_exist(directory):
    settings = replace(SETTINGS, data_directory=directory)
    assert settings.keys_path is not None
    directory.mkdir()
    keys = ApiKeys(settings.keys_path, lambda: 0)
    (_, airline_key), (_, bakery_key) = keys.create("airline"), keys.create("bakery")
    keys.close()
    with live_server(settings) as address, tb.Client(address, airline_key) as airline:
        airline.apply_catalog(catalog_of(PLAIN))
        made = airline.create_sandbox()
        with tb.Client(address, bakery_key) as bakery, tb.Client(address, made.access_token) as sandbox:
            name = made.sandbox.sandbox_id
            assert bakery.list_sandboxes() == []
            assert reason_raised_by(lambda: bakery.get_sandbox(name)) == "SANDBOX_NOT_FOUND"
            assert reason_raised_by(lambda: bakery.delete_sandbox(name)) == "SANDBOX_NOT_FOUND"
            # Neither does its own exist inside of it, and it makes none
            assert sandbox.list_sandboxes() == []
            assert reason_raised_by(lambda: sandbox.get_sandbox(name)) == "SANDBOX_NOT_FOUND"
            assert reason_raised_by(sandbox.create_sandbox) == "SANDBOX_OF_SANDBOX"
            assert [each.id for each in sandbox.list_customers()] == ["ann"]
            assert list(bakery.list_customers()) == []


@pytest.mark.parametrize("keyed", [False, True])
def test_a_restart_leaves_no_sandbox(directory, keyed):
    settings = replace(SETTINGS, data_directory=directory)
    key = None
    if keyed:
        directory.mkdir()
        assert settings.keys_path is not None
        keys = ApiKeys(settings.keys_path, lambda: 0)
        key = keys.create("airline")[1]
        keys.close()
    with live_server(settings) as address, tb.Client(address, key) as client:
        client.apply_catalog(catalog_of(PLAIN))
        made = client.create_sandbox(time_to_live=timedelta(days=7))
        with tb.Client(address, made.access_token) as sandbox:
            sandbox.ingest([event("a")])
    # When the server is started anew, then its token opens nothing, least of all production
    with live_server(settings) as address, tb.Client(address, key) as client:
        with tb.Client(address, made.access_token) as sandbox:
            assert reason_raised_by(lambda: sandbox.ingest([event("a")])) == "SANDBOX_EXPIRED"
        assert client.list_sandboxes() == []
        assert list(client.list_events()) == []
    # And there is no file of it, and no token in any file
    names = {path.name for path in directory.iterdir()}
    assert names <= {f"{'airline' if keyed else 'default'}.sqlite", "keys.sqlite"}
    assert not any(made.access_token[4:].encode() in path.read_bytes() for path in directory.iterdir())


def test_a_token_is_in_no_log(address, production, caplog):
    with caplog.at_level(logging.DEBUG):
        made = production.create_sandbox()
        with tb.Client(address, made.access_token) as sandbox:
            charged(sandbox)
    assert f"default/{made.sandbox.sandbox_id}" in caplog.text
    assert made.access_token not in caplog.text


# --- Limits -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "nanos", "fits"),
    [
        (1, 0, True),
        (0, 999_999_000, False),
        (limits.SANDBOX_SECONDS_MAX, 0, True),
        (limits.SANDBOX_SECONDS_MAX, 1_000, False),
        (-5, 0, False),
        (5, 1, False),
    ],
)
def test_limits_of_the_time_to_live(address, seconds, nanos, fits):
    request = simulate_pb2.CreateSandboxRequest(time_to_live=Duration(seconds=seconds, nanos=nanos))
    with grpc.insecure_channel(address) as channel:
        create = simulate_pb2_grpc.SimulateServiceStub(channel).CreateSandbox
        if fits:
            assert create(request).access_token.startswith("tbs_")
            return
        with pytest.raises(grpc.RpcError) as error:
            create(request)
    assert failed_with(error.value) == "FIELD_INVALID"
    assert (error.value.details() or "").startswith("time_to_live: ")


@pytest.mark.parametrize(("length", "fits"), [(255, True), (256, False)])
def test_a_limit_of_the_name(production, length, fits):
    if fits:
        assert production.create_sandbox("n" * length).sandbox.display_name == "n" * length
    else:
        assert reason_raised_by(lambda: production.create_sandbox("n" * length)) == "FIELD_INVALID"


def test_limits_of_sandboxes_of_a_book_and_of_a_server(directory, clock, monkeypatch):
    monkeypatch.setattr(limits, "SANDBOXES_OF_SERVER_MAX", limits.SANDBOXES_MAX + 1)
    settings = replace(SETTINGS, data_directory=directory)
    directory.mkdir()
    assert settings.keys_path is not None
    keys = ApiKeys(settings.keys_path, lambda: 0)
    tokens = [keys.create(book)[1] for book in ("airline", "bakery")]
    keys.close()
    with live_server(settings, now_us=clock) as address, ExitStack() as clients:
        airline, bakery = (clients.enter_context(tb.Client(address, token)) for token in tokens)
        made = [airline.create_sandbox(time_to_live=timedelta(hours=1)) for _ in range(limits.SANDBOXES_MAX)]
        assert reason_raised_by(airline.create_sandbox) == "TOO_MANY_SANDBOXES"
        # One more fits on the server, and none after it
        bakery.create_sandbox()
        assert reason_raised_by(bakery.create_sandbox) == "TOO_MANY_SANDBOXES"
        # One that is gone makes room
        airline.delete_sandbox(made[0].sandbox.sandbox_id)
        airline.create_sandbox()
        assert reason_raised_by(airline.create_sandbox) == "TOO_MANY_SANDBOXES"
        clock.move(3600)
        assert airline.list_sandboxes() == []
        bakery.create_sandbox()


def test_a_full_sandbox_takes_nothing_more_and_goes_on(address, production, monkeypatch):
    monkeypatch.setattr(limits, "SANDBOX_BYTES_MAX", 10_000)
    with inside(address, production) as sandbox:
        sandbox.ingest([event("a")])
        many = [event(f"e{number}") for number in range(2_000)]
        assert reason_raised_by(lambda: sandbox.ingest(many)) == "SANDBOX_FULL"
        plans = {f"plan{number}": {"per_unit": {"unit_price": "2"}} for number in range(400)}
        large = catalogue(*plans.values(), tiers("volume", (None, "1", "0")))
        assert reason_raised_by(lambda: sandbox.apply_catalog(catalog_of(large))) == "SANDBOX_FULL"
        # What was there is there, and what is small still fits
        assert charged(sandbox) == [20]
        assert sandbox.get_catalog().version == 1
        sandbox.ingest([event("b")])
        assert charged(sandbox) == [40]
