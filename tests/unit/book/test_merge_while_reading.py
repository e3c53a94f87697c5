"""Segments are merged while someone reads them: each record is read once all the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.support.live_book import LiveBook
from tests.support.small_catalogue import catalogue, per_unit, used

from tallybook_engine.ledger.reads import EventFilter
from tallybook_server.journal.interface import Segment
from tallybook_server.journal.memory import MemoryJournal


class MergedBetween(MemoryJournal):
    """Calls `merge` when so many segments were read one by one."""

    merge: Callable[[], int] | None = None
    reads_left = 0

    def segment_of(self, sequence: int) -> Segment:
        self.reads_left -= 1
        if self.reads_left < 0 and self.merge is not None:
            merge, self.merge = self.merge, None
            assert merge() == 4
        return super().segment_of(sequence)


def reprocessed(book: LiveBook) -> list[int]:
    return [moved[2] for moved in book.reprocess("ann", move_pins=True).amounts]


def listed(book: LiveBook) -> list[str]:
    page = book.run(book.book.list_events(EventFilter(), None, None, 100))
    return [each.payload.reference for each in page.events]


def charged_at_first(book: LiveBook) -> list[int]:
    lines, _ = book.run(book.book.charges("ann", True, None, None, 1, False))
    return [line.amount for line in lines]


@pytest.mark.parametrize("reads", range(5))
@pytest.mark.parametrize(
    ("read", "expected"),
    [(reprocessed, [500]), (listed, ["a", "b", "c", "d", "e"]), (charged_at_first, [100])],
    ids=["reprocess", "list", "charges as of a sequence"],
)
def test_each_record_is_read_once(open_book, read, expected, reads):
    journal = MergedBetween()
    book = open_book(catalogue(per_unit("1")), journal)
    for reference in "abcde":
        book.store([used(reference)])
    book.apply(catalogue(per_unit("2")))
    # Nothing is decoded yet after a restart
    book.restart()
    journal.reads_left, journal.merge = reads, book.merge
    assert read(book) == expected
