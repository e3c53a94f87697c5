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
periods too. So it is posted like a charge line, new minus old, whatever the order of events.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.catalog.model import Catalog
from tallybook_engine.contract.calendars import InvoiceTooLargeError
from tallybook_engine.contract.invoice import Charge, LineKind
from tallybook_engine.contract.root_period import root_period
from tallybook_engine.contract.settle import settle
from tallybook_engine.contract.tree import Tree, has_terms, tree_of
from tallybook_engine.decimals import DoesNotFit
from tallybook_engine.ledger.outcomes import SAME_PIN, UNPINNED, Cause, NetPosting, Postings

if TYPE_CHECKING:
    from tallybook_engine.ledger.state import Opening, State


@dataclass(slots=True)
class NetLine:
    """A billing period of a root contract with terms."""

    contract_id: str
    start_us: int
    end_us: int
    version: int
    """Of the catalogue, that it is pinned to; UNPINNED: none."""
    amount: int = 0
    """Adjustment without tax, minor units."""
    tax: int = 0

    @property
    def period(self) -> tuple[str, int, int]:
        """What it is of: root contract, first instant of the billing period, first one after."""
        return self.contract_id, self.start_us, self.end_us


@dataclass
class NetLines:
    """The net lines of a book."""

    lines: list[NetLine] = field(default_factory=list)
    of_contract: dict[str, list[int]] = field(default_factory=dict)
    """Root contract -> its net lines, in the order of opening."""
    _trees: dict[tuple[int, str], Tree | None] = field(default_factory=dict)
    _places: dict[int, dict[int, tuple[int, int] | None]] = field(default_factory=dict)
    """Charge line -> version -> the period of the root that bills it under the version."""
    _root_numbers: dict[str, int] = field(default_factory=dict)
    """Root contract -> its number here."""
    _root_of_line: NDArray[np.int32] = field(default_factory=lambda: np.zeros(16, dtype=np.int32))
    """By charge line, the number of its root, as far as it was worked out."""
    _line_count: int = 0
    """How far that is."""

    def tree(self, state: State, version: int, contract_id: str) -> Tree | None:
        """A root contract's tree under a version; None where that has it not, or without terms."""
        key = version, contract_id
        if key not in self._trees:
            self._trees[key] = tree_with_terms(state.compiled[version].catalog, contract_id)
        return self._trees[key]

    def place(self, state: State, version: int, tree: Tree, line: int) -> tuple[int, int] | None:
        """The period of a tree's root that bills a charge line; None: no period, or in another currency."""
        known = self._places.setdefault(line, {})
        if version not in known:
            origin = state.line_origins[line]
            definition = state.pools.definitions[origin.definition]
            same = definition.currency == tree.currency
            known[version] = root_period(tree, definition.contract_path, origin.period_end_us - 1) if same else None
        return known[version]

    def forget_version(self, version: int) -> None:
        """Forgets what was worked out under a version that was only tried."""
        self._trees = {key: tree for key, tree in self._trees.items() if key[0] != version}
        for known in self._places.values():
            known.pop(version, None)

    def forget_line(self, line: int) -> None:
        """Forgets what was worked out of a charge line that is closed again, as all behind it are."""
        self._places.pop(line, None)
        self._line_count = min(self._line_count, line)

    def are_of(self, state: State, roots: Collection[str], lines: NDArray[np.int32]) -> NDArray[np.bool_]:
        """[n] whether each of n charge lines is of one of some root contracts."""
        count = len(state.line_origins)
        if count > len(self._root_of_line):
            self._root_of_line = np.resize(self._root_of_line, 2 * count)
        for line in range(self._line_count, count):
            root = root_of(state, line)
            self._root_of_line[line] = self._root_numbers.setdefault(root, len(self._root_numbers))
        self._line_count = count
        wanted = np.zeros(len(self._root_numbers), dtype=np.bool_)
        wanted[[self._root_numbers[root] for root in roots if root in self._root_numbers]] = True
        found: NDArray[np.bool_] = wanted[self._root_of_line[lines]]
        return found

    def apply(self, postings: Iterable[NetPosting]) -> None:
        """Opens and moves net lines as postings say, in order."""
        for each in postings:
            if each.net_line == len(self.lines):
                self.lines.append(NetLine(each.contract_id, each.start_us, each.end_us, each.version))
                self.of_contract.setdefault(each.contract_id, []).append(each.net_line)
            net = self.lines[each.net_line]
            net.amount += each.amount
            net.tax += each.tax
            if each.version != SAME_PIN:
                net.version = each.version

    def take_back(self, postings: Sequence[NetPosting], pins: Mapping[int, int] = MappingProxyType({})) -> None:
        """The reverse of `apply`; `pins` are the versions before, of the lines that were there and whose pin moved."""
        for each in reversed(postings):
            net = self.lines[each.net_line]
            net.amount -= each.amount
            net.tax -= each.tax
            if each.contract_id:
                self.lines.pop()
                of_contract = self.of_contract[each.contract_id]
                of_contract.pop()
                if not of_contract:
                    del self.of_contract[each.contract_id]
        for net_line, version in pins.items():
            self.lines[net_line].version = version

    def as_postings(self) -> list[NetPosting]:
        """All net lines, each opened as it stands by now."""
        return [
            NetPosting(0, Cause.OPEN, number, each.amount, each.tax, each.version, *each.period)
            for number, each in enumerate(self.lines)
        ]


