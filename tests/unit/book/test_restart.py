"""Opening a book again: from its segments, from a snapshot and the segments behind it, after merges of either side."""

from __future__ import annotations

import pytest
from tests.support.ledger_view import difference, fold_view
from tests.support.small_catalogue import YEARLY, catalogue, per_unit, tiers, used

from tallybook_engine.ledger.outcomes import Status
from tallybook_server.journal.interface import CommitFailed
from tallybook_server.journal.memory import MemoryJournal

VOLUME = tiers("volume", ("3", "2", "1"), (None, "1", "0"), zero_usage=True)


def store_apart(book, *references: str) -> None:
    """Each event in a commit of its own."""
    for number, reference in enumerate(references):
        book.store([used(reference, "1.5", day=40 * number)])


def statuses(book, *references: str) -> list[str]:
    events = [used(reference, "1.5", day=40 * number) for number, reference in enumerate(references)]
    return [Status(int(status)).name for status in book.store(events).outcome.status]


def segment_bounds(journal) -> list[tuple[int, int]]:
    return [(each.first_sequence, each.last_sequence) for each in journal.headers()]


@pytest.mark.parametrize("order", ["snapshot, merge", "merge, snapshot", "merge", "snapshot", ""])
def test_a_book_is_the_same_after_a_restart(open_book, order):
    journal = MemoryJournal()
    book = open_book(catalogue(VOLUME, per_unit("0.07"), accumulation=YEARLY), journal)
    store_apart(book, "a", "b", "c")
    book.delete_references("ann", "b")
    if order.startswith("snapshot"):
        book.snapshot()
    store_apart(book, "d", "e")
    if "merge" in order:
        assert book.merge() == 5
        # A snapshot may lie in the middle of a segment
        assert segment_bounds(journal) == [(1, 6)]
    if order.endswith(", snapshot"):
        book.snapshot()
    before = book.view()
    book.restart()
    assert difference(before, book.view()) == []
    assert difference(before, fold_view(journal, from_snapshot=False)) == []
    assert statuses(book, "a") == ["DUPLICATE"]
    assert statuses(book, "d", "e", "b") == ["DUPLICATE", "DUPLICATE", "STORED"]


def test_a_snapshot_after_one_that_failed_still_has_all_keys(open_book):
    class FailingSnapshots(MemoryJournal):
        fails = True

        def put_snapshot_part(self, sequence: int, name: str, body: bytes) -> None:
            if self.fails:
                raise CommitFailed("planned: no room for a snapshot")
            super().put_snapshot_part(sequence, name, body)

    journal = FailingSnapshots()
    book = open_book(catalogue(per_unit("1")), journal)
    store_apart(book, "a", "b")
    with pytest.raises(CommitFailed):
        book.snapshot()
    store_apart(book, "c")
    journal.fails = False
    book.snapshot()
    book.restart()
    assert statuses(book, "a", "b") == ["DUPLICATE", "DUPLICATE"]
    assert difference(fold_view(journal, from_snapshot=False), book.view()) == []


def test_a_book_opens_with_the_catalogue_that_it_had(open_book):
    book = open_book(catalogue(per_unit("1")))
    book.store([used("a")])
    book.apply({"plans": [{"id": "plan0", "product": "product", "currency": "EUR", **per_unit("2")}]})
    before = book.view()
    book.restart()
    assert difference(before, book.view()) == []
    # The open month keeps its price; the next one has the new one
    book.store([used("b"), used("c", day=40)])
    assert sorted(amount for _, _, amount, _ in book.view()["lines"]) == [200, 200]
