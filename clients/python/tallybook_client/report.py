"""What became of many batches, added up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import polars as pl

from tallybook_client.costs import Costs
from tallybook_client.results import Match
from tallybook_client.stream import BatchAnswer, ExceptionalRow

REFUSED_ROWS_KEPT_MAX = 1_000
"""Refused rows that a report keeps; all are counted."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an ingest is."""

    row_count: int
    """Rows answered, so durable."""
    stored_count: int
    duplicate_count: int


@dataclass(slots=True)
class IngestReport:
    """Counts of everything that was ingested. Rows are counted from 0 over all batches together."""

    row_count: int = 0
    stored_count: int = 0
    duplicate_count: int = 0
    conflict_count: int = 0
    unpriced_count: int = 0
    invalid_count: int = 0
    matched_count: int = 0
    sequence: int = 0
    """The last committed sequence that holds some of it; 0 where nothing was stored."""
    refused_rows: list[ExceptionalRow] = field(default_factory=list)
    """The first REFUSED_ROWS_KEPT_MAX rows with a fault, ascending by row."""
    unmatched_counts: Counter[Match] = field(default_factory=Counter)
    """Rows that were stored but match no charge, by what they match: NO_CUSTOMER, OUTSIDE_CONTRACT, ..."""
    cost_parts: list[tuple[int, Costs]] = field(default_factory=list)
    """(first row, costs) of each batch, where costs were asked for."""

    @property
    def refused_count(self) -> int:
        """Rows that are in no total: INVALID, CONFLICT and UNPRICED."""
        return self.invalid_count + self.conflict_count + self.unpriced_count

    @property
    def costs(self) -> Costs:
        """All costs, with rows counted over all batches; empty where they were not asked for."""
        return Costs.concatenate(self.cost_parts)

    def costs_frame(self) -> pl.DataFrame:
        """Columns row, currency, amount_excluding_tax, tax_amount: one entry a (row, currency) that was priced."""
        return self.costs.frame()

    def add(self, answer: BatchAnswer) -> Progress:
        """Count the next batch, which comes in the order of the rows."""
        for row in answer.exceptional_rows():
            if row.fault is None:
                self.unmatched_counts[row.match] += 1
            elif len(self.refused_rows) < REFUSED_ROWS_KEPT_MAX:
                self.refused_rows.append(ExceptionalRow(self.row_count + row.row, row.status, row.match, row.fault))
        if answer.costs is not None:
            self.cost_parts.append((self.row_count, answer.costs))
        self.row_count += answer.row_count
        self.stored_count += answer.stored_count
        self.duplicate_count += answer.duplicate_count
        self.conflict_count += answer.conflict_count
        self.unpriced_count += answer.unpriced_count
        self.invalid_count += answer.invalid_count
        self.matched_count += answer.matched_count
        self.sequence = max(self.sequence, answer.sequence)
        return Progress(self.row_count, self.stored_count, self.duplicate_count)


OnProgress = Callable[[Progress], None]
"""Told after every batch."""
