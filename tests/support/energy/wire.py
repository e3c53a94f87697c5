"""Energy cases through the contract: a case as a request, and an answer as the engine's own result."""

from __future__ import annotations

from typing import Any

import grpc
import numpy as np
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status
from tests.support.energy.cases import EnergyCase

from tallybook.v1 import catalog_pb2, determinants_pb2
from tallybook_engine.decimals import format_decimal, parse_decimal
from tallybook_engine.demand.coincident_peak import CoincidentPeak
from tallybook_engine.demand.model import DemandScheme
from tallybook_engine.demand.monthly_peaks import MeanOfMonthlyPeaks
from tallybook_engine.demand.ratchet import Ratchet
from tallybook_engine.demand.reactive import ExcessReactive, PowerFactor
from tallybook_engine.demand.rolling import RollingDemand
from tallybook_engine.demand.time_of_use import TimeOfUseDemand
from tallybook_engine.demand.top_peaks import MeanOfTopPeaks
from tallybook_engine.determinants.configuration import ChannelClassifier, TimesliceGroup
from tallybook_engine.determinants.kinds import Kind
from tallybook_engine.determinants.quality import QualityTable
from tallybook_engine.determinants.readings import Readings, RegularTimes
from tallybook_engine.determinants.request import BillingConfiguration, BillingRequest, DemandRequest
from tallybook_engine.determinants.result import (
    Cancellation,
    Cause,
    Counts,
    Determinant,
    Peak,
    Reason,
    Result,
)

Request = determinants_pb2.CalculateDeterminantsRequest
# Enums are given by their words, which the stubs' types do not know.
wire: Any = determinants_pb2
catalog: Any = catalog_pb2


def request_message(case: EnergyCase) -> Request:
    """A case as it is sent."""
    return Request(
        billing_request=billing_request(case.request),
        configuration=configuration_message(case.request.datasource, case.configuration),
        readings=[
            readings_message(name, each, case.configuration.classifiers[name], case.configuration.quality)
            for name, each in case.readings.items()
        ],
    )


def billing_request(request: BillingRequest) -> determinants_pb2.BillingRequest:
    """The request alone."""
    return wire.BillingRequest(
        datasource=request.datasource,
        start_time=timestamp(request.start_us),
        end_time=timestamp(request.end_us),
        time_zone=request.time_zone,
        channels=[
            wire.ChannelRequest(
                channel=each.channel,
                kind=each.kind.value,
                timeslice_group=each.timeslice_group or "",
                as_power=each.as_power,
            )
            for each in request.channels
        ],
        demands=map(_demand, request.demands),
        split_by_month=request.split_by_month,
        on_invalid=request.on_invalid.value,
    )


def _demand(demand: DemandRequest) -> determinants_pb2.DemandRequest:
    history = ["" if peak is None else decimal(peak) for peak in demand.history]
    field, scheme = _scheme(demand.scheme)
    return wire.DemandRequest(id=demand.id, channel=demand.channel, history=history, **{field: scheme})


def _scheme(scheme: DemandScheme) -> tuple[str, Any]:
    match scheme:
        case RollingDemand(window_us, is_block):
            return "rolling", wire.RollingDemand(window=duration(window_us), is_block=is_block)
        case CoincidentPeak(channel, starts, count, days_apart, block_us):
            message = wire.CoincidentPeak(
                system_channel=channel or "",
                peak_start_times=map(timestamp, starts),
                count=count,
                days_apart=days_apart,
                block=duration(block_us),
            )
            return "coincident_peak", message
        case Ratchet(months, shares, in_full, minimum):
            message = wire.Ratchet(
                lookback_month_count=months,
                shares=map(decimal, shares),
                counts_in_full=in_full,
                minimum=decimal(minimum),
            )
            return "ratchet", message
        case MeanOfTopPeaks(count, block_us, different_days, share, start, end):
            message = wire.MeanOfTopPeaks(
                count=count,
                block=duration(block_us),
                allow_same_day=not different_days,
                share=decimal(share),
                share_start_time_of_day=time_of_day(start),
                share_end_time_of_day=time_of_day(end),
            )
            return "mean_of_top_peaks", message
        case MeanOfMonthlyPeaks(months, floor):
            return "mean_of_monthly_peaks", wire.MeanOfMonthlyPeaks(month_count=months, floor=decimal(floor))
        case TimeOfUseDemand(group):
            return "time_of_use", wire.TimeOfUseDemand(timeslice_group=group)
        case ExcessReactive(channel, ratio, by_interval):
            message = wire.ExcessReactive(reactive_channel=channel, ratio=decimal(ratio), is_by_interval=by_interval)
            return "excess_reactive", message
        case PowerFactor(channel):
            return "power_factor", wire.PowerFactor(reactive_channel=channel)
    raise TypeError(scheme)


