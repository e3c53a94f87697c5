"""Pmax: the largest value of a period; of equal ones the first.

Source: Energyworx, standard_billing_determinants_calculation, step 4: the maximum of each month and of the billing
period, and the quality is the lowest of the period, not that of the peak.
"""

from __future__ import annotations

from tallybook_engine.determinants.accumulate import NO_ROW
from tallybook_engine.determinants.configuration import ChannelClassifier, Label
from tallybook_engine.determinants.numbers import power_of, quantity_of
from tallybook_engine.determinants.parts import Part
from tallybook_engine.determinants.quality import QualityTable
from tallybook_engine.determinants.readings import Readings
from tallybook_engine.determinants.result import Peak


def maximum_of(part: Part, classifier: ChannelClassifier, *, as_power: bool) -> int | None:
    """A part's maximum at scale 12, as power of energy where asked; None of no values. DoesNotFit from 10^15 on."""
    if part.best_row == NO_ROW:
        return None
    if as_power:
        return power_of(part.best_value, classifier.decimal_places, part.best_length_us)
    return quantity_of(part.best_value, classifier.decimal_places)


def peaks_of(part: Part, readings: Readings, label: Label, quality: QualityTable) -> tuple[Peak, ...]:
    """The interval of a part's maximum; none of no values."""
    if part.best_row == NO_ROW:
        return ()
    label_us, length_us = readings.label(part.best_row), readings.length_us(part.best_row)
    start_us = label_us - length_us if label is Label.END else label_us
    status = quality.statuses[int(readings.quality[part.best_row])].name
    return (Peak(start_us, start_us + length_us, label_us, status, part.best_count),)
