"""The requests that carry events, read without their events: those stay bytes for the columnar readers.

Each envelope is the contract's own message with its rows taken out or turned into bytes, which is the same on the
wire, so it cannot drift from the contract.
"""

from __future__ import annotations

from typing import Any, NamedTuple

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
_StreamEnvelope: Any = _envelope(ingest_pb2.StreamingIngestEventsRequest, "rows", as_bytes=True)
"""`StreamingIngestEventsRequest` whose `rows` are the bytes of `EventRows`."""
_PAYLOADS = {field.number: field.name for field in _StreamEnvelope.DESCRIPTOR.oneofs_by_name["payload"].fields}
_VARINT, _DELIMITED = 0, 2
_FIELDS_SCANNED_MAX = 8
"""Of a message that a client of the contract sends; a longer one is left to Protobuf."""


class StreamRequest(NamedTuple):
    """A `StreamingIngestEventsRequest`."""

    batch_number: int
    return_costs: bool
    payload: str
    """"rows" or "arrow"; empty where neither is given."""
    content: memoryview
    """The payload's bytes, where they lie in the message: megabytes that are not copied."""


def read_stream_request(message: bytes) -> StreamRequest:
    """The request without its payload, which stays where it is; MESSAGE_MALFORMED where the bytes are none."""
    span = _payload_span(message)
    if span is None:
        envelope = parsed(_StreamEnvelope, message)
        name = envelope.WhichOneof("payload") or ""
        return StreamRequest(
            envelope.batch_number, envelope.return_costs, name, memoryview(getattr(envelope, name) if name else b"")
        )
    name, begun, start, end = span
    view = memoryview(message)
    envelope = parsed(_StreamEnvelope, b"".join((view[:begun], view[end:])))
    return StreamRequest(envelope.batch_number, envelope.return_costs, name, view[start:end])


def _payload_span(message: bytes) -> tuple[str, int, int, int] | None:
    """(name, where its field begins, where its content begins, where it ends) of a message's one payload.

    None where it has none, or more than one, or anything else that is not plain: Protobuf says what it means then.
    """
    found = None
    position = 0
    for _ in range(_FIELDS_SCANNED_MAX):
        if position == len(message):
            return found
        begun = position
        tag, position = _varint(message, position)
        value, position = _varint(message, position) if position else (0, 0)
        number, wire_type = tag >> 3, tag & 7
        end = position + value if wire_type == _DELIMITED else position
        if position == 0 or end > len(message) or wire_type not in (_VARINT, _DELIMITED):
            return None
        if wire_type == _DELIMITED and number in _PAYLOADS:
            if found is not None:
                return None
            found = (_PAYLOADS[number], begun, position, end)
        position = end
    return None


def _varint(message: bytes, position: int) -> tuple[int, int]:
    """A varint, and the position behind it; position 0 where it is none."""
    value = 0
    for index, byte in enumerate(message[position : position + 10]):
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, position + index + 1
    return 0, 0


def parsed(message_class: Any, message: bytes) -> Any:
    """A message of the class; MESSAGE_MALFORMED where the bytes are none."""
    try:
        return message_class.FromString(message)
    except DecodeError:
        name = message_class.DESCRIPTOR.name
        raise Fault(ErrorCode.MESSAGE_MALFORMED, f"The bytes are not a Protobuf message of type {name}.") from None
