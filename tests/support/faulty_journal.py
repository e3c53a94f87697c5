"""A journal that fails by plan: for tests of what a book does when its disk is full, fails, or does not say."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum

from tallybook_server.journal.attached import (
    Acknowledged,
    Attached,
    AttachedSummary,
    ChannelBlock,
    StoredBlock,
    StoredMessage,
    StoredValue,
)
from tallybook_server.journal.interface import (
    CatalogVersion,
    CommitFailed,
    Fenced,
    Journal,
    JournalFull,
    OutcomeUnknown,
    Segment,
    SegmentSummary,
    SnapshotPart,
)


class Outcome(Enum):
    """What becomes of one append."""

    COMMITTED = "committed"
    FAILED = "failed"
    """`CommitFailed`: certainly not written."""
    FULL = "full"
    """`JournalFull`: certainly not written."""
    UNKNOWN_WRITTEN = "unknown, written"
    """`OutcomeUnknown`, and the segment is there."""
    UNKNOWN_LOST = "unknown, lost"
    """`OutcomeUnknown`, and the segment is not there."""
    FENCED = "fenced"
    """`Fenced`: another has claimed the journal, for good."""


PASSING_FAULTS = (Outcome.FAILED, Outcome.FULL, Outcome.UNKNOWN_WRITTEN, Outcome.UNKNOWN_LOST)
"""Every fault after which the same writer may go on."""


def random_plan(
    seed: int, fault_probability: float = 0.1, faults: Iterable[Outcome] = PASSING_FAULTS
) -> Iterator[Outcome]:
    """Endless outcomes; the same seed plans the same."""
    chance, choices = random.Random(seed), list(faults)
    while True:
        yield chance.choice(choices) if chance.random() < fault_probability else Outcome.COMMITTED


class FaultyJournal:
    """Passes everything to `journal`, save the appends for which `plan` has another outcome; after its end none fails.

    After an unknown outcome `last_sequence` fails as often as `unsettled_answers` says before it tells the outcome, as
    a disk does that is not back yet.
    """

    def __init__(self, journal: Journal, plan: Iterable[Outcome], unsettled_answers: int = 0) -> None:
        self.journal = journal
        self.outcomes: Counter[Outcome] = Counter()
        """How many appends had each outcome, so that a test can tell that its faults happened."""
        self._plan = iter(plan)
        self._unsettled_answers = unsettled_answers
        self._unsettled_answers_left = 0
        self._fenced = False

    @property
    def hash_key(self) -> bytes:
        return self.journal.hash_key

    @property
    def partition_count(self) -> int:
        return self.journal.partition_count

    @property
    def last_sequence(self) -> int:
        if self._unsettled_answers_left:
            self._unsettled_answers_left -= 1
            raise OutcomeUnknown("planned: still unknown what the last commit left")
        return self.journal.last_sequence

    def claim(self) -> int:
        return self.journal.claim()

    def append(self, expected_sequence: int, segment: Segment, attached: Attached | None = None) -> None:
        outcome = Outcome.FENCED if self._fenced else next(self._plan, Outcome.COMMITTED)
        self.outcomes[outcome] += 1
        match outcome:
            case Outcome.COMMITTED:
                self.journal.append(expected_sequence, segment, attached)
            case Outcome.FAILED:
                raise CommitFailed("planned: nothing was written")
            case Outcome.FULL:
                raise JournalFull("planned: no room on the disk; nothing was written")
            case Outcome.FENCED:
                self._fenced = True
                raise Fenced("planned: claimed by another writer")
            case Outcome.UNKNOWN_WRITTEN | Outcome.UNKNOWN_LOST:
                if outcome is Outcome.UNKNOWN_WRITTEN:
                    self.journal.append(expected_sequence, segment, attached)
                self._unsettled_answers_left = self._unsettled_answers
                raise OutcomeUnknown("planned: the commit was not confirmed")

    def read(self, after_sequence: int = 0, upto: int | None = None) -> Iterator[Segment]:
        return self.journal.read(after_sequence, upto)

    def segment_of(self, sequence: int) -> Segment:
        return self.journal.segment_of(sequence)

    def headers(self, after_sequence: int = 0) -> list[SegmentSummary]:
        return self.journal.headers(after_sequence)

    def replace(self, merged: Segment) -> None:
        self.journal.replace(merged)

    def put_schema(self, schema: bytes) -> int:
        return self.journal.put_schema(schema)

    def schema(self, schema_id: int) -> bytes:
        return self.journal.schema(schema_id)

    def put_catalog_version(self, version: int, parent: int, difference: bytes) -> None:
        self.journal.put_catalog_version(version, parent, difference)

    def catalog_versions(self) -> list[CatalogVersion]:
        return self.journal.catalog_versions()

    def put_snapshot_part(self, sequence: int, name: str, body: bytes) -> None:
        self.journal.put_snapshot_part(sequence, name, body)

    def snapshot_parts(self) -> list[SnapshotPart]:
        return self.journal.snapshot_parts()

    def snapshot_part(self, sequence: int, name: str) -> bytes:
        return self.journal.snapshot_part(sequence, name)

    def drop_snapshots_before(self, sequence: int, name: str) -> None:
        self.journal.drop_snapshots_before(sequence, name)

    def attached_summary(self, sequence: int) -> AttachedSummary | None:
        return self.journal.attached_summary(sequence)

    def receipt_times(self, sequences: Iterable[int]) -> dict[int, int]:
        return self.journal.receipt_times(sequences)

    def has_series(self, datasource: str, channel: str | None = None) -> bool:
        return self.journal.has_series(datasource, channel)

    def blocks(
        self, datasource: str, channel: str, first_bucket: int, last_bucket: int, upto_sequence: int
    ) -> Iterator[tuple[int, list[StoredBlock]]]:
        return self.journal.blocks(datasource, channel, first_bucket, last_bucket, upto_sequence)

    def blocks_of_channels(
        self, channels: Sequence[tuple[str, str]], first_bucket: int, last_bucket: int, upto_sequence: int
    ) -> Iterator[ChannelBlock]:
        return self.journal.blocks_of_channels(channels, first_bucket, last_bucket, upto_sequence)

    def billing_values(
        self, datasource: str, channel: str, start_us: int, end_us: int, upto_sequence: int
    ) -> Iterator[StoredValue]:
        return self.journal.billing_values(datasource, channel, start_us, end_us, upto_sequence)

    def datasource_values(
        self, datasource: str, start_us: int, end_us: int, after_sequence: int = 0
    ) -> Iterator[tuple[str, StoredValue]]:
        return self.journal.datasource_values(datasource, start_us, end_us, after_sequence)

    def billing_messages(self, after_id: int) -> Iterator[StoredMessage]:
        return self.journal.billing_messages(after_id)

    def acknowledge(self, message_ids: Sequence[int]) -> Acknowledged:
        return self.journal.acknowledge(message_ids)

    def close(self) -> None:
        self.journal.close()
