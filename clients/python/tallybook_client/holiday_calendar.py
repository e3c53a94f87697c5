"""Holiday calendars out of the package `holidays`, as dates: what a catalogue says never changes by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from tallybook.v1 import catalog_pb2

YEAR_MIN = 1900
"""First year of a calendar that is made."""
YEAR_MAX = 2999
"""Last year of a calendar that is made."""


class HolidaysError(ValueError):
    """The package does not know the country, its part or the year."""


@dataclass(frozen=True)
class Holidays:
    """A calendar, and what its days are called."""

    calendar: catalog_pb2.HolidayCalendar
    names: Mapping[date, str]
    """By date, in order."""


def public_holidays(
    country: str,
    first_year: int,
    last_year: int,
    *,
    subdivision: str | None = None,
    calendar_id: str | None = None,
    version: int = 1,
) -> Holidays:
    """The public holidays of whole years, both ends included; the calendar speaks of these years and no others.

    `country` is an ISO 3166-1 alpha-2 code ("NL"), `subdivision` the second part of an ISO 3166-2 code ("BY" of DE-BY).
    The id, left out, is both with a dash between. Raises HolidaysError.
    """
    if not YEAR_MIN <= first_year <= last_year <= YEAR_MAX:
        raise HolidaysError(f"years {first_year} to {last_year}: not from {YEAR_MIN} to {YEAR_MAX}, or not in order")
    # Hundreds of countries: imported where it is wanted only.
    import holidays

    years = range(first_year, last_year + 1)
    try:
        found = holidays.country_holidays(country, subdiv=subdivision, years=years)
    except NotImplementedError as error:
        raise HolidaysError(str(error)) from None
    days = {day: found[day] for day in sorted(found)}
    unknown = sorted(set(years) - {day.year for day in days})
    if unknown:
        raise HolidaysError(f"the package holidays knows none of {country} in {unknown[0]}")
    name = calendar_id or "-".join(part for part in (country, subdivision) if part)
    calendar = catalog_pb2.HolidayCalendar(
        id=name,
        version=version,
        dates=[day.isoformat() for day in days],
        valid_from_date=date(first_year, 1, 1).isoformat(),
        valid_to_date=date(last_year + 1, 1, 1).isoformat(),
    )
    return Holidays(calendar, days)
