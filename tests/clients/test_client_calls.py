"""Calls, pages, exact numbers and typed errors."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import grpc
import polars as pl
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2

from tallybook.v1 import catalog_pb2, ingest_pb2
from tallybook_client import (
    Client,
    Event,
    EventKey,
    InvalidArgumentError,
    Match,
    Money,
    Span,
    Status,
    UnauthenticatedError,
    UnavailableError,
    View,
)


def a_charge(line_number: int, amount: str = "0.07") -> ingest_pb2.ChargeLine:
    charge = ingest_pb2.ChargeLine(
        line_number=line_number,
        customer_id="cust",
        contract_path=["parent", "sub", "pc"],
        plan_id="plan",
        quantity="1.5",
        exact_amount="0.070000000000000000000001",
    )
    charge.period.start_time.FromJsonString("2023-03-31T22:00:00Z")
    charge.period.end_time.FromJsonString("2023-04-30T22:00:00Z")
    charge.amount_excluding_tax.quantity, charge.amount_excluding_tax.currency = amount, "EUR"
    charge.amount_including_tax.quantity, charge.amount_including_tax.currency = "0.08", "EUR"
    charge.tax_summary.tax_amount.quantity, charge.tax_summary.tax_amount.currency = "0.01", "EUR"
    charge.lines.add(tier=1, rule=1, quantity="1.5", unit_amount="0.046", amount="0.07")
    return charge


def test_a_prediction_is_exact_money(client, service):
    # Given the answer for one card
    result = ingest_pb2.EventResult(status=ingest_pb2.EventResult.STORED, match=ingest_pb2.EventResult.MATCHED)
    result.cost_prediction.response = ingest_pb2.CostPrediction.OK
    detail = result.cost_prediction.details.add(customer_id="cust")
    detail.amount_excluding_tax.quantity, detail.amount_excluding_tax.currency = "0.07", "EUR"
    service.answers.append(ingest_pb2.PredictCostsResponse(results=[result], sequence=3))

    # When it is predicted
    [got] = client.predict([Event(reference="e", customer_reference="c", meter_reference="m", values={"cards": 1})])

    # Then its money is decimal, and the request carried decimal text
    assert (got.status, got.match) == (Status.STORED, Match.MATCHED)
    assert got.cost is not None
    assert got.cost.details[0].amount_excluding_tax == Money(Decimal("0.07"), "EUR")
    [request] = service.requests
    assert request.events[0].meter_values[0].number == "1"
    assert request.prediction_view == ingest_pb2.CostPrediction.FULL


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (Decimal("0.070"), "0.070"),
        (Decimal("1E+3"), "1000"),
        (Decimal("1E-12"), "0.000000000001"),
        (10**14, "100000000000000"),
        ("1.25", "1.25"),
        (-3, "-3"),
    ],
)
def test_numbers_go_as_they_are(number, text):
    assert Event(reference="e", values={"v": number}).message().meter_values[0].number == text


@pytest.mark.parametrize("number", [0.1, 1.0, float("nan"), True])
def test_floats_are_refused(number):
    with pytest.raises(TypeError, match="not exact"):
        Event(reference="e", values={"v": number}).message()


@pytest.mark.parametrize("number", [Decimal("NaN"), Decimal("Infinity")])
def test_what_is_no_number_is_refused(number):
    with pytest.raises(ValueError, match="not a number"):
        Event(reference="e", values={"v": number}).message()


@pytest.mark.parametrize(
    ("instant", "seconds", "nanos"),
    [
        (datetime(1970, 1, 1, tzinfo=UTC), 0, 0),
        (datetime(2013, 1, 1, 5, 15, 0, 1, tzinfo=timezone(timedelta(hours=-5))), 1357035300, 1000),
        (datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), -1, 999_999_000),
    ],
)
def test_instants_keep_their_microseconds(instant, seconds, nanos):
    assert Event(reference="e", time=instant).message().time == Timestamp(seconds=seconds, nanos=nanos)


def test_a_time_without_a_zone_is_refused():
    with pytest.raises(ValueError, match="no time zone"):
        Event(reference="e", time=datetime(2013, 1, 1)).message()  # noqa: DTZ001


def test_lists_read_every_page(client, service):
    # Given three pages of events
    for page, token in enumerate(["one", "two", ""]):
        service.answers.append(
            ingest_pb2.ListEventsResponse(
                events=[
                    ingest_pb2.StoredEvent(event_id=f"evt_{page}{row}", status=ingest_pb2.EventResult.STORED)
                    for row in range(2)
                ],
                next_page_token=token,
            )
        )

    # When they are listed
    events = list(client.list_events(Span(customer_reference="c"), matches=[Match.NO_METER]))

    # Then all come, and each page was asked for with the token before, and the same filter
    assert [event.event_id for event in events] == ["evt_00", "evt_01", "evt_10", "evt_11", "evt_20", "evt_21"]
    assert len(service.requests) == 3
    assert {request.customer_reference for request in service.requests} == {"c"}
    assert [list(request.matches) for request in service.requests] == [[3]] * 3


def test_charges_are_also_a_frame(client, service):
    # Given two pages of charges
    service.answers += [
        ingest_pb2.ListChargesResponse(charges=[a_charge(1)], next_page_token="more"),
        ingest_pb2.ListChargesResponse(charges=[a_charge(2, "-12345678901234.56")]),
    ]

    # When they are asked for
    charges = client.charges(Span(customer_id="cust", start_time=datetime(2023, 1, 1, tzinfo=UTC)))

    # Then nothing is lost on the way into the frame
    frame = charges.frame()
    assert frame["line_number"].to_list() == [1, 2]
    assert frame["amount_excluding_tax"].to_list() == [Decimal("0.07"), Decimal("-12345678901234.56")]
    assert frame["exact_amount"][0] == "0.070000000000000000000001"
    assert frame["period_start_time"][0] == datetime(2023, 3, 31, 22, tzinfo=UTC)
    assert frame["lines"].to_list()[0][0]["rule"] == "TIER"
    assert frame.schema["amount_excluding_tax"] == pl.Decimal(38, 4)


def test_an_error_carries_the_servers_reason(client, service, answers):
    service.answers.append(
        answers.status(answers.INVALID_ARGUMENT, "FIELD_INVALID", "page_size: too small", field="page_size")
    )
    with pytest.raises(InvalidArgumentError) as raised:
        client.ingest([])
    assert raised.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert raised.value.reason == "FIELD_INVALID"
    assert raised.value.metadata == {"field": "page_size"}
    assert str(raised.value) == "page_size: too small (FIELD_INVALID)"


def test_a_catalogue_with_faults_names_them_all(client, service, answers):
    answer = answers.status(answers.INVALID_ARGUMENT, "CATALOG_INVALID", "2 faults")
    violations = [
        error_details_pb2.BadRequest.FieldViolation(field=f"plans[{index}].currency", description="unknown currency")
        for index in range(2)
    ]
    answer.details.add().Pack(error_details_pb2.BadRequest(field_violations=violations))
    service.answers.append(answer)
    with pytest.raises(InvalidArgumentError) as raised:
        client.apply_catalog(catalog_pb2.Catalog(), expected_version=4)
    assert [fault.field for fault in raised.value.fields] == ["plans[0].currency", "plans[1].currency"]
    assert service.requests[0].expected_version == 4


def test_no_expected_version_is_absent_not_zero(client, service):
    service.answers.append(catalog_pb2.ApplyCatalogResponse(version=1))
    assert client.apply_catalog(catalog_pb2.Catalog()).version == 1
    assert not service.requests[0].HasField("expected_version")
    assert not service.requests[0].HasField("effective_from")


def test_a_large_change_goes_in_parts(client, service):
    # Given a catalogue of 12 MB, more than one part takes
    put = catalog_pb2.Catalog(
        taxes=[catalog_pb2.Tax(id="t")],
        customers=[catalog_pb2.Customer(id=f"c{index}", name="n" * 1_000) for index in range(12_000)],
    )

    # When it is applied
    service.answers.append(
        catalog_pb2.StreamingApplyCatalogResponse(version=3, difference_count=12_001, affected_line_count=2)
    )
    instant = datetime(2026, 3, 15, tzinfo=UTC)
    change = client.apply_catalog(put, prune=True, expected_version=2, effective_from=instant)

    # Then the parts together are the change, and only the first one has its flags
    [parts] = service.requests
    assert len(parts) == 3
    together = catalog_pb2.Catalog()
    for part in parts:
        together.MergeFrom(part.put)
    assert together == put
    assert [part.prune for part in parts] == [True, False, False]
    assert [part.HasField("expected_version") for part in parts] == [True, False, False]
    assert [part.HasField("effective_from") for part in parts] == [True, False, False]
    assert parts[0].effective_from.ToJsonString() == "2026-03-15T00:00:00Z"
    assert (change.version, change.difference_count, change.affected_line_count) == (3, 12_001, 2)


def test_a_catalogue_is_read_page_by_page(client, service):
    service.answers += [
        catalog_pb2.GetCatalogResponse(
            version=7, catalog=catalog_pb2.Catalog(taxes=[catalog_pb2.Tax(id="t")]), next_page_token="x"
        ),
        catalog_pb2.GetCatalogResponse(version=7, catalog=catalog_pb2.Catalog(plans=[catalog_pb2.Plan(id="p")])),
    ]
    found = client.get_catalog()
    assert found.version == 7
    assert [tax.id for tax in found.catalog.taxes] == ["t"]
    assert [plan.id for plan in found.catalog.plans] == ["p"]


@pytest.mark.parametrize("key", ["tbs_abc\n", "tbs_é"])
def test_a_text_that_is_no_key_is_refused_before_it_is_sent(key):
    with pytest.raises(UnauthenticatedError, match="characters that no key has"):
        Client("127.0.0.1:1", key)


def test_a_server_that_is_not_there_is_unavailable():
    with Client("127.0.0.1:1") as client, pytest.raises(UnavailableError):
        client.wait_until_ready()


def test_the_service_config_retries_what_is_overloaded(client, service):
    # Given a server that is overloaded twice, and says to come back at once
    service.overloaded_count = 2
    service.answers.append(ingest_pb2.PredictCostsResponse(sequence=1))

    # When it is asked, then the third try is answered, and nobody had to ask again
    assert client.predict([]) == []
    assert len(service.requests) == 3


def test_deletes_name_the_generation(client, service):
    service.answers.append(
        ingest_pb2.DeleteEventsResponse(results=[ingest_pb2.DeleteResult(status=ingest_pb2.DeleteResult.DELETED)])
    )
    [result] = client.delete([EventKey(customer_reference="c", reference="r", generation=2)], View.FULL)
    assert result.status == "DELETED"
    assert service.requests[0].events[0].generation == 2


def test_a_broken_reprocess_goes_on_where_it_stopped(client, service, waits):
    # Given a reprocess that breaks after its second message
    def progress(done: int, token: str, finished: bool = False) -> ingest_pb2.ReprocessEventsResponse:
        return ingest_pb2.ReprocessEventsResponse(
            customer_count_done=done, customer_count_total=3, resume_token=token, done=finished
        )

    service.answers += [
        [progress(1, "after 1"), progress(2, "after 2"), grpc.StatusCode.UNAVAILABLE],
        [progress(3, "after 3", finished=True)],
    ]

    # When it is followed
    seen = [step.customer_count_done for step in client.reprocess(Span(customer_id="c"), move_pins=True)]

    # Then it is taken up after the second
    assert seen == [1, 2, 3]
    assert [request.resume_token for request in service.requests] == ["", "after 2"]
    assert all(request.move_pins for request in service.requests)
    assert len(waits) == 1
