"""The whole rule: one billing request, its readings and its configuration become determinants or a cancellation.

Everything is computed before anything is answered, so there is nothing to take back when a channel does not pass.

Source: Energyworx, standard_load_billing_data, standard_billing_validation and
standard_billing_determinants_calculation; DESIGN section 6.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.calendar.local_time import DAY_US, day_number, local_times
from tallybook_engine.calendar.local_time import date_of as date_of_number
from tallybook_engine.calendar.offsets import FIRST_YEAR, LAST_YEAR
from tallybook_engine.calendar.zones import zone
from tallybook_engine.decimals import DoesNotFit
from tallybook_engine.demand.compute import demands_of
from tallybook_engine.demand.load import Load
from tallybook_engine.demand.scheme import Demand
from tallybook_engine.determinants.accumulate import Map
from tallybook_engine.determinants.configuration import (
    UNCOVERED,
    ChannelClassifier,
    ChannelKind,
    HolidayCalendar,
    TimesliceGroup,
)
from tallybook_engine.determinants.interval import (
    Frame,
    channel_totals,
    check_codes,
    expected_counts,
    period_frame,
    taken_rows,
)
from tallybook_engine.determinants.kinds import Kind
from tallybook_engine.determinants.message import seconds_text
from tallybook_engine.determinants.naming import billing_channel
from tallybook_engine.determinants.numbers import power_unit, quantity_of, quotient
from tallybook_engine.determinants.parts import Part, parts_of, together
from tallybook_engine.determinants.pmax import maximum_of, peaks_of
from tallybook_engine.determinants.quality import QualityTable
from tallybook_engine.determinants.readings import Readings, Times, faults_of, label_of, no_readings, rows_between
from tallybook_engine.determinants.register import check_dial, register_difference, register_row
from tallybook_engine.determinants.request import (
    BillingConfiguration,
    BillingRequest,
    ChannelRequest,
    DemandRequest,
    OnInvalid,
    RequestFault,
)
from tallybook_engine.determinants.result import (
    ALWAYS_CANCELS,
    NEVER_CANCELS,
    Cancellation,
    Cause,
    Counts,
    Determinant,
    Reason,
    Result,
)

FIRST_INSTANT_US = day_number(date(FIRST_YEAR + 2, 1, 3)) * DAY_US
"""Earliest start of a request's period: 3 January of the year 5, so that the longest interval can reach into it."""
LAST_INSTANT_US = day_number(date(LAST_YEAR, 1, 1)) * DAY_US
"""Latest end of a request's period: 1 January of the year 9997."""
MAX_PERIOD_US = 100 * 366 * DAY_US
"""Longest period of a request, a hundred years."""

_ANSWERED_KINDS = {Kind.REGISTER: (Kind.REGISTER, Kind.REGISTER_DIFFERENCE)}
INTERVAL_KINDS = frozenset({Kind.INTERVAL, Kind.TIMESLICE, Kind.PMAX})


def calculate(
    request: BillingRequest,
    readings: Mapping[str, Readings],
    configuration: BillingConfiguration,
    *,
    spread: Map = map,
) -> Result | Cancellation:
    """Determinants of one datasource.

    `readings` are the datasource's, by name of channel, of any time around the period (labels outside of it are not
    taken; a register's reading at the period's start is wanted for its difference); a channel without an entry has no
    rows. Values are scaled by their classifier's decimal places and quality codes are those of the configuration's
    table. `spread` is a `map` that may use threads; the result does not depend on it.

    Raises RequestFault (the request makes no sense, or has a window that the readings' intervals do not fill),
    `zones.UnknownZone`, and ReadingsFault for columns that are no readings and intervals that overlap.
    """
    check_request(request, configuration)
    check_windows(request, {channel: each.times for channel, each in readings.items()}, configuration)
    return Calculation(request, readings, configuration, spread).outcome()


