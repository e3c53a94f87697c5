"""What is configured about meters, from the contract's messages to the engine's values."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, TypeVar

from tallybook.v1 import catalog_pb2 as wire
from tallybook_engine.determinants.configuration import (
    MAX_TIMESLICES,
    ChannelClassifier,
    ChannelKind,
    Days,
    HolidayCalendar,
    Label,
    TimesliceGroup,
    TimesliceInterval,
)
from tallybook_engine.determinants.metering import (
    NO_METERING,
    Datasource,
    Metering,
    MeteringFault,
    UnknownDatasource,
)
from tallybook_engine.determinants.quality import MAX_STATUSES, QualityStatus, QualityTable
from tallybook_engine.determinants.request import BillingConfiguration
from tallybook_server import limits
from tallybook_server.codec.instants import read_date, read_interval, read_time_of_day, read_tolerance
from tallybook_server.errors import field_invalid

Word = TypeVar("Word", bound=Enum)
Read = TypeVar("Read")


def read_configuration(configuration: Any, datasource_id: str, book: Metering = NO_METERING) -> BillingConfiguration:
    """What a `DeterminantsConfiguration`, and else the book, says of one datasource. FIELD_INVALID for the first thing
    that is wrong.
    """
    return configuration_of(read_metering(configuration, book), datasource_id, "billing_request.datasource")


def configuration_of(metering: Metering, datasource_id: str, path: str) -> BillingConfiguration:
    """What is configured of the datasource that a field at `path` names. FIELD_INVALID where something is not."""
    try:
        return metering.of(datasource_id)
    except UnknownDatasource:
        raise field_invalid(path, f'the configuration has no datasource "{datasource_id[:100]}"') from None
    except MeteringFault as fault:
        here = f"configuration.datasources[{list(metering.datasources).index(datasource_id)}]"
        raise field_invalid(f"{here}.{fault.path}", fault.message) from None


def read_metering(configuration: Any, book: Metering = NO_METERING) -> Metering:
    """A `DeterminantsConfiguration` and what the book has configured; what the message names wins."""
    own = Metering(
        _by_id(configuration, "datasources", limits.CONFIGURED_OBJECTS_MAX, _datasource),
        _by_id(configuration, "channel_classifiers", limits.CONFIGURED_OBJECTS_MAX, _channel_classifier),
        _by_id(configuration, "timeslice_groups", limits.CONFIGURED_TABLES_MAX, _timeslice_group),
        _by_id(configuration, "holiday_calendars", limits.CONFIGURED_TABLES_MAX, _holiday_calendar),
        _by_id(configuration, "quality_tables", limits.CONFIGURED_TABLES_MAX, _quality_table),
    )
    if book is NO_METERING:
        return own
    return Metering(
        _over(own.datasources, book.datasources),
        _over(own.classifiers, book.classifiers),
        _over(own.timeslice_groups, book.timeslice_groups),
        _over(own.holiday_calendars, book.holiday_calendars),
        _over(own.quality_tables, book.quality_tables),
        book.catalog_version,
    )


def _over(own: Mapping[str, Read], book: Mapping[str, Read]) -> Mapping[str, Read]:
    return ChainMap(dict(own), book) if own else book  # type: ignore[arg-type]


def _datasource(datasource: wire.Datasource, path: str) -> Datasource:
    check_count(datasource.channels, limits.DATASOURCE_CHANNELS_MAX, f"{path}.channels")
    channels: dict[str, str] = {}
    for index, channel in enumerate(datasource.channels):
        here = f"{path}.channels[{index}]"
        check_name(channel.name, f"{here}.name")
        if channel.name in channels:
            raise field_invalid(f"{here}.name", f'"{channel.name}" is there twice')
        channels[channel.name] = channel.classifier
    return Datasource(
        datasource.id,
        tuple(channels.items()),
        datasource.holiday_calendar or None,
        datasource.quality_table or None,
        read_tolerance(datasource, "register_tolerance", path),
    )


def _by_id(configuration: Any, field: str, count_max: int, read: Callable[[Any, str], Read]) -> dict[str, Read]:
    path = f"configuration.{field}"
    entries = getattr(configuration, field)
    check_count(entries, count_max, path)
    found: dict[str, Read] = {}
    for index, each in enumerate(entries):
        here = f"{path}[{index}]"
        check_name(each.id, f"{here}.id")
        if each.id in found:
            raise field_invalid(f"{here}.id", f'"{each.id}" is there twice')
        found[each.id] = read(each, here)
    return found


def check_count(entries: Sequence[Any], count_max: int, path: str) -> None:
    """FIELD_INVALID for a list that is too long."""
    if len(entries) > count_max:
        raise field_invalid(path, f"has {len(entries)} entries; at most {count_max}")


def check_name(name: str, path: str) -> None:
    """FIELD_INVALID for a name that is empty or too long."""
    if not 1 <= len(name.encode()) <= limits.NAME_BYTES_MAX:
        raise field_invalid(path, f"a name has 1 to {limits.NAME_BYTES_MAX} bytes")


def read_word(owner: Any, field: str, path: str, words: type[Word], default: Word | None = None) -> Word:
    """A word of an enum of the contract as that of the engine's; `default` is what the unspecified one is read as."""
    number = getattr(owner, field)
    if number == 0 and default is not None:
        return default
    known = owner.DESCRIPTOR.fields_by_name[field].enum_type.values_by_number
    if number == 0 or number not in known:
        raise field_invalid(f"{path}.{field}", f"is none of {', '.join(each.name for each in words)}")
    return words[known[number].name]


