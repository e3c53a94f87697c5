"""What requests name: events, customers, stretches of time."""

from __future__ import annotations

from typing import Any

from tallybook.v1 import ingest_pb2
from tallybook_engine.ledger.faults import RowFault
from tallybook_engine.ledger.outcomes import EventSelector, Match
from tallybook_engine.ledger.pivot import SECONDS_END
from tallybook_engine.ledger.reads import EventFilter
from tallybook_server import limits
from tallybook_server.codec.results import event_id_number
from tallybook_server.errors import ROW_FAULTS, ErrorCode, Fault, field_invalid


def read_delete_selectors(request: ingest_pb2.DeleteEventsRequest) -> list[EventSelector]:
    """The events to delete; a selector that is wrong carries its fault. At most 10,000."""
    count = len(request.events)
    if count > limits.SELECTORS_IN_CALL_MAX:
        raise Fault(
            ErrorCode.TOO_MANY_SELECTORS,
            f"{count} events named in one message; at most {limits.SELECTORS_IN_CALL_MAX}.",
            {"selectors_max": str(limits.SELECTORS_IN_CALL_MAX)},
        )
    return [_selector(each, generation_needed=True) for each in request.events]


def read_selector(message: ingest_pb2.EventSelector) -> EventSelector:
    """The event of a read; FIELD_INVALID where the selector is wrong."""
    selector = _selector(message, generation_needed=False)
    if selector.fault:
        raise field_invalid("event", ROW_FAULTS[RowFault(selector.fault)])
    return selector


def _selector(message: ingest_pb2.EventSelector, generation_needed: bool) -> EventSelector:
    named = (message.customer_id, message.customer_reference, message.reference)
    if message.event_id:
        event_id = event_id_number(message.event_id)
        if any(named) or message.generation:
            return EventSelector(fault=RowFault.SELECTOR_INCOMPLETE)
        return EventSelector(event_id=event_id, fault=0 if event_id is not None else RowFault.EVENT_ID_MALFORMED)
    if bool(message.customer_id) == bool(message.customer_reference) or not message.reference:
        return EventSelector(fault=RowFault.SELECTOR_INCOMPLETE)
    if message.generation < 0 or (generation_needed and message.generation == 0):
        return EventSelector(fault=RowFault.GENERATION_MISSING)
    return EventSelector(
        customer=message.customer_id or message.customer_reference,
        customer_is_id=bool(message.customer_id),
        reference=message.reference,
        generation=message.generation or None,
    )


def read_customer(request: Any, needed: bool) -> tuple[str | None, bool]:
    """(name, whether it is an id) of the customer that a request names, by one of its two fields."""
    if request.customer_id and request.customer_reference:
        raise field_invalid("customer_id", "give customer_id or customer_reference, not both")
    if needed and not request.customer_id and not request.customer_reference:
        raise field_invalid("customer_id", "name the customer: give customer_id or customer_reference")
    return request.customer_id or request.customer_reference or None, bool(request.customer_id)


def read_stretch(request: Any) -> tuple[int | None, int | None]:
    """(start, end) of a request in microseconds since the epoch; None where it is open."""
    start_us, end_us = _instant(request, "start_time"), _instant(request, "end_time")
    if start_us is not None and end_us is not None and start_us > end_us:
        raise field_invalid("end_time", "is before start_time")
    return start_us, end_us


def _instant(request: Any, field: str) -> int | None:
    if not request.HasField(field):
        return None
    time = getattr(request, field)
    if not 0 <= time.seconds < SECONDS_END or not 0 <= time.nanos < 1_000_000_000:
        raise field_invalid(field, ROW_FAULTS[RowFault.TIME_OUT_OF_RANGE])
    return int(time.seconds) * 1_000_000 + int(time.nanos) // 1_000


def read_event_filter(request: ingest_pb2.ListEventsRequest) -> EventFilter:
    """Which events to list."""
    customer, customer_is_id = read_customer(request, needed=False)
    start_us, end_us = read_stretch(request)
    matches = set(request.matches)
    if not matches <= {each.value for each in Match if each is not Match.NOT_STORED}:
        raise field_invalid("matches", "holds a value that is no match")
    return EventFilter(
        customer=customer,
        customer_is_id=customer_is_id,
        meter=request.meter_reference or None,
        start_us=start_us,
        end_us=end_us,
        matches=frozenset(Match(each) for each in matches),
        show_deleted=request.show_deleted,
    )
