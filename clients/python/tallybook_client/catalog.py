"""Catalogue changes of any size, and catalogues by version."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from google.protobuf.message import Message

from tallybook.v1 import catalog_pb2

PART_BYTES = 4 * 1024 * 1024
"""A change larger than this is sent in parts; the server takes messages of 16 MiB."""


@dataclass(frozen=True, slots=True)
class CatalogChange:
    """What a change of the catalogue came to."""

    version: int
    """The version that holds the change, or would; the current one where nothing differs."""
    differences: Sequence[catalog_pb2.ObjectDifference]
    difference_count: int
    """All of them; a change in parts lists 1,000."""
    affected_lines: Sequence[catalog_pb2.AffectedLine]
    """Open charge lines that a reprocess with moved pins would move; at most 1,000."""
    affected_line_count: int
    message: Message = field(repr=False, compare=False)


@dataclass(slots=True)
class CatalogVersion:
    """A catalogue and its version."""

    version: int = 0
    catalog: catalog_pb2.Catalog = field(default_factory=catalog_pb2.Catalog)


def change_of(
    response: catalog_pb2.ApplyCatalogResponse | catalog_pb2.StreamingApplyCatalogResponse,
) -> CatalogChange:
    """The answer to a change, sent whole or in parts."""
    if isinstance(response, catalog_pb2.StreamingApplyCatalogResponse):
        difference_count = response.difference_count
    else:
        difference_count = len(response.differences)
    return CatalogChange(
        response.version,
        response.differences,
        difference_count,
        response.affected_lines,
        response.affected_line_count,
        response,
    )


def parts_of(request: catalog_pb2.ApplyCatalogRequest) -> Iterator[catalog_pb2.StreamingApplyCatalogRequest]:
    """A change in parts of about PART_BYTES; only the first has the flags. Objects stay in their order."""
    part = catalog_pb2.StreamingApplyCatalogRequest(
        remove=request.remove, prune=request.prune, validate_only=request.validate_only
    )
    if request.HasField("expected_version"):
        part.expected_version = request.expected_version
    if request.HasField("effective_from"):
        part.effective_from.CopyFrom(request.effective_from)
    size = 0
    for descriptor, objects in request.put.ListFields():
        for each in objects:
            size += each.ByteSize()
            if size > PART_BYTES:
                yield part
                part, size = catalog_pb2.StreamingApplyCatalogRequest(), each.ByteSize()
            getattr(part.put, descriptor.name).append(each)
    yield part
