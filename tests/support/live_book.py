"""A book driven from a test: events and catalogues as the dicts of their JSON, a clock that the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar
from unittest.mock import patch

from google.protobuf.json_format import ParseDict
from tests.support.held_journal import HeldJournal
from tests.support.ledger_view import StateView, view_of

from tallybook.v1 import catalog_pb2
from tallybook.v1.ingest_pb2 import EventRows
from tallybook_engine.catalog.affected import ApplyOutcome
from tallybook_engine.catalog.faults import Faults
from tallybook_engine.ledger.columns import EventColumns
from tallybook_engine.ledger.outcomes import DeleteOutcome, EventSelector, ReprocessProgress
from tallybook_engine.ledger.state import State
from tallybook_server import maintenance
from tallybook_server.book import Book, Predicted
from tallybook_server.codec.catalog import read_change
from tallybook_server.codec.events import decode_rows
from tallybook_server.errors import Fault
from tallybook_server.journal.interface import Journal
from tallybook_server.limits import EVENTS_IN_BATCH_MAX
from tallybook_server.writer import Ingested

Answer = TypeVar("Answer")
EventDict = Mapping[str, Any]
CatalogueDict = Mapping[str, Sequence[Mapping[str, Any]]]


def columns_of(events: Iterable[EventDict]) -> EventColumns:
    """Events as a client sends them: serialised, then decoded by the server's codec."""
    message = ParseDict({"events": list(events)}, EventRows())
    return decode_rows(message.SerializeToString(), EVENTS_IN_BATCH_MAX)


class LiveBook:
    """A book on a journal, and everything to be done with it, one call after the other."""

    def __init__(self, journal: Journal, now_us: int) -> None:
        self.journal = journal
        self.now_us = now_us
        self._executor = ThreadPoolExecutor(2)
        self._runner = asyncio.Runner()
        self.book = self._opened()

    def _opened(self) -> Book:
        return Book("test", self.journal, self._executor, clock_us=lambda: self.now_us)

    @property
    def state(self) -> State:
        return self.book._state

    def view(self) -> StateView:
        """All that the ledger knows."""
        return view_of(self.state)

    def restart(self) -> None:
        """Opens the book again from its journal."""
        self.run(self.book.close())
        self.book = self._opened()

    def merge(self, shortest_run: int = 2) -> int:
        """Merges runs of so many segments at least; answers how many segments went into others."""
        with patch.object(maintenance, "MERGE_RUN", shortest_run):
            return self.book._maintenance.merge_small()

    def snapshot(self) -> None:
        """Stores a snapshot."""
        self.book._maintenance.snapshot()

    def close(self) -> None:
        self.run(self.book.close())
        self._runner.close()
        self._executor.shutdown()

    def run(self, coroutine: Coroutine[Any, Any, Answer]) -> Answer:
        return self._runner.run(coroutine)

    def ingest(self, *messages: Sequence[EventDict], duplicates_costed: bool = True) -> list[Ingested | Fault]:
        """Sends messages at once, staged in this order; each answer is what became of it, or why it failed."""

        async def send_all() -> list[Ingested | Fault]:
            return list(await asyncio.gather(*(self._send(events, duplicates_costed) for events in messages)))

        return self.run(send_all())

    def ingest_held(self, journal: HeldJournal, *messages: Sequence[EventDict]) -> list[Ingested | Fault]:
        """Sends messages at once; the first one's commit waits on its way until all others are staged behind it."""

        async def send_all() -> list[Ingested | Fault]:
            with journal.held():
                sent = [asyncio.ensure_future(self._send(events, True)) for events in messages]
                while self._staged_count() < len(messages):
                    await asyncio.sleep(0)
            return list(await asyncio.gather(*sent))

        return self.run(send_all())

    def _staged_count(self) -> int:
        writer = self.book._writer
        return sum(len(commit.waiting) for commit in writer._on_their_way())

    async def _send(self, events: Sequence[EventDict], duplicates_costed: bool) -> Ingested | Fault:
        try:
            return await self.book.ingest(columns_of(events), duplicates_costed=duplicates_costed)
        except Fault as fault:
            return fault

    def store(self, events: Sequence[EventDict]) -> Ingested:
        """Sends one message that must not fail."""
        (answer,) = self.ingest(events)
        if isinstance(answer, Fault):
            raise answer
        return answer

    def predict(self, events: Sequence[EventDict]) -> Predicted:
        return self.run(self.book.predict(columns_of(events)))

    def delete(self, *selectors: EventSelector) -> list[DeleteOutcome]:
        outcomes, _ = self.run(self.book.delete(selectors))
        return outcomes

    def delete_references(self, customer: str, *references: str, generation: int = 1) -> list[DeleteOutcome]:
        selectors = [
            EventSelector(customer=customer, reference=reference, generation=generation) for reference in references
        ]
        return self.delete(*selectors)

    def apply(
        self,
        put: CatalogueDict,
        remove: Mapping[str, Sequence[str]] | None = None,
        *,
        prune: bool = False,
        validate_only: bool = False,
        effective_from_us: int | None = None,
    ) -> ApplyOutcome:
        """Applies a catalogue as its file says it."""
        faults = Faults()
        change = read_change(
            ParseDict(dict(put), catalog_pb2.Catalog()),
            ParseDict(dict(remove or {}), catalog_pb2.CatalogIds()),
            prune,
            faults,
        )
        assert not faults.ordered(), faults.ordered()
        change = replace(change, effective_from_us=effective_from_us)
        return self.run(self.book.apply_catalog(change, None, validate_only))

    def reprocess(
        self,
        customer: str | None = None,
        start_us: int | None = None,
        end_us: int | None = None,
        *,
        move_pins: bool = False,
        validate_only: bool = False,
    ) -> ReprocessProgress:
        """Reprocesses a customer (by id), or all; answers the last progress."""

        async def last() -> ReprocessProgress:
            steps = self.book.reprocess(customer, True, start_us, end_us, move_pins, validate_only, "")
            return [step async for step in steps][-1]

        return self.run(last())
