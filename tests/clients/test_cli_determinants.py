"""`tallybook determinants`: files in, a table or JSON out, with a server and without; failures a person can mend."""

import gzip
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from google.protobuf.json_format import MessageToDict
from tests.support.energy.sent_meter import small_request
from tests.support.live_server import live_server

import tallybook_client as tb
from tallybook_cli.exit_codes import ExitCode
from tallybook_cli.main import run
from tallybook_cli.reading_files import readings_of
from tallybook_server import offline_determinants as offline

EXAMPLE = Path(__file__).parents[2] / "examples/meter"
START = datetime(2026, 1, 1, tzinfo=UTC)
GOOD = ("--quality", "good")
ROWS = [("00:15", "0.25"), ("00:30", "0.26"), ("00:45", "0.24"), ("01:00", "0.255")]


@pytest.fixture
def request_file(tmp_path):
    """The small meter's request for its load alone."""
    message = small_request()
    del message.billing_request.channels[3:], message.readings[:]
    file = tmp_path / "request.json"
    file.write_text(json.dumps(MessageToDict(message, preserving_proto_field_name=True)))
    return str(file)


@pytest.fixture
def load(tmp_path):
    file = tmp_path / "load.csv"
    file.write_text("time,value\n" + "".join(f"2026-01-01T{time}:00Z,{value}\n" for time, value in ROWS))
    return str(file)


def answer(capsys) -> dict:
    found: dict = json.loads(capsys.readouterr().out)
    return found


def test_the_example_with_a_server_and_without(capsys):
    files = [str(EXAMPLE / "request.yaml"), str(EXAMPLE / "load.csv")]
    assert run(["determinants", *files, "--offline", "--json"]) is ExitCode.OK
    offline = answer(capsys)
    with live_server() as target:
        assert run(["determinants", *files, "--server", target, "--json"]) is ExitCode.OK
    online = answer(capsys)
    assert offline.pop("calculation_time")
    assert online.pop("calculation_time")
    assert offline == online
    months = [each for each in offline["determinants"] if each["kind"] == "INTERVAL" and each.get("is_month")]
    assert [each["counts"]["present_count"] for each in months] == ["1486", "1440"], "March has 743 hours"


def test_a_table(request_file, load, capsys):
    assert run(["determinants", request_file, load, "--quality", "good", "--offline"]) is ExitCode.OK
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "m1  times in UTC"
    assert [line.split()[1:3] for line in lines[3:]] == [
        ["INTERVAL", "2026-01-01"],
        ["TIMESLICE", "T1"],
        ["TIMESLICE", "UNCOVERED"],
        ["PMAX", "2026-01-01"],
        ["DEMAND", "ratchet"],
    ]
    assert "1.005" in lines[3]
    assert lines[6].rstrip().endswith("2026-01-01 00:15")


def test_parquet_is_read_as_csv_is(request_file, load, tmp_path, capsys):
    frame = pl.DataFrame(
        {
            "quality": ["good"] * 4,
            "time": [START + timedelta(minutes=15 * row) for row in (4, 3, 2, 1)],
            "value": [Decimal(value) for _, value in reversed(ROWS)],
        }
    )
    file = tmp_path / "load.parquet"
    frame.write_parquet(file)
    run(["determinants", request_file, str(file), "--offline", "--json"])
    by_parquet = answer(capsys)
    run(["determinants", request_file, f"load={load}", "--quality", "good", "--offline", "--json"])
    by_csv = answer(capsys)
    assert by_parquet["determinants"] == by_csv["determinants"]


def test_options_in_place_of_the_file(request_file, load, capsys):
    options = ["--from", "2026-01-01", "--to", "2026-01-02", "--by-month", "--report", "--quality", "bad"]
    assert run(["determinants", request_file, load, *options, "--offline", "--json"]) is ExitCode.OK
    found = answer(capsys)
    assert found["period"] == {"start_time": "2026-01-01T00:00:00Z", "end_time": "2026-01-02T00:00:00Z"}
    assert [each["reason"] for each in found["remarks"]] == ["NOT_BILLABLE"]
    assert sum(each.get("is_month", False) for each in found["determinants"]) > 1


