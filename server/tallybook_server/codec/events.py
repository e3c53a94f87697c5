"""Serialised events to the ledger's columns: the envelope by Protobuf, the rows by `wire` and the engine's pivot."""

from __future__ import annotations

from typing import Any

import numpy as np

from tallybook_engine.ledger.columns import EventColumns
from tallybook_engine.ledger.pivot import pivot
from tallybook_server import limits
from tallybook_server.codec import arrow, wire
from tallybook_server.codec.checks import check_event_count, check_names, message_seed
from tallybook_server.codec.envelope import IngestEventsEnvelope, PredictCostsEnvelope, StreamRequest, parsed
from tallybook_server.errors import ErrorCode, Fault, field_invalid


def decode_ingest_request(message: bytes) -> tuple[Any, EventColumns]:
    """`IngestEventsRequest` without its events, and the events. At most 10,000 events."""
    return parsed(IngestEventsEnvelope, message), decode_rows(message, limits.EVENTS_IN_CALL_MAX)


def decode_predict_request(message: bytes) -> tuple[Any, EventColumns]:
    """`PredictCostsRequest` without its events, and the events. At most 10,000 events."""
    return parsed(PredictCostsEnvelope, message), decode_rows(message, limits.EVENTS_IN_CALL_MAX)


def decode_payload(request: StreamRequest) -> EventColumns:
    """The events of a request. At most 65,536 events."""
    match request.payload:
        case "rows":
            return decode_rows(request.content, limits.EVENTS_IN_BATCH_MAX)
        case "arrow":
            return arrow.decode_events(request.content)
        case _:
            raise field_invalid("payload", "give rows or arrow")


def decode_rows(message: bytes | memoryview, event_count_max: int) -> EventColumns:
    """The events in field 1 of `message`, as every message of typed rows has them; its other fields are skipped."""
    data = np.frombuffer(message, dtype=np.uint8)
    try:
        counts = wire.count_events(data)
        check_event_count(counts.events, event_count_max)
        return pivot(wire.read_events(data, counts), message_seed(), check_names)
    except wire.BrokenMessage as broken:
        raise Fault(ErrorCode.MESSAGE_MALFORMED, f"The events are not Protobuf messages: {broken}.") from None
