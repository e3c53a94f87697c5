"""Determinants as usage, over gRPC: stored determinants become events of the customer who pays, and charge lines.

NREL SAM's tariffs are catalogues here, and their bills are charge lines.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import MessageToDict, ParseDict
from tests.support.billed_meter import CUSTOMER, SMALL, Services, contract, lawful, longer, request, served
from tests.support.call_errors import failed_with, fields_of, status_of_call
from tests.support.energy.sam import ENERGY_TOLERANCE, POWER_TOLERANCE, YEAR, SamTariff, month_period, sam_tariffs
from tests.support.energy.sam_prices import OPEN, Bounds, bounds_of, rows_by_period
from tests.support.energy.wire import request_message
from tests.support.live_server import SETTINGS, live_server

import tallybook_client as tb
from tallybook.v1 import (
    catalog_pb2,
    determinants_pb2,
    ingest_pb2,
    simulate_pb2,
)
from tallybook_engine.decimals import UNIT, format_decimal
from tallybook_engine.determinants.numbers import rounded

TOLERANCE = Fraction(1, 10**6)
"""The cases add binary floats; bounds are rounded to twelve decimals here."""


def amounts(services: Services, customer: str = CUSTOMER) -> dict[str, tuple[str, str]]:
    """Product -> (quantity, amount) of every line."""
    return {each.product_id: (each.quantity, each.amount_excluding_tax.quantity) for each in services.charges(customer)}


def test_a_stored_determinant_is_an_event_and_a_charge(tmp_path: Path) -> None:
    with served(tmp_path) as services:
        services.apply(SMALL)
        # When determinants are stored
        result = services.determinants.CalculateDeterminants(request()).result
        # Then what the customer has a plan for is charged, in the commit that holds the determinants
        assert amounts(services) == {
            "energy": ("1.005", "100.50"),
            "t1": ("0.495", "4.95"),
            "peak": ("1.04", "1.04"),
        }
        events = services.events()
        assert {each.sequence for each in events} == {result.stored_sequence}
        assert [each.event.meter_reference for each in events] == [
            "BILLING_ACTIVE_INTERVAL",
            "BILLING_ACTIVE_TIMESLICE_tariff_T1",
            "BILLING_ACTIVE_PMAX_POWER",
        ]
        assert events[0].event.reference == (
            '["m1","BILLING_ACTIVE_INTERVAL","2026-01-01T00:00:00Z","2026-01-01T01:00:00Z"]'
        )
        assert events[0].effective_time.ToJsonString() == "2026-01-01T00:59:59.999999Z"
    assert lawful(tmp_path)


def test_the_same_value_again_posts_nothing_and_another_one_takes_its_place(tmp_path: Path) -> None:
    with served(tmp_path) as services:
        services.apply(SMALL)
        services.determinants.CalculateDeterminants(request())
        before = amounts(services)
        # When the same is stored again
        services.determinants.CalculateDeterminants(request())
        # Then nothing is posted
        assert amounts(services) == before
        assert len(services.events(show_deleted=True)) == 3
        # When a reading has another value, of which the slice and the sum know, and the maximum does not
        other = request()
        other.readings[0].values[3] = 155
        result = services.determinants.CalculateDeterminants(other).result
        # Then these two events are the next generation, in the commit of the determinants
        assert amounts(services) == {"energy": ("0.905", "90.50"), "t1": ("0.395", "3.95"), "peak": ("1.04", "1.04")}
        assert sorted((each.event.meter_reference, each.generation) for each in services.events()) == [
            ("BILLING_ACTIVE_INTERVAL", 2),
            ("BILLING_ACTIVE_PMAX_POWER", 1),
            ("BILLING_ACTIVE_TIMESLICE_tariff_T1", 2),
        ]
        (energy,) = (each for each in services.events() if each.event.meter_reference == "BILLING_ACTIVE_INTERVAL")
        assert energy.sequence == result.stored_sequence
        deleted = [each for each in services.events(show_deleted=True) if each.deleted]
        assert [services.history(each.event_id)[-1].sequence for each in deleted] == [result.stored_sequence] * 2
        after = amounts(services)
    assert lawful(tmp_path)
    # And a restart knows it all, so that the same value again still posts nothing
    with served(tmp_path) as services:
        assert amounts(services) == after
        services.determinants.CalculateDeterminants(other)
        assert amounts(services) == after
        assert len(services.events()) == 3
    assert lawful(tmp_path)


def test_a_sandbox_bills_the_determinants_that_it_begins_with(tmp_path: Path) -> None:
    settings = replace(SETTINGS, data_directory=tmp_path)
    with live_server(settings) as address, grpc.insecure_channel(address) as channel, tb.Client(address) as book:
        services = Services(channel)
        services.apply(SMALL)
        # Given determinants that were stored, and one of them again with another value
        services.determinants.CalculateDeterminants(request())
        other = request()
        other.readings[0].values[3] = 155
        services.determinants.CalculateDeterminants(other)
        # When a sandbox begins with the customer's recorded usage
        day = datetime(2026, 1, 1, tzinfo=UTC)
        made = book.create_sandbox(recorded_usage=(day, day + timedelta(days=1)))
        # Then its charge lines are production's
        assert made.sandbox.recorded_usage is not None
        assert made.sandbox.recorded_usage.event_count == 3
        with tb.Client(address, made.access_token) as sandbox:
            # Lines are numbered in the order of their opening.
            ours, productions = (
                [replace(each, line_number=0) for each in client.charges(tb.Span(customer_id=CUSTOMER))]
                for client in (sandbox, book)
            )
            assert ours == productions
            assert len(ours) == 3


def test_a_month_is_one_event_whichever_way_it_is_asked_for(tmp_path: Path) -> None:
    with served(tmp_path) as services:
        services.apply(SMALL)
        services.determinants.CalculateDeterminants(request())
        # Given the hour again as a part of a period that is split by month: two parts, of which one is this hour
        split = request(split_by_month=True)
        split.billing_request.start_time.FromJsonString("2025-12-31T23:00:00Z")
        split.readings[0].regular_times.first_time.FromJsonString("2025-12-31T23:15:00Z")
        split.readings[0].values[:] = [1_000, 0, 0, 0, 250, 260, 240, 255]
        split.readings[0].quality_codes = bytes(8)
        services.determinants.CalculateDeterminants(split)
        # Then the months count and the whole does not, and nothing counts twice
        lines = {
            (each.period.start_time.ToJsonString()[:7], each.product_id): each.quantity for each in services.charges()
        }
        assert lines["2025-12", "energy"] == "1"
        assert lines["2026-01", "energy"] == "1.005"
        assert len(services.events()) == 6
    assert lawful(tmp_path)


def test_time_is_billed_once_however_it_is_cut(tmp_path: Path) -> None:
    with served(tmp_path) as services:
        services.apply(SMALL)
        # Given an hour that is billed, and then two hours that hold it, whole and split, one way and back again
        for asked, total in (
            (request(), Fraction("1.005")),
            (longer(), Fraction("2.005")),
            (longer(split_by_month=True), Fraction("2.005")),
            (longer(), Fraction("2.005")),
        ):
            services.determinants.CalculateDeterminants(asked)
            # Then only the last ones count
            energy = [each for each in services.charges() if each.product_id == "energy"]
            assert sum(Fraction(each.quantity) for each in energy) == total
        before = amounts(services)
        # When only a part of what is billed is asked for
        with pytest.raises(grpc.RpcError) as failure:
            services.determinants.CalculateDeterminants(request())
        # Then it is refused, for the rest would be lost or billed twice
        assert failure.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        told = str(failure.value.details())
        assert "BILLING_ACTIVE_INTERVAL is billed of 2025-12-31T23:00:00Z to 2026-01-01T01:00:00Z already" in told
        assert amounts(services) == before
        # And it can be mended as the message says
        for event in services.events():
            selector = ingest_pb2.EventSelector(event_id=event.event_id)
            services.ingest.DeleteEvents(ingest_pb2.DeleteEventsRequest(events=[selector]))
        services.determinants.CalculateDeterminants(request())
        assert amounts(services)["energy"] == ("1.005", "100.50")
    assert lawful(tmp_path)


def of_two_customers(owner: str | None, **more: str) -> dict[str, Any]:
    """The small meter's catalogue with a second customer, who has a plan for its energy, and a third, who has none."""
    (source,) = SMALL["datasources"]
    owned = {key: value for key, value in source.items() if key != "customer"}
    if owner is not None:
        owned["customer"] = owner
    second = {**contract([{"plan": "energy_plan"}], "UTC"), "id": "c2", "customer": "second"}
    return {
        **SMALL,
        "customers": [{"id": CUSTOMER}, {"id": "second"}, {"id": "third"}],
        "contracts": [*SMALL["contracts"], second],
        "datasources": [{**owned, **more}],
    }


