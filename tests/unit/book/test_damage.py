"""A stored segment that cannot be read fails the calls that need it, and leaves the ledger as it was."""

from __future__ import annotations

import pytest
from tests.support.ledger_view import difference
from tests.support.live_book import columns_of
from tests.support.small_catalogue import YEARLY, catalogue, per_unit, used

from tallybook_engine.ledger.outcomes import EventSelector
from tallybook_server.errors import ErrorCode, Fault
from tallybook_server.journal.interface import DamagedJournal, Segment
from tallybook_server.journal.memory import MemoryJournal


class DamagedSegment(MemoryJournal):
    """Its segment of one sequence cannot be read by itself."""

    damaged = 0

    def segment_of(self, sequence: int) -> Segment:
        if sequence == self.damaged:
            raise DamagedJournal(f"sequence {sequence} is damaged")
        return super().segment_of(sequence)


@pytest.fixture
def book(open_book):
    """Four events in two commits, of which the first is damaged, under a sum and a maximum."""
    put = catalogue(per_unit("1"), per_unit("2"), accumulation=YEARLY)
    put["products"].append({**put["products"][0], "id": "peak", "aggregation": "MAX"})
    put["plans"][1]["product"] = "peak"
    journal = DamagedSegment()
    book = open_book(put, journal)
    book.store([used("a", "5"), used("b", "3")])
    book.store([used("c", "7"), used("d", "2")])
    book.restart()
    journal.damaged = 1
    return book


def select(reference: str) -> EventSelector:
    return EventSelector(customer="ann", reference=reference, generation=1)


CALLS = {
    "a duplicate": lambda book: book.run(
        book.book.ingest(columns_of([used("e"), used("a", "5")]), duplicates_costed=False)
    ),
    "a prediction": lambda book: book.predict([used("e"), used("a", "5")]),
    "a delete": lambda book: book.delete(select("d"), select("a")),
    "a maximum's delete": lambda book: book.delete(select("c")),
    "a reprocess": lambda book: book.reprocess("ann", move_pins=True),
    "an event": lambda book: book.run(book.book.get_event(select("a"))),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_a_call_that_needs_it_fails_and_changes_nothing(book, call):
    before = book.view()
    with pytest.raises(DamagedJournal, match="sequence 1 is damaged"):
        call(book)
    assert difference(before, book.view()) == []


def test_the_book_goes_on_beside_it(book):
    for call in CALLS.values():
        with pytest.raises(DamagedJournal):
            call(book)
    assert book.store([used("e", "1"), used("c", "7")]).outcome.status.tolist() == [1, 2]
    assert [each.status.name for each in book.delete(select("z"))] == ["NOT_FOUND"]


def test_after_an_error_that_nobody_expects_nothing_more_is_stored(book, monkeypatch):
    """What it left behind nobody knows; the journal is whole, and a restart reads it."""

    def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setattr("tallybook_engine.ledger.delete.surviving_values", broken)
    with pytest.raises(ZeroDivisionError):
        book.delete(select("c"))
    with pytest.raises(Fault) as refused:
        book.store([used("e")])
    assert refused.value.code is ErrorCode.INTERNAL
    monkeypatch.undo()
    book.restart()
    assert book.store([used("e")]).outcome.status.tolist() == [1]
