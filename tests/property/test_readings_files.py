"""Laws of readings files: what is written is read, in any order of rows."""

from __future__ import annotations

import gzip
import random
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tests.support.energy.cases import VECTORS
from tests.support.readings_files import COLUMNS, rows_of, write_csv, write_parquet

from tallybook_engine.determinants.configuration import ChannelKind, Label
from tallybook_engine.determinants.quality import DEFAULT_QUALITY
from tallybook_engine.determinants.readings import ListedTimes, Readings
from tallybook_server.readings_files.model import (
    ChannelInfo,
    ChannelReadings,
    Direction,
    ReadFile,
    ReadingsFileFault,
    ReadOptions,
)
from tallybook_server.readings_files.read import read_readings

WORDS = tuple(status.name for status in DEFAULT_QUALITY.statuses if status.has_value)
NAMES = st.text("abcXYZ019 _-/äß,;\"'", max_size=6).map(str.strip)
FIRST_US, LAST_US = -(10**16), 4 * 10**15


@st.composite
def channels(draw: st.DrawFn, decimal_places: int, datasource: str) -> ChannelReadings:
    kind = draw(st.sampled_from(ChannelKind))
    count = draw(st.integers(1, 30))
    lengths = draw(st.lists(st.integers(1, 10**10), min_size=count, max_size=count))
    if draw(st.booleans()) or kind is ChannelKind.REGISTER:
        lengths = [1 if kind is ChannelKind.REGISTER else lengths[0]] * count
    gaps = draw(st.lists(st.sampled_from((0, 0, 0, 1, 10**9)), min_size=count, max_size=count))
    starts = draw(st.integers(FIRST_US, LAST_US)) + np.cumsum(np.array([0, *lengths[:-1]]) + gaps)
    label = draw(st.sampled_from(Label))
    labels = starts + (np.array(lengths) if label is Label.END else 0)
    codes = np.array(draw(st.lists(st.integers(0, len(WORDS) - 1), min_size=count, max_size=count)), dtype=np.int32)
    info = ChannelInfo(
        datasource,
        draw(NAMES),
        draw(st.sampled_from(("kWh", "kvarh", "m3", ""))),
        kind,
        label,
        register=draw(NAMES) or None,
        direction=draw(st.none() | st.sampled_from(Direction)),
    )
    limit = min(10**18, 10 ** (15 + decimal_places)) - 1
    values = draw(st.lists(st.integers(-limit, limit), min_size=count, max_size=count))
    times = ListedTimes(labels.astype(np.int64), np.array(lengths, dtype=np.int64))
    quality = DEFAULT_QUALITY.translation(WORDS)[codes]
    return ChannelReadings(
        info, decimal_places, Readings(times, np.array(values, dtype=np.int64), quality), ("", *WORDS), codes + 1
    )


@st.composite
def files(draw: st.DrawFn) -> tuple[int, list[ChannelReadings]]:
    decimal_places = draw(st.integers(0, 12))
    datasources = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
    return decimal_places, [draw(channels(decimal_places, name)) for name in datasources]


def check(file: ReadFile, written: list[ChannelReadings]) -> None:
    assert (file.report.skipped_count, file.report.lines) == (0, ())
    found = {channel.info.datasource: channel for channel in file.channels}
    assert len(found) == len(file.channels) == len(written)
    for channel in written:
        read = found[channel.info.datasource]
        rows = range(channel.readings.times.count)
        assert (read.info, read.decimal_places) == (channel.info, channel.decimal_places)
        assert read.readings.times.count == len(rows)
        assert [read.readings.label(row) for row in rows] == [channel.readings.label(row) for row in rows]
        assert [read.readings.length_us(row) for row in rows] == [channel.readings.length_us(row) for row in rows]
        assert read.readings.values.tolist() == channel.readings.values.tolist()
        assert read.readings.quality.tolist() == channel.readings.quality.tolist()
        words = [channel.words[code] for code in channel.word_codes]
        assert [read.words[code] for code in read.word_codes] == words


@given(files(), st.randoms(use_true_random=False), st.sampled_from(",;\t"))
def test_what_is_written_is_read_in_any_order_of_rows(
    written: tuple[int, list[ChannelReadings]], order: random.Random, delimiter: str
) -> None:
    decimal_places, in_memory = written
    rows = rows_of(in_memory)
    order.shuffle(rows)
    options = ReadOptions(decimal_places=decimal_places)
    with tempfile.TemporaryDirectory() as folder:
        csv_path, parquet_path = Path(folder, "readings.csv"), Path(folder, "readings.parquet")
        write_csv(csv_path, rows, delimiter)
        write_parquet(parquet_path, rows, decimal_places)
        check(read_readings(csv_path, options), in_memory)
        check(read_readings(parquet_path, options), in_memory)


def _samples() -> dict[str, bytes]:
    """A small file of each format."""
    aemo = VECTORS / "nem12"
    events = aemo / "nem12" / "NEM12#000000000000008#CNRGYMDP#NEMMCO.zip"
    with zipfile.ZipFile(events) as archive:
        nem12 = archive.read(archive.namelist()[0])
    house = Path(__file__).parents[1] / "unit" / "readings_files" / "house.xml"
    table = (
        b"datasource,start,value,quality,interval_seconds\n"
        b"m,2025-01-01T00:00:00Z,1.5,measured,900\n"
        b"m,2025-01-01 00:15,2,estimated,900\n"
        b'"n",2025-10-26T02:30:00+02:00,-3.25,missing,900\n'
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "readings.parquet")
        write_parquet(path, [dict(ROW, time=f"2025-01-01T0{hour}:00:00+00:00") for hour in range(9)], 3)
        parquet = path.read_bytes()
    return {
        "zip": events.read_bytes(),
        "nem12": nem12,
        "nem13": (aemo / "unzipped" / "Example_NEM13_consumption_data.csv").read_bytes(),
        "xml": house.read_bytes(),
        "csv": table,
        "gzip": gzip.compress(table, mtime=0),
        "parquet": parquet,
    }


ROW = dict.fromkeys(COLUMNS, "") | {"value": "1.5", "quality": "measured", "label": "END", "interval_seconds": "900"}
SAMPLES = _samples()
PIECES = (
    b"",
    b"0",
    b"9" * 30,
    b"-",
    b",",
    b"\n",
    b'"',
    b"\0",
    b"\xff",
    b"<",
    b"</",
    b"NaN",
    b"V",
    b"300,",
    b"20240230",
)


@given(st.sampled_from(sorted(SAMPLES)), st.data())
def test_a_damaged_file_is_read_or_refused_in_words(name: str, data: st.DataObject) -> None:
    content = SAMPLES[name]
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content)))
        until = data.draw(st.sampled_from((at, at + 1, at + 7, len(content))))
        content = content[:at] + data.draw(st.sampled_from(PIECES)) + content[until:]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "readings")
        path.write_bytes(content)
        try:
            file = read_readings(path, ReadOptions(default_status="measured", time_zone="Europe/Paris"))
        except ReadingsFileFault as fault:
            assert fault.what
            assert fault.mend
        else:
            assert file.report.read_count == sum(channel.readings.times.count for channel in file.channels)
