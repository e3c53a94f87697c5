"""A simulation as a picture: what each scenario comes to, and how its change is spread over customers."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import matplotlib as mpl
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

import tallybook_client as tb

_INK = "#22262B"
_MUTED = "#68707A"
_GRID = "#E6E8EB"
# Okabe and Ito's colours: told apart by every kind of colour vision.
_BASELINE = "#A7ADB5"
_LESS = "#0072B2"
_MORE = "#D55E00"
_ROW_INCHES = 0.62
_HEAD_INCHES = 1.0
_WORDS_INSIDE = 0.5
"""A bar is long enough for its words from this part of the longest one on."""
_WIDTH_MAX = 100
"""Per cent; changes beyond stand at the edge, or a few customers who paid next to nothing would squeeze all others."""
_WIDTH_MIN = 5
"""Per cent to either side that the changes are drawn over at least."""
_SEED = 1
"""Of the dots' places within their row, so that the same simulation is the same picture."""
_NAME_CHARACTERS = 22
"""Of a scenario's name, as many as there is room for."""
_SMALLEST_SHOWN = Decimal("0.001")
"""A smaller part would be shown as 0.0 %, or as more than it is."""
_SPREAD_HEIGHT = 0.28
"""How far a dot may lie from the middle of its row, of the row's height."""


def draw(simulation: tb.Simulation, file: Path) -> None:
    """Draw the totals of every scenario, and a dot for each customer's change; a pair of panels a currency.

    Floats are good enough for pixels; the words are from the exact amounts.
    """
    currencies = list(dict.fromkeys(each.amount_excluding_tax.currency for each in simulation.totals))
    row_count = max(len(simulation.scenarios), 2)
    panel_inches = _ROW_INCHES * row_count + 1.1
    height = _HEAD_INCHES + panel_inches * max(len(currencies), 1)
    # A name may hold dollar signs, which are no formula.
    with mpl.rc_context(
        {"font.family": "DejaVu Sans", "font.size": 10.5, "axes.edgecolor": _MUTED, "text.parse_math": False}
    ):
        figure = Figure(figsize=(13, height), facecolor="white")
        figure.text(0.02, 1 - 0.42 / height, _title(simulation), fontsize=16, fontweight="bold", color=_INK)
        figure.text(0.02, 1 - 0.72 / height, _subtitle(simulation), fontsize=10.5, color=_MUTED)
        for place, currency in enumerate(currencies):
            top = height - _HEAD_INCHES - place * panel_inches
            bottom, tall = (top - panel_inches + 0.55) / height, (panel_inches - 0.95) / height
            totals = [each for each in simulation.totals if each.amount_excluding_tax.currency == currency]
            _totals(figure.add_axes((0.14, bottom, 0.34, tall)), totals, currency)
            _changes(figure.add_axes((0.53, bottom, 0.33, tall)), simulation, totals, currency)
        figure.savefig(file, dpi=130)


def _title(simulation: tb.Simulation) -> str:
    count = len(simulation.scenarios) - 1
    return f"Today's contracts and {count} proposal{'' if count == 1 else 's'}"


def _subtitle(simulation: tb.Simulation) -> str:
    customers = simulation.customers()["customer_id"].n_unique()
    return f"{simulation.row_count:,} rows of usage of {customers:,} customers. Amounts are without tax."


def _totals(axes: Axes, totals: Sequence[tb.ScenarioTotal], currency: str) -> None:
    """A bar a scenario."""
    amounts = [each.amount_excluding_tax.quantity for each in totals]
    baseline = amounts[0] if amounts else None
    rows = np.arange(len(totals))
    colours = [_colour(float(each.difference_excluding_tax.quantity)) for each in totals]
    axes.barh(rows, [float(each) for each in amounts], color=[_BASELINE, *colours[1:]], height=0.62)
    for row, each in enumerate(totals):
        words = f"{each.amount_excluding_tax.quantity:,f}"
        if row and baseline:
            words += f"   {_percentage(each.difference_excluding_tax.quantity / abs(baseline))}"
        # In the bar where it is long enough for the words, else behind it.
        inside = float(amounts[row]) > _WORDS_INSIDE * max(map(float, amounts))
        axes.annotate(
            words,
            (0 if inside else max(float(amounts[row]), 0), row),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            color="white" if inside else _INK,
            fontweight="bold",
        )
    axes.set_yticks(rows, [_cut(each.scenario) for each in totals])
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_title(f"What each comes to, {currency}", loc="left", color=_INK, fontweight="bold", fontsize=11.5)
    _frame(axes)


