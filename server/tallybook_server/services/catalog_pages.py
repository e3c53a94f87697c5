"""Pages of a catalogue: a token names the version and the place, so that pages never skip or repeat."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Generic, Protocol, TypeVar

from google.protobuf.message import Message

from tallybook_engine.catalog.model import Catalog
from tallybook_server import limits
from tallybook_server.errors import ErrorCode, Fault, field_invalid

ANSWER_BYTES_MAX = 3 * 1024 * 1024
"""An answer's list ends here (but has one entry at least): clients take 4 MiB unless told otherwise."""

Kept = TypeVar("Kept")
Written = TypeVar("Written", bound=Message)


class PageRequest(Protocol):
    """The fields that every request for a page has."""

    @property
    def page_size(self) -> int: ...
    @property
    def page_token(self) -> str: ...


@dataclass(frozen=True)
class Page(Generic[Written]):
    """Part of what one version holds."""

    version: int
    entries: list[Written]
    next_page_token: str


def read_page(
    request: PageRequest,
    scope: str,
    catalog_of: Callable[[int | None], Catalog],
    entries_of: Callable[[Catalog], Iterable[Kept]],
    write: Callable[[Kept], Written],
) -> Page[Written]:
    """The page that a request asks for.

    `scope` says which list it is, with its filters; `catalog_of` answers a version (None: the one to begin with) and
    raises KeyError. Raises Fault: FIELD_INVALID, PAGE_TOKEN_INVALID, CATALOG_VERSION_NOT_FOUND.
    """
    if request.page_size < 0:
        raise field_invalid("page_size", "is below 0")
    version, offset = _place(request.page_token, scope) if request.page_token else (None, 0)
    try:
        catalog = catalog_of(version)
    except KeyError as error:
        raise Fault(ErrorCode.CATALOG_VERSION_NOT_FOUND, f"there is no version {error.args[0]}") from error
    asked = min(request.page_size or limits.PAGE_SIZE_MAX, limits.PAGE_SIZE_MAX)
    kept = list(islice(entries_of(catalog), offset, offset + asked + 1))
    written = within_answer(write(each) for each in kept[:asked])
    more = len(written) < len(kept)
    return Page(catalog.version, written, _token(scope, catalog.version, offset + len(written)) if more else "")


def within_answer(messages: Iterable[Written]) -> list[Written]:
    """The first messages that fit one answer, and the first one in any case."""
    fitting: list[Written] = []
    bytes_left = ANSWER_BYTES_MAX
    for message in messages:
        bytes_left -= message.ByteSize()
        if fitting and bytes_left < 0:
            break
        fitting.append(message)
    return fitting


def _token(scope: str, version: int, offset: int) -> str:
    return base64.urlsafe_b64encode(f"{scope}:{version}:{offset}".encode()).decode()


def _place(token: str, scope: str) -> tuple[int, int]:
    try:
        named, version, offset = base64.b64decode(token, altchars=b"-_", validate=True).decode().rsplit(":", 2)
        if named == scope and version.isascii() and version.isdigit() and offset.isascii() and offset.isdigit():
            return int(version), int(offset)
    except (binascii.Error, ValueError):
        pass
    raise Fault(ErrorCode.PAGE_TOKEN_INVALID, "the page token is not of this method and these fields")
