"""A prediction is what storing would answer, and leaves nothing behind."""

from __future__ import annotations

from itertools import pairwise

from tests.support.ledger_view import difference
from tests.support.small_catalogue import catalogue, per_unit, tiers, used

from tallybook_engine.ledger.outcomes import Status

GRADUATED = tiers("graduated", ("2", "1", "0"), (None, "0.5", "3"))


def amounts(outcome) -> list[int]:
    starts = outcome.posting_starts
    return [int(outcome.postings.amount[a:b].sum()) for a, b in pairwise(starts)]


def statuses(outcome) -> list[str]:
    return [Status(int(status)).name for status in outcome.status]


def test_a_prediction_answers_what_storing_then_does(open_book):
    book = open_book(catalogue(GRADUATED, per_unit("0.333")))
    events = [used("a", "1.5"), used("b", "1"), used("c", "0.1", day=40)]
    predicted = book.predict(events).outcome
    stored = book.store(events).outcome
    assert amounts(predicted) == amounts(stored) == [200, 408, 13]
    assert statuses(predicted) == statuses(stored)


def test_a_prediction_changes_nothing(open_book):
    book = open_book(catalogue(GRADUATED, per_unit("1", minimum="10")))
    book.store([used("a")])
    before = book.view()
    book.predict([used("a"), used("b", "5", day=70), used("c", "-1"), used("a", "2")])
    assert difference(before, book.view()) == []


def test_an_event_twice_in_one_prediction_is_a_duplicate_of_what_is_not_stored_yet(open_book):
    book = open_book(catalogue(GRADUATED))
    predicted = book.predict([used("a", "3"), used("a", "3"), used("a", "4")]).outcome
    assert statuses(predicted) == ["STORED", "DUPLICATE", "CONFLICT"]
    assert amounts(predicted) == [550, 550, 0]
    # Then no id is answered, for nothing has one
    assert predicted.event_ids.tolist() == [0, 0, 0]


def test_a_duplicate_of_a_stored_event_repeats_its_first_amounts(open_book):
    book = open_book(catalogue(GRADUATED))
    first = book.store([used("a", "1"), used("b", "2")]).outcome
    again = book.predict([used("b", "2")]).outcome
    assert amounts(again) == [amounts(first)[1]] == [450]
    assert again.event_ids.tolist() == first.event_ids[1:].tolist()
