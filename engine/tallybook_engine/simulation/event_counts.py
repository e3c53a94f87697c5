"""How many events a row stands for, held against what its product does with them.

A row's quantity is what all of its events come to together. A sum is the same from the events and from their total. A
product that counts events has their number for a quantity. The largest value of several events is not in their total.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.asking import GoOn, stretches, unasked
from tallybook_engine.catalog.compile import AGGREGATION_CODES
from tallybook_engine.catalog.model import Aggregation
from tallybook_engine.decimals import QUANTITY_SCALE
from tallybook_engine.simulation.usage import UsageFrame

COUNT = AGGREGATION_CODES[Aggregation.COUNT]
MAX = AGGREGATION_CODES[Aggregation.MAX]

_UNIT = np.uint64(10**QUANTITY_SCALE)
# 2^64 is so many units, and so much more.
_UNITS_OF_LIMB, _REST_OF_LIMB = (np.uint64(each) for each in divmod(1 << 64, 10**QUANTITY_SCALE))


class Rule:
    """Something that rows may break, and which do."""

    def __init__(self, column: str, words: str, subject_count: int) -> None:
        self.column = column
        self.words = words
        """What is wrong with rows, to be read after "n rows"."""
        self.counts = np.zeros(subject_count, dtype=np.int64)
        """[subjects] rows that break it."""
        self.first_rows = np.full(subject_count, np.iinfo(np.int64).max, dtype=np.int64)
        """[subjects] the first of them."""

    def note(self, rows: slice, subjects: NDArray[np.int32], broken: NDArray[np.bool_]) -> None:
        """Takes a stretch of rows, of which some break the rule; subjects, broken [rows of the stretch]."""
        which = np.flatnonzero(broken)
        np.add.at(self.counts, subjects[which], 1)
        np.minimum.at(self.first_rows, subjects[which], rows.start + which)


def broken_rules(
    usage: UsageFrame, subjects: NDArray[np.int32], aggregation: NDArray[np.uint8], go_on: GoOn = unasked
) -> list[Rule]:
    """The rules that some row breaks. subjects [rows] whose each row is; aggregation [subjects]."""
    count = len(aggregation)
    whole = Rule("quantity", "are no whole number from 0, and its product counts events", count)
    same = Rule("event_count", "say another number of events than their quantity, which its product counts", count)
    single = Rule(
        "event_count", "stand for several events, of which its product wants the largest: give each its row", count
    )
    counts_some = bool((aggregation == COUNT).any())
    if counts_some or (usage.event_counts is not None and bool((aggregation == MAX).any())):
        for rows in stretches(usage.row_count, go_on):
            of = aggregation[subjects[rows]]
            given = None if usage.event_counts is None else usage.event_counts[rows]
            if counts_some:
                is_whole, events = whole_units(usage.quantities[rows])
                whole.note(rows, subjects[rows], (of == COUNT) & ~is_whole)
                if given is not None:
                    same.note(rows, subjects[rows], (of == COUNT) & is_whole & (given > 0) & (given != events))
            if given is not None:
                single.note(rows, subjects[rows], (of == MAX) & (given > 1))
    return [each for each in (whole, same, single) if each.counts.any()]


def whole_units(quantities: NDArray[np.uint64]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """([n] whether quantities [n, 2] of scale 12 are whole numbers from 0; [n] which, where they are)."""
    low, high = quantities[:, 0], quantities[:, 1]
    # A quantity below 10^15 has less than 2^26 in its upper limb, so that nothing of this leaves 64 bits.
    is_positive = high < np.uint64(1 << 26)
    upper = np.where(is_positive, high, np.uint64(0))
    rest = upper * _REST_OF_LIMB + low % _UNIT
    units = upper * _UNITS_OF_LIMB + low // _UNIT + rest // _UNIT
    return is_positive & (rest % _UNIT == 0), units.astype(np.int64)
