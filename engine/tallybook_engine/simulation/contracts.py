"""The product contracts of a catalogue as columns, so that thousands of them are looked at at once."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence, Set
from datetime import date
from functools import cached_property
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.asking import GoOn, asking, unasked
from tallybook_engine.calendar.zones import midnight
from tallybook_engine.catalog.compile import FOREVER_US
from tallybook_engine.catalog.model import Contract, ProductContract, billed_as
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

    def __iter__(self) -> Iterator[Value]:
        return iter(self._codes)

    def __len__(self) -> int:
        return len(self._codes)


class ContractTable:
    """The product contracts of a catalogue, one a row."""

    def __init__(
        self, contracts: Mapping[str, Contract], base: ContractTable | None = None, go_on: GoOn = unasked
    ) -> None:
        """`contracts` are the roots by id. A table made of another one looks only at what changed."""
        self.contracts = contracts
        before: Mapping[str, Contract] = {} if base is None else base.contracts
        self.rows: dict[str, int] = {} if base is None else dict(base.rows)
        """Row of each product contract, by its id; a row of one that is gone stays, and is in no entry."""
        self.paths: list[tuple[str, ...]] = [] if base is None else list(base.paths)
        """[rows] ids from the root contract down to the product contract."""
        self.customers: Codes[str] = Codes(() if base is None else base.customers)
        self.zones: Codes[str] = Codes(() if base is None else base.zones)
        self.plans: Codes[str] = Codes(() if base is None else base.plans)
        self.calendars: Codes[CalendarKey] = Codes(() if base is None else base.calendars)
        gone = [root for name, root in before.items() if contracts.get(name) is not root]
        changed = [root for name, root in contracts.items() if before.get(name) is not root]
        for path in _levels(asking(gone, go_on)):
            for each in path[-1].product_contracts:
                del self.rows[each.id]
        same = set() if base is None else {each for each in base.with_terms if contracts.get(each) is before[each]}
        self.with_terms: Set[str] = same | {each.id for each in asking(changed, go_on) if tree_has_terms(each)}
        """Ids of the root contracts whose trees have terms."""
        self._met: dict[tuple[str, date, int, int, date, date | None], tuple[int, int, int, int]] = {}
        """When product contracts charge, by what says so; frequencies by identity, `contracts` keeps them alive."""
        where, entries = self._placed(asking(changed, go_on), {} if base is None else base.rows)
        self._columns = np.zeros((len(self.paths), 6), dtype=np.int64)
        if base is not None:
            self._columns[: len(base.paths)] = base._columns
        if where:
            self._columns[where] = entries
        self.customer, self.plan, self.zone, self.calendar, self.start_us, self.end_us = self._columns.T
        """[rows] each; the first four are codes."""

    def _placed(
        self, roots: Iterable[Contract], rows: Mapping[str, int]
    ) -> tuple[list[int], list[tuple[int, int, int, int, int, int]]]:
        """([n] row of each product contract of these trees, [n] its columns): the row that it had, or a new one."""
        where, entries = [], []
        for path in _levels(roots):
            level, billed = path[-1], billed_as(path)
            above, customer = tuple([each.id for each in path]), self.customers.add(level.customer)
            for each in level.product_contracts:
                ids = (*above, each.id)
                row = rows.get(each.id)
                if row is None:
                    row = len(self.paths)
                    self.paths.append(ids)
                elif self.paths[row] != ids:
                    self.paths[row] = ids
                self.rows[each.id] = row
                where.append(row)
                entries.append((customer, self.plans.add(each.plan), *self._when(level, billed, each)))
        return where, entries

    def _when(self, contract: Contract, billed: Contract, each: ProductContract) -> tuple[int, int, int, int]:
        """Zone, calendar, start and end of a product contract. Most share theirs with others."""
        billing = billed.billing_frequency
        accumulation = each.accumulation_period or billing
        start, end = each.start_date or contract.start_date, each.end_date or contract.ends_on
        # Frequencies take longer to compare than to be met again.
        key = contract.time_zone, billed.start_date, id(billing), id(accumulation), start, end
        found = self._met.get(key)
        if found is None:
            zone = contract.time_zone
            calendar = self.calendars.add(CalendarKey(zone, billed.start_date, billing, accumulation))
            end_us = FOREVER_US if end is None else midnight(zone, end)
            found = self._met[key] = self.zones.add(zone), calendar, midnight(zone, start), end_us
        return found

    def of(self, names: Sequence[str]) -> NDArray[np.int64]:
        """[n] row of each product contract; -1 where there is none."""
        find = self.rows.get
        return np.fromiter((find(name, -1) for name in names), dtype=np.int64, count=len(names))

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


def _levels(roots: Iterable[Contract]) -> Iterator[tuple[Contract, ...]]:
    """Every contract of these trees, as its path from the root."""
    for root in roots:
        # Most contracts are trees of one level.
        yield from root.levels() if root.sub_contracts else ((root,),)
