"""Net lines: what the terms of contract trees make of their charge lines, posted event by event.

A **net line** is a root contract's billing period. It holds one number, its **adjustment**: what the settled invoice of
the period (`contract/settle`) comes to beyond its charge lines, which is all fees, shares, discounts, caps, minimums
and credits, without tax and their tax. Charge lines and adjustment together are the invoice; what an event moves of
both is its net amount. Where a tree has no terms there is no net line, and the net amount is the amount.

A net line opens when a first charge line of its period opens, and is pinned to the catalogue version in force then; it
counts the charge lines that events have opened. Later versions apply from the next period, also those that split
accumulation periods; ReprocessEvents moves the pin. A period in which something was charged under a version without
terms stays without them, and one that would reach into a period which an earlier version opened does not open. Its
adjustment is a function of the tree as pinned and of the tree's charge lines alone; with credits, of those of earlier
periods too. So it is posted like a charge line, new minus old, whatever the order of events. A tree that cannot be
settled has no invoice (PreviewInvoice says why), and its net lines come to nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.catalog.model import Catalog
from tallybook_engine.contract.root_period import root_period
from tallybook_engine.contract.tree import Tree, tree_has_terms, tree_of
from tallybook_engine.kernels.growing import GrowingTable
from tallybook_engine.ledger.net_trees import NetMoves, NetTrees, Stretch
from tallybook_engine.ledger.outcomes import (
    NO_CHANGES,
    UNPINNED,
    Cause,
    LineMoves,
    NetChanges,
    NetPin,
    NetPostings,
    Postings,
)

if TYPE_CHECKING:
    from tallybook_engine.ledger.state import Opening, State

AHEAD_US = 366 * 86_400_000_000
"""A tree of the current version is settled so far beyond its last net line, so that the next ones are there already."""


@dataclass(slots=True)
class NetLine:
    """A billing period of a root contract with terms."""

    contract_id: str
    start_us: int
    end_us: int
    version: int
    """Of the catalogue, that it is pinned to; UNPINNED: none."""

    @property
    def period(self) -> tuple[str, int, int]:
        """What it is of: root contract, first instant of the billing period, first one after."""
        return self.contract_id, self.start_us, self.end_us


class NetValues(NamedTuple):
    """What net lines come to by their postings, minor units."""

    amount: NDArray[np.int64]
    """Without tax."""
    tax: NDArray[np.int64]


class _Roots(NamedTuple):
    """Root contracts, by their number here."""

    has_lines: NDArray[np.bool_]
    """Whether it has net lines."""


class _Lines(NamedTuple):
    """Charge lines."""

    root: NDArray[np.int32]
    """Number of its root contract."""


class NetLines:
    """The net lines of a book."""

    def __init__(self) -> None:
        self.lines: list[NetLine] = []
        self.values = GrowingTable(NetValues)
        self.of_contract: dict[str, list[int]] = {}
        """Root contract -> its net lines, in the order of opening."""
        self.settled = NetTrees()
        self._trees: dict[tuple[int, str], Tree | None] = {}
        self._places: dict[tuple[int, tuple[str, ...], int], tuple[int, int] | None] = {}
        """(version, contract path, an instant) -> the period of the root that bills it."""
        self._root_numbers: dict[str, int] = {}
        """Root contract -> its number here."""
        self._roots: list[str] = []
        """The reverse."""
        self._root_table = GrowingTable(_Roots)
        self._line_table = GrowingTable(_Lines)
        """Charge lines as far as their roots were worked out."""

    def value(self, number: int) -> tuple[int, int]:
        """(amount without tax, tax) of a net line by its postings."""
        values = self.values.arrays
        return int(values.amount[number]), int(values.tax[number])

    def tree(self, state: State, version: int, contract_id: str) -> Tree | None:
        """A root contract's tree under a version; None where that has it not, or without terms."""
        key = version, contract_id
        if key not in self._trees:
            self._trees[key] = tree_with_terms(state.compiled[version].catalog, contract_id)
        return self._trees[key]

    def currency(self, state: State, number: int) -> str:
        """What a net line that is pinned to terms is in."""
        line = self.lines[number]
        tree = self.tree(state, line.version, line.contract_id)
        assert tree is not None
        return tree.currency

    def place(self, state: State, version: int, tree: Tree, line: int) -> tuple[int, int] | None:
        """The period of a version's tree's root that bills a charge line; None: no period, or in another currency."""
        origin = state.line_origins[line]
        definition = state.pools.definitions[origin.definition]
        if definition.currency != tree.currency:
            return None
        key = version, definition.contract_path, origin.period_end_us
        if key not in self._places:
            self._places[key] = root_period(tree, definition.contract_path, origin.period_end_us - 1)
        return self._places[key]

    def forget_version(self, version: int) -> None:
        """Forgets what was worked out under a version that was only tried."""
        self._trees = {key: tree for key, tree in self._trees.items() if key[0] != version}
        self._places = {key: place for key, place in self._places.items() if key[0] != version}

    def forget_line(self, line: int) -> None:
        """Forgets what was worked out of a charge line that is closed again, as all behind it are."""
        self.settled.forget_line(line)
        self._line_table.truncate(min(len(self._line_table), line))

    def concerns(self, state: State, lines: NDArray[np.int32]) -> NDArray[np.bool_]:
        """[n] whether each of n charge lines is of a root contract with net lines."""
        self._number_lines(state)
        found: NDArray[np.bool_] = self._root_table.arrays.has_lines[self._line_table.arrays.root[lines]]
        return found

    def roots_of(self, lines: NDArray[np.int32]) -> list[str]:
        """The root contracts of charge lines that `concerns` was asked of, each once."""
        return [self._roots[number] for number in np.unique(self._line_table.arrays.root[lines]).tolist()]

    def _number_lines(self, state: State) -> None:
        for line in range(len(self._line_table), len(state.line_origins)):
            self._line_table.append(self._root_number(root_of(state, line)))

    def _root_number(self, root: str) -> int:
        number = self._root_numbers.setdefault(root, len(self._roots))
        if number == len(self._roots):
            self._roots.append(root)
            self._root_table.append(root in self.of_contract)
        return number

    def pin(self, pin: NetPin) -> int:
        """Opens a net line, or pins it to another version; answers the version before."""
        if pin.net_line < len(self.lines):
            line = self.lines[pin.net_line]
            before, line.version = line.version, pin.version
            self.settled.drop(line.contract_id)
            return before
        self.lines.append(NetLine(pin.contract_id, pin.start_us, pin.end_us, pin.version))
        self.values.append(0, 0)
        self.of_contract.setdefault(pin.contract_id, []).append(pin.net_line)
        root = self._root_number(pin.contract_id)
        self._root_table.arrays.has_lines[root] = True
        return OPENED

    def apply(self, pins: Iterable[NetPin], postings: NetPostings) -> None:
        """Opens, pins and moves net lines as a journal says."""
        for pin in pins:
            self.pin(pin)
        self.add(postings)

    def add(self, postings: NetPostings) -> None:
        """Moves net lines as postings say."""
        np.add.at(self.values.arrays.amount, postings.net_line, postings.amount)
        np.add.at(self.values.arrays.tax, postings.net_line, postings.tax)

    def take_back(self, state: State, changes: NetChanges) -> None:
        """The reverse of what staging did; charge lines have not closed yet."""
        self._move_back(state, changes.moves)
        np.subtract.at(self.values.arrays.amount, changes.postings.net_line, changes.postings.amount)
        np.subtract.at(self.values.arrays.tax, changes.postings.net_line, changes.postings.tax)
        for pin, before in zip(reversed(changes.pins), reversed(changes.pins_before), strict=True):
            if before != OPENED:
                self.pin(pin._replace(version=before))
                continue
            self.lines.pop()
            self.values.truncate(len(self.lines))
            self.settled.detach(pin.net_line)
            of_contract = self.of_contract[pin.contract_id]
            of_contract.pop()
            if not of_contract:
                del self.of_contract[pin.contract_id]
                root = self._root_number(pin.contract_id)
                self._root_table.arrays.has_lines[root] = False
                # Moves before the first net line were not told of.
                self.settled.drop(pin.contract_id)

    def _move_back(self, state: State, moves: LineMoves) -> None:
        self._number_lines(state)
        roots = self._line_table.arrays.root[moves.line]
        planted = [number for number in np.unique(roots).tolist() if self._roots[number] in self.settled]
        if planted:
            kept = np.isin(roots, planted)
            # What a tree comes to follows from its lines as they stand, so that the order is of no matter.
            together = np.zeros(int(kept.sum()), dtype=np.int64)
            self.settled.move(LineMoves(together, moves.line[kept], -moves.amount[kept]))

    def standing(self) -> NetChanges:
        """All net lines, opened as they stand by now."""
        values, count = self.values.rows(), len(self.lines)
        pins = tuple(NetPin(0, number, each.version, *each.period) for number, each in enumerate(self.lines))
        postings = NetPostings(
            np.zeros(count, dtype=np.int64),
            np.full(count, np.uint8(Cause.OPEN)),
            np.arange(count, dtype=np.int32),
            values.amount,
            values.tax,
        )
        return NO_CHANGES._replace(pins=pins, postings=postings)


