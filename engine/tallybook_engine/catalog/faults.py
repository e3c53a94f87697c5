"""What is wrong with a catalogue: every fault at once, each with its path."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tallybook_engine.catalog.change import KINDS

_NUMBER = re.compile(r"([0-9]+)")


@dataclass(frozen=True)
class CatalogFault:
    """One thing that is wrong."""

    path: str
    """Field in the catalogue as it was put: `plans[1].graduated.tiers[0].up_to`. An object that was not put, but no
    longer holds together with what was, goes by its id: `products["landing"].meter`."""
    message: str
    """What was found and what is wanted, to be read after the path."""

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class Faults:
    """Gathers faults, one a path: what was found first at a field stands, its consequences are left out."""

    def __init__(self) -> None:
        self._by_path: dict[str, CatalogFault] = {}

    def add(self, path: str, message: str) -> None:
        """Notes a fault, unless the same field has one."""
        self._by_path.setdefault(path, CatalogFault(path, message))

    @property
    def is_empty(self) -> bool:
        """Whether nothing is wrong so far: then nothing needs to be looked up."""
        return not self._by_path

    def at(self, *paths: str) -> bool:
        """Whether any of the fields has a fault, so that nothing can be concluded from its value."""
        return any(path in self._by_path for path in paths)

    def ordered(self) -> tuple[CatalogFault, ...]:
        """All faults: in the order of KINDS, by index and field within a kind, removals last."""
        return tuple(sorted(self._by_path.values(), key=lambda fault: _place(fault.path)))


class CatalogInvalidError(ValueError):
    """A catalogue that does not hold together."""

    def __init__(self, faults: tuple[CatalogFault, ...]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = faults


def _place(path: str) -> tuple[int, list[tuple[int, str]]]:
    kind = re.split(r"[.\[]", path, maxsplit=1)[0]
    # Indices compare by value: plans[9] stands before plans[10].
    words = [(int(word), "") if word.isdigit() else (0, word) for word in _NUMBER.split(path)]
    return KINDS.index(kind) if kind in KINDS else len(KINDS), words
