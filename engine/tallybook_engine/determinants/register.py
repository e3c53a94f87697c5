"""Register determinants: what a counter shows at a period's end, and what it counted since the period's start.

A register is read exactly at the instant, or within the tolerance of it: then the nearest reading counts, and of two
as near the earlier. A difference below 0 is answered as it is, unless the classifier declares how many digits the dial
has: then the register has rolled over once, and a reading that such a dial cannot show is refused.

Source: Energyworx, standard_billing_determinants_calculation, step 5, and standard_load_billing_data: a register takes
its period's start too. AEMO, "Meter Data File Format Specification NEM12 & NEM13", record 250: a register's quantity.
"""

from __future__ import annotations

import numpy as np

from tallybook_engine.decimals import format_decimal
from tallybook_engine.determinants.configuration import ChannelClassifier
from tallybook_engine.determinants.message import instant_text
from tallybook_engine.determinants.quality import QualityTable
from tallybook_engine.determinants.readings import Readings, ReadingsFault, rows_between

INT64_MAX = 2**63 - 1


def check_dial(classifier: ChannelClassifier, readings: Readings, quality: QualityTable, first: int, last: int) -> None:
    """Raises ReadingsFault for the first of the rows [first, last) that a dial of so many digits cannot show."""
    if classifier.dial_digits is None:
        return
    values = readings.values[first:last]
    end = 10 ** (classifier.dial_digits + classifier.decimal_places)
    beyond = (values < 0) | (values >= end) if end <= INT64_MAX else values < 0
    beyond &= quality.has_value()[readings.quality[first:last]]
    if beyond.any():
        row = first + int(np.argmax(beyond))
        shown = format_decimal(int(readings.values[row]), classifier.decimal_places)
        raise ReadingsFault(
            f"row {row}, of {instant_text(readings.label(row))}, is {shown}, and a dial of {classifier.dial_digits} "
            f"digits shows 0 to {10**classifier.dial_digits}, that one not included"
        )


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
