"""A form of contract trees as the numbers that settling reads: calendars and terms as places (`contract/tables`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.asking import GoOn, asking, unasked
from tallybook_engine.calendar.billing_dates import BillingPeriod
from tallybook_engine.catalog.model import Contract, DiscountMode, Tax
from tallybook_engine.contract.calendars import LevelPeriods, level_periods
from tallybook_engine.contract.cap import NO_CAP
from tallybook_engine.contract.credits import balances
from tallybook_engine.contract.discount import NO_DISCOUNT
from tallybook_engine.contract.fixed_fee import FeePeriod, fee_periods
from tallybook_engine.contract.form import AmountNumbers, amount_numbers
from tallybook_engine.contract.holding import LevelTable, PeriodTable
from tallybook_engine.contract.invoice import is_inclusive
from tallybook_engine.contract.minimum import NO_MINIMUM
from tallybook_engine.contract.revenue_share import in_order as shares_in_order
from tallybook_engine.contract.tables import (
    NEVER,
    NONE,
    CellTable,
    CreditTable,
    FeeTable,
    PlaceTable,
    ShareTable,
    SourceTable,
    TreeTables,
    ValueTable,
)
from tallybook_engine.contract.tree import Level, Tree
from tallybook_engine.contract.values import PartDays, ValueRule, ValueRules
from tallybook_engine.kernels.arrays import typed
from tallybook_engine.rating.tax import TaxPool

Integers = NDArray[np.int64]
ChargePlace = tuple[int, int | str]
"""A product contract, (level, place in its list); by its id where the level has it no more."""

_EPOCH = date(1970, 1, 1).toordinal()


class ChargeColumns(NamedTuple):
    """Product contracts of a tree."""

    level: NDArray[np.int32]
    item: NDArray[np.int32]
    """Which item of the level's places; NONE: no revenue share is of it."""


class RootBounds(NamedTuple):
    """n billing periods of a tree's root."""

    start_us: Integers
    end_us: Integers
    first_place: Integers
    """[n + 1] where the places begin that belong to each."""


@dataclass(frozen=True)
class CompiledTree:
    """A tree in numbers that count from 0; `contract/forest` puts several side by side. It is that of all trees of its
    form (`contract/form`), but for the values, which are each tree's own (`contract/values`).
    """

    taxes: tuple[Tax | None, ...]
    """Those that its lines may have, in the order in which amounts are spread over them."""
    calendars: Sequence[LevelPeriods]
    tables: TreeTables
    """Without values."""
    values: Sequence[ValueRule]
    """What its values are made of."""
    levels: LevelTable
    periods: PeriodTable
    item_count: int
    balance_count: int
    line_count_max: int
    """Lines that settling it makes, at most."""
    charge_items: Mapping[ChargePlace, int]
    """Product contract that some revenue share is of -> which item of the level's places."""
    charges: ChargeColumns
    """The tree's product contracts, level by level."""

    @property
    def has_credits(self) -> bool:
        """Whether any level has: then all is settled from its start on."""
        return len(self.tables.credits.name) > 0

    @property
    def root_periods(self) -> Sequence[BillingPeriod]:
        """The root's billing periods."""
        return self.calendars[0].periods

    @cached_property
    def root_bounds(self) -> RootBounds:
        """The root's billing periods as columns."""
        starts_us, ends_us = (
            np.array([(each.start_us, each.end_us) for each in self.root_periods], dtype=np.int64).reshape(-1, 2).T
        )
        first_place = np.searchsorted(self.tables.places.root, np.arange(len(starts_us) + 1))
        return RootBounds(starts_us, ends_us, first_place)

    @cached_property
    def tax_numbers(self) -> Mapping[Tax | None, int]:
        """Tax -> which of its taxes."""
        return {tax: number for number, tax in enumerate(self.taxes)}


