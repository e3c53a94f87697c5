"""Bad input over real gRPC: each with its own clear error, and nothing stored."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from google.protobuf.timestamp_pb2 import Timestamp
from tests.support.call_errors import failed_with, fields_of, reason_of, status_of_call
from tests.support.events import PlainEvent, as_message, as_rows, as_stream, as_table
from tests.support.live_server import live_server

from tallybook.v1 import catalog_pb2, catalog_pb2_grpc, ingest_pb2_grpc
from tallybook.v1 import ingest_pb2 as wire
from tallybook_server import limits
from tallybook_server.keys import ApiKeys
from tallybook_server.settings import Settings

SEED = 20_250_702
NOON = (1_700_000_000, 0)
CATALOG = {
    "meters": [{"id": "meter", "values": ["usage"], "properties": ["kind"]}],
    "products": [{"id": "product", "meter": "meter", "aggregation": "SUM", "value": "usage"}],
    "plans": [{"id": "plan", "product": "product", "currency": "EUR", "per_unit": {"unit_price": "0.07"}}],
    "customers": [{"id": "customer_id", "reference": "customer", "country_code": "NL"}],
    "contracts": [
        {
            "id": "contract",
            "customer": "customer_id",
            "time_zone": "Europe/Amsterdam",
            "start_date": "2023-01-01",
            "billing_frequency": {"basis": "CALENDAR", "interval": 1, "unit": "MONTH"},
            "product_contracts": [{"id": "charge", "plan": "plan"}],
        }
    ],
}


class Caller:
    """One server, one key (or none)."""

    def __init__(self, target: str, token: str = "") -> None:
        self.channel = grpc.insecure_channel(
            target, options=[("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
        )
        self.ingest: Any = ingest_pb2_grpc.IngestServiceStub(self.channel)
        self.catalog: Any = catalog_pb2_grpc.CatalogServiceStub(self.channel)
        self.metadata = (("authorization", f"Bearer {token}"),) if token else ()

    def apply(self, catalog: dict[str, Any]) -> Any:
        put = json_format.ParseDict(catalog, catalog_pb2.Catalog())
        return self.catalog.ApplyCatalog(catalog_pb2.ApplyCatalogRequest(put=put), metadata=self.metadata)

    def raw(self, method: str, request: bytes) -> bytes:
        """A unary call of raw bytes."""
        unary: Any = self.channel.unary_unary
        answer: bytes = unary(f"/tallybook.v1.IngestService/{method}")(request, metadata=self.metadata)
        return answer

    def stored_count(self) -> int:
        """Events that the book holds."""
        return len(self.ingest.ListEvents(wire.ListEventsRequest(show_deleted=True), metadata=self.metadata).events)


@pytest.fixture(scope="module")
def caller() -> Iterator[Caller]:
    with live_server() as target:
        caller = Caller(target)
        caller.apply(CATALOG)
        yield caller


@pytest.fixture
def unchanged(caller) -> Iterator[None]:
    """Nothing is stored by the test."""
    before = caller.stored_count()
    yield
    assert caller.stored_count() == before


def event(**fields: Any) -> PlainEvent:
    return PlainEvent(**{"time": NOON, "reference": "bad", "values": (("usage", "1"),), **fields})


def number(text: str) -> PlainEvent:
    return event(values=(("usage", text),))


ROWS = [
    ("malformed decimal", number("1.2.3"), "DECIMAL_MALFORMED", "meter_values[0].number"),
    ("words", number("seven"), "DECIMAL_MALFORMED", "meter_values[0].number"),
    ("NaN", number("NaN"), "DECIMAL_MALFORMED", "meter_values[0].number"),
    ("infinity", number("Infinity"), "DECIMAL_MALFORMED", "meter_values[0].number"),
    ("an exponent", number("1e5"), "DECIMAL_MALFORMED", "meter_values[0].number"),
    ("empty number", number(""), "DECIMAL_EMPTY", "meter_values[0].number"),
    ("10^400", number("1" + "0" * 400), "DECIMAL_OUT_OF_RANGE", "meter_values[0].number"),
    ("10^15", number("1000000000000000"), "DECIMAL_OUT_OF_RANGE", "meter_values[0].number"),
    ("13 decimals", number("0.0000000000001"), "DECIMAL_TOO_FINE", "meter_values[0].number"),
    ("negative where the meter takes none", number("-1"), "QUANTITY_NEGATIVE", "meter_values"),
    ("empty reference", event(reference=""), "REFERENCE_EMPTY", "reference"),
    ("over-long reference", event(reference="r" * 256), "REFERENCE_TOO_LONG", "reference"),
    ("no customer", event(customer_reference=""), "CUSTOMER_MISSING", "customer_reference"),
    ("no meter", event(meter_reference=""), "METER_MISSING", "meter_reference"),
    ("the year 1", event(time=(-62_135_596_800, 0)), "TIME_OUT_OF_RANGE", "time"),
    ("before 1970", event(time=(-1, 0)), "TIME_OUT_OF_RANGE", "time"),
    ("the last second of the calendar", event(time=(253_402_300_799, 999_999_999)), "TIME_IN_FUTURE", "time"),
    ("beyond the calendar", event(time=(253_402_300_800, 0)), "TIME_OUT_OF_RANGE", "time"),
    ("the end of 64 bits", event(time=(2**63 - 1, 0)), "TIME_OUT_OF_RANGE", "time"),
    ("unknown value", event(values=(("usage", "1"), ("weight", "1"))), "VALUE_UNKNOWN", "meter_values"),
    ("unknown property", event(properties=(("colour", "red"),)), "PROPERTY_UNKNOWN", "meter_properties"),
    ("repeated value", event(values=(("usage", "1"), ("usage", "2"))), "VALUE_REPEATED", "meter_values[1].reference"),
    ("repeated property", event(properties=(("kind", "a"),) * 2), "PROPERTY_REPEATED", "meter_properties[1].reference"),
]


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(("what", "bad", "reason", "field"), ROWS)
def test_a_bad_row_is_refused_alone_and_says_why(caller, what, bad, reason, field):
    # When the row is sent alone
    response = caller.ingest.IngestEvents(
        wire.IngestEventsRequest(events=[as_message(bad)], prediction_view=wire.CostPrediction.FULL)
    )
    # Then it is invalid with its reason, its field and a sentence, and nothing is committed
    [result] = response.results
    assert (result.status, result.fault.reason) == (wire.EventResult.INVALID, reason)
    assert result.fault.field == field
    assert result.fault.message.endswith(".")
    assert (response.sequence, result.event_id) == (0, "")
    assert not result.HasField("cost_prediction")


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(("what", "bad", "reason", "field"), ROWS)
def test_a_prediction_and_a_stream_refuse_the_same_rows(caller, what, bad, reason, field):
    predicted = caller.ingest.PredictCosts(wire.PredictCostsRequest(events=[as_message(bad)]))
    request = wire.StreamingIngestEventsRequest(rows=wire.EventRows(events=[as_message(bad)]))
    [answer] = caller.ingest.StreamingIngestEvents(iter([request]))
    assert predicted.results[0].fault.reason == reason
    assert [row.fault.reason for row in answer.result.exceptional_rows] == [reason]


def test_sound_rows_beside_bad_ones_are_stored(caller):
    before = caller.stored_count()
    events = [as_message(event(reference="sound")), *(as_message(bad) for _, bad, _, _ in ROWS)]
    response = caller.ingest.IngestEvents(wire.IngestEventsRequest(events=events))
    assert [row.status for row in response.results] == [wire.EventResult.STORED] + [wire.EventResult.INVALID] * len(
        ROWS
    )
    assert caller.stored_count() == before + 1


def test_another_payload_under_a_reference_is_a_conflict_and_changes_nothing(caller):
    first, other = as_message(event(reference="taken")), as_message(number("2"))
    other.reference = "taken"
    caller.ingest.IngestEvents(wire.IngestEventsRequest(events=[first]))
    before = caller.stored_count()
    [result] = caller.ingest.IngestEvents(wire.IngestEventsRequest(events=[other])).results
    assert (result.status, result.fault.reason) == (wire.EventResult.CONFLICT, "REFERENCE_CONFLICT")
    assert caller.stored_count() == before


def test_an_event_may_lie_24_hours_in_the_future_and_no_more(caller):
    now = Timestamp()
    now.GetCurrentTime()
    hours = 3_600
    soon = as_message(event(reference="soon", time=(now.seconds + 23 * hours, 0)))
    late = as_message(event(reference="late", time=(now.seconds + 25 * hours, 0)))
    results = caller.ingest.IngestEvents(wire.IngestEventsRequest(events=[soon, late])).results
    assert [row.fault.reason for row in results] == ["", "TIME_IN_FUTURE"]


# --- Whole messages -------------------------------------------------------------------------------------------------

SOUND = as_message(event())
SOUND_TABLE = as_table([event()])


def refused(call: Any, *arguments: Any, **options: Any) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as error:
        call(*arguments, **options)
    return error.value


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("method", ["IngestEvents", "PredictCosts"])
def test_too_many_events_are_refused_whole(caller, method):
    request = wire.IngestEventsRequest(events=[SOUND] * (limits.EVENTS_IN_CALL_MAX + 1)).SerializeToString()
    error = refused(caller.raw, method, request)
    assert (error.code(), failed_with(error)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_EVENTS")


@pytest.mark.usefixtures("unchanged")
def test_so_many_events_are_taken(caller):
    """At the edge; bad ones, so that nothing is stored."""
    bad = as_message(event(reference=""))
    request = wire.IngestEventsRequest(events=[bad] * limits.EVENTS_IN_CALL_MAX)
    assert len(caller.ingest.IngestEvents(request).results) == limits.EVENTS_IN_CALL_MAX


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("method", ["IngestEvents", "PredictCosts"])
def test_an_oversize_message_is_refused(caller, method):
    filler = as_message(event(values=tuple((f"name{index}", "9" * 4_000) for index in range(60))))
    request = wire.IngestEventsRequest(events=[filler] * 100)
    assert limits.MESSAGE_BYTES_MAX < request.ByteSize() < limits.TRANSPORT_MESSAGE_BYTES_MAX
    error = refused(caller.raw, method, request.SerializeToString())
    assert (error.code(), failed_with(error)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE")
    # Far beyond, the transport itself refuses it, without a reason.
    assert refused(caller.raw, method, bytes(limits.TRANSPORT_MESSAGE_BYTES_MAX + 1)).code() == (
        grpc.StatusCode.RESOURCE_EXHAUSTED
    )


@pytest.mark.usefixtures("unchanged")
def test_truncated_messages_are_refused_wherever_they_are_cut(caller):
    random_ = random.Random(SEED)
    print(f"seed {SEED}")
    # The event has a fault, so that a cut that leaves a whole message stores nothing either.
    request = wire.IngestEventsRequest(
        events=[as_message(event(reference=""))] * 3, prediction_view=wire.CostPrediction.FULL
    )
    serialised = request.SerializeToString()
    for cut in random_.sample(range(1, len(serialised)), 40):
        try:
            caller.raw("IngestEvents", serialised[:cut])
        except grpc.RpcError as error:
            assert failed_with(error) == "MESSAGE_MALFORMED"
        else:
            assert wire.IngestEventsRequest.FromString(serialised[:cut]) != request


def varint(number_: int) -> bytes:
    """The encoding of a length."""
    head = bytes([number_ & 0x7F | (0x80 if number_ > 0x7F else 0)])
    return head + varint(number_ >> 7) if number_ > 0x7F else head


STREAMED = [
    ("truncated rows", wire.StreamingIngestEventsRequest, as_rows([event()])[:-3], "MESSAGE_MALFORMED"),
    ("no Arrow", None, b"definitely no Arrow", "ARROW_MALFORMED"),
    ("truncated Arrow", None, as_stream(SOUND_TABLE)[:200], "ARROW_MALFORMED"),
    ("a float", None, as_stream(SOUND_TABLE.append_column("value:w", [[1.5]])), "ARROW_COLUMN_TYPE"),
    ("a column too many", None, as_stream(SOUND_TABLE.append_column("price", [[1]])), "ARROW_COLUMN_UNKNOWN"),
    ("a column too few", None, as_stream(SOUND_TABLE.drop_columns(["reference"])), "ARROW_COLUMN_MISSING"),
    ("oversize batch", None, as_stream(as_table([event()] * (limits.EVENTS_IN_BATCH_MAX + 1))), "TOO_MANY_EVENTS"),
]


@pytest.mark.usefixtures("unchanged")
def test_wrong_batches_are_answered_and_the_stream_goes_on(caller):
    requests = []
    for number_, (_, rows, content, _) in enumerate(STREAMED):
        # The content may be anything, so the message is put together by hand: batch_number, then rows or arrow.
        requests.append(b"\x08" + bytes([number_]) + (b"\x12" if rows else b"\x1a") + varint(len(content)) + content)
    stream: Any = caller.channel.stream_stream
    answers = [
        wire.StreamingIngestEventsResponse.FromString(each)
        for each in stream("/tallybook.v1.IngestService/StreamingIngestEvents")(iter(requests))
    ]
    assert [each.batch_number for each in answers] == list(range(len(STREAMED)))
    assert [reason_of(each.status) for each in answers] == [reason for *_, reason in STREAMED]


def test_a_catalogue_with_twenty_faults_names_all_twenty(caller):
    # Given twenty plans, each with a fault of its own place
    prices: list[dict[str, Any]] = [
        {"per_unit": {"unit_price": "0.0000000000001"}},
        {"per_unit": {"unit_price": "NaN"}},
        {"per_unit": {}},
        {"graduated": {"tiers": [{"up_to": "10", "unit_price": "1"}]}},
        {"graduated": {"tiers": [{"up_to": "10", "unit_price": "1"}, {"up_to": "5", "unit_price": "1"}, {}]}},
        {"package": {"size": "0", "amount": "1", "rounding": "UP"}},
        {"package": {"size": "-3", "amount": "1", "rounding": "UP"}},
        {"volume": {"tiers": []}},
        {"per_unit": {"unit_price": "1"}, "minimum": "5", "cap": "4"},
        {"per_unit": {"unit_price": "1"}, "currency": "QQQ"},
    ]
    plans = [
        {"id": f"faulty{index}", "product": "product", "currency": "EUR", **price}
        for index, price in enumerate(prices * 2)
    ]
    # When it is applied
    put = json_format.ParseDict({"plans": plans}, catalog_pb2.Catalog())
    error = refused(caller.catalog.ApplyCatalog, catalog_pb2.ApplyCatalogRequest(put=put))
    # Then every one is named by its path, and nothing is changed
    assert (error.code(), failed_with(error)) == (grpc.StatusCode.INVALID_ARGUMENT, "CATALOG_INVALID")
    named = {field.partition("]")[0] for field in fields_of(status_of_call(error))}
    assert named >= {f"plans[{index}" for index in range(20)}
    assert caller.catalog.GetCatalog(catalog_pb2.GetCatalogRequest()).version == 1


# --- Keys and other people's books ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def neighbours(tmp_path_factory) -> Iterator[tuple[Caller, Caller, ApiKeys, str]]:
    """Two books on one server: the owner's, with an event, and the stranger's, which is empty."""
    directory: Path = tmp_path_factory.mktemp("books")
    settings = Settings(address="127.0.0.1:0", data_directory=directory, stop_grace_seconds=1.0)
    assert settings.keys_path is not None
    keys = ApiKeys(settings.keys_path, lambda: 1)
    tokens = [keys.create(book)[1] for book in ("owner", "stranger")]
    with live_server(settings) as target:
        owner, stranger = (Caller(target, token) for token in tokens)
        owner.apply(CATALOG)
        owner.ingest.IngestEvents(wire.IngestEventsRequest(events=[SOUND]), metadata=owner.metadata)
        yield owner, stranger, keys, target


def every_call(caller: Caller, event_id: str) -> list[tuple[str, Any, Any]]:
    """(method, stub, request) of every method that names something, with names of the owner's book."""
    ingest, catalog = caller.ingest, caller.catalog
    by_id, by_name = wire.EventSelector(event_id=event_id), wire.EventSelector(
        customer_id="customer_id", reference="bad", generation=1
    )  # fmt: skip
    return [
        ("GetEvent", ingest.GetEvent, wire.GetEventRequest(event=by_id)),
        ("GetEvent", ingest.GetEvent, wire.GetEventRequest(event=by_name)),
        ("ListUsage", ingest.ListUsage, wire.ListUsageRequest(customer_id="customer_id")),
        ("ListCharges", ingest.ListCharges, wire.ListChargesRequest(customer_reference="customer")),
        ("GetCustomer", catalog.GetCustomer, catalog_pb2.GetCustomerRequest(customer_id="customer_id")),
        ("GetContract", catalog.GetContract, catalog_pb2.GetContractRequest(contract_id="contract")),
        ("GetProduct", catalog.GetProduct, catalog_pb2.GetProductRequest(product_id="product")),
        ("GetPlan", catalog.GetPlan, catalog_pb2.GetPlanRequest(plan_id="plan")),
        ("GetMeter", catalog.GetMeter, catalog_pb2.GetMeterRequest(meter_id="meter")),
    ]


