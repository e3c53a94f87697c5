"""Settling: what the places of contract trees come to, from the leaves up.

A place comes to its charge lines and all below. On that come its fixed fees and revenue shares, and on their sum, in
this order, its discount, its cap, its minimum and its credits, each a line of its own that is spread over the taxes of
what it is of by largest remainder. Every line is taxed by a rate of the rounded line. What the place comes to by then
goes into the place above.

`settle_period` is that rule, and there is no other: trees are settled by it from the first place to the last, and
settled again where charge lines move, from the place that moved on. What a tree comes to is a function of the sums of
its charge lines alone, so both ways end at the same numbers, and moves that are taken back leave nothing behind.

Sums are of 128 bits. The sums of a place by tax, their total, every line and every tax are below 2^63 when it is
settled, or the tree does not fit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.contract.cap import overage
from tallybook_engine.contract.credits import paid_by
from tallybook_engine.contract.discount import discount_of
from tallybook_engine.contract.minimum import true_up
from tallybook_engine.contract.revenue_share import share_of
from tallybook_engine.contract.spread import spread
from tallybook_engine.contract.tables import (
    CAP,
    CREDIT,
    DISCOUNT,
    FIXED_FEE,
    MINIMUM,
    NONE,
    REVENUE_SHARE,
    CellTable,
    MadeLines,
    MoveColumns,
    NetDifferences,
    Room,
    SettlingState,
    TreeTables,
)
from tallybook_engine.kernels import inlined_kernel, kernel
from tallybook_engine.kernels.wide import ZERO, Words, add128, narrow, sub128, widened
from tallybook_engine.rating.tax import TaxTables, tax_of

_EXCLUDING, _TAX = 0, 1
"""Rows of `Room.own`."""


@kernel
def _add(sums: Words, row: int, amount: np.int64) -> None:
    """Adds an amount to a row of sums."""
    lo, hi = widened(amount)
    sums[row, 0], sums[row, 1] = add128(sums[row, 0], sums[row, 1], lo, hi)


@kernel
def _subtract(sums: Words, row: int, amount: np.int64) -> None:
    """Takes an amount off a row of sums."""
    lo, hi = widened(amount)
    sums[row, 0], sums[row, 1] = sub128(sums[row, 0], sums[row, 1], lo, hi)


@kernel
def _add_pair(sums: Words, row: int, more: Words, more_row: int) -> None:
    """Adds a row of other sums to a row of sums."""
    sums[row, 0], sums[row, 1] = add128(sums[row, 0], sums[row, 1], more[more_row, 0], more[more_row, 1])


@kernel
def _replace(sums: Words, row: int, new: Words, new_row: int, old: Words, old_row: int) -> None:
    """Adds to a row of sums a new number, less an old one."""
    lo, hi = add128(sums[row, 0], sums[row, 1], new[new_row, 0], new[new_row, 1])
    sums[row, 0], sums[row, 1] = sub128(lo, hi, old[old_row, 0], old[old_row, 1])


@kernel
def _total(amounts: NDArray[np.int64], count: int) -> tuple[bool, np.int64]:
    """(fits, sum) of the first so many amounts."""
    lo, hi = ZERO, ZERO
    for index in range(count):
        next_lo, next_hi = widened(amounts[index])
        lo, hi = add128(lo, hi, next_lo, next_hi)
    return narrow(lo, hi)


@kernel
def _value(trees: TreeTables, room: Room, number: int) -> np.int64:
    """A rate or an amount of the tree that is at work."""
    return trees.values.value[room.first_value[0] + number]


@kernel
def _add_line(
    cells: CellTable,
    first_cell: int,
    taxes: TaxTables,
    room: Room,
    made: MadeLines,
    place: int,
    kind: np.uint8,
    number: int,
    tax: int,
    amount: np.int64,
) -> bool:
    """Adds a line of a place, of one of its taxes. False where the line's sum or its tax does not fit.

    `first_cell` is the place's. Only what is needed is handed down: a call copies every table that it is given.
    """
    cell = first_cell + tax
    fits, tax_amount = tax_of(taxes, cells.tax[cell], amount)
    if not fits:
        return False
    lo, hi = widened(room.current[tax])
    amount_lo, amount_hi = widened(amount)
    lo, hi = add128(lo, hi, amount_lo, amount_hi)
    fits, sum_by_tax = narrow(lo, hi)
    if not fits:
        return False
    room.current[tax] = sum_by_tax
    # An inclusive tax is a part of the amount, so that this fits.
    _add(room.own, _EXCLUDING, amount - tax_amount if cells.is_inclusive[cell] else amount)
    _add(room.own, _TAX, tax_amount)
    if made.are_wanted[0]:
        at = made.line_count[0]
        made.lines.tree[at] = made.tree[0]
        made.lines.place[at] = place
        made.lines.kind[at] = kind
        made.lines.number[at] = number
        made.lines.tax[at] = tax
        made.lines.amount[at] = amount
        made.lines.tax_amount[at] = tax_amount
        made.line_count[0] = at + 1
    return True


@inlined_kernel
def _add_modifier(
    trees: TreeTables,
    taxes: TaxTables,
    room: Room,
    made: MadeLines,
    place: int,
    kind: np.uint8,
    number: int,
    amount: np.int64,
) -> bool:
    """Adds a modifier, a line for each tax of what it is of; of nothing, the tree's own. One of 0 is left out."""
    if amount == 0:
        return True
    places = trees.places
    first_cell = places.cell_start[place]
    count = places.cell_end[place] - first_cell
    if count == 1:
        # Mostly there is one tax, whose part is all of it.
        return _add_line(trees.cells, first_cell, taxes, room, made, place, kind, number, 0, amount)
    own_tax = places.own_tax[place]
    return _add_spread(trees.cells, first_cell, count, own_tax, taxes, room, made, place, kind, number, amount)