OPENED = -2
"""In the place of the version before: the net line was not there."""


def joined_net(pieces: Sequence[NetChanges]) -> NetChanges:
    """Changes behind one another."""
    pins, pins_before, postings, moves = zip(NO_CHANGES, *pieces, strict=True)
    return NetChanges(
        tuple(chain.from_iterable(pins)),
        tuple(chain.from_iterable(pins_before)),
        NetPostings._make(np.concatenate(columns) for columns in zip(*postings, strict=True)),
        LineMoves._make(np.concatenate(columns) for columns in zip(*moves, strict=True)),
    )


def tree_with_terms(catalog: Catalog, contract_id: str) -> Tree | None:
    """A root contract's tree; None where the catalogue has it not, or without terms."""
    root = catalog.contracts.get(contract_id)
    return tree_of(catalog, root) if root is not None and tree_has_terms(root) else None


def any_terms(catalog: Catalog) -> bool:
    """Whether any contract of a catalogue has terms."""
    return any(tree_has_terms(root) for root in catalog.contracts.values())


def is_concerned(state: State) -> bool:
    """Whether any event may move a net line: else nothing needs to be looked at."""
    return state.has_terms or bool(state.net.lines)


def root_of(state: State, line: int) -> str:
    """The root contract of a charge line."""
    return state.pools.definitions[state.line_origins[line].definition].contract_path[0]


