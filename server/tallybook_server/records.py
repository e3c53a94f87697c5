"""Reading a book's records: the last segments that were read stay decoded."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tallybook_engine.ledger.references import Hasher
from tallybook_engine.ledger.segments import NOTHING, Decoded, decode
from tallybook_server.journal.interface import Journal, Segment, SegmentHeader

DECODED_RECORDS_MAX = 4_000_000
"""Records that are kept decoded; the least recently read segments go first."""


class JournalRecords:
    """Committed records of one journal. Safe from any thread."""

    def __init__(self, journal: Journal, hasher: Hasher) -> None:
        self._journal = journal
        self._hasher = hasher
        self._lock = threading.Lock()
        self._decoded: OrderedDict[tuple[int, int], Decoded] = OrderedDict()
        self._schemas: dict[int, bytes] = {}

    def decoded(self, sequence: int) -> Decoded:
        """The segment that holds a committed sequence."""
        return self._holding(sequence)[0]

    def behind(self, sequence: int, upto: int | None = None) -> Iterator[Decoded]:
        """Every segment with records behind a sequence, in order; the first may hold earlier ones too. With `upto`, a
        committed sequence, the last one is that which holds it.

        Each record comes once, whatever is merged meanwhile.
        """
        done = sequence
        while done < (self._journal.last_sequence if upto is None else upto):
            decoded, last = self._holding(done + 1)
            found = decoded if done == sequence or decoded.is_empty else decoded.behind(done)
            if not found.is_empty:
                yield found
            done = last

    def segments(self, after_sequence: int = 0, upto: int | None = None) -> Iterator[Decoded]:
        """Every segment with records and a sequence in (after_sequence, upto], in order."""
        for segment in self._journal.read(after_sequence, upto):
            if segment.header.record_count:
                yield self.opened(segment)

    def where(self, is_wanted: Callable[[SegmentHeader], bool], upto: int) -> Iterator[Decoded]:
        """The segments with a sequence up to `upto` whose header is wanted, in order, each record once; the others are
        not read. Where a merge comes between, records of what was not wanted may be among them.
        """
        done = 0
        for summary in self._journal.headers():
            if summary.first_sequence > upto:
                return
            if summary.last_sequence > done and summary.header.record_count and is_wanted(summary.header):
                segment = self._journal.segment_of(summary.first_sequence)
                decoded = self.opened(segment)
                yield decoded.behind(done) if segment.first_sequence <= done else decoded
                done = segment.last_sequence

    def opened(self, segment: Segment) -> Decoded:
        """A segment's body, decoded."""
        if segment.header.record_count == 0:
            return Decoded(segment.first_sequence, NOTHING)
        return Decoded(segment.first_sequence, decode(self._schema(segment.header.schema_id), segment.body))

    def of_customer(self, reference: str) -> Iterator[tuple[Decoded, NDArray[np.int64]]]:
        """Every segment with records of a customer, oldest first, and where they stand in its body."""
        partition = int(self._hasher.partitions(_one_text(reference), self._journal.partition_count)[0])
        for summary in self._journal.headers():
            start, end = summary.header.partition_row_ranges()[partition]
            if start == end:
                continue
            decoded = self.decoded(summary.first_sequence)
            positions = customer_positions(decoded, reference)
            # Where a merge came between, the segment holds its neighbours too, which have headers of their own.
            positions = positions[decoded.within(positions, summary.first_sequence, summary.last_sequence)]
            if len(positions):
                yield decoded, positions

    def forget(self, first_sequence: int, last_sequence: int) -> None:
        """Lets go of decoded segments that a merge has replaced."""
        with self._lock:
            for first, last in list(self._decoded):
                if first >= first_sequence and last <= last_sequence:
                    del self._decoded[first, last]

    def _holding(self, sequence: int) -> tuple[Decoded, int]:
        """(the segment that holds a committed sequence, its last sequence)."""
        with self._lock:
            for (first, last), decoded in self._decoded.items():
                if first <= sequence <= last:
                    self._decoded.move_to_end((first, last))
                    return decoded, last
        segment = self._journal.segment_of(sequence)
        return self._keep(segment), segment.last_sequence

    def _keep(self, segment: Segment) -> Decoded:
        decoded = self.opened(segment)
        with self._lock:
            self._decoded[segment.first_sequence, segment.last_sequence] = decoded
            kept = sum(each.tables.records.num_rows for each in self._decoded.values())
            while kept > DECODED_RECORDS_MAX and len(self._decoded) > 1:
                _, dropped = self._decoded.popitem(last=False)
                kept -= dropped.tables.records.num_rows
        return decoded

    def _schema(self, schema_id: int) -> bytes:
        if schema_id not in self._schemas:
            self._schemas[schema_id] = self._journal.schema(schema_id)
        return self._schemas[schema_id]


def customer_positions(decoded: Decoded, reference: str) -> NDArray[np.int64]:
    """Where a customer's records stand in a body."""
    customers = decoded.column("customer")
    codes = np.flatnonzero(pc.equal(customers.dictionary, reference).to_numpy(zero_copy_only=False))
    return np.flatnonzero(np.isin(customers.indices.to_numpy(zero_copy_only=False), codes))


def _one_text(text: str) -> pa.StringArray:
    return pa.array([text], type=pa.string())