def tree_with_terms(catalog: Catalog, contract_id: str) -> Tree | None:
    """A root contract's tree; None where the catalogue has it not, or without terms."""
    root = catalog.contracts.get(contract_id)
    if root is None or not any(has_terms(path[-1]) for path in root.levels()):
        return None
    return tree_of(catalog, root)


def any_terms(catalog: Catalog) -> bool:
    """Whether any contract of a catalogue has terms."""
    return any(has_terms(path[-1]) for root in catalog.contracts.values() for path in root.levels())


# --- Moving pins ------------------------------------------------------------------------------------------------------


def move_net_pins(
    state: State, customer_id: str, start_us: int, end_us: int, row: int
) -> tuple[tuple[NetPosting, ...], dict[int, int]]:
    """Pins a customer's net lines that touch [start, end) to the current version, and opens those it has besides.

    A period that the current version does not have is due no more. Answers the postings, and the versions before.
    """
    net, version = state.net, state.current.version
    lines = state.lines_of_customer.get(customer_id, ())
    poster = _NetPoster(state, [])
    before: dict[int, int] = {}
    for root in dict.fromkeys(root_of(state, line) for line in lines):
        tree = net.tree(state, version, root)
        for number in net.of_contract.get(root, ()):
            each = net.lines[number]
            touches = start_us < each.end_us and each.start_us < end_us
            pinned = None if each.version == UNPINNED else net.tree(state, each.version, root)
            if touches and each.version != UNPINNED and not _is_same(pinned, tree):
                before[number] = each.version
                has_it = tree is None or root_period(tree, (root, ""), each.start_us) == (each.start_us, each.end_us)
                poster.pin(row, number, version if has_it else UNPINNED)
        for line in lines if tree is not None else ():
            place = net.place(state, version, tree, line) if tree and root_of(state, line) == root else None
            if tree and place is not None and start_us < place[1] and place[0] < end_us:
                poster.open_period(row, Cause.RERATE, root, tree, place)
    return tuple(poster.made), before


def _is_same(one: Tree | None, other: Tree | None) -> bool:
    """Whether two versions have one and the same tree."""
    if one is None or other is None:
        return one is other
    # Objects that a version leaves alone are those of the version before.
    return (one.root is other.root, one.currency, one.tax) == (True, other.currency, other.tax)


# --- What a net line comes to -----------------------------------------------------------------------------------------

ValueOf = Callable[[int], tuple[int, int]]
"""Charge line -> (amount as priced, tax), minor units."""


def adjustment(
    state: State, tree: Tree, net: NetLine, places: Callable[[int], tuple[int, int] | None], value_of: ValueOf
) -> tuple[int, int]:
    """(amount without tax, tax): what the invoice of a net line's period comes to beyond its charge lines."""
    charges = []
    for line in _lines_of_tree(state, tree):
        place = places(line)
        if place is not None and (place[0] == net.start_us or (has_credits(tree) and place[0] < net.start_us)):
            charges.append(_charge(state, line, *value_of(line)))
    try:
        (invoice,) = settle(tree, charges, net.start_us, net.end_us)
    except (InvoiceTooLargeError, DoesNotFit):
        # What cannot be settled has no invoice (PreviewInvoice says why), so there is nothing beyond its charge lines.
        return 0, 0
    beyond = [line for line in invoice.lines if line.kind is not LineKind.CHARGE]
    return sum(line.amount_excluding_tax for line in beyond), sum(line.tax_amount for line in beyond)