NOTHING = dict.fromkeys(("energy", "t1", "peak"), ("0", "0.00"))


@pytest.mark.parametrize(("owner", "billed"), [("second", {"energy": ("1.005", "100.50")}), ("third", {}), (None, {})])
def test_a_datasource_of_another_customer_is_billed_to_that_one_alone(
    tmp_path: Path, owner: str | None, billed: dict[str, tuple[str, str]]
) -> None:
    with served(tmp_path) as services:
        services.apply(of_two_customers(CUSTOMER))
        services.determinants.CalculateDeterminants(request())
        before = amounts(services)
        # When the datasource belongs to another customer, or to none
        services.apply(of_two_customers(owner))
        # Then what was billed stays until it is calculated again
        assert amounts(services) == before
    with served(tmp_path) as services:
        result = services.determinants.CalculateDeterminants(request()).result
        # And then it is taken back in that commit, and billed to the other one
        assert amounts(services) == NOTHING
        deleted = [each for each in services.events(show_deleted=True) if each.deleted]
        assert [services.history(each.event_id)[-1].sequence for each in deleted] == [result.stored_sequence] * 3
        assert amounts(services, "second") == (billed if owner == "second" else {})
        # As often as it is calculated
        services.determinants.CalculateDeterminants(request())
        assert amounts(services) == NOTHING
        # When it comes back, so do the charges
        services.apply(of_two_customers(CUSTOMER))
        services.determinants.CalculateDeterminants(request())
        assert amounts(services) == before
        assert not any(Fraction(quantity) for quantity, _ in amounts(services, "second").values())
    assert lawful(tmp_path)


