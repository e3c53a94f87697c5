"""Tax of a charge line: a rate of the rounded line, rounded half away from zero to the currency's smallest unit.

Exclusive: the line is without tax, tax = line x rate. Inclusive: the line contains it, tax = line x rate / (1 + rate).
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.catalog.model import Tax, TaxMode
from tallybook_engine.decimals import UNIT, DoesNotFit
from tallybook_engine.kernels import kernel
from tallybook_engine.kernels.wide import ZERO, add128, divide192, divisor_array, umul64

Words = NDArray[np.uint64]

NO_TAX = -1
"""Index that means no tax."""
RATE_MAX = 1000 * UNIT
"""The largest rate, 1000 (100,000 %), scale 12."""

_MINOR_LIMIT = np.uint64(2**63)


def tax_fraction(rate: int, mode: TaxMode) -> tuple[int, int]:
    """(numerator, denominator) of the tax in a line's amount, for a rate of scale 12."""
    return rate, UNIT + (rate if mode is TaxMode.INCLUSIVE else 0)


class TaxTables(NamedTuple):
    """n tax rates as a kernel reads them."""

    numerator: Words
    """[n]"""
    half: Words
    """[n] half the denominator, cut."""
    denominator: Words
    """[n, 6] a `Divisor`."""


@dataclass
class TaxPool:
    """Tax rates by index, append-only: an index, once given, means the same rate and mode for ever."""

    _indexes: dict[tuple[int, TaxMode], int] = field(default_factory=dict)
    _tables: TaxTables | None = None

    def add(self, tax: Tax | None) -> int:
        """The index of a tax's rate and mode, `NO_TAX` for none. ValueError if the rate is outside 0 .. 1000."""
        if tax is None:
            return NO_TAX
        if not 0 <= tax.rate <= RATE_MAX:
            raise ValueError("a tax rate is from 0 to 1000")
        if (tax.rate, tax.mode) not in self._indexes:
            self._indexes[tax.rate, tax.mode] = len(self._indexes)
            self._tables = None
        return self._indexes[tax.rate, tax.mode]

    def copy(self) -> "TaxPool":
        """A pool with the same rates, which grows by itself from here on."""
        return TaxPool(self._indexes.copy(), self._tables)

    @property
    def tables(self) -> TaxTables:
        """The arrays of all rates so far; made anew when the pool has grown."""
        if self._tables is None:
            fractions = [tax_fraction(rate, mode) for rate, mode in self._indexes]
            self._tables = TaxTables(
                numerator=np.array([numerator for numerator, _ in fractions], dtype=np.uint64),
                half=np.array([denominator // 2 for _, denominator in fractions], dtype=np.uint64),
                denominator=divisor_array([denominator for _, denominator in fractions]),
            )
        return self._tables


@kernel
def tax_of(taxes: TaxTables, tax_index: int, amount_minor: int | np.int64) -> tuple[bool, np.int64]:
    """(fits, tax in minor units, int64) of a line's rounded amount; no tax for the index -1.

    It fits where the tax's magnitude is below 2^63. The tax of -amount is -tax.
    """
    if tax_index < 0:
        return True, np.int64(0)
    negative = amount_minor < 0
    magnitude = np.uint64(-amount_minor if negative else amount_minor)
    lo, mid = umul64(magnitude, taxes.numerator[tax_index])
    lo, mid = add128(lo, mid, taxes.half[tax_index], ZERO)
    lo, mid, hi, _, _, _ = divide192(
        lo,
        mid,
        ZERO,
        taxes.denominator[tax_index, 0],
        taxes.denominator[tax_index, 1],
        taxes.denominator[tax_index, 2],
        taxes.denominator[tax_index, 3],
        taxes.denominator[tax_index, 4],
        taxes.denominator[tax_index, 5],
    )
    if (mid | hi) != ZERO or lo >= _MINOR_LIMIT:
        return False, np.int64(0)
    tax = np.int64(lo)
    return True, -tax if negative else tax


def tax_amount(rate: int, mode: TaxMode, amount_minor: int) -> int:
    """The same on Python integers, for a rate of scale 12. DoesNotFit from 2^63 on."""
    numerator, denominator = tax_fraction(rate, mode)
    tax = (abs(amount_minor) * numerator + denominator // 2) // denominator
    if tax >= int(_MINOR_LIMIT):
        raise DoesNotFit("the tax is not below 2^63 minor units")
    return tax if amount_minor >= 0 else -tax