def _channel_classifier(classifier: wire.ChannelClassifier, path: str) -> ChannelClassifier:
    check_name(classifier.unit, f"{path}.unit")
    if not classifier.HasField("decimal_places"):
        raise field_invalid(f"{path}.decimal_places", "is required")
    interval_us = read_interval(classifier, "interval", path)
    label = read_word(classifier, "label", path, Label, Label.END)
    kind = read_word(classifier, "kind", path, ChannelKind, ChannelKind.INTERVAL)
    dial_digits = classifier.dial_digits if classifier.HasField("dial_digits") else None
    try:
        return ChannelClassifier(
            classifier.id, classifier.unit, classifier.decimal_places, label, kind, interval_us, dial_digits
        )
    except ValueError as error:
        raise field_invalid(path, str(error)) from None


def _timeslice_group(group: wire.TimesliceGroup, path: str) -> TimesliceGroup:
    check_count(group.intervals, limits.TIMESLICE_WINDOWS_MAX, f"{path}.intervals")
    names = {interval.slice for interval in group.intervals}
    check_count(list(names), MAX_TIMESLICES, f"{path}.intervals: the names of its slices")
    try:
        return TimesliceGroup(
            group.id,
            tuple(_window(each, f"{path}.intervals[{index}]") for index, each in enumerate(group.intervals)),
        )
    except ValueError as error:
        raise field_invalid(path, str(error)) from None


def _window(window: wire.TimesliceInterval, path: str) -> TimesliceInterval:
    check_name(window.slice, f"{path}.slice")
    months = tuple(window.months)
    if len(set(months)) < len(months):
        raise field_invalid(f"{path}.months", "names a month twice")
    return TimesliceInterval(
        window.slice,
        read_word(window, "days", path, Days, Days.DAILY),
        read_time_of_day(window.start_time_of_day, f"{path}.start_time_of_day"),
        read_time_of_day(window.end_time_of_day, f"{path}.end_time_of_day"),
        window.is_dst if window.HasField("is_dst") else None,
        months,
    )


def _holiday_calendar(calendar: wire.HolidayCalendar, path: str) -> HolidayCalendar:
    check_count(calendar.dates, limits.HOLIDAYS_MAX, f"{path}.dates")
    dates = frozenset(read_date(text, f"{path}.dates[{index}]") for index, text in enumerate(calendar.dates))
    bounds = [
        read_date(text, f"{path}.{field}") if text else None
        for field, text in (("valid_from_date", calendar.valid_from_date), ("valid_to_date", calendar.valid_to_date))
    ]
    return HolidayCalendar(calendar.id, calendar.version, dates, *bounds)


def _quality_table(table: wire.QualityTable, path: str) -> QualityTable:
    check_count(table.statuses, MAX_STATUSES, f"{path}.statuses")
    for index, status in enumerate(table.statuses):
        check_name(status.name, f"{path}.statuses[{index}].name")
    try:
        return QualityTable(
            tuple(
                QualityStatus(each.name, each.is_billable, not each.HasField("has_value") or each.has_value)
                for each in table.statuses
            )
        )
    except ValueError as error:
        raise field_invalid(path, str(error)) from None
