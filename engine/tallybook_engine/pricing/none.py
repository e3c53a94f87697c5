"""NONE: usage is recorded and costs nothing (match NOT_BILLED)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NoPrice:
    """The plan bills nothing."""
