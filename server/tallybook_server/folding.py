"""Opening a journal: the last snapshot, and the segments behind it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.catalog.change import CatalogChange
from tallybook_engine.catalog.model import Catalog
from tallybook_engine.catalog.versions import Versions
from tallybook_engine.ledger.fold import fold, pinned_versions, settle
from tallybook_engine.ledger.snapshot import key_count, restore_keys, restore_state
from tallybook_engine.ledger.split import note_splits
from tallybook_engine.ledger.state import State
from tallybook_server.codec.catalog import read_difference
from tallybook_server.commits import key_run
from tallybook_server.journal.interface import Journal
from tallybook_server.records import JournalRecords

STATE_PART = "state"
"""Snapshot part with everything but the keys."""
KEYS_PART = "keys"
"""Snapshot part with the keys of the segments since the keys part before."""


@dataclass(frozen=True)
class Folded:
    """A book as its journal tells it."""

    state: State
    versions: Versions
    records: JournalRecords
    snapshot_sequence: int
    """What the restart began from; 0: nothing."""
    runs: list[tuple[int, NDArray[np.uint64]]]
    """(last sequence, [n, 3] keys and locations) of each segment behind the snapshot."""


def open_book(journal: Journal, *, from_snapshot: bool = True) -> Folded:
    """Folds a journal. `from_snapshot=False` reads every segment, which verification does."""
    state = State(journal.hash_key, journal.partition_count)
    changes = [read_difference(stored.difference) for stored in journal.catalog_versions()]
    versions = Versions(changes)
    for change in changes:
        state.pools.remember(change.put.customers, change.put.meters)
    _note_splits(state, versions, changes)
    records = JournalRecords(journal, state.hasher)
    sequence = _restore_snapshot(journal, state, versions.catalog) if from_snapshot else 0
    state.references.reserve(sum(each.header.record_count for each in journal.headers(after_sequence=sequence)))
    runs = []
    for segment in journal.read(after_sequence=sequence):
        # A merged segment may reach back over the snapshot, and one of readings has no records.
        decoded = records.opened(segment)
        decoded = decoded if decoded.is_empty else decoded.behind(sequence)
        if not decoded.is_empty:
            for version in pinned_versions(decoded):
                state.knows(versions.catalog(version))
            fold(state, decoded, segment.last_sequence)
            runs.append((segment.last_sequence, key_run(decoded, state.hasher)))
        state.sequence = segment.last_sequence
        state.receipt_time_us = max(state.receipt_time_us, segment.header.receipt_time_us)
    settle(state)
    state.adopt(versions.current)
    return Folded(state, versions, records, sequence, runs)


def _note_splits(state: State, versions: Versions, changes: Sequence[CatalogChange]) -> None:
    """Tells the state where versions split running periods, which it must know before it opens them again."""
    for version, change in enumerate(changes, 1):
        if change.effective_from_us is not None:
            state.knows(versions.catalog(version - 1))
            state.knows(versions.catalog(version))
            note_splits(state, change.effective_from_us, state.compiled[version - 1], state.compiled[version])


def _restore_snapshot(journal: Journal, state: State, catalog_of: Callable[[int], Catalog]) -> int:
    """Restores the latest snapshot; answers its sequence, 0 where there is none."""
    parts = journal.snapshot_parts()
    sequence = max((part.sequence for part in parts if part.name == STATE_PART), default=0)
    if sequence == 0:
        return 0
    restore_state(state, journal.snapshot_part(sequence, STATE_PART), catalog_of)
    key_parts = [part for part in parts if part.name == KEYS_PART and part.sequence <= sequence]
    # Once for all, because each growth of the table moves every key in it.
    state.references.reserve(sum(key_count(part.body_bytes) for part in key_parts))
    for part in sorted(key_parts, key=lambda part: part.sequence):
        restore_keys(state, journal.snapshot_part(part.sequence, KEYS_PART))
    return sequence
