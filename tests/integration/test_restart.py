"""A book in another process after a restart: the same predictions, the same events, the same lines."""

from __future__ import annotations

from pathlib import Path

import grpc

from tallybook.v1 import catalog_pb2, catalog_pb2_grpc, ingest_pb2, ingest_pb2_grpc
from tallybook_cli.server_process import serving
from tallybook_server.catalog_file import read_message_file

FLIGHTS = Path(__file__).resolve().parents[2] / "examples" / "flights" / "catalog.yaml"
JULY_SECONDS = 1_372_700_000
DAY_SECONDS = 86_400


def flight(number: int, day: int, seats: int) -> ingest_pb2.Event:
    event = ingest_pb2.Event(customer_reference="UA", meter_reference="flight", reference=f"UA{number}")
    event.time.seconds = JULY_SECONDS + day * DAY_SECONDS
    event.meter_values.add(reference="miles", number="1400.5")
    event.meter_values.add(reference="seats", number=str(seats))
    event.meter_properties.add(reference="origin", value="EWR")
    return event


def answers(address: str, *, store: bool) -> list[str]:
    """What a server answers: a prediction, an event, usage and charges."""
    with grpc.insecure_channel(address) as channel:
        service = ingest_pb2_grpc.IngestServiceStub(channel)
        if store:
            catalog = read_message_file(FLIGHTS.name, FLIGHTS.read_bytes(), catalog_pb2.Catalog).message
            catalog_pb2_grpc.CatalogServiceStub(channel).ApplyCatalog(catalog_pb2.ApplyCatalogRequest(put=catalog))
            # Across months and a yearly volume tier, the last one late.
            stored = [flight(number, day, 249_000) for number, day in enumerate((0, 3, 40, 70, 35))]
            service.IngestEvents(ingest_pb2.IngestEventsRequest(events=stored))
            deleted = ingest_pb2.EventSelector(customer_reference="UA", reference="UA1", generation=1)
            service.DeleteEvents(ingest_pb2.DeleteEventsRequest(events=[deleted]))
        predicted = ingest_pb2.PredictCostsRequest(
            events=[flight(9, 1, 3), flight(1, 3, 249_000), flight(0, 0, 249_000)]
        )
        selector = ingest_pb2.EventSelector(customer_reference="UA", reference="UA4")
        return [
            str(service.PredictCosts(predicted)),
            str(service.GetEvent(ingest_pb2.GetEventRequest(event=selector))),
            str(service.ListEvents(ingest_pb2.ListEventsRequest(customer_reference="UA", show_deleted=True))),
            str(service.ListUsage(ingest_pb2.ListUsageRequest(customer_reference="UA"))),
            str(service.ListCharges(ingest_pb2.ListChargesRequest(customer_reference="UA"))),
        ]


def test_a_second_process_answers_as_the_first(tmp_path: Path):
    with serving(tmp_path / "data", tmp_path / "log") as address:
        before = answers(address, store=True)
    with serving(tmp_path / "data", tmp_path / "log") as address:
        after = answers(address, store=False)
    assert "quantity_before" in before[0]
    assert after == before
