"""A commit on its way: pieces that were staged together, and the segment that stores them."""

from __future__ import annotations

import zlib
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tallybook_engine.calendar.zones import tzdata_version
from tallybook_engine.ledger.delete import DeletePiece, undo_deletes
from tallybook_engine.ledger.references import DELETED_BIT, Hasher
from tallybook_engine.ledger.reprocess import ReprocessPiece, undo_reprocess
from tallybook_engine.ledger.segments import (
    FORMAT_VERSION,
    NOTHING,
    RATING_VERSION,
    Decoded,
    RecordKind,
    Tables,
    concatenated,
    encode,
    net_pin_table,
    net_table,
    numpy_of,
    one_chunk,
    opening_table,
    posting_table,
)
from tallybook_engine.ledger.stage import EventPiece, Records, event_records, joined, undo_events
from tallybook_engine.ledger.state import State
from tallybook_server.journal.attached import Attached, BillingValueRow, MessageRow, ReadingBlock
from tallybook_server.journal.interface import Journal, Segment, SegmentHeader

Piece = EventPiece | DeletePiece | ReprocessPiece


@dataclass(eq=False)
class Commit:
    """Pieces in the order of their staging, and who waits for each."""

    sequence: int
    receipt_time_us: int
    catalog_version: int
    charge_names: list[str]
    """Of the pools, as far as they went when the commit was opened; extended before it is stored."""
    pieces: list[Piece] = field(default_factory=list)
    blocks: list[ReadingBlock] = field(default_factory=list)
    values: list[BillingValueRow] = field(default_factory=list)
    messages: list[MessageRow] = field(default_factory=list)
    billed: dict[str, set[tuple[int, int]]] = field(default_factory=dict)
    """Datasource -> (start, end) of the periods of its values."""
    waiting: list[tuple[Future[Any], Any]] = field(default_factory=list)
    """Futures, each with what it is answered once the commit is durable."""
    row_count: int = 0
    """Rows that the next piece's rows come behind."""
    size: int = 0
    """Rows staged, as a measure of work."""
    _tables: Tables | None = None
    """Of the pieces so far."""

    def add(self, piece: Piece) -> None:
        """Puts a piece behind the others."""
        self.pieces.append(piece)
        self._tables = None

    @property
    def record_count(self) -> int:
        """Records of events that the commit stores."""
        return sum(_record_count(piece) for piece in self.pieces)

    @property
    def stored_count(self) -> int:
        """Everything that the commit stores."""
        return self.record_count + len(self.blocks) + len(self.values) + len(self.messages)

    def attached(self) -> Attached | None:
        """What the commit stores beside its segment."""
        if not (self.blocks or self.values or self.messages):
            return None
        return Attached(self.receipt_time_us, self.blocks, self.values, self.messages)

    def tables(self) -> Tables:
        """The commit as Arrow tables, records in row order."""
        if self._tables is None:
            stored = [piece for piece in self.pieces if _record_count(piece)]
            records = [event_records(piece) if isinstance(piece, EventPiece) else piece.records for piece in stored]
            openings = [opening for piece in stored if not isinstance(piece, DeletePiece) for opening in piece.openings]
            self._tables = Tables(
                one_chunk(concatenated(records)),
                posting_table(joined([piece.postings for piece in stored])),
                opening_table(openings, self.charge_names),
                net_table([(piece.row_offset, piece.net.postings) for piece in stored]),
                net_pin_table((piece.row_offset, piece.net.pins) for piece in stored),
            )
        return self._tables

    def key_run(self, hasher: Hasher) -> NDArray[np.uint64]:
        """[n, 3] key and location of each record that has a reference, in row order."""
        if all(isinstance(piece, EventPiece) for piece in self.pieces):
            events = [piece for piece in self.pieces if isinstance(piece, EventPiece)]
            return np.concatenate(
                [np.column_stack([piece.keys[piece.rows], piece.outcome.event_ids[piece.rows]]) for piece in events]
            )
        return key_run(self.decoded(), hasher)

    def decoded(self) -> Decoded:
        """The commit for look-ups while it is on its way."""
        return Decoded(self.sequence, self.tables())

    def undo(self, state: State) -> None:
        """Takes everything back, last first."""
        for piece in reversed(self.pieces):
            undo(state, piece)


