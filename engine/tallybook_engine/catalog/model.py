"""The catalogue as frozen values: everything that a book's owner configures.

Numbers are integers scaled by 10^12. Ids are the caller's and never change. Defaults are filled in: a reference that
was left out is the id, and a sub-contract carries the zone, dates and billing frequency it takes from its parent.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import date
from enum import Enum
from types import MappingProxyType
from typing import TypeVar

from tallybook_engine.determinants.configuration import (
    ChannelClassifier,
    Datasource,
    HolidayCalendar,
    TimesliceGroup,
)
from tallybook_engine.determinants.kinds import Kind
from tallybook_engine.determinants.naming import billing_channel
from tallybook_engine.determinants.quality import QualityTable
from tallybook_engine.pricing.model import Price, Rounding


class Aggregation(Enum):
    """How the events of an accumulation period become one quantity."""

    SUM = "SUM"
    """The sum of a value."""
    COUNT = "COUNT"
    """The number of events."""
    MAX = "MAX"
    """The largest value."""


class TaxMode(Enum):
    """Whether prices contain the tax."""

    EXCLUSIVE = "EXCLUSIVE"
    """Tax is added to the line."""
    INCLUSIVE = "INCLUSIVE"
    """The line contains its tax."""


class Basis(Enum):
    """Where the periods of a frequency are anchored."""

    CALENDAR = "CALENDAR"
    """At the contract's start, floored to the unit: ISO Monday, first of the month, 1 January."""
    CONTRACT = "CONTRACT"
    """At the contract's start."""


class PeriodUnit(Enum):
    """Unit of a frequency."""

    DAY = "DAY"
    WEEK = "WEEK"
    MONTH = "MONTH"
    YEAR = "YEAR"


@dataclass(frozen=True)
class Frequency:
    """Every `interval` units, from an anchor."""

    basis: Basis
    interval: int
    """Units in one period, at least 1."""
    unit: PeriodUnit


@dataclass(frozen=True)
class Tax:
    """The tax of one country."""

    id: str
    country_code: str
    """ISO 3166-1 alpha-2; a customer of this country owes it."""
    rate: int
    """0.21 is 21 %; scale 12."""
    mode: TaxMode = TaxMode.EXCLUSIVE


@dataclass(frozen=True)
class Meter:
    """What events measure and what they may say beside it."""

    id: str
    reference: str
    values: tuple[str, ...]
    """References of the numbers an event may carry."""
    properties: tuple[str, ...]
    """References of the texts an event may carry."""
    allow_negative: bool = False
    """Whether an event's value may be below 0."""


DETERMINANT_VALUE = "value"
"""What the events that determinants become carry."""
DETERMINANT_PROPERTIES = ("datasource",)
"""What they say beside it."""


@dataclass(frozen=True)
class DeterminantSource:
    """Which billing determinant a product is made of."""

    classifier: str
    """Id of the channel's classifier."""
    kind: Kind
    slice: str | None = None
    demand: str | None = None
    """Id of the demand request."""
    timeslice_group: str | None = None
    """Id of the group of a TIMESLICE."""
    as_power: bool = False
    """Of PMAX: the maximum of mean power."""

    def meter(self) -> Meter:
        """What its events are of: a meter that no catalogue keeps, named as the BILLING channel without _MONTH."""
        name = billing_channel(
            self.classifier,
            self.kind,
            slice_name=self.slice,
            demand=self.demand,
            timeslice_group=self.timeslice_group,
            as_power=self.as_power,
        )
        return Meter(name, name, (DETERMINANT_VALUE,), DETERMINANT_PROPERTIES, allow_negative=True)


@dataclass(frozen=True)
class Product:
    """A meter's events made one quantity: which value, which events, how they add up."""

    id: str
    reference: str
    meter: str
    """Id of the meter."""
    aggregation: Aggregation
    value: str | None = None
    """Reference of the aggregated value; None for COUNT."""
    filter: tuple[tuple[str, str], ...] = ()
    """(property, value) pairs, sorted by property; an event counts where all of them hold."""
    determinant: DeterminantSource | None = None
    """What its events are made of, where they are billing determinants; meter and value then follow from it."""


def determinant_product(
    id: str,  # noqa: A002 - the field's name
    reference: str,
    aggregation: Aggregation,
    filter: tuple[tuple[str, str], ...],  # noqa: A002 - the field's name
    source: DeterminantSource,
) -> Product:
    """A product that is made of a billing determinant."""
    return Product(id, reference, source.meter().id, aggregation, DETERMINANT_VALUE, filter, source)


@dataclass(frozen=True)
class MatrixRule:
    """A price for the events whose properties fit."""

    id: str
    """Names the cell; unique in its plan."""
    match: tuple[tuple[str, str], ...]
    """(property, value) pairs, sorted by property; all must hold. Empty: fits every event."""
    price: Price


