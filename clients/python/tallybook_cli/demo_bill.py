"""What the demo says of its meters: a month a row from energy and demand to the bill, and what became of the others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal
from zoneinfo import ZoneInfo

from rich.box import SIMPLE_HEAD
from rich.table import Table

import tallybook_client as tb
from tallybook_cli.demo_meters import EXAMPLE, Cancelled, Metered
from tallybook_cli.output import console, number

SLICES = ("NIGHT", "DAY", "PEAK", "WEEKEND")
WIDTH_MIN = 140
"""Columns that the table needs."""


def print_meters(metered: Metered) -> None:
    """The bill, then a line for each connection point, then what was stored."""
    say = console().print
    home = metered.home
    print_bill(metered)
    for each in metered.others:
        say(_line(each), markup=False, soft_wrap=True)
    results = [home, *(each for each in metered.others if isinstance(each, tb.Determinants))]
    values = sum(each.value is not None for result in results for each in result)
    new_count = sum(each.sequence == home.message.stored_sequence for each in metered.events)
    say(
        f"{values:,} determinants stored in BILLING channels; {len(metered.messages):,} billing messages read and "
        f"acknowledged",
        soft_wrap=True,
    )
    say(
        f"{len(metered.events):,} of them are usage of {metered.charges[0].customer_id}: {new_count:,} new, "
        f"{len(metered.events) - new_count:,} known already",
        soft_wrap=True,
    )


def print_bill(metered: Metered) -> None:
    """One row a month: kWh by slice, the maximum, billing demand, and what they cost."""
    home, zone = metered.home, ZoneInfo(metered.home.time_zone)
    charged: defaultdict[datetime, defaultdict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    for charge in metered.charges:
        month = charged[charge.start_time]
        kind = "demand" if charge.product_id == "demand" else "energy"
        month[kind] += charge.amount_excluding_tax.quantity
        month["tax"] += charge.tax_summary.tax_amount.quantity
        month["bill"] += charge.amount_including_tax.quantity
    columns = ("energy", "demand", "tax", "bill")
    table = Table(box=SIMPLE_HEAD, show_edge=False, show_footer=True, pad_edge=False)
    table.add_column("\nmonth", footer="all", no_wrap=True)
    wholes = [_of(home, tb.Kind.TIMESLICE, each) for each in SLICES]
    for name, whole in zip(SLICES, wholes, strict=True):
        table.add_column(f"{name}\nkWh", footer=_tenths(_value(whole)), justify="right")
    table.add_column("all\nkWh", footer=_tenths(_value(_of(home, tb.Kind.INTERVAL))), justify="right")
    table.add_column("Pmax\nkW", footer=_thousandths(_value(_of(home, tb.Kind.PMAX))), justify="right")
    table.add_column("\nat", footer=_moment(_of(home, tb.Kind.PMAX), zone), no_wrap=True)
    table.add_column("demand\nkW", justify="right")
    for name in columns:
        total = sum((month[name] for month in charged.values()), Decimal(0))
        table.add_column(f"{name}\nGBP", footer=f"{total:,f}", justify="right", no_wrap=True)
    for start, amounts in sorted(charged.items()):
        peak = _of(home, tb.Kind.PMAX, start=start)
        table.add_row(
            f"{start.astimezone(zone):%B %Y}",
            *(_tenths(_value(_of(home, tb.Kind.TIMESLICE, each, start))) for each in SLICES),
            _tenths(_value(_of(home, tb.Kind.INTERVAL, start=start))),
            _thousandths(_value(peak)),
            _moment(peak, zone),
            _thousandths(_value(_of(home, tb.Kind.DEMAND, start=start))),
            *(f"{amounts[name]:,f}" for name in columns),
        )
    out = console()
    out.width = max(out.width, WIDTH_MIN)
    out.print(
        f"\n[bold]the bill of a home in London[/bold], times in {home.time_zone} (rounded here; exact in the files); "
        "demand is the mean of the highest hours of three days"
    )
    out.print(table)
    out.print()


def meter_steps(metered: Metered) -> Sequence[tuple[str, str]]:
    """Commands to try, and what each shows."""
    (refused,) = (each.datasource for each in metered.others if isinstance(each, Cancelled))
    charges = f"tallybook charges --customer {metered.charges[0].customer_id} --at 2013-02-15 --lines"
    return [
        (f"tallybook determinants {EXAMPLE}/{metered.home.datasource}.yaml", "every determinant, out of the book"),
        (
            f"tallybook billing readings {metered.home.datasource} BILLING_HOME_PMAX_POWER_MONTH --superseded",
            "a BILLING channel: each month's maximum, every time it was stored",
        ),
        (charges, "February of the home, tier by tier"),
        (f"tallybook determinants {EXAMPLE}/{refused}.yaml --report", "what was cancelled, computed all the same"),
    ]


def _line(each: tb.Determinants | Cancelled) -> str:
    """One connection point."""
    if isinstance(each, Cancelled):
        return f"{each.datasource}: cancelled, nothing stored: {each.why}"
    zone = ZoneInfo(each.time_zone)
    energy, peak = _of(each, tb.Kind.INTERVAL), _of(each, tb.Kind.PMAX)
    months = [month for month in each if month.kind is tb.Kind.INTERVAL and month.is_month]
    parts = " + ".join(f"{month.start_time.astimezone(zone):%B} {number(_value(month))}" for month in months)
    words = [
        f"{energy.channel} {parts}{f' = {number(_value(energy))}' if len(months) > 1 else ''} {energy.unit}",
        f"Pmax {number(_value(peak))} {peak.unit} on {_moment(peak, zone)}",
    ]
    words += [f"{found.demand} {_value(found):.6f}" for found in each if found.demand and not found.is_month]
    return f"{each.datasource}: {', '.join(words)}"


def _of(result: tb.Determinants, kind: tb.Kind, name: str = "", start: datetime | None = None) -> tb.Determinant:
    """The determinant of a kind and slice: of the whole period, or of the month that begins at `start`."""
    return next(
        each
        for each in result
        if each.kind is kind
        and each.slice == name
        and (not each.is_month if start is None else each.is_month and each.start_time == start)
    )


def _value(determinant: tb.Determinant) -> Decimal:
    return determinant.value or Decimal(0)


def _moment(determinant: tb.Determinant, zone: ZoneInfo) -> str:
    """Where its maximum begins."""
    return f"{determinant.peaks[0].start_time.astimezone(zone):%-d %b %H:%M}" if determinant.peaks else ""


def _tenths(value: Decimal) -> str:
    return f"{value.quantize(Decimal('0.1'), ROUND_HALF_EVEN):,f}"


def _thousandths(value: Decimal) -> str:
    return f"{value.quantize(Decimal('0.001'), ROUND_HALF_EVEN):,f}"