@pytest.mark.parametrize(
    ("content", "options", "code", "found"),
    [
        ("time,kwh\n", [*GOOD], ExitCode.USAGE, "no column of values among time, kwh"),
        ("time,value\n2026-01-01T00:15,1\n", [*GOOD], ExitCode.USAGE, ":2: its time '2026-01-01T00:15' has no offset"),
        ("time,value\n2026-01-01T00:15Z,1\n", ["--quality", "odd"], ExitCode.USAGE, "default status 'odd' is unknown"),
        ("time,value\n2026-01-01T00:15Z,0.0001\n", [*GOOD], ExitCode.REFUSED, "channel's 3 decimals"),
        ("time,value\n", [*GOOD], ExitCode.REFUSED, "(NO_READINGS)"),
        ("time,value\n2026-01-01T00:15Z,1\n", ["--quality", "bad"], ExitCode.REFUSED, "channel load, 2026-01-01T00:00"),
        ("time,value\n", [*GOOD, "--from", "today"], ExitCode.USAGE, "--from today: write a date"),
    ],
)
def test_failures_are_named(request_file, tmp_path, capsys, content, options, code, found):
    file = tmp_path / "readings.csv"
    file.write_text(content)
    assert run(["determinants", request_file, str(file), *options, "--offline"]) is code
    err = capsys.readouterr().err
    assert found in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("row", "options", "told"),
    [
        ("2026-01-01T00:15Z,0.1", [], "load: no status"),
        ("noon,1", [*GOOD], "its time 'noon' is none"),
        ("2026-01-01T00:15Z,NaN", [*GOOD], "its value 'NaN' is no decimal"),
        ("2026-01-01T00:15Z,1e3", [*GOOD], "its value '1e3' is no decimal"),
        ("2026-01-01T00:15Z", [*GOOD], "1 columns where the header has 2"),
    ],
)
def test_a_row_that_cannot_be_read_is_told_and_is_a_gap(request_file, tmp_path, capsys, row, options, told):
    file = tmp_path / "readings.csv"
    file.write_text(f"time,value\n{row}\n")
    assert run(["determinants", request_file, str(file), *options, "--offline"]) is ExitCode.REFUSED
    skipped, refused = capsys.readouterr().err.splitlines()
    assert skipped.startswith("readings.csv: line 2: ")
    assert told in skipped
    assert "(1 skipped)" in skipped
    assert "(NO_READINGS)" in refused


def test_of_rows_of_one_time_the_last_counts(request_file, load, tmp_path, capsys):
    file = tmp_path / "twice.csv"
    file.write_text(Path(load).read_text() + "2026-01-01T00:15:00Z,0.35\n")
    assert run(["determinants", request_file, str(file), *GOOD, "--offline", "--json"]) is ExitCode.OK
    told = capsys.readouterr()
    assert json.loads(told.out)["determinants"][0]["value"] == "1.105"
    assert (
        "twice.csv: line 2: m1/load: a timestamp that the file has twice; the last one is kept (1 skipped)" in told.err
    )


@pytest.mark.parametrize(
    ("header", "row", "said"),
    [
        ("end,value,unit", "2026-01-01T00:15Z,1,Wh", "has the unit Wh; classifier"),
        ("start,value", "2026-01-01T00:15Z,1", "has the label BEGIN; classifier"),
        ("end,value,kind", "2026-01-01T00:15Z,1,REGISTER", "has the kind REGISTER; classifier"),
        ("end,value,datasource", "2026-01-01T00:15Z,1,m2", "has no datasource m1; it has m2"),
    ],
)
def test_a_csv_file_that_says_other_than_the_classifier(request_file, tmp_path, capsys, header, row, said):
    file = tmp_path / "load.csv"
    file.write_text(f"{header}\n{row}\n")
    assert run(["determinants", request_file, str(file), *GOOD, "--offline"]) is ExitCode.USAGE
    assert said in capsys.readouterr().err


def test_a_column_of_floats_is_refused(request_file, tmp_path, capsys):
    file = tmp_path / "load.parquet"
    pl.DataFrame({"time": [START], "value": [0.1], "quality": ["good"]}).write_parquet(file)
    assert run(["determinants", request_file, str(file), "--offline"]) is ExitCode.USAGE
    assert "values of type double, which are not exact" in capsys.readouterr().err