@dataclass(frozen=True)
class Matrix:
    """Prices by property: an event belongs to the first rule that fits, and each rule accumulates apart."""

    rules: tuple[MatrixRule, ...]


@dataclass(frozen=True)
class Plan:
    """What a product costs."""

    id: str
    product: str
    """Id of the product."""
    currency: str
    """ISO 4217 code."""
    price: Price | Matrix
    rounding: Rounding = Rounding.HALF_AWAY_FROM_ZERO
    """How a charge line is rounded to minor units: HALF_AWAY_FROM_ZERO or HALF_EVEN."""


@dataclass(frozen=True)
class Customer:
    """Who pays."""

    id: str
    reference: str
    """What events name the customer by; never changes."""
    name: str
    country_code: str
    """ISO 3166-1 alpha-2; empty: no tax applies."""


@dataclass(frozen=True)
class ProductContract:
    """A plan as sold in one contract."""

    id: str
    """Unique over the whole catalogue; left out, it is `<contract id>/<plan id>`."""
    plan: str
    """Id of the plan."""
    accumulation_period: Frequency | None = None
    """Over which the quantity runs up through the tiers; None: the contract's billing frequency."""
    start_date: date | None = None
    """First day, in the contract's zone; None: the contract's."""
    end_date: date | None = None
    """First day after, in the contract's zone; None: the contract's."""
    shared: bool = False
    """May charge the same events as another product contract that is shared too."""


class DiscountMode(Enum):
    """What a discount is a percentage of, once its threshold is exceeded."""

    ALL = "ALL"
    """Of the whole amount."""
    EXCESS = "EXCESS"
    """Of what lies above the threshold."""


@dataclass(frozen=True)
class Discount:
    """A percentage off what a contract comes to in a billing period."""

    rate: int
    """0.1 is 10 %; scale 12."""
    threshold: int = 0
    """Due where the amount is above it; scale 12."""
    mode: DiscountMode = DiscountMode.ALL


@dataclass(frozen=True)
class Credit:
    """Money that a contract begins with and that pays what it comes to, until it is used up or expires."""

    id: str
    """Unique in its contract."""
    amount: int
    """Scale 12."""
    start_date: date | None = None
    """First day; None: the contract's."""
    end_date: date | None = None
    """First day after; None: it does not expire."""


class FeeTiming(Enum):
    """When a fixed fee is billed."""

    IN_ADVANCE = "IN_ADVANCE"
    """In the billing period that its period begins in."""
    IN_ARREARS = "IN_ARREARS"
    """In the billing period that its period ends in."""


@dataclass(frozen=True)
class FixedFee:
    """An amount that is due without usage: once, or every period."""

    id: str
    """Unique among the fees, revenue shares and product contracts of its tree."""
    amount: int
    """Of a whole period; scale 12."""
    timing: FeeTiming = FeeTiming.IN_ARREARS
    once: bool = False
    frequency: Frequency | None = None
    """Its periods; None: the contract's billing periods."""
    start_date: date | None = None
    """First day; None: the contract's."""
    end_date: date | None = None
    """First day after; None: the contract's."""
    prorate: bool = False
    """Whether a period that is not whole costs by its days."""
    per_term: bool = False
    """Whether its periods are the contract's terms."""


@dataclass(frozen=True)
class RevenueShare:
    """A percentage of what other charges of a tree come to in a billing period."""

    id: str
    """Unique among the fees, revenue shares and product contracts of its tree."""
    rate: int
    """0.1 is 10 %; scale 12."""
    charges: tuple[str, ...]
    """Ids of product contracts, fixed fees and revenue shares of the same level or below."""


