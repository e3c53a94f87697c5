"""Readings as columns of the contract, or as one Arrow stream, to the engine's columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tallybook_engine.decimals import format_decimal
from tallybook_engine.determinants.configuration import ChannelClassifier, ChannelKind
from tallybook_engine.determinants.message import instant_text
from tallybook_engine.determinants.quality import MAX_STATUSES, QualityTable
from tallybook_engine.determinants.readings import (
    MAX_DECIMAL_PLACES,
    Instants,
    ListedTimes,
    Readings,
    ReadingsFault,
    RegularTimes,
    Times,
    label_of,
    labels_between,
)
from tallybook_engine.determinants.request import BillingConfiguration
from tallybook_server import limits
from tallybook_server.codec.arrow_stream import (
    array_of,
    column_fault,
    fixed_width,
    number_mend,
    present,
    read_table,
    text_mend,
    time_mend,
)
from tallybook_server.codec.columns import check_packed, integers
from tallybook_server.codec.instants import (
    TIME_END_US,
    TIME_MIN_US,
    check_interval,
    read_instant,
    read_interval,
)
from tallybook_server.codec.metering import check_count
from tallybook_server.errors import ErrorCode, Fault, field_invalid

REGISTER_INTERVAL_US = 1
"""A register's readings have no length; this one has no meaning."""
NO_QUALITY = -1
"""Instead of a code: nothing is known of the reading's quality, so it is left out."""
NEEDED_COLUMNS = ("channel", "time", "value", "quality")
INTERVAL_COLUMN = "interval"
COLUMNS = (*NEEDED_COLUMNS, INTERVAL_COLUMN)

Codes = NDArray[np.int64] | NDArray[np.uint8]

_INT64_MAX = 2**63 - 1


def read_readings(request: Any, configuration: BillingConfiguration) -> dict[str, Readings]:
    """The readings of a `CalculateDeterminantsEnvelope` by channel. FIELD_INVALID, or a fault of Arrow's columns."""
    if request.arrow:
        if request.readings:
            raise field_invalid("arrow", "stands beside readings: give one of them")
        return _read_arrow(request.arrow, configuration)
    found: dict[str, Readings] = {}
    count = 0
    for index, each in enumerate(request.readings):
        path = f"readings[{index}]"
        if each.channel in found:
            raise field_invalid(f"{path}.channel", f'"{each.channel}" has readings already')
        classifier = classifier_of(configuration, each.channel, f"{path}.channel")
        check_packed(each, path)
        values = integers(each.values, f"{path}.values")
        count += len(values)
        check_reading_count(count)
        found[each.channel] = read_channel(each, path, values, classifier, configuration.quality)
    return found


def check_reading_count(count: int) -> None:
    """TOO_MANY_READINGS above the limit."""
    if count > limits.READINGS_IN_REQUEST_MAX:
        raise Fault(
            ErrorCode.TOO_MANY_READINGS,
            f"Over {limits.READINGS_IN_REQUEST_MAX} readings in one request: split it by period or channel.",
            {"reading_count_max": str(limits.READINGS_IN_REQUEST_MAX)},
        )


def classifier_of(configuration: BillingConfiguration, channel: str, path: str) -> ChannelClassifier:
    """The classifier of a channel that a field at `path` names; FIELD_INVALID where there is none."""
    classifier = configuration.classifiers.get(channel)
    if classifier is None:
        raise field_invalid(path, f'the datasource has no channel "{channel}"')
    return classifier


class Form(NamedTuple):
    """What a message says of a channel's readings beside their values."""

    times: Times
    codes: Codes
    more_places: int
    """Decimals that the channel is kept with and the message has not."""

    def readings(self, values: NDArray[np.int64], path: str) -> Readings:
        """With the values. FIELD_INVALID where they do not fit."""
        return readings_of(self.times, _scaled(values, self.more_places, f"{path}.values"), self.codes, path)


def read_channel(
    message: Any, path: str, values: NDArray[np.int64], classifier: ChannelClassifier, table: QualityTable
) -> Readings:
    """One channel's columns, whose values are read already. FIELD_INVALID for the first thing that is wrong."""
    return read_form(message, path, values, classifier, table).readings(values, path)


