"""Parts of a period by local days: cumulatively rounded, of a period that clocks were changed in too."""

from datetime import date
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallybook_engine.calendar.proration import prorated, prorated_between
from tallybook_oracle.calendar import first_instant

MARCH = ("Europe/Amsterdam", "2024-03-01", "2024-04-01")
"""A month of 31 days, one of them of 23 hours."""


def instant(zone, day):
    return first_instant(zone, date.fromisoformat(day))


@pytest.mark.parametrize(
    ("whole", "start", "end", "amount", "part"),
    [
        (MARCH, "2024-03-01", "2024-04-01", 310, 310),
        (MARCH, "2024-03-22", "2024-04-01", 310, 100),
        (MARCH, "2024-03-31", "2024-04-01", 31, 1),
        # What lies outside of the period is none of it.
        (MARCH, "2024-01-01", "2024-03-11", 310, 100),
        (MARCH, "2024-03-22", "2025-01-01", 310, 100),
        (MARCH, "2024-05-01", "2024-06-01", 310, 0),
        (MARCH, "2024-03-20", "2024-03-10", 310, 0),
        # 10 x 11 / 31 less 10 x 10 / 31, to the nearest each: 4 - 3.
        (MARCH, "2024-03-11", "2024-03-12", 10, 1),
        (MARCH, "2024-03-12", "2024-03-13", 10, 0),
        # The zone skipped the 30th of December.
        (("Pacific/Apia", "2011-12-01", "2012-01-01"), "2011-12-31", "2012-01-01", 31, 1),
    ],
)  # fmt: skip
def test_parts(whole, start, end, amount, part):
    zone, first, last = whole
    whole_us = instant(zone, first), instant(zone, last)
    assert prorated_between(amount, zone, whole_us, (instant(zone, start), instant(zone, end))) == part


@given(st.integers(-(10**27), 10**27), st.lists(st.integers(0, 366), max_size=8), st.integers(1, 366))
def test_parts_add_up_to_the_whole(amount, cuts, day_count):
    days = sorted({0, day_count, *(cut for cut in cuts if cut < day_count)})
    assert sum(prorated(amount, *part, day_count) for part in pairwise(days)) == amount
