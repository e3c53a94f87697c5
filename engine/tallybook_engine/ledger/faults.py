"""The closed list of what can be wrong with one row, in order of precedence: the first that holds is answered."""

from enum import IntEnum


class RowFault(IntEnum):
    """Reason of a row's status INVALID, CONFLICT or UNPRICED. The name is the reason on the wire (docs/errors.md)."""

    NONE = 0
    CUSTOMER_MISSING = 1
    CUSTOMER_AMBIGUOUS = 2
    METER_MISSING = 3
    METER_AMBIGUOUS = 4
    REFERENCE_EMPTY = 5
    REFERENCE_TOO_LONG = 6
    NAME_TOO_LONG = 7
    TIME_OUT_OF_RANGE = 8
    TIME_IN_FUTURE = 9
    VALUE_NAME_EMPTY = 10
    VALUE_REPEATED = 11
    TOO_MANY_VALUES = 12
    DECIMAL_EMPTY = 13
    DECIMAL_MALFORMED = 14
    DECIMAL_TOO_FINE = 15
    DECIMAL_OUT_OF_RANGE = 16
    PROPERTY_NAME_EMPTY = 17
    PROPERTY_REPEATED = 18
    TOO_MANY_PROPERTIES = 19
    PROPERTY_TOO_LONG = 20
    VALUE_UNKNOWN = 21
    PROPERTY_UNKNOWN = 22
    QUANTITY_NEGATIVE = 23
    REFERENCE_CONFLICT = 24
    QUANTITY_OVERFLOW = 25
    AMOUNT_OVERFLOW = 26
    SELECTOR_INCOMPLETE = 27
    GENERATION_MISSING = 28
    EVENT_ID_MALFORMED = 29
    METER_OF_DETERMINANTS = 30
