"""How much of what was read is not yet answered: the bound of the server's queues, in bytes of requests."""

from __future__ import annotations

import asyncio
from collections import deque


class UnansweredBytes:
    """A number of bytes that all calls share. For the event loop's thread."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_left = bytes_max
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def take(self, byte_count: int) -> bool:
        """Takes bytes if there are so many and nobody waits for them; answers whether."""
        if self._waiting or byte_count > self._bytes_left:
            return False
        self._bytes_left -= byte_count
        return True

    async def wait_for(self, byte_count: int) -> None:
        """Takes bytes once there are so many; those who wait are served in the order of their coming."""
        if self.take(byte_count):
            return
        served: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((byte_count, served))
        try:
            await served
        except asyncio.CancelledError:
            if served.done() and not served.cancelled():
                self.give_back(byte_count)
            raise

    def give_back(self, byte_count: int) -> None:
        """Returns bytes and serves those who wait."""
        self._bytes_left += byte_count
        while self._waiting and (self._waiting[0][1].done() or self._waiting[0][0] <= self._bytes_left):
            wanted, served = self._waiting.popleft()
            if not served.done():
                self._bytes_left -= wanted
                served.set_result(None)
