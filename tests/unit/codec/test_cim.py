"""CIM GetMeterReadings requests: what they ask, and what is refused, each by its path in the JSON."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.support.energy.cases import VECTORS
from tests.support.energy.sent_meter import Request, small_request

from tallybook.v1 import determinants_pb2 as wire
from tallybook_engine.determinants.kinds import Kind
from tallybook_engine.determinants.request import ChannelRequest
from tallybook_server import limits
from tallybook_server.codec.cim import is_cim_request
from tallybook_server.codec.columns import CalculateDeterminantsEnvelope
from tallybook_server.codec.determinants import Asked, read_request
from tallybook_server.errors import Fault

EXAMPLE: dict[str, Any] = json.loads((VECTORS / "energyworx/scenarios.json").read_text(encoding="utf-8"))[
    "message_example"
]
"""The documented message."""
REF = "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.0.72.0"
ENTRY = "cim_request.payload.GetMeterReadings[0]"
Document = dict[str, Any]


def document(change: Callable[[Document], object] = lambda _: None) -> Document:
    """The documented message, changed."""
    found: Document = json.loads(json.dumps(EXAMPLE))
    change(found)
    return found


def entry(whole: Document) -> Document:
    found: Document = whole["payload"]["GetMeterReadings"][0]
    return found


def request(content: bytes) -> Request:
    """The small meter as the datasource that the message names; its load has the reading type, for three things."""
    made = small_request()
    made.billing_request.CopyFrom(wire.BillingRequest(split_by_month=True))
    made.configuration.datasources[0].id = "YOUR_METERING_POINT_DATASOURCE_ID"
    made.configuration.datasources[0].time_zone = "Europe/Amsterdam"
    types = made.configuration.channel_classifiers[0].reading_types
    types.add(ref=REF)
    types.add(ref=REF, kind=types[0].TIMESLICE, timeslice_group="tariff")
    types.add(ref=REF, kind=types[0].PMAX, as_power=True)
    made.configuration.channel_classifiers[1].reading_types.add(ref=f"1{REF}")
    made.cim_request = content
    return made


def read(made: Request) -> Asked:
    return read_request(CalculateDeterminantsEnvelope.FromString(made.SerializeToString()))


def refused(content: bytes) -> str:
    with pytest.raises(Fault) as failure:
        read(request(content))
    assert failure.value.code.name == "FIELD_INVALID"
    return failure.value.message


def test_the_documented_message_asks_what_its_reading_type_means():
    # Given the message, and more than one reading type
    content = json.dumps(document(lambda d: entry(d)["ReadingTypes"].append({"ref": f"1{REF}"}))).encode()
    asked = read(request(content)).request
    # Then datasource and period are the message's, the zone is the datasource's, and all else the billing request's
    assert (asked.datasource, asked.time_zone, asked.split_by_month) == (
        "YOUR_METERING_POINT_DATASOURCE_ID",
        "Europe/Amsterdam",
        True,
    )
    assert (asked.start_us, asked.end_us) == (1_739_660_400_000_000, 1_742_079_600_000_000)
    assert asked.channels == (
        ChannelRequest("load", Kind.INTERVAL),
        ChannelRequest("load", Kind.TIMESLICE, "tariff"),
        ChannelRequest("load", Kind.PMAX, as_power=True),
        ChannelRequest("read", Kind.REGISTER),
    )


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda d: d.pop("header"), "cim_request.header: is required"),
        (lambda d: d["header"].update(noun="MeterReadings"), 'cim_request.header.noun: is "MeterReadings", and only'),
        (lambda d: d.update(payload=[]), "cim_request.payload: is not an object"),
        (lambda d: d["payload"].update(GetMeterReadings=[]), "cim_request.payload.GetMeterReadings: is empty"),
        (lambda d: d["payload"]["GetMeterReadings"].append({}), "cim_request.payload.GetMeterReadings: has 2 entries"),
        (lambda d: d["payload"].update(GetMeterReadings=[1]), f"{ENTRY}: is not an object"),
        (lambda d: entry(d).pop("UsagePoint"), f"{ENTRY}.UsagePoint: is required"),
        (
            lambda d: entry(d)["UsagePoint"].update(mRID="x"),
            f'{ENTRY}.UsagePoint.mRID: no datasource "x" is configured',
        ),
        (lambda d: entry(d)["UsagePoint"].update(mRID=7), f"{ENTRY}.UsagePoint.mRID: is not a text"),
        (lambda d: entry(d).update(EndDevice={}), f"{ENTRY}.EndDevice: is not known here"),
        (lambda d: entry(d)["TimeSchedules"].append({}), f"{ENTRY}.TimeSchedules: has 2 entries"),
        (
            lambda d: entry(d)["TimeSchedules"][0]["scheduleInterval"].pop("end"),
            f"{ENTRY}.TimeSchedules[0].scheduleInterval.end: is required",
        ),
        (
            lambda d: entry(d)["TimeSchedules"][0]["scheduleInterval"].update(start="2025-02-15T23:00:00"),
            f'{ENTRY}.TimeSchedules[0].scheduleInterval.start: "2025-02-15T23:00:00" is no instant with its offset',
        ),
        (lambda d: entry(d).update(ReadingTypes=[]), f"{ENTRY}.ReadingTypes: is empty"),
        (
            lambda d: entry(d)["ReadingTypes"][0].update(ref="0"),
            f"{ENTRY}.ReadingTypes[0].ref: no channel",
        ),
        (
            lambda d: entry(d)["ReadingTypes"].append({"ref": REF}),
            f"{ENTRY}.ReadingTypes[1].ref: stands in {ENTRY}.ReadingTypes[0] too",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_path(change, fault):
    assert refused(json.dumps(document(change)).encode()).startswith(fault)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"{", "cim_request: is no JSON"),
        (b"\xff", "cim_request: is no JSON"),
        (b"[" * 100_000, "cim_request: is no JSON"),
        (b"[]", "cim_request: is no JSON object"),
        (b'{"header": 1, "header": 2}', 'cim_request: "header" is given twice in one object'),
    ],
)
def test_what_is_no_message_is_refused(content, fault):
    assert refused(content).startswith(fault)


def test_a_request_has_so_many_bytes():
    content = json.dumps(EXAMPLE).encode()
    filled = content + b" " * (limits.CIM_REQUEST_BYTES_MAX - len(content))
    assert read(request(filled)).request.channels
    assert refused(filled + b" ").startswith("cim_request: has 1048577 bytes; at most 1048576")


@pytest.mark.parametrize("field", ["datasource", "start_time", "end_time", "channels"])
def test_what_the_message_says_is_not_said_beside_it(field):
    made = request(json.dumps(EXAMPLE).encode())
    whole = small_request().billing_request
    for name in ("datasource", "start_time", "end_time", "channels"):
        if name != field:
            whole.ClearField(name)
    made.billing_request.CopyFrom(whole)
    with pytest.raises(Fault, match=f"billing_request.{field}: stands beside cim_request"):
        read(made)


@pytest.mark.parametrize("content", [b"{}", b"[]", b"x: 1", b'{"billing_request": {}}', b"[" * 100_000])
def test_other_files_are_no_such_message(content):
    assert not is_cim_request(content)
    assert is_cim_request(json.dumps(EXAMPLE).encode())
