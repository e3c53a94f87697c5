"""Events as columns: what the codec hands to the ledger, one instance a message."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Names:
    """A dictionary-coded column of names."""

    codes: NDArray[np.int32]
    """[n] index into `names`; -1 where the row has none."""
    names: pa.StringArray
    """[k] the distinct names, without nulls."""
    is_id: NDArray[np.bool_]
    """[k] whether the name is an id; otherwise it is a reference."""


@dataclass(frozen=True, slots=True)
class ValueColumn:
    """One measured value over all rows."""

    name: str
    numbers: NDArray[np.uint64]
    """[n, 2] (low, high) limbs at scale 12, two's complement; 0 where absent."""
    present: NDArray[np.bool_]
    """[n] whether the row has the value: absent is not 0."""


@dataclass(frozen=True, slots=True)
class PropertyColumn:
    """One property over all rows."""

    name: str
    codes: NDArray[np.int32]
    """[n] index into `values`; -1 where absent."""
    values: pa.StringArray
    """[k] the distinct values."""


@dataclass(frozen=True, slots=True)
class EventColumns:
    """n events. Rows whose `faults` is not 0 are INVALID and their other columns mean nothing."""

    row_count: int
    customers: Names
    meters: Names
    contracts: Names
    """The product contract that an event pins, by id; codes are -1 where it pins none."""
    references: pa.StringArray
    """[n] without nulls."""
    times_us: NDArray[np.int64]
    """[n] microseconds since the epoch, UTC; 0 where not given."""
    time_given: NDArray[np.bool_]
    """[n] whether the event carries a time; otherwise it is rated at its receipt."""
    values: tuple[ValueColumn, ...]
    properties: tuple[PropertyColumn, ...]
    faults: NDArray[np.uint8]
    """[n] RowFault of each row; 0 where it is fine."""
    fault_fields: Mapping[int, tuple[str, str]]
    """Row -> (field that is at fault, the text found there)."""
    may_be_determinants: bool = False
    """Whether a book made them of stored determinants, or has stored them before: nothing else may be an event of a
    BILLING channel."""
