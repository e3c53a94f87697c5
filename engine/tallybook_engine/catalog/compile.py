"""The catalogue as flat tables for the kernels.

A **charge** is a product contract, for ever: its index never changes. A **definition** is what a charge means under one
or more catalogue versions; a period of a charge is pinned to one definition. Pools only grow, so that what an old
version pinned stays valid; a `Match table` belongs to one version and says which definitions an event may meet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.calendar.periods import anchor_date, period_at
from tallybook_engine.calendar.proration import prorated_between
from tallybook_engine.calendar.zones import midnight
from tallybook_engine.catalog.model import (
    Aggregation,
    Catalog,
    Contract,
    Customer,
    DeterminantSource,
    Frequency,
    Matrix,
    Meter,
    Plan,
    Product,
    ProductContract,
    Tax,
    TaxMode,
    billed_as,
)
from tallybook_engine.currencies import minor_digits
from tallybook_engine.determinants.naming import PREFIX
from tallybook_engine.kernels.growing import GrowingTable
from tallybook_engine.pricing.model import NoPrice, Price, Rounding
from tallybook_engine.pricing.tables import PricePool
from tallybook_engine.rating.tax import TaxPool

KEPT_WHILE_RUNNING = (
    *("meter_id", "aggregation", "value", "currency", "time_zone", "anchor"),
    *("billing_frequency", "accumulation_frequency"),
)
"""Fields of a definition that all stretches of one accumulation period have in common."""
AGGREGATION_CODES: Mapping[Aggregation, int] = {Aggregation.SUM: 0, Aggregation.COUNT: 1, Aggregation.MAX: 2}
"""What the kernels call each aggregation."""
FOREVER_US = np.iinfo(np.int64).max
"""End of a charge without an end date."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One price of a definition: the whole plan, or one matrix rule."""

    id: str
    """Empty where the plan has no matrix."""
    match: tuple[tuple[str, str], ...]
    price: Price

    @property
    def billed(self) -> bool:
        """Whether it has a price at all."""
        return not isinstance(self.price.model, NoPrice)


@dataclass(frozen=True, slots=True)
class Definition:
    """All that rating needs to know of one product contract, under the versions that leave it as it is."""

    product_contract_id: str
    contract_path: tuple[str, ...]
    """Ids from the root contract down to the product contract."""
    customer_id: str
    meter_id: str
    product_id: str
    plan_id: str
    currency: str
    half_even: bool
    aggregation: Aggregation
    value: str | None
    filter: tuple[tuple[str, str], ...]
    cells: tuple[Cell, ...]
    time_zone: str
    anchor: date
    """Start of the contract, or of the one that overrides it, which anchors its periods."""
    billing_frequency: Frequency
    accumulation_frequency: Frequency
    start_us: int
    end_us: int
    tax: Tax | None
    country_code: str

    @property
    def minor_digits(self) -> int:
        """Decimals of the currency's minor unit."""
        return minor_digits(self.currency)

    @property
    def tax_inclusive(self) -> bool:
        """Whether a line contains its tax."""
        return self.tax is not None and self.tax.mode is TaxMode.INCLUSIVE

    def price_in(self, cell: int, start_us: int, end_us: int) -> Price:
        """The price of a cell in the accumulation period [start_us, end_us), as far as it is active in it."""
        price = self.cells[cell].price
        if price.included is None or not price.prorates:
            return price
        # The period may begin or end where one of another version does; its days are of the whole one all the same.
        whole = period_at(self.accumulation_frequency, self.accumulation_anchor(), self.time_zone, start_us)
        active = max(start_us, self.start_us), min(end_us, self.end_us)
        return price.including(prorated_between(price.included.quantity, self.time_zone, whole, active))

    def goes_on_from(self, earlier: Definition) -> bool:
        """Whether an accumulation period that ran under an earlier definition can go on under this one."""
        return all(getattr(self, field) == getattr(earlier, field) for field in KEPT_WHILE_RUNNING)

    def billing_anchor(self) -> date:
        """Boundary 0 of the billing periods."""
        return anchor_date(self.billing_frequency, self.anchor)

    def accumulation_anchor(self) -> date:
        """Boundary 0 of the accumulation periods."""
        return anchor_date(self.accumulation_frequency, self.anchor)


