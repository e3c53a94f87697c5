"""Windows of several intervals, against the definition in plain fractions: which are filled, what they come to, which
goes first and which is the largest."""

from __future__ import annotations

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from tests.support.energy.cases import MINUTE_US, instant_us

from tallybook_engine.demand.load import Load
from tallybook_engine.demand.windows import NO_WINDOW, Windows, windows_of
from tallybook_engine.determinants.configuration import ChannelClassifier, Label
from tallybook_engine.determinants.quality import DEFAULT_QUALITY
from tallybook_engine.determinants.readings import ListedTimes, Readings

START = instant_us("2025-03-01T00:00Z")
END = instant_us("2025-03-03T00:00Z")
QUARTER_US = 15 * MINUTE_US
HOUR_US = 60 * MINUTE_US
MISSING = DEFAULT_QUALITY.code("missing")
ESTIMATED = DEFAULT_QUALITY.code("estimated")


def load_of(
    values: list[int],
    *,
    unit: str = "kWh",
    decimal_places: int = 0,
    label: Label = Label.BEGIN,
    minutes: list[int] | None = None,
    codes: dict[int, int] | None = None,
    gap_before: int | None = None,
) -> Load:
    """Intervals one after the other, but for one gap."""
    lengths = np.array(minutes or [15] * len(values), np.int64) * MINUTE_US
    starts = START + np.cumsum(lengths) - lengths
    if gap_before is not None:
        starts[gap_before:] += 5 * MINUTE_US
    quality = np.zeros(len(values), np.uint8)
    for row, code in (codes or {}).items():
        quality[row] = code
    labels = starts if label is Label.BEGIN else starts + lengths
    readings = Readings(ListedTimes(labels, lengths), np.array(values, np.int64), quality)
    return Load(
        "load", readings, ChannelClassifier("c", unit, decimal_places, label), DEFAULT_QUALITY, "UTC", START, END
    )


def half_away(value: Fraction) -> int:
    """Rounded to a whole number."""
    return floor(abs(value) + Fraction(1, 2)) * (1 if value > 0 else -1)


def expected_of(load: Load, window_us: int) -> dict[int, tuple[int, int]]:
    """(interval after the last, mean power at scale 12) of each filled window, by its first interval."""
    starts, lengths, first = load.intervals()
    found = {}
    for begin in range(len(starts)):
        total, at_us = Fraction(0), int(starts[begin])
        for row in range(begin, len(starts)):
            if starts[row] != at_us or load.readings.quality[first + row] == MISSING:
                break
            value = Fraction(int(load.readings.values[first + row]), 10**load.classifier.decimal_places)
            total += value * (HOUR_US if load.is_energy else int(lengths[row]))
            at_us += int(lengths[row])
            if at_us - starts[begin] == window_us:
                found[begin] = row + 1, half_away(total / window_us * 10**12)
                break
    return found


def found_of(windows: Windows) -> dict[int, tuple[int, int]]:
    filled = np.flatnonzero(windows.end_row != NO_WINDOW).tolist()
    return {each: (int(windows.end_row[each]), windows.power(each)) for each in filled}


SOME = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3, 8, 4]
LOADS = {
    "energy": load_of(SOME),
    "energy of three decimals": load_of(SOME, decimal_places=3),
    "power of two decimals": load_of(SOME, unit="kW", decimal_places=2),
    "a gap": load_of(SOME, gap_before=7),
    "missing first, last and two in a row": load_of(SOME, codes=dict.fromkeys((0, 8, 9, 19), MISSING)),
    "uneven": load_of(SOME, minutes=[15, 15, 30, 5, 10, 15, 60, 15, 15, 30] * 2),
    "uneven power": load_of(SOME, unit="kW", minutes=[15, 15, 30, 5, 10, 15, 60, 15, 15, 30] * 2),
    "below 0": load_of([each - 5 for each in SOME], unit="kW"),
    "beyond 64 bits": load_of([(each - 4) * 10**17 for each in SOME], unit="kW", decimal_places=4),
    "one": load_of([7]),
}


