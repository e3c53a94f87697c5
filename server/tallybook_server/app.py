"""The server: books, services, and their life from the first look at the disk to the last answer."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType
from typing import Self

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from tallybook.v1 import catalog_pb2_grpc, simulate_pb2_grpc
from tallybook_server import limits
from tallybook_server.book import Books
from tallybook_server.interceptors import DEFAULT_BOOK, Access, CallInterceptor, book_of_call, check_address
from tallybook_server.journal.interface import JournalError
from tallybook_server.keys import ApiKeys, KeysError
from tallybook_server.memory import keep_freed_memory
from tallybook_server.sandboxes import Sandboxes
from tallybook_server.services import determinants, ingest
from tallybook_server.services.catalog import CatalogService
from tallybook_server.services.determinants import DeterminantsService
from tallybook_server.services.ingest import IngestService
from tallybook_server.services.simulate import SimulateService
from tallybook_server.settings import Settings
from tallybook_server.warm_up import warm_up

SERVICES = (ingest.SERVICE, determinants.SERVICE, "tallybook.v1.CatalogService", "tallybook.v1.SimulateService")

KEEPALIVE_MS = 30_000
"""A silent connection is asked for a sign of life after this time, and given up when none comes in as long."""
CLIENT_PING_MS_MIN = 10_000
"""Clients may ask as often as this."""

THREAD_SWITCH_SECONDS = 0.000_5
"""How long a thread of Python may keep the others waiting: a call passes through four, one after the other."""

log = logging.getLogger(__name__)


def _now_us() -> int:
    return time.time_ns() // 1_000


class StartError(Exception):
    """The server cannot start; the message says why and how to mend it."""


class App:
    """A running server. An asynchronous context manager: leaving it stops the server in good order."""

    def __init__(self, settings: Settings, now_us: Callable[[], int] = _now_us) -> None:
        """`now_us` tells keys and sandboxes the time, in microseconds since 1970 UTC."""
        self._settings = settings
        self._now_us = now_us
        self._sandboxes = Sandboxes(now_us)
        self._executor = ThreadPoolExecutor(settings.decode_thread_count, thread_name_prefix="tallybook-codec")
        self._keys: ApiKeys | None = None
        self._books: Books | None = None
        self._health = health.aio.HealthServicer()
        self._server: grpc.aio.Server | None = None
        self.port = 0
        """The port that it listens on, once it is started."""

    async def start(self) -> None:
        """Compiles kernels, opens keys and the default book, listens, and says SERVING. Raises StartError."""
        settings = self._settings
        begun = time.monotonic()
        try:
            access = self._open_keys()
            check_address(settings.address, access.required())
            await asyncio.get_running_loop().run_in_executor(self._executor, warm_up)
            self._books = Books(settings.data_directory, self._executor)
            if not access.required():
                await self._books.open(DEFAULT_BOOK)
        except (OSError, ValueError, KeysError, JournalError) as error:
            raise StartError(str(error)) from error
        log.info("ready after %.1f s", time.monotonic() - begun)
        self._server = self._make_server(CallInterceptor(access, self._books, self._sandboxes))
        self.port = self._listen(self._server)
        await self._server.start()
        for service in ("", *SERVICES):
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        log.info("listening on %s, port %d", settings.address, self.port)

    def _open_keys(self) -> Access:
        settings = self._settings
        if settings.data_directory is not None and settings.keys_path is not None:
            settings.data_directory.mkdir(parents=True, exist_ok=True)
            self._keys = ApiKeys(settings.keys_path, self._now_us)
        return Access(self._keys)

    def _make_server(self, interceptor: CallInterceptor) -> grpc.aio.Server:
        server = grpc.aio.server(
            interceptors=[interceptor],
            options=[
                ("grpc.max_receive_message_length", limits.TRANSPORT_MESSAGE_BYTES_MAX),
                ("grpc.max_send_message_length", -1),
                ("grpc.keepalive_time_ms", KEEPALIVE_MS),
                ("grpc.keepalive_timeout_ms", KEEPALIVE_MS),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_ping_interval_without_data_ms", CLIENT_PING_MS_MIN),
                # Two servers on one port would each answer half the calls from a book of their own.
                ("grpc.so_reuseport", 0),
            ],
        )
        ingest.add_to_server(IngestService(book_of_call, self._executor), server)
        determinants.add_to_server(DeterminantsService(book_of_call, self._executor, self._now_us), server)
        catalog_pb2_grpc.add_CatalogServiceServicer_to_server(CatalogService(book_of_call, self._now_us), server)
        simulate = SimulateService(book_of_call, self._executor, self._sandboxes, self._now_us)
        simulate_pb2_grpc.add_SimulateServiceServicer_to_server(simulate, server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        reflection.enable_server_reflection((*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
        return server

    def _listen(self, server: grpc.aio.Server) -> int:
        settings = self._settings
        if (settings.certificate_path is None) != (settings.private_key_path is None):
            raise StartError("A certificate needs its private key, and the key its certificate: give both or none.")
        try:
            if settings.certificate_path is None or settings.private_key_path is None:
                return server.add_insecure_port(settings.address)
            pair = (settings.private_key_path.read_bytes(), settings.certificate_path.read_bytes())
            return server.add_secure_port(settings.address, grpc.ssl_server_credentials([pair]))
        except OSError as error:
            raise StartError(f"{error.filename}: {error.strerror}") from None
        except RuntimeError:
            raise StartError(
                f"{settings.address} is no address to listen on, or another process listens there"
            ) from None

    async def stop(self) -> None:
        """Takes no more calls, lets those in flight end, finishes what they stored, and closes the journals."""
        await self._health.enter_graceful_shutdown()
        if self._server is not None:
            await self._server.stop(self._settings.stop_grace_seconds)
        await self._sandboxes.close()
        if self._books is not None:
            await self._books.close()
        if self._keys is not None:
            self._keys.close()
        self._executor.shutdown()
        log.info("stopped")

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()


def serve(settings: Settings, started: Callable[[int], None] = lambda _port: None) -> None:
    """Serves until SIGTERM or SIGINT; `started` is told the port. Raises StartError."""
    sys.setswitchinterval(THREAD_SWITCH_SECONDS)
    keep_freed_memory()
    asyncio.run(_serve(settings, started))


async def _serve(settings: Settings, started: Callable[[int], None]) -> None:
    told_to_stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    async with App(settings) as app:
        for number in (signal.SIGTERM, signal.SIGINT):
            with suppress(NotImplementedError):
                loop.add_signal_handler(number, told_to_stop.set)
        # The compiled kernels are hundreds of thousands of objects that stay: no collection looks at them again.
        gc.collect()
        gc.freeze()
        started(app.port)
        await told_to_stop.wait()