@kernel
def _add_spread(
    cells: CellTable,
    first_cell: int,
    count: int,
    own_tax: int,
    taxes: TaxTables,
    room: Room,
    made: MadeLines,
    place: int,
    kind: np.uint8,
    number: int,
    amount: np.int64,
) -> bool:
    """Adds lines of so many taxes."""
    fits, is_spread = spread(amount, room.current, count, room.parts, room.remainders)
    if not fits:
        return False
    if not is_spread:
        room.parts[own_tax] = amount
    for tax in range(count):
        part = room.parts[tax]
        if part != 0 and not _add_line(cells, first_cell, taxes, room, made, place, kind, number, tax, part):
            return False
    return True


@inlined_kernel
def _add_charges(trees: TreeTables, state: SettlingState, taxes: TaxTables, made: MadeLines, place: int) -> bool:
    """Adds the fees and shares of a place."""
    places, cells, items = trees.places, trees.cells, state.items
    own_tax, first_cell = places.own_tax[place], places.cell_start[place]
    for item in range(places.made_item_start[place], places.item_end[place]):
        items.sum[item, 0], items.sum[item, 1] = ZERO, ZERO
        items.is_there[item] = False
    for fee in range(places.fee_start[place], places.fee_end[place]):
        amount = _value(trees, state.room, trees.fees.amount[fee])
        if not _add_line(cells, first_cell, taxes, state.room, made, place, FIXED_FEE, fee, own_tax, amount):
            return False
        if trees.fees.item[fee] != NONE:
            _add(items.sum, trees.fees.item[fee], amount)
            items.is_there[trees.fees.item[fee]] = True
    for share in range(places.share_start[place], places.share_end[place]):
        lo, hi = ZERO, ZERO
        is_there = False
        for source in range(trees.shares.source_start[share], trees.shares.source_end[share]):
            item = trees.sources.item[source]
            lo, hi = add128(lo, hi, items.sum[item, 0], items.sum[item, 1])
            is_there = is_there or items.is_there[item]
        if not is_there:
            continue
        fits, amount = share_of(lo, hi, _value(trees, state.room, trees.shares.rate[share]))
        if not fits:
            return False
        if not _add_line(cells, first_cell, taxes, state.room, made, place, REVENUE_SHARE, share, own_tax, amount):
            return False
        if trees.shares.item[share] != NONE:
            _add(items.sum, trees.shares.item[share], amount)
            items.is_there[trees.shares.item[share]] = True
    return True


