"""Names of the BILLING channels that determinants are stored in.

    BILLING_<classifier>_<kind>[_POWER][_<demand>][_<timeslice group>][_<slice>][_MONTH]

The kind keeps a slice named TOTAL apart from the total; the group, which TIMESLICE has, the slices of one group from
those of another, UNCOVERED first of all; _POWER the maximum of mean power from that of energy; and _MONTH a month's
value from that of the whole period, which may end at the same instant. Ids may hold underscores: names are made, never
taken apart, and where two determinants of a request would have one name it is refused.
"""

from __future__ import annotations

from functools import lru_cache

from tallybook_engine.determinants.kinds import Kind

PREFIX = "BILLING"
MONTH_SUFFIX = "MONTH"
POWER = "POWER"


@lru_cache(maxsize=4_096)
def billing_channel(
    classifier: str,
    kind: Kind,
    *,
    slice_name: str | None = None,
    demand: str | None = None,
    timeslice_group: str | None = None,
    as_power: bool = False,
    is_month: bool = False,
) -> str:
    """The channel of a determinant: "BILLING_ACTIVE_TIMESLICE_TARIFF_T1_MONTH".

    Of DEMAND by slice the id of the demand request says which group it is.
    """
    parts = [PREFIX, classifier, kind.value]
    if as_power:
        parts.append(POWER)
    parts += [part for part in (demand, timeslice_group, slice_name) if part is not None]
    if is_month:
        parts.append(MONTH_SUFFIX)
    return "_".join(parts)