ACTIVE_CHANNELS = ("BILLING_ACTIVE_INTERVAL", "BILLING_ACTIVE_TIMESLICE_tariff_T1", "BILLING_ACTIVE_PMAX_POWER")
EXPORT_CHANNEL = "BILLING_EXPORT_INTERVAL"


def current(services: Services, channel: str) -> list[str]:
    """The values that a BILLING channel of the small meter shows."""
    wanted = determinants_pb2.ListBillingReadingsRequest(datasource="m1", billing_channel=channel)
    return [each.value for each in services.determinants.ListBillingReadings(wanted).readings]


def withdrawn(services: Services, channel: str) -> list[tuple[str, bool, bool]]:
    """(value, superseded, withdrawn) of everything that was stored in a BILLING channel."""
    wanted = determinants_pb2.ListBillingReadingsRequest(
        datasource="m1", billing_channel=channel, include_superseded=True
    )
    found = services.determinants.ListBillingReadings(wanted).readings
    return [(each.value, each.superseded, each.withdrawn) for each in found]


def messages(services: Services) -> list[dict[str, Any]]:
    """The documents of the outbox."""
    found = services.determinants.ListBillingMessages(determinants_pb2.ListBillingMessagesRequest()).messages
    return [json.loads(each.document) for each in found]


@pytest.mark.parametrize("is_billed", [True, False])
def test_values_of_a_channel_that_is_gone_are_withdrawn_within_the_period(tmp_path: Path, is_billed: bool) -> None:
    (source,) = SMALL["datasources"]
    other = {**SMALL, "datasources": [{**source, "channels": source["channels"][1:]}]}
    if not is_billed:
        other["contracts"] = []
    with served(tmp_path) as services:
        services.apply(SMALL if is_billed else {**SMALL, "contracts": []})
        services.determinants.CalculateDeterminants(longer(split_by_month=True))
        before = {each: current(services, each) for each in (*ACTIVE_CHANNELS, f"{ACTIVE_CHANNELS[0]}_MONTH")}
        assert before[f"{ACTIVE_CHANNELS[0]}_MONTH"] == ["1", "1.005"]
        # When the datasource has the channel no more, and another one of it is calculated
        services.apply(other)
        asked = request()
        del asked.billing_request.channels[:], asked.readings[0]
        asked.billing_request.channels.add(channel="read", kind="REGISTER")
        services.determinants.CalculateDeterminants(asked)
        # Then what lies within the period is withdrawn, and what reaches beyond stays
        assert current(services, f"{ACTIVE_CHANNELS[0]}_MONTH") == ["1"]
        assert current(services, ACTIVE_CHANNELS[0]) == before[ACTIVE_CHANNELS[0]]
        # And the message says so
        gone = messages(services)[-1]["m1"]["withdrawn"]
        names = (*ACTIVE_CHANNELS, "BILLING_ACTIVE_TIMESLICE_tariff_UNCOVERED")
        assert sorted(each["billing_channel"] for each in gone) == sorted(f"{each}_MONTH" for each in names)
        # And a simulation of what is stored, which has no plan for it, does not fail over it
        simulated(services)
    assert not is_billed or lawful(tmp_path)


def test_a_channel_of_another_classifier_is_billed_as_that_one_alone(tmp_path: Path) -> None:
    export = {**contract([{"plan": "export_plan"}], "UTC"), "id": "c2"}
    both = {
        **SMALL,
        "channel_classifiers": [
            *SMALL["channel_classifiers"],
            {"id": "EXPORT", "unit": "kWh", "decimal_places": 3, "interval": "900s"},
        ],
        "products": [
            *SMALL["products"],
            {"id": "export", "aggregation": "SUM", "determinant": {"classifier": "EXPORT", "kind": "INTERVAL"}},
        ],
        "plans": [
            *SMALL["plans"],
            {"id": "export_plan", "product": "export", "currency": "EUR", "per_unit": {"unit_price": "5"}},
        ],
        "contracts": [*SMALL["contracts"], export],
    }
    (source,) = SMALL["datasources"]
    first, *others = source["channels"]
    exporting = {**source, "channels": [{**first, "classifier": "EXPORT"}, *others]}
    with served(tmp_path) as services:
        services.apply(both)
        services.determinants.CalculateDeterminants(request())
        before = amounts(services)
        # When the channel measures something else, and the same hour is calculated again
        services.apply({**both, "datasources": [exporting]})
        services.determinants.CalculateDeterminants(request())
        # Then nothing is billed of what it measured before, and its values are withdrawn
        assert amounts(services) == {**NOTHING, "export": ("1.005", "5.03")}
        assert [current(services, each) for each in (*ACTIVE_CHANNELS, EXPORT_CHANNEL)] == [*(3 * [[]]), ["1.005"]]
        assert withdrawn(services, ACTIVE_CHANNELS[0]) == [("1.005", True, False), ("", False, True)]
        # And the other way round
        services.apply(both)
        services.determinants.CalculateDeterminants(request())
        assert amounts(services) == {**before, "export": ("0", "0.00")}
        assert [current(services, each) for each in (ACTIVE_CHANNELS[0], EXPORT_CHANNEL)] == [["1.005"], []]
        # Once it is withdrawn it is not withdrawn again
        services.determinants.CalculateDeterminants(request())
        assert len(withdrawn(services, EXPORT_CHANNEL)) == 2
        assert ["withdrawn" in each["m1"] for each in messages(services)] == [False, True, True, False]
    assert lawful(tmp_path)


