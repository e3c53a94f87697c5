"""Random calls of a world: what each one sends is decided by a seed, what it meets is not."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

import pyarrow as pa
from google.protobuf.json_format import ParseDict
from tests.support.events import NAMES, PlainEvent, as_table
from tests.support.random_events import RandomEvents

from tallybook.v1 import ingest_pb2
from tallybook_client.events import EventKey
from tallybook_client.stream import Batch
from tallybook_oracle.catalog import Catalogue
from tallybook_oracle.ledger import instant

EventDict = Mapping[str, Any]


@dataclass(frozen=True)
class Ingest:
    """One unary call."""

    events: Sequence[EventDict]


@dataclass(frozen=True)
class Stream:
    """One stream of several batches."""

    batches: Sequence[tuple[Sequence[EventDict], Batch]]
    """What is in each batch, and how it is sent."""


@dataclass(frozen=True)
class Predict:
    """A prediction, which changes nothing."""

    events: Sequence[EventDict]


@dataclass(frozen=True)
class Delete:
    """Deletes, some of what was never stored."""

    keys: Sequence[EventKey]


Call = Ingest | Stream | Predict | Delete

ONE_OF_EACH_KIND = (0.0, 0.8, 0.9, 0.4)
"""What `_call` makes an Ingest, a Predict, a Delete and a Stream of, which may be all that a phase has room for."""


class RandomCalls:
    """Makes calls; `scale` is how many times larger than a handful of events they are."""

    def __init__(self, chance: random.Random, scale: int) -> None:
        self._chance = chance
        self._scale = scale
        self._events = RandomEvents(chance)

    def calls(self, catalogue: Catalogue, now_us: int, operation_count: int) -> list[list[Call]]:
        """At least so many operations, dealt to one to six callers. What some send, others send at the same time."""
        callers: list[list[Call]] = [[] for _ in range(self._chance.choice([1, 2, 4, 6]))]
        # One of each kind first: what is rare would be missing in one run of fifty.
        kinds = iter(ONE_OF_EACH_KIND)
        while operation_count > 0:
            call = self._call(catalogue, now_us, next(kinds, self._chance.random()))
            operation_count -= operations_of(call)
            self._chance.choice(callers).append(call)
            if self._chance.random() < 0.15:
                operation_count -= operations_of(call)
                self._chance.choice(callers).append(call)
        return callers

    def _call(self, catalogue: Catalogue, now_us: int, kind: float) -> Call:
        chance = self._chance
        if kind < 0.35:
            return Ingest(self._message(catalogue, now_us, chance.choice([1, 2, 10])))
        if kind < 0.8:
            messages = [
                self._message(catalogue, now_us, chance.choice([1, 10, 10 * self._scale]))
                for _ in range(chance.choice([1, 3, 6]))
            ]
            return Stream([(events, self._batch(events)) for events in messages])
        if kind < 0.85 or not self._events.sent:
            return Predict(self._message(catalogue, now_us, chance.choice([1, 10])))
        return Delete([self._key(catalogue) for _ in range(chance.choice([1, 3, self._scale // 2]))])

    def _message(self, catalogue: Catalogue, now_us: int, count: int) -> list[EventDict]:
        return list(self._events.message(catalogue, now_us, count))

    def _key(self, catalogue: Catalogue) -> EventKey:
        event = self._chance.choice(self._events.sent)
        named = {name: event[name] for name in ("customer_id", "customer_reference") if name in event}
        return EventKey(**named, reference=event["reference"], generation=self._chance.choice([1, 1, 1, 2, 3]))

    def _batch(self, events: Sequence[EventDict]) -> Batch:
        if self._chance.random() < 0.5:
            return messages_of(events)
        return as_arrow(events) or messages_of(events)


def messages_of(events: Sequence[EventDict]) -> list[ingest_pb2.Event]:
    """Events as typed rows."""
    return list(ParseDict({"events": list(events)}, ingest_pb2.EventRows()).events)


def as_arrow(events: Sequence[EventDict]) -> pa.RecordBatch | None:
    """Events as Arrow; None where one of them cannot be said in Arrow: a malformed number, a name that repeats."""
    plain = []
    for event in events:
        values = tuple((each["reference"], each["number"]) for each in event.get("meter_values", ()))
        properties = tuple((each["reference"], each["value"]) for each in event.get("meter_properties", ()))
        if len(dict(values)) < len(values) or len(dict(properties)) < len(properties):
            return None
        time_us = instant(event["time"]) if "time" in event else None
        plain.append(
            PlainEvent(
                **{name: event.get(name, "") for name in NAMES},
                time=None if time_us is None else (time_us // 10**6, time_us % 10**6 * 1000),
                values=values,
                properties=properties,
            )
        )
    try:
        for each in plain:
            for _, number in each.values:
                if not Decimal(number).is_finite():
                    return None
        return as_table(plain).combine_chunks().to_batches()[0]
    except (InvalidOperation, pa.ArrowInvalid):
        return None


def operations_of(call: Call) -> int:
    """How many operations a call is: one an event, one a delete."""
    if isinstance(call, Stream):
        return sum(len(events) for events, _ in call.batches)
    return len(call.keys) if isinstance(call, Delete) else len(call.events)
