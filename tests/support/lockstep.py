"""A book and the oracle side by side: whatever is done to one is done to the other, and every answer is compared."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
from tests.support.faulty_journal import FaultyJournal, random_plan
from tests.support.ledger_view import AMOUNT_UNIT, difference, fold_view, journal_lines, lines_of, moves_of
from tests.support.live_book import LiveBook
from tests.support.random_catalogue import RandomCatalogue
from tests.support.random_events import RandomEvents

from tallybook_engine.catalog.faults import CatalogInvalidError
from tallybook_engine.decimals import UNIT
from tallybook_engine.ledger.faults import RowFault
from tallybook_engine.ledger.outcomes import (
    UNPINNED,
    Cause,
    DeleteStatus,
    EventSelector,
    Match,
    StageOutcome,
    Status,
    StoredEvent,
)
from tallybook_engine.ledger.reads import EventFilter
from tallybook_engine.ledger.verify import verify
from tallybook_oracle.catalog import Catalogue, Meaning, meanings
from tallybook_oracle.ledger import NOTHING, DoesNotFit, LineKey, LineValue, OracleBook, RowResult, UsageKey
from tallybook_server.errors import ErrorCode, Fault
from tallybook_server.journal.memory import MemoryJournal
from tallybook_server.verify import oracles_adjustment

START_US = 1_716_200_000_000_000
"""When the worlds begin: 2024-05-20, the last day of their events."""


def described(outcome: StageOutcome, row: int) -> tuple[str, str, int, str]:
    """A row's answer in the oracle's words."""
    match = Match(int(outcome.match[row]))
    return (
        Status(int(outcome.status[row])).name,
        "" if match is Match.NOT_STORED else match.name,
        int(outcome.generations[row]),
        RowFault(int(outcome.faults[row])).name,
    )


def expected(result: RowResult, found: tuple[str, str, int, str]) -> tuple[str, str, int, str]:
    """The oracle's answer; it does not say which limit an event left that is UNPRICED."""
    fault = result.fault or "NONE"
    if "UNPRICED" in (result.status, result.status_of_stored):
        fault = found[3] if found[3] in ("QUANTITY_OVERFLOW", "AMOUNT_OVERFLOW") else "an overflow"
    return result.status, result.match, result.generation, fault


def unequal(mine: Mapping[LineKey, LineValue], theirs: Mapping[LineKey, LineValue]) -> dict[LineKey, Any]:
    """Lines that differ; one that is missing is worth nothing."""
    return {
        key: (mine.get(key, NOTHING), theirs.get(key, NOTHING))
        for key in {**mine, **theirs}
        if mine.get(key, NOTHING) != theirs.get(key, NOTHING)
    }


def _name(event: StoredEvent) -> tuple[str, str, int]:
    return event.payload.customer_reference, event.payload.reference, event.generation