def read_form(
    message: Any, path: str, values: NDArray[np.int64], classifier: ChannelClassifier, table: QualityTable
) -> Form:
    """Everything but the values, the same for any others of their number. FIELD_INVALID for the first thing that is
    wrong.
    """
    if message.unit and message.unit != classifier.unit:
        raise field_invalid(f"{path}.unit", f'"{message.unit}" where the classifier has "{classifier.unit}"')
    if not 0 <= message.decimal_places <= classifier.decimal_places:
        raise field_invalid(f"{path}.decimal_places", _too_fine(message, path, values, classifier))
    codes = _codes(message, path, len(values), table)
    times = _times(message, path, len(values), classifier)
    return Form(times, codes, classifier.decimal_places - message.decimal_places)


def _too_fine(message: Any, path: str, values: NDArray[np.int64], classifier: ChannelClassifier) -> str:
    """What is wrong with a channel's decimals, and the first reading that needs them."""
    said = f"is {message.decimal_places}; the channel is kept with {classifier.decimal_places}"
    if not 0 <= message.decimal_places <= MAX_DECIMAL_PLACES:
        return said
    needs_them = values % np.int64(10 ** (message.decimal_places - classifier.decimal_places)) != 0
    if not needs_them.any():
        return f"{said}, and no value needs more: leave their zeros out"
    row = int(np.argmax(needs_them))
    times = _times(message, path, len(values), classifier)
    when = f", of {instant_text(label_of(times, row))}," if row < times.count else ""
    value = format_decimal(int(values[row]), message.decimal_places)
    return f"{said}, and row {row}{when} is {value}: round it, or let the classifier keep more"


def _codes(message: Any, path: str, count: int, table: QualityTable) -> Codes:
    """uint8[n] codes of the quality table, or int64[n] where some are NO_QUALITY."""
    names, sent = message.statuses, message.quality_codes
    check_count(names, MAX_STATUSES, f"{path}.statuses")
    translation = []
    for index, name in enumerate(names):
        code = table.codes.get(name) if name else NO_QUALITY
        if code is None:
            raise field_invalid(f"{path}.statuses[{index}]", f'the quality table has no status "{name[:100]}"')
        translation.append(code)
    if not sent and count:
        if len(translation) != 1:
            raise field_invalid(f"{path}.quality_codes", "may be left out only where statuses has one entry")
        [code] = translation
        if code == NO_QUALITY:
            return np.full(count, code, np.int64)
        # Quicker than np.full, which gives the interpreter lock away.
        return np.frombuffer(bytearray([code]) * count, np.uint8)
    codes = np.frombuffer(sent, dtype=np.uint8)
    if len(codes) != count:
        raise field_invalid(f"{path}.quality_codes", f"has {len(codes)} codes beside {count} values")
    if count and int(codes.max()) >= len(translation):
        row = int(np.argmax(codes >= len(translation)))
        raise field_invalid(
            f"{path}.quality_codes", f"row {row} has code {codes[row]}; statuses has {len(translation)} entries"
        )
    if NO_QUALITY in translation:
        return np.array(translation, np.int64)[codes]
    return np.array(translation, np.uint8)[codes]


