"""Around every call: its book by its credential, its limits, its errors as gRPC's, and one line in the log.

Handlers stay free of transport: they take parsed messages, ask `book_of_call` for the book and raise `Fault`.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, Protocol
from urllib.parse import unquote

import grpc
from google.protobuf.message import DecodeError

from tallybook_server import limits
from tallybook_server.errors import ErrorCode, Fault, trailers
from tallybook_server.journal.interface import DamagedJournal, UnreadableJournal
from tallybook_server.keys import ApiKeys
from tallybook_server.sandboxes import Sandboxes, token_of

PORT_END = 1 << 16
DEFAULT_BOOK = "default"
"""The book of a server without keys."""

AUTHORIZATION = "authorization"
SCHEME = "Bearer "
OPEN_SERVICES = ("/grpc.health.v1.Health/", "/grpc.reflection.")
"""Need no credential: whether the server lives, and what anyone may read in the repository."""

KEYLESS_ON_LOOPBACK = (
    "/tallybook.v1.SimulateService/QuotePrice",
    "/tallybook.v1.SimulateService/PreviewBillingDates",
)
"""Look at no book, so that whoever sits at the machine may call them without a key."""

log = logging.getLogger("tallybook.calls")

_MAKE_HANDLER = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}
"""By whether requests and responses are streamed."""

_book: ContextVar[Any] = ContextVar("book")


def book_of_call(_context: object = None) -> Any:
    """The book of the call that is being handled."""
    return _book.get()


class OpensBooks(Protocol):
    """What the interceptor needs of `Books`."""

    async def open(self, name: str) -> Any:
        """The book of this name, made on its first use."""


class Access:
    """Which book a call is about."""

    def __init__(self, keys: ApiKeys | None) -> None:
        """`keys` is None where no keys can be kept."""
        self._keys = keys
        self._required = False

    def required(self) -> bool:
        """Whether calls need a key: from the moment that one was created."""
        if not self._required and self._keys is not None:
            self._required = self._keys.any_created()
        return self._required

    def book_name(self, metadata: Any) -> str:
        """The production book that the call's metadata opens; Fault where they open none."""
        if not self.required():
            return DEFAULT_BOOK
        given = credentials_of(metadata)
        if len(given) != 1 or not isinstance(given[0], str) or not given[0].startswith(SCHEME):
            raise Fault(
                ErrorCode.CREDENTIAL_MISSING,
                "This server needs a key: send the metadata `authorization: Bearer tb_...`.",
            )
        assert self._keys is not None
        name = self._keys.book_of(given[0].removeprefix(SCHEME).strip())
        if name is None:
            raise Fault(ErrorCode.CREDENTIAL_INVALID, "The key is unknown to this server or was revoked.")
        return name


def credentials_of(metadata: Any) -> list[Any]:
    """Every credential that a call carries."""
    return [value for name, value in metadata or () if name == AUTHORIZATION]


