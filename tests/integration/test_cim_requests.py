"""CIM requests over gRPC, of a datasource that the book's catalogue has: Energyworx's documented scenarios."""

import json
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import ParseDict
from tests.support.energy.cases import VECTORS, instant_us
from tests.support.energy.wire import cancellation_of
from tests.support.live_server import live_server

from tallybook.v1 import catalog_pb2, catalog_pb2_grpc, determinants_pb2, determinants_pb2_grpc

SCENARIOS = json.loads((VECTORS / "energyworx/scenarios.json").read_text(encoding="utf-8"))
CHANNEL = "ACTIVE_DELIVERY_INT15T_VEE"
QUARTER_SECONDS = 900
CATALOG = {
    "channel_classifiers": [
        {
            "id": CHANNEL,
            "unit": "kWh",
            "decimal_places": 3,
            "interval": "900s",
            "reading_types": [{"ref": "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.0.72.0"}],
        }
    ],
    "datasources": [
        {
            "id": "YOUR_METERING_POINT_DATASOURCE_ID",
            "channels": [{"name": CHANNEL, "classifier": CHANNEL}],
            "time_zone": "Europe/Amsterdam",
        }
    ],
}


@pytest.fixture(scope="module")
def service() -> Iterator[Any]:
    with live_server() as address, grpc.insecure_channel(address) as channel:
        put = ParseDict(CATALOG, catalog_pb2.Catalog())
        catalog_pb2_grpc.CatalogServiceStub(channel).ApplyCatalog(catalog_pb2.ApplyCatalogRequest(put=put))
        yield determinants_pb2_grpc.DeterminantsServiceStub(channel)


def request(first: str, last: str, bad_index: int | None = None) -> determinants_pb2.CalculateDeterminantsRequest:
    """The documented message beside 0.001 kWh in every quarter hour with a label in (first, last]."""
    start_us, end_us = instant_us(first), instant_us(last)
    count = (end_us - start_us) // (QUARTER_SECONDS * 1_000_000)
    made = determinants_pb2.CalculateDeterminantsRequest(cim_request=json.dumps(SCENARIOS["message_example"]).encode())
    readings = made.readings.add(channel=CHANNEL, decimal_places=3, statuses=["measured", "questionable"])
    readings.regular_times.first_time.FromMicroseconds(start_us + QUARTER_SECONDS * 1_000_000)
    readings.regular_times.interval.FromSeconds(QUARTER_SECONDS)
    readings.values.extend([1] * count)
    codes = bytearray(count)
    if bad_index is not None:
        codes[bad_index] = 1
    readings.quality_codes = bytes(codes)
    return made


def test_the_message_is_answered(service: Any) -> None:
    result = service.CalculateDeterminants(request("2025-01-01T00:00Z", "2025-03-15T23:00Z")).result
    # 28 days of 96 quarter hours
    (found,) = result.determinants
    assert (result.datasource, result.time_zone) == ("YOUR_METERING_POINT_DATASOURCE_ID", "Europe/Amsterdam")
    assert (found.value, found.billing_channel) == ("2.688", f"BILLING_{CHANNEL}_INTERVAL")


@pytest.mark.parametrize(
    ("scenario", "sent", "reason"),
    [
        (0, ("2025-02-13T00:00Z", "2025-02-14T00:00Z", None), "NO_READINGS"),
        # The last quarter hour of the period.
        (1, ("2025-01-01T00:00Z", "2025-03-15T23:00Z", -1), "NOT_BILLABLE"),
    ],
)
def test_a_documented_scenario_is_cancelled(service: Any, scenario: int, sent: Any, reason: str) -> None:
    assert "cancels the flow" in SCENARIOS["cases"][scenario]["expected"]
    with pytest.raises(grpc.RpcError) as failure:
        service.CalculateDeterminants(request(*sent))
    assert failure.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    cancellation = cancellation_of(failure.value)
    assert cancellation is not None
    assert [cause.reason.value for cause in cancellation.causes] == [reason]


def test_a_stream_takes_such_messages_too(service: Any) -> None:
    sent = determinants_pb2.StreamingCalculateDeterminantsRequest(
        request_number=7, request=request("2025-01-01T00:00Z", "2025-03-15T23:00Z")
    )
    (answer,) = service.StreamingCalculateDeterminants(iter([sent]))
    assert (answer.request_number, answer.result.determinants[0].value) == (7, "2.688")
