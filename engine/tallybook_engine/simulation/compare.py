"""What each scenario changes, by customer and in total: who pays more, who less, which is cheapest for whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tallybook_engine.currencies import minor_digits
from tallybook_engine.simulation.plan import SimulationPlan
from tallybook_engine.simulation.run import PieceLines

_HALF = np.int64(32)
_LOW = np.int64(2**32 - 1)


@dataclass(frozen=True, slots=True)
class CustomerAmount:
    """What one customer pays in one currency under one catalogue, minor units."""

    customer_id: str
    currency: str
    terms_number: int
    excluding_tax: int
    tax: int
    difference: int
    """`excluding_tax` less the baseline's."""
    is_cheapest: bool
    """Whether no catalogue is cheaper; several may be."""


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

    def __init__(self, plan: SimulationPlan) -> None:
        self._plan = plan
        self._numbers: dict[tuple[str, str], int] = {}
        """(customer, currency) -> group"""
        self._group_of = [
            np.array(
                [
                    self._numbers.setdefault((each.customer_id, each.currency), len(self._numbers))
                    for each in terms.definitions
                ],
                dtype=np.int64,
            )
            for terms in plan.terms
        ]
        shape = (len(plan.terms), len(self._numbers))
        # A sum of many int64 may leave it: high and low halves are added apart.
        self._sums = {name: np.zeros(shape, dtype=np.int64) for name in ("amount", "amount_low", "tax", "tax_low")}

    def add(self, pieces: Sequence[PieceLines]) -> None:
        """Adds a piece's lines under every catalogue."""
        for number, (terms, found) in enumerate(zip(self._plan.terms, pieces, strict=True)):
            groups = self._group_of[number][found.subject]
            tax = found.lines.tax
            # Both are minor units, and an inclusive amount's tax is a part of it.
            excluding = np.where(terms.inclusive[found.subject], found.lines.amount - tax, found.lines.amount)
            for name, values in (("amount", excluding), ("tax", tax)):
                np.add.at(self._sums[name][number], groups, values >> _HALF)
                np.add.at(self._sums[f"{name}_low"][number], groups, values & _LOW)

    def customers(self) -> list[CustomerAmount]:
        """By customer and currency, each under every catalogue."""
        amounts, taxes = self._whole("amount"), self._whole("tax")
        found = []
        for (customer_id, currency), group in sorted(self._numbers.items()):
            of_group = [amounts[number][group] for number in range(len(self._plan.terms))]
            cheapest = min(of_group)
            found += [
                CustomerAmount(
                    customer_id,
                    currency,
                    number,
                    amount,
                    taxes[number][group],
                    amount - of_group[0],
                    amount == cheapest,
                )
                for number, amount in enumerate(of_group)
            ]
        return found

    def totals(self, customers: Sequence[CustomerAmount]) -> list[Total]:
        """By currency, each under every catalogue; `customers` are what the method of that name answers."""
        by_total: dict[tuple[str, int], list[CustomerAmount]] = {}
        for each in customers:
            by_total.setdefault((each.currency, each.terms_number), []).append(each)
        return [
            Total(
                number,
                currency,
                minor_digits(currency),
                sum(each.excluding_tax for each in group),
                sum(each.tax for each in group),
                sum(each.difference for each in group),
                sum(each.difference > 0 for each in group),
                sum(each.difference < 0 for each in group),
                sum(each.difference == 0 for each in group),
                sum(each.is_cheapest for each in group),
            )
            for (currency, number), group in sorted(by_total.items())
        ]

    def _whole(self, name: str) -> list[list[int]]:
        high, low = self._sums[name], self._sums[f"{name}_low"]
        return [
            [(one << 32) + other for one, other in zip(high[number].tolist(), low[number].tolist(), strict=True)]
            for number in range(len(high))
        ]
