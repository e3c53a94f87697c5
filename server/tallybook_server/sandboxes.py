"""Sandboxes: books in memory that begin as an organisation's production and are gone after their time.

A sandbox is opened by its access token alone, which is shown once and kept as its SHA-256. A token that opens nothing
any more is refused by its prefix, so that it never reaches another book, on no server and after no restart.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tallybook_engine.asking import GoOn, unasked
from tallybook_engine.ledger.outcomes import Status
from tallybook_server import limits
from tallybook_server.book import Book
from tallybook_server.errors import ErrorCode, Fault
from tallybook_server.journal.memory import MemoryJournal

TOKEN_PREFIX = "tbs_"
"""What an access token of a sandbox begins with; a key to production never does."""
TOKEN_RANDOM_BYTES = 32
SANDBOX_ID_RANDOM_BYTES = 8

_TOKEN = re.compile(rf"(?<![A-Za-z0-9_-]){TOKEN_PREFIX}")


def names_sandbox(credential: object) -> bool:
    """Whether a credential, well-formed or not, holds an access token of a sandbox."""
    return isinstance(credential, str) and _TOKEN.search(credential) is not None


@dataclass(frozen=True)
class WantedUsage:
    """Recorded usage that a sandbox is to begin with."""

    start_us: int
    end_us: int
    customer_ids: frozenset[str]
    """Empty: of all customers."""


@dataclass(frozen=True)
class WantedSandbox:
    """What a sandbox is to be."""

    display_name: str
    time_to_live_us: int
    usage: WantedUsage | None = None


@dataclass(frozen=True)
class Copied:
    """Recorded usage that a sandbox began with."""

    sequence: int
    """Committed sequence of its owner that it was read at."""
    event_count: int
    refused_count: int
    """Events that the catalogue refuses."""
    start_us: int
    end_us: int
    """The stretches of all customers lie in [start, end)."""


@dataclass(eq=False)
class Sandbox:
    """A sandbox while it lives."""

    sandbox_id: str
    owner: str
    """Name of the book that it was made of, whose keys may see it."""
    display_name: str
    create_time_us: int
    """Microseconds since 1970 UTC, as the next."""
    expire_time_us: int
    catalog_version: int
    """Version of the owner's catalogue that it began with."""
    book: Book
    journal: MemoryJournal
    token_sha256: bytes
    copied: Copied | None


