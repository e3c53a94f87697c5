"""What the ledger answers: per row as columns, and explained for people."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.catalog.model import Tax
from tallybook_engine.pricing.line import PriceLine


class Status(IntEnum):
    """Whether a row was stored. Numbers are those of `EventResult.Status` in the contract."""

    STORED = 1
    DUPLICATE = 2
    CONFLICT = 3
    UNPRICED = 4
    INVALID = 5


class Match(IntEnum):
    """What an event matched. Numbers are those of `EventResult.Match` in the contract."""

    NOT_STORED = 0
    MATCHED = 1
    NO_CUSTOMER = 2
    NO_METER = 3
    NO_CONTRACT = 4
    OUTSIDE_CONTRACT = 5
    NOT_BILLED = 6


class Cause(IntEnum):
    """Why a line moved. Numbers are those of `Cause` in the contract."""

    OPEN = 1
    EVENT = 2
    DELETE = 3
    RERATE = 4


class DeleteStatus(IntEnum):
    """What became of a delete. Numbers are those of `DeleteResult.Status` in the contract."""

    DELETED = 1
    ALREADY_DELETED = 2
    NOT_FOUND = 3
    INVALID = 4


class Postings(NamedTuple):
    """m postings, in the order in which they were made."""

    part: NDArray[np.int32]
    """[m] the part of an accumulation period that moved; it names the line."""
    amount: NDArray[np.int64]
    """[m] move of the rounded line, minor units."""
    exact: NDArray[np.uint64]
    """[m, 3] move of the exact line, scale 24."""
    tax: NDArray[np.int64]
    """[m] move of the line's tax, minor units."""
    quantity_before: NDArray[np.uint64]
    """[m, 2] accumulated quantity at the part's end before, scale 12."""
    quantity_after: NDArray[np.uint64]
    """[m, 2] the same after."""
    carried: NDArray[np.bool_]
    """[m] whether the part moved because an earlier part of its accumulation period did."""


UNPINNED = -1
"""In the place of a version: no version of the catalogue has the period any more, and nothing is due for it."""


class NetPin(NamedTuple):
    """A net line (see `ledger/net`) that opens, or is pinned to another version."""

    row: int
    """Of the record that caused it."""
    net_line: int
    version: int
    """Of the catalogue, that it is pinned to from here on; UNPINNED: none."""
    contract_id: str
    """Root contract."""
    start_us: int
    end_us: int
    """Of its billing period."""


class NetPostings(NamedTuple):
    """m moves of net lines, in the order of the records that caused them."""

    row: NDArray[np.int64]
    """[m] of the record."""
    cause: NDArray[np.uint8]
    """[m] a `Cause`."""
    net_line: NDArray[np.int32]
    amount: NDArray[np.int64]
    """[m] move of the adjustment without tax, minor units."""
    tax: NDArray[np.int64]
    """[m] minor units."""

    def of_rows(self, start: int, end: int) -> NetPostings:
        """Those of the records [start, end), which are counted from 0 then."""
        first, last = np.searchsorted(self.row, [start, end])
        columns = [column[first:last] for column in self]
        return NetPostings._make(columns)._replace(row=self.row[first:last] - start)

    def caused_by(self, row: int) -> Self:
        """The same as those of one record."""
        return self._replace(row=np.full(len(self.row), row))


NO_NET = NetPostings(
    np.zeros(0, dtype=np.int64),
    np.zeros(0, dtype=np.uint8),
    np.zeros(0, dtype=np.int32),
    np.zeros(0, dtype=np.int64),
    np.zeros(0, dtype=np.int64),
)
"""No moves of net lines."""


class LineMoves(NamedTuple):
    """n moves of charge lines, ascending by key."""

    key: NDArray[np.int64]
    """[n] those of one key happen together."""
    line: NDArray[np.int32]
    amount: NDArray[np.int64]
    """[n] as priced, minor units: new minus old."""


NO_MOVES = LineMoves(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.int64))
"""Nothing moved."""


class NetChanges(NamedTuple):
    """What staging did to net lines."""

    pins: tuple[NetPin, ...]
    pins_before: tuple[int, ...]
    """[n] version that each of the pins replaced; that of an opening is not read."""
    postings: NetPostings
    moves: LineMoves
    """Of the charge lines of root contracts with net lines, opening ones too."""


NO_CHANGES = NetChanges((), (), NO_NET, NO_MOVES)
"""Nothing."""


@dataclass(frozen=True, slots=True)
class Adjustment:
    """What the terms of a contract tree make of an event, in one billing period of the root."""

    contract_id: str
    start_us: int
    end_us: int
    amount: int
    """Without tax, minor units."""
    tax: int


