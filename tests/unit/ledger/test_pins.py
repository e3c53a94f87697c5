"""An accumulation period keeps the catalogue that was in force when it opened."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from tests.support.ledger_view import lines_of
from tests.support.small_catalogue import DAILY, DAY_US, YEAR_START_US, YEARLY, catalogue, per_unit, used

WEEKLY = {"basis": "CONTRACT", "interval": 1, "unit": "WEEK"}


def lines(book) -> list[tuple[str, str, int]]:
    """(first day, last day, amount) of each line that is worth something, in order."""
    found = []
    for key, line in lines_of(book.state).items():
        if line.amount:
            found.append((_day(key.start_us), _day(key.end_us - 1), line.amount))
    return sorted(found)


def _day(at_us: int) -> str:
    return datetime.fromtimestamp(at_us // 10**6, UTC).strftime("%m-%d")


def dearer(put: dict, **changes) -> dict:
    """The catalogue with its plan at twice the price, or with other changes of its contract."""
    if changes:
        return {"contracts": [{**put["contracts"][0], **changes}]}
    return {"plans": [{**put["plans"][0], "per_unit": {"unit_price": "2"}}]}


def test_an_open_period_keeps_its_price_and_the_next_one_has_the_new_one(open_book):
    put = catalogue(per_unit("1"))
    book = open_book(put)
    book.store([used("a", day=1)])
    book.apply(dearer(put))
    book.store([used("b", day=2), used("c", day=40)])
    assert lines(book) == [("01-01", "01-31", 200), ("02-01", "02-29", 200)]


def test_a_late_event_opens_an_old_period_under_the_present_price(open_book):
    put = catalogue(per_unit("1"))
    book = open_book(put)
    book.store([used("a", day=40)])
    book.apply(dearer(put))
    book.store([used("b", day=1)])
    assert lines(book) == [("01-01", "01-31", 200), ("02-01", "02-29", 100)]


def test_a_new_period_never_reaches_into_an_open_one(open_book):
    """Months opened by the first version; then the charge runs up over the year, in what the months leave of it."""
    put = catalogue(per_unit("1"))
    book = open_book(put)
    book.store([used("a", day=1), used("b", day=65)])
    charges = [{**put["contracts"][0]["product_contracts"][0], "accumulation_period": YEARLY}]
    book.apply(dearer(put, product_contracts=charges))
    book.store([used("c", day=40), used("d", day=70), used("e", day=100), used("f", day=130)])
    periods = book.state.periods.rows()
    starts = [(at - YEAR_START_US) // DAY_US for at in periods.start_us.tolist()]
    ends = [(at - YEAR_START_US) // DAY_US for at in periods.end_us.tolist()]
    assert sorted(zip(starts, ends, strict=True)) == [(0, 31), (31, 60), (60, 91), (91, 366)]


def test_a_week_and_a_month_that_begin_together_are_two_lines(open_book):
    """Daily sums under monthly bills; from the second day on the bills are weekly, and the first week began with the
    month. Each rounds its own half cents."""
    put = catalogue(per_unit("0.003"), accumulation=DAILY)
    book = open_book(put)
    book.store([used("a", day=0)])
    book.apply(dearer(put, billing_frequency=WEEKLY))
    book.store([used("b", "2", day=1)])
    found = {(key.start_us, key.end_us): line for key, line in lines_of(book.state).items()}
    month, week = (YEAR_START_US, YEAR_START_US + 31 * DAY_US), (YEAR_START_US, YEAR_START_US + 7 * DAY_US)
    assert {bounds: line.amount for bounds, line in found.items()} == {month: 0, week: 1}


@pytest.mark.parametrize("restarted", [False, True])
def test_pins_outlive_a_restart(open_book, restarted):
    put = catalogue(per_unit("1"), accumulation=YEARLY)
    book = open_book(put)
    book.store([used("a", day=1)])
    book.apply(dearer(put))
    if restarted:
        book.restart()
    book.store([used("b", day=200)])
    assert lines(book) == [("01-01", "01-31", 100), ("07-01", "07-31", 100)]
