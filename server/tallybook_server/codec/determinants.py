"""Billing requests from the contract's messages, and what they are answered with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from tallybook.v1 import common_pb2
from tallybook.v1 import determinants_pb2 as wire
from tallybook_engine.calendar.zones import UnknownZone, zone
from tallybook_engine.catalog.model import Catalog
from tallybook_engine.decimals import QUANTITY_SCALE, DecimalFault, format_decimal, parse_decimal
from tallybook_engine.demand.coincident_peak import CoincidentPeak
from tallybook_engine.demand.model import DemandScheme
from tallybook_engine.demand.monthly_peaks import MeanOfMonthlyPeaks
from tallybook_engine.demand.ratchet import Ratchet
from tallybook_engine.demand.reactive import ExcessReactive, PowerFactor
from tallybook_engine.demand.rolling import RollingDemand
from tallybook_engine.demand.scheme import SchemeFault
from tallybook_engine.demand.time_of_use import TimeOfUseDemand
from tallybook_engine.demand.top_peaks import MeanOfTopPeaks
from tallybook_engine.determinants.calculate import MAX_PERIOD_US, check_request
from tallybook_engine.determinants.configuration import TimesliceGroup
from tallybook_engine.determinants.interval import period_frame
from tallybook_engine.determinants.kinds import Kind
from tallybook_engine.determinants.readings import Readings
from tallybook_engine.determinants.request import (
    BillingConfiguration,
    BillingRequest,
    ChannelRequest,
    DemandRequest,
    OnInvalid,
    RequestFault,
)
from tallybook_engine.determinants.result import Cancellation, Cause, Counts, Determinant, Peak, Reason, Result
from tallybook_server import limits
from tallybook_server.codec import cim
from tallybook_server.codec.instants import DAY_US, instant_us, read_instant, read_interval, read_time_of_day
from tallybook_server.codec.metering import check_count, check_name, configuration_of, read_metering, read_word
from tallybook_server.codec.readings import read_readings
from tallybook_server.codec.results import timestamp
from tallybook_server.errors import ErrorCode, Fault, field_invalid

CODES = {
    Reason.NO_READINGS: ErrorCode.NO_READINGS,
    Reason.NOT_BILLABLE: ErrorCode.NOT_BILLABLE,
    Reason.NO_HOLIDAY_CALENDAR: ErrorCode.NO_HOLIDAY_CALENDAR,
    Reason.HOLIDAY_CALENDAR_NOT_VALID: ErrorCode.HOLIDAY_CALENDAR_NOT_VALID,
    Reason.DOES_NOT_FIT: ErrorCode.DOES_NOT_FIT,
}
"""What a call that is cancelled fails with."""

CAUSES_BYTES_MAX = 3_600
"""Size of the causes in a failed call: status details travel in metadata, of which clients take 8 KiB in all."""

_SCHEMES_BY_MONTH = (Ratchet, MeanOfTopPeaks, MeanOfMonthlyPeaks)


class Asked(NamedTuple):
    """Everything that a calculation needs."""

    request: BillingRequest
    readings: dict[str, Readings] | None
    """None: those of the book are meant."""
    configuration: BillingConfiguration


def read_request(message: Any, metering: Catalog | None = None) -> Asked:
    """A `CalculateDeterminantsEnvelope`. Fault for the first thing that is wrong.

    `metering` is the message's configuration over that of the book; without it there is no book.
    """
    if metering is None:
        metering = read_metering(message.configuration)
    asked = message.billing_request
    if message.cim_request:
        asked = cim.billing_request(message.cim_request, asked, metering)
    request = _billing_request(asked, metering)
    configuration = configuration_of(metering, request.datasource, "billing_request.datasource")
    try:
        check_request(request, configuration)
    except RequestFault as fault:
        raise request_invalid(fault) from None
    check_size(request, configuration)
    if not message.readings and not message.arrow:
        return Asked(request, None, configuration)
    readings = read_readings(message, configuration)
    check_demands(request, readings)
    return Asked(request, readings, configuration)


def request_invalid(fault: RequestFault) -> Fault:
    """FIELD_INVALID of the field that the engine names."""
    field, _, found = str(fault).partition(": ")
    return field_invalid(f"billing_request.{field}", found)


# Requests


def _billing_request(message: Any, metering: Catalog) -> BillingRequest:
    path = "billing_request"
    time_zone = _time_zone(message, metering)
    start_us, end_us = (read_instant(message, field, path) for field in ("start_time", "end_time"))
    if not 0 <= end_us - start_us <= MAX_PERIOD_US:
        raise field_invalid(f"{path}.end_time", "is before start_time, or more than 100 years after it")
    for entries, count_max, name in (
        (message.channels, limits.REQUESTED_CHANNELS_MAX, "channels"),
        (message.demands, limits.REQUESTED_DEMANDS_MAX, "demands"),
    ):
        if len(entries) > count_max:
            raise Fault(
                ErrorCode.TOO_MANY_DETERMINANTS,
                f"{len(entries)} {name} in one request; at most {count_max}.",
                {"count_max": str(count_max)},
            )
    return BillingRequest(
        message.datasource,
        start_us,
        end_us,
        time_zone,
        tuple(_channel(each, f"{path}.channels[{index}]") for index, each in enumerate(message.channels)),
        tuple(_demand(each, f"{path}.demands[{index}]") for index, each in enumerate(message.demands)),
        message.split_by_month,
        read_word(message, "on_invalid", path, OnInvalid, OnInvalid.CANCEL),
    )


def _time_zone(message: Any, metering: Catalog) -> str:
    """The zone that is asked for, or else the datasource's."""
    source = metering.datasources.get(message.datasource)
    name: str = message.time_zone or (source.time_zone if source is not None else None) or ""
    if not name:
        # A datasource that is not there has no zone either: that is what is wrong then.
        configuration_of(metering, message.datasource, "billing_request.datasource")
        raise field_invalid("billing_request.time_zone", f'is required: datasource "{message.datasource}" has none')
    try:
        zone(name)
    except UnknownZone as error:
        raise field_invalid("billing_request.time_zone", str(error)) from None
    return name


