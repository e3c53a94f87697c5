"""Connections for reading: lent to one reader at a time, so that any thread may read while another writes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import apsw

from tallybook_server.journal.interface import JournalError
from tallybook_server.journal.sqlite.file import JournalFile


class ReadConnections:
    """As many connections as there ever were readers at once, each reused."""

    def __init__(self, file: JournalFile) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._idle: list[apsw.Connection] = []
        self._closed = False

    @contextmanager
    def snapshot(self) -> Iterator[apsw.Connection]:
        """A connection that sees the journal as of its first query, whatever is committed meanwhile."""
        connection = self._borrow()
        try:
            connection.execute("BEGIN")
            yield connection
        finally:
            self._give_back(connection)

    def close(self) -> None:
        """Close those at rest; one that is lent is closed when it comes back."""
        with self._lock:
            self._closed = True
            for connection in self._idle:
                connection.close()
            self._idle.clear()

    def _borrow(self) -> apsw.Connection:
        with self._lock:
            if self._closed:
                raise JournalError(f"{self._file.path}: the journal is closed")
            if self._idle:
                return self._idle.pop()
        return self._file.connect(read_only=True)

    def _give_back(self, connection: apsw.Connection) -> None:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        with self._lock:
            if self._closed:
                connection.close()
            else:
                self._idle.append(connection)
