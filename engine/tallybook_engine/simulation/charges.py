"""Charge lines as an Arrow table in long form: one row a line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from decimal import Context, Decimal
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tallybook_engine.contract.invoice import LINE_KINDS, LineKind
from tallybook_engine.contract.tables import NONE
from tallybook_engine.decimals import AMOUNT_SCALE, QUANTITY_SCALE
from tallybook_engine.kernels.wide import limb_array
from tallybook_engine.pricing.model import PerUnit
from tallybook_engine.rating.rounding import MINOR_DIGITS_MAX
from tallybook_engine.simulation.columns import CellColumns, SubjectColumns, charge_buffers
from tallybook_engine.simulation.evaluation import rescaled
from tallybook_engine.simulation.plan import Registry, SimulationPlan, Terms
from tallybook_engine.simulation.run import PieceLines
from tallybook_engine.simulation.settlement import SettledTrees
from tallybook_engine.simulation.trees import Trees

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
_EXACT_DIGITS = Context(prec=39)
"""As many as EXACT has."""
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


class Laid:
    """Columns of a piece that are made of the same arrays under several catalogues, each made once."""

    def __init__(self) -> None:
        self._columns: dict[tuple[int, ...], tuple[tuple[object, ...], pa.Array]] = {}
        """By identity of what each is made of, which is kept alive."""

    def column(self, make: Callable[[], pa.Array], *sources: object) -> pa.Array:
        """The column that is made of `sources` and nothing else."""
        key = tuple(map(id, sources))
        if key not in self._columns:
            self._columns[key] = sources, make()
        return self._columns[key][1]


class _RegistryColumns:
    """What writers of all catalogues of a simulation have in common."""

    def __init__(self, registry: Registry) -> None:
        self.customers = pa.array(list(registry.customers), pa.string())
        self.products = _Named([each.product.id for each in registry.plans])
        self.plans = _Named([each.plan.id for each in registry.plans])
        self.cells = _Named(registry.cell_ids)
        self.currencies = _Named(list(registry.currencies))
        self.currency_of_plan = np.array([each.currency for each in registry.plans], dtype=np.int64)
        models = [registry.prices[index].model for index in range(len(registry.prices))]
        self.unit_prices = limb_array([each.unit_price if isinstance(each, PerUnit) else 0 for each in models], 2)
        self.has_unit_price = np.array([isinstance(each, PerUnit) for each in models], dtype=np.bool_)


class ChargesWriter:
    """Writes the lines of one catalogue's pieces."""

    def __init__(self, plan: SimulationPlan, terms: Terms, base: ChargesWriter | None = None) -> None:
        """`base` is the writer of another catalogue: what is the same in both is made once."""
        self._calendars = plan.calendars
        self._terms = terms
        self._shared: _RegistryColumns = _RegistryColumns(plan.registry) if base is None else base._shared
        shared = self._shared
        if base is not None and terms.row is base._terms.row and terms.table.paths is base._terms.table.paths:
            self._paths: pa.Array = base._paths
        else:
            self._paths = pa.array(terms.contract_paths(), pa.list_(pa.string()))
        pricing = terms.pricing
        self._of_subject = SubjectColumns(
            shared.products.codes[terms.plan],
            shared.plans.codes[terms.plan],
            shared.currencies.codes[shared.currency_of_plan[terms.plan]],
            _FACTORS[pricing.minor_digits],
            terms.inclusive,
            pricing.cell_start,
        )
        self._of_cell = CellColumns(
            shared.cells.codes[terms.cell],
            np.take(shared.unit_prices, pricing.price, axis=0),
            shared.has_unit_price[pricing.price],
        )

    def table(self, found: PieceLines, laid: Laid) -> pa.Table:
        """The lines of a piece, in their order, as CHARGES_SCHEMA. `laid` is one for all catalogues of the piece."""
        subject, billing, customer = found.subject, found.billing, self._terms.customer
        shared, calendars = self._shared, self._calendars
        made = charge_buffers(subject, found.cell, found.lines, self._of_subject, self._of_cell)
        columns = [
            laid.column(lambda: self._customer(customer[subject]), customer, subject),
            laid.column(lambda: self._paths.take(pa.array(subject)), self._paths, subject),
            shared.products.named(made.product),
            shared.plans.named(made.plan),
            shared.cells.named(made.cell),
            laid.column(lambda: pa.array(calendars.billing_start_us[billing], INSTANT), "start", billing),
            laid.column(lambda: pa.array(calendars.billing_end_us[billing], INSTANT), "end", billing),
            _decimals(found.lines.quantity, QUANTITY),
            _decimals(made.unit_amount, QUANTITY, made.has_unit_amount),
            _decimals(made.exact, EXACT),
            shared.currencies.named(made.currency),
            _decimals(made.excluding_tax, MONEY),
            _decimals(made.tax, MONEY),
            _decimals(made.including_tax, MONEY),
            laid.column(lambda: _same(LineKind.CHARGE.value, len(subject)), "kind", subject),
            laid.column(lambda: pa.nulls(len(subject), NAME), "id", subject),
        ]
        return pa.Table.from_arrays(columns, schema=CHARGES_SCHEMA)

    def _customer(self, codes: NDArray[np.int64]) -> pa.Array:
        """Customers of a piece are neighbours, so a stretch of all names does."""
        first, end = (int(codes.min()), int(codes.max()) + 1) if len(codes) else (0, 0)
        return pa.DictionaryArray.from_arrays(
            pa.array((codes - first).astype(np.int32)), self._shared.customers.slice(first, end - first)
        )


def settled_tables(found: SettledTrees) -> tuple[pa.Table, pa.Table]:
    """What settled trees have beside the charge lines of usage, as CHARGES_SCHEMA: charge lines that nothing opened,
    tree by tree, and the other lines, in the order of the trees' invoices.
    """
    return _unopened_table(found), _terms_table(found)