class DefinitionTable(NamedTuple):
    """Definitions as arrays, one row each; conditions and cells are ranges of the two arrays behind."""

    charge: NDArray[np.int32]
    meter: NDArray[np.int32]
    aggregation: NDArray[np.uint8]
    value: NDArray[np.int32]
    """Index of the value's name; -1: the event counts whatever it carries."""
    start_us: NDArray[np.int64]
    end_us: NDArray[np.int64]
    filter_start: NDArray[np.int32]
    filter_end: NDArray[np.int32]
    cell_start: NDArray[np.int32]
    cell_end: NDArray[np.int32]


class CellTable(NamedTuple):
    """Cells of all definitions: their price and the range of their conditions."""

    price: NDArray[np.int32]
    billed: NDArray[np.bool_]
    condition_start: NDArray[np.int32]
    condition_end: NDArray[np.int32]


class ConditionTable(NamedTuple):
    """Conditions of filters and cells: property `name` has value `text`, both as pool indices."""

    name: NDArray[np.int32]
    text: NDArray[np.int32]


class NamePool:
    """Strings numbered in the order of their first coming, for ever."""

    def __init__(self, index: Mapping[str, int] = MappingProxyType({})) -> None:
        self.index = dict(index)

    def add(self, name: str) -> int:
        """Number of a name, new or known."""
        return self.index.setdefault(name, len(self.index))

    def copy(self) -> NamePool:
        """A pool with the same names, which grows by itself from here on."""
        return NamePool(self.index)

    def __len__(self) -> int:
        return len(self.index)


class Pools:
    """Everything numbered that any version of one book's catalogue has ever named."""

    def __init__(self) -> None:
        self.customers = NamePool()
        """By id."""
        self.meters = NamePool()
        """By id."""
        self.charges = NamePool()
        """By product contract id."""
        self.value_names = NamePool()
        self.property_names = NamePool()
        self.currencies = NamePool()
        self.customer_references: dict[str, str] = {}
        """Id -> reference, of every customer that any version has had: references never change."""
        self.meter_references: dict[str, str] = {}
        self.texts = NamePool()
        """Property values that a condition names."""
        self.prices = PricePool()
        self.taxes = TaxPool()
        self.definitions: list[Definition] = []
        self._definition_index: dict[Definition, int] = {}
        self._rows = GrowingTable(DefinitionTable)
        self._cells = GrowingTable(CellTable)
        self._conditions = GrowingTable(ConditionTable)

    def copy(self) -> Pools:
        """Pools with the same numbers, which grow by themselves from here on. Definitions are shared."""
        twin = Pools()
        for name, pool in vars(self).items():
            setattr(twin, name, pool.copy())
        return twin

    @property
    def definition_table(self) -> DefinitionTable:
        """The definitions for the kernels."""
        return self._rows.arrays

    @property
    def cell_table(self) -> CellTable:
        """Their cells."""
        return self._cells.arrays

    @property
    def condition_table(self) -> ConditionTable:
        """Their conditions."""
        return self._conditions.arrays

    def remember(self, customers: Iterable[Customer], meters: Iterable[Meter]) -> None:
        """Keeps what ids refer to, also for when their objects are gone."""
        self.customer_references.update((each.id, each.reference) for each in customers)
        self.meter_references.update((each.id, each.reference) for each in meters)

    def add_definition(self, definition: Definition) -> int:
        """Index of a definition; equal ones share it."""
        known = self._definition_index.get(definition)
        if known is not None:
            return known
        filter_range = self._add_conditions(definition.filter)
        cell_start = len(self._cells)
        for cell in definition.cells:
            self._cells.append(self.prices.add(cell.price), cell.billed, *self._add_conditions(cell.match))
        value = -1 if definition.value is None else self.value_names.add(definition.value)
        index = self._rows.append(
            self.charges.add(definition.product_contract_id),
            self.meters.add(definition.meter_id),
            AGGREGATION_CODES[definition.aggregation],
            value,
            definition.start_us,
            definition.end_us,
            *filter_range,
            cell_start,
            len(self._cells),
        )
        self.customers.add(definition.customer_id)
        self.definitions.append(definition)
        self._definition_index[definition] = index
        return index

    def _add_conditions(self, match: Iterable[tuple[str, str]]) -> tuple[int, int]:
        start = len(self._conditions)
        for name, text in match:
            self._conditions.append(self.property_names.add(name), self.texts.add(text))
        return start, len(self._conditions)


