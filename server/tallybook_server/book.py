"""A book: the catalogue, the ledger and the journal of one organisation. The only door to all three.

Whatever changes the ledger, or must see it whole, goes through the writer. Stored records are read beside it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tallybook_engine.asking import GoOn, asking, unasked
from tallybook_engine.catalog.affected import AffectedLine, ApplyOutcome
from tallybook_engine.catalog.change import CatalogChange
from tallybook_engine.catalog.compile import CompiledCatalog, Definition
from tallybook_engine.catalog.diff import catalog_differences
from tallybook_engine.catalog.faults import CatalogInvalidError, Faults
from tallybook_engine.catalog.metering import billing_configuration, determinant_customers
from tallybook_engine.catalog.model import Catalog, Contract, Customer, DeterminantSource, Meter
from tallybook_engine.catalog.versions import Versions, apply_change, difference
from tallybook_engine.contract.calendars import InvoiceTooLargeError
from tallybook_engine.contract.tree import tree_of
from tallybook_engine.decimals import DoesNotFit as TaxDoesNotFit
from tallybook_engine.determinants.naming import MONTH_SUFFIX
from tallybook_engine.determinants.request import BillingConfiguration
from tallybook_engine.determinants.result import Result
from tallybook_engine.ledger import reads
from tallybook_engine.ledger.columns import EventColumns
from tallybook_engine.ledger.costs import CostArrays, row_costs
from tallybook_engine.ledger.delete import DeletePiece, key_of, stage_deletes
from tallybook_engine.ledger.determinants import Earlier, Usage, UsageFault, determinant_events, stage_usage, usage_of
from tallybook_engine.ledger.explain import explain_rows
from tallybook_engine.ledger.invoices import (
    InvoicedCharges,
    PreviewedInvoices,
    invoiced_charges,
    invoices_of,
    root_periods,
    root_periods_touching,
    stored_lines,
)
from tallybook_engine.ledger.net_amounts import NetAmount, net_amounts, net_lines_as_of
from tallybook_engine.ledger.outcomes import (
    ChargeLine,
    DeleteOutcome,
    EventSelector,
    Explained,
    ReprocessProgress,
    StageOutcome,
    Status,
    StoredEvent,
    UsageTotal,
)
from tallybook_engine.ledger.reads import EventFilter
from tallybook_engine.ledger.recorded import (
    RecordedEvents,
    Spans,
    TooManyEventsError,
    surviving_events,
    whole_periods,
)
from tallybook_engine.ledger.references import location, sequence_and_row
from tallybook_engine.ledger.reprocess import DoesNotFit, stage_reprocess, undo_reprocess
from tallybook_engine.ledger.segments import Decoded
from tallybook_engine.ledger.snapshot import dump_state
from tallybook_engine.ledger.split import SplitCheck, cut_periods, note_splits
from tallybook_engine.ledger.stage import FUTURE_LIMIT_US, stage_events, undo_events, with_first_postings
from tallybook_engine.ledger.state import State
from tallybook_server import limits
from tallybook_server.billing import parcel_of_deletes
from tallybook_server.codec.catalog import write_difference
from tallybook_server.commits import AlsoStaged
from tallybook_server.errors import ErrorCode, Fault, field_invalid
from tallybook_server.folding import Folded, open_book
from tallybook_server.journal.interface import (
    Journal,
    JournalAtLimit,
    JournalError,
    OutcomeUnknown,
    Segment,
    SegmentHeader,
)
from tallybook_server.journal.memory import MemoryJournal
from tallybook_server.journal.sqlite import SqliteJournal
from tallybook_server.keys import check_book_name
from tallybook_server.maintenance import Maintenance
from tallybook_server.records import JournalRecords
from tallybook_server.writer import Ingested, Parcel, Stored, Writer, attach

AFFECTED_LINES_MAX = 1_000
"""Affected lines that an answer shows."""
LISTING_THREADS = 4
"""Lists and invoices of one book that are made at once; they may take long, and the codec's threads are for events."""
FIRST_INSTANT_US = 0
LAST_INSTANT_US = 2**62
"""Bounds of a reprocess without any."""

Answer = TypeVar("Answer")
Position = tuple[int, int]
"""Sequence and row of a record."""


@dataclass(frozen=True)
class Predicted:
    """What events would do, explained row by row."""

    outcome: StageOutcome
    explained: list[list[Explained]]
    sequence: int
    """The committed sequence that the prediction stands on."""


@dataclass(frozen=True)
class EventPage:
    """Stored events, and how to go on."""

    events: list[StoredEvent]
    next_position: Position | None
    """None: there is no more."""
    upto_sequence: int
    """Nothing behind it belongs to these pages."""


