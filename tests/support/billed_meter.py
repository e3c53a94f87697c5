"""A meter whose determinants are somebody's usage, at a real server: its catalogue, its requests, what is asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.json_format import MessageToDict, ParseDict
from tests.support.energy.sent_meter import small_request
from tests.support.live_server import SETTINGS, live_server

from tallybook.v1 import (
    catalog_pb2,
    catalog_pb2_grpc,
    determinants_pb2,
    determinants_pb2_grpc,
    ingest_pb2,
    ingest_pb2_grpc,
    simulate_pb2_grpc,
)
from tallybook_server.verify import verify

CUSTOMER = "acme"


class Services:
    """A server's services, and what tests ask of them."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.catalog: Any = catalog_pb2_grpc.CatalogServiceStub(channel)
        self.determinants: Any = determinants_pb2_grpc.DeterminantsServiceStub(channel)
        self.ingest: Any = ingest_pb2_grpc.IngestServiceStub(channel)
        self.simulate: Any = simulate_pb2_grpc.SimulateServiceStub(channel)

    def apply(self, catalogue: Mapping[str, Any]) -> None:
        """Puts a catalogue, as JSON has it."""
        put = ParseDict(dict(catalogue), catalog_pb2.Catalog())
        self.catalog.ApplyCatalog(catalog_pb2.ApplyCatalogRequest(put=put))

    def charges(self, customer: str = CUSTOMER) -> list[Any]:
        """Lines of a customer."""
        request = ingest_pb2.ListChargesRequest(customer_id=customer)
        return list(self.ingest.ListCharges(request).charges)

    def ingest_readings(self, *deliveries: Any) -> Any:
        """One message of deliveries that must be answered with a result."""
        message = determinants_pb2.IngestReadingsRequest(
            deliveries=determinants_pb2.ReadingDeliveries(deliveries=deliveries)
        )
        (answer,) = self.ingest.IngestReadings(iter([message]))
        assert answer.WhichOneof("outcome") == "result", answer
        return answer.result

    def events(self, *, show_deleted: bool = False) -> list[Any]:
        request = ingest_pb2.ListEventsRequest(customer_id=CUSTOMER, show_deleted=show_deleted)
        return list(self.ingest.ListEvents(request).events)

    def history(self, event_id: str) -> list[Any]:
        request = ingest_pb2.GetEventRequest(event=ingest_pb2.EventSelector(event_id=event_id))
        return list(self.ingest.GetEvent(request).event.history)


@contextmanager
def served(folder: Path) -> Iterator[Services]:
    settings = replace(SETTINGS, data_directory=folder)
    with live_server(settings) as address, grpc.insecure_channel(address) as channel:
        yield Services(channel)


def lawful(folder: Path) -> bool:
    """Whether every line is what the surviving events come to, by the kernels and by the oracle."""
    found = [verify(folder, "default", oracle, None) for oracle in (False, True)]
    assert all(each.line_count for each in found)
    return not any(each.differences for each in found)


def contract(plans: list[Any], zone: str, **more: str) -> dict[str, Any]:
    frequency = {"basis": "CALENDAR", "interval": 1, "unit": "MONTH"}
    return {"id": "c", "customer": CUSTOMER, "time_zone": zone, "start_date": "2018-01-01",
            "billing_frequency": frequency, "product_contracts": plans, **more}  # fmt: skip


SMALL: dict[str, Any] = {
    **MessageToDict(small_request().configuration, preserving_proto_field_name=True),
    "customers": [{"id": CUSTOMER}],
    "products": [
        {"id": "energy", "aggregation": "SUM", "determinant": {"classifier": "ACTIVE", "kind": "INTERVAL"}},
        {
            "id": "t1",
            "aggregation": "SUM",
            "determinant": {"classifier": "ACTIVE", "kind": "TIMESLICE", "timeslice_group": "tariff", "slice": "T1"},
            "filter": {"datasource": "m1"},
        },
        {"id": "peak", "aggregation": "MAX", "determinant": {"classifier": "ACTIVE", "kind": "PMAX", "as_power": True}},
    ],
    "plans": [
        {"id": f"{name}_plan", "product": name, "currency": "EUR", "per_unit": {"unit_price": unit_price}}
        for name, unit_price in (("energy", "100"), ("t1", "10"), ("peak", "1"))
    ],
    "contracts": [contract([{"plan": f"{name}_plan"} for name in ("energy", "t1", "peak")], "UTC")],
}
SMALL["datasources"][0]["customer"] = CUSTOMER


def request(**changes: Any) -> determinants_pb2.CalculateDeterminantsRequest:
    """The small meter's hour, to be stored; its configuration is the catalogue's."""
    made = small_request()
    made.ClearField("configuration")
    del made.billing_request.demands[:]
    made.store = True
    for name, value in changes.items():
        setattr(made.billing_request, name, value)
    return made


def longer(**changes: Any) -> determinants_pb2.CalculateDeterminantsRequest:
    """The small meter's hour and the hour before it, in which it used 1 kWh."""
    made = request(**changes)
    made.billing_request.start_time.FromJsonString("2025-12-31T23:00:00Z")
    made.readings[0].regular_times.first_time.FromJsonString("2025-12-31T23:15:00Z")
    made.readings[0].values[:] = [1_000, 0, 0, 0, 250, 260, 240, 255]
    made.readings[0].quality_codes = bytes(8)
    return made
