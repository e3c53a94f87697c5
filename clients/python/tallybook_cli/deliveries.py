"""Channels of a file as deliveries of readings, cut into messages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import tallybook_client as tb
from tallybook.v1 import determinants_pb2
from tallybook_server.readings_files.model import ChannelReadings

READINGS_IN_MESSAGE_MAX = 65_536
"""Readings of one message: at most 1.6 MB, and no more stretches of time than the server takes in one."""


@dataclass(frozen=True)
class NamedChannel:
    """A channel of a file, under the names that it has in the book."""

    datasource: str
    channel: str
    file_channel: ChannelReadings
    statuses: tuple[str, ...]
    """Names of the quality table by the readings' codes."""

    @property
    def reading_count(self) -> int:
        """How many readings it has."""
        return self.file_channel.readings.times.count


def batches(channels: Iterable[NamedChannel]) -> Iterator[list[tb.Delivery]]:
    """Messages of at most `READINGS_IN_MESSAGE_MAX` readings, in the order of the channels."""
    batch: list[tb.Delivery] = []
    room = READINGS_IN_MESSAGE_MAX
    for channel in channels:
        first = 0
        while first < channel.reading_count:
            last = min(channel.reading_count, first + room)
            batch.append((channel.datasource, _message(channel, first, last)))
            room -= last - first
            first = last
            if not room:
                yield batch
                batch, room = [], READINGS_IN_MESSAGE_MAX
    if batch:
        yield batch


def _shortest(values: NDArray[np.int64], decimal_places: int) -> tuple[NDArray[np.int64], int]:
    """Scaled values with no more decimals than one of them needs: what a file writes as 1.500 fits a channel of one."""
    while decimal_places and not (values % 10).any():
        values, decimal_places = values // 10, decimal_places - 1
    return values, decimal_places


def _message(channel: NamedChannel, first: int, last: int) -> determinants_pb2.ChannelReadings:
    """Some of a channel's readings, with the statuses that they have."""
    file_channel, readings = channel.file_channel, channel.file_channel.readings
    codes, places = np.unique(readings.quality[first:last], return_inverse=True)
    values, decimal_places = _shortest(readings.values[first:last], file_channel.decimal_places)
    message = determinants_pb2.ChannelReadings(
        channel=channel.channel,
        unit=file_channel.info.unit,
        decimal_places=decimal_places,
        values=values.tolist(),
        statuses=[channel.statuses[code] for code in codes.tolist()],
        quality_codes=b"" if len(codes) == 1 else places.astype(np.uint8).tobytes(),
    )
    message.listed_times.times_us.extend(file_channel.labels_us[first:last].tolist())
    lengths = file_channel.lengths_us
    if isinstance(lengths, int):
        message.listed_times.interval.FromMicroseconds(lengths)
    elif lengths is not None:
        message.listed_times.intervals_us.extend(lengths[first:last].tolist())
    return message