@dataclass(frozen=True, eq=False)
class Contract:
    """One level of a customer's contract tree.

    A tree may be a thousand levels deep, so that whatever walks it does so without recursion, comparing too.
    """

    id: str
    """Unique over the whole catalogue, all levels together."""
    customer: str
    """Id of the customer; one for the whole tree."""
    time_zone: str
    """IANA name; days and periods are of this zone."""
    start_date: date
    """First day."""
    end_date: date | None
    """First day after; None: no end."""
    billing_frequency: Frequency
    product_contracts: tuple[ProductContract, ...] = ()
    sub_contracts: tuple[Contract, ...] = ()
    currency: str | None = None
    """ISO 4217 code of the amounts of the whole tree; only a root has one. None: that of its plans."""
    payment_term_days: int = 0
    """Days from the invoice to when it is due; one for the whole tree."""
    fixed_fees: tuple[FixedFee, ...] = ()
    revenue_shares: tuple[RevenueShare, ...] = ()
    discount: Discount | None = None
    cap: int | None = None
    """At most this in a billing period; scale 12."""
    minimum: int | None = None
    """At least this in a billing period; scale 12."""
    credits: tuple[Credit, ...] = ()
    prorate: bool = False
    """Whether minimum, cap and the discount's threshold of a period that is not whole are by its days."""
    auto_renewal: bool = False
    """Whether it is renewed at its end date, again and again."""
    override_underlying: bool = False
    """Whether its billing frequency and its start are those of all levels below, too."""
    listed: bool = False
    """Whether it is written in the root's list with its parent's id, and not within its parent."""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Contract):
            return NotImplemented
        due = [(self, other)]
        while due:
            one, another = due.pop()
            if one is another:
                continue
            if _own(one) != _own(another) or len(one.sub_contracts) != len(another.sub_contracts):
                return False
            due += zip(one.sub_contracts, another.sub_contracts, strict=True)
        return True

    def __hash__(self) -> int:
        return hash((self.id, self.customer, self.start_date, len(self.sub_contracts)))

    @property
    def ends_on(self) -> date | None:
        """First day after the contract; None: no end, or it is renewed at its end date."""
        return None if self.auto_renewal else self.end_date

    def levels(self) -> Iterator[tuple[Contract, ...]]:
        """Every contract of the tree, parents before children, each as its path from the root."""
        due: list[tuple[Contract, ...]] = [(self,)]
        while due:
            path = due.pop()
            yield path
            due.extend((*path, each) for each in reversed(path[-1].sub_contracts))


_own = operator.attrgetter(*(each.name for each in fields(Contract) if each.name != "sub_contracts"))
"""What a contract has itself, without the contracts below it."""


Value = TypeVar("Value", Contract, ProductContract)


def with_fields(value: Value, **changed: object) -> Value:
    """As `dataclasses.replace`, which takes ten times as long, and a scenario changes thousands."""
    made = object.__new__(type(value))
    made.__dict__.update(value.__dict__, **changed)
    return made


def with_each_level(root: Contract, changed: Callable[[Contract], Contract]) -> Contract:
    """A tree whose every level is changed, those below it first; itself where nothing changes.

    `changed` takes a level that has its changed sub-contracts already; what it does not change, it answers itself.
    """
    if not root.sub_contracts:
        return changed(root)
    made: dict[int, Contract] = {}
    for path in reversed(list(root.levels())):
        level = path[-1]
        below = tuple(made[id(each)] for each in level.sub_contracts)
        if any(one is not other for one, other in zip(below, level.sub_contracts, strict=True)):
            made[id(level)] = changed(replace(level, sub_contracts=below))
        else:
            made[id(level)] = changed(level)
    return made[id(root)]


def billed_as(path: tuple[Contract, ...]) -> Contract:
    """The contract whose billing frequency and start count for the last one of a path from the root: the highest one
    that overrides what lies below it, or else itself.
    """
    if len(path) == 1:
        return path[0]
    return next((each for each in path if each.override_underlying), path[-1])


MeteringObject = QualityTable | HolidayCalendar | TimesliceGroup | ChannelClassifier | Datasource
"""What is configured about meters, see `determinants/configuration`."""
CatalogObject = Tax | Meter | Product | Plan | Customer | Contract | MeteringObject
"""What a catalogue keeps by id."""

Kept = TypeVar("Kept", bound=CatalogObject)


def _nothing() -> Mapping[str, Kept]:
    return MappingProxyType({})


@dataclass(frozen=True)
class Catalog:
    """One version of a book's catalogue: immutable mappings by id, in order of first putting."""

    version: int = 0
    """0 is the empty catalogue of a new book; each change that changes something adds 1."""
    taxes: Mapping[str, Tax] = field(default_factory=_nothing)
    meters: Mapping[str, Meter] = field(default_factory=_nothing)
    products: Mapping[str, Product] = field(default_factory=_nothing)
    plans: Mapping[str, Plan] = field(default_factory=_nothing)
    customers: Mapping[str, Customer] = field(default_factory=_nothing)
    contracts: Mapping[str, Contract] = field(default_factory=_nothing)
    """Roots of the contract trees."""
    quality_tables: Mapping[str, QualityTable] = field(default_factory=_nothing)
    holiday_calendars: Mapping[str, HolidayCalendar] = field(default_factory=_nothing)
    timeslice_groups: Mapping[str, TimesliceGroup] = field(default_factory=_nothing)
    channel_classifiers: Mapping[str, ChannelClassifier] = field(default_factory=_nothing)
    datasources: Mapping[str, Datasource] = field(default_factory=_nothing)

    def meter_of(self, product: Product) -> Meter | None:
        """The meter that a product is of; None where there is none."""
        return self.meters.get(product.meter) if product.determinant is None else product.determinant.meter()
