"""Charge lines as an Arrow table in long form: one row a line."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tallybook_engine.contract.invoice import LineKind
from tallybook_engine.contract.unopened import UnopenedLine
from tallybook_engine.currencies import minor_digits
from tallybook_engine.decimals import AMOUNT_SCALE, QUANTITY_SCALE
from tallybook_engine.kernels.wide import limb_array
from tallybook_engine.pricing.model import PerUnit
from tallybook_engine.rating.rounding import MINOR_DIGITS_MAX
from tallybook_engine.simulation.contracts import Codes
from tallybook_engine.simulation.evaluation import rescaled
from tallybook_engine.simulation.plan import SimulationPlan, Terms
from tallybook_engine.simulation.run import PieceLines
from tallybook_engine.simulation.settlement import SettledTree, is_beside_usage

QUANTITY = pa.decimal128(38, 12)
EXACT = pa.decimal256(39, 24)
"""15 digits before the point and 24 after are one more than 128 bits hold."""
MONEY = pa.decimal128(38, MINOR_DIGITS_MAX)
INSTANT = pa.timestamp("us", "UTC")
NAME = pa.dictionary(pa.int32(), pa.string())
_OF_CHARGES = {
    **dict.fromkeys(("product_id", "plan_id", "cell_id"), NAME),
    **dict.fromkeys(("quantity", "unit_amount"), QUANTITY),
    "exact_amount": EXACT,
}
"""Columns that only charge lines have."""
_FACTORS = np.array([10 ** (MINOR_DIGITS_MAX - digits) for digits in range(MINOR_DIGITS_MAX + 1)], dtype=np.int64)
"""From a currency's minor unit to that of MONEY, by its digits."""

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
        ("line_kind", NAME),
        ("line_id", NAME),
    ]
)


class ChargesWriter:
    """Writes the lines of one catalogue's pieces."""

    def __init__(self, plan: SimulationPlan, terms: Terms, base: ChargesWriter | None = None) -> None:
        """`base` is the writer of another catalogue: what is the same in both is made once."""
        self._plan = plan
        self._terms = terms
        self._base = base
        registry = plan.registry
        self._customers = pa.array(list(registry.customers), pa.string())
        self._products = _Named([each.product.id for each in registry.plans])
        self._plans = _Named([each.plan.id for each in registry.plans])
        self._currencies = _Named(list(registry.currencies))
        self._currency_of_plan = np.array([each.currency for each in registry.plans], dtype=np.int64)
        self._cells = _Named(registry.cell_ids)

    def table(self, found: PieceLines) -> pa.Table:
        """The lines of a piece, in their order, as CHARGES_SCHEMA."""
        subject = found.subject
        plan = self._terms.plan[subject]
        cells = self._terms.pricing.cell_start[subject] + found.cell
        excluding, tax, including = self._money(found)
        columns = [
            self._customer(self._terms.customer[subject]),
            self._paths.take(pa.array(subject)),
            self._products.column(plan),
            self._plans.column(plan),
            self._cells.column(self._terms.cell[cells]),
            pa.array(self._plan.calendars.billing_start_us[found.billing], INSTANT),
            pa.array(self._plan.calendars.billing_end_us[found.billing], INSTANT),
            _decimals(found.lines.quantity, QUANTITY),
            self._unit_amounts(cells),
            _decimals(_widened(found.lines.exact), EXACT),
            self._currencies.column(self._currency_of_plan[plan]),
            _decimals(excluding, MONEY),
            _decimals(tax, MONEY),
            _decimals(including, MONEY),
            _same(LineKind.CHARGE.value, len(subject)),
            pa.nulls(len(subject), NAME),
        ]
        return pa.Table.from_arrays(columns, schema=CHARGES_SCHEMA)

    def _customer(self, codes: NDArray[np.int64]) -> pa.Array:
        """Customers of a piece are neighbours, so a stretch of all names does."""
        first, end = (int(codes.min()), int(codes.max()) + 1) if len(codes) else (0, 0)
        return pa.DictionaryArray.from_arrays(
            pa.array((codes - first).astype(np.int32)), self._customers.slice(first, end - first)
        )

    @cached_property
    def _path_list(self) -> list[tuple[str, ...]]:
        return self._terms.contract_paths()

    @cached_property
    def _paths(self) -> pa.Array:
        base = self._base
        if base is not None and all(map(operator.is_, base._path_list, self._path_list)):
            return base._paths
        return pa.array(self._path_list, pa.list_(pa.string()))

    def _money(self, found: PieceLines) -> tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.uint64]]:
        """Without tax, the tax, and with it; two limbs, as many decimals as any currency has."""
        factors = _FACTORS[self._terms.pricing.minor_digits[found.subject]]
        priced, tax = (np.empty((len(factors), 2), dtype=np.uint64) for _ in range(2))
        rescaled(found.lines.amount, factors, priced)
        rescaled(found.lines.tax, factors, tax)
        inclusive = self._terms.inclusive[found.subject][:, None]
        if not inclusive.any():
            return priced, tax, _plus(priced, tax)
        return np.where(inclusive, _less(priced, tax), priced), tax, np.where(inclusive, priced, _plus(priced, tax))

    def _unit_amounts(self, cells: NDArray[np.int64]) -> pa.Array:
        """The price of one unit, where the price is one; null elsewhere."""
        prices = self._terms.pricing.price[cells]
        return _decimals(np.take(self._unit_prices[0], prices, axis=0), QUANTITY, self._unit_prices[1][prices])

    @cached_property
    def _unit_prices(self) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
        pool = self._plan.registry.prices
        models = [pool[index].model for index in range(len(pool))]
        numbers = [model.unit_price if isinstance(model, PerUnit) else 0 for model in models]
        return limb_array(numbers, 2), np.array([isinstance(model, PerUnit) for model in models], dtype=np.bool_)


