"""Compiled trees side by side in tables that grow, and what they come to, kept up as charge lines move."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.asking import GoOn, unasked
from tallybook_engine.calendar.billing_dates import BillingPeriod
from tallybook_engine.catalog.model import Tax
from tallybook_engine.contract.compile import CompiledTree, charge_place, compile_tree
from tallybook_engine.contract.form import Form, form_of
from tallybook_engine.contract.holding import LevelTable, PeriodTable, find_places
from tallybook_engine.contract.settling import settle_all, settle_trees
from tallybook_engine.contract.tables import (
    NONE,
    BalanceState,
    CellState,
    CellTable,
    CreditTable,
    FeeTable,
    ItemState,
    LineColumns,
    MadeLines,
    MoveColumns,
    PlaceState,
    PlaceTable,
    Room,
    RootState,
    SettlingState,
    ShareTable,
    SourceTable,
    TreeTables,
    ValueTable,
)
from tallybook_engine.contract.tree import Tree
from tallybook_engine.contract.values import amount_columns, values_of
from tallybook_engine.decimals import DoesNotFit
from tallybook_engine.kernels.arrays import column_types
from tallybook_engine.kernels.growing import GrowingTable
from tallybook_engine.kernels.wide import from_limbs
from tallybook_engine.rating.tax import TaxPool, TaxTables

_LIMBS: dict[type[Any], dict[str, int]] = {
    CellState: {"sum": 2},
    PlaceState: {"excluding_tax": 2, "tax": 2},
    RootState: {"excluding_tax": 2, "tax": 2},
    ItemState: {"sum": 2},
}
_COUNTS = {
    "places": {"parent", "following"},
    "roots": {"root", "root_end"},
    "cells": {"cell_start", "cell_end"},
    "items": {"item_start", "made_item_start", "item_end", "item"},
    "fees": {"fee_start", "fee_end"},
    "shares": {"share_start", "share_end"},
    "sources": {"source_start", "source_end"},
    "credits": {"credit_start", "credit_end"},
    "balances": {"balance_start"},
    "values": {"discount_rate", "discount_threshold", "cap", "minimum", "amount", "rate"},
    "periods": {"period_start", "period_end"},
}
_COUNTED_IN = {name: counted for counted, names in _COUNTS.items() for name in names} | {"place": "places"}
"""Column -> what its numbers count."""


@dataclass(frozen=True)
class Planted:
    """A tree of a forest, and where its rows are."""

    tree: Tree
    compiled: CompiledTree
    level_first: int
    """Its root, of all levels; the others behind it as in the tree."""
    place_first: int
    place_end: int
    root_first: int
    """The first of its root's billing periods, of all roots'."""
    root_end: int

    @property
    def root_periods(self) -> Sequence[BillingPeriod]:
        """Its root's billing periods."""
        return self.compiled.root_periods


class TreeValues(NamedTuple):
    """Values of n trees (`contract/values`)."""

    value: NDArray[np.int64]
    first: NDArray[np.int64]
    """[n] where those of each begin."""

    def of(self, first: int, end: int) -> TreeValues:
        """Those of the trees [first, end)."""
        return TreeValues(self.value, self.first[first:end])