def compile_tree(
    tree: Tree,
    first_us: int,
    until_us: int,
    taxes: Iterable[Tax | None],
    charges: Iterable[Sequence[str]],
    pool: TaxPool,
    go_on: GoOn = unasked,
) -> CompiledTree:
    """A tree's billing periods of the root that touch [first_us, until_us); with credits, all from its start on.

    `taxes` are those of charge lines beside the tree's own, `charges` the contract paths of product contracts with
    charge lines, beside those that the tree has; taxes are indexes of the pool. Raises InvoiceTooLargeError.
    """
    calendars = level_periods(tree, history(tree, first_us), until_us, go_on)
    go_on()
    layout = _layout(tree, calendars)
    items = _items(tree, charges)
    own_taxes = tuple(sorted({*taxes, tree.tax}, key=tax_order))
    item_count = items.count[layout.level]
    item_start = np.cumsum(item_count) - item_count
    made_item_start = item_start + items.charge_count[layout.level]
    rules, numbers = ValueRules(), _amount_numbers(tree)
    fees, fee_bounds = _fees(tree, calendars, layout, items, item_start, rules, numbers, go_on)
    shares, share_bounds, sources = _shares(tree, layout, items, item_start, rules, numbers)
    credits_table, credit_bounds = _credits(tree, rules, numbers)
    credit_count = (credit_bounds[1:] - credit_bounds[:-1])[layout.level]
    balance_start = np.cumsum(credit_count) - credit_count
    bounds = _bounds(tree, calendars, rules, numbers, go_on)
    go_on()
    discount_rate, threshold, cap, minimum, on_excess = bounds.columns[layout.order].T
    days = np.concatenate([calendar.days for calendar in calendars])
    start_day, end_day, start_us, end_us = days[layout.order].T
    count, tax_count = len(layout.order), len(own_taxes)
    cell_start = tax_count * np.arange(count)
    places = typed(
        PlaceTable,
        level=layout.level,
        period=layout.period,
        parent=layout.parent,
        following=layout.following,
        is_first=layout.period == 0,
        root=layout.root,
        root_end=np.full(count, len(calendars[0].periods)),
        start_day=start_day,
        end_day=end_day,
        start_us=start_us,
        end_us=end_us,
        cell_start=cell_start,
        cell_end=cell_start + tax_count,
        own_tax=np.full(count, own_taxes.index(tree.tax)),
        item_start=item_start,
        made_item_start=made_item_start,
        item_end=item_start + item_count,
        discount_rate=discount_rate,
        discount_threshold=threshold,
        cap=cap,
        minimum=minimum,
        discount_on_excess=on_excess,
        fee_start=fee_bounds[:-1],
        fee_end=fee_bounds[1:],
        share_start=share_bounds[:-1],
        share_end=share_bounds[1:],
        credit_start=credit_bounds[layout.level],
        credit_end=credit_bounds[layout.level + 1],
        balance_start=balance_start,
    )
    modifier_count = bounds.modifier_count + int(credit_count.sum())
    line_count_max = len(fees.amount) + len(shares.rate) + tax_count * modifier_count
    indexes = [pool.add(tax) for tax in own_taxes] * count
    cells = typed(CellTable, np.array(indexes), np.array([is_inclusive(tax) for tax in own_taxes] * count))
    tables = TreeTables(places, cells, fees, shares, sources, credits_table, typed(ValueTable, np.empty(0)))
    return CompiledTree(
        own_taxes,
        calendars,
        tables,
        rules.rules,
        *_calendar_tables(calendars, layout),
        int(item_count.sum()),
        int(credit_count.sum()),
        line_count_max,
        {charge_place(tree, level, name): item for (level, name), item in items.of_charges.items()},
        _charge_columns(tree, items),
    )


def _charge_columns(tree: Tree, items: _Items) -> ChargeColumns:
    found = [
        (number, items.of_charges.get((number, each.id), NONE))
        for number, level in enumerate(tree.levels)
        for each in level.contract.product_contracts
    ]
    return typed(ChargeColumns, *np.array(found, dtype=np.int64).reshape(-1, 2).T)


def charge_place(tree: Tree, level: int, product_contract_id: str) -> ChargePlace:
    """Where a product contract stands in a level of a tree."""
    listed = tree.levels[level].contract.product_contracts
    return level, next((at for at, each in enumerate(listed) if each.id == product_contract_id), product_contract_id)


def history(tree: Tree, first_us: int) -> int | None:
    """Where the first period settled lies: with credits at the start, for what is left of them comes from there."""
    return None if any(level.contract.credits for level in tree.levels) else first_us


def tax_order(tax: Tax | None) -> tuple[str, int, str, str]:
    """The order in which amounts are spread over taxes."""
    return ("", 0, "", "") if tax is None else (tax.id, tax.rate, tax.mode.value, tax.country_code)


