"""Sandboxes as their messages."""

from __future__ import annotations

from tallybook.v1 import simulate_pb2 as wire
from tallybook_server import limits
from tallybook_server.codec.instants import duration_us
from tallybook_server.codec.results import timestamp
from tallybook_server.errors import field_invalid
from tallybook_server.sandboxes import Sandbox


def read_display_name(request: wire.CreateSandboxRequest) -> str:
    """FIELD_INVALID where it is too long."""
    if len(request.display_name.encode()) > limits.NAME_BYTES_MAX:
        raise field_invalid("display_name", f"is longer than {limits.NAME_BYTES_MAX} bytes")
    return request.display_name


def read_time_to_live(request: wire.CreateSandboxRequest) -> int:
    """Microseconds; FIELD_INVALID outside of what is possible."""
    if not request.HasField("time_to_live"):
        return limits.SANDBOX_SECONDS_DEFAULT * 1_000_000
    try:
        wanted_us = duration_us(request.time_to_live)
    except ValueError as error:
        raise field_invalid("time_to_live", str(error)) from None
    if not 1_000_000 <= wanted_us <= limits.SANDBOX_SECONDS_MAX * 1_000_000:
        raise field_invalid("time_to_live", f"is from 1 s to {limits.SANDBOX_SECONDS_MAX:,} s")
    return wanted_us


def write_sandbox(sandbox: Sandbox) -> wire.Sandbox:
    """The message, which says nothing of the token."""
    return wire.Sandbox(
        sandbox_id=sandbox.sandbox_id,
        display_name=sandbox.display_name,
        create_time=timestamp(sandbox.create_time_us),
        expire_time=timestamp(sandbox.expire_time_us),
        catalog_version=sandbox.catalog_version,
        stored_bytes=sandbox.journal.stored_bytes,
        stored_bytes_max=limits.SANDBOX_BYTES_MAX,
    )
