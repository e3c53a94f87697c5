"""One stream of readings: decoded and packed side by side, stored and answered in the order of their coming."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from typing import Any, Protocol

from tallybook.v1 import determinants_pb2 as wire
from tallybook_engine.catalog.model import Catalog
from tallybook_server.codec.columns import DeterminantsConfigurationEnvelope, IngestReadingsEnvelope
from tallybook_server.codec.deliveries import Batch, read_batch
from tallybook_server.codec.envelope import parsed
from tallybook_server.codec.metering import read_metering
from tallybook_server.errors import Fault, status_message
from tallybook_server.interceptors import check_size, internal_fault
from tallybook_server.services.streaming import Turn
from tallybook_server.writer import Parcel, Stored

CONFIGURATIONS_KEPT = 64
"""Configurations that stay read: a client sends the same one with every message."""


class ReadingsBook(Protocol):
    """What a stream of readings needs of a book."""

    def catalog(self) -> Catalog: ...
    def partitions(self, datasources: Sequence[str]) -> list[int]: ...
    async def store(self, parcel: Parcel) -> Stored: ...


class ReadingsStream:
    """The answers to one stream."""

    def __init__(self, book: ReadingsBook, beside: Callable[..., Awaitable[Any]]) -> None:
        """`beside` runs work on another thread."""
        self._book = book
        self._beside = beside
        self._progress = wire.ReadingsProgress()

    async def answer(self, message: bytes, turn: Turn) -> wire.IngestReadingsResponse:
        """The answer to one message; never raises."""
        response = wire.IngestReadingsResponse()
        try:
            batch = await self._beside(self._read, message, response)
            parcel = Parcel(batch.blocks)
            stored = await turn.store(lambda: self._book.store(parcel))
            response.result.CopyFrom(batch.result(stored.sequence))
        except Fault as fault:
            response.status.CopyFrom(status_message(fault))
        except Exception:
            response.status.CopyFrom(status_message(internal_fault()))
        return response

    def _read(self, message: bytes, response: wire.IngestReadingsResponse) -> Batch:
        check_size(message)
        envelope = parsed(IngestReadingsEnvelope, message)
        response.batch_number = envelope.batch_number
        metering = metering_of(envelope.configuration, self._book.catalog())
        return read_batch(envelope, metering, self._book.partitions)

    def with_progress(self, response: wire.IngestReadingsResponse) -> wire.IngestReadingsResponse:
        """A response that is being sent, with how far the stream is."""
        progress, result = self._progress, response.result
        progress.answered_count += 1
        progress.stored_count += result.stored_count
        progress.ignored_count += result.ignored_count
        progress.refused_delivery_count += result.refused_delivery_count
        response.progress.CopyFrom(progress)
        return response


def metering_of(configuration: Any, book: Catalog) -> Catalog:
    """A message's configuration over that of the book; Fault where it is wrong."""
    return _read_metering(configuration.SerializeToString(deterministic=True), _ByIdentity(book))


class _ByIdentity:
    """The book's configuration of one version: the same object as long as it is current."""

    def __init__(self, metering: Catalog) -> None:
        self.metering = metering

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ByIdentity) and other.metering is self.metering

    def __hash__(self) -> int:
        return id(self.metering)


@lru_cache(maxsize=CONFIGURATIONS_KEPT)
def _read_metering(configuration: bytes, book: _ByIdentity) -> Catalog:
    return read_metering(DeterminantsConfigurationEnvelope.FromString(configuration), book.metering)