def _channel(message: Any, path: str) -> ChannelRequest:
    kind = read_word(message, "kind", path, Kind)
    return ChannelRequest(message.channel, kind, message.timeslice_group or None, message.as_power)


def _demand(message: Any, path: str) -> DemandRequest:
    check_name(message.id, f"{path}.id")
    name = message.WhichOneof("scheme")
    if name is None:
        raise field_invalid(path, "has no scheme")
    check_count(message.history, limits.HISTORY_MONTHS_MAX, f"{path}.history")
    history = tuple(
        None if text == "" else _decimal(text, f"{path}.history[{index}]") for index, text in enumerate(message.history)
    )
    try:
        return DemandRequest(message.id, message.channel, _scheme(name, message, f"{path}.{name}"), history)
    except SchemeFault as fault:
        raise field_invalid(f"{path}.{name}", str(fault)) from None


def _scheme(name: str, demand: Any, path: str) -> DemandScheme:
    """A scheme with its options; those that are absent have the defaults of the engine."""
    message = getattr(demand, name)
    options: dict[str, Any] = {}
    match name:
        case "rolling":
            window_us = read_interval(message, "window", path)
            if window_us is None:
                raise field_invalid(f"{path}.window", "is required")
            return RollingDemand(window_us, message.is_block)
        case "coincident_peak":
            _bounded(options, message, "count", path, limits.DEMAND_PEAKS_MAX)
            _bounded(options, message, "days_apart", path, limits.DEMAND_PEAKS_MAX)
            _length(options, message, path)
            check_count(message.peak_start_times, limits.DEMAND_PEAKS_MAX, f"{path}.peak_start_times")
            starts = tuple(
                instant_us(each, f"{path}.peak_start_times[{index}]")
                for index, each in enumerate(message.peak_start_times)
            )
            return CoincidentPeak(message.system_channel or None, starts, **options)
        case "ratchet":
            _bounded(options, message, "lookback_month_count", path, limits.HISTORY_MONTHS_MAX)
            _number(options, message, "minimum", path)
            if message.shares:
                options["shares"] = tuple(
                    _decimal(text, f"{path}.shares[{index}]") for index, text in enumerate(message.shares)
                )
            if message.counts_in_full:
                options["counts_in_full"] = tuple(message.counts_in_full)
            return Ratchet(**options)
        case "mean_of_top_peaks":
            _bounded(options, message, "count", path, limits.DEMAND_PEAKS_MAX)
            _length(options, message, path)
            _number(options, message, "share", path)
            for field, option in (
                ("share_start_time_of_day", "share_start_minute"),
                ("share_end_time_of_day", "share_end_minute"),
            ):
                if message.share_start_time_of_day or message.share_end_time_of_day:
                    options[option] = read_time_of_day(getattr(message, field), f"{path}.{field}")
            return MeanOfTopPeaks(on_different_days=not message.allow_same_day, **options)
        case "mean_of_monthly_peaks":
            _bounded(options, message, "month_count", path, limits.HISTORY_MONTHS_MAX)
            _number(options, message, "floor", path)
            return MeanOfMonthlyPeaks(**options)
        case "time_of_use":
            return TimeOfUseDemand(message.timeslice_group)
        case "excess_reactive":
            _number(options, message, "ratio", path)
            return ExcessReactive(message.reactive_channel, is_by_interval=message.is_by_interval, **options)
        case _:
            return PowerFactor(message.reactive_channel)


