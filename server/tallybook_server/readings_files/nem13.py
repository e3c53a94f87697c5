"""AEMO's NEM13: a record 250 is a register's read before and its read now, with the quantity between them.

Source: AEMO, "Meter Data File Format Specification NEM12 & NEM13", section 5. Each read becomes a reading of a register
channel; a record's read before is the last record's read now and counts once. Record 550 is a visit to the meter.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from tallybook_engine.determinants.configuration import ChannelKind, Label
from tallybook_server.readings_files import mdff
from tallybook_server.readings_files.assemble import ChannelRows, read_file
from tallybook_server.readings_files.model import ChannelInfo, Direction, Format, ReadFile, ReadOptions, Source
from tallybook_server.readings_files.numbers import parse_texts
from tallybook_server.readings_files.statuses import StatusWords
from tallybook_server.readings_files.units import spelled

_FIELD_COUNT_MIN = 20
_DIRECTIONS = {"E": Direction.DELIVERED, "I": Direction.RECEIVED}
"""The market's export is what the customer draws."""


@dataclass
class _Register:
    info: ChannelInfo
    texts: list[str] = field(default_factory=list)
    times_us: list[int] = field(default_factory=list)
    word_codes: list[int] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    roles: dict[tuple[int, str, int], str] = field(default_factory=dict)
    """Whether a read (time, value, word) first stood as the one before or the one now."""

    def take(self, role: str, time_us: int, value: str, word_code: int, line: int) -> None:
        """A read; but what one record calls the read before and another the read now is the same, and taken once."""
        if self.roles.setdefault((time_us, value, word_code), role) != role:
            return
        self.times_us.append(time_us)
        self.texts.append(value)
        self.word_codes.append(word_code)
        self.lines.append(line)


def read(source: Source, options: ReadOptions) -> ReadFile:
    """Every register of every meter. Raises ReadingsFileFault."""
    words = mdff.status_words(options)
    registers: dict[tuple[str, ...], _Register] = {}
    seen_250 = False
    for line, _, indicator, text in mdff.records(source, Format.NEM13.value):
        if indicator == "250":
            _take_reads(source, line, [each.strip() for each in text.split(",")], registers, words)
            seen_250 = True
        elif indicator != "550":
            raise source.fault(line, f"a record {indicator!r}", "NEM13 has records 250 and 550")
        elif not seen_250:
            raise source.fault(line, "a record 550 without a 250 before it", "send the whole file again")
    return read_file(source, Format.NEM13, [_rows(each) for each in registers.values()], words, options)


def _take_reads(
    source: Source, line: int, fields: list[str], registers: dict[tuple[str, ...], _Register], words: StatusWords
) -> None:
    if len(fields) < _FIELD_COUNT_MIN:
        raise source.fault(line, f"a record 250 of {len(fields)} fields", "it has 23: send the file again")
    nmi, _, register, suffix, _, serial, direction = fields[1:8]
    unit = spelled(fields[19])
    if not nmi or not suffix or not unit:
        raise source.fault(line, "a record 250 without NMI, suffix or unit", "fill them in")
    if direction not in _DIRECTIONS:
        raise source.fault(line, f"a direction of {direction!r}", "write E or I")
    info = ChannelInfo(
        nmi,
        suffix,
        unit,
        ChannelKind.REGISTER,
        Label.END,
        register=register or None,
        direction=_DIRECTIONS[direction],
        meter_serial=serial or None,
    )
    # Another meter counts from where it likes: its register is another one.
    found = registers.setdefault((nmi, suffix, register, serial, unit), _Register(info))
    times_us = [_time(source, line, fields[9]), _time(source, line, fields[14])]
    if times_us[0] >= times_us[1]:
        raise source.fault(line, "the read before is not before the read now", "correct their times")
    found.take("before", times_us[0], fields[8], words.code(fields[10]), line)
    found.take("now", times_us[1], fields[13], words.code(fields[15]), line)
    _compare_quantity(source, line, fields[8], fields[13], fields[18])


def _time(source: Source, line: int, text: str) -> int:
    time_us = mdff.moment_us(text)
    if time_us is None:
        raise source.fault(line, f"a read's time of {text!r}", "write it as 20040415080629")
    return time_us


def _compare_quantity(source: Source, line: int, before: str, now: str, quantity: str) -> None:
    """The quantity is what the market bills; reads say something else where a dial rolled over or has a factor."""
    numbers = parse_texts((before, now, quantity))
    if numbers.faults.any():
        return
    first, second, between = (
        int(mantissa) * 10 ** (12 - int(places))
        for mantissa, places in zip(numbers.mantissas, numbers.places, strict=True)
    )
    if second - first != between:
        what = f"a quantity of {quantity}, though the reads are {before} and {now}"
        source.remark(line, what, "declare dial digits if the register rolled over; the reads are what is taken")


def _rows(register: _Register) -> ChannelRows:
    digits = {len(text.partition(".")[0]) for text in register.texts}
    return ChannelRows(
        replace(register.info, dial_digits=digits.pop() if len(digits) == 1 else None),
        np.array(register.times_us, dtype=np.int64),
        np.ones(len(register.texts), dtype=np.int64),
        parse_texts(register.texts),
        np.array(register.word_codes, dtype=np.int32),
        np.array(register.lines, dtype=np.int64),
        lambda row: register.texts[row],
    )
