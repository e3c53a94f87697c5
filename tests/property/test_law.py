"""The ledger's law (DESIGN, 5.3) under random operations, against the oracle.

Each world is made by one number, its seed: a random catalogue, random events, and whatever is done to them. A failure
prints the seed; `Lockstep(seed)` replays it.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from tests.support.ledger_view import lines_of, moves_of
from tests.support.live_book import LiveBook
from tests.support.lockstep import START_US, Lockstep, unequal
from tests.support.random_catalogue import RandomCatalogue
from tests.support.random_events import RandomEvents

from tallybook_engine.ledger.outcomes import Cause, EventSelector, StageOutcome
from tallybook_oracle.ledger import LineKey, LineValue, OracleBook
from tallybook_server.journal.memory import MemoryJournal

STEPS = 30
STEPS_BETWEEN_CHECKS = 10
FAULTS = 0.15
"""Share of commits that fail, in worlds where some do."""

seeds = st.integers(0, 2**32 - 1)
# A world takes its time; and no seed is simpler than another, so there is nothing to shrink.
worlds = settings(max_examples=settings().max_examples // 25, phases=[Phase.explicit, Phase.reuse, Phase.generate])


def lived(world: Lockstep) -> Counter[str]:
    """What happened in a world in which the law held all along."""
    with closing(world):
        for step in range(STEPS):
            world.step()
            world.check_lines()
            world.check_net_lines()
            if step % STEPS_BETWEEN_CHECKS == STEPS_BETWEEN_CHECKS - 1:
                world.check_reads()
                world.check()
    return world.done


@worlds
@given(seeds)
def test_the_law_holds_whatever_is_done(seed):
    lived(Lockstep(seed))


@worlds
@given(seeds)
def test_the_law_holds_of_contract_trees_with_terms(seed):
    lived(Lockstep(seed, fault_probability=FAULTS, with_terms=True))


@worlds
@given(seeds)
def test_the_law_holds_when_commits_fail(seed):
    lived(Lockstep(seed, fault_probability=FAULTS))


@worlds
@given(seeds)
def test_the_law_holds_at_the_limits(seed):
    lived(Lockstep(seed, magnitude=15))


HAPPENS = {
    *("STORED", "DUPLICATE", "CONFLICT", "UNPRICED", "INVALID"),
    *("MATCHED", "NO_CUSTOMER", "NO_METER", "NO_CONTRACT", "OUTSIDE_CONTRACT", "NOT_BILLED"),
    *("DELETED", "ALREADY_DELETED", "NOT_FOUND", "failed commit", "failed delete"),
    *(
        "split",
        "stretch",
        "refused split",
        "change",
        "refused change",
        "reprocess",
        "predict",
        "restart",
        "merged segments",
        "snapshot",
    ),
    *("net line", "net line moved"),
}


def test_everything_happens_in_these_worlds():
    """Else the properties above could hold for want of cases."""
    done: Counter[str] = Counter()
    for seed in range(4, 14):
        magnitude = 15 if seed % 5 == 0 else 3
        done += lived(Lockstep(seed, fault_probability=FAULTS, magnitude=magnitude, with_terms=seed % 2 == 0))
    assert HAPPENS - {what for what, count in done.items() if count} == set()


# --- Sets of events ---------------------------------------------------------------------------------------------------


class EventSet:
    """A catalogue, and events that all have references of their own and are all sound."""

    def __init__(self, seed: int, count: int) -> None:
        self.chance = random.Random(seed)
        self.catalogue = RandomCatalogue(self.chance, with_terms=True).first()
        self.oracle = OracleBook()
        self.oracle.apply_catalog(self.catalogue)
        maker = RandomEvents(self.chance)
        self.events = [{**maker.new(self.oracle.catalogue, START_US), "reference": f"e{n}"} for n in range(count)]

    def shuffled(self) -> list[dict[str, Any]]:
        return self.chance.sample(self.events, len(self.events))

    def cut(self, events: Sequence[Any]) -> Iterator[Sequence[Any]]:
        """The events in messages of random lengths."""
        cuts = {self.chance.randrange(len(events)) for _ in range(self.chance.randrange(8))}
        return (events[start:end] for start, end in pairwise(sorted({0, len(events)} | cuts)))

    def book(self) -> LiveBook:
        """A new book with the catalogue."""
        book = LiveBook(MemoryJournal(), START_US)
        book.apply(self.catalogue)
        return book

    def stored(self, events: Sequence[dict[str, Any]]) -> dict[LineKey, LineValue]:
        """The lines of a new book after these events."""
        with closing(self.book()) as book:
            for message in self.cut(events):
                book.store(message)
            return lines_of(book.state)


def row_moves(book: LiveBook, outcome: StageOutcome) -> list[dict[LineKey, LineValue]]:
    """What each row moves, by line."""
    return [moves_of(book.state, outcome.postings, int(a), int(b)) for a, b in pairwise(outcome.posting_starts)]


def row_net_moves(book: LiveBook, outcome: StageOutcome) -> list[list[tuple]]:
    """What each row moves of net lines, and what they were worth when it opened them."""
    rows: list[list[tuple]] = [[] for _ in outcome.status]
    for row, cause, net_line, amount, tax in zip(*(column.tolist() for column in outcome.net), strict=True):
        rows[row].append((Cause(cause).name, *book.state.net.lines[net_line].period, amount, tax))
    return [sorted(row) for row in rows]


@worlds
@given(seeds)
def test_the_order_of_events_changes_no_line(seed):
    events = EventSet(seed, 60)
    first, second = events.stored(events.shuffled()), events.stored(events.shuffled())
    events.oracle.ingest(events.events, START_US)
    assert unequal(first, second) == {}
    assert unequal(first, events.oracle.lines()) == {}


@worlds
@given(seeds)
def test_the_cut_of_events_into_messages_changes_no_cost(seed):
    events = EventSet(seed, 60)
    found, net = [], []
    for _ in range(2):
        with closing(events.book()) as book:
            outcomes = [book.store(message).outcome for message in events.cut(events.events)]
            found.append([moves for outcome in outcomes for moves in row_moves(book, outcome)])
            net.append([moves for outcome in outcomes for moves in row_net_moves(book, outcome)])
    assert found[0] == found[1]
    assert net[0] == net[1]


@worlds
@given(seeds)
def test_events_that_were_deleted_leave_nothing_but_what_is_due_without_them(seed):
    events = EventSet(seed, 60)
    with closing(events.book()) as book:
        outcomes = [book.store(message).outcome for message in events.cut(events.shuffled())]
        stored = [int(event_id) for outcome in outcomes for event_id in outcome.event_ids if event_id]
        events.oracle.ingest(events.events, START_US)
        events.chance.shuffle(stored)
        for ids in events.cut(stored):
            book.delete(*(EventSelector(event_id=each) for each in ids))
        assert unequal(lines_of(book.state), events.oracle.lines(with_events=False)) == {}
        # And once more, in another order, they are what they were
        for message in events.cut([{**event, "reference": f"new {event['reference']}"} for event in events.shuffled()]):
            book.store(message)
        assert unequal(lines_of(book.state), events.oracle.lines()) == {}


@pytest.mark.parametrize("message_count", [1, 7])
def test_many_events_in_few_messages(message_count):
    """Buffers that grow, and more openings than are looked for at once."""
    events = EventSet(3, 500)
    copies = [{**event, "reference": f"{event['reference']}-{copy}"} for copy in range(3) for event in events.events]
    with closing(events.book()) as book:
        for part in range(message_count):
            book.store(copies[part::message_count])
        events.oracle.ingest(copies, START_US)
        assert unequal(lines_of(book.state), events.oracle.lines()) == {}