def test_every_cause_has_its_line(request_file, tmp_path, capsys):
    document = json.loads(Path(request_file).read_text())
    document["billing_request"]["channels"].append({"channel": "read", "kind": "REGISTER"})
    Path(request_file).write_text(json.dumps(document))
    with live_server() as target:
        assert run(["determinants", request_file, "--server", target]) is ExitCode.REFUSED
    online = capsys.readouterr().err
    assert run(["determinants", request_file, "--offline"]) is ExitCode.REFUSED
    assert capsys.readouterr().err == online
    assert [line.split(":")[0].strip() for line in online.splitlines()[1:]] == ["NO_READINGS load", "NO_READINGS read"]


def test_a_file_of_which_channel(request_file, load, capsys):
    document = json.loads(Path(request_file).read_text())
    document["billing_request"]["channels"].append({"channel": "read", "kind": "REGISTER"})
    Path(request_file).write_text(json.dumps(document))
    assert run(["determinants", request_file, load, "--quality", "good", "--offline"]) is ExitCode.USAGE
    assert "load.csv:2: of which channel is it?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("billing_request: {start_time: today}", '"today" is not an instant like'),
        ("readings: [{regular_times: {interval: 15m}}]", '"15m" is not a length of time in seconds like "900s"'),
        ("readings: [{values: [1.5]}]", '"1.5" is no whole number of at most 63 bits'),
        ("readings: [{quality_codes: AAAA}]", "is bytes, which a file cannot hold"),
        ("billing_request: {datasources: m1}", "BillingRequest has no such field; datasource is meant?"),
    ],
)
def test_a_request_file_names_its_faults(tmp_path, capsys, text, found):
    file = tmp_path / "request.yaml"
    file.write_text(text)
    assert run(["determinants", str(file), "--offline"]) is ExitCode.USAGE
    err = capsys.readouterr().err
    assert found in err
    assert f"{file}:1: " in err


def test_the_picture_of_the_example(tmp_path, capsys):
    picture = tmp_path / "load.png"
    files = [str(EXAMPLE / "request.yaml"), str(EXAMPLE / "load.csv")]
    assert run(["determinants", *files, "--offline", "--json", "--picture", str(picture)]) is ExitCode.OK
    assert answer(capsys)["datasource"] == "london"
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_what_the_picture_shows():
    # Given the example's load, by the slices of its tariff
    request = offline.read_request_file("request.yaml", (EXAMPLE / "request.yaml").read_bytes())
    request.arrow = tb.readings_stream(readings_of(request, [str(EXAMPLE / "load.csv")], None, None)[0])
    load = offline.sliced_load(request)
    assert load is not None
    result = tb.Determinants.read(offline.determinants(request, 0))
    # Then what is coloured as a slice adds up to the slice
    whole = {each.slice: each for each in result if each.kind is tb.Kind.TIMESLICE and not each.is_month}
    for index, name in enumerate(load.slices):
        shown = load.values[load.slice_of == index]
        expected = whole[name]
        assert expected.counts is not None
        assert expected.value is not None
        assert len(shown) == expected.counts.present_count
        assert shown.sum() == pytest.approx(float(expected.value))
    # And the maximum is at its interval
    [peak] = next(each for each in result if each.kind is tb.Kind.PMAX).peaks
    assert load.starts_us[load.values.argmax()] == peak.start_time.timestamp() * 1_000_000


def test_no_load_to_draw(request_file, tmp_path, capsys):
    document = json.loads(Path(request_file).read_text())
    document["billing_request"] |= {"channels": [{"channel": "read", "kind": "REGISTER"}], "demands": []}
    Path(request_file).write_text(json.dumps(document))
    read = tmp_path / "read.csv"
    read.write_text("time,value,quality\n2026-01-01T01:00:00Z,7,good\n")
    options = ["--offline", "--picture", str(tmp_path / "load.png")]
    assert run(["determinants", request_file, str(read), *options]) is ExitCode.USAGE
    assert "there is no load to draw" in capsys.readouterr().err


# --- What the book has ----------------------------------------------------------------------------------------------

ENERGY = Path(__file__).parents[2] / "examples/energy"
LONDON = str(ENERGY / "london.yaml")
A_DAY = ("--from", "2013-03-01", "--to", "2013-03-02")


@pytest.fixture(scope="module")
def book():
    """A server with the example's catalogue and two months of its home's readings."""
    with live_server() as target:
        assert run(["apply", str(ENERGY / "catalog.yaml"), "--server", target]) is ExitCode.OK
        file = [str(EXAMPLE / "load.csv"), "--datasource", "london", "--channel", "load"]
        words = ["--unit", "kWh", "--label", "BEGIN", "--interval", "1800"]
        assert run(["readings", "import", *file, *words, "--server", target]) is ExitCode.OK
        yield target


