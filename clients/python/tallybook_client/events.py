"""An event as a person writes it down."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from tallybook.v1 import ingest_pb2
from tallybook_client.numbers import decimal_text, to_timestamp


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One usage event. Customer and meter are given by reference, or by id."""

    reference: str
    """The event's own key: unique within book and customer, for ever."""
    customer_reference: str = ""
    customer_id: str = ""
    meter_reference: str = ""
    meter_id: str = ""
    time: datetime | None = None
    """When it happened, with a time zone; None: when the server receives it."""
    values: Mapping[str, Decimal | int | str] = field(default_factory=dict)
    """What was measured; at most 12 decimals, below 10^15 in size. Never a float."""
    properties: Mapping[str, str] = field(default_factory=dict)
    """What prices may depend on."""
    contract_id: str = ""
    """Pins one product contract; empty: every one that matches."""

    def message(self) -> ingest_pb2.Event:
        """The event on the wire. TypeError for a float value, ValueError for a time without a zone."""
        return ingest_pb2.Event(
            customer_id=self.customer_id,
            customer_reference=self.customer_reference,
            meter_id=self.meter_id,
            meter_reference=self.meter_reference,
            reference=self.reference,
            time=None if self.time is None else to_timestamp(self.time),
            contract_id=self.contract_id,
            meter_values=[
                ingest_pb2.MeterValue(reference=name, number=decimal_text(number))
                for name, number in self.values.items()
            ],
            meter_properties=[
                ingest_pb2.MeterProperty(reference=name, value=value) for name, value in self.properties.items()
            ],
        )


AnyEvent = Event | ingest_pb2.Event
"""An event, or its message."""


def event_messages(events: Iterable[AnyEvent]) -> list[ingest_pb2.Event]:
    """The events on the wire."""
    return [event.message() if isinstance(event, Event) else event for event in events]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventKey:
    """Names one stored event: by its id, or by customer, reference and generation."""

    event_id: str = ""
    customer_reference: str = ""
    customer_id: str = ""
    reference: str = ""
    generation: int = 0
    """1 for the first event of a reference. A delete must name it; a read without it answers the latest."""

    def message(self) -> ingest_pb2.EventSelector:
        """The selector on the wire."""
        return ingest_pb2.EventSelector(
            event_id=self.event_id,
            customer_id=self.customer_id,
            customer_reference=self.customer_reference,
            reference=self.reference,
            generation=self.generation,
        )
