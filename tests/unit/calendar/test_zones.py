"""Local midnights: the first instant of a date, whatever the clocks do."""

import zoneinfo
from datetime import UTC, date, datetime

import pytest

from tallybook_engine.calendar import zones


def instant(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp()) * 1_000_000


@pytest.mark.parametrize(
    ("zone", "day", "first_instant"),
    [
        ("UTC", "2024-02-29", "2024-02-29T00:00:00+00:00"),
        ("Europe/Amsterdam", "2023-04-01", "2023-04-01T00:00:00+02:00"),
        ("America/New_York", "2013-01-01", "2013-01-01T00:00:00-05:00"),
        pytest.param("America/Sao_Paulo", "2018-11-04", "2018-11-04T01:00:00-02:00", id="clocks jump at midnight"),
        pytest.param(
            "America/Toronto", "1919-03-31", "1919-03-31T00:30:00-04:00", id="clocks jump from 23:30 to 00:30"
        ),
        pytest.param("America/Havana", "2013-11-03", "2013-11-03T00:00:00-04:00", id="midnight twice: the first one"),
        pytest.param("America/St_Johns", "2006-10-29", "2006-10-29T00:00:00-02:30", id="a minute, then the day before"),
        pytest.param("Pacific/Apia", "2011-12-30", "2011-12-31T00:00:00+14:00", id="a date that was left out"),
        pytest.param("Pacific/Apia", "2011-12-31", "2011-12-31T00:00:00+14:00", id="the date after it"),
        pytest.param("Africa/Monrovia", "1972-01-07", "1972-01-07T00:44:30+00:00", id="offsets with seconds"),
    ],
)
def test_a_date_begins_at_its_first_instant(zone, day, first_instant):
    assert zones.midnight(zone, date.fromisoformat(day)) == instant(first_instant)


@pytest.mark.parametrize("zone", ["", "Mars/Olympus", "europe/amsterdam", "../etc/localtime", "/etc/localtime"])
def test_an_unknown_zone_is_refused(zone):
    with pytest.raises(zones.UnknownZone):
        zones.zone(zone)


def test_the_machines_own_zone_files_are_not_read():
    assert zoneinfo.TZPATH == ()
    assert "Europe/Amsterdam" in zones.zone_names()


def test_zones_are_read_past_the_shared_cache():
    # Given a zone that the process loaded before, perhaps from the machine's files
    shared = zoneinfo.ZoneInfo("Europe/Amsterdam")
    # Then ours is another one
    assert zones.zone("Europe/Amsterdam") is not shared
    assert zones.zone("Europe/Amsterdam") is zones.zone("Europe/Amsterdam")


def test_the_version_of_the_time_zone_data_is_known():
    year, letter = zones.tzdata_version()[:4], zones.tzdata_version()[4:]
    assert int(year) >= 2025
    assert letter.isalpha()


def test_every_zone_has_a_first_instant_at_the_ends_of_the_calendar():
    for name in zones.zone_names():
        for day in (date(1, 1, 3), date(9999, 12, 30)):
            utc = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1_000_000
            assert abs(zones.midnight(name, day) - utc) <= 26 * 3600 * 1_000_000
