"""Billing requests that ask the same of many datasources: the book's readings of them are read and computed at once.

Each is answered as it would be alone, to the last bit. What cannot be done together is left to be done alone: readings
that come with a request, datasources that are configured otherwise, too many readings, and whatever is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tallybook_engine.determinants.blocks import BUCKET_US
from tallybook_engine.determinants.configuration import ChannelKind
from tallybook_engine.determinants.deliveries import Wanted, wanted_readings
from tallybook_engine.determinants.matrix import MeterMatrix, calculate_matrix
from tallybook_engine.determinants.readings import Readings, ReadingsFault
from tallybook_engine.determinants.request import BillingConfiguration, BillingRequest, RequestFault
from tallybook_server import limits
from tallybook_server.billing import BookOfReadings, Calculated, Prepared
from tallybook_server.codec.determinants import check_demands
from tallybook_server.errors import Fault
from tallybook_server.journal.interface import DamagedJournal, Journal, UnreadableJournal
from tallybook_server.stored_readings import Meters, load_channel, load_meters

_USUAL_INTERVAL_US = 900_000_000
"""Of a channel whose classifier says none, to guess how many readings it has."""


def outcomes_together(asked: Sequence[Prepared], book: BookOfReadings) -> dict[int, Calculated]:
    """What becomes of requests that ask the same, by their place; without those that are to be looked at alone."""
    found: dict[int, Calculated] = {}
    for group in _groups(asked):
        for members in group.in_pieces():
            # What is wrong with one is found again where each is looked at alone, and is the answer of that one.
            try:
                sequence = book.committed_sequence(group.as_of_sequence)
                found |= _Piece(group, members, book.readings, sequence).outcomes()
            except (Fault, RequestFault, ReadingsFault, DamagedJournal, UnreadableJournal):
                continue
    return found


@dataclass(frozen=True)
class _Group:
    """Requests that differ in their datasource alone, and datasources that are configured alike."""

    request: BillingRequest
    """Of any of them."""
    configuration: BillingConfiguration
    as_of_sequence: int
    places: dict[str, int]
    """Place of each request, by its datasource."""

    @property
    def wanted(self) -> list[Wanted]:
        """What each takes of its channels."""
        return wanted_readings(self.request, self.configuration)

    def is_register(self, channel: str) -> bool:
        """Whether a channel has reads, which each meter has at times of its own."""
        return self.configuration.classifiers[channel].kind is ChannelKind.REGISTER

    def in_pieces(self) -> Iterator[dict[str, int]]:
        """So many datasources that their readings are not too many at once, as far as that can be told."""
        at_once = max(1, limits.READINGS_AT_ONCE_MAX // max(1, self._readings_each()))
        every = list(self.places.items())
        for start in range(0, len(every), at_once):
            piece = dict(every[start : start + at_once])
            if len(piece) > 1:
                yield piece

    def _readings_each(self) -> int:
        """About how many readings the blocks of one datasource have, if its channels are whole."""
        lengths_us = {each.channel: self.configuration.classifiers[each.channel].interval_us for each in self.wanted}
        return sum(
            (each.last_us - each.first_us + 2 * BUCKET_US) // (lengths_us[each.channel] or _USUAL_INTERVAL_US)
            for each in self.wanted
            if not self.is_register(each.channel)
        )


def _groups(asked: Sequence[Prepared]) -> list[_Group]:
    groups: dict[tuple[BillingRequest, int], list[_Group]] = {}
    for place, (request, readings, configuration, as_of_sequence) in enumerate(asked):
        if readings is not None:
            continue
        alike = groups.setdefault((replace(request, datasource=""), as_of_sequence), [])
        for group in alike:
            if request.datasource not in group.places and configuration == group.configuration:
                group.places[request.datasource] = place
                break
        else:
            alike.append(_Group(request, configuration, as_of_sequence, {request.datasource: place}))
    return [each for alike in groups.values() for each in alike]


class _Piece:
    """Some datasources of a group."""

    def __init__(self, group: _Group, members: Mapping[str, int], journal: Journal, sequence: int) -> None:
        self._group = group
        self._members = members
        self._journal = journal
        self._sequence = sequence

    def outcomes(self) -> dict[int, Calculated]:
        """By the requests' places; without those that are to be looked at alone."""
        channels = [each for each in self._group.wanted if not self._group.is_register(each.channel)]
        loaded = {each.channel: self._loaded(each, len(channels)) for each in channels}
        found: dict[int, Calculated] = {}
        for names, matrices in _of_one_grid(list(self._members), loaded):
            found |= self._calculated(names, matrices)
        return found

    def _loaded(self, wanted: Wanted, channel_count: int) -> list[Meters]:
        raw_max = limits.READINGS_AT_ONCE_MAX // channel_count
        configuration = self._group.configuration
        return load_meters(self._journal, list(self._members), wanted, configuration, self._sequence, raw_max)

    def _calculated(self, names: Sequence[str], matrices: Mapping[str, MeterMatrix]) -> dict[int, Calculated]:
        """Of datasources whose channels have the same timestamps."""
        request, configuration = self._group.request, self._group.configuration
        readings = {name: self._registers(name) for name in names}
        for index, name in enumerate(names):
            every = {**readings[name], **{channel: each.meter(index) for channel, each in matrices.items()}}
            if sum(each.times.count for each in every.values()) > limits.READINGS_IN_REQUEST_MAX:
                return {}
            check_demands(request, every)
        registers = list(readings.values())
        outcomes = calculate_matrix(request, names, matrices, configuration, registers=registers)
        return {
            self._members[name]: Calculated(outcome, self._sequence)
            for name, outcome in zip(names, outcomes, strict=True)
        }

    def _registers(self, datasource: str) -> dict[str, Readings]:
        # Together with what is read at once, no more than one request may go through.
        raw_max = limits.SUPERSEDED_READINGS_MAX - limits.READINGS_AT_ONCE_MAX
        found: dict[str, Readings] = {}
        for wanted in self._group.wanted:
            if self._group.is_register(wanted.channel):
                readings, raw_count = load_channel(
                    self._journal, datasource, wanted, self._group.configuration, self._sequence, raw_max
                )
                raw_max -= raw_count
                if readings.times.count:
                    found[wanted.channel] = readings
        return found


def _of_one_grid(
    names: Sequence[str], loaded: Mapping[str, Sequence[Meters]]
) -> Iterator[tuple[list[str], dict[str, MeterMatrix]]]:
    """Datasources with the same timestamps in every channel, and their rows of the channels that have any."""
    rows: dict[str, dict[str, tuple[int, int]]] = {name: {} for name in names}
    for channel, every in loaded.items():
        for which, meters in enumerate(every):
            for row, name in enumerate(meters.datasources):
                rows[name][channel] = which, row
    alike: dict[tuple[tuple[str, int], ...], list[str]] = {}
    for name, places in rows.items():
        alike.setdefault(tuple((channel, which) for channel, (which, _) in places.items()), []).append(name)
    for channels, members in alike.items():
        yield (
            members,
            {
                channel: _rows(loaded[channel][which].matrix, [rows[name][channel][1] for name in members])
                for channel, which in channels
            },
        )


def _rows(matrix: MeterMatrix, rows: Sequence[int]) -> MeterMatrix:
    if len(rows) == len(matrix.values):
        # In their order, for each channel is asked for the same datasources.
        return matrix
    chosen = np.array(rows, np.int64)
    return MeterMatrix(matrix.times, matrix.values[chosen], matrix.quality[chosen])
