"""Long work asks again and again whether anybody still waits for it.

Whoever starts it hands down one function, and every step that may look at millions of rows or thousands of objects
calls it: between stretches of rows, and between so many objects. What the function raises ends the work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import TypeAlias, TypeVar

GoOn: TypeAlias = Callable[[], None]
"""Raises where nobody waits for the work any more."""
ROWS_UNASKED_MAX = 1 << 20
"""Rows that a step looks at in one go."""
OBJECTS_UNASKED_MAX = 1 << 10
"""Objects that a step looks at in one go."""

Item = TypeVar("Item")


def unasked() -> None:
    """For work that nobody cancels."""


def stretches(count: int, go_on: GoOn, rows_max: int | None = None) -> Iterator[slice]:
    """The rows [0, count) in stretches of at most so many, left out ROWS_UNASKED_MAX; asks before each."""
    size = rows_max or ROWS_UNASKED_MAX
    for start in range(0, count, size):
        go_on()
        yield slice(start, min(start + size, count))


def asking(items: Iterable[Item], go_on: GoOn) -> Iterator[Item]:
    """The items; asks before the first and then now and again."""
    # Between two questions no code of ours runs for an item.
    return chain.from_iterable(_asked(iter(items), go_on))


def _asked(items: Iterator[Item], go_on: GoOn) -> Iterator[Iterable[Item]]:
    for first in items:
        go_on()
        yield (first,)
        yield islice(items, OBJECTS_UNASKED_MAX - 1)