def has_credits(tree: Tree) -> bool:
    """Whether earlier billing periods change what later ones come to."""
    return any(level.contract.credits for level in tree.levels)


def _lines_of_tree(state: State, tree: Tree) -> list[int]:
    lines = state.lines_of_customer.get(tree.root.customer, ())
    return [line for line in lines if root_of(state, line) == tree.root.id]


def root_of(state: State, line: int) -> str:
    """The root contract of a charge line."""
    return state.pools.definitions[state.line_origins[line].definition].contract_path[0]


def _charge(state: State, line: int, amount: int, tax: int) -> Charge:
    origin = state.line_origins[line]
    definition = state.pools.definitions[origin.definition]
    return Charge(
        definition.contract_path,
        origin.period_start_us,
        origin.period_end_us,
        definition.currency,
        amount,
        tax,
        definition.tax,
    )


# --- Posting ----------------------------------------------------------------------------------------------------------


class Step(NamedTuple):
    """What one record did to charge lines."""

    row: int
    cause: Cause
    openings: Sequence[Opening]
    moves: Sequence[tuple[int, int, int]]
    """(charge line, amount, tax) of its postings."""


def event_steps(
    state: State,
    postings: Postings,
    posting_starts: NDArray[np.int64],
    openings: Sequence[Opening],
    opening_rows: Sequence[int],
    cause: Cause = Cause.EVENT,
) -> Iterator[Step]:
    """The steps of n rows that may concern net lines, in their order."""
    net = state.net
    opened: dict[int, list[Opening]] = {}
    roots = set(net.of_contract)
    for row, opening in zip(opening_rows, openings, strict=True):
        root = root_of(state, opening.line)
        if root in roots or net.tree(state, state.current.version, root) is not None:
            opened.setdefault(row, []).append(opening)
            roots.add(root)
    lines = state.parts.arrays.line[postings.part]
    moving = np.flatnonzero(net.are_of(state, roots, lines) & ((postings.amount != 0) | (postings.tax != 0)))
    moves: dict[int, list[tuple[int, int, int]]] = {}
    rows = np.searchsorted(posting_starts, moving, side="right") - 1
    for row, at in zip(rows.tolist(), moving.tolist(), strict=True):
        moves.setdefault(row, []).append((int(lines[at]), int(postings.amount[at]), int(postings.tax[at])))
    for row in sorted({*opened, *moves}):
        yield Step(row, cause, opened.get(row, ()), moves.get(row, ()))


def post_net(state: State, steps: Iterable[Step]) -> tuple[NetPosting, ...]:
    """Posts what steps that the charge lines have taken already make of net lines, one step after the other."""
    poster = _NetPoster(state, list(steps))
    for step in poster.steps:
        poster.post(step)
    return tuple(poster.made)


