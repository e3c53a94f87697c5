"""Serialised events to the ledger's columns: the envelope by Protobuf, the rows by `wire` and the engine's pivot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tallybook_engine.kernels.text import Bytes
from tallybook_engine.ledger.columns import EventColumns
from tallybook_engine.ledger.pivot import pivot
from tallybook_server import limits
from tallybook_server.codec import arrow, wire
from tallybook_server.codec.checks import check_event_count, check_names, message_seed
from tallybook_server.codec.envelope import PredictCostsEnvelope, StreamRequest, parsed
from tallybook_server.errors import ErrorCode, Fault, field_invalid


def decode_joined(messages: Sequence[bytes]) -> tuple[EventColumns, list[int]]:
    """The events of several `IngestEventsRequest`, each of at most 10,000, and the row behind the last of each."""
    ends: list[int] = []
    for message in messages:
        counts = _counted(np.frombuffer(message, dtype=np.uint8), limits.EVENTS_IN_CALL_MAX)
        ends.append(counts.events + (ends[-1] if ends else 0))
    # Serialised messages one behind the other are the message whose lists are joined.
    return decode_rows(messages[0] if len(messages) == 1 else b"".join(messages), ends[-1]), ends


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
    counts = _counted(data, event_count_max)
    try:
        return pivot(wire.read_events(data, counts), message_seed(), check_names)
    except wire.BrokenMessage as broken:
        raise _malformed(broken) from None


def _counted(data: Bytes, event_count_max: int) -> wire.Counts:
    try:
        counts = wire.count_events(data)
    except wire.BrokenMessage as broken:
        raise _malformed(broken) from None
    check_event_count(counts.events, event_count_max)
    return counts


def _malformed(broken: wire.BrokenMessage) -> Fault:
    return Fault(ErrorCode.MESSAGE_MALFORMED, f"The events are not Protobuf messages: {broken}.")
