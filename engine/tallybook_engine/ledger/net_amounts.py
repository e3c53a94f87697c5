"""What contract trees with terms come to by their postings: each billing period of a root contract that has a net line.

A net line holds what the terms make of the charge lines that its period bills (`ledger/net`). Both together are the
period's net amount: PreviewInvoice shows the same, and beside it what costs something though no event has opened it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.asking import GoOn, asking, unasked
from tallybook_engine.contract.root_period import root_period
from tallybook_engine.contract.tree import Tree
from tallybook_engine.ledger.net import tree_with_terms
from tallybook_engine.ledger.outcomes import UNPINNED
from tallybook_engine.ledger.reads import AsOf, NetStanding, Standing
from tallybook_engine.ledger.segments import Decoded, RecordKind, net_pins_of
from tallybook_engine.ledger.state import State


@dataclass(frozen=True, slots=True)
class NetAmount:
    """What a billing period of a root contract comes to; minor units."""

    contract_id: str
    customer_id: str
    start_us: int
    end_us: int
    catalog_version: int
    """Whose terms count."""
    currency: str
    minor_digits: int
    amount: int
    """Of the charge lines that the period bills, without tax."""
    net_amount: int
    """And with what the terms make of them, without tax."""
    net_tax: int


def net_amounts(
    state: State,
    view: AsOf,
    net_lines: Iterable[NetStanding],
    start_us: int | None,
    end_us: int | None,
    go_on: GoOn = unasked,
) -> list[NetAmount]:
    """The net amounts of a customer's billing periods that touch [start, end), by period and contract. For any thread.

    `net_lines` are the customer's, as they stood at the sequence of the view (`net_lines_as_of`).
    """
    trees: dict[tuple[int, str], Tree | None] = {}
    wanted: dict[tuple[int, str], list[NetStanding]] = {}
    for each in net_lines:
        key = each.version, each.contract_id
        if each.version != UNPINNED and key not in trees:
            trees[key] = tree_with_terms(state.compiled[each.version].catalog, each.contract_id)
        touches = (end_us is None or each.start_us < end_us) and (start_us is None or start_us < each.end_us)
        if touches and trees.get(key) is not None:
            wanted.setdefault(key, []).append(each)
    of_roots = _lines_of_roots(state, view, {root for _, root in wanted}, go_on)
    found = []
    for (version, root), mine in wanted.items():
        tree = trees[version, root]
        assert tree is not None
        sums = _sums(state, view, tree, of_roots[root], go_on)
        for each in asking(mine, go_on):
            amount, tax = sums.get((each.start_us, each.end_us), (0, 0))
            found.append(
                NetAmount(
                    root,
                    view.standing.customer_id,
                    each.start_us,
                    each.end_us,
                    version,
                    tree.currency,
                    tree.minor_digits,
                    amount,
                    amount + each.amount,
                    tax + each.tax,
                )
            )
    return sorted(found, key=lambda each: (each.start_us, each.contract_id, each.end_us))


def _lines_of_roots(state: State, view: AsOf, roots: set[str], go_on: GoOn) -> Mapping[str, Sequence[int]]:
    """The charge lines of root contracts; those that opened later come to nothing."""
    found: dict[str, list[int]] = {root: [] for root in roots}
    for line in asking(view.amount, go_on):
        root = state.pools.definitions[state.line_origins[line].definition].contract_path[0]
        if root in found:
            found[root].append(line)
    return found


def _sums(
    state: State, view: AsOf, tree: Tree, lines: Iterable[int], go_on: GoOn
) -> dict[tuple[int, int], tuple[int, int]]:
    """Billing period (start, end) of a tree's root -> what its charge lines come to (without tax, tax)."""
    places: dict[tuple[tuple[str, ...], int], tuple[int, int] | None] = {}
    sums: dict[tuple[int, int], tuple[int, int]] = {}
    for line in asking(lines, go_on):
        origin = state.line_origins[line]
        definition = state.pools.definitions[origin.definition]
        if definition.currency != tree.currency:
            continue
        key = definition.contract_path, origin.period_end_us
        if key not in places:
            places[key] = root_period(tree, definition.contract_path, origin.period_end_us - 1)
        place = places[key]
        if place is not None:
            amount, tax = sums.get(place, (0, 0))
            line_tax = view.tax[line]
            excluding = view.amount[line] - (line_tax if definition.tax_inclusive else 0)
            sums[place] = amount + excluding, tax + line_tax
    return sums


# --- As of an earlier sequence ----------------------------------------------------------------------------------------


def net_lines_as_of(
    standing: Standing,
    later: Sequence[Decoded],
    sequence: int,
    earlier: Callable[[], Iterable[Decoded]],
    go_on: GoOn = unasked,
) -> list[NetStanding]:
    """A customer's net lines at a sequence: those of a standing, less what came after.

    `later` are the segments behind the sequence. `earlier` reads those up to it; they are looked through only where a
    reprocess has opened net lines of the customer or pinned them anew.
    """
    lines = {each.number: each for each in standing.net_lines}
    moved: dict[int, int] = {}
    """Net line -> the version that it was pinned to before; UNPINNED: it was not there."""
    unknown: set[int] = set()
    for decoded in asking(later, go_on):
        _take_back_moves(lines, decoded, sequence, standing.sequence)
        for number, is_of_event in _pinned(decoded, sequence, standing.sequence):
            if number in lines:
                # Events open net lines, and do nothing else to their pins.
                unknown.add(number)
                if is_of_event:
                    moved[number] = UNPINNED
    unknown -= moved.keys()
    for decoded in asking(earlier() if unknown else (), go_on):
        sequences = _sequences(decoded, "net_pins")
        for pin, stored in zip(net_pins_of(decoded.tables.net_pins), sequences.tolist(), strict=True):
            if pin.net_line in unknown and stored <= sequence:
                moved[pin.net_line] = pin.version
    for number in unknown | moved.keys():
        lines[number] = replace(lines[number], version=moved.get(number, UNPINNED))
    return list(lines.values())


def _take_back_moves(lines: dict[int, NetStanding], decoded: Decoded, sequence: int, upto: int) -> None:
    stored, net = _sequences(decoded, "net"), decoded.net
    behind = (stored > sequence) & (stored <= upto) & np.isin(net.net_line, list(lines))
    for at in np.flatnonzero(behind).tolist():
        line = lines[int(net.net_line[at])]
        lines[line.number] = replace(line, amount=line.amount - int(net.amount[at]), tax=line.tax - int(net.tax[at]))


def _pinned(decoded: Decoded, sequence: int, upto: int) -> Iterable[tuple[int, bool]]:
    """(net line, whether an event opened it) of the pins that came after a sequence."""
    kinds = decoded.numbers("kind")
    for pin, stored in zip(net_pins_of(decoded.tables.net_pins), _sequences(decoded, "net_pins").tolist(), strict=True):
        if sequence < stored <= upto:
            position = decoded.position((stored << 24) | pin.row)
            yield pin.net_line, position is not None and kinds[position] == RecordKind.EVENT


def _sequences(decoded: Decoded, table: str) -> NDArray[np.int64]:
    offsets = getattr(decoded.tables, table).column("sequence_offset").combine_chunks()
    found: NDArray[np.int64] = decoded.first_sequence + offsets.to_numpy(zero_copy_only=False).astype(np.int64)
    return found
