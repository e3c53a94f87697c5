"""A journal whose appends wait until the test lets them go: so that messages pile up behind a commit on its way."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from tests.support.faulty_journal import FaultyJournal, Outcome

from tallybook_server.journal.attached import Attached
from tallybook_server.journal.interface import Journal, Segment


class HeldJournal(FaultyJournal):
    """Also fails by plan, as a `FaultyJournal` does."""

    def __init__(self, journal: Journal, plan: Iterable[Outcome] = ()) -> None:
        super().__init__(journal, plan)
        self._free = threading.Event()
        self._free.set()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Appends wait until the block is left."""
        self._free.clear()
        try:
            yield
        finally:
            self._free.set()

    def append(self, expected_sequence: int, segment: Segment, attached: Attached | None = None) -> None:
        self._free.wait()
        super().append(expected_sequence, segment, attached)
