"""Usage rows as columns, and what is wrong with them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FAULTS_MAX = 1_000
"""Faults of one simulation, or of one scenario, that are named; the others are counted."""


@dataclass(frozen=True, slots=True)
class UsageProperty:
    """A property that rows may carry."""

    name: str
    codes: NDArray[np.int32]
    """[n] index into `texts`; -1 where the row has none."""
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UsageFrame:
    """n rows, each one event: a quantity of a product under a product contract, already in the product's unit."""

    contracts: tuple[str, ...]
    """Ids of product contracts."""
    contract_codes: NDArray[np.int32]
    products: tuple[str, ...]
    product_codes: NDArray[np.int32]
    days: NDArray[np.int32]
    """[n] local date, days since 1970-01-01."""
    times_us: NDArray[np.int64]
    """[n] instant in place of the local midnight of the date, where `time_given`."""
    time_given: NDArray[np.bool_]
    quantities: NDArray[np.uint64]
    """[n, 2] scale 12."""
    properties: tuple[UsageProperty, ...] = ()

    @property
    def row_count(self) -> int:
        """n"""
        return len(self.contract_codes)


@dataclass(frozen=True, slots=True)
class UsageFault:
    """One thing that is wrong with the usage under a catalogue."""

    field: str
    """Column of the usage, or field of the request."""
    message: str
    """What was found, where, and how to mend it; to be read after the field."""

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


class UsageFaultsError(ValueError):
    """Usage that does not fit a catalogue: every fault at once."""

    def __init__(self, faults: list[UsageFault]) -> None:
        super().__init__("\n".join(map(str, faults[:FAULTS_MAX])))
        self.faults = tuple(faults[:FAULTS_MAX])
        self.fault_count = len(faults)


class SimulationTooLargeError(ValueError):
    """More periods than a simulation may have."""
