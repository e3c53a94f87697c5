"""References of usage rows: one names one row of a product contract, as it names one event of a customer in the ledger.

An event that several product contracts charge is a row of each, with the same reference. That is all there is to them:
the quantities that events accumulate to, and so all prices, are the same in any order of the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tallybook_engine.asking import GoOn, stretches, unasked
from tallybook_engine.kernels.hash_set import HashTable
from tallybook_engine.ledger.references import Hasher, look_up, utf8_buffers

LAID_ROWS_MAX = 1 << 16
"""Rows whose references are laid out at once: a dictionary of few long ones may have many rows."""


class Repeated(NamedTuple):
    """Rows whose reference an earlier row of their product contract has."""

    rows: NDArray[np.int64]
    """In the frame that they are of."""
    earlier: NDArray[np.int64]
    """The first row that has the reference, counted over all frames."""


class References:
    """The references of frames that follow one another, as keyed hashes of (product contract, reference)."""

    def __init__(self, secret: bytes) -> None:
        """`secret` is 16 bytes that nobody can know who chooses references."""
        self._hasher = Hasher(secret)
        self._table = HashTable()
        self.row_count = 0
        """Rows of all frames so far, with and without references."""

    def add(
        self,
        contracts: Sequence[str],
        contract_codes: NDArray[np.int32],
        references: pa.Array | None,
        go_on: GoOn = unasked,
    ) -> Repeated:
        """Takes the rows of one more frame; references are a column of names, or a dictionary of them. A code below 0
        is no product contract, an empty text or a null no reference: neither is ever repeated.
        """
        first, self.row_count = self.row_count, self.row_count + len(contract_codes)
        before = np.zeros(len(contract_codes), dtype=np.uint64)
        if references is not None:
            names = pa.array(contracts, pa.string())
            for rows in stretches(len(contract_codes), go_on, LAID_ROWS_MAX):
                texts = references[rows].cast(pa.string()).fill_null("")
                # A copy, for what Arrow lends cannot be written: code would be compiled for that once more.
                codes = contract_codes[rows].copy()
                wanted = (codes >= 0) & (np.diff(utf8_buffers(texts)[0]) > 0)
                self._table.reserve(int(wanted.sum()))
                self._table.count += look_up(
                    self._table.keys,
                    self._table.payloads,
                    self._hasher.keys(codes, names, texts),
                    wanted,
                    # What is 0 is not there.
                    np.uint64(first + rows.start + 1),
                    before[rows],
                )
        found = np.flatnonzero(before)
        return Repeated(found, before[found].astype(np.int64) - 1)
