"""`tallybook holidays`: a country's holidays as a catalogue file, and failures that say what is not known."""

import json

import pytest
from tests.support.catalog_files import catalog, read

import tallybook_client as tb
from tallybook_cli.exit_codes import ExitCode
from tallybook_cli.main import run


def test_a_file_is_written_that_can_be_applied(capsys, tmp_path):
    # Given the holidays of two years
    assert run(["holidays", "NL", "--years", "2025-2026", "--version", "7"]) is ExitCode.OK
    text = capsys.readouterr().out
    # Then they are dates, each beside its name, of a calendar that speaks of these years
    assert "      - 2026-12-25  # " in text
    (calendar,) = catalog(text).holiday_calendars.values()
    assert (calendar.id, calendar.version) == ("NL", 7)
    assert {str(day) for day in calendar.dates} >= {"2025-12-25", "2026-01-01", "2026-04-27", "2026-12-26"}
    assert (str(calendar.valid_from), str(calendar.valid_to)) == ("2025-01-01", "2027-01-01")
    # And the same goes into a file, and out as JSON
    file = tmp_path / "holidays.yaml"
    assert run(["holidays", "NL", "--years", "2025-2026", "--version", "7", "-o", str(file)]) is ExitCode.OK
    assert file.read_text(encoding="utf-8") == text
    assert run(["holidays", "NL", "--years", "2025-2026", "--version", "7", "--json"]) is ExitCode.OK
    shown = json.loads(capsys.readouterr().out)
    assert shown["holiday_calendars"][0]["dates"] == list(read(text).message.holiday_calendars[0].dates)


def test_parts_of_a_country_have_holidays_of_their_own():
    germany = tb.public_holidays("DE", 2026, 2026)
    bavaria = tb.public_holidays("DE", 2026, 2026, subdivision="BY", calendar_id="bavaria")
    assert (germany.calendar.id, bavaria.calendar.id) == ("DE", "bavaria")
    assert tb.public_holidays("DE", 2026, 2026, subdivision="BY").calendar.id == "DE-BY"
    assert set(germany.calendar.dates) < set(bavaria.calendar.dates)
    assert "2026-01-06" in bavaria.calendar.dates


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["XX", "--years", "2026"], "XX"),
        (["DE", "--years", "2026", "--subdivision", "ZZ"], "ZZ"),
        (["NL", "--years", "26"], "write 2026, or 2024-2026"),
        (["NL", "--years", "2026-2025"], "not in order"),
        (["NL", "--years", "1899"], "not from 1900"),
        (["NL", "--years", "2999-3000"], "not from 1900 to 2999"),
    ],
)
def test_what_is_not_known_is_said(capsys, arguments, found):
    assert run(["holidays", *arguments]) is not ExitCode.OK
    assert found in capsys.readouterr().err
