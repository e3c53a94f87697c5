"""Charge lines as an Arrow table in long form: one row a line."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tallybook_engine.kernels.wide import limb_array
from tallybook_engine.pricing.model import PerUnit
from tallybook_engine.rating.rounding import MINOR_DIGITS_MAX
from tallybook_engine.simulation.evaluation import rescaled
from tallybook_engine.simulation.plan import SimulationPlan, Terms
from tallybook_engine.simulation.run import PieceLines

QUANTITY = pa.decimal128(38, 12)
EXACT = pa.decimal256(39, 24)
"""15 digits before the point and 24 after are one more than 128 bits hold."""
MONEY = pa.decimal128(38, MINOR_DIGITS_MAX)
INSTANT = pa.timestamp("us", "UTC")
NAME = pa.dictionary(pa.int32(), pa.string())

CHARGES_SCHEMA = pa.schema(
    [
        ("customer_id", NAME),
        ("contract_path", pa.list_(pa.string())),
        ("product_id", NAME),
        ("plan_id", NAME),
        ("cell_id", NAME),
        ("period_start_time", INSTANT),
        ("period_end_time", INSTANT),
        ("quantity", QUANTITY),
        ("unit_amount", QUANTITY),
        ("exact_amount", EXACT),
        ("currency", NAME),
        ("amount_excluding_tax", MONEY),
        ("tax_amount", MONEY),
        ("amount_including_tax", MONEY),
    ]
)


class ChargesWriter:
    """Writes the lines of one catalogue's pieces."""

    def __init__(self, plan: SimulationPlan, terms: Terms) -> None:
        self._plan = plan
        self._terms = terms

    def table(self, found: PieceLines) -> pa.Table:
        """The lines of a piece, in their order, as CHARGES_SCHEMA."""
        subject = found.subject
        definitions = self._terms.definitions
        cells = self._terms.pricing.cell_start[subject] + found.cell
        excluding, tax, including = self._money(found)
        columns = [
            _named([each.customer_id for each in definitions], subject),
            self._paths.take(pa.array(subject)),
            _named([each.product_id for each in definitions], subject),
            _named([each.plan_id for each in definitions], subject),
            _named([cell.id for each in definitions for cell in each.cells], cells),
            pa.array(self._plan.calendars.billing_start_us[found.billing], INSTANT),
            pa.array(self._plan.calendars.billing_end_us[found.billing], INSTANT),
            _decimals(found.lines.quantity, QUANTITY),
            self._unit_amounts(cells),
            _decimals(_widened(found.lines.exact), EXACT),
            _named([each.currency for each in definitions], subject),
            _decimals(excluding, MONEY),
            _decimals(tax, MONEY),
            _decimals(including, MONEY),
        ]
        return pa.Table.from_arrays(columns, schema=CHARGES_SCHEMA)

    @cached_property
    def _paths(self) -> pa.Array:
        return pa.array([list(each.contract_path) for each in self._terms.definitions], pa.list_(pa.string()))

    def _money(self, found: PieceLines) -> tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.uint64]]:
        """Without tax, the tax, and with it; two limbs, as many decimals as any currency has."""
        factors = 10 ** (MINOR_DIGITS_MAX - self._terms.pricing.minor_digits[found.subject].astype(np.int64))
        priced, tax = (np.empty((len(factors), 2), dtype=np.uint64) for _ in range(2))
        rescaled(found.lines.amount, factors, priced)
        rescaled(found.lines.tax, factors, tax)
        inclusive = self._terms.inclusive[found.subject][:, None]
        return np.where(inclusive, _less(priced, tax), priced), tax, np.where(inclusive, priced, _plus(priced, tax))

    def _unit_amounts(self, cells: NDArray[np.int64]) -> pa.Array:
        """The price of one unit, where the price is one; null elsewhere."""
        prices = self._terms.pricing.price[cells]
        return _decimals(self._unit_prices[0][prices], QUANTITY, self._unit_prices[1][prices])

    @cached_property
    def _unit_prices(self) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
        pool = self._plan.registry.prices
        models = [pool[index].model for index in range(len(pool))]
        numbers = [model.unit_price if isinstance(model, PerUnit) else 0 for model in models]
        return limb_array(numbers, 2), np.array([isinstance(model, PerUnit) for model in models], dtype=np.bool_)


def _named(names: Sequence[str], which: NDArray[Any]) -> pa.Array:
    """names[which] as a dictionary column with each name once."""
    number_of = {name: number for number, name in enumerate(dict.fromkeys(names))}
    codes = np.array([number_of[name] for name in names], dtype=np.int32)
    return pa.DictionaryArray.from_arrays(pa.array(codes[which]), pa.array(list(number_of), pa.string()))


def _decimals(limbs: NDArray[np.uint64], kind: pa.DataType, valid: NDArray[np.bool_] | None = None) -> pa.Array:
    """Limbs, lowest first, as the decimals that they are to Arrow too."""
    data = pa.py_buffer(np.ascontiguousarray(limbs))
    bitmap = None if valid is None else pa.py_buffer(np.packbits(valid, bitorder="little"))
    return pa.Array.from_buffers(kind, len(limbs), [bitmap, data])


def _widened(limbs: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Three limbs as four, two's complement."""
    sign = (limbs[:, 2].view(np.int64) >> 63).view(np.uint64) if len(limbs) else np.empty(0, dtype=np.uint64)
    return np.column_stack([limbs, sign])


def _plus(one: NDArray[np.uint64], other: NDArray[np.uint64]) -> NDArray[np.uint64]:
    low = one[:, 0] + other[:, 0]
    return np.column_stack([low, one[:, 1] + other[:, 1] + (low < one[:, 0]).astype(np.uint64)])


def _less(one: NDArray[np.uint64], other: NDArray[np.uint64]) -> NDArray[np.uint64]:
    borrowed = (one[:, 0] < other[:, 0]).astype(np.uint64)
    return np.column_stack([one[:, 0] - other[:, 0], one[:, 1] - other[:, 1] - borrowed])
