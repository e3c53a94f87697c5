"""What every journal does: an append-only log of segments, the truth a book is folded from (DESIGN, State and storage).

A journal knows nothing of events or money. A segment's body is opaque bytes to it, and so are a catalogue
difference, a schema and a snapshot part. What it owes its book is order, atomicity, durability and honesty: what
`append` returned from is there after a power cut, what it raised `CommitFailed` for is not there, and what it reads
back is what was written or an error that says where the damage is.

A **sequence** numbers commits of one book from 1, without gaps. A segment made by one commit covers one sequence; a
merged segment covers a run of them. A commit may store readings, values of BILLING channels and billing messages beside
its segment (`attached`); the segment of one that has no events is empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from tallybook_server.journal.attached import (
    Acknowledged,
    Attached,
    AttachedSummary,
    ChannelBlock,
    StoredBlock,
    StoredMessage,
    StoredValue,
)


class JournalError(Exception):
    """Base of everything a journal raises about its store; the message says what to do."""


class CommitFailed(JournalError):
    """The write certainly did not happen and never will: undo, and tell the callers to send it again."""


class JournalFull(CommitFailed):
    """The disk has no room. Nothing was written; the same journal takes appends again once there is space."""


class JournalAtLimit(CommitFailed):
    """The journal holds as much as it may. Nothing was written; what is smaller may still fit."""


class SequenceConflict(CommitFailed):
    """The journal does not end where the writer thought: another writer, or an outcome that was never looked up."""


class Fenced(CommitFailed):
    """This writer holds no claim, or a later one was made: it must stop writing for good."""


class OutcomeUnknown(JournalError):
    """The write may or may not have happened. Ask `last_sequence`, then read and apply what the journal holds."""


class DamagedJournal(JournalError):
    """Stored bytes are not what was written. Names the file, the sequence and how to mend it."""


class UnreadableJournal(JournalError):
    """The file is not a journal of this program, or of a format version it does not read."""


class UnknownSequence(JournalError):
    """Asked for a sequence, catalogue version, schema or snapshot part that the journal does not hold."""


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """What a reader may learn of a segment without opening its body.

    Rows of the body are sorted by partition, so the counts also give each partition's row range. A partition's own
    sequence is the running total of its counts over the journal, so it needs no field.
    """

    record_count: int
    """Rows of the body: events and what happened to them."""
    posting_count: int
    partition_record_counts: tuple[int, ...]
    """Rows of each partition, in partition order; as many as the journal has partitions, summing to `record_count`."""
    minimum_time_us: int
    """Earliest event time, microseconds since 1970 UTC."""
    maximum_time_us: int
    """Latest event time, microseconds since 1970 UTC; inclusive."""
    receipt_time_us: int
    """When the writer stamped the batch, microseconds since 1970 UTC; never decreasing along the journal."""
    catalog_version: int
    """Version the rows were rated under; 0 where there was none. Stored in the journal before a segment names it."""
    format_version: int
    """Layout of the body."""
    rating_version: int
    """Rules by which the postings were made; a journal never re-prices, so this only explains."""
    tzdata_version: str
    """Zone data by which periods were cut, as `2026a`."""
    crc32: int
    """`zlib.crc32` of the body."""
    schema_id: int
    """What `put_schema` answered for the body's schema; 0 where the body needs none."""

    def partition_row_ranges(self) -> list[tuple[int, int]]:
        """Half-open row range of every partition, in partition order."""
        ranges, start = [], 0
        for count in self.partition_record_counts:
            ranges.append((start, start + count))
            start += count
        return ranges


@dataclass(frozen=True, slots=True)
class Segment:
    """The rows of one commit, or of a merged run of them. Both sequences are inclusive."""

    first_sequence: int
    last_sequence: int
    header: SegmentHeader
    body: bytes

    def __post_init__(self) -> None:
        if not 1 <= self.first_sequence <= self.last_sequence:
            raise ValueError(f"a segment from sequence {self.first_sequence} to {self.last_sequence}")


@dataclass(frozen=True, slots=True)
class SegmentSummary:
    """A segment without its body: enough to plan a merge, to find a period or to count."""

    first_sequence: int
    last_sequence: int
    header: SegmentHeader
    body_bytes: int


@dataclass(frozen=True, slots=True)
class CatalogVersion:
    """A version of the catalogue as its difference from an earlier one; the first has parent 0."""

    version: int
    parent: int
    difference: bytes


@dataclass(frozen=True, slots=True)
class SnapshotPart:
    """Where a part of a snapshot is; `Journal.snapshot_part` answers its bytes."""

    sequence: int
    """The committed sequence whose state the part belongs to."""
    name: str
    body_bytes: int


