"""Billing determinants as frozen values. Numbers are `Decimal`, instants are UTC datetimes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import polars as pl

from tallybook.v1 import determinants_pb2
from tallybook_client.errors import DeterminantsCause, TallybookError, from_status, read_causes
from tallybook_client.numbers import optional_decimal, to_datetime

DETERMINANTS_SCHEMA: Mapping[str, Any] = MappingProxyType(
    {
        "datasource": pl.String,
        "billing_channel": pl.String,
        "kind": pl.String,
        "channel": pl.String,
        "slice": pl.String,
        "demand": pl.String,
        "start_time": pl.Datetime("us", "UTC"),
        "end_time": pl.Datetime("us", "UTC"),
        "is_month": pl.Boolean,
        "value": pl.Decimal(38, 12),
        "unit": pl.String,
        "quality": pl.String,
        "expected_count": pl.Int64,
        "present_count": pl.Int64,
        "missing_count": pl.Int64,
        "coverage": pl.Decimal(38, 12),
        "peak_start_time": pl.Datetime("us", "UTC"),
        "peak_end_time": pl.Datetime("us", "UTC"),
    }
)
"""Columns of a result's frame. The peak is the first one."""


class Kind(StrEnum):
    """What a determinant is."""

    INTERVAL = "INTERVAL"
    TIMESLICE = "TIMESLICE"
    PMAX = "PMAX"
    REGISTER = "REGISTER"
    REGISTER_DIFFERENCE = "REGISTER_DIFFERENCE"
    DEMAND = "DEMAND"


@dataclass(frozen=True, slots=True)
class IntervalCounts:
    """Of what a determinant was computed."""

    expected_count: int | None
    """None where intervals have no one length."""
    present_count: int
    missing_count: int | None
    status_counts: Mapping[str, int]
    """Readings of each status that has any, from the best to the worst."""
    coverage: Decimal | None

    @classmethod
    def read(cls, message: determinants_pb2.IntervalCounts) -> IntervalCounts:
        """The value of a message."""
        return cls(
            message.expected_count if message.HasField("expected_count") else None,
            message.present_count,
            message.missing_count if message.HasField("missing_count") else None,
            MappingProxyType({each.status: each.count for each in message.statuses}),
            optional_decimal(message.coverage),
        )


@dataclass(frozen=True, slots=True)
class Peak:
    """Where a maximum is."""

    start_time: datetime
    end_time: datetime
    label_time: datetime
    """Its timestamp as sent."""
    quality: str
    occurrence_count: int
    """How many intervals have this maximum; this is the first."""

    @classmethod
    def read(cls, message: determinants_pb2.Peak) -> Peak:
        """The value of a message."""
        return cls(
            to_datetime(message.period.start_time),
            to_datetime(message.period.end_time),
            to_datetime(message.label_time),
            message.quality,
            message.occurrence_count,
        )


@dataclass(frozen=True, slots=True)
class Determinant:
    """One number that a bill is made of."""

    kind: Kind
    channel: str
    classifier: str
    slice: str
    """Empty where it is of no slice."""
    demand: str
    """Id of the demand request; empty for other kinds."""
    billing_channel: str
    unit: str
    start_time: datetime
    end_time: datetime
    is_month: bool
    value: Decimal | None
    quality: str
    """The worst of its readings; empty where there are none."""
    counts: IntervalCounts | None
    peaks: tuple[Peak, ...]
    read_time: datetime | None
    timeslice_group: str
    """Id of the group of a TIMESLICE; empty for other kinds."""
    as_power: bool
    """Of PMAX: whether it is the maximum of mean power."""
    message: determinants_pb2.Determinant = field(repr=False, compare=False)

    @classmethod
    def read(cls, message: determinants_pb2.Determinant) -> Determinant:
        """The value of a message."""
        return cls(
            Kind(determinants_pb2.Determinant.Kind.Name(message.kind)),
            message.channel,
            message.classifier,
            message.slice,
            message.demand,
            message.billing_channel,
            message.unit,
            to_datetime(message.period.start_time),
            to_datetime(message.period.end_time),
            message.is_month,
            optional_decimal(message.value),
            message.quality,
            IntervalCounts.read(message.counts) if message.HasField("counts") else None,
            tuple(map(Peak.read, message.peaks)),
            to_datetime(message.read_time) if message.HasField("read_time") else None,
            message.timeslice_group,
            message.as_power,
            message,
        )


@dataclass(frozen=True, slots=True)
class Determinants(Sequence[Determinant]):
    """Everything that one billing request asked for, in its order."""

    datasource: str
    start_time: datetime
    end_time: datetime
    time_zone: str
    determinants: tuple[Determinant, ...]
    remarks: tuple[DeterminantsCause, ...]
    """What was wrong and did not cancel."""
    holiday_calendar: str
    holiday_calendar_version: int
    calculation_time: datetime
    message: determinants_pb2.DeterminantsResult = field(repr=False, compare=False)

    @classmethod
    def read(cls, message: determinants_pb2.DeterminantsResult) -> Determinants:
        """The value of a message."""
        return cls(
            message.datasource,
            to_datetime(message.period.start_time),
            to_datetime(message.period.end_time),
            message.time_zone,
            tuple(map(Determinant.read, message.determinants)),
            read_causes(message.remarks),
            message.holiday_calendar,
            message.holiday_calendar_version,
            to_datetime(message.calculation_time),
            message,
        )

    def __getitem__(self, index: Any) -> Any:
        return self.determinants[index]

    def __len__(self) -> int:
        return len(self.determinants)

    def frame(self) -> pl.DataFrame:
        """The determinants as a frame of DETERMINANTS_SCHEMA."""
        rows = []
        for each in self.determinants:
            counts, peak = each.counts, each.peaks[0] if each.peaks else None
            rows.append(
                (
                    self.datasource,
                    each.billing_channel,
                    each.kind.value,
                    each.channel,
                    each.slice,
                    each.demand,
                    each.start_time,
                    each.end_time,
                    each.is_month,
                    each.value,
                    each.unit,
                    each.quality,
                    counts and counts.expected_count,
                    counts and counts.present_count,
                    counts and counts.missing_count,
                    counts and counts.coverage,
                    peak and peak.start_time,
                    peak and peak.end_time,
                )
            )
        return pl.DataFrame(rows, schema=dict(DETERMINANTS_SCHEMA), orient="row")


@dataclass(frozen=True, slots=True)
class DeterminantsAnswer:
    """What became of one request of a stream: determinants, or why there are none."""

    request_number: int
    """Place of the request in the stream, from 0."""
    determinants: Determinants | None
    causes: tuple[DeterminantsCause, ...]
    """Why it was cancelled; empty where it was not."""
    error: TallybookError | None
    """What is wrong with the request as a whole."""
    answered_count: int
    """Requests of the stream that are answered, this one included."""
    cancelled_count: int
    refused_count: int

    @classmethod
    def read(cls, message: determinants_pb2.StreamingCalculateDeterminantsResponse) -> DeterminantsAnswer:
        """The value of a message."""
        return cls(
            message.request_number,
            Determinants.read(message.result) if message.HasField("result") else None,
            read_causes(message.cancellation.causes),
            from_status(message.status) if message.HasField("status") else None,
            message.progress.answered_count,
            message.progress.cancelled_count,
            message.progress.refused_count,
        )