class _Layout(NamedTuple):
    """The places of a tree: each is a period of a level."""

    order: Integers
    """[places] the period, counted through all levels."""
    place: list[Integers]
    """By level, the place of each of its periods."""
    above: list[Integers]
    """By level, the period of the level above that each of its periods belongs to."""
    level: Integers
    """[places], as those below."""
    period: Integers
    """Counted in its level."""
    root: Integers
    parent: Integers
    following: Integers


def _layout(tree: Tree, calendars: Sequence[LevelPeriods]) -> _Layout:
    counts = np.array([len(each.periods) for each in calendars], dtype=np.int64)
    start = np.cumsum(counts) - counts
    above = [np.array(calendar.parents, dtype=np.int64) for calendar in calendars]
    in_root: list[Integers] = []
    for level, parents in zip(tree.levels, above, strict=True):
        in_root.append(in_root[level.parent][parents] if level.parent >= 0 else parents)
    rank = np.empty(len(calendars), dtype=np.int64)
    rank[leaves_first(tree)] = np.arange(len(calendars))
    level_of = np.repeat(np.arange(len(calendars)), counts)
    period = np.arange(len(level_of)) - start[level_of]
    root = np.concatenate(in_root)
    order = np.lexsort((period, rank[level_of], root))
    place_of = np.empty(len(order), dtype=np.int64)
    place_of[order] = np.arange(len(order))
    place = np.split(place_of, start[1:])
    parent, following = (np.full(len(order), NONE, dtype=np.int64) for _ in range(2))
    for level, mine, parents in zip(tree.levels, place, above, strict=True):
        following[mine[:-1]] = mine[1:]
        if level.parent >= 0:
            parent[mine] = place[level.parent][parents]
    return _Layout(order, place, above, level_of[order], period[order], root[order], parent, following)


def leaves_first(tree: Tree) -> list[int]:
    """The levels, each behind all below it, and otherwise in the order of the catalogue."""
    below: list[list[int]] = [[] for _ in tree.levels]
    for number, level in enumerate(tree.levels):
        if level.parent >= 0:
            below[level.parent].append(number)
    # Parents before children, the last child first: read backwards, it is what is wanted.
    ordered, due = [], [0]
    while due:
        number = due.pop()
        ordered.append(number)
        due += below[number]
    return ordered[::-1]


@dataclass(frozen=True)
class _Items:
    """What revenue shares are of: (level, id) -> which item of the level's places."""

    of_charges: dict[tuple[int, str], int]
    of_terms: dict[tuple[int, str], int]
    """Fees and shares, which come behind."""
    charge_count: Integers
    """[levels] items of charge lines."""
    count: Integers
    """[levels] all items."""


def _items(tree: Tree, charges: Iterable[Sequence[str]]) -> _Items:
    shared = {name for level in tree.levels for share in level.contract.revenue_shares for name in share.charges}
    count = [0] * len(tree.levels)

    def numbered(named: Iterable[tuple[int, str]]) -> dict[tuple[int, str], int]:
        found: dict[tuple[int, str], int] = {}
        for level, name in named:
            if name in shared and (level, name) not in found:
                found[level, name] = count[level]
                count[level] += 1
        return found

    of_charges = numbered(_charges(tree, charges)) if shared else {}
    charge_count = count.copy()
    of_terms = numbered(_terms(tree)) if shared else {}
    return _Items(of_charges, of_terms, np.array(charge_count, dtype=np.int64), np.array(count, dtype=np.int64))


def _charges(tree: Tree, charges: Iterable[Sequence[str]]) -> Iterator[tuple[int, str]]:
    for number, level in enumerate(tree.levels):
        for product_contract in level.contract.product_contracts:
            yield number, product_contract.id
    for path in charges:
        yield tree.level_of(path), path[-1]


def _terms(tree: Tree) -> Iterator[tuple[int, str]]:
    for number, level in enumerate(tree.levels):
        yield from ((number, fee.id) for fee in level.contract.fixed_fees)
        yield from ((number, share.id) for share in level.contract.revenue_shares)


