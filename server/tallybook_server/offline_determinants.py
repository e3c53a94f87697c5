"""Determinants without a server: a request out of a file, and what it is answered."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from tallybook.v1 import catalog_pb2
from tallybook.v1 import determinants_pb2 as wire
from tallybook_engine.calendar.zones import UnknownZone
from tallybook_engine.calendar.zones import midnight as local_midnight
from tallybook_engine.catalog.change import METERING_KINDS
from tallybook_engine.determinants.configuration import (
    UNCOVERED,
    ChannelClassifier,
    ChannelKind,
    Label,
)
from tallybook_engine.determinants.interval import taken_rows
from tallybook_engine.determinants.quality import QualityTable
from tallybook_engine.determinants.readings import labels_between
from tallybook_engine.determinants.request import BillingConfiguration
from tallybook_engine.determinants.result import Cancellation
from tallybook_engine.determinants.timeslice import slice_runs
from tallybook_server.billing import outcome_of, prepared
from tallybook_server.catalog_file import read_message_file
from tallybook_server.codec import cim
from tallybook_server.codec.cim import is_cim_request
from tallybook_server.codec.columns import CalculateDeterminantsEnvelope
from tallybook_server.codec.determinants import cancelled, read_request, result_message
from tallybook_server.codec.metering import read_configuration, read_metering
from tallybook_server.errors import Fault
from tallybook_server.readings_files.model import ChannelDefaults, ChannelInfo, ChannelReadings, ReadFile
from tallybook_server.readings_files.units import spelled


class RequestFileError(ValueError):
    """A file that holds no billing request; `faults` has a line for each thing that is wrong."""

    def __init__(self, *faults: str) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class DeterminantsError(ValueError):
    """A request that is wrong, or cancelled."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(f"{fault.message} ({fault.code.name})")
        self.detail = fault.detail


def read_request_file(name: str, content: bytes) -> wire.CalculateDeterminantsRequest:
    """A file of the message `CalculateDeterminantsRequest`, YAML or JSON, or a CIM GetMeterReadings message.

    RequestFileError names every fault.
    """
    if is_cim_request(content):
        return wire.CalculateDeterminantsRequest(cim_request=content)
    file = read_message_file(name, content, wire.CalculateDeterminantsRequest)
    if file.faults:
        raise RequestFileError(*map(file.located, file.faults))
    return file.message


def add_configuration(request: wire.CalculateDeterminantsRequest, name: str, content: bytes) -> None:
    """Adds what a catalogue file has configured about meters. RequestFileError names every fault."""
    file = read_message_file(name, content, catalog_pb2.Catalog)
    if file.faults:
        raise RequestFileError(*map(file.located, file.faults))
    for kind in METERING_KINDS:
        getattr(request.configuration, kind).extend(getattr(file.message, kind))


def datasource_of(request: wire.CalculateDeterminantsRequest) -> str:
    """Id of the datasource that is asked about. RequestFileError where a CIM request does not say."""
    try:
        return _asked(request).datasource
    except Fault as fault:
        raise RequestFileError(fault.message) from None


def asked_channels(request: wire.CalculateDeterminantsRequest) -> list[str]:
    """Names of the channels that are asked about, each once. RequestFileError where a CIM request does not say."""
    try:
        asked = _asked(request)
    except Fault as fault:
        raise RequestFileError(fault.message) from None
    return list(dict.fromkeys([*(each.channel for each in asked.channels), *(each.channel for each in asked.demands)]))


def _asked(request: wire.CalculateDeterminantsRequest) -> wire.BillingRequest:
    if not request.cim_request:
        return request.billing_request
    found: wire.BillingRequest = cim.billing_request(
        request.cim_request, request.billing_request, read_metering(request.configuration)
    )
    return found


def configuration_of(request: wire.CalculateDeterminantsRequest) -> BillingConfiguration:
    """What is configured of the request's datasource. RequestFileError for the first thing that is wrong."""
    return datasource_configuration(request.configuration, datasource_of(request))


def datasource_configuration(configuration: wire.DeterminantsConfiguration, datasource: str) -> BillingConfiguration:
    """What is configured of a datasource. RequestFileError for the first thing that is wrong."""
    try:
        return read_configuration(configuration, datasource)
    except Fault as fault:
        raise RequestFileError(fault.message) from None


def channel_defaults(configuration: BillingConfiguration) -> dict[str, ChannelDefaults]:
    """What the classifiers say of the channels of a file that leaves it unsaid."""
    return {
        name: ChannelDefaults(each.unit, each.kind, each.label, each.interval_us)
        for name, each in configuration.classifiers.items()
    }


@dataclass(frozen=True)
class FileColumns:
    """A channel of a file of readings, n of them."""

    channel: str
    """Its name at the datasource."""
    times_us: NDArray[np.int64]
    intervals_us: NDArray[np.int64] | None
    """[n] length of each interval; None for a register."""
    values: NDArray[np.int64]
    decimal_places: int
    statuses: list[str]
    """[n] names of the quality table."""


