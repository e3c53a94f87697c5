"""Green Button: the Energy Services Provider Interface (NAESB REQ.21) as an Atom feed.

Source: NAESB ESPI's published schema (espi.xsd 3.3, namespace http://naesb.org/espi): the enumerations UnitSymbolKind,
AccumulationKind, FlowDirectionKind and QualityOfReading, held against the classes that public projects generate from it
(OpenESPI, OpenADR). A UsagePoint has MeterReadings, each
of a ReadingType, with IntervalBlocks of IntervalReadings; Atom links tie them. Times are seconds of UTC since 1970,
intervals are named by their start; a value is times 10^powerOfTenMultiplier of the unit of measure. Tiers, costs and
summaries are not readings and are passed over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeVar
from xml.parsers import expat

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.determinants.configuration import ChannelKind, Label
from tallybook_server.readings_files.assemble import ChannelRows, read_file, skip_rows
from tallybook_server.readings_files.model import (
    ChannelInfo,
    Direction,
    Format,
    LocalTimeParameters,
    ReadFile,
    ReadOptions,
    SkipReason,
    Source,
)
from tallybook_server.readings_files.numbers import parse_texts
from tallybook_server.readings_files.statuses import StatusWords

MEANINGS = MappingProxyType(
    {
        "0": "measured",  # valid
        "7": "edited",  # manually edited
        "8": "estimated",  # using a reference day
        "9": "estimated",  # using linear interpolation
        "10": "questionable",
        "11": "calculated",  # derived
        "12": "questionable",  # projected: a forecast is no measurement
        "13": "questionable",  # mixed
        "14": "questionable",  # raw: not validated
        "15": "calculated",  # normalized for weather
        "16": "questionable",  # other
        "17": "measured",  # validated, by approved procedures
        "18": "measured",  # verified: failed a check, and is actual usage all the same
        "19": "measured",  # of revenue quality: good for billing
    }
)
"""QualityOfReading. The schema has 0 and 7 to 18; 19 is an extension that PG&E and others send."""

_UNITS = MappingProxyType(
    {
        "5": "A",
        "29": "V",
        "31": "J",
        "38": "W",
        "42": "m3",
        "61": "VA",
        "63": "var",
        "71": "VAh",
        "72": "Wh",
        "73": "varh",
        "119": "ft3",
        "128": "US gal",
        "132": "Btu",
        "134": "L",
        "169": "therm",
    }
)
"""UnitSymbolKind."""

_KINDS = MappingProxyType(
    {
        "1": ChannelKind.REGISTER,  # bulkQuantity
        "2": ChannelKind.REGISTER,  # continuousCumulative
        "3": ChannelKind.REGISTER,  # cumulative
        "9": ChannelKind.REGISTER,  # summation: a bulk quantity that counts in some hours only
        "4": ChannelKind.INTERVAL,  # deltaData
        "6": ChannelKind.INTERVAL,  # indicating
        "12": ChannelKind.INTERVAL,  # instantaneous
    }
)
"""AccumulationKind."""

_DIRECTIONS = MappingProxyType({"1": Direction.DELIVERED, "4": Direction.NET, "19": Direction.RECEIVED})
"""FlowDirectionKind: forward, net, reverse."""

Item = TypeVar("Item")

_POWER_OF_TEN_MAX = 12
_SECONDS_MAX = 10**11
"""Beyond it no instant fits the calendar."""
_SECOND_US = 1_000_000

_ESPI, _ATOM = "http://naesb.org/espi ", "http://www.w3.org/2005/Atom "
_ENTRY, _LINK = _ATOM + "entry", _ATOM + "link"
_READING, _BLOCK = _ESPI + "IntervalReading", _ESPI + "IntervalBlock"
_START, _DURATION, _VALUE, _QUALITY = (_ESPI + name for name in ("start", "duration", "value", "quality"))
_RESOURCES = frozenset(_ESPI + name for name in ("UsagePoint", "MeterReading", "ReadingType", "LocalTimeParameters"))


@dataclass
class _Entry:
    """An Atom entry: its links, and the resource that it holds."""

    line: int
    own: str = ""
    up: str = ""
    related: list[str] = field(default_factory=list)
    resource: str = ""
    fields: dict[str, str] = field(default_factory=dict)
    starts: list[str] = field(default_factory=list)
    durations: list[str] = field(default_factory=list)
    values: list[str] = field(default_factory=list)
    word_codes: list[int] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)

    @property
    def id(self) -> str:
        return self.own.rstrip("/").rpartition("/")[2]


def read(source: Source, options: ReadOptions) -> ReadFile:
    """Every meter reading of every usage point. Raises ReadingsFileFault."""
    words = StatusWords(options, MEANINGS)
    entries = _Feed(source, words).entries()
    feed = _Links(source, entries)
    blocks: dict[int, list[_Entry]] = {}
    meter_readings: dict[int, _Entry] = {}
    for block in entries:
        if block.resource == "IntervalBlock":
            found = feed.meter_reading(block)
            meter_readings[id(found)] = found
            blocks.setdefault(id(found), []).append(block)
    if not blocks:
        raise source.fault(None, "no IntervalBlock in it", "ask for a Green Button file with interval data")
    channels = [_rows(source, feed, meter_readings[key], blocks[key], words) for key in blocks]
    return read_file(source, Format.GREEN_BUTTON, [each for each in channels if each is not None], words, options)


class _Feed:
    """Goes element by element; each reading's texts are put aside, and become numbers all at once."""

    def __init__(self, source: Source, words: StatusWords) -> None:
        self._source = source
        self._words = words
        self._entries: list[_Entry] = []
        self._entry = _Entry(0)
        self._text: list[str] = []
        self._depth = 0
        self._resource_depth = 0
        self._start_text = self._duration_text = self._value_text = ""
        self._qualities: list[str] = []

    def entries(self) -> list[_Entry]:
        """In the order of the file."""
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text.append
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        self._parser = parser
        try:
            parser.Parse(self._source.content, True)
        except expat.ExpatError as cause:
            what = f"not well-formed: {expat.ErrorString(cause.code)}"
            raise self._source.fault(cause.lineno, what, "fetch the file again") from None
        except LookupError as cause:
            raise self._source.fault(1, str(cause), "write the file in UTF-8") from None
        return self._entries

    def _refuse_doctype(self, *_: object) -> None:
        line = self._parser.CurrentLineNumber
        raise self._source.fault(line, "a document type", "leave it out: entities are not expanded")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        self._text.clear()
        if name == _READING:
            self._start_reading()
        elif name == _ENTRY:
            self._entry = _Entry(self._parser.CurrentLineNumber)
            self._entries.append(self._entry)
        elif name == _LINK and self._entries:
            self._link(attributes.get("rel", ""), attributes.get("href", ""))
        elif name in _RESOURCES:
            self._entry.resource = name.rpartition(" ")[2]
            self._resource_depth = self._depth
        elif name == _BLOCK:
            self._entry.resource = "IntervalBlock"

    def _link(self, relation: str, href: str) -> None:
        if relation == "self":
            self._entry.own = href
        elif relation == "up":
            self._entry.up = href
        elif relation == "related":
            self._entry.related.append(href)

    def _end(self, name: str) -> None:
        if self._resource_depth and self._depth == self._resource_depth + 1:
            self._entry.fields[name.rpartition(" ")[2]] = "".join(self._text).strip()
        elif self._depth == self._resource_depth:
            self._resource_depth = 0
        self._depth -= 1
        self._text.clear()

    def _start_reading(self) -> None:
        """Inside of a reading only ends of elements are looked at: files are little else, and this halves the calls."""
        self._entry.lines.append(self._parser.CurrentLineNumber)
        self._start_text = self._duration_text = self._value_text = ""
        self._parser.StartElementHandler = None
        self._parser.EndElementHandler = self._end_in_reading

    def _end_in_reading(self, name: str) -> None:
        text = self._text
        if name == _START:
            self._start_text = "".join(text).strip()
        elif name == _DURATION:
            self._duration_text = "".join(text).strip()
        elif name == _VALUE:
            self._value_text = "".join(text).strip()
        elif name == _QUALITY:
            self._qualities.append("".join(text).strip())
        elif name == _READING:
            self._end_reading()
        text.clear()

    def _end_reading(self) -> None:
        entry = self._entry
        entry.starts.append(self._start_text)
        entry.durations.append(self._duration_text)
        entry.values.append(self._value_text)
        entry.word_codes.append(self._words.code(self._worst()))
        self._qualities.clear()
        self._depth -= 1
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end

    def _worst(self) -> str:
        """Of several qualities of a reading the worst; one that nothing explains is worse than all."""
        if len(self._qualities) < 2:
            return self._qualities[0] if self._qualities else ""
        codes = {word: self._words.status_code(word) for word in self._qualities}
        return max(codes, key=lambda word: 256 if codes[word] is None else codes[word] or 0)


