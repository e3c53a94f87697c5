"""The messages of determinants.proto with their packed columns as bytes, so that no object is made for a reading.

The twin of each message is made of the contract's own descriptor: a packed column becomes `repeated bytes`, an entry a
chunk, which is the same on the wire. So it cannot drift from the contract.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.unknown_fields import UnknownFieldSet
from numpy.typing import NDArray

from tallybook.v1 import determinants_pb2
from tallybook_server.errors import field_invalid

_PACKAGE = "tallybook.envelope"
_COLUMNS = {"ChannelReadings": ("values",), "ListedTimes": ("times_us", "intervals_us")}
"""Message -> its fields of packed sfixed64."""
_LITTLE_ENDIAN = np.dtype("<i8")


def _twins() -> Any:
    original = determinants_pb2.DESCRIPTOR
    file = descriptor_pb2.FileDescriptorProto()
    original.CopyToProto(file)
    file.name, file.package = "tallybook/envelope/determinants.proto", _PACKAGE
    del file.service[:]
    file.ClearField("options")
    for message in file.message_type:
        for field in message.field:
            if field.name in _COLUMNS.get(message.name, ()):
                field.type = descriptor_pb2.FieldDescriptorProto.TYPE_BYTES
            local = field.type_name.removeprefix(f".{original.package}.")
            if local.split(".")[0] in original.message_types_by_name:
                field.type_name = f".{_PACKAGE}.{local}"
    pool = descriptor_pool.Default()
    pool.Add(file)
    return lambda name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))


_twin = _twins()
CalculateDeterminantsEnvelope: Any = _twin("CalculateDeterminantsRequest")
"""`CalculateDeterminantsRequest` with columns as bytes."""
DeterminantsConfigurationEnvelope: Any = _twin("DeterminantsConfiguration")
"""`DeterminantsConfiguration` as part of the others."""
IngestReadingsEnvelope: Any = _twin("IngestReadingsRequest")
"""`IngestReadingsRequest` with columns as bytes."""
StreamingCalculateDeterminantsEnvelope: Any = _twin("StreamingCalculateDeterminantsRequest")
"""`StreamingCalculateDeterminantsRequest` with columns as bytes."""


def check_packed(message: Any, path: str) -> None:
    """FIELD_INVALID where a column was not sent packed, as every generated client sends it."""
    unknown_fields: Any = UnknownFieldSet(message)
    for unknown in unknown_fields:
        columns = {message.DESCRIPTOR.fields_by_name[name].number: name for name in _COLUMNS[message.DESCRIPTOR.name]}
        if unknown.field_number in columns:
            raise field_invalid(f"{path}.{columns[unknown.field_number]}", "is not packed, as the contract has it")


def integers(chunks: Sequence[bytes], path: str, *, writable: bool = True) -> NDArray[np.int64]:
    """int64[n] of a packed column; one that is not `writable` is where it lies, if it can be."""
    # Arrays that may be written to are those that kernels are compiled for.
    data = chunks[0] if len(chunks) == 1 and not writable else bytearray().join(chunks)
    if len(data) % _LITTLE_ENDIAN.itemsize:
        raise field_invalid(path, "ends within a number")
    return np.frombuffer(data, dtype=_LITTLE_ENDIAN).astype(np.int64, copy=False)