@dataclass(frozen=True, slots=True)
class StageOutcome:
    """What became of n rows."""

    status: NDArray[np.uint8]
    match: NDArray[np.uint8]
    faults: NDArray[np.uint8]
    """[n] RowFault; 0 where there is none."""
    fault_fields: dict[int, tuple[str, str]]
    """Row -> (field, text found)."""
    event_ids: NDArray[np.uint64]
    """[n] the stored event that the row is (STORED, UNPRICED, DUPLICATE) or collides with (CONFLICT); 0: none."""
    generations: NDArray[np.int32]
    posting_starts: NDArray[np.int64]
    """[n + 1] postings of row i are [posting_starts[i], posting_starts[i + 1]). A DUPLICATE has those first posted,
    where they were asked for."""
    postings: Postings
    net: NetPostings = NO_NET
    """By row, those that `posting_starts` has postings of."""


@dataclass(frozen=True, slots=True)
class Explained:
    """One posting, explained: where it belongs and how its exact amount comes about."""

    customer_id: str
    currency: str
    minor_digits: int
    country_code: str
    tax_inclusive: bool
    contract_path: tuple[str, ...]
    plan_id: str
    product_id: str
    cell_id: str
    catalog_version: int
    line_number: int
    period_start_us: int
    period_end_us: int
    cause: Cause
    amount: int
    """Move of the rounded line as priced, minor units (with tax where the tax is inclusive)."""
    tax: int
    """Minor units."""
    exact_amount: int
    """Scale 24."""
    quantity_before: int
    """Scale 12."""
    quantity_after: int
    lines: tuple[PriceLine, ...]
    """After minus before; they add up to `exact_amount`."""
    included_quantity_left: int | None
    next_tier_from: int | None
    adjustments: tuple[Adjustment, ...] = ()
    """What the terms of its tree make of all that the event posted in it; on the first posting of the tree."""


@dataclass(frozen=True, slots=True)
class ChargeLine:
    """One charge line of `ListCharges`: the explained value of the whole line."""

    line_number: int
    """0 where no event has opened it."""
    customer_id: str
    currency: str
    minor_digits: int
    country_code: str
    tax_inclusive: bool
    contract_path: tuple[str, ...]
    plan_id: str
    product_id: str
    cell_id: str
    catalog_version: int
    period_start_us: int
    period_end_us: int
    quantity: int
    """Scale 12."""
    exact_amount: int
    """Scale 24."""
    amount: int
    """Rounded line as priced, minor units."""
    tax: int
    applied_tax: Tax | None
    """What `tax` is by."""
    lines: tuple[PriceLine, ...]


@dataclass(frozen=True, slots=True)
class UsageTotal:
    """Running total of one product contract, cell and accumulation period."""

    contract_path: tuple[str, ...]
    plan_id: str
    product_id: str
    cell_id: str
    catalog_version: int
    period_start_us: int
    period_end_us: int
    quantity: int
    """Scale 12."""
    included_quantity_left: int | None
    next_tier_from: int | None


@dataclass(frozen=True, slots=True)
class EventPayload:
    """An event as it was sent, apart from whether names were ids: they are references once stored."""

    customer_reference: str
    meter_reference: str
    reference: str
    time_us: int | None
    contract_id: str | None
    values: tuple[tuple[str, int], ...]
    """(name, scale 12), sorted by name."""
    properties: tuple[tuple[str, str], ...]
    """(name, value), sorted by name."""


@dataclass(frozen=True, slots=True)
class History:
    """One thing that happened to an event."""

    cause: Cause
    sequence: int
    receipt_time_us: int
    status: Status
    match: Match
    postings: tuple[Explained, ...]


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """A stored event with its processing."""

    payload: EventPayload
    event_id: int
    generation: int
    status: Status
    match: Match
    fault: int
    """RowFault of an UNPRICED event."""
    effective_time_us: int
    receipt_time_us: int
    sequence: int
    deleted: bool
    history: tuple[History, ...] = ()


@dataclass(frozen=True, slots=True)
class EventSelector:
    """Names one event: by id, or by customer, reference and generation."""

    event_id: int | None = None
    customer: str | None = None
    customer_is_id: bool = False
    reference: str | None = None
    generation: int | None = None
    fault: int = 0
    """RowFault of a selector that is wrong in itself."""


@dataclass(frozen=True, slots=True)
class DeleteOutcome:
    """What became of one delete."""

    status: DeleteStatus
    event_id: int
    generation: int
    postings: tuple[Explained, ...]
    fault: int


@dataclass(frozen=True, slots=True)
class ReprocessProgress:
    """How far a reprocess is."""

    customer_count_done: int
    customer_count_total: int
    event_count_rated: int
    line_count_moved: int
    amounts: tuple[tuple[str, int, int, int], ...]
    """(currency, minor digits, amount without tax, tax), minor units."""
    net_amounts: tuple[tuple[str, int, int, int], ...]
    """The same with what the terms of contract trees make of it."""
    resume_token: str
    sequence: int
    done: bool