def _unopened_table(found: SettledTrees) -> pa.Table:
    unopened = found.unopened
    lines, number = unopened.lines, unopened.line
    definitions = [each.definition for each in lines]
    models = [each.definition.cells[each.cell].price.model for each in lines]
    unit_prices = [each.unit_price if isinstance(each, PerUnit) else None for each in models]

    def of_line(values: Iterable[Any], kind: pa.DataType) -> pa.Array:
        return pa.array(values, kind).take(pa.array(number))

    return _table(
        found.trees,
        unopened.tree,
        *unopened.amounts(),
        product_id=_Named([each.product_id for each in definitions]).column(number),
        plan_id=_Named([each.plan_id for each in definitions]).column(number),
        cell_id=_Named([each.definition.cells[each.cell].id for each in lines]).column(number),
        quantity=of_line([Decimal(0)] * len(lines), QUANTITY),
        unit_amount=of_line(
            [None if each is None else Decimal(each).scaleb(-QUANTITY_SCALE) for each in unit_prices], QUANTITY
        ),
        exact_amount=of_line([Decimal(each.exact).scaleb(-AMOUNT_SCALE, _EXACT_DIGITS) for each in lines], EXACT),
        contract_path=pa.array(unopened.paths, pa.list_(pa.string())).take(pa.array(unopened.path)),
        period_start_time=of_line([each.start_us for each in lines], INSTANT),
        period_end_time=of_line([each.end_us for each in lines], INSTANT),
        line_kind=_same(LineKind.CHARGE.value, len(number)),
        line_id=pa.nulls(len(number), NAME),
    )


def _terms_table(found: SettledTrees) -> pa.Table:
    lines, trees = found.lines, found.trees
    levels, terms = trees.pool.names()
    number = trees.number[lines.tree]
    names = np.where(lines.name == NONE, NONE, terms.start[number] + lines.name)
    return _table(
        trees,
        lines.tree,
        lines.amount,
        lines.tax_amount,
        **{name: pa.nulls(len(lines.tree), kind) for name, kind in _OF_CHARGES.items()},
        contract_path=trees.pool.paths(levels.start[number] + lines.level),
        period_start_time=pa.array(lines.start_us, INSTANT),
        period_end_time=pa.array(lines.end_us, INSTANT),
        line_kind=_KIND_NAMES.column(lines.kind),
        line_id=terms.names.take(pa.array(names, mask=names == NONE)).dictionary_encode(),
    )


def _table(
    trees: Trees,
    tree: NDArray[np.int32],
    amount: NDArray[np.int64],
    tax_amount: NDArray[np.int64],
    **columns: pa.Array,
) -> pa.Table:
    """n lines of trees, `tree` saying of which; amounts as priced."""
    excluding = np.where(trees.is_inclusive[tree], amount - tax_amount, amount)
    factors = _FACTORS[trees.minor_digits[tree]]
    excluding_tax, tax = (_limbs(amounts, factors) for amounts in (excluding, tax_amount))
    columns |= {
        "customer_id": _Named(trees.customers).column(tree),
        "currency": _Named(trees.currencies).column(tree),
        "amount_excluding_tax": _decimals(excluding_tax, MONEY),
        "tax_amount": _decimals(tax, MONEY),
        "amount_including_tax": _decimals(_plus(excluding_tax, tax), MONEY),
    }
    return pa.Table.from_arrays([columns[name] for name in CHARGES_SCHEMA.names], schema=CHARGES_SCHEMA)


def _limbs(minor: NDArray[np.int64], factors: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Minor units x factors, two limbs each."""
    scaled = np.empty((len(minor), 2), dtype=np.uint64)
    rescaled(minor, factors, scaled)
    return scaled


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
    return _decimals(_limbs(minor, _FACTORS[digits]), MONEY)


class _Named:
    """Names by number, each once in a column's dictionary."""

    def __init__(self, names: Sequence[str]) -> None:
        encoded = pa.array(names, pa.string()).dictionary_encode()
        self.codes = encoded.indices.to_numpy()
        """Place of each in the dictionary."""
        self._names = encoded.dictionary

    def column(self, numbers: NDArray[Any], valid: NDArray[np.bool_] | None = None) -> pa.Array:
        """The names of n numbers, as a dictionary column; null where they are not valid."""
        if valid is None:
            return self.named(self.codes[numbers])
        codes = np.zeros(len(numbers), dtype=np.int32)
        codes[valid] = self.codes[numbers[valid]]
        return pa.DictionaryArray.from_arrays(pa.array(codes, mask=~valid), self._names)

    def named(self, codes: NDArray[np.int32]) -> pa.Array:
        """A dictionary column of n codes."""
        # They are places in the dictionary, and need not be looked at for that.
        return pa.DictionaryArray.from_arrays(pa.array(codes), self._names, safe=False)


_KIND_NAMES = _Named([kind.value for kind in LINE_KINDS])


def _decimals(limbs: NDArray[np.uint64], kind: pa.DataType, valid: NDArray[np.bool_] | None = None) -> pa.Array:
    """Limbs, lowest first, as the decimals that they are to Arrow too."""
    data = pa.py_buffer(np.ascontiguousarray(limbs))
    bitmap = None if valid is None else pa.py_buffer(np.packbits(valid, bitorder="little"))
    return pa.Array.from_buffers(kind, len(limbs), [bitmap, data])


def _plus(one: NDArray[np.uint64], other: NDArray[np.uint64]) -> NDArray[np.uint64]:
    low = one[:, 0] + other[:, 0]
    return np.column_stack([low, one[:, 1] + other[:, 1] + (low < one[:, 0]).astype(np.uint64)])