def configuration_message(
    datasource: str, configuration: BillingConfiguration
) -> determinants_pb2.DeterminantsConfiguration:
    """What the catalogue would say of one datasource. Channels of one classifier id may have to differ in it."""
    calendar = configuration.holiday_calendar
    source = catalog.Datasource(
        id=datasource,
        channels=[
            catalog.Channel(name=name, classifier=classifier.id)
            for name, classifier in configuration.classifiers.items()
        ],
        holiday_calendar="" if calendar is None else calendar.id,
        quality_table="table",
        register_tolerance=duration(configuration.register_tolerance_us),
    )
    message = wire.DeterminantsConfiguration(
        datasources=[source],
        channel_classifiers=map(_classifier, {each.id: each for each in configuration.classifiers.values()}.values()),
        timeslice_groups=map(_group, configuration.timeslice_groups.values()),
    )
    table = message.quality_tables.add(id="table")
    for status in configuration.quality.statuses:
        table.statuses.add(name=status.name, is_billable=status.is_billable, has_value=status.has_value)
    if calendar is not None:
        message.holiday_calendars.add(
            id=calendar.id,
            version=calendar.version,
            dates=sorted(day.isoformat() for day in calendar.dates),
            valid_from_date=calendar.valid_from.isoformat() if calendar.valid_from else "",
            valid_to_date=calendar.valid_to.isoformat() if calendar.valid_to else "",
        )
    return message


def _classifier(classifier: ChannelClassifier) -> catalog_pb2.ChannelClassifier:
    return catalog.ChannelClassifier(
        id=classifier.id,
        unit=classifier.unit,
        decimal_places=classifier.decimal_places,
        label=classifier.label.value,
        kind=classifier.kind.value,
        interval=None if classifier.interval_us is None else duration(classifier.interval_us),
        dial_digits=classifier.dial_digits,
    )


def _group(group: TimesliceGroup) -> catalog_pb2.TimesliceGroup:
    return catalog.TimesliceGroup(
        id=group.id,
        intervals=[
            catalog.TimesliceInterval(
                slice=each.channel,
                days=each.days.value,
                start_time_of_day=time_of_day(each.start_minute),
                end_time_of_day=time_of_day(each.end_minute),
                is_dst=each.is_dst,
                months=each.months,
            )
            for each in group.intervals
        ],
    )


def readings_message(
    name: str, readings: Readings, classifier: ChannelClassifier, table: QualityTable
) -> determinants_pb2.ChannelReadings:
    """Readings as columns."""
    message = wire.ChannelReadings(
        channel=name,
        unit=classifier.unit,
        decimal_places=classifier.decimal_places,
        values=readings.values.tolist(),
        statuses=[status.name for status in table.statuses],
        quality_codes=readings.quality.tobytes(),
    )
    times = readings.times
    if isinstance(times, RegularTimes):
        message.regular_times.first_time.CopyFrom(timestamp(times.first_us))
        message.regular_times.interval.CopyFrom(duration(times.interval_us))
        return message
    message.listed_times.times_us.extend(times.labels_us.tolist())
    if isinstance(times.interval_us, np.ndarray):
        message.listed_times.intervals_us.extend(times.interval_us.tolist())
    else:
        message.listed_times.interval.CopyFrom(duration(times.interval_us))
    return message


# Answers


