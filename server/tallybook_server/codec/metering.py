"""What is configured about meters, between the contract's messages and the engine's values.

A catalogue and the configuration of a billing request are read and checked alike: reading goes on past every fault, and
what cannot be read is noted with its path and stood in for.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from enum import Enum
from typing import Any, TypeVar

from google.protobuf.duration_pb2 import Duration

from tallybook.v1 import catalog_pb2 as wire
from tallybook_engine.catalog.change import METERING_KINDS, CatalogObjects
from tallybook_engine.catalog.check import check_metering
from tallybook_engine.catalog.faults import CatalogFault, Faults
from tallybook_engine.catalog.metering import billing_configuration
from tallybook_engine.catalog.model import Catalog
from tallybook_engine.determinants.configuration import (
    MAX_HOLIDAYS,
    MINUTES_A_DAY,
    Channel,
    ChannelClassifier,
    ChannelKind,
    ConfigurationFault,
    Datasource,
    Days,
    HolidayCalendar,
    Label,
    ReadingType,
    TimesliceGroup,
    TimesliceInterval,
)
from tallybook_engine.determinants.kinds import Kind
from tallybook_engine.determinants.quality import DEFAULT_QUALITY, QualityStatus, QualityTable
from tallybook_engine.determinants.request import BillingConfiguration
from tallybook_server import limits
from tallybook_server.codec.instants import duration_us, parse_date, parse_time_of_day
from tallybook_server.errors import ErrorCode, Fault, FieldFault, cut, field_invalid

FAULT_BYTES_MAX = 3_600
"""Size of the faults in one answer: status details travel in metadata, of which clients take 8 KiB in all."""

_FAULT_OVERHEAD_BYTES = 32
"""What a fault takes beside its path and message: the reason, tags and lengths."""

_COUNTS_MAX = {
    "datasources": limits.CONFIGURED_OBJECTS_MAX,
    "channel_classifiers": limits.CONFIGURED_OBJECTS_MAX,
    "timeslice_groups": limits.CONFIGURED_TABLES_MAX,
    "holiday_calendars": limits.CONFIGURED_TABLES_MAX,
    "quality_tables": limits.CONFIGURED_TABLES_MAX,
}
"""How many objects a request's configuration may have."""

Word = TypeVar("Word", bound=Enum)
Read = TypeVar("Read")


def read_configuration(configuration: Any, datasource_id: str, book: Catalog | None = None) -> BillingConfiguration:
    """What a `DeterminantsConfiguration`, and else the book, says of one datasource. FIELD_INVALID with everything that
    is wrong.
    """
    return configuration_of(read_metering(configuration, book), datasource_id, "billing_request.datasource")


def configuration_of(metering: Catalog, datasource_id: str, path: str) -> BillingConfiguration:
    """What is configured of the datasource that a field at `path` names. FIELD_INVALID where there is none."""
    try:
        return billing_configuration(metering, datasource_id)
    except KeyError:
        raise field_invalid(path, f'the configuration has no datasource "{datasource_id[:100]}"') from None


def read_metering(configuration: Any, book: Catalog | None = None) -> Catalog:
    """A `DeterminantsConfiguration` over what the book's catalogue has; what the message says wins. FIELD_INVALID."""
    for kind in METERING_KINDS:
        check_count(getattr(configuration, kind), _COUNTS_MAX[kind], f"configuration.{kind}")
    faults = Faults()
    objects = read_metering_objects(configuration, faults)
    # Who pays is the catalogue's to say.
    objects["datasources"] = tuple(
        each if each.customer is None and each.contract_id is None else replace(each, customer=None, contract_id=None)
        for each in objects["datasources"]
    )
    base = book or Catalog()
    own = {kind: {each.id: each for each in objects[kind]} for kind in METERING_KINDS if objects[kind]}
    # The book may have a hundred thousand datasources: none is copied.
    over: dict[str, Any] = {kind: ChainMap(each, getattr(base, kind)) for kind, each in own.items()}
    merged = replace(base, **over)
    check_metering(merged, CatalogObjects(**objects), faults)
    if found := faults.ordered():
        raise _configuration_invalid(found)
    return merged


def _configuration_invalid(faults: tuple[CatalogFault, ...]) -> Fault:
    fields = fields_within_answer([replace(each, path=f"configuration.{each.path}") for each in faults])
    first, count = fields[0], len(faults)
    more = f" (and {count - 1} more)" if count > 1 else ""
    return Fault(ErrorCode.FIELD_INVALID, f"{first.field}: {first.message}{more}", {"field": first.field}, fields)


