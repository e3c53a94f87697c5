"""`tallybook export`."""

from __future__ import annotations

from pathlib import Path

import click
import polars as pl

import tallybook_client as tb
from tallybook_cli.customers import customer_spans
from tallybook_cli.errors import CommandError
from tallybook_cli.event_frame import events_frame
from tallybook_cli.exit_codes import ExitCode
from tallybook_cli.options import json_option, server_options, span_options
from tallybook_cli.output import console, path, print_json
from tallybook_cli.target import Target


@click.command()
@click.argument("what", type=click.Choice(["charges", "events"]))
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@span_options
@server_options
@json_option
def command(target: Target, what: str, file: Path, span: tb.Span, as_json: bool) -> ExitCode:
    """Write charge lines or events to FILE, Parquet or CSV by its suffix. Amounts stay exact decimals.

    \b
    Example:
      tallybook export charges charges.parquet --from 2013-01-01 --to 2014-01-01
      tallybook export events events.csv --customer UA
    """
    if file.suffix.lower() not in (".parquet", ".csv"):
        raise CommandError(f"{file}: write to a file that ends in .parquet or .csv")
    with target.connect() as client:
        if what == "charges":
            charges = [charge for each in customer_spans(client, span) for charge in client.charges(each)]
            frame = tb.charges_frame(charges)
        else:
            frame = events_frame(client.list_events(span))
    _write(frame, file)
    if as_json:
        print_json({"file": str(file), "row_count": frame.height})
    else:
        console().print(f"{frame.height:,} {what} in {file}")
    return ExitCode.OK


def _write(frame: pl.DataFrame, file: Path) -> None:
    try:
        if file.suffix.lower() == ".parquet":
            frame.write_parquet(file)
        else:
            _flat(frame).write_csv(file)
    except OSError as error:
        raise CommandError(f"{file}: cannot be written: {error.strerror or error}") from None


def _flat(frame: pl.DataFrame) -> pl.DataFrame:
    """Without the tier lines, and with paths as text: a CSV cell holds one value."""
    if "contract_path" not in frame.columns:
        return frame
    paths = pl.Series("contract_path", [path(parts) for parts in frame["contract_path"].to_list()], pl.String)
    return frame.drop("lines").with_columns(paths)
