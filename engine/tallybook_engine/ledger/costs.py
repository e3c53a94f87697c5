"""Costs of rows as columns: the postings of each row summed by currency."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.currencies import minor_digits
from tallybook_engine.kernels import kernel
from tallybook_engine.ledger.outcomes import Postings
from tallybook_engine.ledger.state import State


class CostArrays(NamedTuple):
    """One entry a (row, currency) with postings, ascending by row, then in the order of posting."""

    row: NDArray[np.uint32]
    currency: NDArray[np.uint32]
    """Index into `currencies`."""
    amount_excluding_tax: NDArray[np.int64]
    """Minor units."""
    tax_amount: NDArray[np.int64]
    currencies: tuple[str, ...]
    decimal_places: tuple[int, ...]


def row_costs(state: State, postings: Postings, posting_starts: NDArray[np.int64]) -> CostArrays:
    """Sums the postings of n rows, `[posting_starts[i], posting_starts[i + 1])` each."""
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
    return CostArrays(
        row[:made],
        coded.astype(np.uint32),
        amount[:made],
        tax[:made],
        currencies,
        tuple(minor_digits(name) for name in currencies),
    )


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
