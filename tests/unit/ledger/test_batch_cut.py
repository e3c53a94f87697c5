"""What an event costs does not depend on what else comes in its message."""

from __future__ import annotations

from itertools import pairwise

import pytest
from tests.support.ledger_view import lines_of
from tests.support.small_catalogue import DAILY, catalogue, per_unit, tiers, used


def costs(outcome) -> list[int]:
    return [int(outcome.postings.amount[start:end].sum()) for start, end in pairwise(outcome.posting_starts)]


def opened(book) -> list[int]:
    return [opening.amount for opening in book.state.openings]


EVENTS = [used(f"e{n}", units, day=day) for n, (units, day) in enumerate([("3", 0), ("1", 1), ("2", 0), ("4", 2)])]
FEE_DUE_WITHOUT_USAGE = tiers("graduated", (None, "0.001", "0.004"), zero_usage=True)
"""Less than half a cent a day, so that each day's opening moves the month's rounding of the events around it."""


@pytest.mark.parametrize(
    "pricings",
    [(FEE_DUE_WITHOUT_USAGE,), (per_unit("0.001", minimum="0.0049"), FEE_DUE_WITHOUT_USAGE)],
    ids=["one charge", "two charges"],
)
@pytest.mark.parametrize("cuts", [(0, 4), (0, 1, 4), (0, 3, 4), (0, 2, 4)])
def test_events_cost_the_same_in_any_cut(open_book, pricings, cuts):
    # Given each event in a message of its own
    alone = open_book(catalogue(*pricings, accumulation=DAILY))
    one_by_one = [cost for event in EVENTS for cost in costs(alone.store([event]).outcome)]
    # When the same come in larger messages
    together = open_book(catalogue(*pricings, accumulation=DAILY))
    cut = [cost for start, end in pairwise(cuts) for cost in costs(together.store(EVENTS[start:end]).outcome)]
    # Then every cost, every opening and every line is the same
    assert cut == one_by_one
    assert opened(together) == opened(alone)
    assert lines_of(together.state) == lines_of(alone.state)


def test_more_openings_than_are_looked_for_at_once(open_book, monkeypatch):
    """Each of 100 days opens with a fee, and the look-out for openings stops at every fourth."""
    monkeypatch.setattr("tallybook_engine.ledger.stage.MISSING_CAPACITY", 4)
    events = [used(f"e{n}", "1", day=n) for n in range(100)]
    book = open_book(catalogue(FEE_DUE_WITHOUT_USAGE, accumulation=DAILY))
    found = costs(book.store(events).outcome)
    other = open_book(catalogue(FEE_DUE_WITHOUT_USAGE, accumulation=DAILY))
    assert found == [cost for event in events for cost in costs(other.store([event]).outcome)]