# --- Posting ----------------------------------------------------------------------------------------------------------


def post_net(
    state: State,
    postings: Postings,
    posting_starts: NDArray[np.int64],
    openings: Sequence[Opening],
    opening_rows: Sequence[int],
    cause: Cause = Cause.EVENT,
) -> NetChanges:
    """Posts what n rows, whose charge lines have opened and moved already, make of net lines, row by row."""
    if not is_concerned(state):
        return NO_CHANGES
    pins = _open_net_lines(state, openings, opening_rows)
    moves = _moves(state, postings, posting_starts, openings, opening_rows)
    if len(moves.line) == 0 and not pins:
        return NO_CHANGES
    changed = _settle(state, moves, pins)
    posted = _with_openings(state, changed, pins, cause)
    state.net.add(posted)
    return NetChanges(pins, (OPENED,) * len(pins), posted, moves)


def _open_net_lines(state: State, openings: Sequence[Opening], opening_rows: Sequence[int]) -> tuple[NetPin, ...]:
    """Opens the net lines of charge lines that opened, where there are to be some."""
    net, version, pins = state.net, state.current.version, []
    # What costs nothing without events opens ahead of earlier rows that wait: rows decide, not the order of opening.
    for row, opening in sorted(zip(opening_rows, openings, strict=True), key=lambda each: each[0]):
        root = root_of(state, opening.line)
        tree = net.tree(state, version, root)
        if tree is None and root not in net.of_contract:
            continue
        net.settled.find_place(state, root, opening.line)
        if tree is None or _has_net_line(state, root, opening.line):
            continue
        place = net.place(state, version, tree, opening.line)
        if place is not None and not _was_without_terms(state, tree, place):
            pins += _open_period(state, row, tree, place)
    return tuple(pins)