@dataclass(frozen=True)
class AlsoStaged:
    """Committed records, and those of one commit that is only staged."""

    commit: Commit
    records: Records

    def decoded(self, sequence: int) -> Decoded:
        """The records of a sequence."""
        if sequence == self.commit.sequence:
            return self.commit.decoded()
        return self.records.decoded(sequence)


def undo(state: State, piece: Piece) -> None:
    """Takes a staged piece back."""
    match piece:
        case EventPiece():
            undo_events(state, piece)
        case DeletePiece():
            undo_deletes(state, piece)
        case ReprocessPiece():
            undo_reprocess(state, piece)


def _record_count(piece: Piece) -> int:
    return len(piece.rows) if isinstance(piece, EventPiece) else piece.records.num_rows


def segment_of(commit: Commit, journal: Journal, hasher: Hasher) -> tuple[Segment, NDArray[np.uint64]]:
    """(the segment, [n, 3] keys and locations of its records).

    Records are sorted by partition, and within one stay in the order of their rows. Without a record it is empty.
    """
    if commit.record_count == 0:
        empty = packed(
            Decoded(commit.sequence, NOTHING),
            commit.sequence,
            np.zeros(journal.partition_count, np.int64),
            commit.receipt_time_us,
            commit.catalog_version,
            journal,
        )
        return empty, np.zeros((0, 3), np.uint64)
    tables = commit.tables()
    partitions = record_partitions(tables.records, hasher, journal.partition_count)
    ordered = tables
    if (np.diff(partitions) < 0).any():
        order = np.argsort(partitions.astype(np.int16), kind="stable")
        ordered = replace(tables, records=tables.records.take(pa.array(order)))
    segment = packed(
        Decoded(commit.sequence, ordered),
        commit.sequence,
        np.bincount(partitions, minlength=journal.partition_count),
        commit.receipt_time_us,
        commit.catalog_version,
        journal,
    )
    return segment, commit.key_run(hasher)


def packed(
    decoded: Decoded,
    last_sequence: int,
    partition_counts: NDArray[np.int64],
    receipt_time_us: int,
    catalog_version: int,
    journal: Journal,
) -> Segment:
    """Tables, whose records are sorted by partition, as a segment; their schema goes to the journal first.

    Without a record there is no body.
    """
    schema, body = (b"", b"") if decoded.is_empty else encode(decoded.tables)
    times_us = numpy_of(decoded.column("time_us")) if not decoded.is_empty else np.zeros(1, np.int64)
    header = SegmentHeader(
        record_count=decoded.tables.records.num_rows,
        posting_count=decoded.tables.postings.num_rows,
        partition_record_counts=tuple(int(count) for count in partition_counts),
        minimum_time_us=int(times_us.min()),
        maximum_time_us=int(times_us.max()),
        receipt_time_us=receipt_time_us,
        catalog_version=catalog_version,
        format_version=FORMAT_VERSION,
        rating_version=RATING_VERSION,
        tzdata_version=tzdata_version(),
        crc32=zlib.crc32(body),
        schema_id=journal.put_schema(schema) if schema else 0,
    )
    return Segment(decoded.first_sequence, last_sequence, header, body)


def record_partitions(records: pa.Table, hasher: Hasher, partition_count: int) -> NDArray[np.int32]:
    """Partition of each record: its customer's."""
    customers = records.column("customer").chunk(0)
    return hasher.partitions(customers.dictionary, partition_count)[numpy_of(customers.indices)]


def key_run(decoded: Decoded, hasher: Hasher) -> NDArray[np.uint64]:
    """[n, 3] key and location of each record that has a reference, in the order of the body."""
    kinds, customers = numpy_of(decoded.column("kind")), decoded.column("customer")
    keys = hasher.keys(
        numpy_of(customers.indices).astype(np.int32, copy=False), customers.dictionary, decoded.column("reference")
    )
    deleted = np.where(kinds == RecordKind.DELETE, np.uint64(DELETED_BIT), np.uint64(0))
    return np.column_stack([keys, decoded.locations | deleted])[kinds != RecordKind.LINES]