class _Links:
    """Which resource belongs to which, by the links of their entries."""

    def __init__(self, source: Source, entries: list[_Entry]) -> None:
        self._source = source
        self._of: dict[str, list[_Entry]] = {}
        for entry in entries:
            self._of.setdefault(entry.resource, []).append(entry)

    def meter_reading(self, block: _Entry) -> _Entry:
        """That an IntervalBlock is of."""
        found = self._parent(block, "MeterReading")
        if found is None:
            what = "an IntervalBlock that is of no MeterReading"
            raise self._source.fault(block.line, what, "link it (rel=up) to the MeterReading's IntervalBlocks")
        return found

    def reading_type(self, meter_reading: _Entry) -> _Entry:
        """That a MeterReading is of."""
        found = self._related(meter_reading, "ReadingType")
        if found is None:
            what = "a MeterReading without a ReadingType, which says unit and scale"
            raise self._source.fault(meter_reading.line, what, "link it (rel=related) to its ReadingType")
        return found

    def usage_point(self, meter_reading: _Entry) -> _Entry | None:
        """That a MeterReading is of."""
        return self._parent(meter_reading, "UsagePoint")

    def local_time(self, usage_point: _Entry | None) -> _Entry | None:
        """The LocalTimeParameters of a usage point."""
        return self._related(usage_point or _Entry(0), "LocalTimeParameters")

    def name(self, entry: _Entry | None) -> str:
        """The last part of its address, or all of it where others of its kind end alike."""
        if entry is None:
            return ""
        alike = Counter(each.id for each in self._of[entry.resource])
        return entry.id if alike[entry.id] == 1 else entry.own

    def _parent(self, entry: _Entry, resource: str) -> _Entry | None:
        collection = entry.up.rstrip("/")
        for each in self._of.get(resource, []):
            own = each.own.rstrip("/")
            is_below = entry.up and (entry.up in each.related or collection in (own, f"{own}/{entry.resource}"))
            if is_below or (entry.own and entry.own in each.related):
                return each
        return self._only(resource)

    def _related(self, entry: _Entry, resource: str) -> _Entry | None:
        for each in self._of.get(resource, []):
            if each.own and each.own in entry.related:
                return each
        return self._only(resource)

    def _only(self, resource: str) -> _Entry | None:
        """Where there is but one, nothing need be linked."""
        found = self._of.get(resource, [])
        return found[0] if len(found) == 1 else None


