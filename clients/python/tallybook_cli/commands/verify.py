"""`tallybook verify`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from tallybook_cli.errors import CommandError
from tallybook_cli.exit_codes import ExitCode
from tallybook_cli.options import json_option
from tallybook_cli.output import console, print_json
from tallybook_server.journal.interface import JournalError
from tallybook_server.verify import VerifyReport, verify


@click.command()
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--book", default="default", show_default=True, metavar="NAME", help="Which book.")
@click.option("--oracle", is_flag=True, help="Compute with the independent oracle: plain fractions, slow.")
@click.option("--sample", type=click.IntRange(1), metavar="N", help="Only so many lines, spread over all.")
@json_option
def command(data: Path, book: str, oracle: bool, sample: int | None, as_json: bool) -> ExitCode:
    """Compute every charge line afresh from the events that survive, and compare it with the sum of its postings; read
    every block of readings and every stored billing value, and hold it against its checksum and its directory.

    Reads the data directory DATA and changes nothing; its server may be running. Exit code 1 where a line differs
    or anything is damaged.

    \b
    Example:
      tallybook verify tallybook-data
      tallybook verify tallybook-data --oracle --sample 100
    """
    try:
        found = verify(data, book, oracle, sample)
    except (JournalError, OSError, ValueError) as error:
        raise CommandError(f"{data}: {error}", ExitCode.FAILURE_FOUND) from None
    if as_json:
        print_json(asdict(found))
    else:
        print_report(found)
    return ExitCode.FAILURE_FOUND if found.difference_count else ExitCode.OK


def print_report(found: VerifyReport) -> None:
    """The verdict, and each difference."""
    for difference in found.differences:
        console().print(f"  {difference}", markup=False)
    verdict = "does not hold" if found.difference_count else "holds"
    console().print(
        f"equation {verdict}: {found.line_count:,} lines, difference {found.difference_count:,} "
        f"({found.event_count:,} events, {found.posting_count:,} postings)"
    )
    if found.net_line_count:
        console().print(f"compared with them: {found.net_line_count:,} net lines of contracts with terms")
    if found.block_count or found.billing_value_count:
        console().print(
            f"sound beside it: {found.reading_count:,} readings in {found.block_count:,} blocks, "
            f"{found.billing_value_count:,} billing values"
        )
