"""Books on journals in memory, closed after each test: a fixture for the conftest of a folder of tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from tests.support.live_book import LiveBook
from tests.support.small_catalogue import NOW_US

from tallybook_server.journal.interface import Journal
from tallybook_server.journal.memory import MemoryJournal

OpenBook = Callable[..., LiveBook]


@pytest.fixture
def open_book() -> Iterator[OpenBook]:
    """Opens a book on a journal (a new one in memory), with a catalogue if one is given."""
    opened: list[LiveBook] = []

    def opener(put: dict | None = None, journal: Journal | None = None) -> LiveBook:
        book = LiveBook(MemoryJournal() if journal is None else journal, NOW_US)
        opened.append(book)
        if put is not None:
            book.apply(put)
        return book

    yield opener
    for book in opened:
        book.close()
