"""Pmax: the largest value of a period; of equal ones the first.

Source: Energyworx, standard_billing_determinants_calculation, step 4: the maximum of each month and of the billing
period, and the quality is the lowest of the period, not that of the peak.
"""

from __future__ import annotations

from fractions import Fraction

from tallybook_engine.determinants.accumulate import NO_ROW, Totals
from tallybook_engine.determinants.configuration import ChannelClassifier, Label
from tallybook_engine.determinants.numbers import power_of, quantity_of
from tallybook_engine.determinants.quality import QualityTable
from tallybook_engine.determinants.readings import Readings
from tallybook_engine.determinants.result import Peak


def best_cell(totals: Totals, cells: range, column: int, *, as_power: bool) -> int | None:
    """The cell of the first largest value among some in rising order of time; None where none has a value."""
    best: tuple[Fraction, int] | None = None
    for cell in cells:
        if totals.best_row[0, cell, column] == NO_ROW:
            continue
        value = Fraction(int(totals.best_value[0, cell, column]))
        if as_power:
            value /= int(totals.best_length_us[0, cell, column])
        if best is None or value > best[0]:
            best = value, cell
    return None if best is None else best[1]


def occurrences(totals: Totals, cells: range, column: int, best: int, *, as_power: bool) -> int:
    """How many rows of some cells have the maximum that the cell `best` has."""

    def of(cell: int) -> Fraction:
        value = Fraction(int(totals.best_value[0, cell, column]))
        return value / int(totals.best_length_us[0, cell, column]) if as_power else value

    wanted = of(best)
    return sum(
        int(totals.best_count[0, cell, column])
        for cell in cells
        if totals.best_row[0, cell, column] != NO_ROW and of(cell) == wanted
    )


def value_of(totals: Totals, classifier: ChannelClassifier, cell: int, column: int, *, as_power: bool) -> int:
    """A cell's maximum at scale 12, as power of energy where asked. DoesNotFit from 10^15 on."""
    value = int(totals.best_value[0, cell, column])
    if as_power:
        return power_of(value, classifier.decimal_places, int(totals.best_length_us[0, cell, column]))
    return quantity_of(value, classifier.decimal_places)


def peak_at(readings: Readings, label: Label, quality: QualityTable, row: int, occurrence_count: int) -> Peak:
    """The interval of a row."""
    label_us, length_us = readings.label(row), readings.length_us(row)
    start_us = label_us - length_us if label is Label.END else label_us
    status = quality.statuses[int(readings.quality[row])].name
    return Peak(start_us, start_us + length_us, label_us, status, occurrence_count)
