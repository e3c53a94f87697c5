"""Local midnights as instants, from the pinned `tzdata` package and nothing else.

The machine's own zone files may be older or newer than the package's, and would make the same catalogue bill other
periods elsewhere. So the search path is emptied and zones are read past the shared cache.
"""

from __future__ import annotations

import zoneinfo
from datetime import UTC, date, datetime, timedelta
from functools import cache, lru_cache

import tzdata

zoneinfo.reset_tzpath(to=())

_EPOCH = datetime(1970, 1, 1)
_MICROSECOND = timedelta(microseconds=1)


class UnknownZone(ValueError):
    """A name that the pinned time zone data does not have."""


def tzdata_version() -> str:
    """Version of the pinned time zone data: "2026c"."""
    return tzdata.IANA_VERSION


@cache
def zone_names() -> frozenset[str]:
    """Every IANA name that can be used."""
    return frozenset(zoneinfo.available_timezones())


@cache
def zone(name: str) -> zoneinfo.ZoneInfo:
    """The zone of an IANA name, spelled exactly so.

    Raises UnknownZone. The names are few, so the cache is bounded by the data.
    """
    if name not in zone_names():
        raise UnknownZone(name)
    return zoneinfo.ZoneInfo.no_cache(name)


@lru_cache(maxsize=1 << 16)
def midnight(zone_name: str, day: date) -> int:
    """First instant of a local date, in microseconds since the epoch.

    That is 00:00 where it exists, its first occurrence where it exists twice, and the end of the gap where clocks
    jump over it (also over the whole date). Raises UnknownZone.
    """
    here = zone(zone_name)
    wall = datetime(day.year, day.month, day.day)
    before_change = wall.replace(tzinfo=here, fold=0).utcoffset()
    after_change = wall.replace(tzinfo=here, fold=1).utcoffset()
    assert before_change is not None and after_change is not None
    instant = wall - before_change
    if before_change < after_change:
        # In a gap: PEP 495 gives fold 0 the offset before it and fold 1 the offset after it.
        instant = _change_between(here, wall - after_change, instant, after_change)
    return (instant - _EPOCH) // _MICROSECOND


def _change_between(here: zoneinfo.ZoneInfo, low: datetime, high: datetime, offset: timedelta) -> datetime:
    """First whole second in (low, high] at which the zone has `offset`; all three in naive UTC."""
    while high - low > timedelta(seconds=1):
        middle = low + timedelta(seconds=(high - low) // timedelta(seconds=2))
        if middle.replace(tzinfo=UTC).astimezone(here).utcoffset() == offset:
            high = middle
        else:
            low = middle
    return high


def local_date(zone_name: str, instant_us: int) -> date:
    """The wall-clock date at an instant (microseconds since the epoch). Raises UnknownZone."""
    return (_EPOCH + timedelta(microseconds=instant_us)).replace(tzinfo=UTC).astimezone(zone(zone_name)).date()
