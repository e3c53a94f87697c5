"""Decimal texts of a file as integers, each with the decimals it needs: no float, no object a value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.decimals import WHOLE_DIGITS, DecimalFaultCode
from tallybook_engine.determinants.readings import MAX_DECIMAL_PLACES
from tallybook_engine.kernels import kernel

Bytes = NDArray[np.uint8]
Positions = NDArray[np.int64]

SAID = {
    DecimalFaultCode.EMPTY: ("has no value", "give it one, or the status of a reading that is missing"),
    DecimalFaultCode.MALFORMED: (
        "its value {text!r} is no decimal",
        "write digits with a point: no exponent, no thousands separator, no NaN",
    ),
    DecimalFaultCode.TOO_MANY_DECIMALS: (
        "its value {text!r} has more than {places} decimals",
        "round it where it is made",
    ),
    DecimalFaultCode.OUT_OF_RANGE: (
        "its value {text!r} does not fit",
        "a value is below 10^15, and has at most 18 digits with its decimals",
    ),
}
"""What is said of each fault, and how it is mended."""

_EMPTY, _MALFORMED = np.uint8(DecimalFaultCode.EMPTY), np.uint8(DecimalFaultCode.MALFORMED)
_TOO_MANY, _OUT_OF_RANGE = np.uint8(DecimalFaultCode.TOO_MANY_DECIMALS), np.uint8(DecimalFaultCode.OUT_OF_RANGE)
_FINE = np.uint8(0)
_MINUS, _POINT, _ZERO, _NINE, _SPACE = ord("-"), ord("."), ord("0"), ord("9"), ord(" ")
_MANTISSA_LIMIT = 10**18
_WHOLE_LIMIT = 10**WHOLE_DIGITS


class Numbers(NamedTuple):
    """n decimals: mantissa / 10^places."""

    mantissas: NDArray[np.int64]
    """[n] below 10^18 in magnitude; 0 beside a fault."""
    places: NDArray[np.uint8]
    """[n] decimals without zeros at the end, 0 to 12."""
    faults: NDArray[np.uint8]
    """[n] 0 or a `DecimalFaultCode`."""

    def at(self, rows: Positions) -> Numbers:
        """Those of some rows."""
        return Numbers(self.mantissas[rows], self.places[rows], self.faults[rows])

    def zeroed(self, rows: NDArray[np.bool_]) -> Numbers:
        """With 0, and no fault, in some rows."""
        keep = ~rows
        return Numbers(self.mantissas * keep, self.places * keep, self.faults * keep)


def parse_spans(data: Bytes, starts: Positions, ends: Positions) -> Numbers:
    """Decimals that ``data[starts[i]:ends[i]]`` write, spaces around them not counted; spans lie within `data`."""
    count = len(starts)
    numbers = Numbers(np.zeros(count, np.int64), np.zeros(count, np.uint8), np.zeros(count, np.uint8))
    _parse(data, starts, ends, numbers.mantissas, numbers.places, numbers.faults)
    return numbers


def parse_texts(texts: Sequence[str]) -> Numbers:
    """The same of texts one by one."""
    data, starts, ends = spans_of(texts)
    return parse_spans(data, starts, ends)


def spans_of(texts: Sequence[str]) -> tuple[Bytes, Positions, Positions]:
    """Texts laid end to end: (bytes, starts, ends)."""
    encoded = [text.encode() for text in texts]
    ends = np.cumsum([len(each) for each in encoded], dtype=np.int64)
    starts = np.concatenate([np.zeros(1, np.int64), ends[:-1]]) if len(ends) else ends
    return np.frombuffer(b"".join(encoded), dtype=np.uint8), starts, ends


@kernel
def _parse(
    data: Bytes,
    starts: Positions,
    ends: Positions,
    mantissas: NDArray[np.int64],
    places: NDArray[np.uint8],
    faults: NDArray[np.uint8],
) -> None:
    for row in range(len(starts)):
        position, end = starts[row], ends[row]
        while position < end and data[position] == _SPACE:
            position += 1
        while position < end and data[end - 1] == _SPACE:
            end -= 1
        if position == end:
            faults[row] = _EMPTY
            continue
        negative = data[position] == _MINUS
        if negative:
            position += 1
        mantissa = np.int64(0)
        whole_count = 0
        decimal_count = 0
        zero_count = 0
        seen_count = 0
        after_point = False
        fault = _FINE
        while position < end:
            byte = data[position]
            position += 1
            if byte == _POINT and not after_point:
                after_point = True
                continue
            if byte < _ZERO or byte > _NINE:
                fault = _MALFORMED
                break
            digit = np.int64(byte) - _ZERO
            if after_point:
                seen_count += 1
                # Zeros wait until a digit follows them: those at the end are not counted.
                if digit == 0:
                    zero_count += 1
                    continue
            else:
                whole_count += 1
            if fault != _FINE:
                continue
            if after_point:
                decimal_count += zero_count + 1
                if decimal_count > MAX_DECIMAL_PLACES:
                    fault = _TOO_MANY
                    continue
            for _ in range(zero_count + 1):
                if mantissa >= _MANTISSA_LIMIT // 10:
                    fault = _OUT_OF_RANGE
                    break
                mantissa *= 10
            zero_count = 0
            mantissa += digit
            if not after_point and mantissa >= _WHOLE_LIMIT:
                fault = _OUT_OF_RANGE
        if seen_count == 0 if after_point else whole_count == 0:
            fault = _MALFORMED
        if fault != _FINE:
            faults[row] = fault
            continue
        mantissas[row] = -mantissa if negative else mantissa
        places[row] = decimal_count