def _has_net_line(state: State, root: str, line: int) -> bool:
    """Whether a charge line is of a net line by the pin of that."""
    net = state.net
    for number in reversed(net.of_contract.get(root, ())):
        each = net.lines[number]
        tree = None if each.version == UNPINNED else net.tree(state, each.version, root)
        if tree is not None and net.place(state, each.version, tree, line) == (each.start_us, each.end_us):
            return True
    return False


def _was_without_terms(state: State, tree: Tree, place: tuple[int, int]) -> bool:
    """Whether something was charged in a period of the current version's tree under one without terms."""
    net, root = state.net, tree.root.id
    return any(
        net.tree(state, state.line_origins[each].version, root) is None
        for each in _lines_of(state, tree)
        if net.place(state, state.current.version, tree, each) == place
    )


def _open_period(state: State, row: int, tree: Tree, place: tuple[int, int]) -> list[NetPin]:
    """Opens a period of the current version's tree, unless it reaches into one that is open."""
    net, root = state.net, tree.root.id
    for number in net.of_contract.get(root, ()):
        other = net.lines[number]
        if other.version != UNPINNED and other.start_us < place[1] and place[0] < other.end_us:
            return []
    pin = NetPin(row, len(net.lines), state.current.version, root, *place)
    net.pin(pin)
    net.settled.attach(root, tree, place[0], pin.net_line)
    return [pin]


def _lines_of(state: State, tree: Tree) -> list[int]:
    lines = state.lines_of_customer.get(tree.root.customer, ())
    return [line for line in lines if root_of(state, line) == tree.root.id]


def _moves(
    state: State,
    postings: Postings,
    posting_starts: NDArray[np.int64],
    openings: Sequence[Opening],
    opening_rows: Sequence[int],
) -> LineMoves:
    """Moves of charge lines whose root contracts have net lines: of each row, those of its openings first."""
    lines = state.parts.arrays.line[postings.part]
    moving = np.flatnonzero(state.net.concerns(state, lines) & (postings.amount != 0))
    opened = np.array([opening.line for opening in openings], dtype=np.int32)
    worth = np.array([opening.amount for opening in openings], dtype=np.int64)
    opening = np.flatnonzero(state.net.concerns(state, opened) & (worth != 0))
    rows = np.searchsorted(posting_starts, moving, side="right") - 1
    key = np.concatenate([2 * np.array(opening_rows, dtype=np.int64)[opening], 2 * rows + 1])
    order = np.argsort(key, kind="stable")
    line = np.concatenate([opened[opening], lines[moving]])
    amount = np.concatenate([worth[opening], postings.amount[moving]])
    return LineMoves(key[order], line[order], amount[order])


def _settle(state: State, moves: LineMoves, pins: Iterable[NetPin]) -> NetMoves:
    """What moves change of net lines, those that opened with them too."""
    settled = state.net.settled
    if settled.is_full:
        settled = state.net.settled = NetTrees()
    roots = dict.fromkeys([*state.net.roots_of(moves.line), *(pin.contract_id for pin in pins)])
    bare = [root for root in roots if root not in settled]
    before = _before(state, moves) if bare else state.lines.arrays.amount
    unfit = {root for root in bare if not plant(state, settled, root, before)}
    sound = moves
    if unfit:
        fits = np.array([root_of(state, line) not in unfit for line in moves.line.tolist()], dtype=np.bool_)
        sound = LineMoves._make(column[fits] for column in moves)
    changed, left = settled.move(sound)
    unfit |= left
    if not unfit:
        return changed
    one_by_one = [_settled_one_by_one(state, root, moves) for root in sorted(unfit)]
    columns = [np.concatenate(columns) for columns in zip(changed, *one_by_one, strict=True)]
    order = np.argsort(columns[0], kind="stable")
    return NetMoves._make(column[order] for column in columns)


