"""Splitting running accumulation periods at the instant from which a version of the catalogue is effective.

A split period is several **stretches**, each pinned to a version: the first keeps what it was pinned to and ends at the
instant; what is used from then on opens the next one, whose quantity goes on from there (DESIGN, 5.3). Where a stretch
ends follows from the versions and their instants alone, so that a restart finds it without a clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.catalog.change import CatalogChange
from tallybook_engine.catalog.compile import KEPT_WHILE_RUNNING, CompiledCatalog, Definition
from tallybook_engine.catalog.faults import Faults
from tallybook_engine.ledger.outcomes import Match, Status
from tallybook_engine.ledger.references import locations_of
from tallybook_engine.ledger.segments import Decoded, RecordKind
from tallybook_engine.ledger.stage import ranges
from tallybook_engine.ledger.state import Split, State

_PATHS: Mapping[str, tuple[str, str]] = {
    "meter_id": ("products", "meter"),
    "aggregation": ("products", "aggregation"),
    "value": ("products", "value"),
    "currency": ("plans", "currency"),
    "time_zone": ("contracts", "time_zone"),
    "anchor": ("contracts", "start_date"),
    "billing_frequency": ("contracts", "billing_frequency"),
    "accumulation_frequency": ("contracts", "accumulation_period"),
}
"""Where the catalogue says what all stretches of a period have in common: field of the definition -> (kind, field)."""


def note_splits(state: State, from_us: int, before: CompiledCatalog, after: CompiledCatalog) -> list[int]:
    """Remembers the instant for every charge that a version changes, and answers them."""
    changed = _changed(before, after)
    for charge, definition in changed.items():
        state.splits.setdefault(charge, []).append(Split(after.version, from_us, definition))
    return list(changed)


def cut_periods(state: State, charges: Iterable[int]) -> None:
    """Ends the open periods of charges where their splits say so."""
    periods, parts = state.periods.rows(), state.parts.rows()
    part_period = state.accounts.rows().period[parts.account]
    charge_of = state.pools.definition_table.charge[periods.definition]
    for period in np.flatnonzero(np.isin(charge_of, list(charges))).tolist():
        start_us, end_us = int(periods.start_us[period]), int(periods.end_us[period])
        cut_us = state.stretch_end(int(periods.version[period]), int(periods.definition[period]), start_us, end_us)
        if cut_us < end_us:
            state.whole.setdefault(period, (start_us, end_us))
            periods.end_us[period] = cut_us
            inside = part_period == period
            parts.end_us[inside] = np.minimum(parts.end_us[inside], cut_us)


def _changed(before: CompiledCatalog, after: CompiledCatalog) -> dict[int, int]:
    """Charge -> definition of the charges of both versions that mean something else under the later one."""
    earlier = before.current_definitions
    return {
        charge: definition
        for charge, definition in after.current_definitions.items()
        if earlier.get(charge, definition) != definition
    }


# --- What cannot be split ---------------------------------------------------------------------------------------------


class SplitCheck:
    """What stands against splitting the running periods of the charges that a version changes."""

    def __init__(self, state: State, from_us: int, before: CompiledCatalog, after: CompiledCatalog) -> None:
        self._state = state
        self._from_us = from_us
        self._touched = dict(self._reaching(_changed(before, after)))
        parts, accounts = state.parts.rows(), state.accounts.rows()
        inside = np.isin(accounts.period[parts.account], list(self._touched))
        self._late_parts = np.flatnonzero(inside & (parts.end_us > from_us)).astype(np.int32)
        self._last_us = int(parts.start_us[self._late_parts].max(initial=-1))
        """Last instant from which something counts already; below `from_us`: nothing known so far."""

    def _reaching(self, changed: Mapping[int, int]) -> Iterator[tuple[int, int]]:
        """(period, new definition) of the open periods that go on after the instant under another definition."""
        periods = self._state.periods.arrays
        for charge, definition in changed.items():
            period = self._state.newest_period_of(charge)
            while period >= 0:
                if periods.end_us[period] > self._from_us and periods.definition[period] != definition:
                    yield period, definition
                period = int(periods.earlier[period])

    @property
    def asks_events(self) -> bool:
        """Whether events must be looked through: some part goes on over the instant."""
        return len(self._late_parts) > 0

    def look_through(self, decoded: Decoded) -> None:
        """Looks for events of a segment that count from the instant on in what would be split."""
        times_us = decoded.numbers("time_us")
        kinds = decoded.numbers("kind")
        wanted = (times_us >= self._from_us) & ((kinds == RecordKind.EVENT) | (kinds == RecordKind.RERATE))
        wanted &= (decoded.numbers("status") == Status.STORED) & (decoded.numbers("match") == Match.MATCHED)
        rows = np.flatnonzero(wanted)
        begin, end = decoded.posting_ranges
        at = ranges(begin[rows], end[rows])
        row = np.repeat(rows, (end - begin)[rows])
        own = ~decoded.postings.carried[at] & np.isin(decoded.postings.part[at], self._late_parts)
        found = np.unique(row[own])
        found = found[self._survives(decoded, found)]
        self._last_us = max(self._last_us, int(times_us[found].max(initial=-1)))

    def _survives(self, decoded: Decoded, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        customers = decoded.column("customer")
        codes = customers.indices.to_numpy(zero_copy_only=False).astype(np.int32)
        keys = self._state.hasher.keys(codes, customers.dictionary, decoded.column("reference"))[rows]
        latest = np.zeros(len(rows), dtype=np.uint64)
        locations_of(self._state.references.keys, self._state.references.payloads, keys, latest)
        survives: NDArray[np.bool_] = latest == decoded.locations[rows]
        return survives

    def note(self, faults: Faults, change: CatalogChange, shown: str) -> None:
        """Notes what was found. `shown` is the last instant that counts already, for people, where there is one."""
        definitions = self._state.pools.definitions
        for period, definition in self._touched.items():
            pinned, after = definitions[int(self._state.periods.arrays.definition[period])], definitions[definition]
            for field in KEPT_WHILE_RUNNING:
                if getattr(pinned, field) != getattr(after, field):
                    kind, name = _PATHS[field]
                    faults.add(
                        f"{_path(kind, after, change)}.{name}",
                        f'differs for product contract "{after.product_contract_id}", whose accumulation period is '
                        "running: leave effective_from out, and the change holds from the next period on",
                    )
        if self.last_us >= self._from_us:
            faults.add(
                "effective_from",
                f"running accumulation periods count until {shown} already: give a later instant, or leave it out and "
                "move whole periods with ReprocessEvents",
            )

    @property
    def last_us(self) -> int:
        """Last instant from which something counts already; below the instant of the split: nothing."""
        return self._last_us


def _path(kind: str, definition: Definition, change: CatalogChange) -> str:
    names = {"products": definition.product_id, "plans": definition.plan_id, "contracts": definition.contract_path[0]}
    for index, each in enumerate(change.put.of_kind(kind)):
        if each.id == names[kind]:
            return f"{kind}[{index}]"
    return f'{kind}["{names[kind]}"]'