class MatchTable(NamedTuple):
    """Which definitions an event of each customer may meet under one version."""

    customer_start: NDArray[np.int64]
    """[customers + 1] range of each customer in the two arrays behind."""
    definition: NDArray[np.int32]
    pinned_only: NDArray[np.bool_]
    """The current version no longer has the charge: only periods pinned earlier still take events."""


@dataclass(frozen=True)
class CompiledCatalog:
    """One version, ready for matching."""

    version: int
    catalog: Catalog
    match: MatchTable
    customer_by_id: Mapping[str, int]
    customer_by_reference: Mapping[str, int]
    meter_by_id: Mapping[str, int]
    meter_by_reference: Mapping[str, int]
    current_definitions: Mapping[int, int]
    """Charge -> definition, of the charges that this version has."""
    meter_id_by_reference: Mapping[str, str]
    """Reference -> id, of the version's meters."""
    determinants: Mapping[str, DeterminantSource]
    """Meter id -> source, of the meters that stand for billing determinants."""
    meters: Mapping[str, Meter]
    """By id: the catalogue's, and those that stand for billing determinants."""

    def determinants_of(self, customer_id: str, definitions: Sequence[Definition]) -> Mapping[str, DeterminantSource]:
        """Meter id -> source of each determinant that some product contract of a customer charges for.

        `definitions` are those of the pools. Time in the number of the customer's product contracts.
        """
        customer = self.customer_by_id.get(customer_id)
        if customer is None or not self.determinants or customer + 1 >= len(self.match.customer_start):
            return {}
        start, end = self.match.customer_start[customer : customer + 2].tolist()
        named = (definitions[index].meter_id for index in self.match.definition[start:end].tolist())
        return {name: self.determinants[name] for name in named if name in self.determinants}

    def meter(self, name: str, is_id: bool) -> Meter | None:
        """The meter that an id or reference names; None where the version has none."""
        return self.meters.get(name if is_id else self.meter_id_by_reference.get(name, ""))

    def is_of_determinants(self, name: str, is_id: bool) -> bool:
        """Whether an id or reference is a BILLING channel's: one that a product is made of, or could be."""
        if name in self.determinants:
            return True
        return name.startswith(f"{PREFIX}_") and self.meter(name, is_id) is None


