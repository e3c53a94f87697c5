"""NONE: usage is recorded and costs nothing (match NOT_BILLED)."""

from dataclasses import dataclass

from tallybook_engine.pricing.tiers import OPEN_END, TierRow


@dataclass(frozen=True, slots=True)
class NoPrice:
    """The plan bills nothing."""


def none_rows() -> list[TierRow]:
    """One open tier that costs nothing."""
    return [TierRow(OPEN_END, 0, 0, 0)]
