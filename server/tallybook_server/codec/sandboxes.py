"""Sandboxes as their messages."""

from __future__ import annotations

from dataclasses import replace

from tallybook.v1 import simulate_pb2 as wire
from tallybook_engine.catalog.model import Catalog
from tallybook_engine.simulation.usage import FAULTS_MAX
from tallybook_server import limits
from tallybook_server.codec.instants import duration_us
from tallybook_server.codec.results import timestamp
from tallybook_server.errors import field_invalid
from tallybook_server.sandboxes import Copied, Sandbox, WantedSandbox, WantedUsage
from tallybook_server.stored_usage import read_stretch


def read_wanted(request: wire.CreateSandboxRequest, catalog: Catalog) -> WantedSandbox:
    """What is asked for. Raises Fault."""
    wanted = WantedSandbox(_display_name(request), _time_to_live(request))
    if not request.HasField("recorded_usage"):
        return wanted
    usage = request.recorded_usage
    stretch = read_stretch(usage, "recorded_usage")
    unknown = [name for name in usage.customer_ids if name not in catalog.customers]
    if unknown:
        named = ", ".join(map(repr, unknown[:FAULTS_MAX]))
        raise field_invalid("recorded_usage.customer_ids", f"the catalogue has no customer {named}")
    return replace(wanted, usage=WantedUsage(*stretch, frozenset(usage.customer_ids)))


def _display_name(request: wire.CreateSandboxRequest) -> str:
    if len(request.display_name.encode()) > limits.NAME_BYTES_MAX:
        raise field_invalid("display_name", f"is longer than {limits.NAME_BYTES_MAX} bytes")
    return request.display_name


def _time_to_live(request: wire.CreateSandboxRequest) -> int:
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
        recorded_usage=None if sandbox.copied is None else _copied(sandbox.copied),
    )


def _copied(copied: Copied) -> wire.CopiedUsageResult:
    return wire.CopiedUsageResult(
        sequence=copied.sequence,
        event_count=copied.event_count,
        refused_count=copied.refused_count,
        start_time=timestamp(copied.start_us),
        end_time=timestamp(copied.end_us),
    )