def check_request(request: BillingRequest, configuration: BillingConfiguration) -> None:
    """Raises RequestFault, or `zones.UnknownZone`, for the first thing in a request that makes no sense."""
    zone(request.time_zone)
    for name, instant_us in (("start_time", request.start_us), ("end_time", request.end_us)):
        if not FIRST_INSTANT_US <= instant_us <= LAST_INSTANT_US:
            raise RequestFault(f"{name}: not within the years that the calendar has")
    if not 0 <= request.end_us - request.start_us <= MAX_PERIOD_US:
        raise RequestFault("end_time: the period ends before it starts, or is longer than 100 years")
    if not request.channels and not request.demands:
        raise RequestFault("channels: nothing is asked for")
    for index, asked in enumerate(request.channels):
        _check_channel(f"channels[{index}]", asked, configuration)
    names = [demand.id for demand in request.demands]
    for index, demand in enumerate(request.demands):
        if names.index(demand.id) < index:
            raise RequestFault(f"demands[{index}].id: {demand.id!r} is there twice")
        for channel in (demand.channel, *demand.scheme.other_channels()):
            classifier = configuration.classifiers.get(channel)
            if classifier is None:
                raise RequestFault(f"demands[{index}]: the datasource has no channel {channel!r}")
            if classifier.kind is not ChannelKind.INTERVAL:
                raise RequestFault(f"demands[{index}]: {channel!r} is a register")
        group = demand.scheme.timeslice_group_id()
        if group is not None and group not in configuration.timeslice_groups:
            raise RequestFault(f"demands[{index}]: there is no timeslice group {group!r}")
    _check_names(request, configuration)


def check_windows(request: BillingRequest, times: Mapping[str, Times], configuration: BillingConfiguration) -> None:
    """Raises RequestFault for a demand's window that no intervals fill: it is no multiple of their one length.

    Channels whose intervals have several lengths are not looked at.
    """
    for index, demand in enumerate(request.demands):
        window = demand.scheme.window()
        if window is None:
            continue
        for channel in (demand.channel, *demand.scheme.other_channels()):
            interval_us: int | NDArray[np.int64] | None = configuration.classifiers[channel].interval_us
            if channel in times and times[channel].count:
                interval_us = times[channel].interval_us
            if isinstance(interval_us, int) and window.length_us % interval_us:
                raise RequestFault(
                    f"demands[{index}].{window.field}: {seconds_text(window.length_us)} is no multiple of the "
                    f"{seconds_text(interval_us)} of the intervals of channel {channel!r}, so that none fill it"
                )


def _check_names(request: BillingRequest, configuration: BillingConfiguration) -> None:
    """Two determinants must not be stored in one channel, whatever ids are made of."""
    asked: list[tuple[str, Kind, str | None, str | None, bool]] = [
        (each.channel, kind, each.timeslice_group, None, each.as_power)
        for each in request.channels
        for kind in _ANSWERED_KINDS.get(each.kind, (each.kind,))
    ]
    asked += [(each.channel, Kind.DEMAND, each.scheme.timeslice_group_id(), each.id, False) for each in request.demands]
    seen: set[str] = set()
    for channel, kind, group, demand, as_power in asked:
        slices: tuple[str | None, ...] = (None,)
        if group is not None:
            slices = (*configuration.timeslice_groups[group].channels(), UNCOVERED)
        for slice_name in slices:
            for is_month in (False, True):
                classifier = configuration.classifiers[channel].id
                name = billing_channel(
                    classifier,
                    kind,
                    slice_name=slice_name,
                    demand=demand,
                    timeslice_group=group if kind is Kind.TIMESLICE else None,
                    as_power=as_power,
                    is_month=is_month,
                )
                if name in seen:
                    raise RequestFault(f"channels: two determinants would be stored in {name}")
                seen.add(name)


def _check_channel(path: str, asked: ChannelRequest, configuration: BillingConfiguration) -> None:
    classifier = configuration.classifiers.get(asked.channel)
    if classifier is None:
        raise RequestFault(f"{path}.channel: the datasource has no channel {asked.channel!r}")
    if asked.kind is Kind.REGISTER:
        if classifier.kind is not ChannelKind.REGISTER:
            raise RequestFault(f"{path}.kind: {asked.channel!r} is no register")
    elif asked.kind not in INTERVAL_KINDS:
        raise RequestFault(f"{path}.kind: {asked.kind.value} is not asked of a channel")
    elif classifier.kind is not ChannelKind.INTERVAL:
        raise RequestFault(f"{path}.kind: {asked.channel!r} is a register")
    if (asked.kind is Kind.TIMESLICE) != (asked.timeslice_group is not None):
        raise RequestFault(f"{path}.timeslice_group: TIMESLICE has one, and no other kind")
    if asked.timeslice_group is not None and asked.timeslice_group not in configuration.timeslice_groups:
        raise RequestFault(f"{path}.timeslice_group: there is no timeslice group {asked.timeslice_group!r}")
    if asked.as_power:
        if asked.kind is not Kind.PMAX:
            raise RequestFault(f"{path}.as_power: only PMAX is answered as power")
        if power_unit(classifier.unit) is None:
            raise RequestFault(f"{path}.as_power: {classifier.unit!r} is no unit of energy")


