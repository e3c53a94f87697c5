"""Costs of rows as columns: the postings of each row summed by currency, and with those of net lines."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.currencies import minor_digits
from tallybook_engine.kernels import kernel
from tallybook_engine.ledger.outcomes import NO_NET, Cause, NetPostings, Postings
from tallybook_engine.ledger.state import State


class CostArrays(NamedTuple):
    """One entry a (row, currency) with postings, ascending by row, then in the order of posting."""

    row: NDArray[np.uint32]
    currency: NDArray[np.uint32]
    """Index into `currencies`."""
    amount_excluding_tax: NDArray[np.int64]
    """Minor units."""
    tax_amount: NDArray[np.int64]
    net_amount_excluding_tax: NDArray[np.int64]
    """With what the terms of contract trees make of it; minor units."""
    net_tax_amount: NDArray[np.int64]
    currencies: tuple[str, ...]
    decimal_places: tuple[int, ...]


def row_costs(
    state: State, postings: Postings, posting_starts: NDArray[np.int64], net: NetPostings = NO_NET
) -> CostArrays:
    """Sums the postings of n rows, `[posting_starts[i], posting_starts[i + 1])` each, and those of net lines."""
    count = len(postings.part)
    lines = state.parts.arrays.line[postings.part]
    row, currency = np.empty(count, dtype=np.uint32), np.empty(count, dtype=np.uint32)
    amount, tax = np.empty(count, dtype=np.int64), np.empty(count, dtype=np.int64)
    made = _sum_rows(
        posting_starts,
        state.lines.arrays.currency[lines],
        state.lines.arrays.inclusive[lines],
        postings.amount,
        postings.tax,
        row,
        currency,
        amount,
        tax,
    )
    used, coded = np.unique(currency[:made], return_inverse=True)
    names = list(state.pools.currencies.index)
    currencies = tuple(names[index] for index in used)
    row, amount, tax = row[:made], amount[:made], tax[:made]
    # What opened a net line is no event's.
    caused = np.flatnonzero(net.cause != Cause.OPEN)
    net_amount, net_tax = amount, tax
    if len(caused):
        entry = _entries(state, row, coded, currencies, net.row[caused], net.net_line[caused])
        net_amount, net_tax = amount.copy(), tax.copy()
        np.add.at(net_amount, entry, net.amount[caused])
        np.add.at(net_tax, entry, net.tax[caused])
    return CostArrays(
        row,
        coded.astype(np.uint32),
        amount,
        tax,
        net_amount,
        net_tax,
        currencies,
        tuple(minor_digits(name) for name in currencies),
    )


def _entries(
    state: State,
    row: NDArray[np.uint32],
    coded: NDArray[np.int64],
    currencies: tuple[str, ...],
    net_row: NDArray[np.int64],
    net_line: NDArray[np.int32],
) -> NDArray[np.int64]:
    """[m] which of the entries of rows and currencies is that of each move of a net line: there is one, for only charge
    lines of its currency move it.
    """
    lines, which = np.unique(net_line, return_inverse=True)
    code = {currency: number for number, currency in enumerate(currencies)}
    of_line = np.array([code[state.net.currency(state, number)] for number in lines.tolist()], dtype=np.int64)
    keys = row.astype(np.int64) * len(currencies) + coded
    order = np.argsort(keys)
    found: NDArray[np.int64] = order[np.searchsorted(keys[order], net_row * len(currencies) + of_line[which])]
    return found


@kernel
def _sum_rows(
    posting_starts: NDArray[np.int64],
    posting_currency: NDArray[np.int32],
    inclusive: NDArray[np.bool_],
    posting_amount: NDArray[np.int64],
    posting_tax: NDArray[np.int64],
    row: NDArray[np.uint32],
    currency: NDArray[np.uint32],
    amount: NDArray[np.int64],
    tax: NDArray[np.int64],
) -> int:
    made = 0
    for index in range(len(posting_starts) - 1):
        first = made
        for at in range(posting_starts[index], posting_starts[index + 1]):
            entry = first
            while entry < made and currency[entry] != posting_currency[at]:
                entry += 1
            if entry == made:
                row[made] = index
                currency[made] = posting_currency[at]
                amount[made] = 0
                tax[made] = 0
                made += 1
            amount[entry] += posting_amount[at]
            if inclusive[at]:
                amount[entry] -= posting_tax[at]
            tax[entry] += posting_tax[at]
    return made