class Book:
    """One organisation's book. Its coroutines are for one event loop; the rest is safe from any thread."""

    def __init__(
        self,
        name: str,
        journal: Journal,
        executor: ThreadPoolExecutor,
        clock_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        future_limit_us: int = FUTURE_LIMIT_US,
        begun: Folded | None = None,
    ) -> None:
        """Opens the book: claims its journal and folds it, which may take seconds. `begun` is what a journal that is
        empty, and is never opened again, begins with.
        """
        self.name = name
        self._journal = journal
        self._executor = executor
        self._listing = ThreadPoolExecutor(LISTING_THREADS, thread_name_prefix="tallybook-lists")
        self._clock_us = clock_us
        self._determinant_customers: tuple[Catalog | None, frozenset[str]] = None, frozenset()
        journal.claim()
        folded = open_book(journal) if begun is None else begun
        self._state, self._versions, self._records = folded.state, folded.versions, folded.records
        dump_state = self._dump_state if begun is None else None
        self._maintenance = Maintenance(journal, self._records, self._state.hasher, folded.runs, dump_state)
        self._writer = Writer(
            self._state,
            journal,
            self._records,
            self._state.hasher,
            clock_us,
            future_limit_us,
            self._committed,
        )

    def _committed(self, segment: Segment, keys: NDArray[np.uint64]) -> None:
        """Told of each stored segment, on the appending thread."""
        self._maintenance.committed(segment, keys)
        references = self._state.references
        capacity = references.growth_due()
        if capacity:
            self._executor.submit(references.prepare, capacity)

    async def overlay(self, name: str, bytes_max: int) -> tuple[Book, MemoryJournal, int]:
        """A book in memory that begins with this one's catalogue and without events; its journal, which takes so many
        bytes; and this one's committed sequence at that moment. No object is copied, and changes of the one book are
        none of the other's.
        """

        def work() -> tuple[MemoryJournal, State, Versions, int]:
            version = self._versions.current.version
            journal = MemoryJournal(self._journal.partition_count, base_catalog_version=version, bytes_max=bytes_max)
            return journal, self._state.without_events(journal.hash_key), self._versions.copy(), self._state.sequence

        journal, state, versions, sequence = await self._alone(work)
        begun = Folded(state, versions, JournalRecords(journal, state.hasher), 0, [])
        future_limit_us = self._writer.future_limit_us
        return Book(name, journal, self._executor, self._clock_us, future_limit_us, begun), journal, sequence

    def refuse(self, refusal: Fault) -> None:
        """Stores nothing that comes from now on; what waits is finished. To be closed then."""
        self._writer.refuse(refusal)

    def check_open(self) -> None:
        """Raises what the book refuses with: a call that began before may ask whether it still stores anything."""
        self._writer.check_open()

    async def close(self) -> None:
        """Finishes all that waits, refuses what comes later, and lets go of the journal."""
        await self._beside(self._close)

    def _close(self) -> None:
        self._listing.shutdown(cancel_futures=True)
        self._maintenance.close()
        self._writer.close()
        self._journal.close()

    # --- Events -----------------------------------------------------------------------------------------------------

    async def ingest(self, columns: EventColumns, *, duplicates_costed: bool) -> Ingested:
        """Stores events; answers once they are durable. With `duplicates_costed`, duplicates carry what they posted."""
        ingested = await _done(self._writer.ingest(columns))
        if duplicates_costed and (ingested.outcome.status == Status.DUPLICATE).any():
            outcome = await self._beside(lambda: with_first_postings(ingested.outcome, self._records))
            return Ingested(outcome, ingested.sequence)
        return ingested

    async def explain(self, outcome: StageOutcome, rows: Iterable[int]) -> list[list[Explained]]:
        """The postings of committed rows, explained."""
        return await self._beside(lambda: explain_rows(self._state, outcome, rows))

    def price_columns(self, outcome: StageOutcome) -> CostArrays:
        """The costs of committed rows as columns."""
        return row_costs(self._state, outcome.postings, outcome.posting_starts, outcome.net)

    async def predict(self, columns: EventColumns) -> Predicted:
        """What `ingest` would do with the events; nothing is written."""

        def work() -> Predicted:
            commit = self._writer.next_commit()
            piece = stage_events(
                self._state,
                columns,
                commit.receipt_time_us,
                commit.sequence,
                0,
                self._records,
                self._writer.future_limit_us,
            )
            # What the message itself would store can come twice in it, and is looked up there.
            commit.add(piece)
            try:
                outcome = with_first_postings(piece.outcome, AlsoStaged(commit, self._records))
                explained = explain_rows(self._state, outcome, range(columns.row_count))
            finally:
                undo_events(self._state, piece)
            stored = outcome.event_ids < np.uint64(location(commit.sequence, 0))
            outcome = replace(outcome, event_ids=np.where(stored, outcome.event_ids, np.uint64(0)))
            return Predicted(outcome, explained, self._state.sequence)

        return await self._changing(work)

    async def delete(self, selectors: Sequence[EventSelector]) -> tuple[list[DeleteOutcome], int]:
        """Deletes events; answers each outcome and the sequence that holds them, 0 where nothing was deleted.

        The values of determinants that they were are withdrawn in the same commit.
        """

        def work() -> tuple[list[DeleteOutcome], int]:
            commit = self._writer.next_commit()
            piece = stage_deletes(self._state, selectors, commit.receipt_time_us, commit.sequence, 0, self._records)
            commit.add(piece)
            try:
                attach(commit, self._withdrawals(piece, commit.receipt_time_us))
            except BaseException:
                commit.undo(self._state)
                raise
            self._writer.commit_now(commit)
            return list(piece.outcomes), commit.sequence if commit.stored_count else 0

        return await self._changing(work)

    def _withdrawals(self, deletes: DeletePiece, deletion_us: int) -> Parcel:
        """What becomes of the BILLING channels where determinants were deleted as events."""
        compiled = self._state.current
        deleted = determinant_events(deletes.records, lambda name: compiled.is_of_determinants(name, is_id=False))
        version = compiled.catalog.version
        return parcel_of_deletes(self._journal, deleted, self.partitions, deletion_us, version) if deleted else Parcel()

    async def get_event(self, selector: EventSelector) -> StoredEvent | None:
        """An event with its history; None where there is none."""
        # Records are read beside the writer; which one is the latest by now, only the writer knows.
        key = await self._beside(lambda: key_of(self._state, selector, self._records, self.committed_sequence()))
        if key is None:
            return None
        latest = await self._alone(lambda: self._state.references.get(*key))
        return await self._beside(partial(reads.event, self._state, key, latest, selector, self._records))

    async def list_events(
        self, wanted: EventFilter, after: Position | None, upto_sequence: int | None, limit: int
    ) -> EventPage:
        """Stored events in the order of their storing, from behind a position on."""
        upto = upto_sequence if upto_sequence is not None else await self._alone(lambda: self._state.sequence)
        events: list[StoredEvent] = []
        while True:
            # What may fit is looked for beside the writer; how it stands now, only the writer knows.
            positions = await self._beside(partial(self._candidates, wanted, after, upto, limit))
            fitting = await self._alone(partial(self._fitting, wanted, positions, limit - len(events)))
            events += [event for _, event in fitting]
            if len(events) == limit:
                return EventPage(events, fitting[-1][0], upto)
            if len(positions) < limit:
                return EventPage(events, None, upto)
            after = positions[-1]

    def _fitting(
        self, wanted: EventFilter, positions: Sequence[Position], most: int
    ) -> list[tuple[Position, StoredEvent]]:
        """The first events at these positions that fit as they stand now."""
        fitting: list[tuple[Position, StoredEvent]] = []
        for sequence, row in positions:
            event = reads.listed_event(self._state, location(sequence, row), wanted, self._records)
            if event is not None:
                fitting.append(((sequence, row), event))
            if len(fitting) == most:
                break
        return fitting

    def _candidates(self, wanted: EventFilter, after: Position | None, upto: int, limit: int) -> list[Position]:
        reference = wanted.customer
        if reference is not None and wanted.customer_is_id:
            reference = self._state.pools.customer_references.get(reference, reference)
        first = location(*after) if after is not None else -1
        found: list[Position] = []
        for decoded in self._records.behind(after[0] - 1 if after is not None else 0):
            if decoded.first_sequence > upto:
                break
            for position in reads.first_records(decoded, wanted, reference):
                at = int(decoded.locations[position])
                if first < at < location(upto + 1, 0):
                    found.append(sequence_and_row(at))
                    if len(found) == limit:
                        return found
        return found

    def recorded_events(self, spans: Spans, sequence: int, go_on: GoOn = unasked) -> RecordedEvents:
        """The events of customers, each in its stretch of time, that survive at a committed sequence. Safe from any
        thread; only segments are read whose header says that they may hold some. RECORDED_USAGE_TOO_LARGE where they
        are too many.
        """
        first_us = min((start_us for start_us, _ in spans.values()), default=0)
        end_us = max((end_us for _, end_us in spans.values()), default=0)
        names = pa.array(list(spans), pa.string())
        partitions = set(self._state.hasher.partitions(names, self._journal.partition_count).tolist())

        # A delete bears the customer and the time of its event.
        def may_hold(header: SegmentHeader) -> bool:
            if header.maximum_time_us < first_us or header.minimum_time_us >= end_us:
                return False
            return any(header.partition_record_counts[each] for each in partitions)

        segments = self._records.where(may_hold, sequence)
        try:
            return surviving_events(segments, sequence, spans, limits.RECORDED_EVENTS_MAX, go_on)
        except TooManyEventsError as error:
            raise Fault(
                ErrorCode.RECORDED_USAGE_TOO_LARGE, f"{error} are recorded there: ask for fewer customers, or less time"
            ) from None

    def whole_periods(self, start_us: int, end_us: int, customer_ids: Collection[str]) -> Spans:
        """By customer's reference the span, widened to the whole accumulation periods of the customer's product
        contracts that it touches under the current version. Without ids, of all customers. Safe from any thread.
        """
        compiled, known = self._state.current, self._state.pools.definitions
        customers = compiled.catalog.customers
        wanted = set(customer_ids) or set(customers)
        definitions: dict[str, list[Definition]] = {}
        for index in compiled.current_definitions.values():
            definition = known[index]
            if definition.customer_id in wanted:
                definitions.setdefault(definition.customer_id, []).append(definition)
        return {
            customers[each].reference: whole_periods(definitions.get(each, ()), start_us, end_us) for each in wanted
        }

    # --- Readings ---------------------------------------------------------------------------------------------------

    def billing_configuration(self, datasource_id: str) -> BillingConfiguration:
        """What the current catalogue says of a datasource, with its version. KeyError where it has none."""
        return billing_configuration(self._versions.current, datasource_id)

    def partitions(self, datasources: Sequence[str]) -> list[int]:
        """The partition of each datasource. Safe from any thread."""
        texts = pa.array(datasources, type=pa.string())
        return self._state.hasher.partitions(texts, self._journal.partition_count).tolist()

    async def store(self, parcel: Parcel) -> Stored:
        """Stores readings, values of BILLING channels and billing messages; answers once they are durable."""
        return await _done(self._writer.store(parcel))

    async def store_determinants(self, result: Result, parcel: Parcel) -> Stored:
        """Stores what was computed; what of it is usage becomes events of the datasource's customer in the same commit.

        FIELD_INVALID where it cannot be, and Overtaken where the parcel's basis does not hold any more; nothing is
        stored then.
        """
        source = self._versions.current.datasources.get(result.datasource)
        customer = None if source is None else source.customer
        if customer not in self._customers_of_determinants() and not self._earlier_customers(result.datasource):
            return await self.store(parcel)
        return await self._changing(lambda: self._store_usage(result, parcel))

    def _earlier_customers(self, datasource_id: str) -> tuple[str, ...]:
        """Ids of the customers that a datasource belonged to before, and does not belong to now."""
        source = self._versions.current.datasources.get(datasource_id)
        now = None if source is None else source.customer
        return tuple(each for each in self._versions.customers_of(datasource_id) if each != now)

    def _customers_of_determinants(self) -> frozenset[str]:
        """Ids of the customers that have a plan for a product that is made of a determinant."""
        catalog = self._versions.current
        known, customers = self._determinant_customers
        if known is not catalog:
            customers = determinant_customers(catalog)
            self._determinant_customers = catalog, customers
        return customers

    def _store_usage(self, result: Result, parcel: Parcel) -> Stored:
        self._writer.check_basis(parcel)
        commit = self._writer.next_commit()
        compiled = self._state.current
        source = compiled.catalog.datasources.get(result.datasource)
        named: Mapping[str, DeterminantSource] = {}
        if source is not None and source.customer is not None:
            named = compiled.determinants_of(source.customer, self._state.pools.definitions)
        usage = usage_of(result, source, named, self._earlier_customers(result.datasource), compiled.determinants)

        def with_deletes(deletes: DeletePiece) -> AlsoStaged:
            commit.add(deletes)
            return AlsoStaged(commit, self._records)

        if usage is not None:
            try:
                pieces = stage_usage(
                    self._state,
                    usage,
                    self._stored_before(usage),
                    commit.receipt_time_us,
                    commit.sequence,
                    self._records,
                    with_deletes,
                    self._writer.future_limit_us,
                )
            except UsageFault as fault:
                raise field_invalid("billing_request", f"its determinants are usage, and {fault}") from None
            commit.add(pieces.events)
        stored = attach(commit, parcel)
        self._writer.commit_now(commit)
        return stored

    def _stored_before(self, usage: Usage) -> Iterator[Earlier]:
        """Determinants of the usage's meters that were stored of periods which meet its own."""
        for meter_id in usage.every_meter_id if usage.earlier_customers else usage.meter_ids:
            for channel in (meter_id, f"{meter_id}_{MONTH_SUFFIX}"):
                for row in self._journal.billing_values(
                    usage.datasource_id, channel, usage.start_us + 1, LAST_INSTANT_US, self._state.sequence
                ):
                    if row.start_us < usage.end_us:
                        yield Earlier(meter_id, row.start_us, row.end_us)

    def committed_sequence(self, as_of_sequence: int = 0) -> int:
        """The last committed sequence, or an earlier one that is asked for. SEQUENCE_NOT_COMMITTED for a later one."""
        try:
            last = self._journal.last_sequence
        except OutcomeUnknown as unknown:
            raise Fault(ErrorCode.COMMIT_UNKNOWN, str(unknown)) from unknown
        if as_of_sequence > last:
            raise Fault(ErrorCode.SEQUENCE_NOT_COMMITTED, f"the book ends at sequence {last}, before {as_of_sequence}")
        return as_of_sequence or last

    @property
    def readings(self) -> Journal:
        """What was stored beside events. Safe from any thread."""
        return self._journal

    # --- Totals and lines -------------------------------------------------------------------------------------------

    async def usage(
        self,
        customer: str,
        customer_is_id: bool,
        start_us: int | None,
        end_us: int | None,
        as_of_sequence: int | None,
        go_on: GoOn = unasked,
    ) -> tuple[list[UsageTotal], int]:
        """A customer's running totals, and the sequence that they stand on."""
        standing, sequence = await self._standing(
            lambda: self._customer_id(customer, customer_is_id), as_of_sequence, go_on
        )

        def work() -> list[UsageTotal]:
            return reads.usage_totals(self._state, self._as_of(standing, sequence, go_on), start_us, end_us)

        return await self._listed(work), sequence

    async def charges(
        self,
        customer: str,
        customer_is_id: bool,
        start_us: int | None,
        end_us: int | None,
        as_of_sequence: int | None,
        include_unopened: bool,
        go_on: GoOn = unasked,
    ) -> tuple[list[ChargeLine], int]:
        """A customer's charge lines, and the sequence that they stand on."""
        standing, sequence = await self._standing(
            lambda: self._customer_id(customer, customer_is_id), as_of_sequence, go_on
        )

        def work() -> list[ChargeLine]:
            view = self._as_of(standing, sequence, go_on)
            return reads.charge_lines(
                self._state, view, start_us, end_us, include_unopened=include_unopened, go_on=go_on
            )

        return await self._listed(work), sequence

    async def net_amounts(
        self,
        customer: str,
        customer_is_id: bool,
        start_us: int | None,
        end_us: int | None,
        as_of_sequence: int | None,
        go_on: GoOn = unasked,
    ) -> list[NetAmount]:
        """What a customer's root contracts with terms come to by billing period."""
        standing, sequence = await self._standing(
            lambda: self._customer_id(customer, customer_is_id), as_of_sequence, go_on
        )

        def work() -> list[NetAmount]:
            later = self._behind(standing, sequence, go_on)
            view = reads.as_of(self._state, standing, later, sequence, go_on)
            earlier = partial(self._records.segments, 0, sequence)
            net_lines = net_lines_as_of(standing, later, sequence, earlier, go_on)
            return net_amounts(self._state, view, net_lines, start_us, end_us, go_on)

        return await self._listed(work) if standing.net_lines else []

    async def invoiced(
        self,
        customer: str,
        customer_is_id: bool,
        start_us: int,
        end_us: int,
        as_of_sequence: int | None,
        go_on: GoOn = unasked,
    ) -> InvoicedCharges:
        """The lines of a customer's invoices, of the root billing periods that touch [start, end).

        FIELD_INVALID for more than 1,000 of them, SEQUENCE_NOT_COMMITTED, INVOICE_TOO_LARGE, INVOICE_DOES_NOT_FIT.
        """
        standing, sequence = await self._standing(
            lambda: self._customer_id(customer, customer_is_id), as_of_sequence, go_on
        )

        def work() -> InvoicedCharges:
            view = self._as_of(standing, sequence, go_on)
            catalog, found = standing.compiled.catalog, []
            roots = asking(catalog.contracts.items(), go_on)
            for name in sorted(name for name, each in roots if each.customer == standing.customer_id):
                tree = tree_of(catalog, catalog.contracts[name])
                touching = root_periods_touching(tree, start_us, end_us)
                periods = list(islice(touching, limits.BILLING_PERIODS_MAX + 1))
                if len(periods) > limits.BILLING_PERIODS_MAX:
                    raise field_invalid(
                        "end_time",
                        f"lies more than {limits.BILLING_PERIODS_MAX:,} billing periods of contract {name!r} behind "
                        "the start; ask for less time",
                    )
                if periods:
                    lines = stored_lines(self._state, tree, view, periods, go_on)
                    found.append((invoices_of(tree, lines, periods, go_on), lines))
            return invoiced_charges(found, sequence)

        try:
            return await self._listed(work)
        except InvoiceTooLargeError as error:
            raise Fault(ErrorCode.INVOICE_TOO_LARGE, str(error)) from None
        except TaxDoesNotFit as error:
            raise Fault(ErrorCode.INVOICE_DOES_NOT_FIT, f"customer {customer!r}: {error}") from None

    async def invoices(
        self,
        contract_id: str,
        first_day: date,
        period_count: int,
        as_of_sequence: int | None,
        go_on: GoOn = unasked,
    ) -> PreviewedInvoices:
        """At most so many invoices of a root contract, from the billing period of a day on.

        OBJECT_NOT_FOUND, FIELD_INVALID for a day outside of the contract, SEQUENCE_NOT_COMMITTED, INVOICE_TOO_LARGE,
        INVOICE_DOES_NOT_FIT.
        """
        standing, sequence = await self._standing(
            lambda: _root(self._state.current.catalog, contract_id).customer, as_of_sequence, go_on
        )

        def work() -> PreviewedInvoices:
            compiled = standing.compiled
            root = compiled.catalog.contracts[contract_id]
            tree = tree_of(compiled.catalog, root)
            periods, next_date = root_periods(tree, first_day, period_count)
            if not periods or not root.start_date <= first_day < (root.ends_on or date.max):
                until = f"up to {root.ends_on}" if root.ends_on else "without end"
                raise field_invalid("date", f"{first_day} is no day of the contract, from {root.start_date} {until}")
            lines = stored_lines(self._state, tree, self._as_of(standing, sequence, go_on), periods, go_on)
            invoices = invoices_of(tree, lines, periods, go_on)
            return PreviewedInvoices(invoices, lines, next_date, compiled.version, sequence, root)

        try:
            return await self._listed(work)
        except InvoiceTooLargeError as error:
            raise Fault(ErrorCode.INVOICE_TOO_LARGE, str(error)) from None
        except TaxDoesNotFit as error:
            raise Fault(ErrorCode.INVOICE_DOES_NOT_FIT, f'contract "{contract_id}": {error}') from None

    async def _standing(
        self, customer_of: Callable[[], str], sequence: int | None, go_on: GoOn
    ) -> tuple[reads.Standing, int]:
        """How a customer stands, and the sequence that is asked for; None: the last one. SEQUENCE_NOT_COMMITTED."""

        def work() -> tuple[reads.Standing, int]:
            go_on()
            standing, last = reads.standing(self._state, customer_of()), self._state.sequence
            if sequence is not None and sequence > last:
                raise Fault(ErrorCode.SEQUENCE_NOT_COMMITTED, f"the book ends at sequence {last}, before {sequence}")
            return standing, last if sequence is None else sequence

        return await self._alone(work)

    def _as_of(self, standing: reads.Standing, sequence: int, go_on: GoOn) -> reads.AsOf:
        """What of a standing was there at a sequence; for any thread."""
        return reads.as_of(self._state, standing, self._behind(standing, sequence, go_on), sequence, go_on)

    def _behind(self, standing: reads.Standing, sequence: int, go_on: GoOn) -> list[Decoded]:
        """The segments behind a sequence, up to that of a standing, newest first."""
        return list(asking(self._records.behind(sequence, standing.sequence), go_on))[::-1]

    def _customer_id(self, name: str, is_id: bool) -> str:
        """Id of a customer that some version of the catalogue has had."""
        known = self._state.pools.customer_references
        if is_id and name in known:
            return name
        if not is_id:
            for customer_id, reference in known.items():
                if reference == name:
                    return customer_id
        raise Fault(ErrorCode.CUSTOMER_NOT_FOUND, f"no customer {name!r} in the catalogue")

    # --- Reprocessing -----------------------------------------------------------------------------------------------

    async def reprocess(
        self,
        customer: str | None,
        customer_is_id: bool,
        start_us: int | None,
        end_us: int | None,
        move_pins: bool,
        validate_only: bool,
        resume_token: str,
    ) -> AsyncIterator[ReprocessProgress]:
        """Rates stored events again, customer by customer, each in a commit of its own."""
        customers = sorted(self._state.current.catalog.customers)
        if customer is not None:
            customers = [self._customer_id(customer, customer_is_id)]
        last_done = _resumed(resume_token)
        done = sum(1 for each in customers if last_done is not None and each <= last_done)
        rated = moved = sequence = 0
        amounts: dict[tuple[str, int], tuple[int, int]] = {}
        net_amounts: dict[tuple[str, int], tuple[int, int]] = {}
        if done == len(customers):
            yield ReprocessProgress(done, len(customers), 0, 0, (), (), resume_token, 0, True)
        for customer_id in customers[done:]:
            step = await self._changing(
                partial(
                    self._reprocess_one,
                    customer_id,
                    FIRST_INSTANT_US if start_us is None else start_us,
                    LAST_INSTANT_US if end_us is None else end_us,
                    move_pins,
                    validate_only,
                )
            )
            done += 1
            rated, moved = rated + step.event_count_rated, moved + step.line_count_moved
            sequence = step.sequence or sequence
            for sums, moves in ((amounts, step.amounts), (net_amounts, step.net_amounts)):
                for currency, digits, amount, tax in moves:
                    before = sums.get((currency, digits), (0, 0))
                    sums[currency, digits] = (before[0] + amount, before[1] + tax)
            yield ReprocessProgress(
                customer_count_done=done,
                customer_count_total=len(customers),
                event_count_rated=rated,
                line_count_moved=moved,
                amounts=tuple((*key, *sums) for key, sums in amounts.items()),
                net_amounts=tuple((*key, *sums) for key, sums in net_amounts.items()),
                resume_token=_resume_token(customer_id),
                sequence=sequence,
                done=done == len(customers),
            )

    def _reprocess_one(
        self, customer_id: str, start_us: int, end_us: int, move_pins: bool, validate_only: bool
    ) -> ReprocessProgress:
        commit = self._writer.next_commit()
        try:
            piece = stage_reprocess(
                self._state,
                customer_id,
                start_us,
                end_us,
                move_pins,
                commit.receipt_time_us,
                commit.sequence,
                0,
                self._records,
            )
        except DoesNotFit as error:
            raise Fault(
                ErrorCode.REPROCESS_DOES_NOT_FIT,
                f"customer {customer_id!r}: {error} would leave the limits; nothing of it was changed",
            ) from error
        if validate_only:
            undo_reprocess(self._state, piece)
        else:
            commit.add(piece)
            self._writer.commit_now(commit)
        return ReprocessProgress(
            customer_count_done=1,
            customer_count_total=1,
            event_count_rated=piece.event_count_rated,
            line_count_moved=piece.line_count_moved,
            amounts=piece.amounts,
            net_amounts=piece.amounts + piece.adjustments,
            resume_token="",
            sequence=commit.sequence if not validate_only and commit.stored_count else 0,
            done=True,
        )

    # --- Catalogue --------------------------------------------------------------------------------------------------

    def catalog(self, version: int | None = None) -> Catalog:
        """A version; None: the current one. Raises KeyError for one that does not exist."""
        return self._versions.current if version is None else self._versions.catalog(version)

    async def apply_catalog(
        self, change: CatalogChange, expected_version: int | None, validate_only: bool
    ) -> ApplyOutcome:
        """Applies a change, durable on return. Raises CatalogInvalidError, and Fault for a version or object in use."""
        return await self._changing(lambda: self._apply(change, expected_version, validate_only))

    def _apply(self, change: CatalogChange, expected_version: int | None, validate_only: bool) -> ApplyOutcome:
        before, compiled = self._versions.current, self._state.current
        if expected_version is not None and expected_version != before.version:
            raise Fault(
                ErrorCode.CATALOG_VERSION_MISMATCH,
                f"the catalogue is at version {before.version}, not {expected_version}: read it and change that",
            )
        after = apply_change(before, change, self._other_references(before, change))
        if after is before:
            return ApplyOutcome(before.version, (), (), 0)
        self._refuse_removal_in_use(before, after)
        from_us = change.effective_from_us
        if validate_only or from_us is not None:
            with self._state.trying(after):
                if from_us is not None:
                    self._refuse_split(compiled, from_us, change)
                affected, count = self._affected() if validate_only else ((), 0)
        if not validate_only:
            stored = replace(difference(before, after), effective_from_us=from_us)
            self._store_version(after.version, before.version, write_difference(stored))
            self._versions.add(stored)
            self._state.adopt(after)
            if from_us is not None:
                cut_periods(self._state, note_splits(self._state, from_us, compiled, self._state.current))
            affected, count = self._affected()
        return ApplyOutcome(after.version, catalog_differences(before, after), affected, count)

    def _refuse_split(self, before: CompiledCatalog, from_us: int, change: CatalogChange) -> None:
        """Raises CatalogInvalidError where running periods cannot go on under the current version from an instant."""
        faults = Faults()
        latest_us = self._writer.next_commit().receipt_time_us + self._writer.future_limit_us
        if from_us > latest_us:
            faults.add("effective_from", f"is after {_written(latest_us)}: apply the change when it is nearer")
        check = SplitCheck(self._state, from_us, before, self._state.current)
        if check.asks_events:
            for summary in self._journal.headers():
                if summary.header.maximum_time_us >= from_us:
                    check.look_through(self._records.decoded(summary.first_sequence))
        check.note(faults, change, _written(max(check.last_us, 0)))
        if found := faults.ordered():
            raise CatalogInvalidError(found)

    def _store_version(self, version: int, parent: int, change: bytes) -> None:
        """Makes a version of the catalogue durable, or raises Fault."""
        try:
            self._journal.put_catalog_version(version, parent, change)
        except OutcomeUnknown as unknown:
            try:
                # Asking for the last sequence settles what was left open; then the list is the truth.
                self._journal.last_sequence  # noqa: B018
                stored = {each.version: each.difference for each in self._journal.catalog_versions()}
            except JournalError as error:
                raise Fault(ErrorCode.COMMIT_UNKNOWN, str(error)) from error
            if stored.get(version) != change:
                raise Fault(ErrorCode.COMMIT_FAILED, f"the catalogue was not stored: {unknown}") from unknown
        except JournalAtLimit as error:
            raise Fault(ErrorCode.SANDBOX_FULL, f"the catalogue was not stored: {error}") from error
        except JournalError as error:
            raise Fault(ErrorCode.COMMIT_FAILED, f"the catalogue was not stored: {error}") from error
        except ValueError as error:
            # A change whose outcome could never be told was stored after all.
            raise Fault(ErrorCode.COMMIT_UNKNOWN, f"restart the server, it reads the journal anew: {error}") from error

    def _other_references(self, before: Catalog, change: CatalogChange) -> Faults:
        """Customers and meters that come back under another reference than they once had, which stored events name."""
        faults = Faults()

        def compare(
            kind: str, put: Sequence[Customer | Meter], there: Mapping[str, object], known: Mapping[str, str]
        ) -> None:
            for index, each in enumerate(put):
                reference = known.get(each.id, each.reference)
                if each.id not in there and each.reference != reference:
                    faults.add(f"{kind}[{index}].reference", f'was "{reference}" and never changes')

        compare("customers", change.put.customers, before.customers, self._state.pools.customer_references)
        compare("meters", change.put.meters, before.meters, self._state.pools.meter_references)
        return faults

    def _refuse_removal_in_use(self, before: Catalog, after: Catalog) -> None:
        """Nothing with open lines is removed or given to another customer: what they were priced by must stay known."""
        if after.contracts is not before.contracts:
            self._refuse_other_customers(after)
        for customer_id in before.customers:
            if customer_id not in after.customers and self._state.lines_of_customer.get(customer_id):
                raise Fault(ErrorCode.CATALOG_OBJECT_IN_USE, f"customer {customer_id!r} has open charge lines: keep it")
        gone = before.contracts.keys() - after.contracts.keys()
        for origin in self._state.line_origins if gone else ():
            root = self._state.pools.definitions[origin.definition].contract_path[0]
            if root in gone:
                raise Fault(
                    ErrorCode.CATALOG_OBJECT_IN_USE,
                    f"contract {root!r} has open charge lines: give it an end_date instead",
                )

    def _refuse_other_customers(self, after: Catalog) -> None:
        owners = {
            each.id: root.customer
            for root in after.contracts.values()
            for path in root.levels()
            for each in path[-1].product_contracts
        }
        for index in {origin.definition for origin in self._state.line_origins}:
            definition = self._state.pools.definitions[index]
            name = definition.product_contract_id
            if owners.get(name, definition.customer_id) != definition.customer_id:
                raise Fault(
                    ErrorCode.CATALOG_OBJECT_IN_USE,
                    f"product contract {name!r} has open charge lines of customer {definition.customer_id!r}: "
                    "give the other customer one of another id",
                )

    def _affected(self) -> tuple[tuple[AffectedLine, ...], int]:
        """Open lines whose product contract means something else under the current version, and what moving them
        would post."""
        state = self._state
        touched: dict[str, list[int]] = {}
        for line, origin in enumerate(state.line_origins):
            charge = int(state.pools.definition_table.charge[origin.definition])
            if state.current.current_definitions.get(charge) != origin.definition:
                touched.setdefault(state.pools.definitions[origin.definition].customer_id, []).append(line)
        shown: list[AffectedLine] = []
        for customer_id, lines in touched.items():
            if len(shown) < AFFECTED_LINES_MAX:
                moves = self._moves(customer_id)
                shown += [self._affected_line(line, moves) for line in lines]
        ordered = sorted(shown, key=lambda each: each.line_number)[:AFFECTED_LINES_MAX]
        return tuple(ordered), sum(len(lines) for lines in touched.values())

    def _moves(self, customer_id: str) -> dict[int, int] | None:
        """What reprocessing a customer would post to each line, without tax; None where it would not fit."""
        state = self._state
        lines = state.lines_of_customer.get(customer_id, [])
        before = {line: self._excluding_tax(line) for line in lines}
        try:
            piece = stage_reprocess(
                state,
                customer_id,
                FIRST_INSTANT_US,
                LAST_INSTANT_US,
                True,
                state.receipt_time_us,
                state.sequence + 1,
                0,
                self._records,
            )
        except DoesNotFit:
            return None
        moves = {line: self._excluding_tax(line) - before[line] for line in before}
        undo_reprocess(state, piece)
        return moves

    def _excluding_tax(self, line: int) -> int:
        lines = self._state.lines.arrays
        return int(lines.amount[line] - (lines.tax[line] if lines.inclusive[line] else 0))

    def _affected_line(self, line: int, moves: dict[int, int] | None) -> AffectedLine:
        origin = self._state.line_origins[line]
        definition = self._state.pools.definitions[origin.definition]
        return AffectedLine(
            line_number=line + 1,
            customer_id=definition.customer_id,
            contract_path=definition.contract_path,
            cell_id=definition.cells[origin.cell].id,
            start_us=origin.period_start_us,
            end_us=self._state.line_end(line),
            currency=definition.currency,
            amount_minor=self._excluding_tax(line),
            reprocess_amount_minor=None if moves is None else moves[line],
        )

    def tidy(self) -> None:
        """Merges small segments and makes a snapshot now, which the book does by itself in time."""
        self._maintenance.merge_small()
        self._maintenance.snapshot()

    # --- Threads ----------------------------------------------------------------------------------------------------

    def _dump_state(self) -> Future[tuple[int, bytes]]:
        return self._writer.alone(lambda: (self._state.sequence, dump_state(self._state)))

    async def _alone(self, work: Callable[[], Answer]) -> Answer:
        return await _done(self._writer.alone(work))

    async def _changing(self, work: Callable[[], Answer]) -> Answer:
        return await _done(self._writer.alone(work, changes=True))

    async def _beside(self, work: Callable[[], Answer]) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    async def _listed(self, work: Callable[[], Answer]) -> Answer:
        """Runs what may take long on threads that events do not wait for."""
        return await asyncio.get_running_loop().run_in_executor(self._listing, work)