def _amount_numbers(tree: Tree) -> list[AmountNumbers]:
    """By level, where its amounts are among the tree's."""
    found: list[AmountNumbers] = []
    for level in tree.levels:
        found.append(amount_numbers(level.contract, found[-1].end if found else 0))
    return found


class _Bounds(NamedTuple):
    """Discounts, caps and minimums."""

    columns: Integers
    """[periods of all levels, 5] which values are the discount's rate and threshold, cap, minimum; whether the discount
    is on the excess."""
    modifier_count: int
    """How many discounts, caps and minimums these are."""


def _bounds(
    tree: Tree, calendars: Sequence[LevelPeriods], rules: ValueRules, numbers: Sequence[AmountNumbers], go_on: GoOn
) -> _Bounds:
    found, count = [], 0
    for level, calendar, of in asking(zip(tree.levels, calendars, numbers, strict=True), go_on):
        contract, periods = level.contract, calendar.periods
        if contract.prorate and periods:
            found += [_bounds_of(contract, each.part, rules, of) for each in asking(periods, go_on)]
        else:
            found += [_bounds_of(contract, None, rules, of)] * len(periods)
        kinds = contract.discount, contract.cap, contract.minimum
        count += len(periods) * sum(each is not None for each in kinds)
    return _Bounds(np.array(found, dtype=np.int64).reshape(-1, 5), count)


def _bounds_of(
    contract: Contract, part: PartDays | None, rules: ValueRules, of: AmountNumbers
) -> tuple[int, int, int, int, bool]:
    """The same of one period, which has a part of amounts."""
    if contract.discount is None:
        rate, threshold, on_excess = rules.constant(NO_DISCOUNT), rules.constant(0), False
    else:
        rate = rules.add(ValueRule(of.discount_rate, is_money=False))
        threshold = rules.add(ValueRule(of.discount_threshold, part=part, is_limit=True))
        on_excess = contract.discount.mode is DiscountMode.EXCESS
    cap = rules.constant(NO_CAP) if contract.cap is None else rules.add(ValueRule(of.cap, part=part, is_limit=True))
    minimum = rules.constant(NO_MINIMUM) if contract.minimum is None else rules.add(ValueRule(of.minimum, part=part))
    return rate, threshold, cap, minimum, on_excess


def _fees(
    tree: Tree,
    calendars: Sequence[LevelPeriods],
    layout: _Layout,
    items: _Items,
    item_start: Integers,
    rules: ValueRules,
    numbers: Sequence[AmountNumbers],
    go_on: GoOn,
) -> tuple[FeeTable, Integers]:
    """What places are billed of fixed fees, by place, and [places + 1] where that of each begins."""
    found = []
    for number, (first_name, level) in enumerate(zip(_first_names(tree), tree.levels, strict=True)):
        periods = calendars[number].periods
        for index, fee in enumerate(level.contract.fixed_fees if periods else ()):
            item = items.of_terms.get((number, fee.id), NONE)
            for at, each in _billed(level, calendars[number], index, go_on):
                place = int(layout.place[number][at])
                found.append(
                    (
                        place,
                        rules.add(ValueRule(numbers[number].first_fee + index, part=each.part)),
                        NONE if item == NONE else int(item_start[place]) + item,
                        first_name + index,
                        each.start_us,
                        each.end_us,
                        NEVER if each.issue_date is None else _day(each.issue_date),
                    )
                )
    rows = np.array(found, dtype=np.int64).reshape(-1, 7)
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    return typed(FeeTable, *rows[:, 1:].T), np.searchsorted(rows[:, 0], np.arange(len(layout.order) + 1))


def _billed(level: Level, calendar: LevelPeriods, index: int, go_on: GoOn) -> Iterator[tuple[int, FeePeriod]]:
    """The periods of a level's fee, each with the billing period that it is billed in."""
    contract, fee = level.contract, level.contract.fixed_fees[index]
    periods = fee_periods(
        fee,
        *level.fee_calendar(fee),
        fee.start_date or contract.start_date,
        fee.end_date or level.end_date,
        contract.time_zone,
        calendar.periods[0].start_date,
    )
    for each in asking(periods, go_on):
        if each.start_us >= calendar.periods[-1].end_us:
            return
        at = calendar.holding(each.billed_us)
        if at != NONE:
            yield at, each


