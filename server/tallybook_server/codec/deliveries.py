"""Messages of a stream of readings to blocks: whatever is wrong with a delivery is told of it alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tallybook.v1 import common_pb2
from tallybook.v1 import determinants_pb2 as wire
from tallybook_engine.catalog.model import Catalog
from tallybook_engine.determinants.blocks import Delivered, bucket_count, encode_blocks
from tallybook_engine.determinants.configuration import ChannelClassifier, ChannelKind
from tallybook_engine.determinants.interval import check_disjoint
from tallybook_engine.determinants.quality import QualityTable
from tallybook_engine.determinants.readings import Readings, ReadingsFault
from tallybook_engine.determinants.register import check_dial
from tallybook_engine.determinants.request import BillingConfiguration
from tallybook_server import limits
from tallybook_server.codec import readings as columns
from tallybook_server.codec.arrow_stream import array_of, column_fault, fixed_width, read_table
from tallybook_server.codec.columns import check_packed, integers
from tallybook_server.codec.metering import check_name, configuration_of
from tallybook_server.errors import ErrorCode, Fault, field_invalid
from tallybook_server.journal.attached import ReadingBlock, SeriesName, block_crc32, series_crc32

DATASOURCE_COLUMN = "datasource"
PACKED_TOGETHER = 1 << 17
"""Readings that are packed with one call: a megabyte of values, which is still in the processor's cache by then."""
PartitionsOf = Callable[[Sequence[str]], Sequence[int]]
"""The partition of each datasource."""


@dataclass
class Batch:
    """What one message comes to."""

    blocks: list[ReadingBlock] = field(default_factory=list)
    stored_count: int = 0
    ignored_count: int = 0
    refused_count: int = 0
    refused: list[wire.RefusedDelivery] = field(default_factory=list)
    """The first ones."""

    def result(self, sequence: int) -> wire.ReadingsBatchResult:
        """The answer, once the blocks are durable."""
        return wire.ReadingsBatchResult(
            sequence=sequence,
            stored_count=self.stored_count,
            ignored_count=self.ignored_count,
            refused_delivery_count=self.refused_count,
            refused_deliveries=self.refused,
        )


class _Delivery(NamedTuple):
    datasource: str
    channel: str
    path: str
    reading_count: int
    read: Callable[[ChannelClassifier, QualityTable], Readings]
    """Faults for what is wrong with it."""


def read_batch(message: Any, metering: Catalog, partitions_of: PartitionsOf) -> Batch:
    """An `IngestReadingsEnvelope`. Fault where it is wrong as a whole."""
    deliveries: Iterable[_Delivery]
    match message.WhichOneof("payload"):
        case "arrow":
            deliveries = list(_arrow(message.arrow))
            names = [each.datasource for each in deliveries]
        case "deliveries":
            # One after the other: columns that are all taken out of the message first are out of the cache again.
            deliveries = _columns(message)
            names = [each.datasource for each in message.deliveries.deliveries]
        case _:
            raise field_invalid("payload", "give deliveries or arrow")
    partitions = _partitions(names, partitions_of)
    configurations = _Configurations(metering)
    batch = Batch()
    packing = _Packing(batch.blocks)
    for index, delivery in enumerate(deliveries):
        try:
            _add(batch, packing, delivery, configurations, partitions)
        except Fault as fault:
            if fault is _TOO_MANY_BLOCKS:
                raise
            batch.refused_count += 1
            if len(batch.refused) < limits.REFUSED_DELIVERIES_MAX:
                batch.refused.append(_refused(index, delivery, fault))
    packing.finish()
    return batch


_TOO_MANY_BLOCKS = Fault(
    ErrorCode.TOO_MANY_READINGS,
    f"The message touches over {limits.BLOCKS_IN_BATCH_MAX} stretches of 32 days of channels: split it.",
    {"block_count_max": str(limits.BLOCKS_IN_BATCH_MAX)},
)


