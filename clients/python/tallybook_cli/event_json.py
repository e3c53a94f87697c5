"""Events as JSON in the contract's own field names: one object, or one a line."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from tallybook.v1 import ingest_pb2
from tallybook_cli.errors import CommandError
from tallybook_client.numbers import to_timestamp


class EventFault(ValueError):
    """A JSON object that is not an event; the message says why."""


def read_events(file: Path) -> Iterator[ingest_pb2.Event]:
    """The events of a file of one JSON object, or of one object a line; `-` is standard input.

    CommandError names the line of what is not an event.
    """
    text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    for line, document in _documents(text, file):
        try:
            yield event_of(document)
        except EventFault as fault:
            raise CommandError(f"{file}:{line}: {fault}") from None


def _documents(text: str, file: Path) -> Iterator[tuple[int, Any]]:
    """(line, JSON value) of each document, however many lines it takes."""
    decoder = json.JSONDecoder(parse_float=str, parse_int=str)
    position = 0
    while (position := _next_word(text, position)) < len(text):
        line = text.count("\n", 0, position) + 1
        try:
            document, position = decoder.raw_decode(text, position)
        except json.JSONDecodeError as error:
            raise CommandError(f"{file}:{error.lineno}: not JSON: {error.msg}") from None
        yield line, document


def _next_word(text: str, position: int) -> int:
    while position < len(text) and text[position].isspace():
        position += 1
    return position


def event_of(document: Any) -> ingest_pb2.Event:
    """The event that a JSON object describes. Numbers may be JSON numbers where their text was kept (parse_float=str).

    EventFault where a field is unknown or of a wrong type.
    """
    if not isinstance(document, dict):
        raise EventFault("an event is a JSON object")
    fields = dict(document)
    time = fields.pop("time", None)
    try:
        event = ingest_pb2.Event(**fields)
        if time is not None:
            event.time.CopyFrom(to_timestamp(datetime.fromisoformat(time)))
    except (TypeError, ValueError, AttributeError) as error:
        raise EventFault(_reason(fields, error)) from None
    return event


def _reason(fields: dict[str, Any], error: Exception) -> str:
    known = set(ingest_pb2.Event.DESCRIPTOR.fields_by_name)
    unknown = sorted(set(fields) - known)
    if unknown:
        return f"an event has no field {unknown[0]}; it has {', '.join(sorted(known))}"
    return f"not an event: {error}"
