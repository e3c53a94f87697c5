"""Local midnights as instants, from the pinned `tzdata` package and nothing else.

The machine's own zone files may be older or newer than the package's, and would make the same catalogue bill other
periods elsewhere. So the search path is emptied and zones are read past the shared cache.
"""

from __future__ import annotations

import zoneinfo
from datetime import UTC, date, datetime, time, timedelta
from functools import cache, lru_cache

import tzdata  # type: ignore[import-untyped]  # the package carries no types

zoneinfo.reset_tzpath(to=())

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SECOND = timedelta(seconds=1)


class UnknownZone(ValueError):
    """A name that the pinned time zone data does not have."""


def tzdata_version() -> str:
    """Version of the pinned time zone data: "2026c"."""
    return str(tzdata.IANA_VERSION)


@cache
def zone_names() -> frozenset[str]:
    """Every IANA name that can be used."""
    return frozenset(zoneinfo.available_timezones())


@cache
def zone(name: str) -> zoneinfo.ZoneInfo:
    """The zone of an IANA name, spelled exactly so. Raises UnknownZone."""
    if name not in zone_names():
        raise UnknownZone(f"the time zone data {tzdata_version()} has no zone {name!r}")
    return zoneinfo.ZoneInfo.no_cache(name)


@lru_cache(maxsize=1 << 16)
def midnight(zone_name: str, day: date) -> int:
    """First instant of a local date, in microseconds since the epoch.

    That is 00:00 where it exists, its first occurrence where it exists twice, and the end of the gap where clocks
    jump over it (also over the whole date). Raises UnknownZone.
    """
    here = zone(zone_name)
    wall = datetime.combine(day, time.min, tzinfo=here)
    # PEP 495: for a wall time in a gap, fold 0 has the offset before the gap and fold 1 the one after it.
    before, after = _offset(wall), _offset(wall.replace(fold=1))
    instant = wall.replace(tzinfo=UTC) - before
    if before < after:
        instant = _end_of_gap(here, instant - (after - before), instant, after)
    return (instant - _EPOCH) // _MICROSECOND


def local_date(zone_name: str, instant_us: int) -> date:
    """The local date of an instant, in microseconds since the epoch. Raises UnknownZone."""
    return (_EPOCH + instant_us * _MICROSECOND).astimezone(zone(zone_name)).date()


def _end_of_gap(here: zoneinfo.ZoneInfo, low: datetime, high: datetime, offset: timedelta) -> datetime:
    """First whole second in (low, high] at which the zone has `offset`, which it has at `high` and not at `low`."""
    while high - low > _SECOND:
        middle = low + (high - low) // (2 * _SECOND) * _SECOND
        if _offset(middle.astimezone(here)) == offset:
            high = middle
        else:
            low = middle
    return high


def _offset(wall: datetime) -> timedelta:
    offset = wall.utcoffset()
    assert offset is not None, "a ZoneInfo always knows its offset"
    return offset
