"""`tallybook ingest`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

import tallybook_client as tb
from tallybook_cli.errors import CommandError
from tallybook_cli.exit_codes import ExitCode
from tallybook_cli.files import EventFile, FileFormat, format_of, open_events
from tallybook_cli.options import WrittenFile, json_option, pairs, server_options
from tallybook_cli.output import console, print_json
from tallybook_cli.progress import progress_bar
from tallybook_cli.target import Target

ROWS_SHOWN_MAX = 20
"""Refused rows that are listed for a person; all are counted, and --json lists a thousand."""


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--format",
    "file_format",
    type=click.Choice([each.value for each in FileFormat]),
    help="By the suffix, if left out.",
)
@click.option(
    "--map",
    "columns",
    multiple=True,
    metavar="FIELD=COLUMN",
    help="Where a field of the event comes from; FIELD is reference, customer_reference, meter_reference, time, "
    "contract_id, value:NAME or property:NAME; COLUMN is a column, or a text with columns in braces.",
)
@click.option("--set", "constants", multiple=True, metavar="FIELD=TEXT", help="The same text in every event.")
@click.option("--utc", is_flag=True, help="Times without a zone are UTC.")
@click.option("--costs", metavar="FILE.parquet", type=WrittenFile(".parquet"), help="Write each event's cost.")
@click.option("--batch-rows", default=tb.BATCH_ROWS_DEFAULT, show_default=True, type=click.IntRange(1, 65_536))
@server_options
@json_option
def command(
    target: Target,
    file: Path,
    file_format: str | None,
    columns: tuple[str, ...],
    constants: tuple[str, ...],
    utc: bool,
    costs: Path | None,
    batch_rows: int,
    as_json: bool,
) -> ExitCode:
    """Store the events of a Parquet, CSV or NDJSON file. Safe to run again: no event is stored twice.

    Columns named like a field need no --map. NDJSON without --map and --set is events in the contract's own JSON.
    Numbers in text are read exactly; floating-point columns are refused.

    \b
    Example:
      tallybook ingest flights.parquet --set meter_reference=flight --map customer_reference=carrier \\
        --map 'reference={carrier}{flight}-{scheduled_departure_time}-{origin}' \\
        --map time=scheduled_departure_time --map value:miles=distance_miles --map property:origin=origin
    """
    try:
        column_map = tb.ColumnMap(pairs(columns, "--map"), pairs(constants, "--set"), naive_times_are_utc=utc)
    except tb.FrameError as error:
        raise CommandError(str(error)) from None
    events = open_events(file, FileFormat(file_format) if file_format else format_of(file), column_map, batch_rows)
    started = time.monotonic()
    report = _send(target, events, return_costs=costs is not None, quiet=as_json)
    if costs is not None:
        report.costs_frame().write_parquet(costs)
    if as_json:
        print_json(_summary(report, events))
    else:
        _print_report(report, events, time.monotonic() - started)
        if costs is not None:
            console().print(f"costs of each row: {costs}")
    return ExitCode.FAILURE_FOUND if report.refused_count or events.bad_rows else ExitCode.OK


def _send(target: Target, events: EventFile, return_costs: bool, quiet: bool) -> tb.IngestReport:
    """Send everything, with a progress bar on standard error."""
    report = tb.IngestReport()
    with progress_bar(quiet) as progress, target.connect() as client:
        task = progress.add_task("events", total=events.row_count)
        for answer in client.stream(events.batches, return_costs=return_costs):
            progress.update(task, completed=report.add(answer).row_count)
    return report


def _print_report(report: tb.IngestReport, events: EventFile, seconds: float) -> None:
    rate = f", {report.row_count / seconds:,.0f} a second" if seconds > 0 else ""
    console().print(
        f"{report.row_count:,} events{rate}: {report.stored_count:,} stored, "
        f"{report.duplicate_count:,} duplicates (stored before), {report.matched_count:,} matched a charge"
    )
    if report.unmatched_counts:
        words = ", ".join(f"{count:,} {match}" for match, count in sorted(report.unmatched_counts.items()))
        console().print(f"stored, but in no charge: {words}; `tallybook reprocess` rates them once the catalogue fits")
    refused = _refused(report, events)
    if not refused:
        return
    bad_count = len(events.bad_rows)
    console().print(
        f"refused: {report.invalid_count + bad_count:,} invalid, {report.conflict_count:,} conflicts, "
        f"{report.unpriced_count:,} stored but unpriced"
    )
    for row in refused[:ROWS_SHOWN_MAX]:
        console().print(f"  line {row['line']}: {row['status']} {row['reason']} {row['message']}", markup=False)
    if len(refused) > ROWS_SHOWN_MAX:
        console().print(f"  and more: --json lists {len(refused):,}")


def _refused(report: tb.IngestReport, events: EventFile) -> list[dict[str, Any]]:
    """Rows with a fault, by line."""
    rows = [
        {"line": bad.line, "status": "INVALID", "reason": bad.reason, "message": bad.text} for bad in events.bad_rows
    ]
    for row in report.refused_rows:
        if row.fault is not None:
            where = f"{row.fault.field}: " if row.fault.field else ""
            rows.append(
                {
                    "line": events.line_of(row.row),
                    "status": row.status.value,
                    "reason": row.fault.reason,
                    "message": where + row.fault.text,
                }
            )
    return sorted(rows, key=lambda row: row["line"])


def _summary(report: tb.IngestReport, events: EventFile) -> dict[str, Any]:
    """The counts and the refused rows, for programs."""
    return {
        "row_count": report.row_count + len(events.bad_rows),
        "stored_count": report.stored_count,
        "duplicate_count": report.duplicate_count,
        "matched_count": report.matched_count,
        "conflict_count": report.conflict_count,
        "unpriced_count": report.unpriced_count,
        "invalid_count": report.invalid_count + len(events.bad_rows),
        "sequence": report.sequence,
        "unmatched": {match.value: count for match, count in sorted(report.unmatched_counts.items())},
        "refused_rows": _refused(report, events),
    }
