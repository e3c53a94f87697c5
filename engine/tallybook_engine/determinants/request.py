"""A billing request, and what the catalogue knows that it takes to answer it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from tallybook_engine.demand.model import DemandScheme
from tallybook_engine.determinants.configuration import ChannelClassifier, HolidayCalendar, TimesliceGroup
from tallybook_engine.determinants.kinds import Kind
from tallybook_engine.determinants.quality import DEFAULT_QUALITY, QualityTable


class RequestFault(ValueError):
    """A request that cannot be answered whatever the readings: it names what is not there, or makes no sense."""


class OnInvalid(Enum):
    """What becomes of a request whose readings do not pass validation."""

    CANCEL = "CANCEL"
    REPORT = "REPORT"
    """It is computed all the same, and the result says what was wrong."""


@dataclass(frozen=True)
class ChannelRequest:
    """One kind of determinant of one channel."""

    channel: str
    """Name of the channel at its datasource."""
    kind: Kind
    """INTERVAL, TIMESLICE, PMAX or REGISTER."""
    timeslice_group: str | None = None
    """Id of the group, for TIMESLICE."""
    as_power: bool = False
    """For PMAX of energy: the maximum is that of mean power, kW of kWh."""


@dataclass(frozen=True)
class DemandRequest:
    """A demand scheme over one channel."""

    id: str
    """Names the determinant; unique in its request."""
    channel: str
    """Name of the channel; of energy (then its mean power counts) or of power."""
    scheme: DemandScheme
    """With its options."""
    history: tuple[int | None, ...] = ()
    """Peaks of the local months before the period, oldest first, scale 12; None: not known. For schemes that look
    back."""


@dataclass(frozen=True)
class BillingRequest:
    """Determinants of one datasource over one period."""

    datasource: str
    start_us: int
    """Microseconds since the epoch."""
    end_us: int
    """Not before the start. Which labels the period takes, their channel's classifier says."""
    time_zone: str
    """IANA name; months, days and slices are of this zone."""
    channels: tuple[ChannelRequest, ...] = ()
    demands: tuple[DemandRequest, ...] = ()
    split_by_month: bool = False
    """Answer each local month of the period too, partial at the ends."""
    on_invalid: OnInvalid = OnInvalid.CANCEL


@dataclass(frozen=True)
class BillingConfiguration:
    """What the catalogue says of one datasource, under one version."""

    classifiers: Mapping[str, ChannelClassifier]
    """By the name of the datasource's channel."""
    timeslice_groups: Mapping[str, TimesliceGroup] = field(default_factory=dict)
    """By id."""
    holiday_calendar: HolidayCalendar | None = None
    """The datasource's tag."""
    quality: QualityTable = DEFAULT_QUALITY
    register_tolerance_us: int = 0
    """How far from the period's bounds a register's reading may lie; the nearest counts, the earlier of two."""
    catalog_version: int = 0
