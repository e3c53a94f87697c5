"""What a server keeps for a while in memory for whoever asks again: uploaded usage, and charges of simulations."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

Value = TypeVar("Value")
NAME_RANDOM_BYTES = 8


@dataclass(frozen=True)
class Entry(Generic[Value]):
    """Something that is kept."""

    book: str
    """Name of the book that it is of: to others it does not exist."""
    value: Value
    byte_count: int
    expire_time_us: int
    """Microseconds since 1970 UTC."""


class Kept(Generic[Value]):
    """Values by name, each until its time is over. For one event loop."""

    def __init__(self, now_us: Callable[[], int], seconds: int) -> None:
        """`now_us` tells the time in microseconds since 1970 UTC; `seconds` is how long each is kept."""
        self._now_us = now_us
        self._seconds = seconds
        self._entries: dict[str, Entry[Value]] = {}

    def put(self, book: str, name: str, value: Value, byte_count: int) -> Entry[Value]:
        """Keeps a value of a book under a name."""
        expire_time_us = self._now_us() + self._seconds * 1_000_000
        entry = self._entries[name] = Entry(book, value, byte_count, expire_time_us)
        # Nobody may ask again, and the memory is to be free all the same.
        asyncio.get_running_loop().call_later(self._seconds + 1, self._forget_expired)
        return entry

    def get(self, book: str, name: str) -> Value | None:
        """A book's value; None where it has none of this name (any more)."""
        self._forget_expired()
        entry = self._entries.get(name)
        return None if entry is None or entry.book != book else entry.value

    def count(self, book: str) -> int:
        """How many values of a book are kept."""
        self._forget_expired()
        return sum(each.book == book for each in self._entries.values())

    def byte_count(self) -> int:
        """Bytes of all that is kept."""
        self._forget_expired()
        return sum(each.byte_count for each in self._entries.values())

    def forget(self, book: str) -> None:
        """Lets go of all that is kept of a book."""
        self._entries = {name: each for name, each in self._entries.items() if each.book != book}

    def forget_oldest(self) -> None:
        """Lets go of what is kept longest."""
        del self._entries[next(iter(self._entries))]

    def _forget_expired(self) -> None:
        now_us = self._now_us()
        # All are kept as long, so the oldest are first.
        while self._entries and next(iter(self._entries.values())).expire_time_us <= now_us:
            self.forget_oldest()


def new_name(prefix: str) -> str:
    """A name that nobody guesses: the prefix and 16 hexadecimal digits."""
    return f"{prefix}{secrets.token_hex(NAME_RANDOM_BYTES)}"
