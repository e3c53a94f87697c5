"""Names of the BILLING channels that determinants are stored in.

    BILLING_<classifier>_<kind>[_<slice or demand>[_<slice>]][_MONTH]

The kind keeps a slice named TOTAL apart from the total, and _MONTH a month's value apart from that of the whole period,
which may end at the same instant. Ids may hold underscores: names are made, never taken apart.
"""

from __future__ import annotations

from functools import lru_cache

from tallybook_engine.determinants.kinds import Kind

PREFIX = "BILLING"
MONTH_SUFFIX = "MONTH"


@lru_cache(maxsize=4_096)
def billing_channel(
    classifier: str, kind: Kind, *, slice_name: str | None = None, demand: str | None = None, is_month: bool = False
) -> str:
    """The channel of a determinant: "BILLING_ACTIVE_TIMESLICE_T1_MONTH"."""
    parts = [PREFIX, classifier, kind.value]
    parts += [part for part in (demand, slice_name) if part is not None]
    if is_month:
        parts.append(MONTH_SUFFIX)
    return "_".join(parts)
