"""A book with meters, driven from a test: readings as columns, lists as their messages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from google.rpc.error_details_pb2 import ErrorInfo

from tallybook.v1 import determinants_pb2
from tallybook_server import limits
from tallybook_server.book import Book
from tallybook_server.journal.interface import Journal
from tallybook_server.services import stored_lists
from tallybook_server.services.determinants import DeterminantsService
from tallybook_server.services.ingest import IngestService
from tallybook_server.services.readings import ReadingsStream
from tallybook_server.services.streaming import AnswersInOrder
from tallybook_server.services.unanswered import UnansweredBytes

wire: Any = determinants_pb2
MINUTE_US = 60_000_000
QUARTER_US = 15 * MINUTE_US
NOW_US = 1_767_225_600_000_000
"""2026-01-01."""


NO_CONTEXT: Any = None
"""Of a call that asks nothing of it."""


class Row(NamedTuple):
    """A reading of a delivery."""

    time_us: int
    value: int
    status: str = "measured"


def configuration(*datasources: str, **classifier: Any) -> Any:
    """Meters with one channel, load, of quarter hours in kWh with 3 decimals, unless told otherwise."""
    of = {"id": "ACTIVE", "unit": "kWh", "decimal_places": 3, **classifier}
    channels = [wire_channel()]
    return wire.DeterminantsConfiguration(
        datasources=[{"id": each, "channels": channels} for each in datasources], channel_classifiers=[of]
    )


def wire_channel() -> dict[str, str]:
    """The channel that every meter here has."""
    return {"name": "load", "classifier": "ACTIVE"}


def delivery(datasource: str, rows: Sequence[Row], **fields: Any) -> Any:
    """Readings of a quarter hour each, time by time."""
    statuses = sorted({row.status for row in rows})
    readings = wire.ChannelReadings(
        channel="load",
        decimal_places=3,
        values=[row.value for row in rows],
        statuses=statuses,
        quality_codes=bytes(statuses.index(row.status) for row in rows),
    )
    readings.listed_times.times_us.extend(row.time_us for row in rows)
    readings.listed_times.interval.FromMicroseconds(QUARTER_US)
    readings.MergeFrom(wire.ChannelReadings(**fields))
    return wire.ReadingDelivery(datasource=datasource, readings=readings)


def message(deliveries: Sequence[Any], configured: Any | None = None) -> Any:
    """A message of a stream, as it is sent."""
    known = configuration(*{each.datasource for each in deliveries}) if configured is None else configured
    return wire.IngestReadingsRequest(configuration=known, deliveries=wire.ReadingDeliveries(deliveries=deliveries))


class MeteredBook:
    """A book on a journal, one call after the other, or several at once."""

    def __init__(self, journal: Journal, name: str = "test") -> None:
        self.journal = journal
        self.now_us = NOW_US
        self._name = name
        self._executor = ThreadPoolExecutor(2)
        self._runner = asyncio.Runner()
        self.book = self._opened()

    def _opened(self) -> Book:
        return Book(self._name, self.journal, self._executor, clock_us=lambda: self.now_us)

    def restart(self, journal: Journal | None = None) -> None:
        """Opens the book again, from its journal or from another one on the same file."""
        self._runner.run(self.book.close())
        self.journal = journal or self.journal
        self.book = self._opened()

    def close(self) -> None:
        self._runner.run(self.book.close())
        self._runner.close()
        self._executor.shutdown()

    def ingest(self, *messages: Any) -> list[Any]:
        """Sends messages of one stream at once; the answer to each."""

        async def beside(work: Any, *arguments: Any) -> Any:
            return await asyncio.get_running_loop().run_in_executor(self._executor, work, *arguments)

        async def sent() -> AsyncIterator[bytes]:
            for each in messages:
                yield each.SerializeToString()

        async def send() -> list[Any]:
            stream, unanswered = ReadingsStream(self.book, beside), UnansweredBytes(limits.UNANSWERED_BYTES_MAX)
            answers = AnswersInOrder(sent(), stream.answer, unanswered).answers()
            return [stream.with_progress(each) async for each in answers]

        return self._runner.run(send())

    def deliver(self, *deliveries: Any) -> Any:
        """One message that must be stored; its result."""
        (answer,) = self.ingest(message(deliveries))
        assert answer.WhichOneof("outcome") == "result", answer
        return answer.result

    def delete(self, **fields: Any) -> Any:
        """What DeleteReadings answers."""
        book: Any = self.book
        service = IngestService(lambda _: book, self._executor)
        return self._runner.run(service.DeleteReadings(wire.DeleteReadingsRequest(**fields), NO_CONTEXT))

    def page(self, method: str, **fields: Any) -> Any:
        """A page."""
        request = getattr(wire, f"{REQUESTS[method]}Request")(**fields)
        return getattr(stored_lists, method)(self.book, request)

    def all_of(self, method: str, field: str, **fields: Any) -> list[Any]:
        """Every page's entries."""
        found: list[Any] = []
        token = ""
        while True:
            page = self.page(method, page_token=token, **fields)
            found += getattr(page, field)
            token = page.next_page_token
            if not token:
                return found

    def calculate(self, request: Any) -> Any:
        """The answer that a stream of billing requests would give to one."""
        (answer,) = self.calculate_many([request])
        return answer

    def calculate_many(self, requests: Sequence[Any]) -> list[Any]:
        """The answers to a stream of billing requests."""
        service = DeterminantsService(lambda _: self.book, self._executor, lambda: self.now_us)

        async def sent() -> AsyncIterator[bytes]:
            for number, each in enumerate(requests):
                asked = wire.StreamingCalculateDeterminantsRequest(request_number=number, request=each)
                yield asked.SerializeToString()

        async def send() -> list[Any]:
            return [each async for each in service.StreamingCalculateDeterminants(sent(), NO_CONTEXT)]

        return self._runner.run(send())


REQUESTS = {
    "readings": "ListReadings",
    "billing_readings": "ListBillingReadings",
    "billing_messages": "ListBillingMessages",
    "acknowledge": "AcknowledgeBillingMessages",
}


def reason_of(status: Any) -> str:
    """The reason of a status."""
    info = ErrorInfo()
    for each in status.details:
        each.Unpack(info)
    return info.reason