def _before(state: State, moves: LineMoves) -> NDArray[np.int64]:
    """By charge line, its amount before moves that it has taken."""
    amounts = state.lines.rows().amount.copy()
    np.subtract.at(amounts, moves.line, moves.amount)
    return amounts


def _settled_one_by_one(state: State, root: str, moves: LineMoves) -> NetMoves:
    """What moves change of a root contract's net lines whose trees cannot be settled throughout."""
    settled, numbers = state.net.settled, state.net.of_contract[root]
    amounts = _before(state, moves)
    mine = np.array([root_of(state, line) == root for line in moves.line.tolist()], dtype=np.bool_)
    rows: list[tuple[int, int, int, int]] = []
    plant(state, settled, root, amounts)
    values = {number: settled.value(number) for number in numbers}
    for key in np.unique(moves.key[mine]):
        at = mine & (moves.key == key)
        np.add.at(amounts, moves.line[at], moves.amount[at])
        plant(state, settled, root, amounts)
        for number in numbers:
            amount, tax = settled.value(number)
            if (amount, tax) != values[number]:
                rows.append((int(key), number, amount - values[number][0], tax - values[number][1]))
                values[number] = amount, tax
    return NetMoves.of(rows)


def plant(state: State, settled: NetTrees, root: str, amounts: NDArray[np.int64]) -> bool:
    """Plants the trees of a root contract's net lines, with its charge lines at given amounts; whether they fit."""
    net = state.net
    stretches: dict[int, list[int]] = {}
    for number in net.of_contract[root]:
        version = net.lines[number].version
        if version != UNPINNED and net.tree(state, version, root) is not None:
            stretches.setdefault(version, []).append(number)
    planned = []
    lines: list[int] = []
    for version, numbers in stretches.items():
        tree = net.tree(state, version, root)
        assert tree is not None
        lines = lines or _lines_of(state, tree)
        pinned = [net.lines[number] for number in numbers]
        ahead_us = AHEAD_US if version == state.current.version else 0
        planned.append(
            Stretch(
                tree,
                min(each.start_us for each in pinned),
                max(each.end_us for each in pinned) + ahead_us,
                {net.lines[number].start_us: number for number in numbers},
            )
        )
    return settled.plant(state, root, planned, lines, lambda line: int(amounts[line]))


