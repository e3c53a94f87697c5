"""`tallybook delete`."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator

import click

import tallybook_client as tb
from tallybook_cli.costs import print_cost
from tallybook_cli.errors import CommandError
from tallybook_cli.exit_codes import ExitCode
from tallybook_cli.options import json_option, server_options
from tallybook_cli.output import console, print_json
from tallybook_cli.target import Target

KEYS_IN_CALL = 10_000


@click.command()
@click.argument("event_ids", nargs=-1, metavar="[EVENT_ID]...")
@click.option("--customer", default="", metavar="REFERENCE", help="The customer of --reference.")
@click.option("--reference", default="", metavar="TEXT", help="The event's reference, in place of its id.")
@click.option("--generation", type=click.IntRange(1), help="Which of the reference's events: 1 for the first.")
@server_options
@json_option
def command(
    target: Target,
    event_ids: tuple[str, ...],
    customer: str,
    reference: str,
    generation: int | None,
    as_json: bool,
) -> ExitCode:
    """Take events out of every line they moved. Safe to repeat; the events may be sent again later.

    `-` reads event ids from standard input, one a line.

    \b
    Example:
      tallybook delete evt_00000000000000a1
      tallybook delete --customer UA --reference UA1545-2013-01-01T10:15:00Z-EWR --generation 1
    """
    keys = _keys(event_ids, customer, reference, generation)
    results: list[tb.DeleteResult] = []
    with target.connect() as client:
        while chunk := list(itertools.islice(keys, KEYS_IN_CALL)):
            results += client.delete(chunk)
    for result in results:
        if as_json:
            print_json(result.message)
        else:
            console().print(f"[bold]{result.status}[/bold] {result.event_id} generation {result.generation}")
            if result.fault is not None:
                console().print(f"  {result.fault.reason}: {result.fault.text}", markup=False)
            if result.cost is not None:
                print_cost(result.cost)
    gone = (tb.DeleteStatus.DELETED, tb.DeleteStatus.ALREADY_DELETED)
    return ExitCode.OK if all(result.status in gone for result in results) else ExitCode.FAILURE_FOUND


def _keys(event_ids: tuple[str, ...], customer: str, reference: str, generation: int | None) -> Iterator[tb.EventKey]:
    if bool(event_ids) == bool(reference):
        raise CommandError("which? give event ids, or --customer, --reference and --generation")
    if reference and not (customer and generation):
        raise CommandError("--reference also needs --customer and --generation (1 for a reference's first event)")
    if reference:
        return iter([tb.EventKey(customer_reference=customer, reference=reference, generation=generation or 0)])
    texts = (line.strip() for line in sys.stdin) if event_ids == ("-",) else iter(event_ids)
    return (tb.EventKey(event_id=text) for text in texts if text)
