"""What each scenario changes, by customer and in total: who pays more, who less, which is cheapest for whom."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.asking import GoOn, unasked
from tallybook_engine.currencies import minor_digits
from tallybook_engine.simulation.plan import SimulationPlan
from tallybook_engine.simulation.run import PieceLines
from tallybook_engine.simulation.settlement import SettledTrees
from tallybook_engine.simulation.sums import Sums, add_lines, no_sums

_HALF = 32
_LOW = 2**32 - 1
_WITHIN = 2**30
"""High halves below this leave room for the difference of two amounts."""


@dataclass(frozen=True, slots=True)
class CustomerAmounts:
    """What n customers pay, each in one currency: rows by customer and currency, columns by catalogue; minor units.

    Amounts are int64 where all of them fit, and Python's integers where one does not.
    """

    customer_ids: tuple[str, ...]
    currencies: tuple[str, ...]
    excluding_tax: NDArray[Any]
    """[n, catalogues], as the others."""
    tax: NDArray[Any]
    difference: NDArray[Any]
    """`excluding_tax` less the baseline's."""
    is_cheapest: NDArray[np.bool_]
    """Whether no catalogue is cheaper; several may be."""

    def stretch(self, first: int, end: int) -> CustomerAmounts:
        """The rows [first, end)."""
        rows = slice(first, end)
        return CustomerAmounts(*(getattr(self, each.name)[rows] for each in fields(self)))


@dataclass(frozen=True, slots=True)
class Total:
    """All customers in one currency under one catalogue, minor units."""

    terms_number: int
    currency: str
    minor_digits: int
    excluding_tax: int
    tax: int
    difference: int
    more_count: int
    """Customers who pay more than under the baseline."""
    less_count: int
    same_count: int
    cheapest_count: int
    """Customers for whom no catalogue is cheaper."""


class Comparison:
    """Adds up pieces. Not for several threads at once."""

    def __init__(self, plan: SimulationPlan, payers: Iterable[tuple[str, str]] = (), go_on: GoOn = unasked) -> None:
        """`payers` are (customer id, currency) of those who pay something without usage; `go_on` is asked all along,
        later too.
        """
        self._plan = plan
        self._go_on = go_on
        registry = plan.registry
        without_usage = [(registry.customers.add(name), registry.currencies.add(currency)) for name, currency in payers]
        currency_of_plan = np.array([each.currency for each in plan.registry.plans], dtype=np.int64)
        self._currency_count = max(len(plan.registry.currencies), 1)
        pairs: list[NDArray[np.int64]] = []
        self._pairs = np.unique(
            np.array([customer * self._currency_count + currency for customer, currency in without_usage], np.int64)
        )
        """(customer, currency) of each group, as one number."""
        for terms in plan.terms:
            go_on()
            pairs.append(terms.customer * self._currency_count + currency_of_plan[terms.plan])
            if len(pairs) == 1 or not np.array_equal(pairs[-1], pairs[-2]):
                self._pairs = np.union1d(self._pairs, pairs[-1])
        self._group_of: list[NDArray[np.int64]] = []
        """[subjects] group of each, by catalogue."""
        for number, each in enumerate(pairs):
            go_on()
            same = number > 0 and np.array_equal(each, pairs[number - 1])
            self._group_of.append(self._group_of[-1] if same else np.searchsorted(self._pairs, each))
        self._amounts, self._taxes = (no_sums(len(plan.terms), len(self._pairs)) for _ in range(2))

    def add(self, pieces: Sequence[PieceLines]) -> None:
        """Adds a piece's lines under every catalogue."""
        for number, (terms, found) in enumerate(zip(self._plan.terms, pieces, strict=True)):
            self._go_on()
            add_lines(
                self._group_of[number],
                terms.inclusive,
                found.subject,
                found.lines.amount,
                found.lines.tax,
                Sums(self._amounts.high[number], self._amounts.low[number]),
                Sums(self._taxes.high[number], self._taxes.low[number]),
            )

    def add_settled(self, number: int, found: SettledTrees) -> None:
        """Adds what settled trees under a catalogue have beside the charge lines of usage, which come with their
        pieces.
        """
        registry, trees = self._plan.registry, found.trees
        customers, currencies = (
            np.fromiter(map(codes.add, names), dtype=np.int64, count=len(names))
            for codes, names in ((registry.customers, trees.customers), (registry.currencies, trees.currencies))
        )
        groups = np.searchsorted(self._pairs, customers * self._currency_count + currencies)
        amounts, taxes = (Sums(sums.high[number], sums.low[number]) for sums in (self._amounts, self._taxes))
        for of_trees, sums in ((found.excluding_tax, amounts), (found.tax, taxes)):
            low, high = of_trees[:, 0], of_trees[:, 1]
            # A batch of trees has far fewer lines than would leave 96 bits.
            np.add.at(sums.high, groups, ((high << np.uint64(_HALF)) | (low >> np.uint64(_HALF))).astype(np.int64))
            np.add.at(sums.low, groups, (low & np.uint64(_LOW)).astype(np.int64))
        add_lines(groups, trees.is_inclusive, found.unopened.tree, *found.unopened.amounts(), amounts, taxes)

    def customers(self) -> CustomerAmounts:
        """What customers pay under every catalogue."""
        customers, currencies = list(self._plan.registry.customers), list(self._plan.registry.currencies)
        customer, currency = np.divmod(self._pairs, self._currency_count)
        paying = [customers[code] for code in customer.tolist()]
        paid_in = [currencies[code] for code in currency.tolist()]
        # By customer, then currency: texts alone are sorted in less time than pairs of them.
        order = sorted(sorted(range(len(paying)), key=paid_in.__getitem__), key=paying.__getitem__)
        amount, tax = (_whole(sums)[order] for sums in (self._amounts, self._taxes))
        return CustomerAmounts(
            tuple([paying[at] for at in order]),
            tuple([paid_in[at] for at in order]),
            amount,
            tax,
            amount - amount[:, :1],
            np.equal(amount, amount.min(axis=1, keepdims=True)).astype(np.bool_) if paying else amount.astype(np.bool_),
        )

    def totals(self, customers: CustomerAmounts) -> list[Total]:
        """By currency, each under every catalogue; `customers` are what the method of that name answers."""
        found = []
        of_row = np.array(customers.currencies)
        for currency in sorted(set(customers.currencies)):
            rows = of_row == currency
            for number in range(len(self._plan.terms)):
                difference = customers.difference[rows, number]
                found.append(
                    Total(
                        number,
                        currency,
                        minor_digits(currency),
                        sum(customers.excluding_tax[rows, number].tolist()),
                        sum(customers.tax[rows, number].tolist()),
                        sum(difference.tolist()),
                        int((difference > 0).sum()),
                        int((difference < 0).sum()),
                        int((difference == 0).sum()),
                        int(customers.is_cheapest[rows, number].sum()),
                    )
                )
        return found


def _whole(sums: Sums) -> NDArray[Any]:
    """[groups, catalogues] sums of both halves."""
    high, low = sums.high.T, sums.low.T
    carried = high + (low >> _HALF)
    if not np.all(np.abs(carried) < _WITHIN):
        return (high.astype(object) << _HALF) + low.astype(object)
    return (carried << _HALF) + (low & _LOW)
