"""Quality statuses: an ordered, configurable table, from the best to the worst.

A status's place in the table is its code in columns of readings, so the worst of many is their largest code. Energyworx
names measured and estimated as billable; the other words and the order are DESIGN section 6's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.determinants.configuration import Found, refuse, repeated

MAX_STATUSES = 256
"""Statuses of one table: a code is a byte."""


@dataclass(frozen=True)
class QualityStatus:
    """What is said of a reading's worth."""

    name: str
    is_billable: bool = False
    """Whether a reading of this status may be billed; one that may not cancels the request."""
    has_value: bool = True
    """Whether the value beside it counts; where not, the reading has a status and its value is ignored."""


@dataclass(frozen=True)
class QualityTable:
    """Statuses from the best to the worst."""

    statuses: tuple[QualityStatus, ...]
    id: str = ""
    """Empty: the default table, or one that no catalogue keeps."""

    def __post_init__(self) -> None:
        refuse(self.id or "quality table", self._faults())

    def _faults(self) -> Found:
        if not 0 < len(self.statuses) <= MAX_STATUSES:
            yield "statuses", f"a quality table has 1 to {MAX_STATUSES} statuses, not {len(self.statuses)}"
        yield from repeated("statuses", (each.name for each in self.statuses), ".name")

    def code(self, name: str) -> int:
        """Place of a status, 0 the best. KeyError if the table does not have it."""
        return self.codes[name]

    @cached_property
    def codes(self) -> Mapping[str, int]:
        """Place of each status by its name."""
        return {status.name: code for code, status in enumerate(self.statuses)}

    def translation(self, names: Sequence[str]) -> NDArray[np.uint8]:
        """Codes of a list of statuses, uint8[len(names)]: index it with a message's own codes.

        KeyError for a status that the table does not have.
        """
        return np.array([self.code(name) for name in names], dtype=np.uint8)

    def has_value(self) -> NDArray[np.bool_]:
        """bool[k] whether readings of each code have a value."""
        return np.array([status.has_value for status in self.statuses], dtype=np.bool_)

    def worst(self, row_count: NDArray[np.int64]) -> str | None:
        """The worst status that has rows, of int64[k] rows of each; None where no row is."""
        found = np.flatnonzero(row_count)
        return self.statuses[int(found[-1])].name if len(found) else None


DEFAULT_QUALITY = QualityTable(
    (
        QualityStatus("measured", is_billable=True),
        QualityStatus("calculated"),
        QualityStatus("edited"),
        QualityStatus("estimated", is_billable=True),
        QualityStatus("substituted"),
        QualityStatus("questionable"),
        QualityStatus("missing", has_value=False),
    )
)
"""The table of a book that configures none."""
