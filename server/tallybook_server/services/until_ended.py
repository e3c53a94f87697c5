"""What stops the work of a call on other threads once the call has ended: answered, failed or cancelled."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tallybook_engine.asking import GoOn


class Ended(Exception):
    """Nobody waits for the work any more."""


@contextmanager
def until_ended() -> Iterator[GoOn]:
    """What a call's work asks: it raises once the call has ended, for nothing else stops work on threads."""
    ended = threading.Event()

    def go_on() -> None:
        if ended.is_set():
            raise Ended

    try:
        yield go_on
    finally:
        ended.set()
