"""Costs as columns: one entry a (row, currency) that was priced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from tallybook.v1 import ingest_pb2

POLARS_PRECISION = 38
"""Digits of every decimal column of a frame."""


@dataclass(frozen=True, slots=True)
class Costs:
    """Costs of events, ascending by row."""

    rows: NDArray[np.int64]
    """[m] row of each entry, from 0."""
    currencies: tuple[str, ...]
    """[k] ISO 4217 codes."""
    decimal_places: tuple[int, ...]
    """[k] decimals of each currency's minor unit."""
    currency: NDArray[np.uint32]
    """[m] index into `currencies`."""
    amount_excluding_tax: NDArray[np.int64]
    """[m] minor units."""
    tax_amount: NDArray[np.int64]
    """[m] minor units."""
    net_amount_excluding_tax: NDArray[np.int64]
    """[m] what the event moves of invoices: the amount, and what the terms of contracts make of it; minor units."""
    net_tax_amount: NDArray[np.int64]
    """[m] minor units."""

    @classmethod
    def read(cls, message: ingest_pb2.CostColumns, row_count: int) -> Costs:
        """The columns of one batch of `row_count` rows. The packed fields are read without a copy."""
        amounts = np.asarray(message.amount_excluding_tax, dtype=np.int64)
        rows = np.asarray(message.row, dtype=np.int64) if message.row else np.arange(len(amounts), dtype=np.int64)
        if len(message.row) == 0 and len(amounts) not in (0, row_count):
            raise ValueError(f"{len(amounts)} costs without rows answer a batch of {row_count} rows")
        currency = (
            np.asarray(message.currency, dtype=np.uint32)
            if message.currency
            else np.zeros(len(amounts), dtype=np.uint32)
        )
        taxes = np.asarray(message.tax_amount, dtype=np.int64)
        has_net = len(message.net_amount_excluding_tax) > 0
        return cls(
            rows,
            tuple(message.currencies),
            tuple(message.decimal_places),
            currency,
            amounts,
            taxes,
            np.asarray(message.net_amount_excluding_tax, dtype=np.int64) if has_net else amounts,
            np.asarray(message.net_tax_amount, dtype=np.int64) if has_net else taxes,
        )

    @classmethod
    def concatenate(cls, parts: Sequence[tuple[int, Costs]]) -> Costs:
        """One set of columns out of (first row, costs) of several batches, ascending by first row."""
        places: dict[str, int] = {}
        for _, costs in parts:
            places.update(zip(costs.currencies, costs.decimal_places, strict=True))
        index = {currency: position for position, currency in enumerate(places)}
        return cls(
            _join([first_row + costs.rows for first_row, costs in parts], np.int64),
            tuple(places),
            tuple(places.values()),
            _join([_renumbered(costs, index) for _, costs in parts], np.uint32),
            _join([costs.amount_excluding_tax for _, costs in parts], np.int64),
            _join([costs.tax_amount for _, costs in parts], np.int64),
            _join([costs.net_amount_excluding_tax for _, costs in parts], np.int64),
            _join([costs.net_tax_amount for _, costs in parts], np.int64),
        )

    def frame(self) -> pl.DataFrame:
        """Columns row (UInt64), currency (Categorical), amount_excluding_tax, tax_amount (Decimal), and the same two of
        the net amount, net_amount_excluding_tax and net_tax_amount.
        """
        currency = pa.DictionaryArray.from_arrays(pa.array(self.currency), pa.array(self.currencies, pa.string()))
        return pl.DataFrame(
            {
                "row": pl.Series(self.rows).cast(pl.UInt64),
                "currency": pl.Series(pl.from_arrow(currency)),
                "amount_excluding_tax": self._decimals(self.amount_excluding_tax),
                "tax_amount": self._decimals(self.tax_amount),
                "net_amount_excluding_tax": self._decimals(self.net_amount_excluding_tax),
                "net_tax_amount": self._decimals(self.net_tax_amount),
            }
        )

    def _decimals(self, minor: NDArray[np.int64]) -> pl.Series:
        """Minor units as decimals of the finest currency's places."""
        finest = max(self.decimal_places, default=0)
        series = pl.Series(values=[], dtype=pl.Decimal(POLARS_PRECISION, finest))
        order: list[NDArray[np.int64]] = []
        for code, places in enumerate(self.decimal_places):
            chosen = np.flatnonzero(self.currency == code)
            order.append(chosen)
            series.append(decimal_series(minor[chosen], places).cast(pl.Decimal(POLARS_PRECISION, finest)))
        return series.gather(np.argsort(_join(order, np.int64)))


def decimal_series(minor: NDArray[np.int64], places: int) -> pl.Series:
    """[n] integers of `places` decimals as a Decimal column, exactly."""
    wide = np.empty((len(minor), 2), dtype=np.int64)
    wide[:, 0] = minor
    # The high limb of a two's complement number repeats the sign.
    wide[:, 1] = minor >> 63
    column = pa.Array.from_buffers(
        pa.decimal128(POLARS_PRECISION, places), len(minor), [None, pa.py_buffer(wide.reshape(-1))]
    )
    return pl.Series(pl.from_arrow(column))


def _renumbered(costs: Costs, index: dict[str, int]) -> NDArray[np.uint32]:
    """The currency of each entry by the numbers of `index`."""
    numbers = np.array([index[currency] for currency in costs.currencies], dtype=np.uint32)
    return numbers[costs.currency] if len(numbers) else costs.currency


def _join(parts: Sequence[NDArray[np.generic]], dtype: type[np.generic]) -> NDArray:  # type: ignore[type-arg]
    return np.concatenate([np.empty(0, dtype), *parts])
