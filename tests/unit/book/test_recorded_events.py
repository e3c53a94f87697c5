"""Recorded events are read from the segments that may hold them, and from no others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from tests.support.live_book import LiveBook
from tests.support.small_catalogue import MONTHLY

from tallybook_engine.ledger.outcomes import EventSelector
from tallybook_server.journal.interface import Segment
from tallybook_server.journal.memory import MemoryJournal

DAY_US = 86_400_000_000
FIRST_DAY_US = 19_723 * DAY_US
"""2024-01-01."""
PARTITIONS = 64
NAMES = ("ann", "bob")
CATALOGUE: dict[str, Any] = {
    "meters": [{"id": "api", "values": ["calls"]}],
    "products": [{"id": "calls", "meter": "api", "aggregation": "SUM", "value": "calls"}],
    "plans": [{"id": "flat", "product": "calls", "currency": "EUR", "per_unit": {"unit_price": "1"}}],
    "customers": [{"id": name} for name in NAMES],
    "contracts": [
        {
            "id": name,
            "customer": name,
            "time_zone": "UTC",
            "start_date": "2024-01-01",
            "billing_frequency": MONTHLY,
            "product_contracts": [{"plan": "flat"}],
        }
        for name in NAMES
    ],
}


class NotedJournal(MemoryJournal):
    """A journal that notes which segments are read."""

    def __init__(self) -> None:
        super().__init__(PARTITIONS, hash_key=bytes(16))
        self.read_sequences: list[int] = []

    def segment_of(self, sequence: int) -> Segment:
        self.read_sequences.append(sequence)
        return super().segment_of(sequence)


@pytest.fixture
def live() -> Iterator[LiveBook]:
    """Commits of ann in January, ann in March, bob in January, ann in January."""
    live = LiveBook(NotedJournal(), FIRST_DAY_US + 100 * DAY_US)
    live.apply(CATALOGUE)
    for number, (customer, day) in enumerate([("ann", "01-05"), ("ann", "03-05"), ("bob", "01-05"), ("ann", "01-06")]):
        event = {
            "reference": str(number),
            "customer_reference": customer,
            "meter_reference": "api",
            "time": f"2024-{day}T12:00:00Z",
            "meter_values": [{"reference": "calls", "number": "1"}],
        }
        live.store([event])
    yield live
    live.close()


def read(live: LiveBook, *customers: str, days: int = 31) -> tuple[list[str], list[int]]:
    """References of the customers' events from January on, and the sequences whose segments were read for them."""
    live.journal.read_sequences.clear()  # type: ignore[attr-defined]  # it is a NotedJournal
    spans = dict.fromkeys(customers, (FIRST_DAY_US, FIRST_DAY_US + days * DAY_US))
    events = live.book.recorded_events(spans, live.book.committed_sequence())
    return events.column("reference").to_pylist(), list(live.journal.read_sequences)  # type: ignore[attr-defined]


def test_segments_of_another_time_or_other_customers_are_not_read(live: LiveBook) -> None:
    # Given customers of different partitions
    partitions = live.state.hasher.partitions(pa.array(NAMES), PARTITIONS)
    assert partitions[0] != partitions[1]
    assert read(live, "ann") == (["0", "3"], [1, 4])
    assert read(live, "ann", days=100) == (["0", "1", "3"], [1, 2, 4])
    assert read(live, "bob") == (["2"], [3])
    assert read(live, *NAMES) == (["0", "2", "3"], [1, 3, 4])
    assert read(live, "ann", days=1) == ([], [])


def test_the_segment_of_a_delete_is_read(live: LiveBook) -> None:
    live.delete(EventSelector(customer="ann", reference="0", generation=1))
    assert read(live, "ann") == (["3"], [1, 4, 5])


def test_merged_segments_are_read_once(live: LiveBook) -> None:
    live.merge()
    assert read(live, "ann") == (["0", "3"], [1])


def test_a_merge_between_two_reads_repeats_nothing(live: LiveBook, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a merge that comes when the first segment was read
    opened = live.book._records.opened

    def merged_behind(segment: Segment) -> Any:
        monkeypatch.undo()
        decoded = opened(segment)
        live.merge()
        return decoded

    monkeypatch.setattr(live.book._records, "opened", merged_behind)
    assert read(live, "ann") == (["0", "3"], [1, 4])
