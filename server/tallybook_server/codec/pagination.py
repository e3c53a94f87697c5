"""Page tokens: where a list goes on, bound to the request that began it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from typing import Any

from tallybook_server import limits
from tallybook_server.errors import ErrorCode, Fault, field_invalid

_SCOPE_BYTES = 8


def page_size(asked: int) -> int:
    """Rows of a page: 0 and more than 1,000 are read as 1,000."""
    if asked < 0:
        raise field_invalid("page_size", "is below 0")
    return min(asked or limits.PAGE_SIZE_MAX, limits.PAGE_SIZE_MAX)


def write_token(book: str, request: Any, *numbers: int) -> str:
    """A token that holds `numbers` and is good for the same list of the same book only."""
    packed = struct.pack(f"<{len(numbers)}q", *numbers)
    return base64.urlsafe_b64encode(_scope(book, request) + packed).decode().rstrip("=")


def read_token(book: str, request: Any, count: int) -> tuple[int, ...] | None:
    """The `count` numbers of the request's token; None where it has none, PAGE_TOKEN_INVALID where it is foreign."""
    token = request.page_token
    if not token:
        return None
    try:
        content = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        if content[:_SCOPE_BYTES] == _scope(book, request):
            numbers = struct.unpack(f"<{count}q", content[_SCOPE_BYTES:])
            if min(numbers) >= 0:
                return numbers
    except (binascii.Error, struct.error, ValueError):
        pass
    raise Fault(
        ErrorCode.PAGE_TOKEN_INVALID, "The page token is not one that this method answered for the same request."
    )


def _scope(book: str, request: Any) -> bytes:
    """What the list is of: the request but for its page."""
    filters = type(request)()
    filters.CopyFrom(request)
    filters.ClearField("page_size")
    filters.ClearField("page_token")
    text = f"{book}\n{request.DESCRIPTOR.full_name}\n".encode() + filters.SerializeToString(deterministic=True)
    return hashlib.blake2b(text, digest_size=_SCOPE_BYTES).digest()