def test_without_files_the_book_s_readings_count_and_nothing_is_stored(book, capsys):
    assert run(["determinants", LONDON, *A_DAY, "--server", book, "--json"]) is ExitCode.OK
    found = answer(capsys)
    assert found["determinants"][0]["counts"]["present_count"] == "48"
    assert "message_id" not in found
    with tb.Client(book) as client:
        assert list(client.billing_messages()) == []


def test_the_picture_of_the_book_s_readings_is_that_of_the_file(book, tmp_path, capsys):
    pictures = [tmp_path / "book.png", tmp_path / "file.png", tmp_path / "offline.png"]
    server = ["--server", book]
    for options, picture in zip(
        (
            [*server],
            [str(EXAMPLE / "load.csv"), "--catalog", str(ENERGY / "catalog.yaml"), *server],
            [str(EXAMPLE / "load.csv"), "--catalog", str(ENERGY / "catalog.yaml"), "--offline"],
        ),
        pictures,
        strict=True,
    ):
        assert run(["determinants", LONDON, *A_DAY, *options, "--picture", str(picture)]) is ExitCode.OK
    assert len({picture.read_bytes() for picture in pictures}) == 1


def test_stored_determinants_are_charged(book, capsys):
    assert run(["determinants", LONDON, *A_DAY, "--store", "--server", book]) is ExitCode.OK
    assert ", with the billing message msg_" in capsys.readouterr().out.splitlines()[-1]
    assert run(["charges", "--customer", "household", "--server", book, "--json"]) is ExitCode.OK
    charged = [json.loads(line)["product_id"] for line in capsys.readouterr().out.splitlines()]
    assert charged == ["day", "demand", "night", "peak", "weekend"]


@pytest.mark.parametrize("said", ["option", "file"])
def test_only_a_server_stores(request_file, load, capsys, said):
    if said == "file":
        document = json.loads(Path(request_file).read_text()) | {"store": True}
        Path(request_file).write_text(json.dumps(document))
    options = ["--store"] if said == "option" else []
    assert run(["determinants", request_file, load, *GOOD, "--offline", *options]) is ExitCode.USAGE
    assert "only a server stores" in capsys.readouterr().err


def test_dates_need_a_time_zone(capsys):
    assert run(["determinants", LONDON, *A_DAY, "--offline"]) is ExitCode.USAGE
    assert "give the billing request a time_zone" in capsys.readouterr().err


def test_what_is_configured_of_a_datasource(book):
    with tb.Client(book) as client:
        found = client.datasource_configuration("london", ["time_of_use"])
        assert [each.id for each in found.channel_classifiers] == ["HOME"]
        assert [each.id for each in found.timeslice_groups] == ["time_of_use"]
        assert [each.id for each in found.holiday_calendars] == ["england"]
        # What is given goes before it
        found.channel_classifiers[0].decimal_places = 9
        again = client.datasource_configuration("london", given=found)
        assert again == found
        with pytest.raises(tb.NotFoundError, match="nobody"):
            client.datasource_configuration("nobody")


# --- Files of meters ------------------------------------------------------------------------------------------------

NEM12_FILE = Path(__file__).parents[1] / "vectors/energy/nem12/unzipped/Example_NEM12_actual_interval.csv"
NEM12_REQUEST = """
billing_request:
  datasource: {datasource}
  start_time: 2004-02-01T00:00:00+10:00
  end_time: 2004-02-02T00:00:00+10:00
  time_zone: Australia/Brisbane
  channels: [{{channel: {channel}, kind: INTERVAL}}, {{channel: {channel}, kind: PMAX, as_power: true}}]
configuration:
  datasources: [{{id: {datasource}, channels: [{{name: {channel}, classifier: ACTIVE}}]}}]
  channel_classifiers:
    - {{id: ACTIVE, unit: {unit}, decimal_places: 6, kind: {kind}, label: {label}, interval: {interval}}}
"""


@pytest.fixture
def nem12_request(tmp_path):
    def written(**changed: str) -> str:
        said = {"datasource": "VABD000163", "channel": "E1", "unit": "kWh", "label": "END", "interval": "1800s"}
        file = tmp_path / "nem12.yaml"
        file.write_text(NEM12_REQUEST.format(**{**said, "kind": "INTERVAL", **changed}))
        return str(file)

    return written


