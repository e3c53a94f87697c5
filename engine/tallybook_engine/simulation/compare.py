"""What each scenario changes, by customer and in total: who pays more, who less, which is cheapest for whom."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.contract.invoice import Invoice
from tallybook_engine.currencies import minor_digits
from tallybook_engine.simulation.plan import SimulationPlan
from tallybook_engine.simulation.run import PieceLines
from tallybook_engine.simulation.settlement import is_beside_usage

_HALF = np.int64(32)
_LOW = np.int64(2**32 - 1)
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

    def __init__(self, plan: SimulationPlan, payers: Iterable[tuple[str, str]] = ()) -> None:
        """`payers` are (customer id, currency) of those who may have invoices without usage."""
        self._plan = plan
        registry = plan.registry
        more = [(registry.customers.add(name), registry.currencies.add(currency)) for name, currency in payers]
        currency_of_plan = np.array([each.currency for each in plan.registry.plans], dtype=np.int64)
        self._currency_count = max(len(plan.registry.currencies), 1)
        pairs = [terms.customer * self._currency_count + currency_of_plan[terms.plan] for terms in plan.terms]
        invoiced = np.array([customer * self._currency_count + currency for customer, currency in more], dtype=np.int64)
        self._pairs = np.unique(np.concatenate([*pairs, invoiced]))
        """(customer, currency) of each group, as one number."""
        self._group_of = [np.searchsorted(self._pairs, each) for each in pairs]
        shape = (len(plan.terms), len(self._pairs))
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

    def add_invoice(self, number: int, invoice: Invoice) -> None:
        """Adds what an invoice under a catalogue has beside the charge lines of usage, which come with their pieces."""
        registry = self._plan.registry
        pair = registry.customers.add(invoice.customer_id) * self._currency_count
        group = int(np.searchsorted(self._pairs, pair + registry.currencies.add(invoice.currency)))
        lines = [each for each in invoice.lines if is_beside_usage(each)]
        for name, amount in (
            ("amount", sum(each.amount_excluding_tax for each in lines)),
            ("tax", sum(each.tax_amount for each in lines)),
        ):
            self._sums[name][number, group] += amount >> int(_HALF)
            self._sums[f"{name}_low"][number, group] += amount & int(_LOW)

    def customers(self) -> CustomerAmounts:
        """What customers pay under every catalogue."""
        customers, currencies = list(self._plan.registry.customers), list(self._plan.registry.currencies)
        named = [
            (customers[pair // self._currency_count], currencies[pair % self._currency_count])
            for pair in self._pairs.tolist()
        ]
        order = sorted(range(len(named)), key=named.__getitem__)
        amount, tax = (self._whole(name)[order] for name in ("amount", "tax"))
        return CustomerAmounts(
            tuple(named[at][0] for at in order),
            tuple(named[at][1] for at in order),
            amount,
            tax,
            amount - amount[:, :1],
            np.equal(amount, amount.min(axis=1, keepdims=True)).astype(np.bool_) if named else amount.astype(np.bool_),
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

    def _whole(self, name: str) -> NDArray[Any]:
        """[groups, catalogues] sums of both halves."""
        high, low = self._sums[name].T, self._sums[f"{name}_low"].T
        carried = high + (low >> _HALF)
        if not np.all(np.abs(carried) < _WITHIN):
            return (high.astype(object) << 32) + low.astype(object)
        return (carried << _HALF) + (low & _LOW)