def _bounded(options: dict[str, Any], message: Any, field: str, path: str, most: int) -> None:
    if message.HasField(field):
        if getattr(message, field) > most:
            raise field_invalid(f"{path}.{field}", f"is at most {most}")
        options[field] = getattr(message, field)


def _length(options: dict[str, Any], message: Any, path: str) -> None:
    block_us = read_interval(message, "block", path)
    if block_us is not None:
        options["block_us"] = block_us


def _number(options: dict[str, Any], message: Any, field: str, path: str) -> None:
    if message.HasField(field):
        options[field] = _decimal(getattr(message, field), f"{path}.{field}")


def _decimal(text: str, path: str) -> int:
    try:
        return parse_decimal(text)
    except DecimalFault as fault:
        raise field_invalid(path, str(fault)) from None


def check_size(request: BillingRequest, configuration: BillingConfiguration) -> None:
    """TOO_MANY_TIMESLICES and TOO_MANY_DETERMINANTS, before anything is laid out by slices."""
    groups = {asked.timeslice_group for asked in request.channels}
    groups |= {asked.scheme.timeslice_group_id() for asked in request.demands}
    day_count = (request.end_us - request.start_us) // DAY_US + 1
    for group_id in groups - {None}:
        group = configuration.timeslice_groups[str(group_id)]
        if day_count * _edge_count(group) * len(group.channels()) > limits.TIMESLICE_CELLS_MAX:
            raise Fault(
                ErrorCode.TOO_MANY_TIMESLICES,
                f"{day_count} days by {_edge_count(group)} window edges by {len(group.channels())} slices; at most "
                f"{limits.TIMESLICE_CELLS_MAX} together: split the period.",
                {"timeslice_group": group.id, "cell_count_max": str(limits.TIMESLICE_CELLS_MAX)},
            )
    month_count = period_frame(request.time_zone, request.start_us, request.end_us).cell_count
    part_count = 1 + month_count if request.split_by_month else 1
    count = sum(
        part_count * _slice_count(asked.timeslice_group, configuration) * (2 if asked.kind is Kind.REGISTER else 1)
        for asked in request.channels
    )
    for demand in request.demands:
        by_month = isinstance(demand.scheme, _SCHEMES_BY_MONTH)
        slices = _slice_count(demand.scheme.timeslice_group_id(), configuration)
        count += (1 + month_count if by_month else part_count) * slices
    if count > limits.DETERMINANTS_IN_ANSWER_MAX:
        raise Fault(
            ErrorCode.TOO_MANY_DETERMINANTS,
            f"The answer would have {count} determinants; at most {limits.DETERMINANTS_IN_ANSWER_MAX}.",
            {"count_max": str(limits.DETERMINANTS_IN_ANSWER_MAX)},
        )


def check_demands(request: BillingRequest, readings: Mapping[str, Readings]) -> None:
    """TOO_MANY_READINGS where demands, which look at one reading after the other, have too many to look at."""
    channels = [name for each in request.demands for name in (each.channel, *each.scheme.other_channels())]
    count = sum(readings[name].times.count for name in channels if name in readings)
    if count > limits.DEMAND_READINGS_MAX:
        raise Fault(
            ErrorCode.TOO_MANY_READINGS,
            f"The demands look at {count} readings; at most {limits.DEMAND_READINGS_MAX}: split them by period.",
            {"reading_count_max": str(limits.DEMAND_READINGS_MAX)},
        )


