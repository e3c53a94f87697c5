"""`tallybook apply`."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import click

import tallybook_client as tb
from tallybook.v1 import catalog_pb2
from tallybook_cli.errors import CommandError
from tallybook_cli.exit_codes import ExitCode
from tallybook_cli.options import Instant, json_option, server_options
from tallybook_cli.output import console, path, print_json, print_table
from tallybook_cli.target import Target
from tallybook_server.catalog_file import MessageFile, check_catalog_file, read_message_file
from tallybook_server.codec.catalog import read_catalog

LINES_SHOWN_MAX = 20
"""Affected charge lines that are listed for a person; all are counted, and --json lists a thousand."""


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--dry-run", is_flag=True, help="Show what would change; change nothing.")
@click.option("--prune", is_flag=True, help="Also remove everything that the file does not have.")
@click.option("--remove", "removals", multiple=True, metavar="KIND/ID", help="Also remove this: plans/old_plan.")
@click.option("--expected-version", type=click.IntRange(0), help="Refuse if somebody else changed it since.")
@click.option(
    "--effective-from",
    type=Instant(),
    metavar="INSTANT",
    help="Running accumulation periods go on under the change from then: 2026-03-15T00:00:00Z.",
)
@server_options
@json_option
def command(
    target: Target,
    file: Path,
    dry_run: bool,
    prune: bool,
    removals: tuple[str, ...],
    expected_version: int | None,
    effective_from: datetime | None,
    as_json: bool,
) -> ExitCode:
    """Apply a catalogue file, YAML or JSON, as one change. Safe to run again: equal content is the same version.

    \b
    Example:
      tallybook apply examples/flights/catalog.yaml --dry-run
      tallybook apply examples/flights/catalog.yaml
      tallybook apply dearer.yaml --effective-from 2026-03-15T00:00:00Z
    """
    catalog = read_message_file(str(file), file.read_bytes(), catalog_pb2.Catalog)
    remove = _ids(removals)
    if catalog.faults:
        raise CommandError(_unreadable(target, catalog, remove, prune))
    with target.connect() as client:
        try:
            change = client.apply_catalog(
                catalog.message,
                remove=remove,
                prune=prune,
                expected_version=expected_version,
                validate_only=dry_run,
                effective_from=effective_from,
            )
        except tb.InvalidArgumentError as error:
            faults = _faults(client, catalog, remove, prune) if error.fields else []
            if not faults:
                raise
            raise CommandError(_summed(faults), ExitCode.REFUSED) from None
    if as_json:
        print_json(change.message)
    else:
        _print(change, dry_run)
    return ExitCode.OK


def _unreadable(
    target: Target, catalog: MessageFile[catalog_pb2.Catalog], remove: catalog_pb2.CatalogIds, prune: bool
) -> str:
    """Every fault of a file that cannot be read as a whole; without a server, what cannot be read."""
    try:
        with target.connect() as client:
            return _summed(_faults(client, catalog, remove, prune))
    except CommandError:
        return _summed([catalog.located(fault) for fault in catalog.faults])


def _faults(
    client: tb.Client, catalog: MessageFile[catalog_pb2.Catalog], remove: catalog_pb2.CatalogIds, prune: bool
) -> list[str]:
    """Every fault of a file on the server's catalogue, with its line; an answer's metadata does not hold very many."""
    base = read_catalog(client.get_catalog().catalog)
    return list(check_catalog_file(catalog, base, remove, prune))


def _summed(faults: list[str]) -> str:
    return "\n  ".join([f"{len(faults)} faults; nothing was changed", *faults] if len(faults) > 1 else faults)


def _ids(removals: tuple[str, ...]) -> catalog_pb2.CatalogIds:
    """--remove options by kind."""
    ids = catalog_pb2.CatalogIds()
    kinds = [field.name for field in ids.DESCRIPTOR.fields]
    for text in removals:
        kind, _, name = text.partition("/")
        if kind not in kinds or not name:
            raise CommandError(f"--remove {text}: write KIND/ID, where KIND is {', '.join(kinds)}")
        getattr(ids, kind).append(name)
    return ids


_SIGNS = {
    catalog_pb2.ObjectDifference.ADDED: ("+", "green"),
    catalog_pb2.ObjectDifference.CHANGED: ("~", "yellow"),
    catalog_pb2.ObjectDifference.REMOVED: ("-", "red"),
}


def _print(change: tb.CatalogChange, dry_run: bool) -> None:
    """The difference, the lines it touches, and the version."""
    out = console()
    for difference in change.differences:
        sign, colour = _SIGNS.get(difference.change, ("?", "white"))
        out.print(f"{sign} {difference.kind} {difference.id}", style=colour, markup=False)
        for field in difference.fields:
            out.print(f"    {field.path}: {field.before or '(absent)'} -> {field.after or '(absent)'}", markup=False)
    if change.difference_count > len(change.differences):
        out.print(f"  and {change.difference_count - len(change.differences):,} more")
    if change.affected_line_count:
        _print_affected(change)
    would = "would be version" if dry_run else "version"
    same = " (nothing differs)" if not change.difference_count else ""
    out.print(f"[bold]{would} {change.version}[/bold]{same}")


def _print_affected(change: tb.CatalogChange) -> None:
    console().print(
        f"{change.affected_line_count:,} open charge lines keep what they have until `tallybook reprocess --move-pins`:"
    )
    columns = ["customer", "contract", "cell", "from", "to", "now>", "reprocess posts>"]
    print_table("", columns, map(_affected_row, change.affected_lines[:LINES_SHOWN_MAX]))
    if change.affected_line_count > LINES_SHOWN_MAX:
        console().print(f"  and {change.affected_line_count - LINES_SHOWN_MAX:,} more; --json lists them")


def _affected_row(line: catalog_pb2.AffectedLine) -> list[object]:
    posts = line.reprocess_amount_excluding_tax
    return [
        line.customer_id,
        path(line.contract_path),
        line.cell_id,
        line.period.start_time.ToJsonString(),
        line.period.end_time.ToJsonString(),
        f"{line.amount_excluding_tax.quantity} {line.amount_excluding_tax.currency}",
        f"{posts.quantity} {posts.currency}" if posts.quantity else "does not fit",
    ]