class Forest:
    """Trees side by side, and what they come to. Not for several threads at once."""

    def __init__(self) -> None:
        self._taxes = TaxPool()
        self._compiled: dict[Hashable, CompiledTree] = {}
        tables = (PlaceTable, CellTable, FeeTable, ShareTable, SourceTable, CreditTable, ValueTable)
        states = (CellState, PlaceState, RootState, ItemState, BalanceState)
        self._tables: list[GrowingTable[Any]] = [GrowingTable(each) for each in tables]
        self._calendars: list[GrowingTable[Any]] = [GrowingTable(each) for each in (LevelTable, PeriodTable)]
        self._states: list[GrowingTable[Any]] = [GrowingTable(each, _LIMBS.get(each)) for each in states]
        self._room = _room(1)

    @property
    def tables(self) -> TreeTables:
        """All trees; like `state` and `taxes` to be asked for anew after one was added."""
        return TreeTables(*(each.arrays for each in self._tables))

    @property
    def state(self) -> SettlingState:
        """What they come to."""
        cells, places, roots, items, balances = (each.arrays for each in self._states)
        return SettlingState(cells, places, roots, items, balances, self._room)

    @property
    def taxes(self) -> TaxTables:
        """Their taxes."""
        return self._taxes.tables

    def add(
        self,
        tree: Tree,
        first_us: int,
        until_us: int,
        taxes: Iterable[Tax | None] = (),
        charges: Iterable[Sequence[str]] = (),
        go_on: GoOn = unasked,
    ) -> Planted:
        """Adds a tree with its values. It comes to nothing until it is settled.

        Compiles it (`compile_tree`), unless one of its form was. Raises InvoiceTooLargeError, and DoesNotFit where a
        fee, a minimum or a credit is not below 2^63 minor units.
        """
        form, amounts = form_of(tree)
        compiled = self._compile(
            form, tree, first_us, until_us, frozenset(taxes), frozenset(map(tuple, charges)), go_on
        )
        values, fits = values_of(compiled.values, amount_columns([amounts]), np.array([tree.minor_unit]))
        if not fits[0]:
            raise DoesNotFit("a fee, a minimum or a credit is not below 2^63 minor units")
        planted = self._plant(tree, compiled)
        self._tables[-1].extend(ValueTable(values[0]))
        return planted

    def add_form(self, form: Form, tree: Tree, first_us: int, until_us: int, go_on: GoOn = unasked) -> Planted:
        """Adds a form without values, which are those of each of its trees as it is settled: then no tree has values of
        its own here. `tree` is one of the form. Raises InvoiceTooLargeError.
        """
        return self._plant(tree, self._compile(form, tree, first_us, until_us, frozenset(), frozenset(), go_on))

    def _compile(
        self,
        form: Form,
        tree: Tree,
        first_us: int,
        until_us: int,
        taxes: frozenset[Tax | None],
        charges: frozenset[tuple[str, ...]],
        go_on: GoOn,
    ) -> CompiledTree:
        strangers = frozenset(charge_place(tree, tree.level_of(path), path[-1]) for path in charges)
        key = form, first_us, until_us, taxes, strangers
        if key not in self._compiled:
            self._compiled[key] = compile_tree(tree, first_us, until_us, taxes, charges, self._taxes, go_on)
        return self._compiled[key]

    def _plant(self, tree: Tree, compiled: CompiledTree) -> Planted:
        cells, places, roots, items, balances = self._states
        counts = {
            "places": len(places),
            "roots": len(roots),
            "cells": len(cells),
            "items": len(items),
            "balances": len(balances),
            **{name: len(table) for name, table in zip(TreeTables._fields, self._tables, strict=True)},
            "periods": len(self._calendars[1]),
        }
        level_first = len(self._calendars[0])
        mine: list[Any] = [*compiled.tables, compiled.levels, compiled.periods]
        for table, rows in zip([*self._tables, *self._calendars], mine, strict=True):
            table.extend(_moved(rows, counts))
        root_count, place_count = len(compiled.root_periods), len(compiled.tables.places.level)
        more = (len(compiled.tables.cells.tax), place_count, root_count, compiled.item_count, compiled.balance_count)
        for state, count in zip(self._states, more, strict=True):
            state.extend(_nothing(type(state.arrays), count))
        if len(compiled.taxes) > len(self._room.current):
            self._room = _room(len(compiled.taxes))
        return Planted(
            tree,
            compiled,
            level_first,
            counts["places"],
            counts["places"] + place_count,
            counts["roots"],
            counts["roots"] + root_count,
        )

    def settle_all(self, planted: Planted) -> bool:
        """Settles a tree from nothing, without charge lines; whether it fits."""
        places = planted.place_first, planted.place_end
        return settle_all(self.tables, self.state, self.taxes, no_lines(), *places)

    def adjustment(self, root: int) -> tuple[int, int]:
        """(without tax, tax) of all lines but charge lines of a root's billing period, minor units."""
        roots = self.state.roots
        return from_limbs(*roots.excluding_tax[root]), from_limbs(*roots.tax[root])

    def find_places(self, level: NDArray[np.int32], end_us: NDArray[np.int64]) -> NDArray[np.int32]:
        """[n] places in which charge lines are billed, by their level, of all, and by where their billing periods end;
        NONE where that is not settled.
        """
        place = np.empty(len(level), dtype=np.int32)
        levels, periods = (each.arrays for each in self._calendars)
        find_places(levels, periods, level, end_us - 1, place)
        return place

    def place_of(self, planted: Planted, contract_path: Sequence[str], end_us: int) -> int:
        """The same of one charge line of a tree."""
        level = planted.level_first + planted.tree.level_of(contract_path)
        return int(self.find_places(np.array([level], np.int32), np.array([end_us], np.int64))[0])

    def settle_trees(
        self,
        first_place: NDArray[np.int32],
        first_shown: NDArray[np.int32],
        end_place: NDArray[np.int32],
        charges: MoveColumns,
        charge_start: NDArray[np.int64],
        made: MadeLines,
        values: TreeValues | None = None,
    ) -> tuple[int, NDArray[np.uint64], NDArray[np.uint64]]:
        """(the first of n trees that does not fit or NONE, [n, 2] what their lines but charge lines come to without
        tax, [n, 2] and their tax): each settled from its charge lines alone (`contract/settling`).

        `values` are those of trees whose forms were added without; None: all were added with theirs.
        """
        excluding_tax, tax = (np.empty((len(first_place), 2), dtype=np.uint64) for _ in range(2))
        tables = self.tables
        first_value = np.zeros(len(first_place), dtype=np.int64)
        if values is not None:
            tables, first_value = tables._replace(values=ValueTable(values.value)), values.first
        failed = settle_trees(
            tables,
            self.state,
            self.taxes,
            made,
            first_place,
            first_shown,
            end_place,
            charges,
            charge_start,
            first_value,
            excluding_tax,
            tax,
        )
        return failed, excluding_tax, tax

    def item_of(self, planted: Planted, contract_path: Sequence[str], place: int) -> int:
        """The item of a product contract's lines in a place; NONE where no revenue share is of it."""
        items = planted.compiled.charge_items
        if not items:
            return NONE
        number = items.get(charge_place(planted.tree, planted.tree.level_of(contract_path), contract_path[-1]))
        return NONE if number is None else int(self._tables[0].arrays.item_start[place]) + number


