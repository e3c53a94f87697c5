"""The contract trees of a simulation as columns, so that thousands of them are looked at at once.

A tree is read once, under however many catalogues: these share the contracts that they do not change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tallybook_engine.asking import GoOn, asking
from tallybook_engine.catalog.model import Catalog, Contract, Tax
from tallybook_engine.contract.form import Form, form_of_levels
from tallybook_engine.contract.invoice import is_inclusive
from tallybook_engine.contract.tree import Tree, levels_in, tree_in
from tallybook_engine.currencies import minor_digits
from tallybook_engine.decimals import QUANTITY_SCALE
from tallybook_engine.ledger.stage import ranges
from tallybook_engine.simulation.contracts import Codes

Integers = NDArray[np.int64]
NO_PARENT = -1


class Numbered(NamedTuple):
    """Lists of trees, one behind the other."""

    start: Integers
    """[trees] where the list of each begins."""
    names: pa.Array
    """Ids."""


class TreePool:
    """Contract trees, each read once."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}
        """By the identity of a root contract, which is kept alive."""
        self.roots: list[Contract] = []
        self._forms: Codes[Form] = Codes()
        self.form: list[int] = []
        """Number of each tree's form, whatever it is taxed by."""
        self.amounts: list[list[int]] = []
        """As `contract/form` has them."""
        self.first_plan: list[str] = []
        """Id of its first plan; empty: it has none."""
        self.charges: list[tuple[str, ...]] = []
        """Ids of its product contracts, level by level."""
        self._level_start: list[int] = []
        self._levels: list[str] = []
        self._parents: list[int] = []
        """[levels] the level above, of all levels."""
        self._depths: list[int] = []
        """[levels] how many are above it."""
        self._term_start: list[int] = []
        self._terms: list[str] = []
        self._names: tuple[Numbered, Numbered] | None = None

    def add(self, root: Contract) -> int:
        """The number of a tree."""
        number = self._numbers.get(id(root))
        if number is None:
            number = self._numbers[id(root)] = len(self.roots)
            self.roots.append(root)
            self._read(root)
        return number

    def _read(self, root: Contract) -> None:
        first = len(self._levels)
        self._names = None
        self._level_start.append(first)
        self._term_start.append(len(self._terms))
        levels, parents, depths, terms = self._levels, self._parents, self._depths, self._terms
        of_form = []
        charges: tuple[str, ...] = ()
        plan = ""
        for contract, parent, billed in levels_in(root):
            of_form.append((contract, parent, billed.billing_frequency, billed.start_date))
            levels.append(contract.id)
            parents.append(NO_PARENT if parent < 0 else first + parent)
            depths.append(0 if parent < 0 else depths[first + parent] + 1)
            if contract.product_contracts:
                plan = plan or contract.product_contracts[0].plan
                charges += tuple([each.id for each in contract.product_contracts])
            # In the order of `Tree.term_ids`; most levels have none of these.
            if contract.fixed_fees:
                terms += [each.id for each in contract.fixed_fees]
            if contract.revenue_shares:
                terms += [each.id for each in contract.revenue_shares]
            if contract.credits:
                terms += [each.id for each in contract.credits]
        form, amounts = form_of_levels(of_form)
        self.form.append(self._forms.add(form))
        self.amounts.append(amounts)
        self.first_plan.append(plan)
        self.charges.append(charges)

    def names(self) -> tuple[Numbered, Numbered]:
        """(ids of the levels of all trees, parents before children; ids of their fees, shares and credits, as
        `Tree.term_ids` has them).
        """
        if self._names is None:
            level_start, term_start = (
                np.array(starts, dtype=np.int64) for starts in (self._level_start, self._term_start)
            )
            levels, terms = (pa.array(each, pa.string()) for each in (self._levels, self._terms))
            self._names = Numbered(level_start, levels), Numbered(term_start, terms)
        return self._names

    def paths(self, rows: Integers) -> pa.Array:
        """[n] ids from the root down to each of n levels, counted through all trees."""
        parents, depths = np.array(self._parents, dtype=np.int64), np.array(self._depths, dtype=np.int64)
        is_wanted = np.zeros(len(parents), dtype=np.bool_)
        is_wanted[rows] = True
        level = np.flatnonzero(is_wanted)
        ends = np.cumsum(depths[level] + 1)
        along = np.empty(ends[-1] if len(ends) else 0, dtype=np.int64)
        at, place = level, ends - 1
        while len(at):
            along[place] = at
            is_below = parents[at] != NO_PARENT
            at, place = parents[at[is_below]], place[is_below] - 1
        starts = ends - (depths[level] + 1)
        mine = (np.cumsum(is_wanted) - 1)[rows]
        offsets = np.concatenate([[0], np.cumsum(depths[rows] + 1)])
        names = self.names()[0].names.take(pa.array(along[ranges(starts[mine], ends[mine])]))
        return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), names)


