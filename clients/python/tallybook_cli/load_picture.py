"""A meter's load as a picture: a panel a month, the load in the colours of its slices, each maximum marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

import tallybook_client as tb
from tallybook_cli.output import number
from tallybook_server.offline_determinants import SlicedLoad

# Okabe and Ito's colours, lightest where the load is least: told apart by every kind of colour vision.
_COLOURS = ("#0072B2", "#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#F0E442", "#8C6D31", "#7A5195")
_UNCOVERED = "#BFC4CA"
_INK = "#22262B"
_MUTED = "#68707A"
_GRID = "#E6E8EB"
_PANELS_MAX = 12
"""Months that have a panel each; a longer period is one panel."""
_PANEL_INCHES = 2.6
_HEADROOM = 0.24
"""Room above the load for the words at its maximum, of the load's range."""
_SHADE = 0.22
"""Opacity of a slice's hours behind the load."""
_DECIMALS_SHOWN = 3
_HOUR_US = 3_600_000_000


def draw(load: SlicedLoad, result: tb.Determinants, file: Path) -> None:
    """Draw the load, as power where its maxima are power; maxima are the result's."""
    load = _as_power(load, result)
    panels = _panels(result)
    with mpl.rc_context({"font.family": "DejaVu Sans", "font.size": 10, "axes.edgecolor": _MUTED}):
        height = 1.5 + _PANEL_INCHES * len(panels)
        figure = Figure(figsize=(13, height), facecolor="white")
        figure.text(0.062, 1 - 0.42 / height, _title(load, result), fontsize=16, fontweight="bold", color=_INK)
        figure.text(0.062, 1 - 0.72 / height, _subtitle(load, result), fontsize=10.5, color=_MUTED)
        grid = figure.add_gridspec(
            len(panels), 1, left=0.062, right=0.985, top=1 - 1.15 / height, bottom=0.4 / height, hspace=0.42
        )
        for place, (start, end) in enumerate(panels):
            axes = figure.add_subplot(grid[place])
            _panel(axes, load, result, start, end)
        if load.slices:
            _legend(figure, load, height)
        figure.savefig(file, dpi=130)


def _panels(result: tb.Determinants) -> Sequence[tuple[datetime, datetime]]:
    """The months of the result, or its period."""
    months = sorted({(each.start_time, each.end_time) for each in result if each.is_month})
    return months if 0 < len(months) <= _PANELS_MAX else [(result.start_time, result.end_time)]


def _as_power(load: SlicedLoad, result: tb.Determinants) -> SlicedLoad:
    """The load in the unit of its maxima, so that a mark is as high as its words say."""
    for each in result:
        if each.kind is tb.Kind.PMAX and each.channel == load.channel and each.unit != load.unit:
            return replace(load, unit=each.unit, values=load.values * (_HOUR_US / load.lengths_us))
    return load


def _title(load: SlicedLoad, result: tb.Determinants) -> str:
    return f"{result.datasource}: {load.channel}"


def _subtitle(load: SlicedLoad, result: tb.Determinants) -> str:
    """The total and each slice, of the whole period."""
    words: list[str] = []
    for each in result:
        if each.channel == load.channel and not each.is_month and each.value is not None:
            if each.kind is tb.Kind.INTERVAL:
                words.insert(0, f"total {_short(each.value)} {each.unit}")
            elif each.kind is tb.Kind.TIMESLICE and each.value:
                words.append(f"{each.slice} {_short(each.value)}")
    return "  ·  ".join([*words, f"times in {result.time_zone}"])


