"""Outcomes of the ledger, made by hand."""

from __future__ import annotations

import numpy as np

from tallybook_engine.decimals import AMOUNT_SCALE, QUANTITY_SCALE
from tallybook_engine.ledger.faults import RowFault
from tallybook_engine.ledger.outcomes import Cause, Explained, Match, Postings, StageOutcome, Status
from tallybook_engine.pricing.line import LineKind, PriceLine

APRIL_2023_US, MAY_2023_US = 1_680_300_000_000_000, 1_682_892_000_000_000
"""Begin and end of April 2023 in Amsterdam."""

CENTS_7 = Explained(
    customer_id="cust_ywDeeN0teYVm9GAGeN1j",
    currency="EUR",
    minor_digits=2,
    country_code="NL",
    tax_inclusive=False,
    contract_path=("parent", "sub", "product contract"),
    plan_id="card_plan",
    product_id="cards",
    cell_id="",
    catalog_version=1,
    line_number=1,
    period_start_us=APRIL_2023_US,
    period_end_us=MAY_2023_US,
    cause=Cause.EVENT,
    amount=7,
    tax=1,
    exact_amount=7 * 10 ** (AMOUNT_SCALE - 2),
    quantity_before=0,
    quantity_after=10**QUANTITY_SCALE,
    lines=(
        PriceLine(
            LineKind.TIER, 1, 10**QUANTITY_SCALE, 7 * 10 ** (QUANTITY_SCALE - 2), 0, 7 * 10 ** (AMOUNT_SCALE - 2)
        ),
    ),
    included_quantity_left=None,
    next_tier_from=None,
)
"""The posting of one card at EUR 0.07, with the Dutch 21 %."""

NO_POSTINGS = Postings(
    part=np.empty(0, dtype=np.int32),
    amount=np.empty(0, dtype=np.int64),
    exact=np.empty((0, 3), dtype=np.uint64),
    tax=np.empty(0, dtype=np.int64),
    quantity_before=np.empty((0, 2), dtype=np.uint64),
    quantity_after=np.empty((0, 2), dtype=np.uint64),
    carried=np.empty(0, dtype=np.bool_),
)


def outcome_of(
    *rows: tuple[Status, Match, RowFault], fault_fields: dict[int, tuple[str, str]] | None = None
) -> StageOutcome:
    """An outcome without postings; event ids count from 1."""
    count = len(rows)
    return StageOutcome(
        status=np.array([status for status, _, _ in rows], dtype=np.uint8),
        match=np.array([match for _, match, _ in rows], dtype=np.uint8),
        faults=np.array([fault for _, _, fault in rows], dtype=np.uint8),
        fault_fields=fault_fields or {},
        event_ids=np.arange(1, count + 1, dtype=np.uint64),
        generations=np.ones(count, dtype=np.int32),
        posting_starts=np.zeros(count + 1, dtype=np.int64),
        postings=NO_POSTINGS,
    )
