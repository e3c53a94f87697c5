"""Where the charge lines of a simulation lie in the trees that are settled (`contract/forest`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.contract.compile import charge_place
from tallybook_engine.contract.forest import Forest, Planted
from tallybook_engine.contract.tables import NONE, MoveColumns
from tallybook_engine.contract.tree import Tree
from tallybook_engine.kernels.arrays import typed


class TreeDoesNotFitError(ArithmeticError):
    """What a level of a tree comes to, a charge line or a tax of it, would leave the limits."""

    def __init__(self, contract_id: str) -> None:
        super().__init__(f'contract "{contract_id}": an amount would leave the limits')
        self.contract_id = contract_id


class PlacedCharges(NamedTuple):
    """Charge lines, tree by tree, and where they lie."""

    tree: NDArray[np.int64]
    moves: MoveColumns

    def with_others(self, others: PlacedCharges) -> PlacedCharges:
        """These and others, tree by tree."""
        if not len(others.tree):
            return self
        tree = np.concatenate([self.tree, others.tree])
        order = np.argsort(tree, kind="stable")
        columns = [np.concatenate([one, other])[order] for one, other in zip(self.moves, others.moves, strict=True)]
        return PlacedCharges(tree[order], MoveColumns._make(columns))


def levels_and_items(
    charges: Iterable[tuple[Sequence[str], int]], trees: Sequence[Tree], planted: Sequence[Planted]
) -> NDArray[np.int32]:
    """[n, 2] of n product contracts, each by its path and which tree it is of: its level in the forest, and which item
    of the level's places it is, NONE where no revenue share is of it.
    """
    found = []
    for path, number in charges:
        tree, where = trees[number], planted[number]
        of, items = tree.numbers[path[-2]], where.compiled.charge_items
        found.append((where.level_first + of, items.get(charge_place(tree, of, path[-1]), NONE) if items else NONE))
    return np.array(found, dtype=np.int32).reshape(-1, 2)


def moves_at(
    forest: Forest, place: NDArray[np.int32], item: NDArray[np.int32], amount: NDArray[np.int64]
) -> MoveColumns:
    """Charge lines in their places, each with its item of its level's places."""
    items = np.where(item == NONE, NONE, forest.tables.places.item_start[place] + item)
    # All are taxed by the tax of their customer's country, which is the tree's.
    return typed(MoveColumns, place, np.zeros(len(place)), items, amount)
