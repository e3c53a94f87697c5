"""Every limit of a catalogue, named. The comments of catalog.proto state the same numbers; a test compares."""

from datetime import date

OBJECTS_MAX = 1_000_000
"""Objects of one kind in a catalogue; of contracts, the roots."""

NAME_BYTES_MAX = 255
"""UTF-8 bytes of an id, a reference, the name of a value or property, or a property's text."""

TITLE_BYTES_MAX = 1_000
"""UTF-8 bytes of a customer's name."""

METER_VALUES_MAX = 64
"""Values of a meter."""

METER_PROPERTIES_MAX = 64
"""Properties of a meter."""

TIERS_MAX = 1_000
"""Tiers of one price."""

MATRIX_RULES_MAX = 1_000
"""Rules of one matrix."""

PRODUCT_CONTRACTS_MAX = 1_000
"""Product contracts of one contract, its sub-contracts' not counted."""

SUB_CONTRACTS_MAX = 1_000
"""Sub-contracts directly below one contract."""

CONTRACT_LEVELS_MAX = 1_000
"""Levels of a contract tree, the root counted."""

NESTED_LEVELS_MAX = 16
"""Levels that are written within each other, the outermost counted: messages cannot be nested without end."""

FIXED_FEES_MAX = 1_000
"""Fixed fees of one contract."""

REVENUE_SHARES_MAX = 1_000
"""Revenue shares of one contract."""

SHARED_CHARGES_MAX = 1_000
"""Charges that one revenue share is of."""

CREDITS_MAX = 1_000
"""Credits of one contract."""

SHARE_RATE_MAX = 1_000
"""A revenue share of 1 is 100 %."""

PAYMENT_TERM_DAYS_MAX = 1_000
"""Days from an invoice to when it is due."""

INTERVAL_MAX = 1_000
"""Units in one period of a frequency."""

ACCUMULATION_PERIODS_MAX = 1_000
"""Accumulation periods that may begin within one billing period of a product contract."""

TAX_RATE_MAX = 1_000
"""A rate of 1 is 100 %."""

DATE_MIN = date(1900, 1, 1)
"""Earliest date of a contract."""

DATE_MAX = date(2999, 12, 31)
"""Latest date of a contract."""