def _add(
    batch: Batch, packing: _Packing, delivery: _Delivery, configurations: _Configurations, partitions: dict[str, int]
) -> None:
    configuration = configurations.of(delivery)
    classifier = columns.classifier_of(configuration, delivery.channel, f"{delivery.path}.channel")
    table = configuration.quality
    found = delivery.read(classifier, table)
    times = found.times
    try:
        if classifier.kind is ChannelKind.INTERVAL:
            check_disjoint(times, classifier.label, 0, times.count)
        else:
            check_dial(classifier, found, table, 0, times.count)
    except ReadingsFault as fault:
        raise field_invalid(delivery.path, f"channel {delivery.channel!r}: {fault}") from None
    series = SeriesName(delivery.datasource, delivery.channel, partitions[delivery.datasource])
    statuses = configurations.statuses_of(table)
    of_channel = classifier.unit, classifier.decimal_places, classifier.kind, classifier.label
    packing.add(series, Delivered(found, statuses, *of_channel))
    batch.stored_count += times.count
    batch.ignored_count += delivery.reading_count - times.count


class _Packing:
    """Deliveries that are read and not packed yet: a call packs many of them, beside other threads."""

    def __init__(self, blocks: list[ReadingBlock]) -> None:
        """`blocks` are those of the message, which it adds to."""
        self._blocks = blocks
        self._block_count = 0
        self._series: list[SeriesName] = []
        self._deliveries: list[Delivered] = []
        self._reading_count = 0

    def add(self, series: SeriesName, delivered: Delivered) -> None:
        """One more. Raises _TOO_MANY_BLOCKS."""
        times = delivered.readings.times
        self._block_count += bucket_count(times)
        if self._block_count > limits.BLOCKS_IN_BATCH_MAX:
            raise _TOO_MANY_BLOCKS
        self._series.append(series)
        self._deliveries.append(delivered)
        self._reading_count += times.count
        if self._reading_count >= PACKED_TOGETHER:
            self.finish()

    def finish(self) -> None:
        """Packs those that wait."""
        for series, blocks in zip(self._series, encode_blocks(self._deliveries), strict=True):
            crc32_before = series_crc32(series.datasource, series.channel)
            for bucket, count, body in blocks:
                crc32 = block_crc32(crc32_before, bucket, body)
                self._blocks.append(ReadingBlock(series, bucket, count, body, crc32))
        self._series, self._deliveries, self._reading_count = [], [], 0


class _Configurations:
    """What is configured of each datasource of a message, looked up once."""

    def __init__(self, metering: Catalog) -> None:
        self._metering = metering
        self._known: dict[str, BillingConfiguration | Fault] = {}
        self._statuses: dict[int, tuple[str, ...]] = {}

    def of(self, delivery: _Delivery) -> BillingConfiguration:
        """Of a delivery's datasource; Fault where there is none."""
        known = self._known.get(delivery.datasource)
        if known is None:
            try:
                check_name(delivery.datasource, "datasource")
                known = configuration_of(self._metering, delivery.datasource, "datasource")
            except Fault as fault:
                known = fault
            self._known[delivery.datasource] = known
        if isinstance(known, Fault):
            raise known
        return known

    def statuses_of(self, table: QualityTable) -> tuple[str, ...]:
        """Names of a table's statuses."""
        if id(table) not in self._statuses:
            self._statuses[id(table)] = tuple(status.name for status in table.statuses)
        return self._statuses[id(table)]


def _partitions(names: Sequence[str], partitions_of: PartitionsOf) -> dict[str, int]:
    distinct = list(dict.fromkeys(names))
    return dict(zip(distinct, partitions_of(distinct), strict=True))


def _refused(index: int, delivery: _Delivery, fault: Fault) -> wire.RefusedDelivery:
    return wire.RefusedDelivery(
        index=index,
        datasource=delivery.datasource,
        channel=delivery.channel,
        fault=common_pb2.RowFault(reason=fault.code.name, field=fault.metadata.get("field", ""), message=fault.message),
    )


def check_count(count: int) -> None:
    """TOO_MANY_READINGS above the limit of a message."""
    if count > limits.READINGS_IN_BATCH_MAX:
        raise Fault(
            ErrorCode.TOO_MANY_READINGS,
            f"Over {limits.READINGS_IN_BATCH_MAX} readings in one message: split it by period or datasource.",
            {"reading_count_max": str(limits.READINGS_IN_BATCH_MAX)},
        )


# Columns


