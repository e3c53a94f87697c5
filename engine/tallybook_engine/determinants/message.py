"""The billing message: what a billing system is told, as plain data keyed by datasource.

Only dicts, lists, texts, whole numbers, booleans and None, in an order that is always the same, so that one JSON text
follows from one result. Numbers are decimal texts, instants RFC 3339 in UTC; what is None is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from tallybook_engine.decimals import QUANTITY_SCALE, format_decimal
from tallybook_engine.determinants.result import Cause, Counts, Determinant, Peak, Result

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class WithdrawnValue(NamedTuple):
    """A value of a BILLING channel that counts no more, and that nothing takes the place of."""

    billing_channel: str
    start_us: int
    end_us: int


def billing_message(
    result: Result, calculation_time_us: int, withdrawn: Sequence[WithdrawnValue] = ()
) -> dict[str, Any]:
    """The message of one result, and of what was withdrawn beside it; several are one by putting their keys together.

    `calculation_time_us` is the caller's clock, microseconds since the epoch.
    """
    body: dict[str, Any] = {
        "start_time": instant_text(result.start_us),
        "end_time": instant_text(result.end_us),
        "time_zone": result.time_zone,
        "calculation_time": instant_text(calculation_time_us),
        "catalog_version": result.catalog_version,
        "holiday_calendar": result.holiday_calendar,
        "holiday_calendar_version": result.holiday_calendar_version,
        "determinants": [_determinant(each) for each in result.determinants],
        "remarks": [_cause(each) for each in result.remarks],
        "withdrawn": [_withdrawn(each) for each in withdrawn] or None,
    }
    return {result.datasource: _without_none(body)}


def withdrawal_message(
    datasource: str, withdrawn: Sequence[WithdrawnValue], calculation_time_us: int, catalog_version: int
) -> dict[str, Any]:
    """The message of values that were withdrawn without a calculation."""
    body = {
        "calculation_time": instant_text(calculation_time_us),
        "catalog_version": catalog_version,
        "withdrawn": [_withdrawn(each) for each in withdrawn],
    }
    return {datasource: body}


def _withdrawn(value: WithdrawnValue) -> dict[str, Any]:
    return {
        "billing_channel": value.billing_channel,
        "start_time": instant_text(value.start_us),
        "end_time": instant_text(value.end_us),
    }


def instant_text(instant_us: int) -> str:
    """RFC 3339 in UTC, with as many decimals of the second as it takes."""
    moment = _EPOCH + timedelta(microseconds=instant_us)
    fraction = f".{moment.microsecond:06d}".rstrip("0") if moment.microsecond else ""
    return f"{moment:%Y-%m-%dT%H:%M:%S}".rjust(19, "0") + fraction + "Z"


def seconds_text(length_us: int) -> str:
    """A length as "900 s", with as many decimals of the second as it takes."""
    whole, rest = divmod(length_us, 1_000_000)
    return f"{whole}" + (f".{rest:06d}".rstrip("0") if rest else "") + " s"


def _determinant(determinant: Determinant) -> dict[str, Any]:
    return _without_none(
        {
            "kind": determinant.kind.value,
            "channel": determinant.channel,
            "classifier": determinant.classifier,
            "timeslice_group": determinant.timeslice_group,
            "slice": determinant.slice,
            "demand": determinant.demand,
            "as_power": determinant.as_power or None,
            "billing_channel": determinant.billing_channel,
            "start_time": instant_text(determinant.start_us),
            "end_time": instant_text(determinant.end_us),
            "is_month": determinant.is_month,
            "value": _decimal(determinant.value),
            "unit": determinant.unit,
            "Quality_Status": determinant.quality,
            "counts": None if determinant.counts is None else _counts(determinant.counts),
            "peaks": [_peak(each) for each in determinant.peaks] or None,
            "read_time": None if determinant.read_us is None else instant_text(determinant.read_us),
        }
    )


def _counts(counts: Counts) -> dict[str, Any]:
    return _without_none(
        {
            "expected": counts.expected,
            "present": counts.present,
            "missing": counts.missing,
            "by_status": dict(counts.by_status),
            "coverage": _decimal(counts.coverage),
        }
    )


def _peak(peak: Peak) -> dict[str, Any]:
    return {
        "start_time": instant_text(peak.start_us),
        "end_time": instant_text(peak.end_us),
        "timestamp": instant_text(peak.label_us),
        "Quality_Status": peak.quality,
        "occurrence_count": peak.occurrence_count,
    }


def _cause(cause: Cause) -> dict[str, Any]:
    return {
        "reason": cause.reason.value,
        "channel": cause.channel,
        "start_time": instant_text(cause.start_us),
        "end_time": instant_text(cause.end_us),
        "detail": cause.detail,
    }


def _decimal(quantity: int | None) -> str | None:
    return None if quantity is None else format_decimal(quantity, QUANTITY_SCALE)


def _without_none(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