def settled_table(trees: Sequence[SettledTree]) -> pa.Table:
    """What settled trees have beside the charge lines of usage, in their order, as CHARGES_SCHEMA."""
    lines = [
        (invoice, line, tree.unopened[line.charge] if line.kind is LineKind.CHARGE else None)
        for tree in trees
        for invoice in tree.invoices
        for line in invoice.lines
        if is_beside_usage(line)
    ]
    of_charges = [each for *_, each in lines]

    def names(texts: Iterable[str | None]) -> pa.Array:
        return pa.array(texts, pa.string()).dictionary_encode()

    def money(amounts: Iterable[int]) -> pa.Array:
        digits = [minor_digits(invoice.currency) for invoice, *_ in lines]
        return pa.array(
            [Decimal(amount).scaleb(-places) for amount, places in zip(amounts, digits, strict=True)], MONEY
        )

    def charged(name: str, found: Callable[[UnopenedLine], Any]) -> pa.Array:
        """A column that only charge lines have."""
        kind = _OF_CHARGES[name]
        if pa.types.is_dictionary(kind):
            return names(None if each is None else found(each) for each in of_charges)
        return pa.array([None if each is None else found(each) for each in of_charges], kind)

    def unit_amount(line: UnopenedLine) -> Decimal | None:
        model = line.price.model
        return Decimal(model.unit_price).scaleb(-QUANTITY_SCALE) if isinstance(model, PerUnit) else None

    columns = {
        "product_id": charged("product_id", lambda each: each.definition.product_id),
        "plan_id": charged("plan_id", lambda each: each.definition.plan_id),
        "cell_id": charged("cell_id", lambda each: each.definition.cells[each.cell].id),
        "quantity": charged("quantity", lambda _: Decimal(0)),
        "unit_amount": charged("unit_amount", unit_amount),
        "exact_amount": charged("exact_amount", lambda each: Decimal(each.exact).scaleb(-AMOUNT_SCALE)),
        "customer_id": names(invoice.customer_id for invoice, *_ in lines),
        "contract_path": pa.array([list(line.contract_path) for _, line, _ in lines], pa.list_(pa.string())),
        "period_start_time": pa.array([line.start_us for _, line, _ in lines], INSTANT),
        "period_end_time": pa.array([line.end_us for _, line, _ in lines], INSTANT),
        "currency": names(invoice.currency for invoice, *_ in lines),
        "amount_excluding_tax": money(line.amount_excluding_tax for _, line, _ in lines),
        "tax_amount": money(line.tax_amount for _, line, _ in lines),
        "amount_including_tax": money(line.amount_excluding_tax + line.tax_amount for _, line, _ in lines),
        "line_kind": names(line.kind.value for _, line, _ in lines),
        "line_id": names((line.id or None) if each is None else None for _, line, each in lines),
    }
    return pa.Table.from_arrays([columns[name] for name in CHARGES_SCHEMA.names], schema=CHARGES_SCHEMA)