def owned_event_id(owner: Caller) -> str:
    [stored] = owner.ingest.ListEvents(wire.ListEventsRequest(), metadata=owner.metadata).events
    return str(stored.event_id)


def test_another_books_ids_are_unknown_in_every_method(neighbours):
    owner, stranger, _, _ = neighbours
    event_id = owned_event_id(owner)
    # Given every method that names something answers the owner
    for _, call, request in every_call(owner, event_id):
        call(request, metadata=owner.metadata)
    # Then it knows nothing for the stranger
    for method, call, request in every_call(stranger, event_id):
        error = refused(call, request, metadata=stranger.metadata)
        assert error.code() is grpc.StatusCode.NOT_FOUND, method
        assert "owner" not in str(error.details())


def test_another_books_events_are_not_listed_deleted_or_reprocessed(neighbours):
    owner, stranger, _, _ = neighbours
    selectors = [wire.EventSelector(event_id=owned_event_id(owner))]
    metadata = stranger.metadata
    assert not stranger.ingest.ListEvents(wire.ListEventsRequest(), metadata=metadata).events
    deleted = stranger.ingest.DeleteEvents(wire.DeleteEventsRequest(events=selectors), metadata=metadata)
    assert [row.status for row in deleted.results] == [wire.DeleteResult.NOT_FOUND]
    *_, progress = stranger.ingest.ReprocessEvents(wire.ReprocessEventsRequest(), metadata=metadata)
    assert (progress.event_count_rated, progress.line_count_moved) == (0, 0)
    assert owner.stored_count() == 1
    assert not owner.ingest.ListEvents(wire.ListEventsRequest(), metadata=owner.metadata).events[0].deleted
    # The same event in the stranger's book is another event, and matches nothing of the owner's catalogue.
    predicted = stranger.ingest.PredictCosts(wire.PredictCostsRequest(events=[SOUND]), metadata=metadata)
    assert predicted.results[0].match == wire.EventResult.NO_CUSTOMER


