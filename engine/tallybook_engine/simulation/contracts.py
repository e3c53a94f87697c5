"""The product contracts of a catalogue as columns, so that thousands of them are looked at at once."""

from __future__ import annotations

import operator
from array import array
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence, Set
from datetime import date
from functools import cached_property
from itertools import chain, compress, islice, repeat
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.asking import GoOn, asking, unasked
from tallybook_engine.calendar.zones import midnight
from tallybook_engine.catalog.compile import FOREVER_US
from tallybook_engine.catalog.model import Contract, Frequency, billed_as
from tallybook_engine.contract.tree import tree_has_terms
from tallybook_engine.simulation.calendars import CalendarKey

Value = TypeVar("Value", bound=Hashable)


class Codes(Generic[Value]):
    """Values by a number each, in the order of their coming."""

    def __init__(self, values: Iterable[Value] = ()) -> None:
        self._codes = {value: code for code, value in enumerate(values)}

    def add(self, value: Value) -> int:
        """The value's number."""
        return self._codes.setdefault(value, len(self._codes))

    def add_all(self, values: Iterable[Value]) -> list[int]:
        """The number of each."""
        codes = self._codes
        return [codes.setdefault(value, len(codes)) for value in values]

    def copy(self) -> Codes[Value]:
        """The same numbers, to which others can be added."""
        twin: Codes[Value] = Codes()
        twin._codes = self._codes.copy()
        return twin

    def __iter__(self) -> Iterator[Value]:
        return iter(self._codes)

    def __len__(self) -> int:
        return len(self._codes)


class _When(NamedTuple):
    """What says when a product contract charges. Most share theirs with many others."""

    time_zone: str
    anchor: date
    billing: Frequency
    accumulation: Frequency
    start: date
    end: date | None


