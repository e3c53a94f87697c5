"""A change of a catalogue as it is asked for: objects to put, ids to remove."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from tallybook_engine.catalog.model import CatalogObject, Contract, Customer, Meter, Plan, Product, Tax
from tallybook_engine.determinants.configuration import (
    ChannelClassifier,
    Datasource,
    HolidayCalendar,
    TimesliceGroup,
)
from tallybook_engine.determinants.quality import QualityTable

METERING_KINDS = ("quality_tables", "holiday_calendars", "timeslice_groups", "channel_classifiers", "datasources")
"""Kinds of what is configured about meters; a request's own configuration has these too."""
KINDS = ("taxes", "meters", "products", "plans", "customers", "contracts", *METERING_KINDS)
"""Kinds of objects, in the contract's order; attributes of Catalog, CatalogObjects and CatalogIds."""


@dataclass(frozen=True)
class CatalogObjects:
    """Objects by kind, in the order given; ids may be repeated (which is a fault)."""

    taxes: tuple[Tax, ...] = ()
    meters: tuple[Meter, ...] = ()
    products: tuple[Product, ...] = ()
    plans: tuple[Plan, ...] = ()
    customers: tuple[Customer, ...] = ()
    contracts: tuple[Contract, ...] = ()
    quality_tables: tuple[QualityTable, ...] = ()
    holiday_calendars: tuple[HolidayCalendar, ...] = ()
    timeslice_groups: tuple[TimesliceGroup, ...] = ()
    channel_classifiers: tuple[ChannelClassifier, ...] = ()
    datasources: tuple[Datasource, ...] = ()

    def of_kind(self, kind: str) -> tuple[CatalogObject, ...]:
        """Objects of one of KINDS."""
        objects: tuple[CatalogObject, ...] = getattr(self, kind)
        return objects

    def __iter__(self) -> Iterator[tuple[str, int, CatalogObject]]:
        """(kind, index, object) of all, kind by kind."""
        for kind in KINDS:
            for index, each in enumerate(self.of_kind(kind)):
                yield kind, index, each


@dataclass(frozen=True)
class CatalogIds:
    """Ids by kind."""

    taxes: tuple[str, ...] = ()
    meters: tuple[str, ...] = ()
    products: tuple[str, ...] = ()
    plans: tuple[str, ...] = ()
    customers: tuple[str, ...] = ()
    contracts: tuple[str, ...] = ()
    quality_tables: tuple[str, ...] = ()
    holiday_calendars: tuple[str, ...] = ()
    timeslice_groups: tuple[str, ...] = ()
    channel_classifiers: tuple[str, ...] = ()
    datasources: tuple[str, ...] = ()

    def of_kind(self, kind: str) -> tuple[str, ...]:
        """Ids of one of KINDS."""
        ids: tuple[str, ...] = getattr(self, kind)
        return ids


@dataclass(frozen=True)
class CatalogChange:
    """What to put and what to remove, as one change."""

    put: CatalogObjects = field(default_factory=CatalogObjects)
    remove: CatalogIds = field(default_factory=CatalogIds)
    prune: bool = False
    """Also remove everything that is not put."""
    effective_from_us: int | None = None
    """Instant from which running accumulation periods go on under the change; None: they stay as they are."""
