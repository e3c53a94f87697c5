"""What a journal refuses to store, whatever it stores it in: mistakes of its caller, so each is a `ValueError`."""

from __future__ import annotations

from collections.abc import Sequence

from tallybook_server.journal.attached import ROWS_MAX, Attached
from tallybook_server.journal.interface import CatalogVersion, Segment, SegmentSummary


def check_append(
    segment: Segment, expected_sequence: int, partition_count: int, *, has_schema: bool, has_catalog_version: bool
) -> None:
    """A segment follows on, counts its rows by partition, and names only what the journal already holds."""
    header = segment.header
    if segment.first_sequence != expected_sequence + 1:
        raise ValueError(f"a segment from {segment.first_sequence} does not follow sequence {expected_sequence}")
    if len(header.partition_record_counts) != partition_count:
        raise ValueError(f"{len(header.partition_record_counts)} partition counts for {partition_count} partitions")
    if sum(header.partition_record_counts) != header.record_count:
        raise ValueError(f"partition counts do not sum to {header.record_count} records")
    if header.schema_id and not has_schema:
        raise ValueError(f"schema {header.schema_id} is not stored")
    if header.catalog_version and not has_catalog_version:
        raise ValueError(f"catalogue version {header.catalog_version} is not stored")


def check_attached(attached: Attached) -> None:
    """Rows of each kind have numbers."""
    for rows in (attached.blocks, attached.values, attached.messages):
        if len(rows) > ROWS_MAX:
            raise ValueError(f"{len(rows)} rows of one kind in a commit; at most {ROWS_MAX}")


def check_replacement(merged: Segment, replaced: Sequence[SegmentSummary]) -> None:
    """A merge keeps rows and sequences: it covers whole segments and holds exactly what they held."""
    covers = replaced and (replaced[0].first_sequence, replaced[-1].last_sequence)
    if covers != (merged.first_sequence, merged.last_sequence):
        raise ValueError(
            f"a merge from {merged.first_sequence} to {merged.last_sequence} does not cover whole segments"
        )
    headers = [summary.header for summary in replaced]
    counts = tuple(map(sum, zip(*(header.partition_record_counts for header in headers), strict=True)))
    before = (counts, sum(counts), sum(header.posting_count for header in headers))
    header = merged.header
    if before != (header.partition_record_counts, header.record_count, header.posting_count):
        raise ValueError(
            f"a merge from {merged.first_sequence} to {merged.last_sequence} does not hold the rows it replaces"
        )


def check_catalog_version(put: CatalogVersion, stored: CatalogVersion | None, parent_is_stored: bool) -> None:
    """A version has a stored parent below it (0: none) and is never given a second meaning."""
    if stored is not None and stored != put:
        raise ValueError(f"catalogue version {put.version} is stored with another content")
    if put.version <= put.parent or (put.parent and not parent_is_stored):
        raise ValueError(f"catalogue version {put.version} cannot follow version {put.parent}")
