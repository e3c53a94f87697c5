"""Lists and invoices ask again and again whether anybody still waits, in every pass over what may be many."""

from __future__ import annotations

from collections.abc import Coroutine
from datetime import date

import pytest
from tests.support.small_catalogue import DAILY, DAY_US, YEAR_START_US, catalogue, per_unit, used

from tallybook_engine import asking

DAYS, OBJECTS_UNASKED = 200, 5
EVERY_DAY = {"basis": "CALENDAR", **DAILY}
FEE = {"id": "fee", "amount": "1", "prorate": True}
TERMS = {"prorate": True, "minimum": "9", "fixed_fees": [FEE], "credits": [{"id": "gift", "amount": "100"}]}


@pytest.fixture
def book(open_book, monkeypatch):
    """A contract that is billed by the day, with an event on every second one."""
    put = catalogue(per_unit("1", minimum="0.5"), billing=EVERY_DAY)
    put["contracts"][0].update(TERMS)
    book = open_book(put)
    for day in range(0, DAYS, 2):
        book.store([used(f"e{day}", "3", day=day)])
    monkeypatch.setattr(asking, "OBJECTS_UNASKED_MAX", OBJECTS_UNASKED)
    return book


def asked_for(book, name: str, go_on) -> Coroutine:
    end_us = YEAR_START_US + DAYS * DAY_US
    lists = {
        "invoice": lambda: book.book.invoices("contract", date(2024, 7, 18), 1, None, go_on),
        "charges": lambda: book.book.charges("ann", True, YEAR_START_US, end_us, None, True, go_on),
        "charges as of before": lambda: book.book.charges("ann", True, YEAR_START_US, end_us, 1, False, go_on),
        "invoiced charges": lambda: book.book.invoiced("ann", True, YEAR_START_US, end_us, None, go_on),
        "usage": lambda: book.book.usage("ann", True, None, None, None, go_on),
    }
    return lists[name]()


def asks(book, name: str, last: int | None = None) -> int:
    """How often a list asks; at the ask `last` nobody waits any more."""
    count = 0

    def go_on() -> None:
        nonlocal count
        count += 1
        if count == last:
            raise InterruptedError

    book.run(asked_for(book, name, go_on))
    return count


# By list, passes over as many objects as there are days; half of these have a line, which asks for its parts by itself.
PASSES = {
    "invoice": 18,
    "charges": 6,
    "charges as of before": 3,
    "invoiced charges": 18,
    "usage": 1,
}


@pytest.mark.parametrize("name", PASSES)
def test_a_list_asks_every_so_many_objects(book, name):
    # A pass that does not ask is one too few
    assert asks(book, name) >= PASSES[name] * DAYS / OBJECTS_UNASKED


@pytest.mark.parametrize("name", PASSES)
def test_a_list_stops_wherever_nobody_waits_any_more(book, name):
    count = asks(book, name)
    for last in range(1, count + 1, max(1, count // 40)):
        with pytest.raises(InterruptedError):
            asks(book, name, last)
    # And afterwards the book is as it was
    assert asks(book, name) == count
