"""The journal in memory: for sandboxes, for tests, and as the plainest statement of what a journal does."""

from __future__ import annotations

import bisect
import secrets
import threading
import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, groupby

from tallybook_server.journal.attached import (
    DELETIONS_BUCKET,
    Acknowledged,
    Attached,
    AttachedSummary,
    ChannelBlock,
    StoredBlock,
    StoredMessage,
    StoredValue,
    position_of,
)
from tallybook_server.journal.checks import check_append, check_attached, check_catalog_version, check_replacement
from tallybook_server.journal.interface import (
    CatalogVersion,
    DamagedJournal,
    Fenced,
    JournalAtLimit,
    Segment,
    SegmentSummary,
    SequenceConflict,
    SnapshotPart,
    UnknownSequence,
)

DEFAULT_PARTITION_COUNT = 16
HASH_KEY_BYTES = 16


class MemoryJournal:
    """A journal that is gone with its process. Every rule of `interface.Journal` holds but durability."""

    def __init__(
        self,
        partition_count: int = DEFAULT_PARTITION_COUNT,
        hash_key: bytes | None = None,
        *,
        base_catalog_version: int = 0,
        bytes_max: int | None = None,
    ) -> None:
        """`hash_key` is drawn at random unless given: 16 bytes, for tests that replay. Catalogue versions up to
        `base_catalog_version` are kept elsewhere: its own follow on them. With `bytes_max`, what would take the bodies
        that it holds over so many bytes is refused with `JournalAtLimit`.
        """
        self.partition_count = partition_count
        self.stored_bytes = 0
        """Bytes of the bodies of all that it holds but snapshots."""
        self._base_catalog_version = base_catalog_version
        self._bytes_max = bytes_max
        self.hash_key = secrets.token_bytes(HASH_KEY_BYTES) if hash_key is None else hash_key
        self._lock = threading.Lock()
        self._epoch = 0
        self._segments: list[Segment] = []
        self._schemas: list[bytes] = []
        self._catalog_versions: dict[int, CatalogVersion] = {}
        self._snapshot_parts: dict[tuple[int, str], bytes] = {}
        self._attached: dict[int, AttachedSummary] = {}
        self._blocks: dict[tuple[str, str], list[tuple[int, StoredBlock]]] = {}
        self._values: dict[tuple[str, str], list[StoredValue]] = {}
        self._messages: dict[int, StoredMessage] = {}
        self._outbox: dict[int, None] = {}

    @property
    def last_sequence(self) -> int:
        segments = self._segments
        return segments[-1].last_sequence if segments else 0

    def claim(self) -> int:
        with self._lock:
            self._epoch += 1
            return self._epoch

    def append(self, expected_sequence: int, segment: Segment, attached: Attached | None = None) -> None:
        with self._lock:
            self._require_claim()
            if self.last_sequence != expected_sequence:
                raise SequenceConflict(f"expected to end at {expected_sequence}, ends at {self.last_sequence}")
            check_append(
                segment,
                expected_sequence,
                self.partition_count,
                has_schema=segment.header.schema_id <= len(self._schemas),
                has_catalog_version=self._has_catalog_version(segment.header.catalog_version),
            )
            if attached is not None:
                check_attached(attached)
            self._take_room(len(segment.body) + (0 if attached is None else _body_bytes(attached)))
            if attached is not None:
                self._attach(segment.last_sequence, attached)
            self._segments.append(segment)

    def _has_catalog_version(self, version: int) -> bool:
        return version <= self._base_catalog_version or version in self._catalog_versions

    def _take_room(self, byte_count: int) -> None:
        """Raises JournalAtLimit where so many bytes more would be over the limit."""
        if self._bytes_max is not None and self.stored_bytes + byte_count > self._bytes_max:
            raise JournalAtLimit(
                f"{byte_count:,} bytes more than the {self.stored_bytes:,} that are stored; at most "
                f"{self._bytes_max:,} in all"
            )
        self.stored_bytes += byte_count

    def _attach(self, sequence: int, attached: Attached) -> None:
        self._attached[sequence] = attached.summary()
        for row, block in enumerate(attached.blocks):
            stored = StoredBlock(position_of(sequence, row), block.body)
            self._blocks.setdefault(block.series[:2], []).append((block.bucket, stored))
        for row, value in enumerate(attached.values):
            position, message_id = position_of(sequence, row), position_of(sequence, value.message_row)
            found = StoredValue(value.end_us, value.start_us, position, message_id, value.body)
            self._values.setdefault(value.series[:2], []).append(found)
        for row, message in enumerate(attached.messages):
            message_id = position_of(sequence, row)
            self._messages[message_id] = StoredMessage(message_id, *message)
            self._outbox[message_id] = None

    def read(self, after_sequence: int = 0, upto: int | None = None) -> Iterator[Segment]:
        segments = self._segments
        first = bisect.bisect_right(segments, after_sequence, key=_last_sequence)
        for segment in segments[first:]:
            if upto is not None and segment.first_sequence > upto:
                return
            yield _verified(segment)

    def segment_of(self, sequence: int) -> Segment:
        segments = self._segments
        position = bisect.bisect_left(segments, sequence, key=_last_sequence)
        if sequence < 1 or position == len(segments):
            raise UnknownSequence(f"sequence {sequence} is not in the journal, which ends at {self.last_sequence}")
        return _verified(segments[position])

    def headers(self, after_sequence: int = 0) -> list[SegmentSummary]:
        return [
            SegmentSummary(s.first_sequence, s.last_sequence, s.header, len(s.body))
            for s in self._segments
            if s.last_sequence > after_sequence
        ]

    def replace(self, merged: Segment) -> None:
        with self._lock:
            self._require_claim()
            segments = self._segments
            first = bisect.bisect_left(segments, merged.first_sequence, key=_last_sequence)
            end = bisect.bisect_right(segments, merged.last_sequence, key=_last_sequence)
            check_replacement(
                merged, [SegmentSummary(s.first_sequence, s.last_sequence, s.header, 0) for s in segments[first:end]]
            )
            # A merge makes room, or takes a little more than there was: it is never refused.
            self.stored_bytes += len(merged.body) - sum(len(each.body) for each in segments[first:end])
            self._segments = [*segments[:first], merged, *segments[end:]]

    def put_schema(self, schema: bytes) -> int:
        with self._lock:
            self._require_claim()
            if schema not in self._schemas:
                self._schemas.append(schema)
            return self._schemas.index(schema) + 1

    def schema(self, schema_id: int) -> bytes:
        if not 1 <= schema_id <= len(self._schemas):
            raise UnknownSequence(f"schema {schema_id} is not in the journal")
        return self._schemas[schema_id - 1]

    def put_catalog_version(self, version: int, parent: int, difference: bytes) -> None:
        with self._lock:
            self._require_claim()
            put = CatalogVersion(version, parent, difference)
            check_catalog_version(put, self._catalog_versions.get(version), self._has_catalog_version(parent))
            if version not in self._catalog_versions:
                self._take_room(len(difference))
            self._catalog_versions[version] = put

    def catalog_versions(self) -> list[CatalogVersion]:
        with self._lock:
            return [self._catalog_versions[version] for version in sorted(self._catalog_versions)]

    def put_snapshot_part(self, sequence: int, name: str, body: bytes) -> None:
        with self._lock:
            self._require_claim()
            self._snapshot_parts[sequence, name] = body

    def snapshot_parts(self) -> list[SnapshotPart]:
        with self._lock:
            return [SnapshotPart(*key, len(body)) for key, body in sorted(self._snapshot_parts.items())]

    def snapshot_part(self, sequence: int, name: str) -> bytes:
        try:
            return self._snapshot_parts[sequence, name]
        except KeyError:
            raise UnknownSequence(f"no snapshot part {name!r} of sequence {sequence}") from None

    def drop_snapshots_before(self, sequence: int, name: str) -> None:
        with self._lock:
            self._require_claim()
            self._snapshot_parts = {
                key: body for key, body in self._snapshot_parts.items() if key[0] >= sequence or key[1] != name
            }

    def attached_summary(self, sequence: int) -> AttachedSummary | None:
        return self._attached.get(sequence)

    def receipt_times(self, sequences: Iterable[int]) -> dict[int, int]:
        return {sequence: self._attached[sequence].receipt_time_us for sequence in sequences}

    def has_series(self, datasource: str, channel: str | None = None) -> bool:
        with self._lock:
            return any(
                name[0] == datasource and channel in (None, name[1]) for name in chain(self._blocks, self._values)
            )

    def blocks(
        self, datasource: str, channel: str, first_bucket: int, last_bucket: int, upto_sequence: int
    ) -> Iterator[tuple[int, list[StoredBlock]]]:
        with self._lock:
            every = list(self._blocks.get((datasource, channel), ()))
        end = position_of(upto_sequence + 1, 0)
        found = sorted(
            (bucket, stored)
            for bucket, stored in every
            if (first_bucket <= bucket <= last_bucket or bucket == DELETIONS_BUCKET) and stored.position < end
        )
        for bucket, of_bucket in groupby(found, key=lambda each: each[0]):
            yield bucket, [stored for _, stored in of_bucket]

    def blocks_of_channels(
        self, channels: Sequence[tuple[str, str]], first_bucket: int, last_bucket: int, upto_sequence: int
    ) -> Iterator[ChannelBlock]:
        for number, channel in enumerate(channels):
            for bucket, blocks in self.blocks(*channel, first_bucket, last_bucket, upto_sequence):
                for block in blocks:
                    yield ChannelBlock(number, bucket, block)

    def billing_values(
        self, datasource: str, channel: str, start_us: int, end_us: int, upto_sequence: int
    ) -> Iterator[StoredValue]:
        with self._lock:
            every = sorted(self._values.get((datasource, channel), ()))
        end = position_of(upto_sequence + 1, 0)
        return (each for each in every if start_us <= each.end_us < end_us and each.position < end)

    def datasource_values(
        self, datasource: str, start_us: int, end_us: int, after_sequence: int = 0
    ) -> Iterator[tuple[str, StoredValue]]:
        first = position_of(after_sequence + 1, 0)
        with self._lock:
            every = [(name, each) for name, values in self._values.items() for each in values]
        for (name, channel), each in every:
            is_same = (each.start_us, each.end_us) == (start_us, end_us)
            meets = is_same or (each.start_us < end_us and start_us < each.end_us)
            if name == datasource and each.position >= first and meets:
                yield channel, each

    def billing_messages(self, after_id: int) -> Iterator[StoredMessage]:
        with self._lock:
            found = sorted(message_id for message_id in self._outbox if message_id > after_id)
        return (self._messages[message_id] for message_id in found)

    def acknowledge(self, message_ids: Sequence[int]) -> Acknowledged:
        with self._lock:
            self._require_claim()
            answer = Acknowledged([], [], [])
            for message_id in dict.fromkeys(message_ids):
                if message_id not in self._messages:
                    answer.unknown.append(message_id)
                elif message_id in self._outbox:
                    del self._outbox[message_id]
                    answer.now.append(message_id)
                else:
                    answer.before.append(message_id)
            return answer

    def close(self) -> None:
        """Nothing to let go of: the journal lives as long as something refers to it."""

    def _require_claim(self) -> None:
        if self._epoch == 0:
            raise Fenced("claim the journal before writing to it")


def _body_bytes(attached: Attached) -> int:
    """Bytes of what a commit stores beside its segment."""
    blocks, values = (sum(len(each.body) for each in rows) for rows in (attached.blocks, attached.values))
    return blocks + values + sum(len(each.document) for each in attached.messages)


def _last_sequence(segment: Segment) -> int:
    return segment.last_sequence


def _verified(segment: Segment) -> Segment:
    if zlib.crc32(segment.body) != segment.header.crc32:
        raise DamagedJournal(f"the segment that ends at sequence {segment.last_sequence} fails its checksum")
    return segment
