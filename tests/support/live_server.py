"""A real server inside the test's own process, on a free loopback port."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tallybook_server.app import App
from tallybook_server.settings import Settings

SETTINGS = Settings(address="127.0.0.1:0", stop_grace_seconds=1.0)


@contextmanager
def live_server(settings: Settings = SETTINGS, **app: Any) -> Iterator[str]:
    """Serve from a thread until the block ends; yields host:port. By itself it keeps its books in memory. `app` are
    further arguments of `App`.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = App(settings, **app)
    try:
        asyncio.run_coroutine_threadsafe(server.start(), loop).result()
        try:
            yield f"127.0.0.1:{server.port}"
        finally:
            asyncio.run_coroutine_threadsafe(server.stop(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
