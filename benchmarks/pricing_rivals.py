"""What a user would write for the same price lists: Polars expressions, and a loop over customers with Decimal.

Usage is a table of (contract, date, thousandths of a unit). A price list names, of each contract, four prices in
thousandths a unit for tiers of 1,000 units, whether a tier's price counts for the whole quantity (volume) or for what
lies in the tier (graduated), and over how many months the quantity runs up. Bills are monthly, rounded to cents half
away from zero, taxed at 21 %.

Both answer int64[contracts, price lists, 2], cents without tax and the tax, which are compared bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

import numpy as np
import polars as pl
from numpy.typing import NDArray

TIER = 1_000_000
"""Thousandths of a unit in a tier."""
TAX_PERCENT = 21

Bills = NDArray[np.int64]


@dataclass(frozen=True)
class PriceList:
    """The terms of n contracts."""

    prices: NDArray[np.int64]
    """[n, 4]"""
    volume: NDArray[np.bool_]
    months: NDArray[np.int64]


def by_polars(usage: pl.DataFrame, price_lists: Sequence[PriceList]) -> Bills:
    """Usage added up once by month; each price list one chain of expressions."""
    months = usage.lazy().group_by("contract", pl.col("date").dt.month().cast(pl.Int64).alias("month"))
    monthly = months.agg(pl.col("thousandths").sum()).sort("contract", "month").collect()
    bills = []
    for each in price_lists:
        terms = pl.LazyFrame(
            {
                "contract": np.arange(len(each.volume), dtype=np.int32),
                **{f"price{tier}": each.prices[:, tier] for tier in range(4)},
                "volume": each.volume,
                "months": each.months,
            }
        )
        after = pl.col("thousandths").cum_sum().over("contract", (pl.col("month") - 1) // pl.col("months"))
        exact = _price(pl.col("after")) - _price(pl.col("after") - pl.col("thousandths"))
        # Thousandths times thousandths are millionths: a cent is 10,000.
        cents = pl.col("exact").sign() * ((pl.col("exact").abs() + 5_000) // 10_000)
        tax = pl.col("cents").sign() * ((pl.col("cents").abs() * TAX_PERCENT + 50) // 100)
        priced = (
            monthly.lazy()
            .join(terms, on="contract", maintain_order="left")
            .with_columns(after.alias("after"))
            .with_columns(exact.alias("exact"))
            .with_columns(cents.alias("cents"))
            .with_columns(tax.alias("tax"))
            .group_by("contract")
            .agg(pl.col("cents").sum(), pl.col("tax").sum())
            .sort("contract")
            .select("cents", "tax")
            .collect()
        )
        bills.append(priced.to_numpy())
    return np.stack(bills, axis=1)


def _price(quantity: pl.Expr) -> pl.Expr:
    """Of an accumulated quantity, in millionths."""
    tiers = [(quantity - tier * TIER).clip(0, TIER if tier < 3 else None) for tier in range(4)]
    graduated = pl.sum_horizontal(within * pl.col(f"price{tier}") for tier, within in enumerate(tiers))
    reached = pl.when(quantity <= TIER).then("price0").when(quantity <= 2 * TIER).then("price1")
    volume = quantity * reached.when(quantity <= 3 * TIER).then("price2").otherwise("price3")
    return pl.when("volume").then(volume).otherwise(graduated)


def by_decimals(
    contracts: Sequence[int], months: Sequence[int], thousandths: Sequence[int], price_lists: Sequence[PriceList]
) -> Bills:
    """Usage added up once by contract and month; then a loop over contracts, months and tiers."""
    contract_count = len(price_lists[0].volume)
    used: list[dict[int, Decimal]] = [{} for _ in range(contract_count)]
    for contract, month, quantity in zip(contracts, months, thousandths, strict=True):
        of_month = used[contract]
        of_month[month] = of_month.get(month, Decimal(0)) + Decimal(quantity).scaleb(-3)
    bills = np.zeros((contract_count, len(price_lists), 2), dtype=np.int64)
    for number, each in enumerate(price_lists):
        prices = [[Decimal(price).scaleb(-3) for price in row] for row in each.prices.tolist()]
        for contract, of_month in enumerate(used):
            after, period = Decimal(0), -1
            for month in sorted(of_month):
                if (month - 1) // int(each.months[contract]) != period:
                    after, period = Decimal(0), (month - 1) // int(each.months[contract])
                before, after = after, after + of_month[month]
                volume = bool(each.volume[contract])
                exact = _decimal_price(after, prices[contract], volume) - _decimal_price(
                    before, prices[contract], volume
                )
                cents = exact.quantize(Decimal("0.01"), ROUND_HALF_UP)
                tax = (cents * TAX_PERCENT / 100).quantize(Decimal("0.01"), ROUND_HALF_UP)
                bills[contract, number] += int(cents.scaleb(2)), int(tax.scaleb(2))
    return bills


def _decimal_price(quantity: Decimal, prices: Sequence[Decimal], volume: bool) -> Decimal:
    if volume:
        return quantity * prices[sum(quantity > bound for bound in (1_000, 2_000, 3_000))]
    total = Decimal(0)
    for tier, price in enumerate(prices):
        within = quantity - 1_000 * tier
        if within <= 0:
            break
        total += (within if tier == 3 else min(within, Decimal(1_000))) * price
    return total
