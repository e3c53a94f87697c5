"""API keys: who may call, and which book the call is about.

A key is 256 random bits. Only its SHA-256 is stored: a stolen file opens nothing, and because no one can guess a number
of that size there is nothing that a slow, salted password hash would add. A key names its book; no request does.

The keys lie in a small SQLite file of their own, so that a command beside a running server can create and revoke them.
The server remembers what it looked up until the file changes, which it asks before every answer: a revoked key is
refused from the next call on.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

APPLICATION_ID = 0x544C_424A
"""`TLBJ` in SQLite's header, next to the journal's `TLBK`."""
FORMAT_VERSION = 1
TOKEN_PREFIX = "tb_"
"""What scanners for leaked secrets, and people, recognise a key by."""
TOKEN_RANDOM_BYTES = 32
KEY_ID_RANDOM_BYTES = 8
LOCK_WAIT_MS = 5_000
_BOOK_NAME = re.compile("(?!keys$)[a-z0-9][a-z0-9_-]{0,62}")

TABLES = """
CREATE TABLE api_keys (
    key_id TEXT PRIMARY KEY,
    book TEXT NOT NULL,
    token_sha256 BLOB NOT NULL UNIQUE,
    created_time_us INTEGER NOT NULL,
    revoked_time_us INTEGER
) STRICT;
"""


def check_book_name(name: str) -> None:
    """ValueError for what is no name of a book: its journal is a file of this name, beside the file of keys."""
    if not _BOOK_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a book: up to 63 of a-z, 0-9, - and _, but not `keys`")


class KeysError(Exception):
    """The file of keys cannot be used; the message names it and says why."""


class UnknownKeyError(KeysError):
    """No key has this id."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is known of a key: everything but the key itself."""

    key_id: str
    """How to name it, as in `key_6f1d0c52a97b3e84`; not a secret."""
    book: str
    created_time_us: int
    """Microseconds since 1970 UTC."""
    revoked_time_us: int | None
    """Microseconds since 1970 UTC; None while it is good."""


class ApiKeys:
    """The keys of one server. Safe for any number of threads, and for another process at the same file."""

    def __init__(self, path: Path, now_us: Callable[[], int]) -> None:
        """Open the keys at `path`, made where there is no file; `now_us` tells the time in microseconds since 1970 UTC.

        Raises `KeysError` for a file that holds something else.
        """
        self._path = path
        self._now_us = now_us
        self._lock = threading.Lock()
        self._books: dict[bytes, str] = {}
        self._data_version: int | None = None
        if not path.exists():
            # Only the owner may read it, as with the journal.
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        self._connection = self._open()

    def create(self, book: str) -> tuple[ApiKey, str]:
        """A new key to `book` and its token, which is shown this once and stored nowhere.

        Raises ValueError for what is no name of a book.
        """
        check_book_name(book)
        token = TOKEN_PREFIX + secrets.token_urlsafe(TOKEN_RANDOM_BYTES)
        key = ApiKey(f"key_{secrets.token_hex(KEY_ID_RANDOM_BYTES)}", book, self._now_us(), None)
        values = (key.key_id, book, _sha256(token), key.created_time_us)
        with self._lock:
            self._connection.execute("INSERT INTO api_keys VALUES (?, ?, ?, ?, NULL)", values)
        return key, token

    def list(self) -> list[ApiKey]:
        """All keys ever made, oldest first."""
        query = "SELECT key_id, book, created_time_us, revoked_time_us FROM api_keys ORDER BY created_time_us, rowid"
        with self._lock:
            return [ApiKey(*row) for row in self._connection.execute(query)]

    def revoke(self, key_id: str) -> ApiKey:
        """End a key from the next call on; once more is fine and keeps the first time. Raises `UnknownKeyError`."""
        query = (
            "UPDATE api_keys SET revoked_time_us = ifnull(revoked_time_us, ?) WHERE key_id = ? "
            "RETURNING key_id, book, created_time_us, revoked_time_us"
        )
        with self._lock:
            rows: list[Any] = self._connection.execute(query, (self._now_us(), key_id)).fetchall()
            self._books.clear()
        if not rows:
            raise UnknownKeyError(f"{self._path}: no key has the id {key_id!r}")
        return ApiKey(*rows[0])

    def any_created(self) -> bool:
        """Whether a key was ever made; a server without keys listens on loopback only."""
        with self._lock:
            return self._connection.execute("SELECT 1 FROM api_keys LIMIT 1").fetchone() is not None

    def book_of(self, token: str) -> str | None:
        """The book that `token` opens; None for one that is unknown or revoked."""
        token_sha256 = _sha256(token)
        with self._lock:
            # Changes when another connection has committed; this connection's own changes clear the memory themselves.
            data_version = self._connection.pragma("data_version")
            if data_version != self._data_version:
                self._books.clear()
                self._data_version = data_version
            book = self._books.get(token_sha256)
            if book is None:
                query = "SELECT book FROM api_keys WHERE token_sha256 = ? AND revoked_time_us IS NULL"
                row: Any = self._connection.execute(query, (token_sha256,)).fetchone()
                if row is None:
                    return None
                book = self._books[token_sha256] = str(row[0])
            return book

    def close(self) -> None:
        """Let go of the file; closing twice is fine."""
        with self._lock:
            self._connection.close()

    def _open(self) -> apsw.Connection:
        try:
            connection = apsw.Connection(str(self._path), flags=apsw.SQLITE_OPEN_READWRITE)
            connection.set_busy_timeout(LOCK_WAIT_MS)
            connection.execute("BEGIN IMMEDIATE")
            # A file without any table and mark of another program is a new one.
            if connection.pragma("application_id") == 0 and connection.pragma("schema_version") == 0:
                connection.execute(TABLES)
                connection.pragma("application_id", APPLICATION_ID)
                connection.pragma("user_version", FORMAT_VERSION)
            connection.execute("COMMIT")
            found = (connection.pragma("application_id"), connection.pragma("user_version"))
            if found != (APPLICATION_ID, FORMAT_VERSION):
                raise KeysError(f"{self._path}: not a file of keys, or one of another release (format {found[1]})")
            connection.pragma("journal_mode", "wal")
            connection.pragma("synchronous", "FULL")
        except apsw.Error as error:
            raise KeysError(f"{self._path}: the keys cannot be opened: {error}") from error
        return connection


def _sha256(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()