def _moved(rows: Any, counts: dict[str, int]) -> Any:
    """Rows of a compiled tree, whose numbers count from its own first rows on."""
    by_column = ((column, counts.get(_COUNTED_IN.get(name, ""), 0)) for name, column in rows._asdict().items())
    return rows._make(
        np.where(column == NONE, NONE, column + count) if count else column for column, count in by_column
    )


def _nothing(table: type[NamedTuple], count: int) -> Any:
    """So many rows of zeros."""
    widths: dict[str, int] = _LIMBS.get(table, {})
    return table._make(
        np.zeros((count, widths[name]) if name in widths else count, dtype=of)
        for name, of in zip(table._fields, column_types(table), strict=True)
    )


def _room(tax_count: int) -> Room:
    return Room(
        np.zeros(tax_count, np.int64),
        np.zeros(tax_count, np.int64),
        np.zeros(tax_count, np.uint64),
        np.zeros((2, 2), np.uint64),
        np.zeros(1, np.int32),
        np.zeros(1, np.int64),
    )


def line_room(count: int, are_wanted: bool = True) -> MadeLines:
    """Room for so many lines."""
    columns = (np.empty(count, dtype=of) for of in column_types(LineColumns))
    return MadeLines(
        LineColumns._make(columns), np.array([are_wanted]), np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int32)
    )


def no_lines() -> MadeLines:
    """For lines that nobody wants."""
    return line_room(0, are_wanted=False)