def _scaled(values: NDArray[np.int64], places: int, path: str) -> NDArray[np.int64]:
    """Values with so many more decimals."""
    if places == 0:
        return values
    factor = 10**places
    if len(values) and (int(values.max()) > _INT64_MAX // factor or int(values.min()) < -(_INT64_MAX // factor)):
        raise field_invalid(path, "a value does not fit 64 bits with the channel's decimals")
    return values * np.int64(factor)


def _times(message: Any, path: str, count: int, classifier: ChannelClassifier) -> Times:
    match message.WhichOneof("times"):
        case "regular_times":
            here = f"{path}.regular_times"
            first_us = read_instant(message.regular_times, "first_time", here)
            interval_us = read_interval(message.regular_times, "interval", here)
            if interval_us is None:
                raise field_invalid(f"{here}.interval", "is required")
            _check_length(classifier, interval_us, f"{here}.interval")
            try:
                return RegularTimes(first_us, interval_us, count)
            except ReadingsFault as fault:
                raise field_invalid(here, str(fault)) from None
        case "listed_times":
            return _listed(message.listed_times, f"{path}.listed_times", classifier)
        case _:
            if count:
                raise field_invalid(path, "give regular_times or listed_times")
            return RegularTimes(0, REGISTER_INTERVAL_US, 0)


def _listed(message: Any, path: str, classifier: ChannelClassifier) -> ListedTimes:
    check_packed(message, path)
    labels = integers(message.times_us, f"{path}.times_us")
    interval_us: int | Instants | None = read_interval(message, "interval", path)
    if message.intervals_us:
        if interval_us is not None:
            raise field_invalid(f"{path}.intervals_us", "stands beside interval: give one of them")
        interval_us = integers(message.intervals_us, f"{path}.intervals_us")
    return listed_times(labels, interval_us, classifier, path)


def listed_times(
    labels: NDArray[np.int64], interval_us: int | Instants | None, classifier: ChannelClassifier, path: str
) -> ListedTimes:
    """Timestamps with the lengths that were sent, or else the classifier's; FIELD_INVALID."""
    if classifier.kind is ChannelKind.REGISTER:
        interval_us = REGISTER_INTERVAL_US
    elif interval_us is None:
        interval_us = classifier.interval_us
        if interval_us is None:
            raise field_invalid(f"{path}.interval", "is required: the classifier has none")
    elif isinstance(interval_us, int):
        _check_length(classifier, interval_us, f"{path}.interval")
    elif len(interval_us):
        least, most = int(interval_us.min()), int(interval_us.max())
        check_interval(least, most, f"{path}.intervals_us")
        for length in {least, most}:
            _check_length(classifier, length, f"{path}.intervals_us")
        interval_us = least if least == most and len(interval_us) == len(labels) else interval_us
    try:
        return ListedTimes(labels, interval_us)
    except ReadingsFault as fault:
        raise field_invalid(path, str(fault)) from None


def _check_length(classifier: ChannelClassifier, length_us: int, path: str) -> None:
    expected = classifier.interval_us
    if expected is not None and length_us != expected and classifier.kind is ChannelKind.INTERVAL:
        raise field_invalid(path, f"is {length_us} us where the classifier has intervals of {expected} us")


def readings_of(times: Times, values: NDArray[np.int64], codes: Codes, path: str) -> Readings:
    """Readings without those of which no quality is known."""
    if times.count != len(values):
        raise field_invalid(path, f"has {times.count} timestamps beside {len(values)} values")
    if times.count and not (label_of(times, 0) >= TIME_MIN_US and label_of(times, times.count - 1) < TIME_END_US):
        raise field_invalid(path, "a timestamp is not from 1900-01-01 to 2999-12-31")
    if codes.dtype == np.uint8:
        # Each has a status.
        return Readings(times, values, codes.view(np.uint8))
    kept = codes != NO_QUALITY
    if kept.all():
        return Readings(times, values, codes.astype(np.uint8))
    labels, interval_us = labels_between(times, 0, times.count), times.interval_us
    lengths = interval_us[kept] if isinstance(interval_us, np.ndarray) else interval_us
    return Readings(ListedTimes(labels[kept], lengths), values[kept], codes[kept].astype(np.uint8))


# Arrow


def _read_arrow(stream: bytes, configuration: BillingConfiguration) -> dict[str, Readings]:
    table = read_table(stream, lambda schema: check_schema(schema, COLUMNS, NEEDED_COLUMNS), check_reading_count)
    columns = {name: array_of(table.column(name)) for name in table.column_names}
    for name in ("channel", "time"):
        if columns[name].null_count:
            column_fault(ErrorCode.ARROW_COLUMN_TYPE, name, "null in a row; every reading has one")
    names, channel_codes = dictionary_of(columns["channel"])
    codes = status_codes(*dictionary_of(columns["quality"]), configuration.quality)
    check_nulls(columns["value"], codes, configuration.quality)
    labels = fixed_width(columns["time"], np.int64) if table.num_rows else np.empty(0, np.int64)
    found: dict[str, Readings] = {}
    for code, name in enumerate(names):
        rows = np.flatnonzero(channel_codes == code)
        if not len(rows):
            continue
        path = f"arrow: channel {name!r}"
        classifier = classifier_of(configuration, name, "arrow: column channel")
        interval_us = arrow_intervals(columns.get(INTERVAL_COLUMN), rows, classifier, path)
        times = listed_times(labels[rows], interval_us, classifier, path)
        taken = columns["value"] if len(rows) == table.num_rows else columns["value"].take(pa.array(rows))
        values = arrow_values(taken, classifier.decimal_places, rows, path)
        found[name] = readings_of(times, values, codes[rows], path)
    return found


def check_schema(schema: pa.Schema, columns: Sequence[str], needed: Sequence[str]) -> None:
    """ARROW_COLUMN_... for a column that is missing, unknown or of a wrong type."""
    for field in schema:
        if field.name not in columns:
            found = f"not of the schema; its columns are {', '.join(columns)}"
            column_fault(ErrorCode.ARROW_COLUMN_UNKNOWN, field.name, found)
        mend = _mend(field.name, field.type)
        if mend:
            column_fault(ErrorCode.ARROW_COLUMN_TYPE, field.name, f"{field.type}; {mend}")
    for name in needed:
        if name not in schema.names:
            column_fault(ErrorCode.ARROW_COLUMN_MISSING, name, "missing; every reading needs it")


def _mend(name: str, kind: pa.DataType) -> str:
    match name:
        case "datasource" | "channel" | "quality":
            return text_mend(kind)
        case "time":
            return time_mend(kind)
        case "value":
            return number_mend(kind, MAX_DECIMAL_PLACES)
        case _:
            return "" if kind == pa.duration("us") else 'cast it to duration("us")'


def dictionary_of(array: pa.Array) -> tuple[list[str], NDArray[np.int64]]:
    """(distinct texts, int64[n] index of each row or -1 for null)."""
    if not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    texts = array.dictionary.to_pylist()
    # A dictionary may hold a text twice, and nulls of its own.
    distinct = list(dict.fromkeys(text for text in texts if text is not None))
    place = {text: index for index, text in enumerate(distinct)} | {None: -1}
    renumbered = np.array([*(place[text] for text in texts), -1], dtype=np.int64)
    indices = pc.fill_null(array.indices.cast(pa.int64()), len(texts)).to_numpy(zero_copy_only=False)
    return distinct, renumbered[indices]


def status_codes(names: Sequence[str], codes: NDArray[np.int64], table: QualityTable) -> NDArray[np.int64]:
    """int64[n] codes of the quality table, or NO_QUALITY, of codes of names (-1: none)."""
    known: Mapping[str, int] = {status.name: code for code, status in enumerate(table.statuses)} | {"": NO_QUALITY}
    translation = []
    for index, name in enumerate(names):
        if name not in known and (codes == index).any():
            raise field_invalid("arrow: column quality", f'the quality table has no status "{name[:100]}"')
        translation.append(known.get(name, NO_QUALITY))
    return np.array([*translation, NO_QUALITY], dtype=np.int64)[codes]


def check_nulls(values: pa.Array, codes: NDArray[np.int64], table: QualityTable) -> None:
    """A value may be null where its status says that it counts for nothing, or where there is no status."""
    needs_value = np.append(table.has_value(), False)[codes]
    bad = needs_value & ~present(values)
    if bad.any():
        row = int(np.argmax(bad))
        status = table.statuses[int(codes[row])].name
        raise field_invalid("arrow: column value", f'row {row} is null, and its status "{status}" has a value')


def arrow_intervals(
    array: pa.Array | None, rows: NDArray[np.int64], classifier: ChannelClassifier, path: str
) -> int | Instants | None:
    """Lengths of some rows' intervals; None where none is given."""
    if array is None or classifier.kind is ChannelKind.REGISTER:
        return None
    given = present(array)[rows]
    if not given.any():
        return None
    if not given.all():
        raise field_invalid(f"{path}.interval", "is null in some rows and given in others")
    return fixed_width(array, np.int64)[rows]


def arrow_values(array: pa.Array, decimal_places: int, rows: NDArray[np.int64], path: str) -> NDArray[np.int64]:
    """int64[n] whole numbers of the channel's last decimal; 0 for nulls. `rows` are the stream's, for faults."""
    words = _exact_words(array, decimal_places)
    if words is None:
        place = _first_bad(array, decimal_places)
        raise field_invalid(
            f"{path}.value",
            f"row {rows[place]}: {array[place]} has more than the channel's {decimal_places} decimals, or does not fit "
            "64 bits with them",
        )
    return np.where(present(array), words, np.int64(0))


def _exact_words(array: pa.Array, decimal_places: int) -> NDArray[np.int64] | None:
    """int64[n] at so many decimals; None where a value is not one of them."""
    try:
        exact = array_of(pa.chunked_array([pc.cast(array, pa.decimal128(38, decimal_places))]))
    except pa.ArrowInvalid:
        return None
    words = fixed_width(exact, np.int64, words=2).reshape(-1, 2)
    fits = (words[:, 1] == words[:, 0] >> 63) | ~present(exact)
    return words[:, 0] if fits.all() else None


def _first_bad(array: pa.Array, decimal_places: int) -> int:
    """The first value that is not exact at so many decimals, by halves: there is one."""
    first, end = 0, len(array)
    while end - first > 1:
        middle = (first + end) // 2
        if _exact_words(array.slice(first, middle - first), decimal_places) is None:
            end = middle
        else:
            first = middle
    return first
