"""Units of energy and power, spelled in one way, and converted by powers of ten.

Source of the names: AEMO, "Meter Data File Format Specification NEM12 & NEM13", appendix B, which reads them
without regard to case; IEC 80000-6 for their spelling (var, not VAr).
"""

from __future__ import annotations

_PREFIXES = {"": 0, "k": 3, "M": 6, "G": 9}
_BASES = ("Wh", "varh", "VAh", "W", "var", "VA", "V", "A")
_PARTS = {
    (prefix + base).lower(): (prefix, base)
    # Milli is used by none of the formats, so upper and lower case of a prefix mean the same.
    for base in _BASES
    for prefix in _PREFIXES
}
_OTHERS = {"pf": "pf"}
"""Of the specification's units those that have no prefix: a power factor."""


def spelled(unit: str) -> str:
    """A unit as we write it: "KWH" is "kWh", "KVARH" is "kvarh"; one that is not known here stays as it is."""
    found = _PARTS.get(unit.strip().lower())
    return "".join(found) if found else _OTHERS.get(unit.strip().lower(), unit.strip())


def shift(unit: str, wanted: str) -> int | None:
    """n of "1 unit is 10^n wanted"; None if they do not measure the same."""
    here, there = spelled(unit), spelled(wanted)
    if here == there:
        return 0
    from_parts, to_parts = _PARTS.get(here.lower()), _PARTS.get(there.lower())
    if from_parts is None or to_parts is None or from_parts[1] != to_parts[1]:
        return None
    return _PREFIXES[from_parts[0]] - _PREFIXES[to_parts[0]]
