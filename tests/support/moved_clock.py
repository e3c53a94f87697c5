"""A clock that a test moves."""

from __future__ import annotations

from datetime import datetime


class MovedClock:
    """A book's clock; it stands still until it is moved."""

    def __init__(self, start: datetime) -> None:
        self.now_us = int(start.timestamp()) * 1_000_000

    def __call__(self) -> int:
        return self.now_us

    def move(self, seconds: float) -> None:
        """Moves it on by so many seconds."""
        self.now_us += int(seconds * 1_000_000)