@inlined_kernel
def _modify(
    trees: TreeTables, state: SettlingState, taxes: TaxTables, made: MadeLines, place: int, subtotal: np.int64
) -> bool:
    """Discount, cap, minimum, credits: each on what those before it left."""
    places, room = trees.places, state.room
    total = subtotal
    discount = discount_of(
        total,
        _value(trees, room, places.discount_threshold[place]),
        _value(trees, room, places.discount_rate[place]),
        places.discount_on_excess[place],
    )
    if not _add_modifier(trees, taxes, room, made, place, DISCOUNT, NONE, -discount):
        return False
    total -= discount
    over = overage(total, _value(trees, room, places.cap[place]))
    if not _add_modifier(trees, taxes, room, made, place, CAP, NONE, -over):
        return False
    total -= over
    fits, lacking = true_up(total, _value(trees, room, places.minimum[place]))
    if not fits or not _add_modifier(trees, taxes, room, made, place, MINIMUM, NONE, lacking):
        return False
    total += lacking
    following = places.following[place]
    for credit in range(places.credit_start[place], places.credit_end[place]):
        at = credit - places.credit_start[place]
        left = _value(trees, room, trees.credits.amount[credit])
        if not places.is_first[place]:
            left = state.balances.left[places.balance_start[place] + at]
        used = paid_by(
            left,
            trees.credits.start_day[credit],
            trees.credits.end_day[credit],
            total,
            places.start_day[place],
            places.end_day[place],
        )
        if not _add_modifier(trees, taxes, room, made, place, CREDIT, credit, -used):
            return False
        total -= used
        if following != NONE:
            balance = places.balance_start[following] + at
            if state.balances.left[balance] != left - used:
                state.balances.left[balance] = left - used
                _mark(state, following)
    state.places.subtotal[place] = subtotal
    state.places.total[place] = total
    return True


@kernel
def _mark(state: SettlingState, place: int) -> None:
    """Marks a place as due."""
    state.places.is_due[place] = True
    state.room.reach[0] = max(state.room.reach[0], place)


@kernel
def settle_period(trees: TreeTables, state: SettlingState, taxes: TaxTables, made: MadeLines, place: int) -> bool:
    """Settles a place, all below and before it being settled, and marks what it has a part in as due.

    False where it does not fit: then nothing has gone up from it, and it is due as before.
    """
    places, cells, room = trees.places, state.cells, state.room
    first = places.cell_start[place]
    count = places.cell_end[place] - first
    for tax in range(count):
        fits, room.current[tax] = narrow(cells.sum[first + tax, 0], cells.sum[first + tax, 1])
        if not fits:
            return False
    for row in range(2):
        room.own[row, 0], room.own[row, 1] = ZERO, ZERO
    if not _add_charges(trees, state, taxes, made, place):
        return False
    fits, subtotal = _total(room.current, count)
    if not fits or not _modify(trees, state, taxes, made, place, subtotal):
        return False
    root, parent = places.root[place], places.parent[place]
    _replace(state.roots.excluding_tax, root, room.own, _EXCLUDING, state.places.excluding_tax, place)
    _replace(state.roots.tax, root, room.own, _TAX, state.places.tax, place)
    for limb in range(2):
        state.places.excluding_tax[place, limb] = room.own[_EXCLUDING, limb]
        state.places.tax[place, limb] = room.own[_TAX, limb]
    for tax in range(count):
        if parent != NONE:
            above = places.cell_start[parent] + tax
            _add(cells.sum, above, room.current[tax])
            # Apart, for the difference of two amounts need not fit.
            _subtract(cells.sum, above, cells.settled[first + tax])
        cells.settled[first + tax] = room.current[tax]
    state.places.is_due[place] = False
    if parent != NONE:
        # Even where it comes to the same: a share may be of one charge of several.
        _mark(state, parent)
    return True