def test_what_an_earlier_customer_paid_for_is_taken_back_though_less_is_asked_for(tmp_path: Path) -> None:
    with served(tmp_path) as services:
        services.apply(of_two_customers(CUSTOMER))
        services.determinants.CalculateDeterminants(request())
        services.apply(of_two_customers("second"))
        fewer = request()
        del fewer.billing_request.channels[1:]
        services.determinants.CalculateDeterminants(fewer)
        assert amounts(services) == NOTHING
    assert lawful(tmp_path)


def test_what_was_billed_to_an_earlier_customer_is_not_half_taken_back(tmp_path: Path) -> None:
    with served(tmp_path) as services:
        services.apply(of_two_customers(CUSTOMER))
        services.determinants.CalculateDeterminants(longer())
        before = amounts(services)
        services.apply(of_two_customers("second"))
        with pytest.raises(grpc.RpcError) as failure:
            services.determinants.CalculateDeterminants(request())
        assert "to 'acme', which reaches beyond the period" in str(failure.value.details())
        assert (amounts(services), services.charges("second")) == (before, [])
        # Parts of the period that was billed are taken back when the period that holds it is split
        services.determinants.CalculateDeterminants(longer(split_by_month=True))
        assert amounts(services) == NOTHING
    assert lawful(tmp_path)


def test_a_datasource_of_another_product_contract_is_billed_under_that_one_alone(tmp_path: Path) -> None:
    twice = of_two_customers(CUSTOMER)
    twice["contracts"] = [
        contract(
            [
                {"id": "one", "plan": "energy_plan", "shared": True},
                {"id": "two", "plan": "energy_plan", "shared": True},
            ],
            "UTC",
        )
    ]
    with served(tmp_path) as services:
        for name, other in (("one", "two"), ("two", "one")):
            services.apply({**twice, "datasources": [{**twice["datasources"][0], "contract_id": name}]})
            services.determinants.CalculateDeterminants(request())
            lines = {each.contract_path[-1]: each.quantity for each in services.charges()}
            assert (lines[name], lines.get(other, "0")) == ("1.005", "0")
    assert lawful(tmp_path)


@pytest.mark.parametrize("meter", ["BILLING_ACTIVE_INTERVAL", "BILLING_ACTIVE_TIMESLICE_NIGHT"])
@pytest.mark.parametrize("field", ["meter_reference", "meter_id"])
def test_nobody_else_makes_events_of_a_billing_channel(tmp_path: Path, meter: str, field: str) -> None:
    """Neither of one that a product is made of, nor of one that a product may be made of some day."""
    event: Any = ingest_pb2.Event(
        customer_id=CUSTOMER, reference="mine", meter_values=[ingest_pb2.MeterValue(reference="value", number="1")]
    )
    setattr(event, field, meter)
    rows = ingest_pb2.EventRows(events=[event])
    with served(tmp_path) as services:
        services.apply(SMALL)
        services.determinants.CalculateDeterminants(request())
        before = amounts(services)
        (stored,) = services.ingest.IngestEvents(ingest_pb2.IngestEventsRequest(events=[event])).results
        (predicted,) = services.ingest.PredictCosts(ingest_pb2.PredictCostsRequest(events=[event])).results
        (streamed,) = services.ingest.StreamingIngestEvents(iter([ingest_pb2.StreamingIngestEventsRequest(rows=rows)]))
        (row,) = streamed.result.exceptional_rows
        for found in (stored, predicted, row):
            assert found.status == ingest_pb2.EventResult.INVALID
            assert (found.fault.reason, found.fault.field) == ("METER_OF_DETERMINANTS", field)
            assert "made of stored determinants alone" in found.fault.message
        assert (amounts(services), len(services.events())) == (before, 3)
    assert lawful(tmp_path)


def test_a_meter_of_the_catalogue_may_be_named_like_a_billing_channel(tmp_path: Path) -> None:
    own = {**SMALL, "meters": [{"id": "BILLING_ACTIVE_CALLS", "values": ["count"]}]}
    event: Any = ingest_pb2.Event(customer_id=CUSTOMER, reference="mine", meter_id="BILLING_ACTIVE_CALLS")
    with served(tmp_path) as services:
        services.apply(own)
        (stored,) = services.ingest.IngestEvents(ingest_pb2.IngestEventsRequest(events=[event])).results
        assert stored.status == ingest_pb2.EventResult.STORED