class Journal(Protocol):
    """The log of one book. Reading is safe from any thread at any time; writers take turns.

    Every method that writes needs a claim and raises `CommitFailed` (or one of its kinds) when nothing was written and
    `OutcomeUnknown` when that cannot be told. Every method that reads raises `DamagedJournal` rather than answer
    bytes that are not the ones written.
    """

    @property
    def hash_key(self) -> bytes:
        """16 secret bytes, drawn when the journal was made: the key of every stored hash of this book."""
        ...

    @property
    def partition_count(self) -> int:
        """Fixed when the journal was made; a customer's partition is its hash modulo this."""
        ...

    @property
    def last_sequence(self) -> int:
        """The last committed sequence; 0 for an empty journal.

        After an `OutcomeUnknown` this is how to learn the outcome: the answer is final, or `OutcomeUnknown` again.
        """
        ...

    def claim(self) -> int:
        """Become the one writer and answer the new epoch (1, 2, ...); every earlier claimant is fenced from then on."""
        ...

    def append(self, expected_sequence: int, segment: Segment, attached: Attached | None = None) -> None:
        """Commit `segment` and what is attached after `expected_sequence`; durable when this returns, all or nothing.

        `segment.first_sequence` is `expected_sequence + 1`. Raises `SequenceConflict` when the journal does not end at
        `expected_sequence`, `JournalFull` when the disk is full, `Fenced` after another's claim.
        """
        ...

    def read(self, after_sequence: int = 0, upto: int | None = None) -> Iterator[Segment]:
        """Every segment with a sequence in (`after_sequence`, `upto`], in order, as of the iterator's first step.

        Where a bound falls inside a merged segment that whole segment is answered. Appends and merges made after the
        first step are not seen. Exhaust it or let go of it: an open one keeps the journal's file from shrinking.
        """
        ...

    def segment_of(self, sequence: int) -> Segment:
        """The segment that holds `sequence`; `UnknownSequence` when none does."""
        ...

    def headers(self, after_sequence: int = 0) -> list[SegmentSummary]:
        """What `read` would answer, without the bodies."""
        ...

    def replace(self, merged: Segment) -> None:
        """Put `merged` in the place of the segments it covers exactly, in one commit.

        Rows and sequences are the same before and after: the covered segments must begin at `first_sequence`, end at
        `last_sequence` and have as many records and postings, by partition, as `merged`; else `ValueError`.
        """
        ...

    def put_schema(self, schema: bytes) -> int:
        """Store a schema once and answer its id (1, 2, ...); equal bytes answer the same id."""
        ...

    def schema(self, schema_id: int) -> bytes:
        """The bytes that `put_schema` answered `schema_id` for."""
        ...

    def put_catalog_version(self, version: int, parent: int, difference: bytes) -> None:
        """Store a catalogue version; storing the same again is fine, another under the same number a `ValueError`."""
        ...

    def catalog_versions(self) -> list[CatalogVersion]:
        """All of them, by version."""
        ...

    def put_snapshot_part(self, sequence: int, name: str, body: bytes) -> None:
        """Store one part, replacing one of the same sequence and name.

        Each part is a commit of its own, so that a large snapshot does not hold up appends: whoever writes several
        writes last the part that says the others are there.
        """
        ...

    def snapshot_parts(self) -> list[SnapshotPart]:
        """All parts, by sequence and name."""
        ...

    def snapshot_part(self, sequence: int, name: str) -> bytes:
        """The bytes of one part."""
        ...

    def drop_snapshots_before(self, sequence: int, name: str) -> None:
        """Remove the parts called `name` of every sequence below `sequence`."""
        ...

    def attached_summary(self, sequence: int) -> AttachedSummary | None:
        """What a commit stored beside its segment; None where it stored nothing there."""
        ...

    def receipt_times(self, sequences: Iterable[int]) -> dict[int, int]:
        """When each of these commits, which all stored something beside their segments, was received."""
        ...

    def has_series(self, datasource: str, channel: str | None = None) -> bool:
        """Whether anything was stored of a datasource; of this channel, where one is named."""
        ...

    def blocks(
        self, datasource: str, channel: str, first_bucket: int, last_bucket: int, upto_sequence: int
    ) -> Iterator[tuple[int, list[StoredBlock]]]:
        """(bucket, its blocks by position) of a channel, in order, of commits up to a sequence; both buckets included,
        and before them `DELETIONS_BUCKET`.

        Bodies are read bucket by bucket. Exhaust it or let go of it, as with `read`.
        """
        ...

    def blocks_of_channels(
        self, channels: Sequence[tuple[str, str]], first_bucket: int, last_bucket: int, upto_sequence: int
    ) -> Iterator[ChannelBlock]:
        """The blocks that `blocks` answers of each (datasource, channel), for many at once: in no order.

        Exhaust it or let go of it, as with `read`.
        """
        ...

    def billing_values(
        self, datasource: str, channel: str, start_us: int, end_us: int, upto_sequence: int
    ) -> Iterator[StoredValue]:
        """Values of a BILLING channel whose periods end in [`start_us`, `end_us`), by end, start and position, of
        commits up to a sequence. Exhaust it or let go of it.
        """
        ...

    def datasource_values(
        self, datasource: str, start_us: int, end_us: int, after_sequence: int = 0
    ) -> Iterator[tuple[str, StoredValue]]:
        """(BILLING channel, value) of what commits behind a sequence stored of a datasource, of periods that meet
        [start, end) or are the same; in no order. Exhaust it or let go of it.
        """
        ...

    def billing_messages(self, after_id: int) -> Iterator[StoredMessage]:
        """The unacknowledged messages behind an id, by id. Exhaust it or let go of it."""
        ...

    def acknowledge(self, message_ids: Sequence[int]) -> Acknowledged:
        """Take messages out of the outbox, in one commit that takes no sequence. Raises as `append` does."""
        ...

    def close(self) -> None:
        """Let go of everything; closing twice is fine."""
        ...
