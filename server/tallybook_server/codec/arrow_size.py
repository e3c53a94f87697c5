"""How large an Arrow IPC stream is once it is decompressed, read from its headers before anything is decompressed.

A few kilobytes can stand for any number of bytes, and Arrow allocates and fills what the headers say. Every
compressed buffer begins with its decompressed size, so the sum is known beforehand. The headers are FlatBuffers
(`format/Message.fbs` of Apache Arrow, "Columnar Format, IPC"), which Arrow has verified when it hands them out; the
few tables needed are read here by hand.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pyarrow as pa

_HEADER_TYPE, _HEADER = 1, 2
_RECORD_BATCH_TYPE, _DICTIONARY_BATCH_TYPE = 3, 2
_DICTIONARY_DATA = 1
_BUFFERS, _COMPRESSION = 2, 3
_BUFFER_BYTES = 16
_NOT_COMPRESSED = -1
"""Instead of a decompressed size: the buffer is stored as it is."""


def decompressed_sizes(stream: bytes | memoryview) -> Iterator[int]:
    """Bytes of each message of an IPC stream, dictionaries too, decompressed.

    Raises pa.ArrowInvalid, struct.error or ValueError where the stream is broken.
    """
    for message in pa.ipc.MessageReader.open_stream(stream):
        if message.type in ("record batch", "dictionary"):
            yield _decompressed_size(message.metadata.to_pybytes(), message.body)


def _decompressed_size(metadata: bytes, body: pa.Buffer) -> int:
    root = _Table(metadata, *struct.unpack_from("<I", metadata, 0))
    batch = root.table(_HEADER)
    if root.byte(_HEADER_TYPE) == _DICTIONARY_BATCH_TYPE:
        batch = batch.table(_DICTIONARY_DATA)
    if not batch.has(_COMPRESSION):
        return len(body)
    return sum(_buffer_size(body, offset, length) for offset, length in batch.buffers(_BUFFERS))


def _buffer_size(body: pa.Buffer, offset: int, length: int) -> int:
    if length == 0:
        return 0
    size: int = struct.unpack_from("<q", body, offset)[0]
    if size == _NOT_COMPRESSED:
        return length
    if size < 0:
        raise ValueError("a compressed buffer of negative size")
    return size


class _Table:
    """A FlatBuffers table: fields by their number."""

    def __init__(self, data: bytes, position: int) -> None:
        self._data = data
        self._position = position
        self._fields = position - struct.unpack_from("<i", data, position)[0]
        if self._fields < 0:
            raise ValueError("a table without its list of fields")
        self._fields_bytes = struct.unpack_from("<H", data, self._fields)[0]

    def _field(self, number: int) -> int:
        """Where a field is; 0 where the table has none."""
        entry = 4 + 2 * number
        if entry + 2 > self._fields_bytes:
            return 0
        offset: int = struct.unpack_from("<H", self._data, self._fields + entry)[0]
        return self._position + offset if offset else 0

    def has(self, number: int) -> bool:
        return self._field(number) != 0

    def byte(self, number: int) -> int:
        position = self._field(number)
        return self._data[position] if position else 0

    def table(self, number: int) -> _Table:
        position = self._field(number)
        if not position:
            raise ValueError("a header without its content")
        return _Table(self._data, position + struct.unpack_from("<I", self._data, position)[0])

    def buffers(self, number: int) -> Iterator[tuple[int, int]]:
        """(offset, length) of each `Buffer` of a vector."""
        position = self._field(number)
        if not position:
            return
        vector = position + struct.unpack_from("<I", self._data, position)[0]
        count = struct.unpack_from("<I", self._data, vector)[0]
        for index in range(count):
            offset, length = struct.unpack_from("<qq", self._data, vector + 4 + index * _BUFFER_BYTES)
            if offset < 0 or length < 0:
                raise ValueError("a buffer before its message")
            yield offset, length