def _columns(message: Any) -> Iterator[_Delivery]:
    forms = _Forms()
    count = 0
    for index, each in enumerate(message.deliveries.deliveries):
        readings = each.readings
        # Each look at the column copies it.
        chunks = list(readings.values)
        reading_count = sum(map(len, chunks)) // 8
        count += reading_count
        check_count(count)
        path = f"deliveries.deliveries[{index}].readings"
        readings.ClearField("values")
        read = partial(_read_columns, forms, readings, chunks, path)
        yield _Delivery(each.datasource, readings.channel, path, reading_count, read)


def _read_columns(
    forms: _Forms,
    channel: Any,
    chunks: Sequence[bytes],
    path: str,
    classifier: ChannelClassifier,
    table: QualityTable,
) -> Readings:
    values = integers(chunks, f"{path}.values", writable=False)
    return forms.of(channel, path, values, classifier, table).readings(values, path)


class _Forms:
    """What deliveries of one message say beside their values: those of many meters mostly say the same."""

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, int, int, int], columns.Form] = {}

    def of(
        self, channel: Any, path: str, values: NDArray[np.int64], classifier: ChannelClassifier, table: QualityTable
    ) -> columns.Form:
        """Of a delivery without its values, whose fields are read only where no other delivery was like it."""
        key = channel.SerializeToString(), len(values), id(classifier), id(table)
        form = self._known.get(key)
        if form is None:
            check_packed(channel, path)
            form = self._known[key] = columns.read_form(channel, path, values, classifier, table)
        return form


# Arrow


def _arrow(stream: bytes) -> Iterator[_Delivery]:
    table = read_table(stream, _check_schema, check_count)
    found = {name: array_of(table.column(name)) for name in table.column_names}
    for name in (DATASOURCE_COLUMN, "channel", "time"):
        if found[name].null_count:
            column_fault(ErrorCode.ARROW_COLUMN_TYPE, name, "null in a row; every reading has one")
    datasources, datasource_codes = columns.dictionary_of(found[DATASOURCE_COLUMN])
    channels, channel_codes = columns.dictionary_of(found["channel"])
    series = datasource_codes * len(channels) + channel_codes
    arrays = _Arrays(
        found["value"],
        fixed_width(found["time"], np.int64) if table.num_rows else np.empty(0, np.int64),
        *columns.dictionary_of(found["quality"]),
        found.get(columns.INTERVAL_COLUMN),
    )
    for rows in _groups(series):
        datasource, channel = divmod(int(series[rows[0]]), len(channels))
        yield _arrow_delivery(arrays, datasources[datasource], channels[channel], rows)


class _Arrays(NamedTuple):
    value: pa.Array
    labels: NDArray[np.int64]
    quality_names: list[str]
    quality_codes: NDArray[np.int64]
    interval: pa.Array | None


def _groups(series: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Rows of each series, in the order of first mention."""
    if len(series) == 0:
        return
    order = np.arange(len(series))
    if (np.diff(series) < 0).any():
        order = np.argsort(series, kind="stable")
    ordered = series[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=ordered[0] - 1))
    ends = np.append(starts[1:], len(series))
    for at in np.argsort(order[starts], kind="stable").tolist():
        yield order[starts[at] : ends[at]]


def _arrow_delivery(arrays: _Arrays, datasource: str, channel: str, rows: NDArray[np.int64]) -> _Delivery:
    path = f"arrow: datasource {datasource!r}, channel {channel!r}"

    def read(classifier: ChannelClassifier, table: QualityTable) -> Readings:
        codes = columns.status_codes(arrays.quality_names, arrays.quality_codes[rows], table)
        taken = _taken(arrays.value, rows)
        columns.check_nulls(taken, codes, table)
        interval_us = columns.arrow_intervals(arrays.interval, rows, classifier, path)
        times = columns.listed_times(arrays.labels[rows], interval_us, classifier, path)
        values = columns.arrow_values(taken, classifier.decimal_places, rows, path)
        return columns.readings_of(times, values, codes, path)

    return _Delivery(datasource, channel, path, len(rows), read)


def _taken(array: pa.Array, rows: NDArray[np.int64]) -> pa.Array:
    """Some rows of an array, as one that begins at the start of its buffers."""
    return array if len(rows) == len(array) else array.take(pa.array(rows))


def _check_schema(schema: pa.Schema) -> None:
    columns.check_schema(schema, (DATASOURCE_COLUMN, *columns.COLUMNS), (DATASOURCE_COLUMN, *columns.NEEDED_COLUMNS))