class Sandboxes:
    """The sandboxes of a server. For one event loop."""

    def __init__(self, now_us: Callable[[], int]) -> None:
        """`now_us` tells the time in microseconds since 1970 UTC."""
        self._now_us = now_us
        self._by_token: dict[bytes, Sandbox] = {}
        self._by_id: dict[str, Sandbox] = {}
        self._making: list[str] = []
        """Owners of the sandboxes that are being made."""
        self._timers: dict[Sandbox, asyncio.TimerHandle] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._forgetting: list[Callable[[str], None]] = []

    def let_go_by(self, forget: Callable[[str], None]) -> None:
        """Has a function let go of what is kept of a sandbox beside its book, by the book's name, once it ends."""
        self._forgetting.append(forget)

    async def create(self, owner: Book, wanted: WantedSandbox, go_on: GoOn = unasked) -> tuple[Sandbox, str]:
        """A new sandbox of a book, and its access token, which is kept nowhere. Raises Fault.

        `go_on` is asked while recorded usage is read.
        """
        if owner in (each.book for each in self._by_id.values()):
            raise Fault(ErrorCode.SANDBOX_OF_SANDBOX, "a sandbox makes no sandboxes: use the key it was made with")
        self._end_expired()
        self._check_counts(owner.name)
        self._making.append(owner.name)
        try:
            sandbox_id = f"sbx_{secrets.token_hex(SANDBOX_ID_RANDOM_BYTES)}"
            # No production book has such a name, so that nothing that is kept by name can be taken for another's.
            name = f"{owner.name}/{sandbox_id}"
            book, journal, sequence = await owner.overlay(name, limits.SANDBOX_BYTES_MAX)
            try:
                copied = await _copy(owner, book, wanted.usage, sequence, go_on) if wanted.usage else None
            except BaseException:
                self._close(book)
                raise
        finally:
            self._making.remove(owner.name)
        token = TOKEN_PREFIX + secrets.token_urlsafe(TOKEN_RANDOM_BYTES)
        now_us = self._now_us()
        sandbox = Sandbox(
            sandbox_id,
            owner.name,
            wanted.display_name,
            now_us,
            now_us + wanted.time_to_live_us,
            book.catalog().version,
            book,
            journal,
            _sha256(token),
            copied,
        )
        self._by_token[sandbox.token_sha256] = self._by_id[sandbox_id] = sandbox
        seconds = wanted.time_to_live_us / 1e6
        self._timers[sandbox] = asyncio.get_running_loop().call_later(seconds, self._end, sandbox)
        return sandbox, token

    def _check_counts(self, owner_name: str) -> None:
        owners = [*self._making, *(each.owner for each in self._by_id.values())]
        for count, most, of in (
            (owners.count(owner_name), limits.SANDBOXES_MAX, "the book"),
            (len(owners), limits.SANDBOXES_OF_SERVER_MAX, "the server"),
        ):
            if count >= most:
                raise Fault(
                    ErrorCode.TOO_MANY_SANDBOXES,
                    f"{of} has {count} sandboxes, as many as it may: delete one, or wait for its end",
                )

    def opened_by(self, token: str) -> Sandbox:
        """The sandbox that an access token opens. SANDBOX_EXPIRED where it opens none (any more)."""
        sandbox = self._by_token.get(_sha256(token))
        if sandbox is None or self._ended(sandbox):
            raise _expired()
        return sandbox

    def get(self, owner_name: str, sandbox_id: str) -> Sandbox:
        """A sandbox of a book. SANDBOX_NOT_FOUND where it has none of this id, whoever else may have."""
        sandbox = self._by_id.get(sandbox_id)
        if sandbox is None or sandbox.owner != owner_name or self._ended(sandbox):
            raise Fault(ErrorCode.SANDBOX_NOT_FOUND, f"the book has no sandbox {sandbox_id!r}")
        return sandbox

    def list(self, owner_name: str) -> list[Sandbox]:
        """The sandboxes of a book, oldest first."""
        self._end_expired()
        return [each for each in self._by_id.values() if each.owner == owner_name]

    def delete(self, owner_name: str, sandbox_id: str) -> None:
        """Ends a sandbox now. SANDBOX_NOT_FOUND as `get`."""
        self._end(self.get(owner_name, sandbox_id))

    async def close(self) -> None:
        """Ends them all."""
        for sandbox in list(self._by_id.values()):
            self._end(sandbox)
        await asyncio.gather(*self._closing)

    def _end_expired(self) -> None:
        for sandbox in list(self._by_id.values()):
            self._ended(sandbox)

    def _ended(self, sandbox: Sandbox) -> bool:
        """Whether its time is over; then it is gone."""
        if self._now_us() < sandbox.expire_time_us:
            return False
        self._end(sandbox)
        return True

    def _end(self, sandbox: Sandbox) -> None:
        if self._by_id.pop(sandbox.sandbox_id, None) is None:
            return
        del self._by_token[sandbox.token_sha256]
        self._timers.pop(sandbox).cancel()
        self._close(sandbox.book)
        for forget in self._forgetting:
            forget(sandbox.book.name)

    def _close(self, book: Book) -> None:
        # Whoever is told that a sandbox has ended stores nothing in it any more, though it closes beside.
        book.refuse(_expired())
        closing = asyncio.ensure_future(book.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)


async def _copy(owner: Book, book: Book, wanted: WantedUsage, sequence: int, go_on: GoOn) -> Copied:
    """Stores recorded usage of the owner in a new sandbox's book."""
    spans = book.whole_periods(wanted.start_us, wanted.end_us, wanted.customer_ids)
    events = await asyncio.to_thread(owner.recorded_events, spans, sequence, go_on)
    refused_count = 0
    for columns in events.batches(limits.EVENTS_IN_BATCH_MAX):
        found = (await book.ingest(columns, duplicates_costed=False)).outcome
        refused_count += int((found.status == Status.INVALID).sum())
    return Copied(
        sequence,
        events.row_count - refused_count,
        refused_count,
        min((start_us for start_us, _ in spans.values()), default=wanted.start_us),
        max((end_us for _, end_us in spans.values()), default=wanted.end_us),
    )


def token_of(credentials: list[Any], scheme: str) -> str | None:
    """The access token among a call's credentials; None where there is none. Fault where it does not stand alone."""
    if not any(map(names_sandbox, credentials)):
        return None
    if len(credentials) != 1 or not credentials[0].startswith(scheme):
        raise Fault(
            ErrorCode.CREDENTIAL_INVALID, f"an access token stands alone: `authorization: {scheme}{TOKEN_PREFIX}...`"
        )
    return str(credentials[0]).removeprefix(scheme).strip()


def _expired() -> Fault:
    return Fault(
        ErrorCode.SANDBOX_EXPIRED,
        "the sandbox expired, was deleted, or went when the server was started anew: create another",
    )


def _sha256(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()