class Books:
    """The open books of a server, by name."""

    def __init__(self, directory: Path | None, executor: ThreadPoolExecutor) -> None:
        """`directory` holds a journal a book; None: journals are in memory and gone with the process."""
        self._directory = directory
        self._executor = executor
        self._opening: dict[str, asyncio.Task[Book]] = {}

    async def open(self, name: str) -> Book:
        """The book of a name, opened at its first use and created where it is new; ValueError for no name of one."""
        task = self._opening.get(name)
        if task is None or (task.done() and task.exception() is not None):
            task = asyncio.ensure_future(self._open(name))
            self._opening[name] = task
        return await asyncio.shield(task)

    async def _open(self, name: str) -> Book:
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._opened, name)

    def _opened(self, name: str) -> Book:
        check_book_name(name)
        if self._directory is None:
            return Book(name, MemoryJournal(), self._executor)
        self._directory.mkdir(parents=True, exist_ok=True)
        return Book(name, SqliteJournal.open(self._directory / f"{name}.sqlite"), self._executor)

    async def close(self) -> None:
        """Closes every book."""
        for task in self._opening.values():
            if task.done() and task.exception() is None:
                await task.result().close()


def _root(catalog: Catalog, contract_id: str) -> Contract:
    """A root contract of a catalogue. OBJECT_NOT_FOUND."""
    root = catalog.contracts.get(contract_id)
    if root is not None:
        return root
    words = f'there is no root contract "{contract_id}"'
    for each in catalog.contracts.values():
        if any(path[-1].id == contract_id for path in each.levels()):
            words += f'; it is a sub-contract of "{each.id}", whose invoices have its lines'
    raise Fault(ErrorCode.OBJECT_NOT_FOUND, words, {"kind": "contract", "id": contract_id})


async def _done(answer: Future[Answer]) -> Answer:
    """Waits for a future that goes on where its caller stops waiting."""
    return await asyncio.shield(asyncio.wrap_future(answer))


def _written(instant_us: int) -> str:
    return f"{datetime.fromtimestamp(instant_us // 1_000_000, UTC):%Y-%m-%dT%H:%M:%S}.{instant_us % 1_000_000:06d}Z"


def _resume_token(customer_id: str) -> str:
    return base64.urlsafe_b64encode(json.dumps(customer_id).encode()).decode()


def _resumed(token: str) -> str | None:
    if not token:
        return None
    try:
        customer_id = json.loads(base64.urlsafe_b64decode(token))
    except ValueError as error:
        raise Fault(ErrorCode.RESUME_TOKEN_INVALID, "the resume token is not one that this method answered") from error
    if not isinstance(customer_id, str):
        raise Fault(ErrorCode.RESUME_TOKEN_INVALID, "the resume token is not one that this method answered")
    return customer_id