def _changes(axes: Axes, simulation: tb.Simulation, totals: Sequence[tb.ScenarioTotal], currency: str) -> None:
    """A row a scenario: a dot for each customer's change, the median, and how many pay more and less."""
    customers = simulation.customers().filter(pl.col("currency") == currency)
    place = np.random.default_rng(_SEED)
    all_within = True
    axes.axvline(0, color=_MUTED, linewidth=1)
    for row, total in enumerate(totals):
        if row == 0:
            continue
        changes = _percentages(customers, total.scenario)
        all_within = all_within and bool((np.abs(changes) <= _WIDTH_MAX).all())
        changes = np.clip(changes, -_WIDTH_MAX, _WIDTH_MAX)
        if len(changes):
            heights = row + place.uniform(-_SPREAD_HEIGHT, _SPREAD_HEIGHT, len(changes))
            colours = [_colour(change) for change in changes.tolist()]
            axes.scatter(changes, heights, s=22, c=colours, alpha=0.65, linewidths=0, zorder=3)
            median = float(np.median(changes))
            axes.plot([median, median], [row - 0.38, row + 0.38], color=_INK, linewidth=2, zorder=4)
        words = f"{total.customer_count_less:,} pay less\n{total.customer_count_more:,} pay more"
        axes.annotate(
            words,
            (1, row),
            xycoords=("axes fraction", "data"),
            xytext=(12, 0),
            textcoords="offset points",
            va="center",
            color=_MUTED,
            annotation_clip=False,
        )
    axes.set_ylim(-0.5, len(totals) - 0.5)
    axes.set_yticks([])
    # So wide at least that the marks, which are whole per cents, differ.
    widest = max(map(abs, axes.get_xlim()))
    if widest < _WIDTH_MIN:
        axes.set_xlim(-_WIDTH_MIN, _WIDTH_MIN)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:+.0f} %" if value else "0")
    axes.set_title(
        _heading(all_within),
        loc="left",
        color=_INK,
        fontweight="bold",
        fontsize=11.5,
    )
    _frame(axes)


def _percentages(customers: pl.DataFrame, scenario: str) -> NDArray[np.float64]:
    """[n] change of each customer who pays something today, in per cent of that."""
    found = customers.filter(pl.col("scenario") == scenario).select(
        change=pl.col("difference_excluding_tax").cast(pl.Float64),
        today=(pl.col("amount_excluding_tax") - pl.col("difference_excluding_tax")).cast(pl.Float64),
    )
    paying = found.filter(pl.col("today") != 0)
    return (paying["change"] / paying["today"].abs() * 100).to_numpy()


def _percentage(part: Decimal) -> str:
    """A change in per cent; what is too small for the digits shown is said to be so."""
    if part == 0:
        return "no change"
    if abs(part) < _SMALLEST_SHOWN:
        return f"under 0.1 % {'more' if part > 0 else 'less'}"
    return f"{part * 100:+,.1f} %"


def _heading(all_within: bool) -> str:
    """What the dots are, and where those are that lie beyond the axis."""
    if all_within:
        return "Change by customer: a dot each, the line is the median"
    return f"Change by customer: line the median, {_WIDTH_MAX} % or more at the edge"


def _cut(name: str) -> str:
    """A name that is too long for its place, without its end."""
    return name if len(name) <= _NAME_CHARACTERS else name[: _NAME_CHARACTERS - 1] + "…"


def _colour(change: float) -> str:
    return _MORE if change > 0 else _LESS if change < 0 else _BASELINE


def _frame(axes: Axes) -> None:
    axes.invert_yaxis()
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(axis="x", color=_GRID, linewidth=0.8)
    axes.tick_params(colors=_MUTED, length=0, labelcolor=_INK)
    axes.set_axisbelow(True)