def outcome_of(channel: grpc.Channel, request: Request) -> Result | Cancellation:
    """What a server answers, as the engine would; a cancellation is read out of the failed call."""
    method = channel.unary_unary(
        "/tallybook.v1.DeterminantsService/CalculateDeterminants",
        request_serializer=Request.SerializeToString,
        response_deserializer=determinants_pb2.CalculateDeterminantsResponse.FromString,
    )
    try:
        return read_result(method(request).result)
    except grpc.RpcError as error:
        cancellation = cancellation_of(error)
        if cancellation is None:
            raise
        return cancellation


def cancellation_of(error: Any) -> Cancellation | None:
    """A failed call's cancellation; None where it failed otherwise."""
    status = rpc_status.from_call(error)
    if error.code() is not grpc.StatusCode.FAILED_PRECONDITION or status is None:
        return None
    info, detail = ErrorInfo(), determinants_pb2.DeterminantsCancellation()
    for each in status.details:
        each.Unpack(info)
        each.Unpack(detail)
    found = read_cancellation(detail)
    assert info.reason == found.reason.value
    assert (info.metadata["datasource"], info.metadata["channel"]) == (found.datasource, found.causes[0].channel)
    return found


def read_cancellation(message: determinants_pb2.DeterminantsCancellation) -> Cancellation:
    """The engine's own value of a message."""
    return Cancellation(message.datasource, *_period(message), tuple(map(_cause, message.causes)))


def read_result(message: determinants_pb2.DeterminantsResult) -> Result:
    """The engine's own value of a message."""
    return Result(
        message.datasource,
        *_period(message),
        message.time_zone,
        tuple(map(_determinant, message.determinants)),
        tuple(map(_cause, message.remarks)),
        0,
        message.holiday_calendar or None,
        message.holiday_calendar_version if message.holiday_calendar else None,
    )


def _cause(message: determinants_pb2.DeterminantsCause) -> Cause:
    reason = determinants_pb2.DeterminantsCause.Reason.Name(message.reason)
    return Cause(Reason(reason), message.channel, *_period(message), message.detail)


def _determinant(message: determinants_pb2.Determinant) -> Determinant:
    return Determinant(
        Kind(determinants_pb2.Determinant.Kind.Name(message.kind)),
        message.channel,
        message.classifier,
        message.slice or None,
        message.demand or None,
        message.billing_channel,
        message.unit,
        *_period(message),
        message.is_month,
        parse_decimal(message.value) if message.HasField("value") else None,
        message.quality or None,
        _counts(message.counts) if message.HasField("counts") else None,
        tuple(
            Peak(*_period(each), instant_us(each.label_time), each.quality, each.occurrence_count)
            for each in message.peaks
        ),
        instant_us(message.read_time) if message.HasField("read_time") else None,
        message.timeslice_group or None,
        message.as_power,
    )


def _counts(message: determinants_pb2.IntervalCounts) -> Counts:
    return Counts(
        message.expected_count if message.HasField("expected_count") else None,
        message.present_count,
        message.missing_count if message.HasField("missing_count") else None,
        tuple((each.status, each.count) for each in message.statuses),
        parse_decimal(message.coverage) if message.HasField("coverage") else None,
    )


def _period(message: Any) -> tuple[int, int]:
    return instant_us(message.period.start_time), instant_us(message.period.end_time)


# Numbers


def timestamp(instant: int) -> Timestamp:
    """Of microseconds."""
    seconds, rest = divmod(instant, 1_000_000)
    return Timestamp(seconds=seconds, nanos=rest * 1_000)


def instant_us(message: Timestamp) -> int:
    """Microseconds."""
    return message.seconds * 1_000_000 + message.nanos // 1_000


def duration(length_us: int) -> Duration:
    """Of microseconds, not below 0."""
    seconds, rest = divmod(length_us, 1_000_000)
    return Duration(seconds=seconds, nanos=rest * 1_000)


def time_of_day(minute: int) -> str:
    """Of minutes since midnight."""
    return f"{minute // 60:02}:{minute % 60:02}"


def decimal(scaled: int) -> str:
    """Of scale 12."""
    return format_decimal(scaled, 12)
