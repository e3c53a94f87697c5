"""Decimals and instants on their way between Python and the wire; no float in between."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from google.protobuf.timestamp_pb2 import Timestamp

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def decimal_text(number: Decimal | int | str) -> str:
    """The decimal string of a number. Strings go as they are: the server judges them.

    TypeError for a float, which is not exact; ValueError for NaN and infinity.
    """
    if isinstance(number, str):
        return number
    if isinstance(number, Decimal):
        if not number.is_finite():
            raise ValueError(f"{number} is not a number that can be measured")
        return format(number, "f")
    if isinstance(number, int) and not isinstance(number, bool):
        return str(number)
    raise TypeError(f"{number!r} is a {type(number).__name__}, which is not exact; use Decimal('...'), int or str")


def optional_decimal(text: str) -> Decimal | None:
    """The number, or None where the field is empty."""
    return Decimal(text) if text else None


def to_timestamp(instant: datetime) -> Timestamp:
    """The instant on the wire. ValueError where it has no time zone: it would mean another instant elsewhere."""
    if instant.utcoffset() is None:
        raise ValueError(f"{instant.isoformat()} has no time zone; give one, such as datetime(..., tzinfo=UTC)")
    microseconds = (instant - EPOCH) // timedelta(microseconds=1)
    seconds, rest = divmod(microseconds, 1_000_000)
    return Timestamp(seconds=seconds, nanos=rest * 1000)


def to_datetime(timestamp: Timestamp) -> datetime:
    """The instant, in UTC, cut to the microsecond."""
    return EPOCH + timedelta(seconds=timestamp.seconds, microseconds=timestamp.nanos // 1000)