@kernel
def _settle_due(trees: TreeTables, state: SettlingState, taxes: TaxTables, made: MadeLines, first: int) -> bool:
    """Settles all that is due from a place on."""
    place = first
    while place <= state.room.reach[0]:
        if state.places.is_due[place] and not settle_period(trees, state, taxes, made, place):
            return False
        place += 1
    return True


@kernel
def _move(trees: TreeTables, state: SettlingState, moves: MoveColumns, row: int, sign: int) -> None:
    """Adds a charge line's difference to what its place comes to; with the sign -1, takes it back."""
    place, item = moves.place[row], moves.item[row]
    cell = trees.places.cell_start[place] + moves.tax[row]
    if sign > 0:
        _add(state.cells.sum, cell, moves.amount[row])
        if item != NONE:
            _add(state.items.sum, item, moves.amount[row])
    else:
        _subtract(state.cells.sum, cell, moves.amount[row])
        if item != NONE:
            _subtract(state.items.sum, item, moves.amount[row])
    if item != NONE:
        # Once there, a line stays there, if only with 0.
        state.items.is_there[item] = True
    _mark(state, place)


@kernel
def settle_moves(
    trees: TreeTables,
    state: SettlingState,
    taxes: TaxTables,
    made: MadeLines,
    moves: MoveColumns,
    group_start: NDArray[np.int64],
    first_group: int,
    fits: NDArray[np.bool_],
    differences: NetDifferences,
) -> tuple[int, int]:
    """(the group to go on from, differences written): applies groups of moves one after the other, settles what each
    changes, and writes by how much that moves adjustments.

    A group is `group_start[g]:group_start[g + 1]` of the moves, all of one tree, which is settled. `fits[g]` says
    whether it fits; a group that does not is taken back. It ends before a group whose differences might not have
    room; a group needs at most as many rows as its tree's root has billing periods.
    """
    written = 0
    for group in range(first_group, len(group_start) - 1):
        fits[group] = True
        start, end = group_start[group], group_start[group + 1]
        if start == end:
            continue
        first = moves.place[start]
        for row in range(start, end):
            first = min(first, moves.place[row])
        first_root = trees.places.root[first]
        if len(differences.group) - written < trees.places.root_end[first] - first_root:
            return group, written
        state.room.reach[0] = NONE
        for row in range(start, end):
            _move(trees, state, moves, row, 1)
        count = NONE
        if _settle_due(trees, state, taxes, made, first):
            count = _post(state, group, first_root, trees.places.root[state.room.reach[0]] + 1, written, differences)
        if count == NONE:
            fits[group] = False
            for row in range(start, end):
                _move(trees, state, moves, row, -1)
            _settle_due(trees, state, taxes, made, first)
        else:
            written += count
    return len(group_start) - 1, written


@kernel
def settle_trees(
    trees: TreeTables,
    state: SettlingState,
    taxes: TaxTables,
    made: MadeLines,
    first_place: NDArray[np.int32],
    first_shown: NDArray[np.int32],
    end_place: NDArray[np.int32],
    lines: MoveColumns,
    line_start: NDArray[np.int64],
    first_value: NDArray[np.int64],
    excluding_tax: Words,
    tax: Words,
) -> int:
    """Settles trees one after the other, each from its charge lines alone; answers the first that does not fit, NONE
    where all do.

    Trees of one form share their places: `first_place[t]:end_place[t]` is what is settled of tree t, whole billing
    periods of the root. Its places count their values from `first_value[t]` on. `line_start[t]:line_start[t + 1]` are
    its charge lines; one without a place is left alone. From `first_shown[t]` on, its lines are written to `made` if
    they are wanted, and come to `excluding_tax[t]` and `tax[t]`, two limbs each.
    """
    are_wanted = made.are_wanted[0]
    for tree in range(len(first_place)):
        first, end = first_place[tree], end_place[tree]
        made.tree[0] = tree
        state.room.first_value[0] = first_value[tree]
        _clear(trees, state, first, end)
        for row in range(line_start[tree], line_start[tree + 1]):
            if lines.place[row] != NONE:
                _move(trees, state, lines, row, 1)
        for row in range(2):
            excluding_tax[tree, row], tax[tree, row] = ZERO, ZERO
        for place in range(first, end):
            is_shown = place >= first_shown[tree]
            made.are_wanted[0] = are_wanted and is_shown
            if not settle_period(trees, state, taxes, made, place):
                return tree
            if is_shown:
                _add_pair(excluding_tax, tree, state.places.excluding_tax, place)
                _add_pair(tax, tree, state.places.tax, place)
    return NONE