def _panel(axes: Axes, load: SlicedLoad, result: tb.Determinants, start: datetime, end: datetime) -> None:
    first, last = np.searchsorted(load.starts_us, (_us(start), _us(end)))
    zone = ZoneInfo(result.time_zone)
    # Each interval is two points, its beginning and its end, so that steps are exact also where lengths differ.
    starts, ends = load.starts_us[first:last], load.starts_us[first:last] + load.lengths_us[first:last]
    times = _instants(np.column_stack([starts, ends]).ravel())
    values = np.repeat(load.values[first:last], 2)
    slice_of = np.repeat(load.slice_of[first:last], 2)
    for index in range(max(1, len(load.slices))):
        held, colour = slice_of == index, _colour(load, index)
        if load.slices:
            # The slice's hours stand out behind the load, also where there is next to none.
            whole = axes.get_xaxis_transform()
            axes.fill_between(
                times, np.where(held, 1.0, np.nan), color=colour, linewidth=0, alpha=_SHADE, transform=whole, zorder=1
            )
        axes.fill_between(times, np.where(held, values, np.nan), color=colour, linewidth=0, zorder=2)
    axes.plot(times, values, color=_INK, linewidth=0.35, alpha=0.8, zorder=3)
    for peak, words in _peaks(load, result, start, end, zone):
        _mark(axes, load, peak, words, is_late=peak.start_time - start > (end - start) * 0.8)
    axes.set_xlim(*_instants(np.array([_us(start), _us(end)])))
    # All panels have one scale, so that months compare.
    least, most = float(load.values.min(initial=0.0)), float(load.values.max(initial=0.0))
    axes.set_ylim(least, most + _HEADROOM * ((most - least) or 1.0))
    locator = AutoDateLocator(tz=zone, minticks=6, maxticks=16)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    formatter = ConciseDateFormatter(locator, tz=zone, show_offset=False)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_formatter(formatter)
    axes.set_title(f"{start.astimezone(zone):%B %Y}", loc="left", fontsize=11.5, fontweight="bold", color=_INK)
    axes.set_ylabel(load.unit, color=_MUTED)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_MUTED, length=3)


def _peaks(
    load: SlicedLoad, result: tb.Determinants, start: datetime, end: datetime, zone: ZoneInfo
) -> list[tuple[tb.Peak, str]]:
    """The maxima of the panel's own period, in words."""
    found: dict[tb.Peak, str] = {}
    for each in result:
        own = (each.start_time, each.end_time) == (start, end)
        if each.kind is tb.Kind.PMAX and each.channel == load.channel and own and each.peaks:
            (peak,) = each.peaks
            words = f"{_short(each.value or Decimal(0))} {each.unit}, {peak.start_time.astimezone(zone):%-d %b %H:%M}"
            found[peak] = f"Pmax {words}"
    return list(found.items())


def _mark(axes: Axes, load: SlicedLoad, peak: tb.Peak, words: str, *, is_late: bool) -> None:
    row = int(np.searchsorted(load.starts_us, _us(peak.start_time)))
    middle = _instants(load.starts_us[row : row + 1] + load.lengths_us[row : row + 1] // 2)[0]
    axes.plot(
        [middle],
        [load.values[row]],
        marker="o",
        markersize=8,
        markeredgecolor="white",
        markeredgewidth=1.3,
        color="#C0392B",
        zorder=5,
    )
    axes.annotate(
        words,
        xy=(middle, load.values[row]),
        xytext=(-9 if is_late else 9, 6),
        textcoords="offset points",
        ha="right" if is_late else "left",
        color=_INK,
        fontweight="bold",
        zorder=6,
    )


def _legend(figure: Figure, load: SlicedLoad, height: float) -> None:
    patches = [
        Patch(color=_colour(load, index), label=name)
        for index, name in enumerate(load.slices)
        if (load.slice_of == index).any()
    ]
    figure.legend(
        handles=patches,
        loc="upper right",
        bbox_to_anchor=(0.985, 1 - 0.2 / height),
        ncols=len(patches),
        frameon=False,
        labelcolor=_MUTED,
    )


def _colour(load: SlicedLoad, index: int) -> str:
    return _UNCOVERED if load.slices and index == len(load.slices) - 1 else _COLOURS[index % len(_COLOURS)]


def _short(value: Decimal) -> str:
    """A number for the eye; exact ones are in the determinants."""
    return number(round(value, _DECIMALS_SHOWN))


def _us(instant: datetime) -> int:
    return round((instant - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1_000_000)


def _instants(instants_us: NDArray[np.int64]) -> NDArray[np.datetime64]:
    return instants_us.astype("datetime64[us]")