def fields_within_answer(faults: Sequence[CatalogFault]) -> tuple[FieldFault, ...]:
    """Every fault, or the first ones and how many more there are."""
    fields: list[FieldFault] = []
    bytes_left = FAULT_BYTES_MAX
    for index, fault in enumerate(faults):
        path, message = cut(fault.path), cut(fault.message)
        bytes_left -= len(path.encode()) + len(message.encode()) + _FAULT_OVERHEAD_BYTES
        if fields and bytes_left < 0:
            fields.append(FieldFault("", f"and {len(faults) - index} more: mend these first"))
            break
        fields.append(FieldFault(path, message))
    return tuple(fields)


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


# Reading


def read_metering_objects(owner: Any, faults: Faults) -> dict[str, tuple[Any, ...]]:
    """The objects of METERING_KINDS of a `Catalog` or a `DeterminantsConfiguration`; notes what cannot be read."""
    reader = _Reader(faults)
    readers: dict[str, Callable[[Any, str], Any]] = {
        "quality_tables": reader.quality_table,
        "holiday_calendars": reader.holiday_calendar,
        "timeslice_groups": reader.timeslice_group,
        "channel_classifiers": reader.channel_classifier,
        "datasources": reader.datasource,
    }
    return {
        kind: tuple(readers[kind](each, f"{kind}[{index}]") for index, each in enumerate(getattr(owner, kind)))
        for kind in METERING_KINDS
    }


