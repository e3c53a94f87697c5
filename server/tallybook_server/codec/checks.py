"""What rows and Arrow have in common: the limits of a message, and the seed of its tables."""

from __future__ import annotations

import secrets

from tallybook_server import limits
from tallybook_server.errors import ErrorCode, Fault

_SEED = secrets.randbits(64)


def message_seed() -> int:
    """Of the tables that make names distinct: drawn by the process, so that nobody can choose names that collide."""
    return _SEED


def check_event_count(event_count: int, event_count_max: int) -> None:
    """TOO_MANY_EVENTS above the limit."""
    if event_count > event_count_max:
        raise Fault(
            ErrorCode.TOO_MANY_EVENTS,
            f"{event_count} events in one message; at most {event_count_max}.",
            {"event_count_max": str(event_count_max)},
        )


def check_names(name_count: int, event_count: int) -> None:
    """TOO_MANY_NAMES where the columns of so many names over so many events would be too large."""
    if name_count * event_count > limits.CELLS_IN_MESSAGE_MAX:
        raise Fault(
            ErrorCode.TOO_MANY_NAMES,
            f"{name_count} distinct names over {event_count} events; one times the other may be "
            f"{limits.CELLS_IN_MESSAGE_MAX} in a message, for values and for properties: split it by meter.",
            {"cells_max": str(limits.CELLS_IN_MESSAGE_MAX)},
        )