def _same(name: str, count: int) -> pa.Array:
    """A dictionary column of one name."""
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, dtype=np.int32)), pa.array([name], pa.string()))


def charges_writers(plan: SimulationPlan) -> tuple[ChargesWriter, ...]:
    """A writer for each catalogue."""
    baseline = ChargesWriter(plan, plan.terms[0])
    return baseline, *(ChargesWriter(plan, terms, baseline) for terms in plan.terms[1:])


def money_column(minor: NDArray[Any], digits: NDArray[np.int64]) -> pa.Array:
    """n amounts of minor units with so many digits each, int64 or Python's integers, as MONEY."""
    if minor.dtype == object:
        pairs = zip(minor.tolist(), digits.tolist(), strict=True)
        return pa.array([Decimal(amount).scaleb(-places) for amount, places in pairs], MONEY)
    limbs = np.empty((len(minor), 2), dtype=np.uint64)
    rescaled(minor, _FACTORS[digits], limbs)
    return _decimals(limbs, MONEY)


class _Named:
    """Names by number, each once in a column's dictionary."""

    def __init__(self, names: Sequence[str]) -> None:
        codes: Codes[str] = Codes()
        self._codes = np.array([codes.add(name) for name in names], dtype=np.int32)
        self._names = pa.array(list(codes), pa.string())

    def column(self, numbers: NDArray[np.int64]) -> pa.Array:
        """The names of n numbers, as a dictionary column."""
        return pa.DictionaryArray.from_arrays(pa.array(self._codes[numbers]), self._names)


def _decimals(limbs: NDArray[np.uint64], kind: pa.DataType, valid: NDArray[np.bool_] | None = None) -> pa.Array:
    """Limbs, lowest first, as the decimals that they are to Arrow too."""
    data = pa.py_buffer(np.ascontiguousarray(limbs))
    bitmap = None if valid is None else pa.py_buffer(np.packbits(valid, bitorder="little"))
    return pa.Array.from_buffers(kind, len(limbs), [bitmap, data])


def _widened(limbs: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Three limbs as four, two's complement."""
    wide = np.empty((len(limbs), 4), dtype=np.uint64)
    wide[:, :3] = limbs
    wide[:, 3] = (limbs[:, 2].astype(np.int64) >> 63).astype(np.uint64)
    return wide


def _plus(one: NDArray[np.uint64], other: NDArray[np.uint64]) -> NDArray[np.uint64]:
    low = one[:, 0] + other[:, 0]
    return np.column_stack([low, one[:, 1] + other[:, 1] + (low < one[:, 0]).astype(np.uint64)])


def _less(one: NDArray[np.uint64], other: NDArray[np.uint64]) -> NDArray[np.uint64]:
    borrowed = (one[:, 0] < other[:, 0]).astype(np.uint64)
    return np.column_stack([one[:, 0] - other[:, 0], one[:, 1] - other[:, 1] - borrowed])
