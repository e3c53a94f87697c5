"""What a change of the catalogue would do to charge lines that are open."""

from __future__ import annotations

from dataclasses import dataclass

from tallybook_engine.catalog.diff import ObjectDifference


@dataclass(frozen=True)
class AffectedLine:
    """An open charge line whose definition a change touches. It keeps its version until it is reprocessed."""

    line_number: int
    customer_id: str
    contract_path: tuple[str, ...]
    """Ids from the root contract down to the product contract."""
    cell_id: str
    """Id of the matrix rule; empty where the plan has no matrix."""
    start_us: int
    """Start of the billing period, microseconds since the epoch."""
    end_us: int
    """First instant after it."""
    currency: str
    amount_minor: int
    """The line now, without tax, in minor units of the currency."""
    reprocess_amount_minor: int | None
    """What a reprocess would post, without tax, in minor units; None where the amount would not fit."""


@dataclass(frozen=True)
class ApplyOutcome:
    """What a change came to, or would."""

    version: int
    """The version that holds the change; the current one where nothing differs."""
    differences: tuple[ObjectDifference, ...]
    affected_lines: tuple[AffectedLine, ...]
    """The first ones by line number, at most as many as an answer shows."""
    affected_line_count: int
    """How many are affected in all."""
