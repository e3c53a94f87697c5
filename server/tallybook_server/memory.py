"""Freed memory stays with the process, for the next batch.

Every batch takes and frees the same tens of megabytes. The C library and Arrow give large blocks back to the system,
which clears every page before it hands it out again: that was a third of the server's processor time under a stream
(benchmarks/streaming.py). The price is that a server keeps the memory that its busiest moment needed.
"""

from __future__ import annotations

import ctypes

import pyarrow as pa

# Options of glibc's mallopt (malloc.h).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -2, -3, -8
_MMAP_THRESHOLD_BYTES_MAX = 32 << 20
"""Larger blocks come from the system whatever is asked; glibc refuses a higher threshold."""
_TOP_PAD_BYTES = 64 << 20
_NEVER = (1 << 31) - 1


def keep_freed_memory() -> None:
    """Makes this process keep what it frees. Elsewhere than on glibc only Arrow's part of it is done."""
    pa.set_memory_pool(pa.system_memory_pool())
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    # One arena: what one thread frees serves every other, and a batch passes through five.
    for option, value in (
        (_ARENA_MAX, 1),
        (_MMAP_THRESHOLD, _MMAP_THRESHOLD_BYTES_MAX),
        (_TRIM_THRESHOLD, _NEVER),
        (_TOP_PAD, _TOP_PAD_BYTES),
    ):
        mallopt(option, value)
