"""The door: a file's name in, channels and a report out."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from tallybook_engine.calendar.zones import UnknownZone
from tallybook_server.readings_files import csv, green_button, nem12, nem13, numbers, parquet
from tallybook_server.readings_files.model import (
    FILE_BYTES_MAX,
    Format,
    ReadFile,
    ReadingsFileFault,
    ReadOptions,
    Source,
)

_READERS: dict[Format, Callable[[Source, ReadOptions], ReadFile]] = {
    Format.NEM12: nem12.read,
    Format.NEM13: nem13.read,
    Format.GREEN_BUTTON: green_button.read,
    Format.CSV: csv.read,
    Format.PARQUET: parquet.read,
}
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_DAMAGES = (zipfile.BadZipFile, zlib.error, lzma.LZMAError)
_ZIP, _GZIP, _PARQUET = b"PK\x03\x04", b"\x1f\x8b", b"PAR1"


def read_readings(path: Path, options: ReadOptions | None = None) -> ReadFile:
    """Channels of a file, which may be packed by zip (one file in it) or gzip, and what became of its rows.

    Raises ReadingsFileFault if the file cannot be read as a whole, and OSError if it cannot be opened.
    """
    options = options or ReadOptions()
    if path.stat().st_size > FILE_BYTES_MAX:
        raise _too_large(path.name)
    source = Source(path.name, _unpacked(path.name, path.read_bytes()).removeprefix(_BYTE_ORDER_MARK))
    if not source.content.strip():
        raise source.fault(None, "the file is empty", "fetch it again")
    try:
        return _READERS[options.format or recognised(source.content)](source, options)
    except UnknownZone as unknown:
        raise source.fault(None, str(unknown), "name a zone as Europe/London") from None


def is_first_use() -> bool:
    """Whether the kernels that read numbers are still to be compiled, which takes some seconds, once a machine.

    The engine says where Numba keeps them.
    """
    return not any(Path(os.environ["NUMBA_CACHE_DIR"]).rglob(f"{numbers.__name__.rpartition('.')[2]}.*.nbi"))


def recognised(content: bytes) -> Format:
    """The format of unpacked content, by how it begins; what is none of the others is CSV."""
    if content.startswith(_PARQUET):
        return Format.PARQUET
    beginning = content[:4_096].lstrip()
    if beginning.startswith(b"<"):
        return Format.GREEN_BUTTON
    fields = beginning.split(b"\n", 1)[0].strip().split(b",")
    if fields[0] == b"100" and len(fields) > 1:
        for mdff in (Format.NEM12, Format.NEM13):
            if fields[1] == mdff.value.encode():
                return mdff
    return Format.CSV


def _unpacked(file: str, content: bytes) -> bytes:
    unpack = _unzipped if content.startswith(_ZIP) else _gunzipped if content.startswith(_GZIP) else None
    if unpack is None:
        return content
    try:
        found = unpack(content)
    # A damaged archive may fail in any part of it: sizes, places, names, checksums, methods.
    except (*_DAMAGES, OSError, EOFError, ValueError, RuntimeError) as cause:
        raise ReadingsFileFault(file, None, f"the archive is damaged: {cause}", "fetch it again") from None
    if isinstance(found, int):
        raise ReadingsFileFault(file, None, f"an archive of {found} files", "pack each alone")
    if len(found) > FILE_BYTES_MAX:
        raise _too_large(file)
    return found


def _unzipped(content: bytes) -> bytes | int:
    """Its one file, or how many it has."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [each for each in archive.infolist() if not each.is_dir()]
        if len(members) != 1:
            return len(members)
        with archive.open(members[0]) as member:
            return member.read(FILE_BYTES_MAX + 1)


def _gunzipped(content: bytes) -> bytes:
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as packed:
        return packed.read(FILE_BYTES_MAX + 1)


def _too_large(file: str) -> ReadingsFileFault:
    return ReadingsFileFault(file, None, f"more than {FILE_BYTES_MAX} bytes, unpacked", "split it by meter or year")