def check_address(address: str, keys_exist: bool) -> None:
    """ValueError where an address is none, or where a server without keys would listen on more than loopback."""
    host, _, port = address.rpartition(":")
    # The transport cuts a port that is too large to another one.
    if not (port.isascii() and port.isdigit() and int(port) < PORT_END):
        raise ValueError(f"{address}: an address to listen on is host:port, as in 127.0.0.1:7430")
    if keys_exist or _is_loopback(host.strip("[]")):
        return
    raise ValueError(
        f"{address}: a server without keys listens on loopback only. Listen on 127.0.0.1 or [::1], or create a key "
        "first: tallybook keys create"
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps every method once, whatever its kind."""

    def __init__(self, access: Access, books: OpensBooks, sandboxes: Sandboxes) -> None:
        self._access = access
        self._books = books
        self._sandboxes = sandboxes
        self._wrapped: dict[str, Any] = {}
        self._call_count = 0

    async def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]], details: grpc.HandlerCallDetails
    ) -> Any:
        """The method's handler, wrapped; None where there is no such method."""
        method = details.method
        if method not in self._wrapped:
            handler = await continuation(details)
            if handler is None or method.startswith(OPEN_SERVICES):
                return handler
            self._wrapped[method] = self._wrap(method, handler)
        return self._wrapped[method]

    def _wrap(self, method: str, handler: Any) -> Any:
        """The handler with raw bytes for requests, so that their limits and errors are looked after here."""
        behaviour = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
        request_of = partial(_streamed if handler.request_streaming else _parsed, handler.request_deserializer)

        async def answer(request: Any, context: Any) -> Any:
            async with self._call(method, context):
                return await behaviour(request_of(request), context)

        async def answer_many(request: Any, context: Any) -> AsyncIterator[Any]:
            async with self._call(method, context):
                async for response in behaviour(request_of(request), context):
                    yield response

        make = _MAKE_HANDLER[handler.request_streaming, handler.response_streaming]
        return make(answer_many if handler.response_streaming else answer, None, handler.response_serializer)

    @asynccontextmanager
    async def _call(self, method: str, context: Any) -> AsyncIterator[None]:
        """Sets the book, turns what is raised into gRPC's errors, and logs the call."""
        begun = time.perf_counter()
        outcome, book_name = "OK", "-"
        self._call_count += 1
        try:
            if self._call_count > limits.CALLS_MAX:
                raise Fault(ErrorCode.OVERLOADED, f"{limits.CALLS_MAX} calls are at work.")
            if not _needs_no_book(method, context):
                book = await self._opened_book(context.invocation_metadata())
                book_name = book.name
                _book.set(book)
            yield
        except Fault as fault:
            outcome = fault.code.name
            await _abort(context, fault)
        except (DamagedJournal, UnreadableJournal) as error:
            outcome = ErrorCode.JOURNAL_DAMAGED.name
            await _abort(context, Fault(ErrorCode.JOURNAL_DAMAGED, str(error)))
        except asyncio.CancelledError:
            outcome = "CANCELLED"
            raise
        except grpc.aio.AbortError:
            outcome = "ABORTED"
            raise
        except Exception:
            outcome = ErrorCode.INTERNAL.name
            await _abort(context, internal_fault())
        finally:
            self._call_count -= 1
            duration_ms = (time.perf_counter() - begun) * 1_000
            log.info("%s %s %.1f ms book %s", method, outcome, duration_ms, book_name)

    async def _opened_book(self, metadata: Any) -> Any:
        """The sandbox of an access token, else the production book of a key."""
        token = token_of(credentials_of(metadata), SCHEME)
        if token is not None:
            return self._sandboxes.opened_by(token).book
        return await self._books.open(self._access.book_name(metadata))


def _needs_no_book(method: str, context: Any) -> bool:
    """Whether a call may go on without a key and a book. A key that is given is looked at all the same."""
    if method not in KEYLESS_ON_LOOPBACK:
        return False
    if credentials_of(context.invocation_metadata()):
        return False
    # A peer is a family, a host and a port, percent-encoded.
    family, _, address = unquote(context.peer()).partition(":")
    return family in ("ipv4", "ipv6") and _is_loopback(address.rpartition(":")[0].strip("[]"))


def internal_fault() -> Fault:
    """INTERNAL for the exception that is being handled: the log gets its traceback, the caller a number to name it."""
    reference = secrets.token_hex(4)
    log.exception("internal fault %s", reference)
    return Fault(
        ErrorCode.INTERNAL, f"A fault of the server; its log says more under {reference}.", {"reference": reference}
    )


async def _abort(context: Any, fault: Fault) -> None:
    await context.abort(fault.code.status, fault.message, trailers(fault))


def check_size(message: bytes) -> None:
    """MESSAGE_TOO_LARGE above 16 MiB."""
    if len(message) > limits.MESSAGE_BYTES_MAX:
        raise Fault(
            ErrorCode.MESSAGE_TOO_LARGE,
            f"The message has {len(message)} bytes; at most {limits.MESSAGE_BYTES_MAX}: split it.",
            {"message_bytes_max": str(limits.MESSAGE_BYTES_MAX)},
        )


def _parsed(deserializer: Callable[[bytes], Any] | None, message: bytes) -> Any:
    check_size(message)
    if deserializer is None:
        return message
    try:
        return deserializer(message)
    except DecodeError:
        raise Fault(ErrorCode.MESSAGE_MALFORMED, "The bytes are not a Protobuf message of the method's type.") from None


async def _streamed(deserializer: Callable[[bytes], Any] | None, messages: AsyncIterator[bytes]) -> AsyncIterator[Any]:
    """Parsed messages; a method that takes raw ones looks after their size itself, so that its stream can go on."""
    async for message in messages:
        yield message if deserializer is None else _parsed(deserializer, message)
