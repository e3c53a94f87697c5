"""Deleting events: they leave every line they moved, whatever order they came in."""

from __future__ import annotations

from unittest.mock import patch

import pytest
from tests.support.ledger_view import lines_of
from tests.support.small_catalogue import YEARLY, catalogue, per_unit, tiers, used

from tallybook_engine.ledger.outcomes import DeleteStatus, EventSelector

VOLUME = tiers("volume", ("10", "2", "0"), (None, "1", "0"))


def amounts(book) -> list[int]:
    """Lines by billing period, in minor units."""
    return [line.amount for _, line in sorted(lines_of(book.state).items(), key=lambda each: each[0].start_us)]


def deleted(book, *references: str, generation: int = 1) -> list[tuple[str, int]]:
    """Each delete's status, and the amount it moved."""
    outcomes = book.delete_references("ann", *references, generation=generation)
    return [(DeleteStatus(each.status).name, sum(part.amount for part in each.postings)) for each in outcomes]


def test_a_delete_moves_the_months_behind_it_too(open_book):
    """A yearly volume tier: without January's units February's are dear again."""
    book = open_book(catalogue(VOLUME, accumulation=YEARLY))
    book.store([used("january", "8", day=3), used("february", "4", day=35), used("march", "1", day=65)])
    assert amounts(book) == [1600, -400, 100]
    assert deleted(book, "january") == [("DELETED", -1600 + 1200 + 100)]
    assert amounts(book) == [0, 800, 200]


def test_deleting_again_answers_what_was_answered_first(open_book):
    book = open_book(catalogue(per_unit("0.5")))
    book.store([used("a", "3"), used("b", "4")])
    assert deleted(book, "a") == [("DELETED", -150)]
    assert deleted(book, "a") == [("ALREADY_DELETED", -150)]
    book.restart()
    assert deleted(book, "a") == [("ALREADY_DELETED", -150)]
    assert amounts(book) == [200]


def test_one_call_may_name_an_event_twice(open_book):
    book = open_book(catalogue(per_unit("0.5")))
    ingested = book.store([used("a", "3"), used("b", "4")])
    by_id = EventSelector(event_id=int(ingested.outcome.event_ids[0]))
    by_reference = EventSelector(customer="ann", reference="a", generation=1)
    outcomes = book.delete(by_reference, by_id, by_reference)
    assert [each.status.name for each in outcomes] == ["DELETED", "ALREADY_DELETED", "ALREADY_DELETED"]
    assert [sum(part.amount for part in each.postings) for each in outcomes] == [-150] * 3
    assert amounts(book) == [200]


def test_what_is_not_there_is_not_found(open_book):
    book = open_book(catalogue(per_unit("1")))
    book.store([used("a")])
    selectors = [
        EventSelector(customer="ann", reference="b", generation=1),
        EventSelector(customer="ann", reference="a", generation=2),
        EventSelector(customer="bob", reference="a", generation=1),
        EventSelector(event_id=1),
        EventSelector(event_id=(1 << 24) | 1),
        EventSelector(event_id=(9 << 24)),
        EventSelector(event_id=(1 << 63) | (1 << 24)),
    ]
    assert {each.status for each in book.delete(*selectors)} == {DeleteStatus.NOT_FOUND}
    assert amounts(book) == [100]


@pytest.mark.parametrize(
    ("gone", "left"),
    [
        (("high",), [500, 0, 200]),
        (("high", "low"), [0, 200, 500]),
        (("middle",), [900, 0, 0]),
        (("last",), [900, 0, 0]),
        (("high", "last"), [500, 0, 0]),
        (("high", "low", "middle", "last"), [0, 0, 0]),
    ],
)
def test_a_maximum_falls_to_what_is_left(open_book, gone, left):
    book = open_book(catalogue(per_unit("1"), aggregation="MAX", accumulation=YEARLY))
    book.store([used("low", "5", day=1), used("high", "9", day=2)])
    book.store([used("middle", "2", day=40), used("last", "7", day=70)])
    assert amounts(book) == [900, 0, 0]
    deleted(book, *gone)
    assert amounts(book) == left


def test_a_maximum_of_many_digits_falls_in_the_months_behind_it_too(open_book):
    """Prices whose limbs are full are handed from one month to the next."""
    book = open_book(catalogue(per_unit("999.999999999999"), aggregation="MAX", accumulation=YEARLY))
    book.store([used("a", "999999.999999999999", day=1), used("b", "888888.888888888888", day=1)])
    book.store([used("c", "7", day=40)])
    deleted(book, "a")
    assert amounts(book) == [88888888889, 0]


def deleted_with_reads(book, *references: str) -> tuple[list[tuple[str, int]], int]:
    """What `deleted` answers for one call, and how often a customer's history was read for it."""
    records = book.book._records
    with patch.object(records, "of_customer", wraps=records.of_customer) as of_customer:
        return deleted(book, *references), of_customer.call_count


def test_deletes_below_the_maximum_read_no_history(open_book):
    """In February all but the new maximum were below January's already."""
    book = open_book(catalogue(per_unit("1"), aggregation="MAX", accumulation=YEARLY))
    book.store([used("low", "5", day=1), used("high", "9", day=2), used("twin", "9", day=3)])
    book.store([used("middle", "2", day=40), used("same", "9", day=41), used("top", "12", day=42)])
    assert deleted_with_reads(book, "low", "middle", "same") == ([("DELETED", 0)] * 3, 0)
    assert amounts(book) == [900, 300]


def test_deletes_of_maxima_read_the_history_once_a_call(open_book):
    book = open_book(catalogue(per_unit("1"), per_unit("2"), aggregation="MAX", accumulation=YEARLY))
    for month in range(3):
        book.store([used(f"{month}-{n}", str(10 * month + n), day=31 * month + n) for n in range(1, 9)])
    descending = [f"{month}-{n}" for month in (2, 1) for n in range(8, 0, -1)]
    moves, read_count = deleted_with_reads(book, *descending, "0-8")
    # A unit less at the prices of both charges; where a month's last event goes, as far as the month before.
    assert moves == [("DELETED", -300 * fall) for fall in [1] * 7 + [3] + [1] * 7 + [3] + [1]]
    assert read_count == 2, "an account each"
    assert amounts(book)[:2] in ([700, 1400], [1400, 700])
    assert not any(amounts(book)[2:])


def test_a_maximum_whose_delete_was_refused_counts_on(open_book):
    """Without it the sum of the other charge would leave the limits, until one of the negative ones is gone too."""
    put = catalogue(per_unit("1"), per_unit("1"), allow_negative=True)
    put["products"].append({"id": "largest", "meter": "meter", "aggregation": "MAX", "value": "units"})
    put["plans"][0]["product"] = "largest"
    book = open_book(put)
    book.store([used("top", "600000000000000"), used("down", "-500000000000000")])
    book.store([used("deeper", "-700000000000000"), used("small", "5")])
    outcomes = book.delete_references("ann", "top", "down", "top")
    assert [each.status.name for each in outcomes] == ["INVALID", "DELETED", "DELETED"]
    assert sorted(amounts(book)) == [0, 500]


def test_a_delete_that_would_leave_the_limits_is_refused(open_book):
    book = open_book(catalogue(per_unit("1"), allow_negative=True))
    book.store([used("up", "600000000000000")])
    book.store([used("down", "-500000000000000")])
    book.store([used("more", "700000000000000")])
    before = amounts(book)
    outcome = book.delete_references("ann", "down")[0]
    assert outcome.status is DeleteStatus.INVALID
    assert outcome.fault
    assert amounts(book) == before == [80000000000000000]
