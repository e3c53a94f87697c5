"""A random world over real gRPC: callers at work at the same time, and what must hold whenever they rest.

Every answer that says that money moved is added up by customer and currency. When the callers rest, those sums, with
what lines were worth when they opened and what was rated again, are the charge lines that the server lists.
"""

from __future__ import annotations

import copy
import random
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from google.protobuf.json_format import ParseDict
from tests.simulation.random_calls import Call, Delete, Ingest, RandomCalls, Stream, messages_of, operations_of
from tests.support.random_catalogue import RandomCatalogue

from tallybook.v1 import catalog_pb2
from tallybook_client.client import Client, Span
from tallybook_client.errors import TallybookError
from tallybook_client.events import EventKey
from tallybook_client.results import Cause, CostPrediction, DeleteStatus, ReprocessProgress, Status, View
from tallybook_oracle.catalog import reference_of
from tallybook_oracle.ledger import OracleBook
from tallybook_server.folding import open_book
from tallybook_server.journal.sqlite import SqliteJournal
from tallybook_server.verify import verify

BOOK = "default"
CUSTOMER_COUNT = 6


class Owner(NamedTuple):
    """Whose money, and in which currency."""

    customer_id: str
    currency: str


class Moved(NamedTuple):
    """Money: without tax, and the tax."""

    amount: Decimal
    tax: Decimal

    def plus(self, amount: Decimal, tax: Decimal) -> Moved:
        """This much more."""
        return Moved(self.amount + amount, self.tax + tax)


NOTHING = Moved(Decimal(0), Decimal(0))
Sums: TypeAlias = dict[Owner, Moved]


class Told(NamedTuple):
    """What one caller was told."""

    sums: Sums
    counts: Counter[str]
    operation_count: int


