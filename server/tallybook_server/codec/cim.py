"""CIM GetMeterReadings requests (IEC 61968-9) as JSON, as Energyworx documents them, to billing requests.

A reading type means what the classifiers of the datasource's channels say of it: nothing is guessed from its numbers.
Fields that would narrow what is asked, and are not known, are refused; those that only describe are left alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from tallybook.v1 import determinants_pb2 as wire
from tallybook_engine.catalog.model import Catalog
from tallybook_engine.determinants.configuration import Datasource
from tallybook_server import limits
from tallybook_server.errors import Fault, field_invalid

NOUN = "GetMeterReadings"
_ROOT = "cim_request"
_FROM_CIM = ("datasource", "start_time", "end_time", "channels")
"""Fields of a billing request that a CIM request says."""
_WORDS: Mapping[type[Any], str] = {dict: "an object", list: "a list", str: "a text"}
_SHOWN_LETTERS_MAX = 60


def is_cim_request(content: bytes) -> bool:
    """Whether a file is a CIM message: a JSON object with a header and a payload."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict) and "header" in document and "payload" in document


def billing_request(content: bytes, beside: Any, metering: Catalog) -> Any:
    """A message like `beside`, a `BillingRequest`, with what the CIM request asks of a datasource that is configured.

    FIELD_INVALID for the first thing that is wrong.
    """
    for field in _FROM_CIM:
        if any(each.name == field for each, _ in beside.ListFields()):
            raise field_invalid(f"billing_request.{field}", "stands beside cim_request, which says it")
    asked, path = _asked(content)
    _only(asked, path, ("mRID", "UsagePoint", "TimeSchedules", "ReadingTypes"))
    usage_point = _object(asked, "UsagePoint", path)
    name = _text(usage_point, "mRID", f"{path}.UsagePoint")
    source = metering.datasources.get(name)
    if source is None:
        raise field_invalid(f"{path}.UsagePoint.mRID", f'no datasource "{_shown(name)}" is configured')
    schedule, here = _only_entry(asked, "TimeSchedules", path)
    _only(schedule, here, ("scheduleInterval",))
    interval, here = _object(schedule, "scheduleInterval", here), f"{here}.scheduleInterval"
    _only(interval, here, ("start", "end"))
    request = type(beside)()
    request.CopyFrom(beside)
    request.datasource = name
    for field, said in (("start_time", "start"), ("end_time", "end")):
        _read_instant(getattr(request, field), _text(interval, said, here), f"{here}.{said}")
    _add_channels(request, asked, path, source, metering)
    return request


def _asked(content: bytes) -> tuple[dict[str, Any], str]:
    """The one entry of the payload, and its path."""
    if len(content) > limits.CIM_REQUEST_BYTES_MAX:
        found = f"has {len(content)} bytes; at most {limits.CIM_REQUEST_BYTES_MAX}"
        raise field_invalid(_ROOT, found)
    try:
        document = json.loads(content, object_pairs_hook=_once)
    except Fault:
        raise
    except (ValueError, RecursionError) as error:
        raise field_invalid(_ROOT, f"is no JSON: {error}") from None
    if not isinstance(document, dict):
        raise field_invalid(_ROOT, "is no JSON object")
    header = _object(document, "header", _ROOT)
    noun = _text(header, "noun", f"{_ROOT}.header")
    if noun != NOUN:
        raise field_invalid(f"{_ROOT}.header.noun", f'is "{_shown(noun)}", and only {NOUN} is answered')
    return _only_entry(_object(document, "payload", _ROOT), NOUN, f"{_ROOT}.payload")


def _add_channels(request: Any, asked: dict[str, Any], path: str, source: Datasource, metering: Catalog) -> None:
    """What the classifiers of the datasource's channels say of each reading type."""
    named: dict[str, str] = {}
    for index, each in enumerate(_list(asked, "ReadingTypes", path)):
        here = f"{path}.ReadingTypes[{index}]"
        _must(each, dict, here)
        _only(each, here, ("ref",))
        ref = _text(each, "ref", here)
        if ref in named:
            raise field_invalid(f"{here}.ref", f"stands in {named[ref]} too")
        named[ref] = here
        before = len(request.channels)
        for channel in source.channels:
            for meant in metering.channel_classifiers[channel.classifier].reading_types:
                if meant.ref == ref:
                    request.channels.add(
                        channel=channel.name,
                        kind=wire.Determinant.Kind.Value(meant.kind.value),
                        timeslice_group=meant.timeslice_group or "",
                        as_power=meant.as_power,
                    )
        if len(request.channels) == before:
            raise field_invalid(
                f"{here}.ref",
                f'no channel of datasource "{_shown(source.id)}" has the reading type "{_shown(ref)}": '
                "name it among the reading_types of a channel classifier",
            )


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise field_invalid(_ROOT, f'"{_shown(name)}" is given twice in one object')
        found[name] = value
    return found


def _must(value: Any, kind: type[Any], path: str) -> None:
    if not isinstance(value, kind):
        raise field_invalid(path, "is required" if value is None else f"is not {_WORDS[kind]}")


def _object(owner: dict[str, Any], name: str, path: str) -> dict[str, Any]:
    _must(owner.get(name), dict, f"{path}.{name}")
    found: dict[str, Any] = owner[name]
    return found


def _list(owner: dict[str, Any], name: str, path: str) -> list[Any]:
    _must(owner.get(name), list, f"{path}.{name}")
    found: list[Any] = owner[name]
    if not found:
        raise field_invalid(f"{path}.{name}", "is empty")
    return found


def _only_entry(owner: dict[str, Any], name: str, path: str) -> tuple[dict[str, Any], str]:
    entries = _list(owner, name, path)
    if len(entries) > 1:
        raise field_invalid(f"{path}.{name}", f"has {len(entries)} entries: ask of one, send the others apart")
    here = f"{path}.{name}[0]"
    _must(entries[0], dict, here)
    return entries[0], here


def _text(owner: dict[str, Any], name: str, path: str) -> str:
    _must(owner.get(name), str, f"{path}.{name}")
    found: str = owner[name]
    return found


def _only(owner: Iterable[str], path: str, known: tuple[str, ...]) -> None:
    for name in owner:
        if name not in known:
            raise field_invalid(f"{path}.{_shown(name)}", f"is not known here; known are {', '.join(known)}")


def _read_instant(field: Any, text: str, path: str) -> None:
    try:
        field.FromJsonString(text)
    except ValueError:
        found = f'"{_shown(text)}" is no instant with its offset, like "2025-02-15T23:00:00.000Z"'
        raise field_invalid(path, found) from None


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN_LETTERS_MAX else f"{text[:_SHOWN_LETTERS_MAX]}..."
