"""What is configured of meters as a whole: datasources, and what their channels refer to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from tallybook_engine.determinants.configuration import ChannelClassifier, HolidayCalendar, TimesliceGroup
from tallybook_engine.determinants.quality import DEFAULT_QUALITY, QualityTable
from tallybook_engine.determinants.request import BillingConfiguration

Named = TypeVar("Named")


class UnknownDatasource(KeyError):
    """Nothing is configured under the id."""


class MeteringFault(ValueError):
    """A datasource refers to what is not there; `path` is the field of the datasource."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(message)
        self.path = path
        self.message = message


@dataclass(frozen=True)
class Datasource:
    """A meter, or whatever else delivers readings."""

    id: str
    channels: tuple[tuple[str, str], ...]
    """(name, id of its classifier), each name once."""
    holiday_calendar: str | None = None
    quality_table: str | None = None
    register_tolerance_us: int = 0


@dataclass(frozen=True)
class Metering:
    """Everything that is configured, by id; under one version of the catalogue."""

    datasources: Mapping[str, Datasource] = field(default_factory=dict)
    classifiers: Mapping[str, ChannelClassifier] = field(default_factory=dict)
    timeslice_groups: Mapping[str, TimesliceGroup] = field(default_factory=dict)
    holiday_calendars: Mapping[str, HolidayCalendar] = field(default_factory=dict)
    quality_tables: Mapping[str, QualityTable] = field(default_factory=dict)
    catalog_version: int = 0

    def of(self, datasource_id: str) -> BillingConfiguration:
        """What is configured of one datasource. Raises UnknownDatasource and MeteringFault."""
        datasource = self.datasources.get(datasource_id)
        if datasource is None:
            raise UnknownDatasource(datasource_id)
        classifiers = {}
        for index, (name, classifier) in enumerate(datasource.channels):
            classifiers[name] = _named(self.classifiers, classifier, f"channels[{index}].classifier")
        calendar = quality = None
        if datasource.holiday_calendar is not None:
            calendar = _named(self.holiday_calendars, datasource.holiday_calendar, "holiday_calendar")
        if datasource.quality_table is not None:
            quality = _named(self.quality_tables, datasource.quality_table, "quality_table")
        return BillingConfiguration(
            classifiers,
            self.timeslice_groups,
            calendar,
            quality or DEFAULT_QUALITY,
            datasource.register_tolerance_us,
            self.catalog_version,
        )


NO_METERING = Metering()
"""Of a book that configures none."""


def _named(found: Mapping[str, Named], name: str, path: str) -> Named:
    if name not in found:
        raise MeteringFault(path, f'"{name}" is not in the configuration')
    return found[name]