# --- As usage of a simulation -------------------------------------------------------------------------------------


def simulated(services: Services, start: str = "2025-01-01", end: str = "2027-01-01", **changes: Any) -> Any:
    """A simulation over stored determinants: its first message, and its totals by scenario."""
    asked = simulate_pb2.RunSimulationRequest(**changes)
    asked.determinants.start_time.FromJsonString(start if "T" in start else f"{start}T00:00:00Z")
    asked.determinants.end_time.FromJsonString(end if "T" in end else f"{end}T00:00:00Z")
    *messages, last = services.simulate.RunSimulation(asked)
    totals = {each.scenario: each.amount_excluding_tax.quantity for each in last.totals.totals}
    return messages[0].started, totals


def charged(services: Services) -> str:
    total = sum(Fraction(each.amount_excluding_tax.quantity) for each in services.charges())
    return format_decimal(int(total * UNIT), 12)


@pytest.mark.parametrize(
    "asked", [[request], [longer], [request, longer], [longer, lambda: longer(split_by_month=True)]]
)
def test_determinants_are_usage_of_a_simulation(tmp_path: Path, asked: list[Any]) -> None:
    with served(tmp_path) as services:
        # Given what was calculated, some of it again and cut in another way
        services.apply(SMALL)
        for each in asked:
            last = services.determinants.CalculateDeterminants(each()).result.stored_sequence
        # When it is simulated
        dearer = ParseDict(
            {"name": "dearer", "replace_plans": {}, "put": {"plans": [
                {"id": "energy_plan", "product": "energy", "currency": "EUR", "per_unit": {"unit_price": "200"}}]}},
            simulate_pb2.Scenario(),
        )  # fmt: skip
        started, totals = simulated(services, scenarios=[dearer])
        # Then the baseline is what is charged
        assert Fraction(totals["baseline"]) == Fraction(charged(services))
        energy = sum(Fraction(each.quantity) for each in services.charges() if each.product_id == "energy")
        assert Fraction(totals["dearer"]) == Fraction(charged(services)) + energy * 100
        assert started.usage_sequence == last


def test_a_determinant_that_is_counted_is_one_event(tmp_path: Path) -> None:
    # Given a fee for each time that a value comes
    counted = {"id": "values", "aggregation": "COUNT", "determinant": SMALL["products"][0]["determinant"]}
    fee = {"id": "fee", "product": "values", "currency": "EUR", "per_unit": {"unit_price": "3"}}
    with served(tmp_path) as services:
        services.apply(
            {
                **SMALL,
                "products": [*SMALL["products"], counted],
                "plans": [*SMALL["plans"], fee],
                "contracts": [contract([{"plan": "fee"}], "UTC")],
            }
        )
        services.determinants.CalculateDeterminants(request())
        # Then a simulation counts it as the ledger does, whatever it measured
        assert (simulated(services)[1], charged(services)) == ({"baseline": "3.00"}, "3")


def test_a_customer_without_such_a_plan_can_be_simulated_under_one(tmp_path: Path) -> None:
    with served(tmp_path) as services:
        # Given determinants that nobody pays for yet
        services.apply({**SMALL, "contracts": []})
        services.determinants.CalculateDeterminants(request())
        assert simulated(services)[0].row_count == 0
        # When the baseline has a contract
        put = ParseDict({"contracts": SMALL["contracts"]}, catalog_pb2.Catalog())
        started, totals = simulated(services, baseline=simulate_pb2.Scenario(put=put))
        assert started.row_count == 3
        assert totals == {"baseline": "106.49"}
        # Of other times, and as of an earlier sequence, there is nothing
        assert simulated(services, end="2026-01-01T00:59:59Z", baseline=simulate_pb2.Scenario(put=put))[1] == {}
        assert simulated(services, end="2026-01-01T01:00:00Z", baseline=simulate_pb2.Scenario(put=put))[1] == totals
        assert simulated(services, start="2026-01-01T01:00:00Z", baseline=simulate_pb2.Scenario(put=put))[1] == {}


def test_everything_wrong_with_the_datasources_is_named_at_once(tmp_path: Path) -> None:
    with served(tmp_path) as services:
        (source,) = SMALL["datasources"]
        orphan = {**source, "id": "orphan"}
        del orphan["customer"]
        services.apply({**SMALL, "datasources": [source, orphan], "customers": [{"id": CUSTOMER}, {"id": "other"}]})
        asked = simulate_pb2.RunSimulationRequest(customer_ids=["other", "nobody"])
        asked.determinants.start_time.FromJsonString("2026-01-01T00:00:00Z")
        asked.determinants.end_time.FromJsonString("2026-02-01T00:00:00Z")
        asked.determinants.datasources.extend(["m1", "orphan", "gone"])
        with pytest.raises(grpc.RpcError) as failure:
            list(services.simulate.RunSimulation(asked))
        assert fields_of(status_of_call(failure.value)) == [
            "customer_ids",
            *(f"determinants.datasources[{number}]" for number in range(3)),
        ]