def _edge_count(group: TimesliceGroup) -> int:
    return len({edge for interval in group.intervals for window in interval.windows() for edge in window} | {0})


def _slice_count(group_id: str | None, configuration: BillingConfiguration) -> int:
    return 1 if group_id is None else len(configuration.timeslice_groups[group_id].channels()) + 1


# Answers


def cancelled(cancellation: Cancellation) -> Fault:
    """FAILED_PRECONDITION with the reason of the first cause, and every cause as far as metadata goes."""
    detail = cancellation_message(cancellation)
    left = CAUSES_BYTES_MAX
    for index, cause in enumerate(detail.causes):
        left -= cause.ByteSize() + 4
        if index and left < 0:
            del detail.causes[index:]
            break
    first = detail.causes[0]
    more = len(cancellation.causes) - 1
    return Fault(
        CODES[cancellation.reason],
        f"Cancelled: channel {first.channel}, {first.period.start_time.ToJsonString()} to "
        f"{first.period.end_time.ToJsonString()}: {first.detail}{f'; and {more} more' if more else ''}.",
        {
            "datasource": cancellation.datasource,
            "channel": first.channel,
            "start_time": first.period.start_time.ToJsonString(),
            "end_time": first.period.end_time.ToJsonString(),
            "cause_count": str(len(cancellation.causes)),
        },
        detail=detail,
    )


def cancellation_message(cancellation: Cancellation) -> wire.DeterminantsCancellation:
    """Everything that was found."""
    return wire.DeterminantsCancellation(
        datasource=cancellation.datasource,
        period=_period(cancellation.start_us, cancellation.end_us),
        causes=_causes(cancellation.causes),
    )


def result_message(result: Result, calculation_us: int) -> wire.DeterminantsResult:
    """A result, and when it was computed."""
    return wire.DeterminantsResult(
        datasource=result.datasource,
        period=_period(result.start_us, result.end_us),
        time_zone=result.time_zone,
        determinants=map(_determinant, result.determinants),
        remarks=_causes(result.remarks),
        holiday_calendar=result.holiday_calendar or "",
        holiday_calendar_version=result.holiday_calendar_version or 0,
        calculation_time=timestamp(calculation_us),
    )


def _period(start_us: int, end_us: int) -> common_pb2.Period:
    return common_pb2.Period(start_time=timestamp(start_us), end_time=timestamp(end_us))


def _causes(causes: Iterable[Cause]) -> list[wire.DeterminantsCause]:
    return [
        wire.DeterminantsCause(
            reason=wire.DeterminantsCause.Reason.Value(cause.reason.value),
            channel=cause.channel,
            period=_period(cause.start_us, cause.end_us),
            detail=cause.detail,
        )
        for cause in causes
    ]


def _determinant(each: Determinant) -> wire.Determinant:
    return wire.Determinant(
        kind=wire.Determinant.Kind.Value(each.kind.value),
        channel=each.channel,
        classifier=each.classifier,
        slice=each.slice or "",
        demand=each.demand or "",
        billing_channel=each.billing_channel,
        unit=each.unit,
        period=_period(each.start_us, each.end_us),
        is_month=each.is_month,
        value=_text(each.value),
        quality=each.quality or "",
        counts=None if each.counts is None else _counts(each.counts),
        peaks=map(_peak, each.peaks),
        read_time=None if each.read_us is None else timestamp(each.read_us),
        timeslice_group=each.timeslice_group or "",
        as_power=each.as_power,
    )


def _counts(counts: Counts) -> wire.IntervalCounts:
    return wire.IntervalCounts(
        expected_count=counts.expected,
        present_count=counts.present,
        missing_count=counts.missing,
        statuses=[wire.StatusCount(status=status, count=count) for status, count in counts.by_status],
        coverage=_text(counts.coverage),
    )


def _peak(peak: Peak) -> wire.Peak:
    return wire.Peak(
        period=_period(peak.start_us, peak.end_us),
        label_time=timestamp(peak.label_us),
        quality=peak.quality,
        occurrence_count=peak.occurrence_count,
    )


def _text(scaled: int | None) -> str | None:
    return None if scaled is None else format_decimal(scaled, QUANTITY_SCALE)
