"""The failing journal of the tests does what its plan says; a writer that believes what it raises loses nothing."""

from __future__ import annotations

import itertools

import pytest
from tests.support.faulty_journal import PASSING_FAULTS, FaultyJournal, Outcome, random_plan
from tests.support.segments import PARTITION_COUNT, segment

from tallybook_server.journal.interface import CommitFailed, Fenced, Journal, JournalFull, OutcomeUnknown
from tallybook_server.journal.memory import MemoryJournal


def faulty(*plan: Outcome, unsettled_answers: int = 0) -> FaultyJournal:
    journal = FaultyJournal(MemoryJournal(PARTITION_COUNT), plan, unsettled_answers)
    journal.claim()
    return journal


@pytest.mark.parametrize(
    ("outcome", "error", "last_sequence"),
    [
        (Outcome.FAILED, CommitFailed, 0),
        (Outcome.FULL, JournalFull, 0),
        (Outcome.FENCED, Fenced, 0),
        (Outcome.UNKNOWN_LOST, OutcomeUnknown, 0),
        (Outcome.UNKNOWN_WRITTEN, OutcomeUnknown, 1),
    ],
)
def test_each_outcome(outcome: Outcome, error: type[Exception], last_sequence: int) -> None:
    journal = faulty(outcome)
    with pytest.raises(error, match="planned"):
        journal.append(0, segment(1))
    assert journal.last_sequence == last_sequence
    assert journal.outcomes == {outcome: 1}


def test_after_the_plan_nothing_fails() -> None:
    journal = faulty(Outcome.COMMITTED)
    journal.append(0, segment(1))
    journal.append(1, segment(2))
    assert list(journal.read()) == [segment(1), segment(2)]


def test_a_fence_is_for_good() -> None:
    journal = faulty(Outcome.FENCED, Outcome.COMMITTED)
    for _ in range(3):
        with pytest.raises(Fenced):
            journal.append(0, segment(1))


def test_the_outcome_may_stay_unknown_for_a_while() -> None:
    journal = faulty(Outcome.UNKNOWN_WRITTEN, unsettled_answers=2)
    with pytest.raises(OutcomeUnknown):
        journal.append(0, segment(1))
    for _ in range(2):
        with pytest.raises(OutcomeUnknown):
            assert journal.last_sequence
    assert journal.last_sequence == 1


def test_a_seed_plans_the_same_again() -> None:
    first, again, other = (list(itertools.islice(random_plan(seed, 0.5), 200)) for seed in (1, 1, 2))
    assert first == again != other
    assert set(first) == {Outcome.COMMITTED, *PASSING_FAULTS}


@pytest.mark.parametrize("seed", range(5))
def test_a_writer_that_believes_what_it_is_told_loses_nothing(seed: int) -> None:
    journal: Journal = FaultyJournal(MemoryJournal(PARTITION_COUNT), random_plan(seed, 0.5))
    journal.claim()
    for sequence in range(1, 101):
        while journal.last_sequence < sequence:
            try:
                journal.append(sequence - 1, segment(sequence))
            except (CommitFailed, OutcomeUnknown):
                continue
    assert list(journal.read()) == [segment(sequence) for sequence in range(1, 101)]