class _Reader:
    """Reads messages that stand at a path, and notes what cannot be read."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    def quality_table(self, table: wire.QualityTable, path: str) -> QualityTable:
        statuses = tuple(
            QualityStatus(each.name, each.is_billable, not each.HasField("has_value") or each.has_value)
            for each in table.statuses
        )
        stand_in = replace(DEFAULT_QUALITY, id=table.id)
        return self._made(path, lambda: QualityTable(statuses, table.id), stand_in)

    def holiday_calendar(self, calendar: wire.HolidayCalendar, path: str) -> HolidayCalendar:
        dates: frozenset[date] = frozenset()
        if len(calendar.dates) > MAX_HOLIDAYS:
            self._faults.add(f"{path}.dates", f"has {len(calendar.dates)} entries; at most {MAX_HOLIDAYS}")
        else:
            read = (self._date(text, f"{path}.dates[{index}]") for index, text in enumerate(calendar.dates))
            dates = frozenset(day for day in read if day is not None)
        valid_from = self._date(calendar.valid_from_date, f"{path}.valid_from_date")
        valid_to = self._date(calendar.valid_to_date, f"{path}.valid_to_date")
        stand_in = HolidayCalendar(calendar.id, calendar.version, dates)
        return self._made(
            path, lambda: HolidayCalendar(calendar.id, calendar.version, dates, valid_from, valid_to), stand_in
        )

    def timeslice_group(self, group: wire.TimesliceGroup, path: str) -> TimesliceGroup:
        windows = tuple(self._window(each, f"{path}.intervals[{index}]") for index, each in enumerate(group.intervals))
        stand_in = TimesliceGroup(group.id, (_whole_day("-"),))
        return self._made(path, lambda: TimesliceGroup(group.id, windows), stand_in)

    def _window(self, window: wire.TimesliceInterval, path: str) -> TimesliceInterval:
        days = self._word(window, "days", path, Days, Days.DAILY)
        start = self._parsed(parse_time_of_day, window.start_time_of_day, f"{path}.start_time_of_day")
        end = self._parsed(parse_time_of_day, window.end_time_of_day, f"{path}.end_time_of_day")
        if start is None or end is None:
            return _whole_day(window.slice)
        is_dst = window.is_dst if window.HasField("is_dst") else None
        return self._made(
            path,
            lambda: TimesliceInterval(window.slice, days, start, end, is_dst, tuple(window.months)),
            _whole_day(window.slice),
        )

    def channel_classifier(self, classifier: wire.ChannelClassifier, path: str) -> ChannelClassifier:
        if not classifier.HasField("decimal_places"):
            self._faults.add(f"{path}.decimal_places", "is required")
        label = self._word(classifier, "label", path, Label, Label.END)
        kind = self._word(classifier, "kind", path, ChannelKind, ChannelKind.INTERVAL)
        interval_us = self._duration(classifier, "interval", path) if classifier.HasField("interval") else None
        usual = Kind.REGISTER if kind is ChannelKind.REGISTER else Kind.INTERVAL
        reading_types = tuple(
            ReadingType(
                each.ref,
                self._word(each, "kind", f"{path}.reading_types[{index}]", Kind, usual),
                each.timeslice_group or None,
                each.as_power,
            )
            for index, each in enumerate(classifier.reading_types)
        )
        return self._made(
            path,
            lambda: ChannelClassifier(
                classifier.id,
                classifier.unit,
                classifier.decimal_places,
                label,
                kind,
                interval_us,
                classifier.dial_digits if classifier.HasField("dial_digits") else None,
                reading_types,
            ),
            ChannelClassifier(classifier.id, classifier.unit, 0),
        )

    def datasource(self, source: wire.Datasource, path: str) -> Datasource:
        channels = tuple(Channel(each.name, each.classifier) for each in source.channels)
        tolerance_us = self._duration(source, "register_tolerance", path)
        stand_in = Datasource(source.id)
        return self._made(
            path,
            lambda: Datasource(
                source.id,
                channels,
                source.holiday_calendar or None,
                source.quality_table or None,
                tolerance_us or 0,
                source.customer if source.HasField("customer") else None,
                source.contract_id if source.HasField("contract_id") else None,
                source.time_zone if source.HasField("time_zone") else None,
            ),
            stand_in,
        )

    def _made(self, path: str, make: Callable[[], Read], stand_in: Read) -> Read:
        try:
            return make()
        except ConfigurationFault as fault:
            for field, message in fault.faults:
                self._faults.add(f"{path}.{field}", message)
            return stand_in

    def _parsed(self, parse: Callable[[str], Read], text: str, path: str) -> Read | None:
        try:
            return parse(text)
        except ValueError as error:
            self._faults.add(path, str(error))
            return None

    def _date(self, text: str, path: str) -> date | None:
        """A date; None where it is empty, which a date of a list may not be, or cannot be read."""
        return self._parsed(parse_date, text, path) if text or path.endswith("]") else None

    def _duration(self, owner: Any, field: str, path: str) -> int | None:
        try:
            return duration_us(getattr(owner, field))
        except ValueError as error:
            self._faults.add(f"{path}.{field}", str(error))
            return None

    def _word(self, owner: Any, field: str, path: str, words: type[Word], default: Word) -> Word:
        number = getattr(owner, field)
        known = owner.DESCRIPTOR.fields_by_name[field].enum_type.values_by_number
        if number and number not in known:
            names = ", ".join(each.name for each in known.values() if each.number)
            self._faults.add(f"{path}.{field}", f"{number} is none of {names}")
        return words[known[number].name] if number and number in known else default


def _whole_day(name: str) -> TimesliceInterval:
    return TimesliceInterval(name, Days.DAILY, 0, MINUTES_A_DAY)


# Writing


def write_quality_table(table: QualityTable) -> wire.QualityTable:
    """A quality table."""
    statuses = [
        wire.QualityStatus(name=each.name, is_billable=each.is_billable, has_value=each.has_value)
        for each in table.statuses
    ]
    return wire.QualityTable(id=table.id, statuses=statuses)


def write_holiday_calendar(calendar: HolidayCalendar) -> wire.HolidayCalendar:
    """A holiday calendar, its dates in order."""
    return wire.HolidayCalendar(
        id=calendar.id,
        version=calendar.version,
        dates=[day.isoformat() for day in sorted(calendar.dates)],
        valid_from_date=calendar.valid_from.isoformat() if calendar.valid_from else "",
        valid_to_date=calendar.valid_to.isoformat() if calendar.valid_to else "",
    )


def write_timeslice_group(group: TimesliceGroup) -> wire.TimesliceGroup:
    """A timeslice group."""
    intervals = [
        wire.TimesliceInterval(
            slice=each.channel,
            days=wire.TimesliceInterval.Days.Value(each.days.value),
            start_time_of_day=_time_of_day(each.start_minute),
            end_time_of_day=_time_of_day(each.end_minute),
            is_dst=each.is_dst,
            months=each.months,
        )
        for each in group.intervals
    ]
    return wire.TimesliceGroup(id=group.id, intervals=intervals)


def write_channel_classifier(classifier: ChannelClassifier) -> wire.ChannelClassifier:
    """A channel classifier."""
    reading_types = [
        wire.ReadingType(
            ref=each.ref,
            kind=wire.ReadingType.Kind.Value(each.kind.value),
            timeslice_group=each.timeslice_group or "",
            as_power=each.as_power,
        )
        for each in classifier.reading_types
    ]
    return wire.ChannelClassifier(
        id=classifier.id,
        unit=classifier.unit,
        decimal_places=classifier.decimal_places,
        label=wire.ChannelClassifier.Label.Value(classifier.label.value),
        kind=wire.ChannelClassifier.Kind.Value(classifier.kind.value),
        interval=None if classifier.interval_us is None else _duration(classifier.interval_us),
        dial_digits=classifier.dial_digits,
        reading_types=reading_types,
    )


def write_datasource(source: Datasource) -> wire.Datasource:
    """A datasource."""
    return wire.Datasource(
        id=source.id,
        channels=[wire.Channel(name=each.name, classifier=each.classifier) for each in source.channels],
        holiday_calendar=source.holiday_calendar or "",
        quality_table=source.quality_table or "",
        register_tolerance=_duration(source.register_tolerance_us) if source.register_tolerance_us else None,
        customer=source.customer,
        contract_id=source.contract_id,
        time_zone=source.time_zone,
    )


def _duration(length_us: int) -> Duration:
    return Duration(seconds=length_us // 1_000_000, nanos=length_us % 1_000_000 * 1_000)


def _time_of_day(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"
