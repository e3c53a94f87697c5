"""The requests that carry events, read without their events: those stay bytes for the columnar readers.

Each envelope is the contract's own message with its rows taken out or turned into bytes, which is the same on the
wire, so it cannot drift from the contract.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from tallybook.v1 import ingest_pb2
from tallybook_server.errors import ErrorCode, Fault

_PACKAGE = "tallybook.envelope"


def _envelope(message: Any, rows: str, as_bytes: bool) -> Any:
    """The class of `message` whose field `rows` is bytes, or is no field so that it is skipped as unknown."""
    name = message.DESCRIPTOR.name
    path = f"tallybook/envelope/{name}.proto"
    file = descriptor_pb2.FileDescriptorProto(name=path, package=_PACKAGE, syntax="proto3")
    file.dependency.append(message.DESCRIPTOR.file.name)
    file.dependency.extend(each.name for each in message.DESCRIPTOR.file.dependencies)
    twin = file.message_type.add()
    message.DESCRIPTOR.CopyToProto(twin)
    field = next(each for each in twin.field if each.name == rows)
    if as_bytes:
        field.type = descriptor_pb2.FieldDescriptorProto.TYPE_BYTES
        field.ClearField("type_name")
    else:
        twin.field.remove(field)
    pool = descriptor_pool.Default()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))


IngestEventsEnvelope: Any = _envelope(ingest_pb2.IngestEventsRequest, "events", as_bytes=False)
"""`IngestEventsRequest` without its events."""
PredictCostsEnvelope: Any = _envelope(ingest_pb2.PredictCostsRequest, "events", as_bytes=False)
"""`PredictCostsRequest` without its events."""
StreamEnvelope: Any = _envelope(ingest_pb2.StreamingIngestEventsRequest, "rows", as_bytes=True)
"""`StreamingIngestEventsRequest` whose `rows` are the bytes of `EventRows`."""


def parsed(message_class: Any, message: bytes) -> Any:
    """A message of the class; MESSAGE_MALFORMED where the bytes are none."""
    try:
        return message_class.FromString(message)
    except DecodeError:
        name = message_class.DESCRIPTOR.name
        raise Fault(ErrorCode.MESSAGE_MALFORMED, f"The bytes are not a Protobuf message of type {name}.") from None
