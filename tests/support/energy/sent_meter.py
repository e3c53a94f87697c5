"""One small meter: a load in quarter hours, power beside it, a register, and everything that may be configured."""

from __future__ import annotations

from typing import Any

from google.protobuf.json_format import ParseDict

from tallybook.v1 import determinants_pb2

Request = determinants_pb2.CalculateDeterminantsRequest

DOCUMENT: dict[str, Any] = {
    "billing_request": {
        "datasource": "m1",
        "start_time": "2026-01-01T00:00:00Z",
        "end_time": "2026-01-01T01:00:00Z",
        "time_zone": "UTC",
        "channels": [
            {"channel": "load", "kind": "INTERVAL"},
            {"channel": "load", "kind": "TIMESLICE", "timeslice_group": "tariff"},
            {"channel": "load", "kind": "PMAX", "as_power": True},
            {"channel": "read", "kind": "REGISTER"},
        ],
        "demands": [
            {"id": "ratchet", "channel": "load", "ratchet": {"shares": ["0.5"]}, "history": ["4.2", ""]},
        ],
    },
    "configuration": {
        "datasources": [
            {
                "id": "m1",
                "channels": [{"name": "load", "classifier": "ACTIVE"}, {"name": "read", "classifier": "READ"}],
                "holiday_calendar": "none",
                "quality_table": "words",
                "register_tolerance": "60s",
            }
        ],
        "channel_classifiers": [
            {"id": "ACTIVE", "unit": "kWh", "decimal_places": 3, "interval": "900s"},
            {"id": "READ", "unit": "kWh", "decimal_places": 3, "kind": "REGISTER", "dial_digits": 6},
        ],
        "timeslice_groups": [
            {
                "id": "tariff",
                "intervals": [{"slice": "T1", "start_time_of_day": "00:30", "end_time_of_day": "24:00"}],
            }
        ],
        "holiday_calendars": [{"id": "none", "version": 7, "valid_from_date": "2020-01-01"}],
        "quality_tables": [
            {
                "id": "words",
                "statuses": [
                    {"name": "good", "is_billable": True},
                    {"name": "bad"},
                    {"name": "none", "has_value": False},
                ],
            }
        ],
    },
    "readings": [
        {
            "channel": "load",
            "decimal_places": 3,
            "values": [250, 260, 240, 255],
            "statuses": ["good", "bad"],
            "quality_codes": "AAAAAA==",
            "regular_times": {"first_time": "2026-01-01T00:15:00Z", "interval": "900s"},
        },
        {
            "channel": "read",
            "values": [1000, 1001],
            "statuses": ["good"],
            "listed_times": {"times_us": [1767225600000000, 1767229200000000]},
        },
    ],
}


def small_request() -> Request:
    """The meter's request, good as it is."""
    return ParseDict(DOCUMENT, Request())
