"""Rounding and tax as tables. Exact amounts are decimals as text, rounded ones in minor units; None does not fit."""

from tallybook_engine.catalog.model import TaxMode
from tallybook_engine.decimals import Rounding

AWAY, EVEN = Rounding.HALF_AWAY_FROM_ZERO, Rounding.HALF_EVEN

ROUNDINGS = (
    # exact amount, minor digits, rounding, minor units
    ("0", 2, AWAY, 0),
    ("0.004999999999999999999999", 2, AWAY, 0),
    ("0.005", 2, AWAY, 1),
    ("0.005", 2, EVEN, 0),
    ("0.015", 2, EVEN, 2),
    ("0.025", 2, AWAY, 3),
    ("0.025", 2, EVEN, 2),
    ("0.025000000000000000000001", 2, EVEN, 3),
    ("0.024999999999999999999999", 2, EVEN, 2),
    ("0.045", 2, EVEN, 4),
    ("0.5", 0, AWAY, 1),
    ("0.5", 0, EVEN, 0),
    ("1.5", 0, EVEN, 2),
    ("2.5", 0, EVEN, 2),
    ("2.5", 0, AWAY, 3),
    ("2.499999999999999999999999", 0, AWAY, 2),
    ("0.0005", 3, AWAY, 1),
    ("0.0025", 3, EVEN, 2),
    ("0.00005", 4, AWAY, 1),
    ("0.00025", 4, EVEN, 2),
    ("1.23456789", 4, AWAY, 12346),
    ("259.875", 0, AWAY, 260),
    # Wider than a word, wider than two.
    ("12345678901.235", 2, AWAY, 1234567890124),
    ("12345678901.225", 2, EVEN, 1234567890122),
    ("12345678901.235", 2, EVEN, 1234567890124),
    ("999999999999999.994999999999999999999999", 2, AWAY, 99999999999999999),
    ("999999999999999.995", 2, AWAY, 100000000000000000),
    ("999999999999999.999999999999999999999999", 0, AWAY, 10**15),
    # 2^63 = 9223372036854775808 minor units.
    ("922337203685477.580749999999999999999999", 4, AWAY, 2**63 - 1),
    ("922337203685477.58075", 4, AWAY, None),
    ("922337203685477.58075", 4, EVEN, None),
    ("922337203685477.58065", 4, EVEN, 2**63 - 2),
    ("999999999999999", 4, AWAY, None),
)
"""The negative of an amount rounds to the negative."""

TAXES = (
    # rate, mode, line in minor units, tax in minor units
    ("0.21", TaxMode.EXCLUSIVE, 7, 1),
    ("0.21", TaxMode.EXCLUSIVE, 2, 0),
    ("0.25", TaxMode.EXCLUSIVE, 2, 1),
    ("0.25", TaxMode.EXCLUSIVE, 1, 0),
    ("0.249999999999", TaxMode.EXCLUSIVE, 2, 0),
    ("0.0825", TaxMode.EXCLUSIVE, 3150, 260),
    ("0", TaxMode.EXCLUSIVE, 1000, 0),
    ("0.075", TaxMode.EXCLUSIVE, 9223372036854775807, 691752902764108186),
    ("1", TaxMode.EXCLUSIVE, 9223372036854775807, 9223372036854775807),
    ("1.000000000001", TaxMode.EXCLUSIVE, 9223372036854775807, None),
    ("2", TaxMode.EXCLUSIVE, 4611686018427387904, None),
    ("2", TaxMode.EXCLUSIVE, 4611686018427387903, 9223372036854775806),
    ("1000", TaxMode.EXCLUSIVE, 9223372036854775807, None),
    ("1000", TaxMode.EXCLUSIVE, 9223372036854775, 9223372036854775000),
    ("0.21", TaxMode.INCLUSIVE, 121, 21),
    ("0.21", TaxMode.INCLUSIVE, 120, 21),
    ("0.21", TaxMode.INCLUSIVE, 118, 20),
    ("1", TaxMode.INCLUSIVE, 1, 1),
    ("1", TaxMode.INCLUSIVE, 3, 2),
    ("0", TaxMode.INCLUSIVE, 5, 0),
    ("1000", TaxMode.INCLUSIVE, 9223372036854775807, 9214157878975800007),
    ("0.000000000001", TaxMode.INCLUSIVE, 500000000000, 0),
    ("0.000000000001", TaxMode.INCLUSIVE, 500000000001, 1),
    ("0.000000000001", TaxMode.EXCLUSIVE, 499999999999, 0),
    ("0.000000000001", TaxMode.EXCLUSIVE, 500000000000, 1),
)
"""The tax of a negative line is the negative."""