class _NetPoster:
    """Goes through steps with the charge lines as they were at each."""

    def __init__(self, state: State, steps: list[Step]) -> None:
        self._state = state
        self.steps = steps
        self.made: list[NetPosting] = []
        self._values: dict[int, tuple[int, int]] = {}
        """Of the charge lines that move, as of the step."""
        for step in steps:
            for line, amount, tax in _moves(step):
                before = self.value_of(line)
                self._values[line] = before[0] - amount, before[1] - tax

    def value_of(self, line: int) -> tuple[int, int]:
        """(amount, tax) of a charge line as of the step."""
        if line in self._values:
            return self._values[line]
        lines = self._state.lines.arrays
        return int(lines.amount[line]), int(lines.tax[line])

    def post(self, step: Step) -> None:
        """Posts one step."""
        for opening in step.openings:
            self._open(step.row, opening.line)
        opened = [(opening.line, opening.amount, opening.tax) for opening in step.openings]
        self._move(step.row, Cause.OPEN, opened)
        self._move(step.row, step.cause, step.moves)

    def _open(self, row: int, line: int) -> None:
        """Opens the net line of a charge line that opened, if there is to be one."""
        state, net = self._state, self._state.net
        root, version = root_of(state, line), state.current.version
        for number in net.of_contract.get(root, ()):
            if self._place(number, line) == (net.lines[number].start_us, net.lines[number].end_us):
                return
        tree = net.tree(state, version, root)
        place = None if tree is None else net.place(state, version, tree, line)
        if tree is not None and place is not None and not self._was_without_terms(root, tree, place):
            self.open_period(row, Cause.OPEN, root, tree, place)

    def open_period(self, row: int, cause: Cause, root: str, tree: Tree, place: tuple[int, int]) -> None:
        """Opens a period of the current version's tree, unless it reaches into one that is open."""
        state, net = self._state, self._state.net
        version = state.current.version
        for number in net.of_contract.get(root, ()):
            other = net.lines[number]
            if other.version != UNPINNED and other.start_us < place[1] and place[0] < other.end_us:
                return
        opened = NetLine(root, *place, version)
        value = adjustment(state, tree, opened, lambda each: net.place(state, version, tree, each), self.value_of)
        self._add(NetPosting(row, cause, len(net.lines), *value, version, root, *place))

    def pin(self, row: int, number: int, version: int) -> None:
        """Pins a net line to another version, or to none."""
        each = self._state.net.lines[number]
        self._add(NetPosting(row, Cause.RERATE, number, 0, 0, version))
        amount, tax = computed(self._state, number, self.value_of)
        if (amount, tax) != (each.amount, each.tax):
            self._add(NetPosting(row, Cause.RERATE, number, amount - each.amount, tax - each.tax))

    def _was_without_terms(self, root: str, tree: Tree, place: tuple[int, int]) -> bool:
        """Whether something was charged in a period of the current version's tree under one without terms."""
        state, net = self._state, self._state.net
        return any(
            net.tree(state, state.line_origins[each].version, root) is None
            for each in _lines_of_tree(state, tree)
            if net.place(state, state.current.version, tree, each) == place
        )

    def _place(self, number: int, line: int) -> tuple[int, int] | None:
        """The period of a charge line under the pin of a net line of its root."""
        net = self._state.net
        version = net.lines[number].version
        tree = None if version == UNPINNED else net.tree(self._state, version, net.lines[number].contract_id)
        return None if tree is None else net.place(self._state, version, tree, line)

    def _move(self, row: int, cause: Cause, moves: Sequence[tuple[int, int, int]]) -> None:
        """Moves charge lines, and posts to the net lines that this changes."""
        touched: dict[int, None] = {}
        for line, amount, tax in moves:
            before = self.value_of(line)
            if amount or tax:
                self._values[line] = before[0] + amount, before[1] + tax
                touched.update(dict.fromkeys(self._changed_by(line)))
        for number in touched:
            self._settle(row, cause, number)

    def _changed_by(self, line: int) -> Iterator[int]:
        """The net lines that a charge line has a part in."""
        state, net = self._state, self._state.net
        for number in net.of_contract.get(root_of(state, line), ()):
            place, each = self._place(number, line), net.lines[number]
            if place is None:
                continue
            tree = net.tree(state, each.version, each.contract_id)
            if place[0] == each.start_us or (place[0] < each.start_us and tree is not None and has_credits(tree)):
                yield number

    def _settle(self, row: int, cause: Cause, number: int) -> None:
        """Posts the difference between what a net line comes to and what it has."""
        amount, tax = computed(self._state, number, self.value_of)
        each = self._state.net.lines[number]
        if (amount, tax) != (each.amount, each.tax):
            self._add(NetPosting(row, cause, number, amount - each.amount, tax - each.tax))

    def _add(self, posting: NetPosting) -> None:
        self._state.net.apply((posting,))
        self.made.append(posting)


def computed(state: State, number: int, value_of: ValueOf) -> tuple[int, int]:
    """(amount without tax, tax) of a net line's adjustment, from charge lines."""
    net, each = state.net, state.net.lines[number]
    tree = None if each.version == UNPINNED else net.tree(state, each.version, each.contract_id)
    if tree is None:
        return 0, 0
    return adjustment(state, tree, each, lambda line: net.place(state, each.version, tree, line), value_of)


def _moves(step: Step) -> Iterator[tuple[int, int, int]]:
    for opening in step.openings:
        yield opening.line, opening.amount, opening.tax
    yield from step.moves


def is_concerned(state: State) -> bool:
    """Whether any event may move a net line: else nothing needs to be looked at."""
    return state.has_terms or bool(state.net.lines)