class ChargeNumbers(NamedTuple):
    """The product contracts of n trees."""

    rows: Mapping[str, int]
    """Id -> its row in the columns."""
    tree: Integers
    number: Integers
    """Counted in its tree, level by level."""


@dataclass(frozen=True)
class Trees:
    """n trees under one catalogue."""

    pool: TreePool
    number: Integers
    """[n] of the pool."""
    roots: Sequence[Contract]
    currencies: Sequence[str]
    """ISO 4217 code; empty where a tree has neither plans nor one of its own."""
    taxes: Sequence[Tax | None]
    """What lines are taxed by that stand for no product."""

    def stretch(self, first: int, end: int) -> Trees:
        """The trees [first, end)."""
        mine = slice(first, end)
        return Trees(self.pool, self.number[mine], self.roots[mine], self.currencies[mine], self.taxes[mine])

    @cached_property
    def customers(self) -> list[str]:
        """Their ids."""
        return [each.customer for each in self.roots]

    @cached_property
    def minor_digits(self) -> Integers:
        """Decimals of each one's currency."""
        digits = {each: minor_digits(each) if each else 0 for each in set(self.currencies)}
        return np.array([digits[each] for each in self.currencies], dtype=np.int64)

    @cached_property
    def minor_unit(self) -> Integers:
        """Each currency's smallest unit, scale 12."""
        return np.power(10, QUANTITY_SCALE - self.minor_digits)

    @cached_property
    def is_inclusive(self) -> NDArray[np.bool_]:
        """Whether amounts contain their tax."""
        seen: dict[int, bool] = {}
        for each in self.taxes:
            if id(each) not in seen:
                seen[id(each)] = is_inclusive(each)
        return np.array([seen[id(each)] for each in self.taxes], dtype=np.bool_)

    @cached_property
    def forms(self) -> Integers:
        """[n] a number for each form and tax."""
        taxes: Codes[Tax | None] = Codes()
        of_tax = {id(each): each for each in self.taxes}
        codes = {key: taxes.add(tax) for key, tax in of_tax.items()}
        tax = np.array([codes[id(each)] for each in self.taxes], dtype=np.int64)
        return np.array(self.pool.form, dtype=np.int64)[self.number] * max(len(taxes), 1) + tax

    @cached_property
    def charges(self) -> ChargeNumbers:
        """Their product contracts."""
        names = [self.pool.charges[number] for number in self.number.tolist()]
        counts = np.array([len(each) for each in names], dtype=np.int64)
        rows = dict(zip(chain.from_iterable(names), range(int(counts.sum())), strict=True))
        tree = np.repeat(np.arange(len(names)), counts)
        return ChargeNumbers(rows, tree, np.arange(len(tree)) - (np.cumsum(counts) - counts)[tree])

    def tree(self, at: int) -> Tree:
        """One of them, by itself."""
        return tree_in(self.roots[at], self.currencies[at], self.taxes[at])

    def amounts(self, of: Integers) -> list[list[int]]:
        """Rates and amounts of some of them, as `contract/form` has them."""
        return [self.pool.amounts[number] for number in self.number[of].tolist()]


def trees_of(pool: TreePool, catalog: Catalog, root_ids: Sequence[str], go_on: GoOn) -> Trees:
    """The trees of some root contracts under a catalogue. `go_on` is asked now and again."""
    roots = [catalog.contracts[each] for each in root_ids]
    numbers = [pool.add(each) for each in asking(roots, go_on)]
    plans, customers, first_plan = catalog.plans, catalog.customers, pool.first_plan
    of_plan = {name: plans[name].currency for name in {first_plan[each] for each in numbers} if name}
    currencies = [
        root.currency or of_plan.get(first_plan[number], "") for root, number in zip(roots, numbers, strict=True)
    ]
    taxes: dict[str, Tax] = {}
    for tax in catalog.taxes.values():
        taxes.setdefault(tax.country_code, tax)
    of_root = [taxes.get(customers[each.customer].country_code) for each in roots]
    return Trees(pool, np.array(numbers, dtype=np.int64), roots, currencies, of_root)