def compile_catalog(catalog: Catalog, pools: Pools, earlier_charges: Iterable[int]) -> CompiledCatalog:
    """Adds a checked catalogue to the pools and makes its match table.

    `earlier_charges` are definitions that open periods are pinned to: their charges stay matchable for those periods.
    """
    taxes = {tax.country_code: tax for tax in catalog.taxes.values()}
    by_customer: dict[int, list[tuple[int, bool]]] = {}
    current: dict[int, int] = {}
    for contract in catalog.contracts.values():
        for path in contract.levels():
            for product_contract in path[-1].product_contracts:
                index = pools.add_definition(definition_of(catalog, taxes, path, product_contract))
                current[int(pools.definition_table.charge[index])] = index
                by_customer.setdefault(pools.customers.add(contract.customer), []).append((index, False))
    # A charge is met once, by whichever definition: that of the open period counts.
    met = set(current)
    for index in earlier_charges:
        charge = int(pools.definition_table.charge[index])
        if charge not in met:
            met.add(charge)
            customer = pools.customers.add(pools.definitions[index].customer_id)
            by_customer.setdefault(customer, []).append((index, True))
    sources = {each.meter: each.determinant for each in catalog.products.values() if each.determinant is not None}
    meters = {**catalog.meters, **{name: source.meter() for name, source in sources.items()}}
    pools.remember(catalog.customers.values(), meters.values())
    customer_by_id = {key: pools.customers.add(key) for key in catalog.customers}
    meter_by_id = {key: pools.meters.add(key) for key in meters}
    for meter in meters.values():
        for name in meter.values:
            pools.value_names.add(name)
        for name in meter.properties:
            pools.property_names.add(name)
    return CompiledCatalog(
        version=catalog.version,
        catalog=catalog,
        match=_match_table(by_customer, len(pools.customers)),
        customer_by_id=customer_by_id,
        customer_by_reference={c.reference: customer_by_id[c.id] for c in catalog.customers.values()},
        meter_by_id=meter_by_id,
        meter_by_reference={m.reference: meter_by_id[m.id] for m in meters.values()},
        current_definitions=current,
        meter_id_by_reference={m.reference: m.id for m in meters.values()},
        determinants=sources,
        meters=meters,
    )


def _match_table(by_customer: Mapping[int, list[tuple[int, bool]]], customer_count: int) -> MatchTable:
    counts = np.zeros(customer_count + 1, dtype=np.int64)
    for customer, entries in by_customer.items():
        counts[customer + 1] = len(entries)
    flat = [entry for customer in sorted(by_customer) for entry in by_customer[customer]]
    return MatchTable(
        customer_start=np.cumsum(counts),
        definition=np.array([index for index, _ in flat], dtype=np.int32),
        pinned_only=np.array([pinned for _, pinned in flat], dtype=np.bool_),
    )


def cells_of(plan: Plan) -> tuple[Cell, ...]:
    """The prices of a plan."""
    if isinstance(plan.price, Matrix):
        return tuple(Cell(rule.id, rule.match, rule.price) for rule in plan.price.rules)
    return (Cell("", (), plan.price),)


def definition_of(
    catalog: Catalog, taxes: Mapping[str, Tax], path: tuple[Contract, ...], product_contract: ProductContract
) -> Definition:
    """What a product contract means; `taxes` by country code, `path` from the root down to its contract."""
    contract, billed = path[-1], billed_as(path)
    plan: Plan = catalog.plans[product_contract.plan]
    product: Product = catalog.products[plan.product]
    customer = catalog.customers[contract.customer]
    start = product_contract.start_date or contract.start_date
    end = product_contract.end_date or contract.ends_on
    return Definition(
        product_contract_id=product_contract.id,
        contract_path=(*(level.id for level in path), product_contract.id),
        customer_id=customer.id,
        meter_id=product.meter,
        product_id=product.id,
        plan_id=plan.id,
        currency=plan.currency,
        half_even=plan.rounding is Rounding.HALF_EVEN,
        aggregation=product.aggregation,
        value=product.value,
        filter=product.filter,
        cells=cells_of(plan),
        time_zone=contract.time_zone,
        anchor=billed.start_date,
        billing_frequency=billed.billing_frequency,
        accumulation_frequency=product_contract.accumulation_period or billed.billing_frequency,
        start_us=midnight(contract.time_zone, start),
        end_us=FOREVER_US if end is None else midnight(contract.time_zone, end),
        tax=taxes.get(customer.country_code),
        country_code=customer.country_code,
    )
