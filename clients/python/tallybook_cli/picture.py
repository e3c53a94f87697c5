"""The demo's picture: cumulative cost by airline, with the moments at which tiers are crossed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import DateFormatter, DateLocator, DayLocator, MonthLocator
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

# Okabe and Ito's colours: told apart by every kind of colour vision.
_COLOURS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#7A5195",
    "#8C6D31",
    "#333333",
    "#C0392B",
    "#5D8A66",
)
_SMALL_COLOUR = "#A7ADB5"
_INK = "#22262B"
_MUTED = "#68707A"
_GRID = "#E6E8EB"
_MILLION = 1_000_000
_NEAR_DAYS = 7
_LEFT = 0.062
_DOT: Mapping[str, Any] = {
    "marker": "o",
    "linestyle": "",
    "markersize": 8,
    "markeredgecolor": "white",
    "markeredgewidth": 1.3,
}
_TICK: Mapping[str, Any] = {"marker": "|", "linestyle": "", "markersize": 9, "markeredgewidth": 1.4}


@dataclass(frozen=True)
class AirlineCost:
    """One airline's costs, event by event, in order of time."""

    code: str
    name: str
    times: NDArray[np.datetime64]
    """[n] time of each event."""
    costs: NDArray[np.int64]
    """[n] cost of each event with tax, in cents; negative where a crossing makes earlier units cheaper."""
    yearly_crossings: NDArray[np.int64]
    """Events at which the yearly volume tier is crossed."""
    monthly_crossings: NDArray[np.int64]
    """Events at which a month's graduated tier is crossed."""

    @property
    def totals(self) -> NDArray[np.float64]:
        """[n] cumulative cost in dollars. Floats are good enough for pixels; no amount is read from here."""
        return np.cumsum(self.costs) / 100


def draw(airlines: Sequence[AirlineCost], event_count: int, file: Path) -> None:
    """Draw the picture: every airline over the year, and three yearly crossings near by."""
    ordered = sorted(airlines, key=lambda airline: -airline.totals[-1])
    small = [_SMALL_COLOUR] * max(len(ordered) - len(_COLOURS), 0)
    colours = {airline.code: colour for airline, colour in zip(ordered, [*_COLOURS, *small], strict=False)}
    with mpl.rc_context({"font.family": "DejaVu Sans", "font.size": 10.5, "axes.edgecolor": _MUTED}):
        figure = Figure(figsize=(13, 10), facecolor="white")
        _titles(figure, event_count)
        _year(figure.add_axes((_LEFT, 0.385, 0.695, 0.505)), ordered, colours)
        _near_by(figure, ordered, colours)
        figure.savefig(file, dpi=130)


def _titles(figure: Figure, event_count: int) -> None:
    figure.text(_LEFT, 0.96, "A year of flights becomes exact money", fontsize=20, fontweight="bold", color=_INK)
    figure.text(
        _LEFT,
        0.928,
        f"Cumulative charges with tax of {event_count:,} flights out of New York in 2013, by airline. "
        "Every step is the exact cost of one event.",
        fontsize=11.5,
        color=_MUTED,
    )


def _near_by(figure: Figure, airlines: Sequence[AirlineCost], colours: Mapping[str, str]) -> None:
    """Three yearly crossings that lower the total, of the smallest airlines that have one: there it is seen best."""
    crossing = [
        airline
        for airline in airlines
        if len(airline.yearly_crossings) and airline.costs[airline.yearly_crossings[0]] < 0
    ]
    if not crossing:
        return
    figure.text(_LEFT, 0.318, "Near by: the yearly volume tier is reached", fontsize=13, fontweight="bold", color=_INK)
    figure.text(
        _LEFT,
        0.295,
        "Small steps are flights and large ones packages of 100 landings; at the dot every seat since January becomes "
        "cheaper, and the event's cost is negative.",
        fontsize=10.5,
        color=_MUTED,
    )
    for column, airline in enumerate(crossing[-3:]):
        _zoom(figure.add_axes((_LEFT + column * 0.325, 0.05, 0.262, 0.205)), airline, colours[airline.code])


