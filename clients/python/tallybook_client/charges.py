"""Charge lines as a frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from tallybook_client.costs import POLARS_PRECISION
from tallybook_client.results import ChargeLine

_INSTANT = pl.Datetime("us", "UTC")
_QUANTITY = pl.Decimal(POLARS_PRECISION, 12)
# Enough for every currency of ISO 4217: at most 4 decimals.
_MONEY = pl.Decimal(POLARS_PRECISION, 4)

_TIER_LINE = pl.Struct(
    {
        "rule": pl.String,
        "tier": pl.Int32,
        "quantity": _QUANTITY,
        "unit_amount": _QUANTITY,
        "flat_amount": _QUANTITY,
        "amount": pl.String,
    }
)

_COLUMNS: Mapping[str, pl.DataType | type[pl.DataType]] = {
    "customer_id": pl.String,
    "contract_path": pl.List(pl.String),
    "product_id": pl.String,
    "plan_id": pl.String,
    "cell_id": pl.String,
    "period_start_time": _INSTANT,
    "period_end_time": _INSTANT,
    "quantity": _QUANTITY,
    # 15 digits before the point and 24 after are one more than a decimal column holds.
    "exact_amount": pl.String,
    "currency": pl.String,
    "amount_excluding_tax": _MONEY,
    "tax_amount": _MONEY,
    "amount_including_tax": _MONEY,
    "country_code": pl.String,
    "catalog_version": pl.Int64,
    "line_number": pl.Int64,
    "lines": pl.List(_TIER_LINE),
}
CHARGES_SCHEMA = pl.Schema(_COLUMNS)
"""One row a charge line; `lines` are its tier lines, which add up to `exact_amount`."""


def charges_frame(charges: Sequence[ChargeLine]) -> pl.DataFrame:
    """The lines as a frame of CHARGES_SCHEMA."""
    return pl.DataFrame([_row(charge) for charge in charges], schema=CHARGES_SCHEMA, orient="row")


def _row(charge: ChargeLine) -> tuple[object, ...]:
    return (
        charge.customer_id,
        list(charge.contract_path),
        charge.product_id,
        charge.plan_id,
        charge.cell_id,
        charge.start_time,
        charge.end_time,
        charge.quantity,
        format(charge.exact_amount, "f"),
        charge.amount_excluding_tax.currency,
        charge.amount_excluding_tax.quantity,
        charge.tax_summary.tax_amount.quantity,
        charge.amount_including_tax.quantity,
        charge.tax_summary.country_code,
        charge.catalog_version,
        charge.line_number,
        [
            {
                "rule": line.rule,
                "tier": line.tier,
                "quantity": line.quantity,
                "unit_amount": line.unit_amount,
                "flat_amount": line.flat_amount,
                "amount": format(line.amount, "f"),
            }
            for line in charge.lines
        ],
    )