def _shares(
    tree: Tree,
    layout: _Layout,
    items: _Items,
    item_start: Integers,
    rules: ValueRules,
    numbers: Sequence[AmountNumbers],
) -> tuple[ShareTable, Integers, SourceTable]:
    """Revenue shares by place, [places + 1] where those of each begin, and what they are of."""
    ordered = [shares_in_order(level.contract.revenue_shares) for level in tree.levels]
    share_count = np.array([len(each) for each in ordered], dtype=np.int64)
    bounds = np.concatenate([[0], np.cumsum(share_count[layout.level])])
    rate, item, name = (np.full(bounds[-1], NONE, dtype=np.int64) for _ in range(3))
    wanted: dict[str, list[tuple[int, int]]] = {}
    """Id -> the (level, share) that are of it."""
    for number, (first_name, level) in enumerate(zip(_first_names(tree), tree.levels, strict=True)):
        first_name += len(level.contract.fixed_fees)
        listed = {each.id: at for at, each in enumerate(level.contract.revenue_shares)}
        for at, share in enumerate(ordered[number]):
            mine = bounds[layout.place[number]] + at
            rate[mine] = rules.add(ValueRule(numbers[number].first_share + listed[share.id], is_money=False))
            name[mine] = first_name + listed[share.id]
            if (number, share.id) in items.of_terms:
                item[mine] = item_start[layout.place[number]] + items.of_terms[number, share.id]
            for charge in share.charges:
                wanted.setdefault(charge, []).append((number, at))
    pairs = [np.empty((0, 2), dtype=np.int64)]
    for (number, charge), which in (*items.of_charges.items(), *items.of_terms.items()):
        source = item_start[layout.place[number]] + which
        above, period = number, np.arange(len(source))
        while above >= 0:
            for of, at in wanted[charge]:
                if of == above:
                    pairs.append(np.column_stack([bounds[layout.place[above][period]] + at, source]))
            if tree.levels[above].parent >= 0:
                period = layout.above[above][period]
            above = tree.levels[above].parent
    sources = np.concatenate(pairs)
    sources = sources[np.argsort(sources[:, 0], kind="stable")]
    starts = np.searchsorted(sources[:, 0], np.arange(bounds[-1] + 1))
    return typed(ShareTable, rate, item, starts[:-1], starts[1:], name), bounds, typed(SourceTable, sources[:, 1])


def _credits(tree: Tree, rules: ValueRules, numbers: Sequence[AmountNumbers]) -> tuple[CreditTable, Integers]:
    """Credits by level, and [levels + 1] where those of each begin."""
    found, bounds = [], [0]
    for first_name, level, of in zip(_first_names(tree), tree.levels, numbers, strict=True):
        contract = level.contract
        first_name += len(contract.fixed_fees) + len(contract.revenue_shares)
        listed = {each.id: at for at, each in enumerate(contract.credits)}
        for balance in balances(contract) if contract.credits else ():
            at = listed[balance.id]
            amount = rules.add(ValueRule(of.first_credit + at))
            found.append((amount, _day(balance.start_date), _day(balance.end_date), first_name + at))
        bounds.append(len(found))
    return typed(CreditTable, *np.array(found, dtype=np.int64).reshape(-1, 4).T), np.array(bounds)


def _first_names(tree: Tree) -> Iterator[int]:
    """By level, where its ids begin in `Tree.term_ids`."""
    first = 0
    for level in tree.levels:
        yield first
        first += _term_count(level.contract)


def _term_count(contract: Contract) -> int:
    return len(contract.fixed_fees) + len(contract.revenue_shares) + len(contract.credits)


def _calendar_tables(calendars: Sequence[LevelPeriods], layout: _Layout) -> tuple[LevelTable, PeriodTable]:
    """The calendars as `contract/holding` looks through them."""
    ends = np.cumsum([len(each.periods) for each in calendars])
    levels = typed(
        LevelTable,
        np.concatenate([[0], ends[:-1]]),
        ends,
        np.array([each.end_us for each in calendars]),
        np.array([each.is_from_start for each in calendars]),
        np.array([each.is_to_end for each in calendars]),
    )
    starts_us = np.concatenate([each.starts_us for each in calendars])
    return levels, typed(PeriodTable, starts_us, np.concatenate(layout.place))


def _day(day: date) -> int:
    return day.toordinal() - _EPOCH