@pytest.mark.parametrize("packed", [False, True])
def test_a_meter_file_of_several_channels(nem12_request, tmp_path, capsys, packed):
    """The file's other channel, Q1, is not configured, and is left out."""
    file = NEM12_FILE
    if packed:
        file = tmp_path / "nem12.csv.gz"
        file.write_bytes(gzip.compress(NEM12_FILE.read_bytes()))
    assert run(["determinants", nem12_request(), str(file), "--offline", "--json"]) is ExitCode.OK
    found = answer(capsys)["determinants"]
    assert [(each["value"], each["unit"], each["quality"]) for each in found] == [
        ("53.328", "kWh", "measured"),
        ("2.222", "kW", "measured"),
    ]


@pytest.mark.parametrize(
    ("named", "prefix", "said"),
    [
        ({"datasource": "NMI9"}, "", "has no datasource NMI9; it has VABD000163"),
        ({"channel": "B1"}, "", "has the channels E1, Q1; the request's datasource has B1"),
        ({}, "E1=", "has the channels E1, Q1; leave E1= out"),
        ({"unit": "Wh"}, "", "channel VABD000163/E1 has the unit kWh; classifier ACTIVE says Wh"),
        ({"label": "BEGIN"}, "", "has the label END; classifier ACTIVE says BEGIN"),
        ({"kind": "REGISTER"}, "", "has the kind INTERVAL; classifier ACTIVE says REGISTER"),
    ],
)
def test_a_meter_file_of_another_meter_channel_or_measure(nem12_request, capsys, named, prefix, said):
    code = run(["determinants", nem12_request(**named), f"{prefix}{NEM12_FILE}", "--offline"])
    assert code is ExitCode.USAGE
    assert said in capsys.readouterr().err


def test_a_meter_file_of_other_intervals_than_the_classifier_has(nem12_request, capsys):
    """Half hours billed as quarters would have twice their power."""
    assert run(["determinants", nem12_request(interval="900s"), str(NEM12_FILE), "--offline"]) is ExitCode.REFUSED
    assert "intervals of 900000000 us" in capsys.readouterr().err


def test_what_was_skipped_of_a_meter_file_is_told(nem12_request, tmp_path, capsys):
    first, rest = NEM12_FILE.read_text().split("300,20040201,1.111,", 1)
    file = tmp_path / "nem12.csv"
    file.write_text(f"{first}300,20040201,abc,{rest}")
    assert run(["determinants", nem12_request(), str(file), "--offline", "--json"]) is ExitCode.OK
    told = capsys.readouterr()
    assert "nem12.csv: line 3: " in told.err
    assert "abc" in told.err
    assert json.loads(told.out)["determinants"][0]["counts"]["present_count"] == "47"


def test_a_cim_request_is_recognised(capsys, tmp_path, load):
    # Given the documented shape for the small meter's hour, and a catalogue that names the reading type
    ref = "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.0.72.0"
    interval = {"start": "2026-01-01T00:00:00.000Z", "end": "2026-01-01T01:00:00.000Z"}
    asked = {
        "mRID": "1",
        "UsagePoint": {"mRID": "m1"},
        "TimeSchedules": [{"scheduleInterval": interval}],
        "ReadingTypes": [{"ref": ref}],
    }
    document = {"header": {"noun": "GetMeterReadings"}, "payload": {"GetMeterReadings": [asked]}}
    request = tmp_path / "cim.json"
    request.write_text(json.dumps(document))
    catalogue = tmp_path / "catalog.yaml"
    catalogue.write_text(
        "channel_classifiers:\n"
        f"  - {{id: A, unit: kWh, decimal_places: 3, interval: 900s, reading_types: [{{ref: {ref}}}]}}\n"
        "datasources: [{id: m1, channels: [{name: load, classifier: A}], time_zone: UTC}]\n"
    )
    # Then its readings are summed
    arguments = ["determinants", str(request), load, "--quality", "measured", "--json"]
    assert run([*arguments, "--offline", "--catalog", str(catalogue)]) is ExitCode.OK
    (found,) = answer(capsys)["determinants"]
    assert (found["billing_channel"], found["value"]) == ("BILLING_A_INTERVAL", "1.005")
    # And without a configuration nothing is guessed
    assert run([*arguments, "--offline"]) is not ExitCode.OK
    assert "--catalog FILE" in capsys.readouterr().err