@pytest.mark.parametrize("window_us", [QUARTER_US, 2 * QUARTER_US, HOUR_US])
@pytest.mark.parametrize("load", LOADS.values(), ids=LOADS.keys())
def test_a_window_is_filled_without_a_gap_and_has_its_mean_power(load: Load, window_us: int) -> None:
    assert found_of(windows_of(load, window_us)) == expected_of(load, window_us)


@pytest.mark.parametrize("size", [0, 4 * 10**17, -4 * 10**17])
@pytest.mark.parametrize(
    ("unit", "decimal_places", "window_us"),
    [
        ("kW", 12, 2 * QUARTER_US),
        ("kW", 12, HOUR_US),
        ("kW", 0, HOUR_US),
        ("kWh", 12, 2 * QUARTER_US),
        ("kWh", 12, 7 * HOUR_US),
    ],
)
def test_the_largest_power_goes_first_and_of_equal_ones_as_rounded_the_earlier(
    unit: str, decimal_places: int, window_us: int, size: int
) -> None:
    # Of 12 decimals a half is rounded away, so that sums which differ are one power
    chance = np.random.default_rng(20250301)
    for _ in range(20):
        values = (size + chance.integers(-3, 4, 40)).tolist() if decimal_places else chance.integers(-3, 4, 40).tolist()
        load = load_of(values, unit=unit, decimal_places=decimal_places)
        windows = windows_of(load, window_us)
        power = {first: power for first, (_, power) in expected_of(load, window_us).items()}
        filled = np.array(sorted(power), np.int64)
        assert windows.ranking(filled).tolist() == sorted(power, key=lambda each: (-power[each], each))


def test_one_window_and_none_are_in_order() -> None:
    windows = windows_of(load_of([1], unit="kW", decimal_places=12), QUARTER_US)
    assert windows.ranking(np.array([0], np.int64)).tolist() == [0]
    assert windows.ranking(np.array([], np.int64)).tolist() == []


def test_the_largest_window_is_the_first_of_its_like_within_the_bounds() -> None:
    chance = np.random.default_rng(20250302)
    for size in (1, 10**17):
        for _ in range(40):
            values = (size * chance.integers(-1, 3, 24)).tolist()
            load = load_of(values, unit="kW", codes=dict.fromkeys(chance.integers(0, 24, 2).tolist(), MISSING))
            windows = windows_of(load, 2 * QUARTER_US)
            bounds = sorted((START + chance.integers(0, 26, 2) * QUARTER_US).tolist())
            candidate = chance.integers(0, 4, 24) > 0
            power = {
                first: power
                for first, (_, power) in expected_of(load, 2 * QUARTER_US).items()
                if candidate[first]
                and bounds[0] <= windows.starts_us[first]
                and windows.starts_us[first] + 2 * QUARTER_US <= bounds[1]
            }
            largest = [each for each in power if power[each] == max(power.values())]
            expected = (largest[0], len(largest)) if largest else None
            assert windows.best(bounds[0], bounds[1], candidate) == expected


@pytest.mark.parametrize(("label", "minutes"), [(Label.BEGIN, 15), (Label.END, 45)])
def test_a_peak_says_where_its_window_is_and_the_worst_inside(label: Label, minutes: int) -> None:
    load = load_of([1, 2, 3, 4], label=label, codes={2: ESTIMATED})
    windows = windows_of(load, 2 * QUARTER_US)
    peak = windows.peak(1, 3)
    assert (peak.start_us, peak.end_us) == (START + QUARTER_US, START + 3 * QUARTER_US)
    assert (peak.label_us, peak.quality, peak.occurrence_count) == (START + minutes * MINUTE_US, "estimated", 3)
    assert windows.peak(0, 1).quality == "measured"
