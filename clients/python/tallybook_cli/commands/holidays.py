"""`tallybook holidays`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import click

import tallybook_client as tb
from tallybook.v1 import catalog_pb2
from tallybook_cli.errors import CommandError
from tallybook_cli.exit_codes import ExitCode
from tallybook_cli.options import json_option
from tallybook_cli.output import print_json

_YEARS = re.compile(r"([0-9]{4})(?:-([0-9]{4}))?")


@click.command()
@click.argument("country")
@click.option("--subdivision", metavar="CODE", help="A part of the country: BY of DE-BY.")
@click.option("--years", required=True, metavar="FIRST-LAST", help="2026, or 2024-2026: the years it speaks of.")
@click.option("--id", "calendar_id", metavar="ID", help="Id of the calendar; left out: NL, or DE-BY.")
@click.option("--version", type=click.IntRange(0), default=1, show_default=True, help="Your number of its state.")
@click.option(
    "-o", "--output", metavar="FILE.yaml", type=click.Path(dir_okay=False, path_type=Path), help="Write it there."
)
@json_option
def command(
    country: str,
    subdivision: str | None,
    years: str,
    calendar_id: str | None,
    version: int,
    output: Path | None,
    as_json: bool,
) -> ExitCode:
    """Write the public holidays of a country down as a catalogue file, to look through, to change and to apply.

    COUNTRY is an ISO 3166-1 code of two letters. The dates are those that the package holidays knows today; what is
    applied stays as it is. No server, no key.

    \b
    Example:
      tallybook holidays NL --years 2024-2026
      tallybook holidays DE --subdivision BY --years 2026 -o holidays.yaml && tallybook apply holidays.yaml
    """
    match = _YEARS.fullmatch(years)
    if match is None:
        raise CommandError(f"--years {years}: write 2026, or 2024-2026")
    first, last = int(match[1]), int(match[2] or match[1])
    try:
        found = tb.public_holidays(
            country, first, last, subdivision=subdivision, calendar_id=calendar_id, version=version
        )
    except tb.HolidaysError as error:
        raise CommandError(str(error)) from None
    if as_json:
        print_json(catalog_pb2.Catalog(holiday_calendars=[found.calendar]))
        return ExitCode.OK
    text = _written(found)
    if output is None:
        click.echo(text, nl=False)
    else:
        output.write_text(text, encoding="utf-8")
    return ExitCode.OK


def _written(found: tb.Holidays) -> str:
    """A catalogue file, each date beside its name."""
    calendar = found.calendar
    lines = [
        "holiday_calendars:",
        f"  - id: {json.dumps(calendar.id)}",
        f"    version: {calendar.version}",
        f"    valid_from_date: {calendar.valid_from_date}",
        f"    valid_to_date: {calendar.valid_to_date}",
        "    dates:",
        *(f"      - {day}  # {' '.join(name.split())}" for day, name in found.names.items()),
    ]
    return "\n".join(lines) + "\n"