@kernel
def _clear(trees: TreeTables, state: SettlingState, first: int, end: int) -> None:
    """Forgets what places come to, and the adjustments of the billing periods that they are of."""
    if first == end:
        return
    places = trees.places
    for place in range(first, end):
        state.places.is_due[place] = False
        for limb in range(2):
            state.places.excluding_tax[place, limb] = ZERO
            state.places.tax[place, limb] = ZERO
            state.roots.excluding_tax[places.root[place], limb] = ZERO
            state.roots.tax[places.root[place], limb] = ZERO
    for cell in range(places.cell_start[first], places.cell_end[end - 1]):
        state.cells.sum[cell, 0], state.cells.sum[cell, 1] = ZERO, ZERO
        state.cells.settled[cell] = 0
    for item in range(places.item_start[first], places.item_end[end - 1]):
        state.items.sum[item, 0], state.items.sum[item, 1] = ZERO, ZERO
        state.items.is_there[item] = False


@kernel
def settle_all(
    trees: TreeTables, state: SettlingState, taxes: TaxTables, made: MadeLines, first: int, end: int
) -> bool:
    """Settles all places of a tree from nothing, without charge lines; whether it fits.

    What its billing periods come to by that counts as posted.
    """
    if first == end:
        return True
    _clear(trees, state, first, end)
    for place in range(first, end):
        if not settle_period(trees, state, taxes, made, place):
            return False
    roots = state.roots
    for root in range(trees.places.root[first], trees.places.root_end[first]):
        excluding_tax_fits, roots.posted_excluding_tax[root] = narrow(
            roots.excluding_tax[root, 0], roots.excluding_tax[root, 1]
        )
        tax_fits, roots.posted_tax[root] = narrow(roots.tax[root, 0], roots.tax[root, 1])
        if not excluding_tax_fits or not tax_fits:
            return False
    return True


@kernel
def _post(
    state: SettlingState, group: int, first_root: int, end_root: int, at: int, differences: NetDifferences
) -> int:
    """Writes what is new of the adjustments of some billing periods; how many differences, NONE where one does not fit:
    then none is.
    """
    roots = state.roots
    for root in range(first_root, end_root):
        if not _is_postable(roots.excluding_tax, root, roots.posted_excluding_tax[root]):
            return NONE
        if not _is_postable(roots.tax, root, roots.posted_tax[root]):
            return NONE
    count = 0
    for root in range(first_root, end_root):
        excluding_tax, tax = np.int64(roots.excluding_tax[root, 0]), np.int64(roots.tax[root, 0])
        moved = excluding_tax - roots.posted_excluding_tax[root]
        moved_tax = tax - roots.posted_tax[root]
        if moved != 0 or moved_tax != 0:
            differences.group[at + count] = group
            differences.root[at + count] = root
            differences.excluding_tax[at + count] = moved
            differences.tax[at + count] = moved_tax
            roots.posted_excluding_tax[root] = excluding_tax
            roots.posted_tax[root] = tax
            count += 1
    return count


@kernel
def _is_postable(sums: Words, row: int, posted: np.int64) -> bool:
    """Whether a sum, and what it is more than was posted, are below 2^63."""
    lo, hi = widened(posted)
    lo, hi = sub128(sums[row, 0], sums[row, 1], lo, hi)
    fits, _ = narrow(lo, hi)
    whole_fits, _ = narrow(sums[row, 0], sums[row, 1])
    return fits and whole_fits