def _with_openings(state: State, changed: NetMoves, pins: Sequence[NetPin], cause: Cause) -> NetPostings:
    """Postings of what changed; a net line that opened has what it came to then posted first.

    What it came to before it opened is of no record.
    """
    net, count = state.net, len(state.net.lines)
    first = count - len(pins)
    opened = np.array([2 * pin.row for pin in pins], dtype=np.int64)
    after = np.array([net.settled.value(pin.net_line) for pin in pins], dtype=np.int64).reshape(-1, 2)
    kept = np.ones(len(changed.key), dtype=np.bool_)
    fresh = np.flatnonzero(changed.net_line >= first)
    if len(fresh):
        which = changed.net_line[fresh] - first
        counts = changed.key[fresh] >= opened[which]
        kept[fresh[~counts]] = False
        np.subtract.at(after[:, 0], which[counts], changed.amount[fresh][counts])
        np.subtract.at(after[:, 1], which[counts], changed.tax[fresh][counts])
    worth = np.flatnonzero(after.any(axis=1))
    key = np.concatenate([opened[worth], changed.key[kept]])
    is_opening = np.arange(len(key)) < len(worth)
    net_line = np.concatenate([(first + worth).astype(np.int32), changed.net_line[kept]])
    amount = np.concatenate([after[worth, 0], changed.amount[kept]])
    tax = np.concatenate([after[worth, 1], changed.tax[kept]])
    order = np.lexsort((net_line, ~is_opening, key))
    key = key[order]
    causes = np.where(key % 2 == 0, np.uint8(Cause.OPEN), np.uint8(cause))
    return NetPostings(key // 2, causes, net_line[order], amount[order], tax[order])


# --- Moving pins ------------------------------------------------------------------------------------------------------


def move_net_pins(state: State, customer_id: str, start_us: int, end_us: int, row: int) -> NetChanges:
    """Pins a customer's net lines that touch [start, end) to the current version, and opens those it has besides.

    A period that the current version does not have is due no more.
    """
    net, version = state.net, state.current.version
    pins: list[NetPin] = []
    pins_before: list[int] = []
    lines = state.lines_of_customer.get(customer_id, ())
    roots = dict.fromkeys(root_of(state, line) for line in lines)
    moved: list[NetPostings] = []
    for root in roots:
        tree = net.tree(state, version, root)
        found = len(pins)
        for number in net.of_contract.get(root, ()):
            each = net.lines[number]
            touches = start_us < each.end_us and each.start_us < end_us
            pinned = None if each.version == UNPINNED else net.tree(state, each.version, root)
            if touches and each.version != UNPINNED and not _is_same(pinned, tree):
                has_it = tree is None or root_period(tree, (root, ""), each.start_us) == (each.start_us, each.end_us)
                pin = NetPin(row, number, version if has_it else UNPINNED, *each.period)
                pins.append(pin)
                pins_before.append(net.pin(pin))
        for line in lines if tree is not None else ():
            place = net.place(state, version, tree, line) if tree and root_of(state, line) == root else None
            if tree and place is not None and start_us < place[1] and place[0] < end_us:
                opened = _open_period(state, row, tree, place)
                pins += opened
                pins_before += [OPENED] * len(opened)
        if len(pins) > found:
            moved.append(_brought_up(state, root, row))
    postings = NetPostings._make(np.concatenate(columns) for columns in zip(NO_CHANGES.postings, *moved, strict=True))
    return NetChanges(tuple(pins), tuple(pins_before), postings, NO_CHANGES.moves)


def _is_same(one: Tree | None, other: Tree | None) -> bool:
    """Whether two versions have one and the same tree."""
    if one is None or other is None:
        return one is other
    # Objects that a version leaves alone are those of the version before.
    return (one.root is other.root, one.currency, one.tax) == (True, other.currency, other.tax)


def _brought_up(state: State, root: str, row: int) -> NetPostings:
    """Posts to a root contract's net lines, whose pins have moved, what they come to since."""
    net = state.net
    plant(state, net.settled, root, state.lines.arrays.amount)
    rows = []
    for number in net.of_contract[root]:
        (amount, tax), (posted, posted_tax) = net.settled.value(number), net.value(number)
        if (amount, tax) != (posted, posted_tax):
            rows.append((row, number, amount - posted, tax - posted_tax))
    found = NetMoves.of(rows)
    causes = np.full(len(rows), np.uint8(Cause.RERATE))
    postings = NetPostings(found.key, causes, found.net_line, found.amount, found.tax)
    net.add(postings)
    return postings


# --- Afresh -----------------------------------------------------------------------------------------------------------


def values_afresh(state: State, amounts: NDArray[np.int64]) -> list[tuple[int, int]]:
    """(amount without tax, tax) that each net line comes to, with charge lines of given amounts."""
    settled, found = NetTrees(), [(0, 0)] * len(state.net.lines)
    for root, numbers in state.net.of_contract.items():
        plant(state, settled, root, amounts)
        for number in numbers:
            found[number] = settled.value(number)
        settled.drop(root)
    return found
