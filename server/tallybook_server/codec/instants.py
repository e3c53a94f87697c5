"""Instants, durations and dates of the contract as microseconds and dates, each with the field that it came from."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Any

from tallybook_engine.calendar.periods import LAST_DATE
from tallybook_server import limits
from tallybook_server.errors import field_invalid

DAY_US = 86_400_000_000
TIME_MIN_US = int(datetime(1900, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
"""First instant that a request about meters may name."""
TIME_END_US = int(datetime(3000, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
"""First instant after the last one."""
_NANOSECONDS_END = 1_000_000_000
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME_OF_DAY = re.compile(r"([0-9]{2}):([0-5][0-9])")


def read_instant(owner: Any, field: str, path: str) -> int:
    """A required instant, cut to the microsecond; FIELD_INVALID outside of 1900 to 2999."""
    here = f"{path}.{field}"
    if not owner.HasField(field):
        raise field_invalid(here, "is required")
    return instant_us(getattr(owner, field), here)


def instant_us(instant: Any, path: str) -> int:
    """An instant, cut to the microsecond; FIELD_INVALID outside of 1900 to 2999."""
    found: int = instant.seconds * 1_000_000 + instant.nanos // 1_000
    if not (0 <= instant.nanos < _NANOSECONDS_END and TIME_MIN_US <= found < TIME_END_US):
        raise field_invalid(path, "is no instant from 1900-01-01 to 2999-12-31")
    return found


def read_interval(owner: Any, field: str, path: str) -> int | None:
    """A length of time above 0, microseconds; None where it is absent."""
    if not owner.HasField(field):
        return None
    try:
        found = duration_us(getattr(owner, field))
    except ValueError as error:
        raise field_invalid(f"{path}.{field}", str(error)) from None
    check_interval(found, found, f"{path}.{field}")
    return found


def check_interval(least_us: int, most_us: int, path: str) -> None:
    """FIELD_INVALID for lengths that are not above 0 and at most 366 days."""
    if least_us <= 0 or most_us > limits.INTERVAL_DAYS_MAX * DAY_US:
        raise field_invalid(path, f"a length is above 0 and at most {limits.INTERVAL_DAYS_MAX} days")


def duration_us(duration: Any) -> int:
    """A length of time, microseconds. ValueError for one that is finer."""
    if duration.nanos % 1_000:
        raise ValueError("is finer than a microsecond")
    found: int = duration.seconds * 1_000_000 + duration.nanos // 1_000
    return found


def parse_date(text: str) -> date:
    """A date like "2026-12-25". ValueError for anything else."""
    try:
        if _DATE.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise ValueError(f'"{text[:40]}" is no date like "2026-12-25"')


def parse_period_date(text: str) -> date:
    """A date that a billing period may hold. ValueError for anything else."""
    found = parse_date(text)
    if found >= LAST_DATE:
        raise ValueError(f"is {found}, and no billing period begins or goes on there: give a date before {LAST_DATE}")
    return found


def parse_time_of_day(text: str) -> int:
    """Minutes since midnight of "00:00" to "24:00". ValueError for anything else."""
    found = _TIME_OF_DAY.fullmatch(text)
    minute = int(found[1]) * 60 + int(found[2]) if found else None
    if minute is None or minute > 24 * 60:
        raise ValueError(f'"{text[:40]}" is no time of day from "00:00" to "24:00"')
    return minute


def read_time_of_day(text: str, path: str) -> int:
    """Minutes since midnight of "00:00" to "24:00"; FIELD_INVALID for anything else."""
    try:
        return parse_time_of_day(text)
    except ValueError as error:
        raise field_invalid(path, str(error)) from None
