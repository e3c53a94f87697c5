"""What NEM12 and NEM13 have in common: records, times and qualities.

Source: AEMO, "Meter Data File Format Specification NEM12 & NEM13" (v1.06 of 2017 to v2.6 of 2024), sections 3 to 5 and
appendices B (units) and C (quality flags); the letters of suffixes are those of the data streams in AEMO's "MSATS
Procedures: National Metering Identifier". Held against two public transcriptions of them: the Ruby gem aemo
(`AEMO::NEM12::DATA_STREAM_SUFFIX`, `UOM`, `QUALITY_FLAGS`) and nem-reader's page on the file format.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from types import MappingProxyType

from tallybook_server.readings_files.model import Direction, ReadOptions, Source
from tallybook_server.readings_files.statuses import StatusWords

MEANINGS = MappingProxyType({"A": "measured", "E": "estimated", "F": "substituted", "S": "substituted", "N": "missing"})
"""Actual, forward estimate, final substitute, substitute, null, by the letter of the quality method (appendix C). Null
data is of the older versions only."""
VARIABLE = "V"
"""The quality of a day whose intervals have one each."""
_QUALITY = re.compile(r"[ANV]|[EFS][0-9]{2}")

_AEST = timezone(timedelta(hours=10))
"""The market's time: ten hours ahead of UTC, without daylight saving."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DATE = re.compile(r"[0-9]{8}")
_MOMENT = re.compile(r"[0-9]{14}")

_DELIVERED = frozenset("EFPQR")
_RECEIVED = frozenset("ABCKL")
"""Master, check and averaged streams of active (E, F; B, C, A) and reactive energy (Q, R, P; K, L). D and J are streams
that are averaged one way or netted, S to Z apparent energy, voltages and others: these letters say no direction."""

HEADER, END = "100", "900"


def status_words(options: ReadOptions) -> StatusWords:
    """For quality methods: the whole ("S14") or its letter may be mapped."""
    return StatusWords(options, MEANINGS, letters_mean=True)


def is_quality(word: str) -> bool:
    """Whether a word is written as a quality method with its two digits, where it needs them."""
    return _QUALITY.fullmatch(word) is not None


def suffix_direction(suffix: str) -> Direction | None:
    """By the letter that a NMI suffix begins with. The market's "export" is what customers draw from the network."""
    letter = suffix[:1].upper()
    if letter in _DELIVERED:
        return Direction.DELIVERED
    return Direction.RECEIVED if letter in _RECEIVED else None


def date_us(text: str) -> int | None:
    """The market's midnight of "20050401", microseconds since the epoch; None if it is no date."""
    return _instant(text, "%Y%m%d") if _DATE.fullmatch(text) else None


def moment_us(text: str) -> int | None:
    """Of "20040415080629", in the market's time."""
    return _instant(text, "%Y%m%d%H%M%S") if _MOMENT.fullmatch(text) else None


def _instant(text: str, pattern: str) -> int | None:
    try:
        moment = datetime.strptime(text, pattern).replace(tzinfo=_AEST)
    except ValueError:
        return None
    return (moment - _EPOCH) // timedelta(microseconds=1)


def records(source: Source, version: str) -> Iterator[tuple[int, int, str, str]]:
    """(line, position of its first byte, record indicator, line) of all that lies between records 100 and 900.

    A file may be several, one behind the other. Raises ReadingsFileFault where one does not begin or end as it should.
    """
    position = 0
    is_open = False
    line_number = 0
    seen_any = False
    for line_number, raw in enumerate(source.content.split(b"\n"), start=1):
        # Bytes beyond ASCII may stand in descriptions only; one character a byte keeps positions right.
        line = raw.rstrip(b"\r ").decode("latin-1")
        start, position = position, position + len(raw) + 1
        if not line.strip(","):
            continue
        indicator = line.partition(",")[0]
        if indicator == HEADER:
            fields = line.split(",")
            if is_open:
                raise source.fault(line_number, "a record 100 before the record 900", "send the whole file again")
            if len(fields) < 2 or fields[1] != version:
                raise source.fault(line_number, f"a header of {','.join(fields[1:2])!r}", f"send {version} files alone")
            is_open = seen_any = True
        elif not is_open:
            where = "after the record 900" if seen_any else "before the record 100"
            raise source.fault(
                line_number, f"a record {indicator!r} {where}", "send the whole file again, in its order"
            )
        elif indicator == END:
            is_open = False
        else:
            yield line_number, start, indicator, line
    if is_open or not seen_any:
        raise source.fault(line_number, "the file ends without a record 900: it is cut off", "fetch it again")
