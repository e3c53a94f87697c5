"""The ledger's state: what is open, how far it has run, and which references are known.

Everything is numbered in the order of its opening, and a number is never used again. What a number is (its customer,
contract, period) is in `definitions` and in the lists here; what moves is in the tables that kernels read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.calendar.periods import RecentPeriods
from tallybook_engine.catalog.compile import CompiledCatalog, Definition, Pools, compile_catalog
from tallybook_engine.catalog.model import Catalog
from tallybook_engine.kernels.growing import GrowingTable
from tallybook_engine.kernels.hash_set import HashTable
from tallybook_engine.ledger.net import NetLines, any_terms
from tallybook_engine.ledger.references import Hasher
from tallybook_engine.matching import AccountTable, PartTable, PeriodTable
from tallybook_engine.rating.postings import LineTable


class CellSlots(NamedTuple):
    """Account of each (period, cell); -1 where it is not open."""

    account: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class LineIdentity:
    """What makes a charge line one line: lines that would round or tax apart are never one."""

    charge: int
    cell_id: str
    period_start_us: int
    period_end_us: int
    """A month and a week that begin together are two billing periods."""
    currency: str
    half_even: bool
    tax_rule: int


@dataclass(frozen=True, slots=True)
class LineOrigin:
    """Where a line comes from."""

    definition: int
    cell: int
    period_start_us: int
    period_end_us: int
    version: int


@dataclass(frozen=True, slots=True)
class Opening:
    """One part that was opened, with whatever else opened for it."""

    part: int
    line: int
    account: int
    period: int
    charge: int
    cell: int
    version: int
    period_start_us: int
    period_end_us: int
    billing_start_us: int
    billing_end_us: int
    amount: int
    """OPEN posting: the part's value with no events, minor units."""
    exact: int
    """Scale 24."""
    tax: int


@dataclass(frozen=True, slots=True)
class Split:
    """An instant from which a version means something else by a charge, in the middle of its running periods."""

    version: int
    from_us: int
    definition: int


