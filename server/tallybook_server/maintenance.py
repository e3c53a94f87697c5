"""What keeps a journal quick to open: runs of small segments are merged, and snapshots bound the fold.

It works beside the writer, on a thread of its own, and only makes copies of what is committed: a failure is logged and
tried again later, and nothing is lost but time.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.ledger.references import Hasher
from tallybook_engine.ledger.segments import Decoded, merge
from tallybook_engine.ledger.snapshot import dump_keys
from tallybook_server.commits import packed, record_partitions
from tallybook_server.errors import Fault
from tallybook_server.folding import KEYS_PART, STATE_PART
from tallybook_server.journal.interface import Journal, JournalError, Segment, SegmentSummary
from tallybook_server.records import JournalRecords

MERGED_RECORDS_MAX = 262_144
"""Records of a merged segment, at most."""
SMALL_RECORDS_MAX = 32_768
"""A segment of so many records is small no more: merging it would cost more than it spares a start."""
MERGE_RUN = 64
"""Neighbouring segments that are merged at a time."""
SNAPSHOT_RECORDS = 1_000_000
"""Records after which another snapshot is made."""

CLOSING_SNAPSHOT_RECORDS = 10_000
"""Records since the last snapshot that are worth another when the book closes."""

log = logging.getLogger(__name__)


class Maintenance:
    """Merges and snapshots of one journal."""

    def __init__(
        self,
        journal: Journal,
        records: JournalRecords,
        hasher: Hasher,
        runs: list[tuple[int, NDArray[np.uint64]]],
        dump_state: Callable[[], Future[tuple[int, bytes]]] | None,
    ) -> None:
        """`runs` are the keys of each segment since the last snapshot; `dump_state` answers (sequence, state) at a
        moment when nothing is on its way. None: the journal is never opened again, so nothing is snapshot."""
        self._journal = journal
        self._records = records
        self._hasher = hasher
        self._dump_state = dump_state
        self._changed = threading.Condition()
        self._runs = list(runs)
        self._records_since_snapshot = sum(len(keys) for _, keys in runs)
        self._segments_since_merge = 0
        self._closing = False
        self._thread = threading.Thread(target=self._loop, name="tallybook-maintenance", daemon=True)
        self._thread.start()

    def committed(self, segment: Segment, keys: NDArray[np.uint64]) -> None:
        """Notes a stored segment and its [n, 3] keys and locations."""
        with self._changed:
            if self._dump_state is not None:
                self._runs.append((segment.last_sequence, keys))
                self._records_since_snapshot += segment.header.record_count
            self._segments_since_merge += 1
            if self._due():
                self._changed.notify_all()

    def close(self) -> None:
        """Stops, with a last snapshot where that spares the next start some time. The writer must still be at work."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        if self._records_since_snapshot >= CLOSING_SNAPSHOT_RECORDS:
            try:
                self.snapshot()
            except (JournalError, Fault):
                log.exception("no snapshot was made; the next start folds more of the journal")

    def _due(self) -> bool:
        return self._segments_since_merge >= MERGE_RUN or self._records_since_snapshot >= SNAPSHOT_RECORDS

    def _loop(self) -> None:
        while True:
            with self._changed:
                while not (self._closing or self._due()):
                    self._changed.wait()
                if self._closing:
                    return
                merges, snapshots = (
                    self._segments_since_merge >= MERGE_RUN,
                    (self._records_since_snapshot >= SNAPSHOT_RECORDS),
                )
                if merges:
                    self._segments_since_merge = 0
            try:
                if merges:
                    self.merge_small()
                if snapshots:
                    self.snapshot()
            except Exception:
                log.exception("the journal could not be tidied; it is whole, and will be tried again")
                with self._changed:
                    self._records_since_snapshot = 0

    # --- Merging ----------------------------------------------------------------------------------------------------

    def merge_small(self) -> int:
        """Merges every run of small neighbours; answers how many segments went into others."""
        gone = 0
        for run in mergeable(self._journal.headers()):
            self._merge(run)
            gone += len(run) - 1
        return gone

    def _merge(self, run: list[SegmentSummary]) -> None:
        first, last = run[0].first_sequence, run[-1].last_sequence
        opened = [self._records.opened(segment) for segment in self._journal.read(after_sequence=first - 1, upto=last)]
        count = self._journal.partition_count
        tables, partitions = merge(
            [(decoded.first_sequence, decoded.tables) for decoded in opened],
            [record_partitions(decoded.tables.records, self._hasher, count) for decoded in opened],
        )
        header = run[-1].header
        segment = packed(
            Decoded(first, tables),
            last,
            np.bincount(partitions, minlength=count),
            header.receipt_time_us,
            header.catalog_version,
            self._journal,
        )
        self._journal.replace(segment)
        self._records.forget(first, last)

    # --- Snapshots --------------------------------------------------------------------------------------------------

    def snapshot(self) -> None:
        """Stores the state as of now, and the keys since the last time."""
        if self._dump_state is None:
            return
        sequence, body = self._dump_state().result()
        with self._changed:
            runs = [keys for at, keys in self._runs if at <= sequence]
        if not runs:
            return
        self._journal.put_snapshot_part(sequence, KEYS_PART, dump_keys(runs))
        self._journal.put_snapshot_part(sequence, STATE_PART, body)
        # Only now: a snapshot that failed leaves its keys to the next one.
        with self._changed:
            self._runs = [(at, keys) for at, keys in self._runs if at > sequence]
            self._records_since_snapshot = sum(len(keys) for _, keys in self._runs)
        self._journal.drop_snapshots_before(sequence, STATE_PART)


def mergeable(summaries: list[SegmentSummary]) -> list[list[SegmentSummary]]:
    """Runs of neighbouring segments to merge, oldest first.

    A run's largest segment is at most half of what the run comes to, so that a record is rewritten a few times in all;
    where it is more, only what follows it is looked at. A segment that is not small is left alone.
    """
    runs: list[list[SegmentSummary]] = [[]]
    total = 0
    for summary in summaries:
        count = summary.header.record_count
        small = count < SMALL_RECORDS_MAX
        if not small or total + count > MERGED_RECORDS_MAX:
            runs.append([])
            total = 0
        if small:
            runs[-1].append(summary)
            total += count
    full = runs[:-1]
    return [found for run in full if (found := _balanced(run, 2))] + [
        found for run in runs[-1:] if (found := _balanced(run, MERGE_RUN))
    ]


def _balanced(run: list[SegmentSummary], fewest: int) -> list[SegmentSummary]:
    """The run, or its end, where merging it is worth it; empty where it is not."""
    while len(run) >= fewest:
        counts = [each.header.record_count for each in run]
        if 2 * max(counts) <= sum(counts):
            return run
        run = run[counts.index(max(counts)) + 1 :]
    return []