def test_two_channels_of_one_classifier_are_not_stored_over_one_another(tmp_path: Path) -> None:
    (source,) = SMALL["datasources"]
    twins = {**source, "channels": [*source["channels"], {**source["channels"][0], "name": "twin"}]}
    with served(tmp_path) as services:
        services.apply({**SMALL, "datasources": [twins]})
        with pytest.raises(grpc.RpcError) as failure:
            services.determinants.CalculateDeterminants(request())
        assert failure.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "'twin' of datasource 'm1' have one classifier" in str(failure.value.details())
        assert not services.events()


def test_a_negative_determinant_is_no_usage(tmp_path: Path) -> None:
    with served(tmp_path) as services:
        services.apply(SMALL)
        negative = request()
        negative.readings[0].values[:] = [-250, -260, -240, -255]
        with pytest.raises(grpc.RpcError) as failure:
            services.determinants.CalculateDeterminants(negative)
        assert failure.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "is negative" in str(failure.value.details())
        assert not services.events()


def test_a_value_that_is_gone_takes_its_event_back(tmp_path: Path) -> None:
    with served(tmp_path) as services:
        services.apply(SMALL)
        services.determinants.CalculateDeterminants(request())
        # When every reading of the hour turns out to have no value, and that is reported
        gone = request(on_invalid=determinants_pb2.BillingRequest.REPORT)
        gone.readings[0].statuses[:] = ["none"]
        gone.readings[0].quality_codes = bytes(4)
        services.determinants.CalculateDeterminants(gone)
        # Then there is no maximum, and its event is gone
        assert "BILLING_ACTIVE_PMAX_POWER" not in {each.event.meter_reference for each in services.events()}
        assert amounts(services)["energy"] == ("0", "0.00")
        assert current(services, "BILLING_ACTIVE_PMAX_POWER") == []
        # Nor does a simulation know of it
        assert simulated(services)[1] == {}
    assert lawful(tmp_path)


def test_a_determinant_is_taken_off_the_bill_by_hand_until_it_is_stored_again(tmp_path: Path) -> None:
    with served(tmp_path) as services:
        services.apply(SMALL)
        services.determinants.CalculateDeterminants(request())
        before = amounts(services)
        selectors = [ingest_pb2.EventSelector(event_id=each.event_id) for each in services.events()]
        services.ingest.DeleteEvents(ingest_pb2.DeleteEventsRequest(events=selectors))
        assert amounts(services) == NOTHING
        # Then the BILLING channels show it no more, and a message says so; what is no event stays
        assert [current(services, each) for each in ACTIVE_CHANNELS] == [[], [], []]
        assert withdrawn(services, ACTIVE_CHANNELS[0]) == [("1.005", True, False), ("", False, True)]
        assert current(services, "BILLING_READ_REGISTER") == ["1001"]
        first, second = messages(services)
        assert second["m1"]["withdrawn"] == [
            {"billing_channel": each, "start_time": "2026-01-01T00:00:00Z", "end_time": "2026-01-01T01:00:00Z"}
            for each in ACTIVE_CHANNELS
        ]
        assert ("withdrawn" in first["m1"], "determinants" in second["m1"]) == (False, False)
        assert simulated(services)[1] == {}
        # Deleting them again changes nothing
        services.ingest.DeleteEvents(ingest_pb2.DeleteEventsRequest(events=selectors))
        assert len(messages(services)) == 2
        assert len(withdrawn(services, ACTIVE_CHANNELS[0])) == 2
        services.determinants.CalculateDeterminants(request())
        assert amounts(services) == before
        assert {each.generation for each in services.events()} == {2}
        assert [current(services, each) for each in ACTIVE_CHANNELS] == [["1.005"], ["0.495"], ["1.04"]]
    assert lawful(tmp_path)


def test_where_the_value_cannot_be_read_its_event_is_not_deleted_either(tmp_path: Path) -> None:
    with served(tmp_path) as services:
        services.apply(SMALL)
        services.determinants.CalculateDeterminants(request())
        before = amounts(services)
        with closing(sqlite3.connect(tmp_path / "default.sqlite")) as connection:
            connection.execute("UPDATE billing_values SET body = x'00'")
            connection.commit()
        selectors = [ingest_pb2.EventSelector(event_id=each.event_id) for each in services.events()]
        with pytest.raises(grpc.RpcError) as failure:
            services.ingest.DeleteEvents(ingest_pb2.DeleteEventsRequest(events=selectors))
        assert failed_with(failure.value) == "JOURNAL_DAMAGED"
        assert (amounts(services), len(services.events())) == (before, 3)