class Lockstep:
    """One random world. Every step changes both books and compares what they answer; `check` compares what they are."""

    def __init__(
        self, seed: int, fault_probability: float = 0.0, magnitude: int | None = None, *, with_terms: bool = False
    ) -> None:
        """`with_terms`: contract trees have fees, shares, discounts, caps, minimums and credits."""
        self.chance = random.Random(seed)
        magnitude = self.chance.choice([2, 3, 3, 6, 15]) if magnitude is None else magnitude
        self.catalogues = RandomCatalogue(self.chance, magnitude, with_terms=with_terms)
        self.events = RandomEvents(self.chance, magnitude)
        self.memory = MemoryJournal(hash_key=self.chance.randbytes(16))
        plan = random_plan(self.chance.randrange(2**32), fault_probability)
        self.live = LiveBook(FaultyJournal(self.memory, plan) if fault_probability else self.memory, START_US)
        self.oracle = OracleBook()
        self._lines_at: dict[int, tuple[Mapping[LineKey, LineValue], Mapping[UsageKey, Fraction]]] = {}
        """What the oracle said at a sequence."""
        self._meanings: dict[str, Meaning] = {}
        """Of every product contract that any version has had."""
        self._net_of: dict[int, list[list[int]]] = {}
        """Event id -> what the event moved of net lines when it was stored."""
        self.done: Counter[str] = Counter()
        """What was done, and what came of it: so that a test can tell that its cases happened."""
        self.change_catalogue(self.catalogues.first())

    @property
    def catalogue(self) -> Catalogue:
        return self.oracle.catalogue

    def close(self) -> None:
        self.live.close()

    # --- Steps --------------------------------------------------------------------------------------------------------

    def step(self) -> None:
        """Does something, and lets some time go by."""
        self.live.now_us += self.chance.randrange(10**7)
        steps = {
            self.ingest: 50,
            self.predict: 8,
            self.delete: 16,
            self.random_change: 7,
            self.split: 7,
            self.reprocess: 5,
            self.restart: 4,
            self.merge: 3,
            self.snapshot: 3,
        }
        self.chance.choices(list(steps), list(steps.values()))[0]()

    def ingest(self) -> None:
        """One to four messages at once."""
        messages = [
            self.events.message(self.catalogue, self.live.now_us, self.chance.choice([1, 2, 3, 8]))
            for _ in range(self.chance.choice([1, 1, 2, 4]))
        ]
        for events, answer in zip(messages, self.live.ingest(*messages), strict=True):
            if isinstance(answer, Fault):
                assert answer.code in (ErrorCode.COMMIT_FAILED, ErrorCode.DISK_FULL), answer
                self.done["failed commit"] += 1
            else:
                self._compare_rows(events, answer.outcome, self.oracle.ingest(events, self.live.now_us))

    def _compare_rows(
        self, events: Sequence[Mapping[str, Any]], outcome: StageOutcome, results: Sequence[RowResult]
    ) -> None:
        for row, (event, result) in enumerate(zip(events, results, strict=True)):
            found = described(outcome, row)
            assert found == expected(result, found), f"{found}, not {expected(result, found)}: {event}"
            starts = outcome.posting_starts
            moves = moves_of(self.live.state, outcome.postings, int(starts[row]), int(starts[row + 1]))
            net = [column.tolist() for column in outcome.net.of_rows(row, row + 1)]
            self.done["net line moved"] += bool(net[0])
            event_id = int(outcome.event_ids[row])
            if result.status == "DUPLICATE":
                assert net == self._net_of.get(event_id, net), event
            elif result.status == "STORED" and event_id:
                self._net_of[event_id] = net
            assert not unequal(moves, result.moves), (event, unequal(moves, result.moves))
            self.done[result.status] += 1
            self.done[result.match] += 1

    def predict(self) -> None:
        """What a message would do, and that it did not."""
        events = self.events.message(self.catalogue, self.live.now_us, self.chance.choice([1, 3, 8]))
        before = self.live.view()
        predicted = self.live.predict(events)
        assert not difference(before, self.live.view())
        (answer,) = self.live.ingest(events)
        if isinstance(answer, Fault):
            return
        self._compare_rows(events, predicted.outcome, self.oracle.ingest(events, self.live.now_us))
        for field in ("status", "match", "faults", "generations", "posting_starts"):
            assert (getattr(predicted.outcome, field) == getattr(answer.outcome, field)).all(), field
        for field in predicted.outcome.postings._fields:
            mine, theirs = getattr(predicted.outcome.postings, field), getattr(answer.outcome.postings, field)
            assert np.array_equal(mine, theirs), field
        for name in predicted.outcome.net._fields:
            assert np.array_equal(getattr(predicted.outcome.net, name), getattr(answer.outcome.net, name)), name
        self.done["predict"] += 1

    def delete(self) -> None:
        """One to five events, some of them deleted before or never stored."""
        stored = self.oracle.events()
        if not stored:
            return
        chosen = [self.chance.choice(stored) for _ in range(self.chance.choice([1, 1, 2, 5]))]
        names = [(entry.customer, entry.reference, entry.generation) for entry in chosen]
        if self.chance.random() < 0.1:
            names.append((chosen[0].customer, chosen[0].reference, chosen[0].generation + 1))
        selectors = [EventSelector(customer=c, reference=r, generation=g) for c, r, g in names]
        try:
            outcomes = self.live.delete(*selectors)
        except Fault as fault:
            assert fault.code in (ErrorCode.COMMIT_FAILED, ErrorCode.DISK_FULL), fault
            self.done["failed delete"] += 1
            return
        for name, outcome in zip(names, outcomes, strict=True):
            status, moves = self.oracle.delete(*name)
            assert (DeleteStatus(outcome.status).name, name) == (status, name)
            assert sum(each.amount for each in outcome.postings) == sum(move.amount for move in moves.values())
            assert sum(each.tax for each in outcome.postings) == sum(move.tax for move in moves.values())
            self.done[status] += 1

    def random_change(self) -> None:
        times_us = [entry.time_us for entry in self.oracle.events()] or [START_US]
        from_us = self.chance.choice(times_us) + 1 if self.chance.random() < 0.3 else None
        self.change_catalogue(*self.catalogues.change(self.catalogue), from_us)

    def change_catalogue(
        self, put: Mapping[str, Any], remove: Mapping[str, Any] | None = None, from_us: int | None = None
    ) -> None:
        """Changes the catalogue, if the book takes it; sometimes asks first what that would do."""
        try:
            if self.chance.random() < 0.3:
                before = self.live.view()
                self.live.apply(put, remove, validate_only=True, effective_from_us=from_us)
                assert not difference(before, self.live.view())
            split_count = len(self.live.state.whole)
            applied = self.live.apply(put, remove, effective_from_us=from_us)
        except (CatalogInvalidError, Fault):
            self.done["refused change" if from_us is None else "refused split"] += 1
            return
        self.done["split"] += len(self.live.state.whole) - split_count
        assert applied.version == self.oracle.apply_catalog(put, remove, effective_from_us=from_us)
        self._meanings |= meanings(self.catalogue)
        self.done["change"] += 1

    def split(self) -> None:
        """Other prices for a plan whose period is running, from an instant in it on."""
        running = self.oracle.running()
        plan = self.catalogue["plans"].get(self.chance.choice(running)[0].meaning.plan) if running else None
        if plan is None:
            return
        last_us = max(last_us for period, last_us in running if period.meaning.plan == plan["id"])
        product = self.catalogue["products"][plan["product"]]
        other = {**self.catalogues.plan(product, plan["currency"]), "id": plan["id"]}
        if "matrix" in plan and self.chance.random() < 0.7:
            rules = [
                {"match": rule["match"], **self.catalogues.pricing()} if self.chance.random() < 0.7 else rule
                for rule in plan["matrix"]["rules"]
            ]
            other = {**plan, "matrix": {"rules": rules}}
        from_us = last_us + self.chance.choice([0, 1, 1, self.chance.randrange(10**9), self.chance.randrange(10**12)])
        self.change_catalogue({"plans": [other]}, None, from_us)

    def reprocess(self) -> None:
        """One customer or all, all of the time or some, with or without the pins; and once more, which does nothing."""
        customers = sorted(self.catalogue["customers"])
        chosen = customers if self.chance.random() < 0.4 else [self.chance.choice(customers)]
        move_pins = self.chance.random() < 0.6
        start_us, end_us = 0, 2**62
        if self.chance.random() < 0.3:
            start_us = START_US - self.chance.randrange(120 * 86_400_000_000)
            end_us = start_us + self.chance.randrange(60 * 86_400_000_000)
        for customer in chosen:
            try:
                self.live.reprocess(customer, start_us, end_us, move_pins=move_pins, validate_only=True)
                self.live.reprocess(customer, start_us, end_us, move_pins=move_pins)
            except Fault as fault:
                self.done[fault.code.name] += 1
                if fault.code is ErrorCode.REPROCESS_DOES_NOT_FIT:
                    self._compare_misfit(customer, start_us, end_us, move_pins)
                continue
            self.oracle.reprocess(customer, start_us, end_us, move_pins=move_pins)
            self.done["reprocess"] += 1

    def _compare_misfit(self, customer: str, start_us: int, end_us: int, move_pins: bool) -> None:
        try:
            self.oracle.reprocess(customer, start_us, end_us, move_pins=move_pins)
        except DoesNotFit:
            return
        raise AssertionError("the reprocess fits")

    def restart(self) -> None:
        self.live.restart()
        self.done["restart"] += 1

    def merge(self) -> None:
        """Merges what can be merged; then nothing may be lost."""
        self.done["merged segments"] += self.live.merge(self.chance.choice([2, 3, 8]))

    def snapshot(self) -> None:
        self.live.snapshot()
        self.done["snapshot"] += 1

    # --- What must hold -----------------------------------------------------------------------------------------------

    def check_reads(self) -> None:
        """Everything that can be read says what the oracle says, now and as of an earlier sequence."""
        self._check_events()
        sequence = self.live.state.sequence
        self._lines_at[sequence] = (self.oracle.lines(), self.oracle.usage())
        for customer in self.catalogue["customers"]:
            for at in {sequence, self.chance.choice(list(self._lines_at))}:
                self._check_charges(customer, at)
                self._check_usage(customer, at)

    def _check_charges(self, customer: str, sequence: int) -> None:
        lines, _ = self._lines_at[sequence]
        charged, _ = self.live.run(self.live.book.charges(customer, True, None, None, sequence, False))
        for charge in charged:
            assert sum(line.amount for line in charge.lines) == charge.exact_amount
        mine: dict[tuple, LineValue] = defaultdict(lambda: NOTHING)
        theirs: dict[tuple, LineValue] = defaultdict(lambda: NOTHING)
        for charge in charged:
            # Where a split cut it since, a line ends earlier than it did.
            place = (charge.contract_path[-1], charge.cell_id, charge.period_start_us)
            value = LineValue(Fraction(charge.exact_amount, AMOUNT_UNIT), charge.amount, charge.tax)
            mine[*place, charge.currency] = mine[*place, charge.currency].plus(value)
        for key, value in lines.items():
            place = (key.product_contract, key.cell_id, key.start_us)
            if key.product_contract in self._charges_of(customer):
                theirs[*place, key.currency] = theirs[*place, key.currency].plus(value)
        assert {key: value for key, value in mine.items() if value != NOTHING} == {
            key: value for key, value in theirs.items() if value != NOTHING
        }

    def _check_usage(self, customer: str, sequence: int) -> None:
        _, usage = self._lines_at[sequence]
        totals, _ = self.live.run(self.live.book.usage(customer, True, None, None, sequence))
        charges = self._charges_of(customer)
        mine = {
            UsageKey(total.contract_path[-1], total.cell_id, total.period_start_us, total.period_end_us): Fraction(
                total.quantity, UNIT
            )
            for total in totals
        }
        assert mine == {key: quantity for key, quantity in usage.items() if key.product_contract in charges}, sequence

    def _charges_of(self, customer: str) -> set[str]:
        return {name for name, meaning in self._meanings.items() if meaning.customer == customer}

    def _check_events(self) -> None:
        page = self.live.run(self.live.book.list_events(EventFilter(show_deleted=True), None, None, 10**6))
        mine = [(*_name(each), each.status.name, each.match.name, each.deleted) for each in page.events]
        theirs = [
            (entry.customer, entry.reference, entry.generation, entry.status, entry.match, entry.deleted)
            for entry in self.oracle.events()
        ]
        assert sorted(mine) == sorted(theirs)
        assert [each.event_id for each in page.events] == sorted(each.event_id for each in page.events)
        if page.events:
            self._check_history(self.chance.choice(page.events))

    def _check_history(self, listed: StoredEvent) -> None:
        event = self.live.run(self.live.book.get_event(EventSelector(event_id=listed.event_id)))
        assert event is not None
        assert replace(event, history=()) == listed
        (entry,) = (
            entry
            for entry in self.oracle.events()
            if (entry.customer, entry.reference, entry.generation) == _name(event)
        )
        moves = {Cause.EVENT: entry.first_moves, Cause.DELETE: entry.delete_moves, Cause.RERATE: {}}
        for step in event.history:
            for posting in step.postings:
                assert sum(line.amount for line in posting.lines) == posting.exact_amount
            assert sum(posting.amount for posting in step.postings) == sum(m.amount for m in moves[step.cause].values())

    def check_lines(self) -> None:
        """The lines are those of the oracle."""
        assert not (found := unequal(lines_of(self.live.state), self.oracle.lines())), found

    def check(self) -> None:
        """The law, in every way it can be looked at."""
        self.check_lines()
        state = self.live.state
        self.done["stretch"] = max(self.done["stretch"], len(state.continues))
        posted = journal_lines(self.memory, state)
        assert not (found := unequal(posted, lines_of(state))), found
        verified = verify(state, self.live.book._records.segments())
        assert verified.differences == ()
        assert verified.net_differences == ()
        self.check_net_lines()
        assert verified.event_count == sum(not entry.deleted for entry in self.oracle.events())
        self.done["net line"] = max(self.done["net line"], len(state.net.lines))
        for from_snapshot in (False, True):
            folded = fold_view(self.memory, from_snapshot=from_snapshot)
            assert difference(self.live.view(), folded) == [], from_snapshot

    def check_net_lines(self) -> None:
        """The net lines are what the oracle's invoices have beyond the charge lines, and the sums of their postings."""
        state = self.live.state
        sums: dict[int, tuple[int, int]] = defaultdict(lambda: (0, 0))
        for decoded in self.live.book._records.segments():
            moved = decoded.net
            columns = (moved.net_line.tolist(), moved.amount.tolist(), moved.tax.tolist())
            for number, amount, tax in zip(*columns, strict=True):
                sums[number] = sums[number][0] + amount, sums[number][1] + tax
        for number, net in enumerate(state.net.lines):
            found = (0, 0)
            if net.version != UNPINNED:
                found = oracles_adjustment(state, self.oracle.versions[net.version], net)
            assert found == state.net.value(number) == sums[number], (number, net)
            # What is kept settled is what it comes to from nothing, and so is what the kernels come to afresh.
            if net.contract_id in state.net.settled and net.version != UNPINNED:
                assert found == state.net.settled.value(number), (number, net)
