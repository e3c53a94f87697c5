"""Register determinants: what a counter shows at a period's end, and what it counted since the period's start.

A register is read exactly at the instant, or within the tolerance of it: then the nearest reading counts, and of two
as near the earlier. A difference below 0 is answered as it is, unless the classifier declares how many digits the dial
has: then the register has rolled over once.

Source: Energyworx, standard_billing_determinants_calculation, step 5, and standard_load_billing_data: a register takes
its period's start too. AEMO, "Meter Data File Format Specification NEM12 & NEM13", record 250: a register's quantity.
"""

from __future__ import annotations

from tallybook_engine.determinants.configuration import ChannelClassifier
from tallybook_engine.determinants.quality import QualityTable
from tallybook_engine.determinants.readings import Readings, rows_between


def register_row(readings: Readings, quality: QualityTable, instant_us: int, tolerance_us: int) -> int | None:
    """The row that is the reading at an instant; None where there is none that has a value."""
    first, last = rows_between(readings.times, instant_us - tolerance_us, instant_us + tolerance_us + 1)
    rows = [row for row in range(first, last) if quality.statuses[int(readings.quality[row])].has_value]
    return min(rows, key=lambda row: (abs(readings.label(row) - instant_us), row), default=None)


def register_difference(classifier: ChannelClassifier, start_value: int, end_value: int) -> int:
    """What a register counted between two readings, at the scale of its values."""
    difference = end_value - start_value
    if difference < 0 and classifier.dial_digits is not None:
        difference += 10 ** (classifier.dial_digits + classifier.decimal_places)
    return difference