def columns_of(
    file: ReadFile, datasource: str, configuration: BillingConfiguration, channel: str = ""
) -> list[FileColumns]:
    """The channels of a file of readings that are configured for a datasource.

    `channel` is the name of the file's only one; empty: they bear the file's names. RequestFileError where the file is
    of another meter, has no such channel, or measures something else than the channel's classifier says.
    """
    name = file.report.file
    if not file.channels:
        return []
    others = ", ".join(sorted({each.info.datasource for each in file.channels}))
    own = [each for each in file.channels if each.info.datasource == datasource]
    if not own:
        raise RequestFileError(f"{name}: has no datasource {datasource}; it has {others}")
    names = ", ".join(each.info.channel for each in own)
    if channel and len(own) > 1:
        raise RequestFileError(f"{name}: has the channels {names}; leave {channel}= out, they bear these names")
    classifiers = configuration.classifiers
    chosen = [(channel or each.info.channel, each) for each in own if channel or each.info.channel in classifiers]
    if not chosen or chosen[0][0] not in classifiers:
        configured = ", ".join(classifiers)
        raise RequestFileError(f"{name}: has the channels {names}; the request's datasource has {configured}")
    for wanted, each in chosen:
        check_classifier(name, each.info, classifiers[wanted])
    return [_columns(wanted, each, configuration.quality) for wanted, each in chosen]


def check_classifier(file: str, info: ChannelInfo, classifier: ChannelClassifier) -> None:
    """RequestFileError for values of another unit, or times of another meaning: they would be billed as what they are
    not. A unit that nothing says is the classifier's.
    """
    pairs = [("kind", info.kind.value, classifier.kind.value)]
    if info.unit:
        pairs.insert(0, ("unit", info.unit, spelled(classifier.unit)))
    if info.kind is ChannelKind.INTERVAL:
        pairs.append(("label", info.label.value, classifier.label.value))
    for what, found, configured in pairs:
        if found != configured:
            raise RequestFileError(
                f"{file}: channel {info.name} has the {what} {found}; classifier {classifier.id} says {configured}: "
                "correct the one that is wrong"
            )


def _columns(channel: str, each: ChannelReadings, quality: QualityTable) -> FileColumns:
    lengths = each.lengths_us
    return FileColumns(
        channel,
        each.labels_us,
        None if lengths is None else np.broadcast_to(np.asarray(lengths, dtype=np.int64), each.readings.times.count),
        each.readings.values,
        each.decimal_places,
        [quality.statuses[code].name for code in each.readings.quality.tolist()],
    )


def midnight_us(zone: str, day: date) -> int:
    """First instant of a local date, microseconds. RequestFileError where there is no such zone."""
    try:
        return local_midnight(zone, day)
    except UnknownZone as error:
        raise RequestFileError(str(error)) from None


def determinants(request: wire.CalculateDeterminantsRequest, now_us: int) -> wire.DeterminantsResult:
    """What a server would answer. DeterminantsError for what it would refuse or cancel."""
    try:
        outcome, _ = outcome_of(prepared(CalculateDeterminantsEnvelope.FromString(request.SerializeToString())))
        if isinstance(outcome, Cancellation):
            raise cancelled(outcome)
    except Fault as fault:
        raise DeterminantsError(fault) from None
    return result_message(outcome, now_us)


@dataclass(frozen=True)
class SlicedLoad:
    """A channel's readings that a period takes, interval by interval, for a picture."""

    channel: str
    unit: str
    starts_us: NDArray[np.int64]
    """[n] beginning of each interval."""
    lengths_us: NDArray[np.int64]
    """[n] its length."""
    values: NDArray[np.float64]
    """[n] as near as a float comes."""
    slices: tuple[str, ...]
    """The slices of the timeslice group, then UNCOVERED; empty where the request has no timeslices."""
    slice_of: NDArray[np.int64]
    """[n] the first slice that claims the interval."""


def sliced_load(request: wire.CalculateDeterminantsRequest) -> SlicedLoad | None:
    """The load of the first channel of intervals that is asked for, by the first timeslice group; None where none is.

    The request is one that was answered.
    """
    billing, given, configuration = read_request(CalculateDeterminantsEnvelope.FromString(request.SerializeToString()))
    found = given or {}
    channels = [each.channel for each in billing.channels] + [each.channel for each in billing.demands]
    taken = [name for name in channels if configuration.classifiers[name].kind is ChannelKind.INTERVAL]
    if not taken or taken[0] not in found or billing.start_us == billing.end_us:
        return None
    name, classifier = taken[0], configuration.classifiers[taken[0]]
    times = found[name].times
    first, last = taken_rows(times, classifier.label, billing.start_us, billing.end_us)
    labels = labels_between(times, first, last)
    lengths = np.broadcast_to(np.asarray(times.interval_us, dtype=np.int64), times.count)[first:last]
    starts = labels - lengths if classifier.label is Label.END else labels
    groups = [each.timeslice_group for each in billing.channels if each.timeslice_group is not None]
    slices: tuple[str, ...] = ()
    slice_of = np.zeros(len(starts), dtype=np.int64)
    if groups and len(starts):
        group = configuration.timeslice_groups[groups[0]]
        slices = (*group.channels(), UNCOVERED)
        end_us = max(int(starts[-1]) + 1, billing.end_us)
        runs = slice_runs(billing.time_zone, int(starts[0]), end_us, group, configuration.holiday_calendar)
        mask = runs.mask[np.searchsorted(runs.starts_us, starts, side="right") - 1]
        claims = (mask[:, np.newaxis] >> np.arange(len(slices) - 1)) & 1 == 1
        slice_of = np.where(claims.any(axis=1), claims.argmax(axis=1), len(slices) - 1)
    values = found[name].values[first:last] / 10**classifier.decimal_places
    return SlicedLoad(name, classifier.unit, starts, lengths, values, slices, slice_of)
