"""Sandboxes: books in memory that begin as the book of the key, each with a key of its own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from google.protobuf.duration_pb2 import Duration

from tallybook.v1 import simulate_pb2
from tallybook_client.numbers import to_datetime, to_timestamp


@dataclass(frozen=True, slots=True)
class CopiedUsage:
    """Recorded usage that a sandbox began with."""

    sequence: int
    """Committed sequence of the book that catalogue and events were read at."""
    event_count: int
    refused_count: int
    """Events that the catalogue refuses: their meter has their values or properties no more."""
    start_time: datetime
    end_time: datetime

    @classmethod
    def read(cls, message: simulate_pb2.CopiedUsageResult) -> CopiedUsage:
        """Read the message."""
        return cls(
            message.sequence,
            message.event_count,
            message.refused_count,
            to_datetime(message.start_time),
            to_datetime(message.end_time),
        )


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A sandbox of the book."""

    sandbox_id: str
    display_name: str
    create_time: datetime
    expire_time: datetime
    catalog_version: int
    """Version of the book's catalogue that it began with."""
    stored_bytes: int
    stored_bytes_max: int
    recorded_usage: CopiedUsage | None
    """None where none was asked for."""
    message: simulate_pb2.Sandbox

    @classmethod
    def read(cls, message: simulate_pb2.Sandbox) -> Sandbox:
        """Read the message."""
        return cls(
            sandbox_id=message.sandbox_id,
            display_name=message.display_name,
            create_time=to_datetime(message.create_time),
            expire_time=to_datetime(message.expire_time),
            catalog_version=message.catalog_version,
            stored_bytes=message.stored_bytes,
            stored_bytes_max=message.stored_bytes_max,
            recorded_usage=CopiedUsage.read(message.recorded_usage) if message.HasField("recorded_usage") else None,
            message=message,
        )


@dataclass(frozen=True, slots=True)
class CreatedSandbox:
    """A new sandbox, and the key to it."""

    sandbox: Sandbox
    access_token: str = field(repr=False)
    """The key of clients that work in it: `Client(target, access_token)`. It cannot be asked for again."""


def sandbox_request(
    display_name: str,
    time_to_live: timedelta | None,
    recorded_usage: tuple[datetime, datetime] | None,
    customer_ids: Iterable[str],
) -> simulate_pb2.CreateSandboxRequest:
    """The request of a sandbox."""
    request = simulate_pb2.CreateSandboxRequest(display_name=display_name)
    if time_to_live is not None:
        duration = Duration()
        duration.FromTimedelta(time_to_live)
        request.time_to_live.CopyFrom(duration)
    if recorded_usage is not None:
        start, end = map(to_timestamp, recorded_usage)
        usage = simulate_pb2.CopiedUsage(start_time=start, end_time=end, customer_ids=customer_ids)
        request.recorded_usage.CopyFrom(usage)
    return request
