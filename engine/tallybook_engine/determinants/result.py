"""What a billing request is answered with: determinants, or a cancellation that names channel, period and reason."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from tallybook_engine.determinants.kinds import Kind


class Reason(Enum):
    """Why a request is cancelled, or what a result that was computed anyway has to say."""

    NO_READINGS = "NO_READINGS"
    """A requested channel has no row in the period."""
    NOT_BILLABLE = "NOT_BILLABLE"
    """A row of a requested channel has a status that may not be billed."""
    NO_HOLIDAY_CALENDAR = "NO_HOLIDAY_CALENDAR"
    """Timeslices are asked for and the datasource has no holiday calendar. Cancels whatever `on_invalid` says."""
    HOLIDAY_CALENDAR_NOT_VALID = "HOLIDAY_CALENDAR_NOT_VALID"
    """Timeslices are asked for and the calendar does not speak of the whole period. Cancels likewise."""
    DOES_NOT_FIT = "DOES_NOT_FIT"
    """A determinant would reach 10^15. Cancels likewise."""
    NO_READ_AT_END = "NO_READ_AT_END"
    """A register has no reading at a period's end: its value is absent. Never cancels."""
    FEWER_PEAKS = "FEWER_PEAKS"
    """A mean of peaks is that of fewer than were asked for: the period has no more. Never cancels."""


ALWAYS_CANCELS = frozenset({Reason.NO_HOLIDAY_CALENDAR, Reason.HOLIDAY_CALENDAR_NOT_VALID, Reason.DOES_NOT_FIT})
NEVER_CANCELS = frozenset({Reason.NO_READ_AT_END, Reason.FEWER_PEAKS})


@dataclass(frozen=True)
class Cause:
    """One thing that is wrong."""

    reason: Reason
    channel: str
    """Name of the channel."""
    start_us: int
    """Of the period that it is wrong in."""
    end_us: int
    detail: str
    """For people: which statuses and how many rows."""


@dataclass(frozen=True)
class Cancellation:
    """Nothing was computed and nothing is stored."""

    datasource: str
    start_us: int
    end_us: int
    causes: tuple[Cause, ...]
    """Everything that was found, in the order of the request; at least one."""

    @property
    def reason(self) -> Reason:
        """That of the first cause."""
        return self.causes[0].reason


class Counts(NamedTuple):
    """Of what a determinant was computed."""

    expected: int | None
    """Intervals that the period should have; None where intervals have no one length."""
    present: int
    """Rows with a value."""
    missing: int | None
    """Expected and not present; a gap has no status."""
    by_status: tuple[tuple[str, int], ...]
    """Rows of each status that has any, from the best to the worst."""
    coverage: int | None
    """Present of expected, or covered time of the whole where nothing is expected, scale 12; None of nothing."""


class Peak(NamedTuple):
    """Where a maximum is."""

    start_us: int
    """Of its interval; the first of equal ones."""
    end_us: int
    label_us: int
    """Its timestamp as sent."""
    quality: str
    """Of the peak's own interval; the determinant's is the period's worst."""
    occurrence_count: int
    """How many intervals have this maximum."""


class Determinant(NamedTuple):
    """One number that a bill is made of.

    A request makes hundreds of them: a frozen dataclass takes several times as long to make.
    """

    kind: Kind
    channel: str
    """Name of the channel it was computed of."""
    classifier: str
    """Id of the channel's classifier."""
    slice: str | None
    """Name of the slice, or UNCOVERED; of TIMESLICE and of demand by slice."""
    demand: str | None
    """Id of the demand request."""
    billing_channel: str
    """Where it is stored, see `naming`."""
    unit: str
    start_us: int
    """Of its period."""
    end_us: int
    is_month: bool
    """Whether its period is a part of the requested one: a local month, partial at the ends."""
    value: int | None
    """Scale 12. None: there is none (a maximum of no values, a register without a reading)."""
    quality: str | None
    """The worst status of the rows; None where there is no row."""
    counts: Counts | None = None
    """Absent for registers; of a demand those of its own channel."""
    peaks: tuple[Peak, ...] = ()
    """Of PMAX one, where there is a value; of demand schemes those that count."""
    read_us: int | None = None
    """When a register's reading was taken."""
    timeslice_group: str | None = None
    """Id of the group, of TIMESLICE."""
    as_power: bool = False
    """Of PMAX: whether it is the maximum of mean power."""


@dataclass(frozen=True)
class Result:
    """Everything that was asked for, and nothing else."""

    datasource: str
    start_us: int
    end_us: int
    time_zone: str
    determinants: tuple[Determinant, ...]
    """In the order of the request; of each, the whole period first and then its months."""
    remarks: tuple[Cause, ...]
    """What was wrong and did not cancel."""
    catalog_version: int
    holiday_calendar: str | None
    """Id of the calendar that was used."""
    holiday_calendar_version: int | None

    @property
    def is_billable(self) -> bool:
        """Whether it would have been computed under CANCEL too: what was only reported is no usage."""
        return all(each.reason in NEVER_CANCELS for each in self.remarks)
