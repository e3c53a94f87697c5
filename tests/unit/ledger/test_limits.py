"""What would leave the limits is stored and counted nowhere; nothing ever wraps."""

from __future__ import annotations

import pytest
from tests.support.ledger_view import lines_of
from tests.support.small_catalogue import DAILY, catalogue, per_unit, tiers, used

from tallybook_engine.ledger.faults import RowFault
from tallybook_engine.ledger.outcomes import Status

HUGE = "900000000000000"


def statuses(book, *events) -> list[tuple[str, str]]:
    outcome = book.store(list(events)).outcome
    return [
        (Status(int(status)).name, RowFault(int(fault)).name)
        for status, fault in zip(outcome.status, outcome.faults, strict=True)
    ]


def amounts(book) -> list[int]:
    return [line.amount for _, line in sorted(lines_of(book.state).items(), key=lambda each: each[0].start_us)]


STORED = ("STORED", "NONE")
TOO_MUCH = ("UNPRICED", "QUANTITY_OVERFLOW")
TOO_DEAR = ("UNPRICED", "AMOUNT_OVERFLOW")


@pytest.mark.parametrize(
    ("pricing", "units", "answers", "line"),
    [
        # The accumulated quantity: below 10^15 fits, 10^15 does not
        (per_unit("1"), ["999999999999999", "0.999999999999"], [STORED, STORED], 10**17),
        (per_unit("0"), ["999999999999999", "1"], [STORED, TOO_MUCH], 0),
        # The price of it
        (per_unit("3"), ["333333333333333.333333333333"], [STORED], 10**17),
        (per_unit("3"), ["333333333333333.333333333334"], [TOO_DEAR], 0),
        # What does not fit leaves room for what comes after
        (
            per_unit("1"),
            ["600000000000000", "600000000000000", "300000000000000"],
            [STORED, TOO_MUCH, STORED],
            9 * 10**16,
        ),
    ],
)
def test_what_leaves_the_limits_is_unpriced(open_book, pricing, units, answers, line):
    book = open_book(catalogue(pricing))
    assert statuses(book, *(used(f"e{n}", each) for n, each in enumerate(units))) == answers
    assert sum(amounts(book)) == line


def test_a_line_of_parts_that_fit_may_not_fit(open_book):
    """Two days of one month, each below the limit and together above it."""
    book = open_book(catalogue(per_unit("1"), accumulation=DAILY))
    assert statuses(book, used("a", HUGE, day=0), used("b", HUGE, day=1), used("c", "5", day=1)) == [
        STORED,
        TOO_DEAR,
        STORED,
    ]
    assert amounts(book) == [9 * 10**16 + 500]


def test_a_move_over_the_whole_range_is_too_far(open_book):
    """With four decimals each end of the range is 9 x 10^18 minor units, and the way between them no int64."""
    price = tiers("stairstep", ("1", "0", f"-{HUGE}"), (None, "0", HUGE))
    book = open_book(catalogue(price, currency="CLF"))
    assert statuses(book, used("a", "1"), used("b", "1")) == [STORED, TOO_DEAR]
    assert amounts(book) == [-9 * 10**18]


def test_a_tax_over_the_whole_range_is_too_far(open_book):
    price = tiers("stairstep", ("1", "0", "-90000000000000"), (None, "0", "90000000000000"))
    book = open_book(catalogue(price, tax={"rate": "1000"}))
    assert statuses(book, used("a", "1"), used("b", "1")) == [STORED, TOO_DEAR]
    assert amounts(book) == [-9 * 10**15]


def test_an_unpriced_event_moves_none_of_its_charges(open_book):
    book = open_book(catalogue(per_unit("1"), per_unit("100")))
    assert statuses(book, used("a", "10000000000000")) == [TOO_DEAR]
    assert amounts(book) == [0, 0]
    # It is there all the same: its reference is taken, and it can be deleted
    assert statuses(book, used("a", "10000000000000"), used("a", "1"))[1] == ("CONFLICT", "REFERENCE_CONFLICT")
    (deleted,) = book.delete_references("ann", "a")
    assert (deleted.status.name, deleted.postings) == ("DELETED", ())
    assert statuses(book, used("a", "1")) == [STORED]
    assert amounts(book) == [100, 10_000]


def test_an_unpriced_event_is_priced_once_there_is_room(open_book):
    book = open_book(catalogue(per_unit("1")))
    assert statuses(book, used("a", "600000000000000"), used("b", "600000000000000")) == [STORED, TOO_MUCH]
    assert book.reprocess("ann").line_count_moved == 0
    book.delete_references("ann", "a")
    assert amounts(book) == [0]
    progress = book.reprocess("ann")
    assert (progress.event_count_rated, progress.line_count_moved) == (1, 1)
    assert amounts(book) == [6 * 10**16]


def test_what_is_due_without_events_may_not_fit_either(open_book):
    """Each day has a fee, and a line opens with those of all its days: 29 fit in February, 31 do not in January."""
    fee = tiers("graduated", (None, "0", "34000000000000"), zero_usage=True)
    book = open_book(catalogue(fee, accumulation=DAILY))
    assert statuses(book, used("a", "1", day=0), used("b", "1", day=31), used("c", "1", day=1)) == [
        TOO_DEAR,
        STORED,
        TOO_DEAR,
    ]
    assert amounts(book) == [29 * 34 * 10**14]
