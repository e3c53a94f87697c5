"""Messages that pile up behind a commit on its way go into one commit, and each is stored as if it had come alone."""

from __future__ import annotations

import pytest
from tests.support.faulty_journal import Outcome
from tests.support.held_journal import HeldJournal
from tests.support.ledger_view import difference, fold_view
from tests.support.small_catalogue import catalogue, per_unit, used

from tallybook_engine.ledger.outcomes import Status
from tallybook_server import commits, writer
from tallybook_server.errors import Fault
from tallybook_server.journal.memory import MemoryJournal


def statuses(answer) -> list[str]:
    if isinstance(answer, Fault):
        return [answer.code.name]
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


GOOD, BAD, LOST = Outcome.COMMITTED, Outcome.FAILED, Outcome.UNKNOWN_LOST


@pytest.mark.parametrize(
    ("plan", "stored"),
    [
        ((GOOD, GOOD, GOOD), ["a", "b", "c", "d"]),
        ((BAD,), []),
        ((LOST,), []),
        ((GOOD, BAD), ["a"]),
        ((GOOD, GOOD, BAD), ["a", "b", "c"]),
    ],
    ids=str,
)
def test_what_is_staged_on_a_commit_that_fails_is_taken_back_with_it(open_book, monkeypatch, plan, stored):
    monkeypatch.setattr(writer, "COMMIT_ROWS_MAX", 2)
    journal = HeldJournal(MemoryJournal(), plan)
    book = open_book(catalogue(per_unit("1")), journal)
    # Given a commit being written, a full one behind it that is encoded meanwhile, and one still open
    answers = book.ingest_held(journal, [used("a")], [used("b"), used("c")], [used("d")])
    # Then those before the failure are stored, and all others told to resend
    expected = [["STORED" if each in stored else "COMMIT_FAILED"] for each in ("a", "b", "d")]
    assert [statuses(each)[:1] for each in answers] == expected
    assert difference(book.view(), fold_view(journal, from_snapshot=False)) == []
    assert len(book.view()["references"]) == len(stored)
    # And what is resent is stored, once
    again = book.ingest([used("a")], [used("b"), used("c")], [used("d")])
    assert [statuses(each)[0] for each in again] == ["DUPLICATE" if each in stored else "STORED" for each in "abd"]
    assert difference(book.view(), fold_view(journal, from_snapshot=False)) == []


def test_a_commit_that_cannot_be_encoded_fails_in_its_turn(open_book, monkeypatch):
    monkeypatch.setattr(writer, "COMMIT_ROWS_MAX", 2)
    journal = HeldJournal(MemoryJournal())
    book = open_book(catalogue(per_unit("1")), journal)
    encode = commits.segment_of

    def encode_but_the_second(commit, *others):
        if commit.sequence == 2:
            raise MemoryError("planned")
        return encode(commit, *others)

    monkeypatch.setattr(writer, "segment_of", encode_but_the_second)
    answers = book.ingest_held(journal, [used("a")], [used("b"), used("c")], [used("d")])
    assert [statuses(each)[0] for each in answers] == ["STORED", "COMMIT_FAILED", "COMMIT_FAILED"]
    assert difference(book.view(), fold_view(journal, from_snapshot=False)) == []