def _year(axes: Axes, airlines: Sequence[AirlineCost], colours: Mapping[str, str]) -> None:
    """Every airline over the year, labelled at the right."""
    first = min(airline.times[0] for airline in airlines).astype("datetime64[M]")
    last = max(airline.times[-1] for airline in airlines)
    for airline in airlines:
        colour = colours[airline.code]
        totals = airline.totals / _MILLION
        axes.plot([*airline.times, last], [*totals, totals[-1]], color=colour, linewidth=1.9, zorder=3)
        months = airline.monthly_crossings
        axes.plot(airline.times[months], totals[months], color=colour, zorder=4, **_TICK)
        years = airline.yearly_crossings
        axes.plot(airline.times[years], totals[years], color=colour, zorder=5, **_DOT)
    _labels(axes, airlines, colours)
    _frame(axes)
    axes.set_ylim(bottom=0)
    axes.set_xlim(first, last)
    axes.yaxis.set_major_formatter(lambda value, _: f"${value:,.0f} M")
    _dates(axes, MonthLocator(), "%b")  # type: ignore[no-untyped-call]
    axes.plot([], [], color=_INK, label="yearly volume tier reached: all earlier seats become cheaper", **_DOT)
    axes.plot([], [], color=_INK, label="a month's graduated tier reached: further miles are cheaper", **_TICK)
    axes.legend(loc="upper left", frameon=False, labelcolor=_MUTED, borderaxespad=0.2)


def _labels(axes: Axes, airlines: Sequence[AirlineCost], colours: Mapping[str, str]) -> None:
    """Names and totals beside the ends of the lines, moved apart where they would overlap."""
    ends = [float(airline.totals[-1]) / _MILLION for airline in airlines]
    gap = max(ends) * 0.046
    for airline, end, at in zip(airlines, ends, _spread(ends, gap), strict=True):
        colour = colours[airline.code]
        line: dict[str, Any] = {
            "color": colour,
            "linewidth": 0.8,
            "clip_on": False,
            "transform": axes.get_yaxis_transform(),
        }
        axes.plot([1.002, 1.012, 1.034, 1.040], [end, end, at, at], **line)
        label = f"{_short(airline.name)}  ${end:,.2f} M"
        darker = _MUTED if colour == _SMALL_COLOUR else colour
        axes.text(1.046, at, label, color=darker, va="center", transform=axes.get_yaxis_transform())


def _short(name: str) -> str:
    """A company's name without its legal form."""
    for form in (" Inc.", " Co.", " Corporation"):
        name = name.removesuffix(form)
    return name


def _spread(heights: Sequence[float], gap: float) -> list[float]:
    """Descending heights, moved as little as needed so that neighbours are `gap` apart.

    Overlapping labels form a block that is centred on what it labels (pool adjacent violators).
    """
    blocks: list[tuple[float, int]] = []
    for height in heights:
        centre, size = height, 1
        while blocks and blocks[-1][0] - centre < gap * (blocks[-1][1] + size) / 2:
            above, above_size = blocks.pop()
            # The block's centre is the mean of the centres that its members would like, were they alone.
            centre = (above * above_size + centre * size) / (above_size + size)
            size += above_size
        blocks.append((centre, size))
    return [centre + gap * ((size - 1) / 2 - place) for centre, size in blocks for place in range(size)]


def _zoom(axes: Axes, airline: AirlineCost, colour: str) -> None:
    """Some days around the yearly crossing of one airline, event by event."""
    event = int(airline.yearly_crossings[0])
    instant = airline.times[event]
    near = np.flatnonzero(np.abs(airline.times - instant) <= np.timedelta64(_NEAR_DAYS, "D"))
    totals = airline.totals / _MILLION
    axes.step(airline.times[near], totals[near], where="post", color=colour, linewidth=1.8, zorder=3)
    axes.plot(airline.times[event], totals[event], color=colour, zorder=5, **_DOT)
    axes.annotate(
        f"−${-airline.costs[event] / 100:,.2f}",
        xy=(instant, totals[event]),
        xytext=(9, -15),
        textcoords="offset points",
        color=_INK,
        fontweight="bold",
    )
    axes.set_title(_short(airline.name), loc="left", fontsize=11.5, fontweight="bold", color=colour)
    _frame(axes)
    axes.margins(x=0, y=0.1)
    axes.yaxis.set_major_formatter(lambda value, _: f"${value:,.2f} M")
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    _dates(axes, DayLocator(interval=3), "%-d %b")  # type: ignore[no-untyped-call]


def _dates(axes: Axes, locator: DateLocator, words: str) -> None:
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(DateFormatter(words))  # type: ignore[no-untyped-call]


def _frame(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color=_GRID, linewidth=0.8)
    axes.tick_params(colors=_MUTED, length=3)
    axes.set_axisbelow(True)