def test_deleting_one_month_withdraws_that_one_alone(tmp_path: Path) -> None:
    with served(tmp_path) as services:
        services.apply(SMALL)
        services.determinants.CalculateDeterminants(longer(split_by_month=True))
        event = next(each for each in services.events() if "2026-01-01T01" in each.event.reference)
        selector = ingest_pb2.EventSelector(customer_id=CUSTOMER, reference=event.event.reference, generation=1)
        answer = services.ingest.DeleteEvents(ingest_pb2.DeleteEventsRequest(events=[selector]))
        assert current(services, f"{event.event.meter_reference}_MONTH") == ["1"]
        (last,) = (each for each in messages(services) if "withdrawn" in each["m1"])
        assert [each["start_time"] for each in last["m1"]["withdrawn"]] == ["2026-01-01T00:00:00Z"]
        wanted = determinants_pb2.ListBillingReadingsRequest(
            datasource="m1", billing_channel=f"{event.event.meter_reference}_MONTH", include_superseded=True
        )
        found = services.determinants.ListBillingReadings(wanted).readings
        assert [each.sequence for each in found if each.withdrawn] == [answer.sequence]
    assert lawful(tmp_path)


def test_what_was_only_reported_is_stored_and_not_billed(tmp_path: Path) -> None:
    with served(tmp_path) as services:
        services.apply(SMALL)
        services.determinants.CalculateDeterminants(request())
        before = amounts(services)
        # When a reading of the hour may not be billed, and that is reported
        reported = request(on_invalid=determinants_pb2.BillingRequest.REPORT)
        reported.readings[0].quality_codes = bytes([0, 0, 0, 1])
        result = services.determinants.CalculateDeterminants(reported).result
        # Then its determinants are stored, and what was billed of the hour is taken back
        (remark,) = result.remarks
        assert (remark.reason, result.stored_sequence > 0) == (determinants_pb2.DeterminantsCause.NOT_BILLABLE, True)
        assert result.determinants[0].value == "1.005"
        assert amounts(services) == NOTHING
        # Nor is it usage of a simulation
        assert simulated(services)[1] == {}
        # When nothing is wrong, REPORT is billed like CANCEL; and what is missing without cancelling is billed too
        sound = request(on_invalid=determinants_pb2.BillingRequest.REPORT)
        sound.readings[1].values.pop()
        sound.readings[1].listed_times.times_us.pop()
        (remark,) = services.determinants.CalculateDeterminants(sound).result.remarks
        assert remark.reason == determinants_pb2.DeterminantsCause.NO_READ_AT_END
        assert amounts(services) == before
    assert lawful(tmp_path)


def test_what_nobody_pays_for_is_stored_all_the_same(tmp_path: Path) -> None:
    with served(tmp_path) as services:
        services.apply({**SMALL, "datasources": [{**SMALL["datasources"][0], "customer": None}]})
        assert services.determinants.CalculateDeterminants(request()).result.stored_sequence == 1
        assert not services.events()


def test_a_pinned_contract_takes_the_event_alone(tmp_path: Path) -> None:
    shared = [{"plan": "energy_plan", "id": name, "shared": True} for name in ("first", "second")]
    source = {**SMALL["datasources"][0], "contract_id": "second"}
    with served(tmp_path) as services:
        services.apply({**SMALL, "contracts": [contract(shared, "UTC")], "datasources": [source]})
        services.determinants.CalculateDeterminants(request())
        assert [each.contract_path[-1] for each in services.charges()] == ["second"]


def test_a_period_that_is_not_over_yet_is_refused_and_nothing_is_stored(tmp_path: Path) -> None:
    with served(tmp_path) as services:
        services.apply(SMALL)
        late = request()
        late.billing_request.end_time.FromJsonString("2100-01-01T00:00:00Z")
        with pytest.raises(grpc.RpcError) as failure:
            services.determinants.CalculateDeterminants(late)
        assert failure.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "further in the future" in str(failure.value.details())
        listed = determinants_pb2.ListBillingMessagesRequest()
        assert not services.determinants.ListBillingMessages(listed).messages
        assert not services.events()


# --- NREL SAM ---------------------------------------------------------------------------------------------------------


def graduated(bounds: Bounds) -> dict[str, Any]:
    tiers = []
    for up_to, unit_price in bounds:
        tier = {"unit_price": text(unit_price)}
        if up_to is not None:
            if rounded(up_to * UNIT) <= 0:
                continue
            tier["up_to"] = text(up_to)
        tiers.append(tier)
    return {"graduated": {"tiers": tiers}}


def text(number: Fraction) -> str:
    return format_decimal(rounded(number * UNIT), 12)