class World:
    """One book and everything that is done to it, from one seed."""

    def __init__(self, seed: int, directory: Path, scale: int) -> None:
        """The server's journal lies in `directory`. `scale`: see `RandomCalls`."""
        self._chance = random.Random(seed)
        self._directory = directory
        self._key: str | None = None
        self._catalogues = RandomCatalogue(self._chance, customer_count=CUSTOMER_COUNT, with_terms=True)
        self._calls = RandomCalls(self._chance, scale)
        # Only its catalogue is used: which caller comes first, it cannot know.
        self._oracle = OracleBook()
        self._sums: Sums = defaultdict(lambda: NOTHING)
        self._reprocess_sequences: set[int] = set()
        self.counts: Counter[str] = Counter()
        """What was done and what came of it."""
        self.operation_count = 0

    def in_sandbox(self, key: str, seed: int) -> World:
        """A world that goes on from this one in a sandbox of its book. What lines come to there, it does not know."""
        twin = copy.deepcopy(self)
        twin._key = key
        twin._chance.seed(seed)
        twin.counts.clear()
        twin.operation_count = 0
        return twin

    # --- Life ---------------------------------------------------------------------------------------------------------

    def live(self, address: str, operation_count: int, phase_operations: int) -> None:
        """So many operations more, in phases; in between something is changed, or rated again."""
        with Client(address, self._key) as client:
            if not self._oracle.catalogue["customers"]:
                self._change(client, self._catalogues.first(), {})
            end = self.operation_count + operation_count
            while self.operation_count < end:
                self._phase(address, min(phase_operations, end - self.operation_count))
                if self._chance.random() < 0.7:
                    self._change(client, *self._catalogues.change(self._oracle.catalogue))
                if self._chance.random() < 0.4:
                    self._reprocess(client)
                self.operation_count += 1
            if self._key is None:
                self._check_charges(client)

    def _phase(self, address: str, operation_count: int) -> None:
        callers = self._calls.calls(self._oracle.catalogue, time.time_ns() // 1000, operation_count)
        customer_ids = {reference_of(each): name for name, each in self._oracle.catalogue["customers"].items()}
        with ThreadPoolExecutor(len(callers)) as threads:
            for told in threads.map(lambda calls: _work(address, self._key, calls, customer_ids), callers):
                for owner, moved in told.sums.items():
                    self._sums[owner] = self._sums[owner].plus(*moved)
                self.counts += told.counts
                self.operation_count += told.operation_count

    def _change(self, client: Client, put: Mapping[str, Any], remove: Mapping[str, Any]) -> None:
        messages = ParseDict(dict(put), catalog_pb2.Catalog()), ParseDict(dict(remove), catalog_pb2.CatalogIds())
        # Events lie up to a day ahead, and few so far.
        ahead = timedelta(hours=self._chance.uniform(12, 23.9))
        effective_from = datetime.now(UTC) + ahead if self._chance.random() < 0.5 else None
        try:
            applied = client.apply_catalog(messages[0], remove=messages[1], effective_from=effective_from)
        except TallybookError as error:
            assert error.reason in ("CATALOG_INVALID", "CATALOG_OBJECT_IN_USE"), error
            self.counts["refused change"] += 1
            return
        self.counts["change from an instant"] += effective_from is not None
        assert applied.version == self._oracle.apply_catalog(put, remove)
        self.counts["change"] += 1

    def _reprocess(self, client: Client) -> None:
        customer = self._chance.choice(sorted(self._oracle.catalogue["customers"]))
        move_pins = self._chance.random() < 0.6
        try:
            foreseen = self._reprocessed(client, customer, move_pins, validate_only=True)
            done = self._reprocessed(client, customer, move_pins, validate_only=False)
        except TallybookError as error:
            assert error.reason == "REPROCESS_DOES_NOT_FIT", error
            self.counts["reprocess does not fit"] += 1
            return
        assert foreseen.amounts == done.amounts
        for moved in done.amounts:
            owner = Owner(customer, moved.base_amount.currency)
            self._sums[owner] = self._sums[owner].plus(moved.base_amount.quantity, moved.tax_amount.quantity)
        self._reprocess_sequences.add(done.sequence)
        self.counts["reprocess"] += 1

    def _reprocessed(self, client: Client, customer: str, move_pins: bool, validate_only: bool) -> ReprocessProgress:
        steps = list(client.reprocess(Span(customer_id=customer), move_pins=move_pins, validate_only=validate_only))
        assert steps[-1].done
        return steps[-1]

    # --- What must hold -----------------------------------------------------------------------------------------------

    def _check_charges(self, client: Client) -> None:
        """The lines that the server lists are the sums of what callers were told, and of what opened."""
        listed: Sums = defaultdict(lambda: NOTHING)
        for customer in self._oracle.catalogue["customers"]:
            for line in client.charges(Span(customer_id=customer)):
                owner = Owner(customer, line.amount_excluding_tax.currency)
                summary = line.tax_summary
                listed[owner] = listed[owner].plus(summary.base_amount.quantity, summary.tax_amount.quantity)
        told = dict(self._sums)
        for owner, moved in self._opened().items():
            told[owner] = told.get(owner, NOTHING).plus(*moved)
        for owner in {**told, **listed}:
            assert told.get(owner, NOTHING) == listed.get(owner, NOTHING), (owner, self.operation_count)

    def _opened(self) -> Sums:
        """What lines were worth when events opened them, from the journal; a reprocess tells its own."""
        opened: Sums = defaultdict(lambda: NOTHING)
        journal = SqliteJournal.open(self._directory / f"{BOOK}.sqlite", read_only=True)
        try:
            folded = open_book(journal, from_snapshot=False)
            for segment, decoded in zip(journal.read(), folded.records.segments(), strict=True):
                for opening in decoded.tables.openings.to_pylist():
                    sequence = segment.first_sequence + opening["sequence_offset"]
                    if opening["part"] < 0 or sequence in self._reprocess_sequences:
                        continue
                    origin = folded.state.line_origins[opening["line"]]
                    definition = folded.state.pools.definitions[origin.definition]
                    owner = Owner(definition.customer_id, definition.currency)
                    excluding_tax = opening["amount"] - opening["tax"] * definition.tax_inclusive
                    digits = definition.minor_digits
                    opened[owner] = opened[owner].plus(
                        Decimal(excluding_tax).scaleb(-digits), Decimal(opening["tax"]).scaleb(-digits)
                    )
        finally:
            journal.close()
        return opened

    def check_stored(self, oracle_lines: int | None) -> None:
        """Each event that was acknowledged is there once; kernels find no difference, nor does the oracle in a sample
        of lines (None: in all).
        """
        surviving = self.counts["STORED"] + self.counts["UNPRICED"] - self.counts["DELETED"]
        for oracle in (False, True):
            report = verify(self._directory, BOOK, oracle, oracle_lines if oracle else None)
            assert report.differences == []
            assert report.event_count == surviving


# --- One caller -------------------------------------------------------------------------------------------------------


def _work(address: str, key: str | None, calls: Sequence[Call], customer_ids: Mapping[str, str]) -> Told:
    """Makes one caller's calls, each after the other."""
    told = Told(defaultdict(lambda: NOTHING), Counter(), sum(map(operations_of, calls)))
    with Client(address, key) as client:
        for call in calls:
            told.counts[type(call).__name__] += 1
            if isinstance(call, Ingest):
                _ingest(client, call, told)
            elif isinstance(call, Stream):
                _stream(client, call, customer_ids, told)
            elif isinstance(call, Delete):
                _delete(client, call, told)
            else:
                client.predict(messages_of(call.events))
    return told


def _ingest(client: Client, call: Ingest, told: Told) -> None:
    for result in client.ingest(messages_of(call.events), View.AMOUNTS):
        told.counts[result.status] += 1
        if result.status is Status.STORED:
            _add(told, _in_time(client, result.event_id, result.cost, Cause.EVENT))


def _delete(client: Client, call: Delete, told: Told) -> None:
    for result in client.delete(call.keys):
        told.counts[result.status] += 1
        if result.status is DeleteStatus.DELETED:
            _add(told, _in_time(client, result.event_id, result.cost, Cause.DELETE))


def _in_time(client: Client, event_id: str, cost: CostPrediction | None, cause: Cause) -> CostPrediction | None:
    """The cost; asked for once more where a busy server could not tell it within its budget."""
    if cost is not None and cost.response == "OK":
        return cost
    history = client.get_event(EventKey(event_id=event_id)).history
    return next(each.cost for each in history if each.cause is cause)


def _add(told: Told, cost: CostPrediction | None) -> None:
    assert cost is not None
    assert cost.response == "OK"
    for detail in cost.details:
        owner = Owner(detail.customer_id, detail.tax_summary.base_amount.currency)
        summary = detail.tax_summary
        told.sums[owner] = told.sums[owner].plus(summary.base_amount.quantity, summary.tax_amount.quantity)


def _stream(client: Client, call: Stream, customer_ids: Mapping[str, str], told: Told) -> None:
    contents = [events for events, _ in call.batches]
    for answer in client.stream((batch for _, batch in call.batches), return_costs=True):
        told.counts.update(
            {
                "STORED": answer.stored_count,
                "DUPLICATE": answer.duplicate_count,
                "CONFLICT": answer.conflict_count,
                "UNPRICED": answer.unpriced_count,
                "INVALID": answer.invalid_count,
            }
        )
        costs = answer.costs
        assert costs is not None
        for entry in np.flatnonzero(~np.isin(costs.rows, answer.duplicate_rows)):
            event = contents[answer.batch_number][int(costs.rows[entry])]
            customer = event.get("customer_id") or customer_ids[event["customer_reference"]]
            code = int(costs.currency[entry])
            owner, places = Owner(customer, costs.currencies[code]), costs.decimal_places[code]
            told.sums[owner] = told.sums[owner].plus(
                Decimal(int(costs.amount_excluding_tax[entry])).scaleb(-places),
                Decimal(int(costs.tax_amount[entry])).scaleb(-places),
            )
