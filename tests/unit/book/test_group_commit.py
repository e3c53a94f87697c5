"""Messages that pile up behind a commit on its way go into one commit, and each is stored as if it had come alone."""

from __future__ import annotations

from tests.support.held_journal import HeldJournal
from tests.support.ledger_view import difference, fold_view
from tests.support.small_catalogue import catalogue, per_unit, used

from tallybook_engine.ledger.outcomes import Status
from tallybook_server.journal.memory import MemoryJournal


def statuses(answer) -> list[str]:
    return [Status(int(status)).name for status in answer.outcome.status]


def test_a_duplicate_of_what_waits_beside_it_loses_nothing_that_comes_after(open_book):
    journal = HeldJournal(MemoryJournal())
    book = open_book(catalogue(per_unit("1")), journal)
    # Given "b" in a commit that waits behind the one on its way
    answers = book.ingest_held(journal, [used("a")], [used("b")], [used("b"), used("c")], [used("d"), used("b", "2")])
    assert [statuses(each) for each in answers] == [
        ["STORED"],
        ["STORED"],
        ["DUPLICATE", "STORED"],
        ["STORED", "CONFLICT"],
    ]
    # Then the journal holds all that was acknowledged
    assert difference(book.view(), fold_view(journal, from_snapshot=False)) == []
    assert len(book.view()["references"]) == 4