def sam_catalogue(tariff: SamTariff) -> dict[str, Any]:
    """A tariff: what does not change is one plan; tiers that depend on the month are a plan a month."""
    rates, expected = tariff.document["tariff"], tariff.document["expected_determinants"]
    products: dict[str, Any] = {}
    plans: list[Any] = []
    sold: list[Any] = []

    def product(name: str, aggregation: str, **source: str) -> None:
        products[name] = {"id": name, "aggregation": aggregation, "determinant": source}

    def plan(name: str, of: str, model: Mapping[str, Any], month: int | None = None) -> None:
        plans.append({"id": name, "product": of, "currency": "USD", **model})
        dates = {}
        if month is not None:
            dates = {
                "start_date": str(date(YEAR, month, 1)),
                "end_date": str(date(YEAR + month // 12, month % 12 + 1, 1)),
            }
        sold.append({"plan": name, **dates})

    counted = {"per_unit": {"unit_price": "0"}}
    product("total", "SUM", classifier="energy", kind="INTERVAL")
    product("fixed", "COUNT", classifier="energy", kind="INTERVAL")
    product("kw_max", "MAX", classifier="power", kind="PMAX")
    plan("total", "total", counted)
    plan("kw_max", "kw_max", counted)
    plan(
        "fixed",
        "fixed",
        {"stairstep": {"tiers": [{"flat_fee": text(Fraction(str(rates["ur_monthly_fixed_charge"])))}]}},
    )
    if tariff.document["billing_demand_wo_sys"]:
        product("billing_demand", "MAX", classifier="power", kind="DEMAND", demand="billing_demand")
        plan("billing_demand", "billing_demand", counted)
    for period, rows in rows_by_period(rates["ur_ec_tou_mat"]).items():
        product(f"kwh_{period}", "SUM", classifier="energy", kind="TIMESLICE", timeslice_group="energy", slice=period)
        for said in expected:
            start, end = month_period(said["month"])
            demands = tariff.document["billing_demand_wo_sys"]
            demand = Fraction(demands[said["month"] - 1]) if demands else None
            share = Fraction(said["kwh_by_period"].get(period, 0)) / Fraction(said["kwh"])
            model = graduated(bounds_of(rows, (end - start) // 86_400_000_000, share, demand))
            plan(f"kwh_{period}_{said['month']}", f"kwh_{period}", model, said["month"])
    for period, rows in rows_by_period(rates["ur_dc_tou_mat"]).items() if rates["ur_dc_enable"] else ():
        product(f"kw_{period}", "MAX", classifier="power", kind="DEMAND", demand="peaks", slice=period)
        tiers: Bounds = [(None if row[2] >= OPEN else Fraction(str(row[2])), Fraction(str(row[3]))) for row in rows]
        plan(f"kw_{period}", f"kw_{period}", graduated(tiers))
    return {
        "customers": [{"id": CUSTOMER}],
        "products": list(products.values()),
        "plans": plans,
        "contracts": [contract(sold, "Etc/UTC", end_date=str(date(YEAR + 1, 1, 1)))],
    }


@pytest.mark.parametrize("tariff", [pytest.param(each, id=each.case.id) for each in sam_tariffs()])
def test_a_sam_tariff_is_a_catalogue_and_its_bill_is_charge_lines(tmp_path: Path, tariff: SamTariff) -> None:
    message, document = request_message(tariff.case), tariff.document
    with served(tmp_path) as services:
        # Given the tariff and the meter as a catalogue
        meter = MessageToDict(message.configuration, preserving_proto_field_name=True)
        for source in meter["datasources"]:
            source["customer"] = CUSTOMER
        services.apply({**sam_catalogue(tariff), **meter})
        # When the year's determinants are stored
        message.ClearField("configuration")
        message.store = True
        services.determinants.CalculateDeterminants(message)
        # Then energy by period, peaks and billing demand are the quantities of charge lines, and the bill is their sum
        lines = {(each.period.start_time.ToMicroseconds(), each.product_id): each for each in services.charges()}
    for said in document["expected_determinants"]:
        month, start = said["month"] - 1, month_period(said["month"])[0]

        def quantity(product: str, start: int = start) -> Fraction:
            return Fraction(lines[start, product].quantity) if (start, product) in lines else Fraction(0)

        assert abs(quantity("total") - Fraction(said["kwh"])) <= ENERGY_TOLERANCE
        for period, number in said["kwh_by_period"].items():
            assert abs(quantity(f"kwh_{period}") - Fraction(number)) <= ENERGY_TOLERANCE
        assert abs(quantity("kw_max") - Fraction(said["kw_max"])) <= POWER_TOLERANCE
        if document["tariff"]["ur_dc_enable"]:
            for period, number in said["kw_max_by_demand_period"].items():
                assert abs(quantity(f"kw_{period}") - Fraction(number)) <= POWER_TOLERANCE
        if document["billing_demand_wo_sys"]:
            assert (
                abs(quantity("billing_demand") - Fraction(document["billing_demand_wo_sys"][month])) <= POWER_TOLERANCE
            )
        of_month = [each for (at, _), each in lines.items() if at == start]
        for prefix, expected in (
            ("kwh_", document["energy_charge"][month]),
            ("kw_", document["demand_charge_tou"][month]),
            ("", document["expected_monthly_bill_wo_system"][month]),
        ):
            charged = sum(
                (Fraction(each.exact_amount) for each in of_month if each.product_id.startswith(prefix)), Fraction(0)
            )
            assert abs(charged - Fraction(expected)) <= TOLERANCE
        billed = sum((Fraction(each.amount_excluding_tax.quantity) for each in of_month), Fraction(0))
        assert abs(billed - Fraction(document["expected_monthly_bill_wo_system"][month])) <= Fraction(
            len(of_month), 200
        )
    assert lawful(tmp_path)