class ContractTable:
    """The product contracts of a catalogue, one a row."""

    def __init__(
        self, contracts: Mapping[str, Contract], base: ContractTable | None = None, go_on: GoOn = unasked
    ) -> None:
        """`contracts` are the roots by id. A table made of another one looks only at what changed."""
        self.contracts = contracts
        before: Mapping[str, Contract] = {} if base is None else base.contracts
        self.rows: dict[str, int] = {} if base is None else base.rows.copy()
        """Row of each product contract, by its id; a row of one that is gone stays, and is in no entry."""
        self.paths: list[tuple[str, ...]] = [] if base is None else base.paths.copy()
        """[rows] ids from the root contract down to the product contract."""
        self.customers: Codes[str] = Codes() if base is None else base.customers.copy()
        self.zones: Codes[str] = Codes() if base is None else base.zones.copy()
        self.plans: Codes[str] = Codes() if base is None else base.plans.copy()
        self.calendars: Codes[CalendarKey] = Codes() if base is None else base.calendars.copy()
        self._whens: Codes[_When] = Codes() if base is None else base._whens.copy()
        gone, changed = _not_among(before, contracts), _not_among(contracts, before)
        same = set() if base is None else base.with_terms - {each.id for each in gone}
        self.with_terms: Set[str] = same | {each.id for each in asking(changed, go_on) if tree_has_terms(each)}
        """Ids of the root contracts whose trees have terms."""
        ids, placed = self._placed(asking(changed, go_on))
        levels = chain.from_iterable(map(_contracts, asking(gone, go_on)))
        ids_gone = {charge.id for level in levels for charge in level.product_contracts}
        for name in ids_gone.difference(ids):
            del self.rows[name]
        if base is not None and self.paths == base.paths:
            # What is made of paths is made once.
            self.paths = base.paths
        self._codes: NDArray[np.int64] = np.zeros((3, len(self.paths)), dtype=np.int64)
        if base is not None:
            self._codes[:, : len(base.paths)] = base._codes
        self._codes[:, placed[0]] = placed[1:]
        self.customer, self.plan, when = self._codes
        """[rows] codes."""
        known = 0 if base is None else len(base._whens)
        added = [self._columns_of(each) for each in islice(self._whens, known, None)]
        self._when_columns: NDArray[np.int64] = np.array(added, dtype=np.int64).reshape(-1, 4)
        """[whens, 4] zone, calendar, start and end."""
        if base is not None:
            self._when_columns = np.concatenate([base._when_columns, self._when_columns])
        self.zone, self.calendar, self.start_us, self.end_us = np.take(self._when_columns.T, when, axis=1)
        """[rows] the first two are codes."""

    def _placed(self, roots: Iterable[Contract]) -> tuple[list[str], NDArray[np.int64]]:
        """([n] id of each product contract of these trees, [4, n] its row, customer, plan and when): the row that it
        had, or a new one.
        """
        rows, paths, whens = self.rows, self.paths, self._whens
        customer_of, plan_of, row_of = self.customers.add, self.plans.add, rows.get
        ids, placed = [], array("q")
        # Frequencies take longer to compare than to be met again; the trees keep them alive.
        met: dict[tuple[str, date, int, int, date, date | None], int] = {}
        for path in _levels(roots):
            level, billed = path[-1], billed_as(path)
            zone, starts, ends = level.time_zone, level.start_date, level.ends_on
            anchor, billing = billed.start_date, billed.billing_frequency
            customer, above = customer_of(level.customer), tuple([each.id for each in path])
            for each in level.product_contracts:
                accumulation = each.accumulation_period or billing
                start, end = each.start_date or starts, each.end_date or ends
                key = zone, anchor, id(billing), id(accumulation), start, end
                when = met.get(key)
                if when is None:
                    when = met[key] = whens.add(_When(zone, anchor, billing, accumulation, start, end))
                name = each.id
                ids_of_path = (*above, name)
                row = row_of(name)
                if row is None:
                    row = rows[name] = len(paths)
                    paths.append(ids_of_path)
                elif paths[row] != ids_of_path:
                    paths[row] = ids_of_path
                ids.append(name)
                placed.extend((row, customer, plan_of(each.plan), when))
        return ids, np.array(placed, dtype=np.int64).reshape(-1, 4).T

    def _columns_of(self, when: _When) -> tuple[int, int, int, int]:
        """Zone, calendar, start and end."""
        zone = when.time_zone
        calendar = self.calendars.add(CalendarKey(zone, when.anchor, when.billing, when.accumulation))
        end_us = FOREVER_US if when.end is None else midnight(zone, when.end)
        return self.zones.add(zone), calendar, midnight(zone, when.start), end_us

    def of(self, names: Sequence[str]) -> NDArray[np.int64]:
        """[n] row of each product contract; -1 where there is none."""
        return np.fromiter(map(self.rows.get, names, repeat(-1)), dtype=np.int64, count=len(names))

    def of_customers(self, customer_ids: Set[str]) -> NDArray[np.int64]:
        """[n] rows of all product contracts of these customers."""
        wanted = np.fromiter(
            (each in customer_ids for each in self.customers), dtype=np.bool_, count=len(self.customers)
        )
        rows = np.fromiter(self.rows.values(), dtype=np.int64, count=len(self.rows))
        return rows[wanted[self.customer[rows]]]

    @cached_property
    def rank(self) -> NDArray[np.int64]:
        """[rows] place of each row by customer, contract path and id."""
        customers = list(self.customers)
        keys = [
            (customers[customer], path[:-1], path[-1])
            for customer, path in zip(self.customer.tolist(), self.paths, strict=True)
        ]
        rank = np.empty(len(keys), dtype=np.int64)
        rank[sorted(range(len(keys)), key=keys.__getitem__)] = np.arange(len(keys))
        return rank


def contract_table(
    contracts: Mapping[str, Contract], base: ContractTable | None = None, go_on: GoOn = unasked
) -> ContractTable:
    """The table of these contracts: `base` itself where they are the same."""
    return base if base is not None and base.contracts is contracts else ContractTable(contracts, base, go_on)


def _not_among(some: Mapping[str, Contract], others: Mapping[str, Contract]) -> list[Contract]:
    """Those of some roots that are not the same object among others."""
    return list(compress(some.values(), map(operator.is_not, some.values(), map(others.get, some))))


def _contracts(root: Contract) -> Iterable[Contract]:
    """Every contract of a tree."""
    return (path[-1] for path in root.levels()) if root.sub_contracts else (root,)


def _levels(roots: Iterable[Contract]) -> Iterator[tuple[Contract, ...]]:
    """Every contract of these trees, as its path from the root."""
    for root in roots:
        # Most contracts are trees of one level.
        yield from root.levels() if root.sub_contracts else ((root,),)