class State:
    """One book's ledger in memory. Only its writer changes it; it reads no clock, file or random number."""

    def __init__(self, secret: bytes, partition_count: int) -> None:
        self.hasher = Hasher(secret)
        self.partition_count = partition_count
        self.pools = Pools()
        self.compiled: dict[int, CompiledCatalog] = {}
        """By version; every version that an open period is pinned to is here."""
        self.references = HashTable()
        self.periods = GrowingTable(PeriodTable)
        self.accounts = GrowingTable(AccountTable)
        self.parts = GrowingTable(PartTable, {"quantity": 2, "base": 3, "exact": 3})
        self.lines = GrowingTable(LineTable, {"exact": 3})
        self.cell_slots = GrowingTable(CellSlots)
        self.splits: dict[int, list[Split]] = {}
        """By charge, in the order of their versions."""
        self.whole: dict[int, tuple[int, int]] = {}
        """Accumulation period (start, end) of the periods that are only a stretch of one."""
        self.continues: dict[int, int] = {}
        """Period -> the stretch before it, whose quantity it takes on."""
        self.newest_period = np.full(16, -1, dtype=np.int32)
        """By charge."""
        self.line_by_identity: dict[LineIdentity, int] = {}
        self.line_origins: list[LineOrigin] = []
        self.openings: list[Opening] = []
        """By part."""
        self.lines_of_customer: dict[str, list[int]] = {}
        """By customer id, in the order of opening."""
        self.parts_of_line: list[list[int]] = []
        self.retirements: list[tuple[int, Opening]] = []
        """Retired periods, each with how many parts had opened before."""
        self.net = NetLines()
        self.has_terms = False
        """Whether some contract of the current version has terms."""
        self.recent_periods = RecentPeriods()
        self.prices_of_nothing: dict[int, int] = {}
        """Price index -> F(0), scale 24, as far as it was asked for."""
        self.current = self.adopt(Catalog())
        self.receipt_time_us = 0
        """Of the last batch: receipt times never decrease."""
        self.sequence = 0
        """Last staged sequence."""

    def without_events(self, secret: bytes) -> State:
        """A ledger under the same current version in which nothing is open yet. Changes of the one are none of the
        other's.

        What the catalogue means is shared or copied as it is compiled, so that no contract is looked at.
        """
        twin = State(secret, self.partition_count)
        twin.pools = self.pools.copy()
        twin.compiled, twin.current = {self.current.version: self.current}, self.current
        twin.has_terms = self.has_terms
        twin.splits = {charge: list(splits) for charge, splits in self.splits.items()}
        twin.reserve_charges()
        return twin

    def adopt(self, catalog: Catalog) -> CompiledCatalog:
        """Compiles a version and makes it the current one."""
        pinned = sorted(set(self.periods.rows().definition.tolist()))
        self.current = compile_catalog(catalog, self.pools, pinned)
        self.compiled[catalog.version] = self.current
        self.has_terms = any_terms(catalog)
        return self.current

    @contextmanager
    def trying(self, catalog: Catalog) -> Iterator[None]:
        """Makes a version current while the block lasts, and forgets it then."""
        before, pools, had_terms = self.current, self.pools, self.has_terms
        references = dict(pools.customer_references), dict(pools.meter_references)
        try:
            self.adopt(catalog)
            yield
        finally:
            self.current, self.has_terms = before, had_terms
            self.compiled.pop(catalog.version, None)
            self.net.forget_version(catalog.version)
            pools.customer_references, pools.meter_references = references

    def knows(self, catalog: Catalog) -> None:
        """Compiles an earlier version to which recorded periods are pinned, without making it current."""
        if catalog.version not in self.compiled:
            self.compiled[catalog.version] = compile_catalog(catalog, self.pools, ())

    def definition_of_charge(self, version: int, charge: int) -> int:
        """Index of what a charge meant under a version."""
        return self.compiled[version].current_definitions[charge]

    def definition_of_part(self, part: int) -> Definition:
        """What the part is priced by."""
        return self.pools.definitions[self.definition_index_of_part(part)]

    def definition_index_of_part(self, part: int) -> int:
        """Index of what the part is priced by."""
        account = self.parts.arrays.account[part]
        return int(self.periods.arrays.definition[self.accounts.arrays.period[account]])

    def whole_period(self, period: int) -> tuple[int, int]:
        """Bounds of the accumulation period that a period is, or is a stretch of."""
        periods = self.periods.arrays
        # In this order: other threads read too, and where a split cuts the period, its whole bounds are noted before.
        bounds = int(periods.start_us[period]), int(periods.end_us[period])
        return self.whole.get(period, bounds)

    def stretch_end(self, version: int, definition: int, start_us: int, end_us: int) -> int:
        """Where a period that would end at an instant ends: at the first split by a version later than its own."""
        for split in self.splits.get(int(self.pools.definition_table.charge[definition]), ()):
            if split.version > version and split.definition != definition and start_us < split.from_us < end_us:
                end_us = split.from_us
        return end_us

    def line_start(self, version: int, charge: int, part_start_us: int, billing_start_us: int) -> int:
        """Where the line of a part starts: with the billing period, or in it at the last split before the part."""
        for split in self.splits.get(charge, ()):
            if split.version <= version and billing_start_us < split.from_us <= part_start_us:
                billing_start_us = split.from_us
        return billing_start_us

    def line_end(self, line: int) -> int:
        """Where a line ends: with its billing period, or where all that it has was split off what comes after."""
        end_us = self.line_origins[line].period_end_us
        charge = int(self.pools.definition_table.charge[self.line_origins[line].definition])
        if charge not in self.splits:
            return end_us
        parts, periods, ends = self.parts.arrays, self.periods.arrays, []
        for part in self.parts_of_line[line]:
            period = self.accounts.arrays.period[parts.account[part]]
            version, definition = int(periods.version[period]), int(periods.definition[period])
            ends.append(self.stretch_end(version, definition, int(parts.start_us[part]), end_us))
        return max(ends, default=end_us)

    def retired_periods(self) -> set[int]:
        """Periods whose events other periods rate since a reprocess."""
        return {retirement.period for _, retirement in self.retirements}

    def newest_period_of(self, charge: int) -> int:
        """Newest pinned period of a charge; -1: none."""
        self.reserve_charges()
        return int(self.newest_period[charge])

    def reserve_charges(self) -> None:
        """Makes `newest_period` as long as there are charges."""
        missing = len(self.pools.charges) - len(self.newest_period)
        if missing > 0:
            more = np.full(max(missing, len(self.newest_period)), -1, dtype=np.int32)
            self.newest_period = np.concatenate([self.newest_period, more])
