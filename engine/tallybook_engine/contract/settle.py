"""Settling: from the charge lines of a contract tree to the invoices of its root, level by level from the leaves up.

A level comes to its own lines and all below. On that come, in this order, its discount, its cap, its minimum and its
credits, each a line of its own that is spread over the taxes of what it is of by largest remainder, and taxed as every
line is: by a rate of the rounded line. What a level comes to then goes into the one above it.

It is a function of its arguments alone, over integers, and walks the levels without recursion: a tree of a thousand
levels is as good as one of two.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

from tallybook_engine.catalog.compile import FOREVER_US
from tallybook_engine.catalog.model import Tax
from tallybook_engine.contract.calendars import LevelPeriods, level_periods
from tallybook_engine.contract.cap import overage
from tallybook_engine.contract.credits import Balance, in_order, pay
from tallybook_engine.contract.discount import discount_of
from tallybook_engine.contract.fixed_fee import fee_periods
from tallybook_engine.contract.invoice import Charge, Invoice, InvoiceLevel, InvoiceLine, LineKind, TaxTotal
from tallybook_engine.contract.minimum import true_up
from tallybook_engine.contract.revenue_share import in_order as shares_in_order
from tallybook_engine.contract.revenue_share import share_of
from tallybook_engine.contract.spread import spread
from tallybook_engine.contract.tree import Level, Tree
from tallybook_engine.rating.tax import tax_amount


def settled_stretch(tree: Tree, first_us: int, until_us: int) -> tuple[int, int]:
    """[start, end): the billing periods whose charge lines `settle` looks at. Empty where it looks at none.

    Where these are the contract's first or last, so is everything before or behind: lines may be of a version under
    which it began earlier or ended later.
    """
    calendars = level_periods(tree, _history(tree, first_us), until_us)
    periods = [each for calendar in calendars for each in calendar.periods]
    if not periods:
        return first_us, first_us
    start_us = -FOREVER_US if calendars[0].is_from_start else min(each.start_us for each in periods)
    return start_us, FOREVER_US if calendars[0].is_to_end else max(each.end_us for each in periods)


def settle(tree: Tree, charges: Sequence[Charge], first_us: int, until_us: int) -> list[Invoice]:
    """The invoices of the root's billing periods that touch [first_us, until_us), first to last.

    `charges` are the lines of the tree, in any order; those of other periods are left alone. They are in the tree's
    currency. Where the tree has credits, they are those from its start on, because earlier periods use them up. Raises
    InvoiceTooLargeError, and DoesNotFit where a tax leaves 2^63 minor units.
    """
    settling = _Settling(tree, level_periods(tree, _history(tree, first_us), until_us))
    settling.place(charges)
    for number in reversed(range(len(tree.levels))):
        settling.settle_level(number)
    return [each for each in settling.invoices() if each.end_us > first_us]


def _history(tree: Tree, first_us: int) -> int | None:
    """Where the first period settled lies: with credits at the start, for what is left of them comes from there."""
    return None if any(level.contract.credits for level in tree.levels) else first_us


@dataclass(slots=True)
class _Period:
    """What a level comes to in a billing period, as far as it is settled."""

    due_date: date
    lines: list[InvoiceLine] = field(default_factory=list)
    by_tax: dict[Tax | None, int] = field(default_factory=dict)
    """Own lines and all below."""
    shared: dict[str, int] = field(default_factory=dict)
    """What each charge that some revenue share is of comes to, own ones and those below."""
    levels: list[InvoiceLevel] = field(default_factory=list)

    def total(self) -> int:
        return sum(self.by_tax.values())


class _Settling:
    """One tree while it is settled."""

    def __init__(self, tree: Tree, calendars: list[LevelPeriods]) -> None:
        self._tree = tree
        self._calendars = calendars
        self._in_root: list[list[int]] = []
        """By level and period, the root's period that it belongs to."""
        self._periods: list[list[_Period]] = []
        root = calendars[0]
        terms = timedelta(days=tree.root.payment_term_days)
        for level, calendar in zip(tree.levels, calendars, strict=True):
            above = self._in_root[level.parent] if level.parent >= 0 else list(range(len(root.periods)))
            places = [above[parent] for parent in calendar.parents]
            self._in_root.append(places)
            self._periods.append([_Period(root.periods[place].end_date + terms) for place in places])
        self._shared = {
            name for level in tree.levels for share in level.contract.revenue_shares for name in share.charges
        }

    def place(self, charges: Sequence[Charge]) -> None:
        """Puts each charge line into the period of its level that holds its last instant."""
        for number in sorted(range(len(charges)), key=lambda number: charges[number].contract_path):
            charge = charges[number]
            level = self._level_of(charge)
            at = self._calendars[level].holding(charge.end_us - 1)
            if at >= 0:
                period = self._periods[level][at]
                product_contract_id = charge.contract_path[-1]
                period.lines.append(
                    InvoiceLine(
                        LineKind.CHARGE,
                        charge.contract_path,
                        product_contract_id,
                        charge.start_us,
                        charge.end_us,
                        charge.amount,
                        charge.tax_amount,
                        charge.tax,
                        period.due_date,
                        number,
                    )
                )
                self._count(period, product_contract_id, charge.amount, charge.tax)

    def _level_of(self, charge: Charge) -> int:
        """The level of a charge; the nearest one above where the tree no longer has it."""
        for name in reversed(charge.contract_path[:-1]):
            if name in self._tree.numbers:
                return self._tree.numbers[name]
        return 0

    def _count(self, period: _Period, charge_id: str, amount: int, tax: Tax | None) -> None:
        period.by_tax[tax] = period.by_tax.get(tax, 0) + amount
        if charge_id in self._shared:
            period.shared[charge_id] = period.shared.get(charge_id, 0) + amount

    def settle_level(self, number: int) -> None:
        """Settles all periods of a level; everything below it is settled."""
        if not self._periods[number]:
            return
        level, calendar = self._tree.levels[number], self._calendars[number]
        self._add_fees(number)
        shares = shares_in_order(level.contract.revenue_shares)
        balances = in_order(_balances(self._tree, level))
        for at, period in enumerate(self._periods[number]):
            for share in shares:
                amounts = [period.shared[name] for name in share.charges if name in period.shared]
                if amounts:
                    amount = share_of(amounts, share.rate)
                    self._add(number, at, LineKind.REVENUE_SHARE, share.id, amount, self._tree.tax)
                    self._count(period, share.id, amount, self._tree.tax)
            subtotal = period.total()
            self._modify(number, at, balances)
            if period.by_tax:
                dates = calendar.periods[at]
                period.levels.append(InvoiceLevel(level.path, dates.start_us, dates.end_us, subtotal, period.total()))
            if level.parent >= 0:
                self._hand_up(period, self._periods[level.parent][calendar.parents[at]])

    def _add_fees(self, number: int) -> None:
        level, calendar = self._tree.levels[number], self._calendars[number]
        contract, terms = level.contract, timedelta(days=self._tree.root.payment_term_days)
        for fee in contract.fixed_fees:
            for each in fee_periods(
                fee,
                self._tree.minor(fee.amount),
                *level.fee_calendar(fee),
                fee.start_date or contract.start_date,
                fee.end_date or level.end_date,
                contract.time_zone,
                calendar.periods[0].start_date,
            ):
                if each.start_us >= calendar.periods[-1].end_us:
                    break
                at = calendar.holding(each.billed_us)
                if at < 0:
                    continue
                period = self._periods[number][at]
                tax, due_date = self._tree.tax, each.issue_date and each.issue_date + terms
                period.lines.append(
                    InvoiceLine(
                        LineKind.FIXED_FEE,
                        level.path,
                        fee.id,
                        each.start_us,
                        each.end_us,
                        each.amount,
                        _tax_of(tax, each.amount),
                        tax,
                        due_date or period.due_date,
                    )
                )
                self._count(period, fee.id, each.amount, tax)

    def _modify(self, number: int, at: int, balances: Sequence[Balance]) -> None:
        """Discount, cap, minimum, credits: each on what those before it left."""
        contract = self._tree.levels[number].contract
        period, dates = self._periods[number][at], self._calendars[number].periods[at]

        def bound(amount: int) -> int:
            """An amount of a whole period, as much as this one has of it."""
            whole = self._tree.minor(amount)
            return dates.prorated(whole) if contract.prorate else whole

        if contract.discount is not None:
            rule = contract.discount
            discounted = discount_of(period.total(), bound(rule.threshold), rule.rate, rule.mode)
            self._spread(number, at, LineKind.DISCOUNT, "", -discounted)
        if contract.cap is not None:
            self._spread(number, at, LineKind.CAP, "", -overage(period.total(), bound(contract.cap)))
        if contract.minimum is not None:
            self._spread(number, at, LineKind.MINIMUM, "", true_up(period.total(), bound(contract.minimum)))
        for balance, used in pay(balances, period.total(), dates.start_date, dates.end_date):
            self._spread(number, at, LineKind.CREDIT, balance.id, -used)

    def _spread(self, number: int, at: int, kind: LineKind, id: str, amount: int) -> None:  # noqa: A002 - a field's name
        """Adds a modifier, a line for each tax of what it is of; one of nothing is left out."""
        if amount == 0:
            return
        by_tax = self._periods[number][at].by_tax
        weighed = {tax: by_tax[tax] for tax in sorted(by_tax, key=_tax_order) if by_tax[tax] > 0}
        weighed = weighed or {self._tree.tax: 1}
        for tax, part in zip(weighed, spread(amount, list(weighed.values())), strict=True):
            if part:
                self._add(number, at, kind, id, part, tax)
                by_tax[tax] = by_tax.get(tax, 0) + part

    def _add(self, number: int, at: int, kind: LineKind, id: str, amount: int, tax: Tax | None) -> None:  # noqa: A002
        period, dates = self._periods[number][at], self._calendars[number].periods[at]
        period.lines.append(
            InvoiceLine(
                kind,
                self._tree.levels[number].path,
                id,
                dates.start_us,
                dates.end_us,
                amount,
                _tax_of(tax, amount),
                tax,
                period.due_date,
            )
        )

    def _hand_up(self, period: _Period, above: _Period) -> None:
        for tax, amount in period.by_tax.items():
            above.by_tax[tax] = above.by_tax.get(tax, 0) + amount
        for name, amount in period.shared.items():
            above.shared[name] = above.shared.get(name, 0) + amount

    def invoices(self) -> Iterator[Invoice]:
        """One a period of the root, once all levels are settled."""
        root = self._tree.root
        lines: list[list[InvoiceLine]] = [[] for _ in self._periods[0]]
        levels: list[list[InvoiceLevel]] = [[] for _ in self._periods[0]]
        for number in _leaves_first(self._tree):
            for period, place in zip(self._periods[number], self._in_root[number], strict=True):
                lines[place] += period.lines
                levels[place] += period.levels
        for place, dates in enumerate(self._calendars[0].periods):
            yield Invoice(
                root.id,
                root.customer,
                self._tree.currency,
                dates.start_date,
                dates.end_date,
                dates.start_us,
                dates.end_us,
                dates.end_date,
                self._periods[0][place].due_date,
                tuple(lines[place]),
                tuple(levels[place]),
                _tax_totals(lines[place]),
            )


def _leaves_first(tree: Tree) -> list[int]:
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


def _balances(tree: Tree, level: Level) -> list[Balance]:
    start, end = level.contract.start_date, date.max
    return [
        Balance(each.id, each.start_date or start, each.end_date or end, tree.minor(each.amount))
        for each in level.contract.credits
    ]


def _tax_of(tax: Tax | None, amount: int) -> int:
    return 0 if tax is None else tax_amount(tax.rate, tax.mode, amount)


def _tax_order(tax: Tax | None) -> tuple[str, int, str]:
    return ("", 0, "") if tax is None else (tax.id, tax.rate, tax.mode.value)


def _tax_totals(lines: Sequence[InvoiceLine]) -> tuple[TaxTotal, ...]:
    bases: dict[Tax | None, int] = {}
    taxes: dict[Tax | None, int] = {}
    for line in lines:
        bases[line.tax] = bases.get(line.tax, 0) + line.amount_excluding_tax
        taxes[line.tax] = taxes.get(line.tax, 0) + line.tax_amount
    return tuple(TaxTotal(tax, bases[tax], taxes[tax]) for tax in sorted(bases, key=_tax_order))
