"""Messages that pile up behind a commit on its way go into one commit, and each is stored as if it had come alone."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import nullcontext
from typing import Any

import pytest
from tests.support.faulty_journal import Outcome
from tests.support.held_journal import HeldJournal
from tests.support.ledger_view import difference, fold_view
from tests.support.segments import block
from tests.support.small_catalogue import catalogue, per_unit, used

from tallybook_engine.ledger.outcomes import Status
from tallybook_server import commits, writer
from tallybook_server.errors import ErrorCode, Fault
from tallybook_server.journal.attached import BillingValueRow, MessageRow, SeriesName
from tallybook_server.journal.memory import MemoryJournal
from tallybook_server.writer import Basis, Parcel


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


class Unhurried(deque):
    """Takes its time to be walked, so that other threads change it meanwhile unless they are kept out."""

    def __reversed__(self):
        for each in super().__reversed__():
            time.sleep(0.002)
            yield each


def test_references_are_looked_up_while_commits_become_durable(open_book, monkeypatch):
    monkeypatch.setattr(writer, "COMMIT_ROWS_MAX", 1)
    journal = MemoryJournal()
    append = journal.append

    def append_slowly(*commit):
        time.sleep(0.001)
        append(*commit)

    monkeypatch.setattr(journal, "append", append_slowly)
    book = open_book(catalogue(per_unit("1")), journal)
    book.book._writer._appending = Unhurried()
    book.ingest([used("a")])
    answers = book.ingest(*([used(f"{number}"), used("a")] for number in range(30)))
    assert [statuses(each) for each in answers] == 30 * [["STORED", "DUPLICATE"]]


METER = SeriesName("meter 1", "load", 0)


def parcel(number: int) -> Parcel:
    """A block of readings and a message."""
    return Parcel([block(METER, 0, b"%d" % number)], [], [MessageRow("meter 1", b"{}")])


def mixed(book, journal: HeldJournal, first: str = "a") -> list[Any]:
    """An event whose commit waits on its way; behind it an event, a parcel, an event and another parcel."""

    async def send_all() -> list[Any]:
        with journal.held():
            sent = [asyncio.ensure_future(book._send([used(first)], True))]
            while book._staged_count() < 1 or book.book._writer._appending is None:
                await asyncio.sleep(0)
            for work in (
                book._send([used("b")], True),
                book.book.store(parcel(1)),
                book._send([used("c")], True),
                book.book.store(parcel(2)),
            ):
                sent.append(asyncio.ensure_future(work))
                await asyncio.sleep(0)
            while book._staged_count() < len(sent):
                await asyncio.sleep(0)
        return list(await asyncio.gather(*sent, return_exceptions=True))

    return book.run(send_all())


def test_events_readings_and_messages_share_a_commit(open_book):
    journal = HeldJournal(MemoryJournal())
    book = open_book(catalogue(per_unit("1")), journal)
    first, *behind = mixed(book, journal)
    assert first.sequence == 1
    assert [each.sequence for each in behind] == [2] * 4
    assert journal.last_sequence == 2
    assert journal.segment_of(2).header.record_count == 2
    [(_, blocks)] = list(journal.blocks("meter 1", "load", 0, 0, 2))
    assert [(each.position, each.body) for each in blocks] == [(2 << 24, b"1"), (2 << 24 | 1, b"2")]
    assert [each.message_id for each in journal.billing_messages(0)] == [2 << 24, 2 << 24 | 1]
    assert [each.message_ids for each in behind[1::2]] == [(2 << 24,), (2 << 24 | 1,)]
    assert difference(book.view(), fold_view(journal, from_snapshot=False)) == []


def calculated(start_us: int, end_us: int, sequence: int, datasource: str = "meter 1") -> Parcel:
    """A value of a period, computed of what the book held at a sequence."""
    series = SeriesName(datasource, "BILLING", 0)
    values = [BillingValueRow(series, end_us, start_us, 0, b"{}")]
    basis = Basis(datasource, start_us, end_us, sequence)
    return Parcel(values=values, messages=[MessageRow(datasource, b"{}")], basis=basis)


@pytest.mark.parametrize("on_its_way", [True, False])
def test_no_value_takes_the_place_of_one_that_its_calculation_has_not_seen(open_book, on_its_way):
    journal = HeldJournal(MemoryJournal())
    book = open_book(catalogue(per_unit("1")), journal)

    async def store() -> list[Any]:
        with journal.held() if on_its_way else nullcontext():
            sent = [asyncio.ensure_future(book.book.store(calculated(0, 100, 0)))]
            if not on_its_way:
                await sent[0]
            for each in (
                calculated(0, 100, 0),
                calculated(50, 200, 0),
                calculated(100, 200, 0),
                calculated(0, 100, 0, "meter 2"),
            ):
                sent.append(asyncio.ensure_future(book.book.store(each)))
            done, _ = await asyncio.wait(sent[1:3], timeout=5)
            assert len(done) == 2
        return list(await asyncio.gather(*sent, return_exceptions=True))

    answers = book.run(store())
    # Only of a period that meets one of the same datasource is nothing stored.
    assert [type(each).__name__ for each in answers] == ["Stored", "Overtaken", "Overtaken", "Stored", "Stored"]
    # And whoever has seen it takes its place.
    assert book.run(book.book.store(calculated(0, 100, answers[0].sequence))).sequence > answers[0].sequence


@pytest.mark.parametrize("failing", [0, 1])
def test_a_failed_commit_takes_all_of_it_back_and_what_was_on_top(open_book, failing):
    journal = HeldJournal(MemoryJournal(), [*[Outcome.COMMITTED] * failing, Outcome.FAILED])
    book = open_book(catalogue(per_unit("1")), journal)
    before = book.view()
    answers = mixed(book, journal)
    failed = answers[failing:]
    assert [each.code for each in failed if isinstance(each, Fault)] == [ErrorCode.COMMIT_FAILED] * len(failed)
    assert journal.last_sequence == failing
    assert list(journal.blocks("meter 1", "load", 0, 0, 9)) == []
    assert list(journal.billing_messages(0)) == []
    if failing == 0:
        assert difference(before, book.view()) == []
    # And all of it may be sent again.
    assert [each.sequence for each in mixed(book, journal, "again")[1:]] == [journal.last_sequence] * 4
    assert difference(book.view(), fold_view(journal, from_snapshot=False)) == []
