"""Usage rows as columns, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.asking import GoOn, stretches, unasked

Value = TypeVar("Value", bound=np.generic)

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
class UsageFault:
    """One thing that is wrong with the usage, in itself or under a catalogue."""

    field: str
    """Column of the usage, or field of the request."""
    message: str
    """What was found, where, and how to mend it; to be read after the field."""

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


@dataclass(frozen=True, slots=True)
class Flaws:
    """What is wrong with n rows whatever the catalogue: they are refused, together with what does not fit it.

    A number that cannot be read is 0, which fits everywhere.
    """

    faults: tuple[UsageFault, ...]
    """At most FAULTS_MAX."""
    fault_count: int
    """Of those that are not named, too."""
    is_undated: NDArray[np.bool_]
    """[n] rows whose date and time cannot be read."""


@dataclass(frozen=True, slots=True)
class UsageFrame:
    """n rows, each one event unless it says how many: a quantity of a product under a product contract, already in the
    product's unit.
    """

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
    event_counts: NDArray[np.int64] | None = None
    """[n] how many events a row stands for; 0 where it does not say. None: no row does."""
    numbers: NDArray[np.int64] | None = None
    """[n] the number of each row as it came, from 0; None: all are there."""
    flaws: Flaws | None = None

    @property
    def row_count(self) -> int:
        """n"""
        return len(self.contract_codes)

    @property
    def byte_count(self) -> int:
        """Bytes of the columns."""
        columns = (self.contract_codes, self.product_codes, self.days, self.times_us, self.time_given, self.quantities)
        counts = 0 if self.event_counts is None else self.event_counts.nbytes
        return sum(each.nbytes for each in columns) + counts + sum(each.codes.nbytes for each in self.properties)

    def number_of(self, row: int) -> int:
        """The number of a row as it came."""
        return row if self.numbers is None else int(self.numbers[row])

    def taken(self, rows: NDArray[np.int64]) -> UsageFrame:
        """Some of the rows."""
        return replace(
            self,
            contract_codes=self.contract_codes[rows],
            product_codes=self.product_codes[rows],
            days=self.days[rows],
            times_us=self.times_us[rows],
            time_given=self.time_given[rows],
            quantities=self.quantities[rows],
            properties=tuple(replace(each, codes=each.codes[rows]) for each in self.properties),
            event_counts=None if self.event_counts is None else self.event_counts[rows],
            numbers=rows if self.numbers is None else self.numbers[rows],
            flaws=None if self.flaws is None else replace(self.flaws, is_undated=self.flaws.is_undated[rows]),
        )


def joined(frames: Sequence[UsageFrame], go_on: GoOn = unasked) -> UsageFrame:
    """The rows of all frames, which have no flaws, one after the other; a property, or a count of events, that a frame
    does not have, none of its rows has.
    """
    contracts = _recoded([(each.contracts, each.contract_codes) for each in frames], go_on)
    products = _recoded([(each.products, each.product_codes) for each in frames], go_on)
    properties = []
    for name in dict.fromkeys(each.name for frame in frames for each in frame.properties):
        parts = []
        for frame in frames:
            found = next((each for each in frame.properties if each.name == name), None)
            nothing = np.full(frame.row_count, -1, dtype=np.int32)
            parts.append(((), nothing) if found is None else (found.texts, found.codes))
        texts, codes = _recoded(parts, go_on)
        properties.append(UsageProperty(name, codes, texts))
    counts = [each.event_counts for each in frames]
    counted = [
        np.zeros(frame.row_count, dtype=np.int64) if own is None else own
        for frame, own in zip(frames, counts, strict=True)
    ]
    return UsageFrame(
        *contracts,
        *products,
        concatenated([each.days for each in frames], go_on),
        concatenated([each.times_us for each in frames], go_on),
        concatenated([each.time_given for each in frames], go_on),
        concatenated([each.quantities for each in frames], go_on),
        tuple(properties),
        None if all(each is None for each in counts) else concatenated(counted, go_on),
    )


def concatenated(columns: Sequence[NDArray[Value]], go_on: GoOn) -> NDArray[Value]:
    """Columns, at least one, one after the other; asks before each stretch of them."""
    found = np.empty((sum(map(len, columns)), *columns[0].shape[1:]), dtype=columns[0].dtype)
    start = 0
    for column in columns:
        for rows in stretches(len(column), go_on):
            found[start + rows.start : start + rows.stop] = column[rows]
        start += len(column)
    return found


def gathered(column: NDArray[Value], rows: NDArray[Any], go_on: GoOn) -> NDArray[Value]:
    """The values at n rows of a column; asks before each stretch of them."""
    found = np.empty((len(rows), *column.shape[1:]), dtype=column.dtype)
    for part in stretches(len(rows), go_on):
        # Not by an index, which gathers rows of two one by one.
        np.take(column, rows[part], axis=0, out=found[part], mode="wrap")
    return found


def _recoded(
    parts: Sequence[tuple[Sequence[str], NDArray[np.int32]]], go_on: GoOn
) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    """Columns of codes, each of its own texts, as one; -1 stays."""
    known: dict[str, int] = {}
    columns = []
    for texts, codes in parts:
        # The last one is what -1 reads.
        table = np.array([*(known.setdefault(text, len(known)) for text in texts), -1], dtype=np.int32)
        columns.append(gathered(table, codes, go_on))
    return tuple(known), concatenated(columns, go_on)


class UsageFaultsError(ValueError):
    """Usage that does not fit a catalogue: every fault at once."""

    def __init__(self, faults: Sequence[UsageFault], unnamed_count: int = 0) -> None:
        """`unnamed_count` faults more were found than are given."""
        super().__init__("\n".join(map(str, faults[:FAULTS_MAX])))
        self.faults = tuple(faults[:FAULTS_MAX])
        self.fault_count = len(faults) + unnamed_count


class SimulationTooLargeError(ValueError):
    """More periods than a simulation may have."""
