"""Determinants without a server: a request out of a file, and what it is answered."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from tallybook.v1 import determinants_pb2 as wire
from tallybook_engine.calendar.zones import UnknownZone
from tallybook_engine.calendar.zones import midnight as local_midnight
from tallybook_engine.determinants.configuration import UNCOVERED, ChannelKind, Label
from tallybook_engine.determinants.interval import taken_rows
from tallybook_engine.determinants.quality import QualityTable
from tallybook_engine.determinants.readings import label_of
from tallybook_engine.determinants.result import Cancellation
from tallybook_engine.determinants.timeslice import slice_runs
from tallybook_server.billing import outcome_of
from tallybook_server.catalog_file import read_message_file
from tallybook_server.codec.columns import CalculateDeterminantsEnvelope
from tallybook_server.codec.determinants import cancelled, read_request, result_message
from tallybook_server.codec.metering import read_configuration
from tallybook_server.errors import Fault


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
    """A file of the message `CalculateDeterminantsRequest`, YAML or JSON. RequestFileError names every fault."""
    file = read_message_file(name, content, wire.CalculateDeterminantsRequest)
    if file.faults:
        raise RequestFileError(*map(file.located, file.faults))
    return file.message


def quality_table(request: wire.CalculateDeterminantsRequest) -> QualityTable:
    """The statuses that readings of the request's datasource have. RequestFileError where they are not configured."""
    try:
        return read_configuration(request.configuration, request.billing_request.datasource).quality
    except Fault as fault:
        raise RequestFileError(fault.message) from None


def midnight_us(zone: str, day: date) -> int:
    """First instant of a local date, microseconds. RequestFileError where there is no such zone."""
    try:
        return local_midnight(zone, day)
    except UnknownZone as error:
        raise RequestFileError(str(error)) from None


def determinants(request: wire.CalculateDeterminantsRequest, now_us: int) -> wire.DeterminantsResult:
    """What a server would answer. DeterminantsError for what it would refuse or cancel."""
    try:
        outcome = outcome_of(CalculateDeterminantsEnvelope.FromString(request.SerializeToString()))
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
    billing, found, configuration = read_request(CalculateDeterminantsEnvelope.FromString(request.SerializeToString()))
    channels = [each.channel for each in billing.channels] + [each.channel for each in billing.demands]
    taken = [name for name in channels if configuration.classifiers[name].kind is ChannelKind.INTERVAL]
    if not taken or taken[0] not in found or billing.start_us == billing.end_us:
        return None
    name, classifier = taken[0], configuration.classifiers[taken[0]]
    times = found[name].times
    first, last = taken_rows(times, classifier.label, billing.start_us, billing.end_us)
    labels = np.array([label_of(times, row) for row in range(first, last)], dtype=np.int64)
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
