"""`tallybook reprocess`."""

from __future__ import annotations

import click

import tallybook_client as tb
from tallybook_cli.exit_codes import ExitCode
from tallybook_cli.options import json_option, server_options, span_options
from tallybook_cli.output import console, print_json
from tallybook_cli.progress import progress_bar
from tallybook_cli.target import Target


@click.command()
@span_options
@click.option("--move-pins", is_flag=True, help="Also rate open periods again that an earlier catalogue is pinned to.")
@click.option("--dry-run", is_flag=True, help="Say what would be posted; write nothing.")
@server_options
@json_option
def command(target: Target, span: tb.Span, move_pins: bool, dry_run: bool, as_json: bool) -> ExitCode:
    """Rate stored events under the current catalogue. Safe to run again: then it changes nothing.

    Takes events that matched nothing or were unpriced; with --move-pins also those whose lines are pinned to an
    earlier version.

    \b
    Example:
      tallybook reprocess --dry-run
      tallybook reprocess --customer UA --move-pins
    """
    last: tb.ReprocessProgress | None = None
    with target.connect() as client, progress_bar(as_json) as bar:
        task = bar.add_task("customers", total=None)
        for last in client.reprocess(span, move_pins=move_pins, validate_only=dry_run):
            bar.update(task, completed=last.customer_count_done, total=last.customer_count_total)
            if as_json:
                print_json(last.message)
    if last is not None and not as_json:
        _print(last, dry_run)
    return ExitCode.OK


def _print(progress: tb.ReprocessProgress, dry_run: bool) -> None:
    would = "would be " if dry_run else ""
    console().print(
        f"{progress.customer_count_done:,} customers: {progress.event_count_rated:,} events {would}rated that were "
        f"not before, {progress.line_count_moved:,} lines {would}moved"
    )
    for amount in progress.amounts:
        console().print(f"  {_words(amount)}")
    if progress.net_amounts != progress.amounts:
        for amount in progress.net_amounts:
            console().print(f"  with the contracts' terms {_words(amount)}")


def _words(amount: tb.TaxSummary) -> str:
    return (
        f"{amount.base_amount.quantity:+,f} without tax, {amount.tax_amount.quantity:+,f} tax, "
        f"[bold]{amount.total_amount.quantity:+,f} {amount.total_amount.currency}[/bold] in all"
    )