@dataclass(frozen=True, eq=False)
class Scan:
    """One pass over one channel, as plain numbers."""

    frame: Frame
    parts: list[list[Part]]
    """[cell][column]"""
    expected: list[list[int]] | None
    """[cell][column] expected intervals."""
    as_power: bool

    def part(self, cells: range, column: int) -> Part:
        """Some cells together."""
        return together([self.parts[cell][column] for cell in cells], as_power=self.as_power)


ScanKey = tuple[str, str | None, bool]
"""Channel, timeslice group, and whether maxima are of power where lengths differ."""


@dataclass
class Calculation:
    """One request on its way; `calculate` is what others call."""

    request: BillingRequest
    readings: Mapping[str, Readings]
    configuration: BillingConfiguration
    spread: Map
    scans: dict[ScanKey, Scan] = field(default_factory=dict)
    """Passes that have been made."""
    causes: list[Cause] = field(default_factory=list)
    laid_out: dict[tuple[str, str | None, int, int], Scan] = field(default_factory=dict)
    """What is expected of a demand's period, which is the same for each of its slices: by channel, group and bounds."""

    def outcome(self) -> Result | Cancellation:
        """Validates and computes."""
        request = self.request
        self.causes += self.calendar_faults()
        if not self.causes:
            self._validate()
        determinants: list[Determinant] = []
        if not self._is_cancelled():
            for asked in request.channels:
                determinants += self._fitting(asked.channel, self._determinants(asked))
            for demand in request.demands:
                determinants += self._fitting(demand.channel, self._demand(demand))
        if self._is_cancelled():
            causes = tuple(cause for cause in self.causes if cause.reason not in NEVER_CANCELS)
            return Cancellation(request.datasource, request.start_us, request.end_us, causes)
        calendar = self.configuration.holiday_calendar if self._groups() else None
        return Result(
            request.datasource,
            request.start_us,
            request.end_us,
            request.time_zone,
            tuple(determinants),
            tuple(self.causes),
            self.configuration.catalog_version,
            None if calendar is None else calendar.id,
            None if calendar is None else calendar.version,
        )

    # What is wrong

    def _is_cancelled(self) -> bool:
        reports = self.request.on_invalid is OnInvalid.REPORT
        return any(
            cause.reason in ALWAYS_CANCELS or not (reports or cause.reason in NEVER_CANCELS) for cause in self.causes
        )

    def _wrong(
        self, reason: Reason, channel: str, detail: str, start_us: int | None = None, end_us: int | None = None
    ) -> None:
        start = self.request.start_us if start_us is None else start_us
        end = self.request.end_us if end_us is None else end_us
        self.causes.append(Cause(reason, channel, start, end, detail))

    def _groups(self) -> list[tuple[str, str]]:
        """(channel, timeslice group) of everything that needs a holiday calendar."""
        asked = [(each.channel, each.timeslice_group) for each in self.request.channels]
        asked += [(each.channel, each.scheme.timeslice_group_id()) for each in self.request.demands]
        return [(channel, group) for channel, group in asked if group is not None]

    def calendar_faults(self) -> list[Cause]:
        """What is wrong with the holiday calendar, of each channel that needs it."""
        calendar, request = self.configuration.holiday_calendar, self.request
        groups = list(dict.fromkeys(self._groups()))
        if not groups:
            return []
        if calendar is None:
            reason, detail = Reason.NO_HOLIDAY_CALENDAR, "timeslice group {} needs a holiday calendar"
        elif not _speaks_of(calendar, *_local_dates(request)):
            reason = Reason.HOLIDAY_CALENDAR_NOT_VALID
            detail = (
                f"holiday calendar {calendar.id} version {calendar.version}, which timeslice group {{}} needs, "
                "is not valid for the whole period"
            )
        else:
            return []
        return [
            Cause(reason, channel, request.start_us, request.end_us, detail.format(group)) for channel, group in groups
        ]

    def _validate(self) -> None:
        for channel in self._channels():
            if self.configuration.classifiers[channel].kind is ChannelKind.REGISTER:
                row_count = self._register_statuses(channel)
            else:
                scan = self._scan(channel, self._preferred_group(channel), as_power=False)
                row_count = scan.part(range(scan.frame.cell_count), scan.frame.total).rows
            if not any(row_count):
                self._wrong(Reason.NO_READINGS, channel, "no readings in the period")
            bad = [
                f"{count} {status.name}"
                for status, count in zip(self._quality.statuses, row_count, strict=True)
                if count and not status.is_billable
            ]
            if bad:
                self._wrong(Reason.NOT_BILLABLE, channel, f"readings that may not be billed: {', '.join(bad)}")

    def _fitting(self, channel: str, made: Iterator[Determinant]) -> list[Determinant]:
        try:
            return list(made)
        except DoesNotFit as fault:
            self._wrong(Reason.DOES_NOT_FIT, channel, str(fault))
            return []

    # Passes over the readings

    def _channels(self) -> list[str]:
        """Every channel that is asked for, once."""
        channels = [asked.channel for asked in self.request.channels]
        for demand in self.request.demands:
            channels += [demand.channel, *demand.scheme.other_channels()]
        return list(dict.fromkeys(channels))

    def passes(self) -> list[ScanKey]:
        """The passes over interval channels that the request will make, demand schemes' own left out."""
        keys = [
            (channel, self._preferred_group(channel), False)
            for channel in self._channels()
            if self.configuration.classifiers[channel].kind is ChannelKind.INTERVAL
        ]
        for asked in self.request.channels:
            if asked.kind is Kind.TIMESLICE:
                keys.append((asked.channel, asked.timeslice_group, False))
            elif asked.kind is Kind.PMAX:
                as_power = asked.as_power and self._is_uneven(asked.channel)
                keys.append((asked.channel, self._preferred_group(asked.channel), as_power))
        return list(dict.fromkeys(keys))

    def _is_uneven(self, channel: str) -> bool:
        return isinstance(self._readings(channel).times.interval_us, np.ndarray)

    @property
    def _quality(self) -> QualityTable:
        return self.configuration.quality

    def _readings(self, channel: str) -> Readings:
        known = self.readings.get(channel)
        if known is None:
            return no_readings(self.configuration.classifiers[channel].interval_us or 1)
        return known

    def _preferred_group(self, channel: str) -> str | None:
        """A channel's own timeslice group, so that sums, slices and maximum come of one pass."""
        groups = [asked.timeslice_group for asked in self.request.channels if asked.channel == channel]
        return next((group for group in groups if group is not None), None)

    def _scan(self, channel: str, group: str | None, *, as_power: bool) -> Scan:
        # Where all intervals are alike the largest energy is the largest power.
        key = (channel, group, as_power and self._is_uneven(channel))
        if key not in self.scans:
            readings = self._readings(channel)
            classifier = self.configuration.classifiers[channel]
            frame = self.frame(readings.times, group)
            with faults_of(channel):
                totals = channel_totals(
                    frame, readings, classifier.label, self._quality, as_power=key[2], spread=self.spread
                )
            expected = expected_of(frame, readings.times, classifier)
            self.scans[key] = Scan(frame, parts_of(totals, 0), expected, key[2])
        return self.scans[key]

    def frame(self, times: Times, group_id: str | None) -> Frame:
        """The period laid out for a channel's timestamps, by month where months are asked for."""
        request = self.request
        return self._frame(times, group_id, request.start_us, request.end_us, by_month=request.split_by_month)

    def _frame(self, times: Times, group_id: str | None, start_us: int, end_us: int, *, by_month: bool) -> Frame:
        group: TimesliceGroup | None = None
        if group_id is not None:
            group = self.configuration.timeslice_groups[group_id]
        longest = times.interval_us
        if isinstance(longest, np.ndarray):
            longest = int(longest.max(initial=1))
        calendar = self.configuration.holiday_calendar if group else None
        lead_us = max(DAY_US, longest)
        return period_frame(
            self.request.time_zone, start_us, end_us, group, calendar, by_month=by_month, lead_us=lead_us
        )

    # Determinants

    def _periods(self, cell_bounds: NDArray[np.int64]) -> Iterator[tuple[range, int, int, bool]]:
        """(cells, start, end, is month) of the whole period, and of each month where they are asked for."""
        bounds = cell_bounds.tolist()
        yield range(len(bounds) - 1), bounds[0], bounds[-1], False
        if self.request.split_by_month:
            for cell in range(len(bounds) - 1):
                yield range(cell, cell + 1), bounds[cell], bounds[cell + 1], True

    def _determinants(self, asked: ChannelRequest) -> Iterator[Determinant]:
        match asked.kind:
            case Kind.INTERVAL:
                return self._sums(asked, self._preferred_group(asked.channel), is_sliced=False)
            case Kind.TIMESLICE:
                return self._sums(asked, asked.timeslice_group, is_sliced=True)
            case Kind.PMAX:
                return self._pmax(asked)
            case _:
                return self._register(asked)

    def _sums(self, asked: ChannelRequest, group: str | None, *, is_sliced: bool) -> Iterator[Determinant]:
        scan = self._scan(asked.channel, group, as_power=False)
        classifier = self.configuration.classifiers[asked.channel]
        columns = range(scan.frame.total) if is_sliced else (scan.frame.total,)
        for column in columns:
            name = scan.frame.columns[column]
            for cells, start, end, is_month in self._periods(scan.frame.cell_bounds):
                part = scan.part(cells, column)
                yield Determinant(
                    asked.kind,
                    asked.channel,
                    classifier.id,
                    name,
                    None,
                    billing_channel(
                        classifier.id,
                        asked.kind,
                        slice_name=name,
                        timeslice_group=asked.timeslice_group,
                        is_month=is_month,
                    ),
                    classifier.unit,
                    start,
                    end,
                    is_month,
                    quantity_of(part.total, classifier.decimal_places),
                    self._worst(part),
                    self._counts(scan, part, cells, column),
                    timeslice_group=asked.timeslice_group,
                )

    def _pmax(self, asked: ChannelRequest) -> Iterator[Determinant]:
        readings = self._readings(asked.channel)
        classifier = self.configuration.classifiers[asked.channel]
        scan = self._scan(asked.channel, self._preferred_group(asked.channel), as_power=asked.as_power)
        unit = classifier.unit
        if asked.as_power:
            unit = power_unit(unit) or unit
        for cells, start, end, is_month in self._periods(scan.frame.cell_bounds):
            part = scan.part(cells, scan.frame.total)
            yield Determinant(
                Kind.PMAX,
                asked.channel,
                classifier.id,
                None,
                None,
                billing_channel(classifier.id, Kind.PMAX, as_power=asked.as_power, is_month=is_month),
                unit,
                start,
                end,
                is_month,
                maximum_of(part, classifier, as_power=asked.as_power),
                self._worst(part),
                self._counts(scan, part, cells, scan.frame.total),
                peaks_of(part, readings, classifier.label, self._quality),
                as_power=asked.as_power,
            )

    def _worst(self, part: Part) -> str | None:
        worst = part.worst
        return None if worst is None else self._quality.statuses[worst].name

    def _counts(self, scan: Scan, part: Part, cells: range, column: int) -> Counts:
        present = 0
        by_status = []
        statuses = self._quality.statuses
        for code, count in enumerate(part.rows):
            if count:
                status = statuses[code]
                by_status.append((status.name, count))
                present += count if status.has_value else 0
        if scan.expected is None:
            # Without an expected number the covered time says how much of the period is there.
            whole = int(scan.frame.cell_bounds[cells.stop] - scan.frame.cell_bounds[cells.start])
            is_known = whole and column == scan.frame.total
            coverage = quotient(part.covered_us, whole) if is_known else None
            return Counts(None, present, None, tuple(by_status), coverage)
        expected = sum([scan.expected[cell][column] for cell in cells])
        coverage = quotient(present, expected) if expected else None
        return Counts(expected, present, max(0, expected - present), tuple(by_status), coverage)

    # Registers

    def _register_statuses(self, channel: str) -> Sequence[int]:
        """[k] rows of each status from the period's start to its end, both included."""
        tolerance = self.configuration.register_tolerance_us
        readings = self._readings(channel)
        first, last = rows_between(
            readings.times, self.request.start_us - tolerance, self.request.end_us + tolerance + 1
        )
        check_codes(readings.quality[first:last], self._quality)
        with faults_of(channel):
            check_dial(self.configuration.classifiers[channel], readings, self._quality, first, last)
        rows: list[int] = np.bincount(readings.quality[first:last], minlength=len(self._quality.statuses)).tolist()
        return rows

    def _register(self, asked: ChannelRequest) -> Iterator[Determinant]:
        readings = self._readings(asked.channel)
        classifier = self.configuration.classifiers[asked.channel]
        tolerance = self.configuration.register_tolerance_us
        bounds = period_frame(self.request.time_zone, self.request.start_us, self.request.end_us).cell_bounds
        for _, start, end, is_month in self._periods(bounds):
            first = register_row(readings, self._quality, start, tolerance)
            last = register_row(readings, self._quality, end, tolerance)
            value = quality = read_us = None
            if last is None:
                self._wrong(Reason.NO_READ_AT_END, asked.channel, "no reading at the period's end", start, end)
            else:
                value = quantity_of(int(readings.values[last]), classifier.decimal_places)
                quality = self._quality.statuses[int(readings.quality[last])].name
                read_us = readings.label(last)
            difference = difference_quality = None
            if first is not None and last is not None:
                counted = register_difference(classifier, int(readings.values[first]), int(readings.values[last]))
                difference = quantity_of(counted, classifier.decimal_places)
                code = max(int(readings.quality[first]), int(readings.quality[last]))
                difference_quality = self._quality.statuses[code].name
            for kind, number, status, at in (
                (Kind.REGISTER, value, quality, read_us),
                (Kind.REGISTER_DIFFERENCE, difference, difference_quality, read_us),
            ):
                yield Determinant(
                    kind,
                    asked.channel,
                    classifier.id,
                    None,
                    None,
                    billing_channel(classifier.id, kind, is_month=is_month),
                    classifier.unit,
                    start,
                    end,
                    is_month,
                    number,
                    status,
                    read_us=at,
                )

    # Demand

    def _load(self, channel: str) -> Load:
        request = self.request
        return Load(
            channel,
            self._readings(channel),
            self.configuration.classifiers[channel],
            self._quality,
            request.time_zone,
            request.start_us,
            request.end_us,
            self.spread,
        )

    def _demand(self, asked: DemandRequest) -> Iterator[Determinant]:
        classifier = self.configuration.classifiers[asked.channel]
        scheme = asked.scheme
        group_id = scheme.timeslice_group_id()
        others = {channel: self._load(channel) for channel in scheme.other_channels()}
        made = demands_of(
            scheme,
            self._load(asked.channel),
            others,
            None if group_id is None else self.configuration.timeslice_groups[group_id],
            self.configuration.holiday_calendar,
            asked.history,
            self.request.split_by_month,
        )
        for demand in made:
            if len(demand.peaks) < scheme.peak_count():
                self._wrong(
                    Reason.FEWER_PEAKS,
                    asked.channel,
                    f"demand {asked.id}: {scheme.peak_count()} peaks are asked for, and there are {len(demand.peaks)}",
                    demand.start_us,
                    demand.end_us,
                )
            name = billing_channel(
                classifier.id, Kind.DEMAND, slice_name=demand.slice, demand=asked.id, is_month=demand.is_month
            )
            yield Determinant(
                Kind.DEMAND,
                asked.channel,
                classifier.id,
                demand.slice,
                asked.id,
                name,
                demand.unit,
                demand.start_us,
                demand.end_us,
                demand.is_month,
                demand.value,
                demand.quality,
                self._demand_counts(asked.channel, demand, group_id),
                demand.peaks,
            )

    def _demand_counts(self, channel: str, demand: Demand, group_id: str | None) -> Counts:
        key = (channel, group_id, demand.start_us, demand.end_us)
        scan = self.laid_out.get(key)
        if scan is None:
            classifier, times = self.configuration.classifiers[channel], self._readings(channel).times
            laid_out = self._frame(times, group_id, demand.start_us, demand.end_us, by_month=False)
            scan = Scan(laid_out, [], expected_of(laid_out, times, classifier), as_power=False)
            self.laid_out[key] = scan
        return self._counts(scan, demand.part, range(1), scan.frame.columns.index(demand.slice))


def expected_of(frame: Frame, times: Times, classifier: ChannelClassifier) -> list[list[int]] | None:
    """[cell][column] intervals that a channel should have; None where they have no one length."""
    length_us = times.interval_us if times.count else classifier.interval_us
    if length_us is None or isinstance(length_us, np.ndarray):
        return None
    known_us = frame.start_us
    if times.count:
        first, last = taken_rows(times, classifier.label, frame.start_us, frame.end_us)
        known_us = label_of(times, first if first < last else 0)
    return expected_counts(frame, classifier.label, length_us, known_us % length_us)


def _local_dates(request: BillingRequest) -> tuple[date, date]:
    """The first and the last local date of a period."""
    instants = np.array([request.start_us, max(request.start_us, request.end_us - 1)], dtype=np.int64)
    first, last = local_times(request.time_zone, instants).day.tolist()
    return date_of_number(first), date_of_number(last)


def _speaks_of(calendar: HolidayCalendar, first: date, last: date) -> bool:
    begins = calendar.valid_from is None or calendar.valid_from <= first
    return begins and (calendar.valid_to is None or last < calendar.valid_to)
