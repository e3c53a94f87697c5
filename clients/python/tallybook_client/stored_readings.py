"""Readings in the book: what becomes of delivered ones, and what is read of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, TypeAlias

import polars as pl
import pyarrow as pa

from tallybook.v1 import catalog_pb2, determinants_pb2
from tallybook_client.frames import Frame
from tallybook_client.numbers import to_datetime
from tallybook_client.readings import readings_stream
from tallybook_client.results import RowFault

Delivery: TypeAlias = tuple[str, determinants_pb2.ChannelReadings]
"""Id of a datasource, and readings of one of its channels as `channel_readings` makes them."""

ReadingsBatch: TypeAlias = Frame | Iterable[Delivery]
"""One message: deliveries, or a frame with the columns datasource, channel, time, value and quality."""


@dataclass(frozen=True, slots=True)
class RefusedDelivery:
    """A delivery of which nothing was stored."""

    index: int
    """Place of the delivery in its batch, or of the channel in its frame, from 0."""
    datasource: str
    channel: str
    fault: RowFault


@dataclass(frozen=True, slots=True)
class ReadingsAnswer:
    """What became of one batch of readings, and how far the stream is."""

    batch_number: int
    """Counted from 0 in the order of the batches given."""
    sequence: int
    """The committed sequence that holds it; 0 where nothing was stored."""
    stored_count: int
    ignored_count: int
    """Readings left out, because nothing is known of their quality."""
    refused_delivery_count: int
    refused_deliveries: tuple[RefusedDelivery, ...]
    """The first 1,000 of them."""
    message: determinants_pb2.ReadingsBatchResult = field(repr=False, compare=False)

    @classmethod
    def read(cls, response: determinants_pb2.IngestReadingsResponse) -> ReadingsAnswer:
        """The value of a message."""
        result = response.result
        return cls(
            response.batch_number,
            result.sequence,
            result.stored_count,
            result.ignored_count,
            result.refused_delivery_count,
            tuple(
                RefusedDelivery(each.index, each.datasource, each.channel, RowFault.read(each.fault))
                for each in result.refused_deliveries
            ),
            result,
        )


@dataclass(frozen=True, slots=True)
class StoredReading:
    """A reading as it was delivered."""

    time: datetime
    interval: timedelta | None
    """None for a register's."""
    value: Decimal
    unit: str
    quality: str
    sequence: int
    receipt_time: datetime
    superseded: bool
    """Whether a later delivery of the same timestamp has replaced it."""
    deleted_sequence: int
    """The committed sequence that took it back; 0: none did."""
    kind: str
    """INTERVAL or REGISTER: what the channel's values were when it was delivered."""
    label: str
    """BEGIN or END: which end of its interval `time` names; empty for a register's."""
    message: determinants_pb2.StoredReading = field(repr=False, compare=False)

    @classmethod
    def read(cls, message: determinants_pb2.StoredReading) -> StoredReading:
        """The value of a message."""
        return cls(
            to_datetime(message.time),
            message.interval.ToTimedelta() if message.HasField("interval") else None,
            Decimal(message.value),
            message.unit,
            message.quality,
            message.sequence,
            to_datetime(message.receipt_time),
            message.superseded,
            message.deleted_sequence,
            catalog_pb2.ChannelClassifier.Kind.Name(message.kind),
            catalog_pb2.ChannelClassifier.Label.Name(message.label) if message.label else "",
            message,
        )


@dataclass(frozen=True, slots=True)
class DeletedReadings:
    """What was taken back."""

    deleted_count: int
    """Superseded readings too; 0 where all were taken back before."""
    sequence: int
    """The committed sequence that takes them back; 0 where none was."""
    message: determinants_pb2.DeleteReadingsResponse = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class BillingReading:
    """A determinant as it is stored in its BILLING channel."""

    time: datetime
    """The end of its period."""
    start_time: datetime
    end_time: datetime
    value: Decimal | None
    """None where the calculation withdrew it."""
    unit: str
    quality: str
    annotations: dict[str, str]
    sequence: int
    message_id: str
    superseded: bool
    """Whether a later calculation of the same period has replaced or withdrawn it."""
    withdrawn: bool
    """Whether this calculation found no value any more where an earlier one had found one."""
    message: determinants_pb2.BillingReading = field(repr=False, compare=False)

    @classmethod
    def read(cls, message: determinants_pb2.BillingReading) -> BillingReading:
        """The value of a message."""
        return cls(
            to_datetime(message.time),
            to_datetime(message.period.start_time),
            to_datetime(message.period.end_time),
            None if message.withdrawn else Decimal(message.value),
            message.unit,
            message.quality,
            dict(message.annotations),
            message.sequence,
            message.message_id,
            message.superseded,
            message.withdrawn,
            message,
        )


@dataclass(frozen=True, slots=True)
class BillingMessage:
    """One billing message of the outbox."""

    message_id: str
    datasource: str
    document: str
    """JSON, exactly as it was stored: one object, keyed by datasource."""
    sequence: int
    storage_time: datetime
    message: determinants_pb2.BillingMessage = field(repr=False, compare=False)

    @classmethod
    def read(cls, message: determinants_pb2.BillingMessage) -> BillingMessage:
        """The value of a message."""
        return cls(
            message.message_id,
            message.datasource,
            message.document,
            message.sequence,
            to_datetime(message.storage_time),
            message,
        )


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """What became of acknowledged messages."""

    acknowledged_count: int
    already_acknowledged_count: int
    unknown_ids: tuple[str, ...]
    message: determinants_pb2.AcknowledgeBillingMessagesResponse = field(repr=False, compare=False)


def readings_requests(
    batches: Iterable[ReadingsBatch], configuration: determinants_pb2.DeterminantsConfiguration | None
) -> Iterator[determinants_pb2.IngestReadingsRequest]:
    """A numbered message a batch. FrameError where a column of a frame does not fit."""
    for number, batch in enumerate(batches):
        request = determinants_pb2.IngestReadingsRequest(batch_number=number, configuration=configuration)
        if isinstance(batch, pl.DataFrame | pa.Table | pa.RecordBatch):
            request.arrow = readings_stream(batch, with_datasource=True)
        else:
            request.deliveries.SetInParent()
            for datasource, readings in batch:
                delivery: Any = request.deliveries.deliveries.add(datasource=datasource)
                delivery.readings.CopyFrom(readings)
        yield request