def test_page_tokens_of_another_book_are_refused(neighbours):
    owner, stranger, _, _ = neighbours
    events = [as_message(event(reference=f"page-{index}")) for index in range(3)]
    owner.ingest.IngestEvents(wire.IngestEventsRequest(events=events), metadata=owner.metadata)
    page = owner.ingest.ListEvents(wire.ListEventsRequest(page_size=1), metadata=owner.metadata)
    request = wire.ListEventsRequest(page_size=1, page_token=page.next_page_token)
    assert owner.ingest.ListEvents(request, metadata=owner.metadata).events
    assert failed_with(refused(stranger.ingest.ListEvents, request, metadata=stranger.metadata)) == "PAGE_TOKEN_INVALID"
    deletes = [wire.EventSelector(customer_id="customer_id", reference=each.reference, generation=1) for each in events]
    owner.ingest.DeleteEvents(wire.DeleteEventsRequest(events=deletes), metadata=owner.metadata)


@pytest.mark.parametrize("metadata", [(), (("authorization", "Bearer tb_wrong"),)])
def test_without_a_good_key_no_method_answers(neighbours, metadata):
    _, _, _, target = neighbours
    caller = Caller(target)
    for _, call, request in every_call(caller, "evt_0000000000000001"):
        error = refused(call, request, metadata=metadata)
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        assert failed_with(error) in ("CREDENTIAL_MISSING", "CREDENTIAL_INVALID")
    stream = caller.ingest.StreamingIngestEvents(iter([wire.StreamingIngestEventsRequest()]), metadata=metadata)
    assert refused(list, stream).code() is grpc.StatusCode.UNAUTHENTICATED


def test_a_revoked_key_is_refused(neighbours):
    _, _, keys, target = neighbours
    key, token = keys.create("owner")
    caller = Caller(target, token)
    assert caller.stored_count() >= 1
    keys.revoke(key.key_id)
    error = refused(caller.ingest.ListEvents, wire.ListEventsRequest(), metadata=caller.metadata)
    assert failed_with(error) == "CREDENTIAL_INVALID"
