"""The demo's third part: the airlines' year under today's contracts and three proposals, in one call."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import tallybook_client as tb
from tallybook.v1 import simulate_pb2
from tallybook_cli import simulation_picture
from tallybook_cli.output import console, print_table
from tallybook_server.catalog_file import read_message_file

PROPOSALS = Path("examples/flights/proposals")
YEAR = tb.RecordedUsage(
    start_time=datetime(2013, 1, 1, tzinfo=UTC),
    # The last flights of New York's year are of the next one in UTC.
    end_time=datetime(2014, 1, 2, tzinfo=UTC),
)


@dataclass(frozen=True)
class Proposed:
    """What the server answered."""

    simulation: tb.Simulation
    seconds: float


def run_proposals(client: tb.Client, airlines: Iterable[str]) -> Proposed:
    """Simulate what is recorded of the airlines under each file of PROPOSALS; nothing in the book changes."""
    scenarios = []
    for file in sorted(PROPOSALS.glob("*.yaml")):
        read: simulate_pb2.Scenario = read_message_file(str(file), file.read_bytes(), simulate_pb2.Scenario).message
        scenarios.append(tb.Scenario(name=file.stem.replace("-", " "), put=read.put))
    begun = time.monotonic()
    simulation = client.simulate(YEAR, scenarios, customer_ids=airlines)
    return Proposed(simulation, time.monotonic() - begun)


def print_proposals(proposed: Proposed, charged: Decimal) -> None:
    """Totals by scenario, and who pays more; `charged` is what the book charges, without tax."""
    simulation = proposed.simulation
    rows = [
        [
            each.scenario,
            f"{each.amount_excluding_tax.quantity:,f}",
            f"{each.difference_excluding_tax.quantity:+,f}",
            each.customer_count_more,
            each.customer_count_less,
            each.customer_count_cheapest,
        ]
        for each in simulation.totals
    ]
    say = console().print
    say()
    print_table(
        "the year under today's contracts and three proposals, USD without tax",
        ["", "total>", "change>", "pay more>", "pay less>", "cheapest for>"],
        rows,
    )
    baseline = simulation.totals[0].amount_excluding_tax.quantity
    same = "to the cent what is charged" if baseline == charged else f"not what is charged, {charged:,f} USD"
    speed = simulation.row_count * len(simulation.scenarios) / proposed.seconds
    say(
        f"{simulation.row_count:,} rows of usage under {len(simulation.scenarios)} catalogues, {speed:,.0f} a second; "
        f"the baseline is {same}"
    )


def write_proposals(out: Path, proposed: Proposed) -> list[Path]:
    """The picture, and the charges under every scenario."""
    picture, charges = out / "proposals.png", out / "proposals.parquet"
    simulation_picture.draw(proposed.simulation, picture)
    proposed.simulation.to_polars().write_parquet(charges)
    return [picture, charges]


def proposal_steps() -> list[tuple[str, str]]:
    """Commands to try, and what each shows."""
    files = " ".join(str(PROPOSALS / name) for name in ("one-price-for-seats.yaml", "long-routes.yaml"))
    return [
        (
            f"tallybook simulate --recorded --from 2013-01-01 --to 2014-01-02 {files} --picture change.png",
            "the year under two proposals; edit a price in them first",
        ),
        (
            "tallybook sandbox create --from 2013-01-01 --to 2014-01-01",
            "a copy of the year to try things in; set TALLYBOOK_KEY to what it prints",
        ),
    ]