def _rows(
    source: Source, feed: _Links, meter_reading: _Entry, blocks: list[_Entry], words: StatusWords
) -> ChannelRows | None:
    reading_type = feed.reading_type(meter_reading)
    said = reading_type.fields.get
    lines = np.array(_joined(blocks, lambda block: block.lines), dtype=np.int64)
    point = feed.usage_point(meter_reading)
    kind = _KINDS.get(said("accumulationBehaviour", ""))
    info = ChannelInfo(
        feed.name(point),
        feed.name(meter_reading),
        _UNITS.get(said("uom", ""), ""),
        kind or ChannelKind.INTERVAL,
        Label.END if kind is ChannelKind.REGISTER else Label.BEGIN,
        direction=_DIRECTIONS.get(said("flowDirection", "")),
        local_time=_local_time(source, feed.local_time(point)),
    )
    if kind is None:
        what = (
            f"{info.name}: accumulationBehaviour {said('accumulationBehaviour', '')!r} is neither interval nor register"
        )
        mend = "it cannot be billed; take it out, or correct it"
        source.skip(reading_type.line, len(lines), SkipReason.NOT_BILLABLE, what, mend)
        return None
    if not info.unit:
        what = f"{info.name}: unit of measure {said('uom', '')!r} is unknown"
        raise source.fault(reading_type.line, what, "write one of ESPI's codes, as 72 for Wh")
    power = _whole(source, reading_type, "powerOfTenMultiplier", "0", _POWER_OF_TEN_MAX)
    default_length = said("intervalLength", "")
    starts, start_is_wrong = _seconds(_joined(blocks, lambda block: block.starts))
    durations = [text or default_length for text in _joined(blocks, lambda block: block.durations)]
    lengths, length_is_wrong = _seconds(durations)
    codes = np.array(_joined(blocks, lambda block: block.word_codes), dtype=np.int32)
    values: list[str] = _joined(blocks, lambda block: block.values)
    is_register = kind is ChannelKind.REGISTER
    rows = ChannelRows(
        info,
        (starts + lengths if is_register else starts) * _SECOND_US,
        np.ones(len(lines), dtype=np.int64) if is_register else lengths * _SECOND_US,
        parse_texts(values),
        np.where(codes < 0, np.int32(words.code(said("defaultQuality", ""))), codes),
        lines,
        lambda row: values[row],
        power,
    )
    if is_register:
        # A read at an instant need not say how long it took.
        length_is_wrong &= np.array([bool(text) for text in durations], dtype=np.bool_)
    else:
        length_is_wrong |= lengths <= 0
    mend = "write whole seconds since 1970, of UTC"
    skip_rows(source, rows, start_is_wrong, SkipReason.TIME_MALFORMED, "a start that is no time", mend)
    wrong_length = length_is_wrong & ~start_is_wrong
    mend = "write it, or the ReadingType's intervalLength"
    skip_rows(source, rows, wrong_length, SkipReason.NO_LENGTH, "no duration above 0", mend)
    return rows.only(~start_is_wrong & ~wrong_length)


def _joined(blocks: list[_Entry], of: Callable[[_Entry], list[Item]]) -> list[Item]:
    return [each for block in blocks for each in of(block)]


def _seconds(texts: list[str]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Whole seconds, and whether each is none."""
    numbers = parse_texts(texts)
    wrong = (numbers.faults != 0) | (numbers.places != 0) | (np.abs(numbers.mantissas) > _SECONDS_MAX)
    return np.where(wrong, 0, numbers.mantissas), wrong


def _whole(source: Source, entry: _Entry, name: str, default: str, limit: int) -> int:
    text = entry.fields.get(name, "") or default
    try:
        number = int(text)
    except ValueError:
        number = limit + 1
    if abs(number) > limit:
        raise source.fault(entry.line, f"{name} {text!r}", f"write a whole number from -{limit} to {limit}")
    return number


def _local_time(source: Source, entry: _Entry | None) -> LocalTimeParameters | None:
    if entry is None:
        return None
    return LocalTimeParameters(
        _whole(source, entry, "tzOffset", "0", 86_400),
        _whole(source, entry, "dstOffset", "0", 86_400),
        entry.fields.get("dstStartRule", ""),
        entry.fields.get("dstEndRule", ""),
    )
