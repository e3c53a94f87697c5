"""Folding a journal: recorded openings and postings are added up, and nothing is priced again."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tallybook_engine.aggregation.max import NO_EVENT
from tallybook_engine.catalog.model import Aggregation
from tallybook_engine.kernels import kernel
from tallybook_engine.kernels.wide import add192, to_limbs
from tallybook_engine.ledger.opening import restore_openings
from tallybook_engine.ledger.outcomes import UNPINNED
from tallybook_engine.ledger.references import DELETED_BIT
from tallybook_engine.ledger.segments import Decoded, RecordKind, numpy_of, openings_of
from tallybook_engine.ledger.stage import ranges
from tallybook_engine.ledger.state import State
from tallybook_engine.matching import AccountTable, PartTable
from tallybook_engine.pricing.price import price
from tallybook_engine.pricing.tables import PriceTables
from tallybook_engine.rating.postings import LineTable, PostingTable, set_base


def fold(state: State, decoded: Decoded, last_sequence: int) -> None:
    """Adds one segment; segments come in order, and `settle` follows the last.

    The state must know every catalogue version that `pinned_versions` names.
    """
    first_part = len(state.parts)
    restore_openings(state, openings_of(decoded.tables.openings, state.pools.charges.index))
    touched = np.zeros(len(state.parts), dtype=np.bool_)
    apply_postings(state.parts.arrays, state.lines.arrays, PostingTable(*decoded.postings), _moving(decoded), touched)
    for part in range(first_part, len(state.parts)):
        if not touched[part]:
            _inherit(state, part, touched)
    _add_references(state, decoded)
    state.net.apply(decoded.net_pins, decoded.net)
    state.sequence = last_sequence
    receipts = numpy_of(decoded.column("receipt_time_us"))
    state.receipt_time_us = max(state.receipt_time_us, int(receipts.max(initial=0)))


def pinned_versions(decoded: Decoded) -> list[int]:
    """Catalogue versions to which the segment pins what it opens."""
    pins = {each.version for each in decoded.net_pins if each.version != UNPINNED}
    return sorted(pins.union(decoded.tables.openings.column("version").to_pylist()))


def settle(state: State) -> None:
    """Prices at the starts of all parts, which are not recorded: they follow from the quantities."""
    rebase_all(len(state.parts), state.accounts.arrays, state.parts.arrays, state.pools.prices.tables)


def _moving(decoded: Decoded) -> NDArray[np.bool_]:
    """[m] whether each posting moves its part: those of RERATE records only say where an event counts."""
    moving = np.ones(len(decoded.postings.part), dtype=np.bool_)
    rerated = np.flatnonzero(numpy_of(decoded.column("kind")) == RecordKind.RERATE)
    if len(rerated):
        begin, end = decoded.posting_ranges
        moving[ranges(begin[rerated], end[rerated])] = False
    return moving


def _inherit(state: State, part: int, touched: NDArray[np.bool_]) -> None:
    """A part that opened but never moved has run as far as the part before it."""
    earlier = int(state.parts.arrays.earlier[part])
    if earlier >= 0:
        if earlier > part and not touched[earlier]:
            _inherit(state, earlier, touched)
        state.parts.arrays.quantity[part] = state.parts.arrays.quantity[earlier]
    elif state.definition_of_part(part).aggregation is Aggregation.MAX:
        state.parts.arrays.quantity[part] = to_limbs(NO_EVENT, 2)
    else:
        state.parts.arrays.quantity[part] = 0


def _add_references(state: State, decoded: Decoded) -> None:
    kinds = numpy_of(decoded.column("kind"))
    named = decoded.order()[kinds[decoded.order()] != RecordKind.LINES]
    if len(named) == 0:
        return
    references, customers = decoded.column("reference"), decoded.column("customer")
    codes = numpy_of(customers.indices).astype(np.int32, copy=False)
    everything = len(named) == len(kinds)
    locations = decoded.locations | np.where(kinds == RecordKind.DELETE, np.uint64(DELETED_BIT), np.uint64(0))
    if not everything or not np.array_equal(named, np.arange(len(kinds))):
        # One reference's records stand in one partition and in order there, so the body's order serves.
        keep = kinds != RecordKind.LINES
        references = references.filter(pa.array(keep))
        codes, locations = codes[keep], locations[keep]
    keys = state.hasher.keys(codes, customers.dictionary, references)
    state.references.put_all(keys, locations)


@kernel
def apply_postings(
    parts: PartTable,
    lines: LineTable,
    postings: PostingTable,
    moving: NDArray[np.bool_],
    touched: NDArray[np.bool_],
) -> None:
    """Adds recorded postings to their parts and lines."""
    for at in range(len(postings.part)):
        if not moving[at]:
            continue
        part = postings.part[at]
        line = parts.line[part]
        touched[part] = True
        parts.quantity[part, 0] = postings.quantity_after[at, 0]
        parts.quantity[part, 1] = postings.quantity_after[at, 1]
        parts.exact[part, 0], parts.exact[part, 1], parts.exact[part, 2] = add192(
            parts.exact[part, 0],
            parts.exact[part, 1],
            parts.exact[part, 2],
            postings.exact[at, 0],
            postings.exact[at, 1],
            postings.exact[at, 2],
        )
        lines.exact[line, 0], lines.exact[line, 1], lines.exact[line, 2] = add192(
            lines.exact[line, 0],
            lines.exact[line, 1],
            lines.exact[line, 2],
            postings.exact[at, 0],
            postings.exact[at, 1],
            postings.exact[at, 2],
        )
        lines.amount[line] += postings.amount[at]
        lines.tax[line] += postings.tax[at]


@kernel
def rebase_all(part_count: int, accounts: AccountTable, parts: PartTable, prices: PriceTables) -> None:
    """Sets every part's base to the price at the end of the part before it; 0 for a first part."""
    for part in range(part_count):
        earlier = parts.earlier[part]
        if earlier < 0:
            set_base(parts, part, np.uint64(0), np.uint64(0), np.uint64(0))
            continue
        _, low, middle, high = price(
            prices, accounts.price[parts.account[part]], parts.quantity[earlier, 0], parts.quantity[earlier, 1]
        )
        set_base(parts, part, low, middle, high)
