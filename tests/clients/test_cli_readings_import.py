"""`tallybook readings import`: files of every format in the book; what is skipped and refused; again."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
from tests.support.live_server import live_server

import tallybook_client as tb
from tallybook_cli import deliveries
from tallybook_cli.exit_codes import ExitCode
from tallybook_cli.main import run

VECTORS = Path(__file__).parents[1] / "vectors/energy"
NEM12 = VECTORS / "nem12/unzipped/Example_NEM12_actual_interval.csv"
HOUSE = Path(__file__).parents[1] / "unit/readings_files/house.xml"
CONFIGURATION = """
configuration:
  datasources:
    - id: house
      channels:
        - {name: load, classifier: ACTIVE}
        - {name: reactive, classifier: REACTIVE}
        - {name: hourly, classifier: HOURLY}
        - {name: dial, classifier: DIAL}
  channel_classifiers:
    - {id: ACTIVE, unit: kWh, decimal_places: 6, label: END, interval: 1800s}
    - {id: REACTIVE, unit: kvarh, decimal_places: 6, label: END, interval: 1800s}
    - {id: HOURLY, unit: Wh, decimal_places: 3, label: BEGIN, interval: 3600s}
    - {id: DIAL, unit: Wh, decimal_places: 3, kind: REGISTER}
"""
AS_HOUSE = ("--datasource-map", "VABD000163=house", "--channel-map", "E1=load", "--channel-map", "Q1=reactive")


@pytest.fixture(scope="module")
def target():
    with live_server() as found:
        yield found


@pytest.fixture
def configured(tmp_path):
    file = tmp_path / "house.yaml"
    file.write_text(CONFIGURATION)
    return ["--configuration", str(file)]


def answers(capsys) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def stored(target: str, channel: str, datasource: str = "house") -> list[tb.StoredReading]:
    with tb.Client(target) as client:
        return list(client.list_readings(datasource, channel))


def test_a_nem12_file_is_stored_under_the_book_s_names_and_again_without_a_change(target, configured, capsys):
    for _ in range(2):
        line = ["readings", "import", str(NEM12), *AS_HOUSE, *configured, "--server", target, "--json"]
        assert run(line) is ExitCode.OK
        read, sent = answers(capsys)
        assert (read["format"], read["read_count"], read["skipped_count"]) == ("NEM12", 96, 0)
        assert (sent["stored_count"], sent["refused_delivery_count"]) == (96, 0)
        found = stored(target, "load")
        assert len(found) == 48
        # The market's day of 2004-02-01 begins ten hours before that of UTC; its first interval ends half an hour on.
        first = found[0]
        assert first.time == datetime(2004, 1, 31, 14, 30, tzinfo=UTC)
        assert (first.value, first.unit, first.quality) == (Decimal("1.111"), "kWh", "measured")
        assert len(stored(target, "reactive")) == 48


def test_green_button_intervals_and_reads_of_a_register(target, configured, capsys):
    line = ["readings", "import", str(HOUSE), "--datasource-map", "31=house", *configured, "--server", target]
    assert run(line) is ExitCode.OK
    said = capsys.readouterr().out
    assert "house.xml: GREEN_BUTTON, 6 readings read, 0 skipped" in said
    assert "6 readings stored" in said
    assert [str(each.value) for each in stored(target, "hourly")] == ["450.25", "512", "-0.005", "0.001"]
    assert [(int(each.value), each.interval) for each in stored(target, "dial")] == [
        (99_812_000, None),
        (99_930_000, None),
    ]


def test_csv_and_parquet_with_columns_of_their_own(target, configured, tmp_path, capsys):
    csv, parquet = tmp_path / "load.csv", tmp_path / "load.parquet"
    csv.write_text("until;kwh\n2030-07-01 00:30;1.5\n2030-07-01 01:00;2.5\n")
    times = pa.array(["2030-07-01T01:30", "2030-07-01T02:00"]).cast(pa.timestamp("us"))
    pa.parquet.write_table(pa.table({"until": times, "kwh": pa.array([35, 45])}), parquet)
    line = ["readings", "import", str(csv), str(parquet), "--column", "end=until", "--column", "value=kwh"]
    named = ["--datasource", "house", "--channel", "load", "--zone", "Europe/London", "--quality", "estimated"]
    assert run([*line, *named, *configured, "--server", target]) is ExitCode.OK
    with tb.Client(target) as client:
        found = list(client.list_readings("house", "load", datetime(2030, 1, 1, tzinfo=UTC)))
    # Summer time in London is an hour ahead of UTC
    assert [each.time.isoformat() for each in found] == [
        "2030-06-30T23:30:00+00:00",
        "2030-07-01T00:00:00+00:00",
        "2030-07-01T00:30:00+00:00",
        "2030-07-01T01:00:00+00:00",
    ]
    assert [(int(each.value * 10), each.quality) for each in found] == [
        (15, "estimated"),
        (25, "estimated"),
        (350, "estimated"),
        (450, "estimated"),
    ]


def test_a_reading_that_is_finer_than_its_channel_is_named(target, configured, tmp_path, capsys):
    csv = tmp_path / "load.csv"
    csv.write_text("end,value\n2030-07-01 00:30,1.50000000\n2030-07-01 01:00,2.12345678\n")
    named = ["--datasource", "house", "--channel", "load", "--zone", "UTC", "--quality", "estimated"]
    line = ["readings", "import", str(csv), *named, *configured, "--server", target]
    assert run(line) is ExitCode.FAILURE_FOUND
    said = " ".join(capsys.readouterr().out.split())
    assert "kept with 6, and row 1, of 2030-07-01T01:00:00Z, is 2.12345678: round it" in said
    # Zeros at the end are no decimals
    csv.write_text("end,value\n2030-07-01 00:30,1.50000000\n2030-07-01 01:00,2.12300000\n")
    assert run(line) is ExitCode.OK
    assert [str(each.value) for each in stored(target, "load")][-2:] == ["1.5", "2.123"]


def test_reads_of_nem13(target, tmp_path, capsys):
    configuration = tmp_path / "register.yaml"
    configuration.write_text("""
configuration:
  datasources: [{id: register, channels: [{name: dial, classifier: DIAL}]}]
  channel_classifiers: [{id: DIAL, unit: kWh, decimal_places: 1, kind: REGISTER}]
""")
    (file,) = VECTORS.rglob("NEM13#000000000000016#CNRGYMDP#NEMMCO.zip")
    line = ["readings", "import", str(file), "--channel-map", "11=dial", "--configuration", str(configuration)]
    meter = json.loads(_dry(file, capsys)[0])["channels"][0]["datasource"]
    assert run([*line, "--datasource-map", f"{meter}=register", "--server", target]) is ExitCode.OK
    assert [int(each.value) for each in stored(target, "dial", "register")] == [38959, 38969, 38972, 38973]


def _dry(file: Path, capsys) -> list[str]:
    capsys.readouterr()
    assert run(["readings", "import", str(file), "--dry-run", "--json"]) is ExitCode.OK
    return capsys.readouterr().out.splitlines()


def test_a_dry_run_reports_and_needs_no_server(tmp_path, capsys):
    file = tmp_path / "load.csv"
    rows = [
        "00:30Z,1,measured",
        "01:00Z,many,measured",
        "01:30Z,1,odd",
        "01:30Z,1,measured",
        "01:30Z,2,measured",
        "x,1,",
    ]
    file.write_text("end,value,quality\n" + "".join(f"2026-01-01T{row}\n" for row in rows))
    line = ["readings", "import", str(file), "--datasource", "house", "--channel", "load", "--interval", "1800"]
    closed = ["--unit", "kWh", "--dry-run", "--server", "127.0.0.1:9"]
    assert run([*line, *closed]) is ExitCode.FAILURE_FOUND
    assert capsys.readouterr().out.splitlines() == [
        "load.csv: CSV, 2 readings read, 4 skipped",
        "  house/load: 2 of INTERVAL in kWh, 2026-01-01 00:30:00Z to 2026-01-01 01:30:00Z",
        "  skipped: 1 VALUE_MALFORMED, 1 UNKNOWN_STATUS, 1 DUPLICATE, 1 TIME_MALFORMED",
        "  line 3: house/load: its value 'many' is no decimal (1 skipped); write digits with a point: no exponent, no "
        "thousands separator, no NaN",
        "  line 4: house/load: unknown status 'odd' (1 skipped); correct it, or say which status of the quality table "
        "it means",
        "  line 5: house/load: a timestamp that the file has twice; the last one is kept (1 skipped); send each once",
        "  line 7: house/load: its time '2026-01-01Tx' is none (1 skipped); write it as 2025-01-31T23:45:00+01:00",
    ]
    assert run([*line, *closed, "--status", "odd=estimated", "--json"]) is ExitCode.FAILURE_FOUND
    (read,) = answers(capsys)
    assert read["skipped_counts"] == {"DUPLICATE": 2, "VALUE_MALFORMED": 1, "TIME_MALFORMED": 1}
    assert [each["line"] for each in read["lines"]] == [3, 4, 5, 7]
    assert run([*line, "--unit", "kWh", "--server", "127.0.0.1:9"]) is ExitCode.UNAVAILABLE


def test_what_the_server_refuses_is_told_and_the_rest_is_stored(target, tmp_path, capsys):
    file = tmp_path / "request.yaml"
    file.write_text(CONFIGURATION.replace("{name: hourly, classifier: HOURLY}", "{name: hourly, classifier: COARSE}"))
    file.write_text(file.read_text() + "    - {id: COARSE, unit: Wh, decimal_places: 1, label: BEGIN}\n")
    line = ["readings", "import", str(HOUSE), "--datasource-map", "31=house", "--configuration", str(file)]
    assert run([*line, "--server", target]) is ExitCode.FAILURE_FOUND
    said = capsys.readouterr().out
    assert "2 readings stored" in said
    assert "refused: 1 deliveries, of which nothing is stored" in said
    assert "house/hourly: " in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--datasource-map", "VABD000163=house"], "datasource house has no channel E1; it has load, reactive"),
        ([*AS_HOUSE[:4], "--channel-map", "Q1=load"], "two channels would be house/load; map each by its meter"),
        (
            [*AS_HOUSE[:2], "--channel-map", "E1=hourly", "--only", "hourly"],
            "has the unit kWh; classifier HOURLY says Wh",
        ),
        (["--channel-map", "E1"], "write --channel-map NAME=TEXT"),
        (["--format", "NEM13"], "a header of 'NEM12'"),
    ],
)
def test_names_that_do_not_fit_are_refused_before_anything_is_sent(configured, capsys, options, said):
    line = ["readings", "import", str(NEM12), *options, *configured, "--server", "127.0.0.1:9"]
    assert run(line) is ExitCode.USAGE
    assert said in capsys.readouterr().err


def test_a_file_that_names_no_datasource(tmp_path, capsys):
    file = tmp_path / "load.csv"
    file.write_text("end,value\n2026-01-01T00:30Z,1\n")
    assert run(["readings", "import", str(file), "--dry-run"]) is ExitCode.USAGE
    assert "load.csv:2: of which datasource is it?" in capsys.readouterr().err


def test_many_readings_go_in_many_messages(target, configured, monkeypatch):
    monkeypatch.setattr(deliveries, "READINGS_IN_MESSAGE_MAX", 7)
    line = ["readings", "import", str(NEM12), *AS_HOUSE, *configured, "--server", target]
    assert run(line) is ExitCode.OK
    with tb.Client(target) as client:
        found = list(client.list_readings("house", "load", end_time=datetime(2005, 1, 1, tzinfo=UTC)))
    assert len(found) == 48
    assert len({each.sequence for each in found}) > 1


def test_the_first_use_on_a_machine_says_why_it_takes_longer(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    assert run(["readings", "import", str(NEM12), "--dry-run"]) is ExitCode.OK
    assert "compiles the readers of numbers" in capsys.readouterr().err
    (tmp_path / "numbers._parse-1.py311.nbi").touch()
    assert run(["readings", "import", str(NEM12), "--dry-run"]) is ExitCode.OK
    assert capsys.readouterr().err == ""


def test_what_the_catalogue_has_configured_need_not_be_said(target, tmp_path, capsys):
    catalogue = tmp_path / "catalog.yaml"
    catalogue.write_text("""
datasources: [{id: flat, channels: [{name: load, classifier: FLAT}]}]
channel_classifiers: [{id: FLAT, unit: kWh, decimal_places: 6, label: END, interval: 1800s}]
""")
    assert run(["apply", str(catalogue), "--server", target]) is ExitCode.OK
    line = ["readings", "import", str(NEM12), "--datasource-map", "VABD000163=flat", "--channel-map", "E1=load"]
    assert run([*line, "--only", "load", "--server", target]) is ExitCode.OK
    assert len(stored(target, "load", "flat")) == 48
    # What it does not have is refused, delivery by delivery
    capsys.readouterr()
    assert run([*line, "--server", target]) is ExitCode.FAILURE_FOUND
    said = capsys.readouterr().out
    assert "48 readings stored" in said
    assert "flat/Q1: " in said


def test_a_unit_that_nothing_says_is_that_of_the_catalogue(target, tmp_path, capsys):
    catalogue, csv = tmp_path / "catalog.yaml", tmp_path / "load.csv"
    catalogue.write_text("""
datasources: [{id: bakery, channels: [{name: load, classifier: OF_BAKERY}]}]
channel_classifiers: [{id: OF_BAKERY, unit: kWh, decimal_places: 3, label: END, interval: 1800s}]
""")
    csv.write_text("end,value\n2030-07-01T00:30:00Z,1.5\n2030-07-01T01:00:00Z,2.5\n")
    assert run(["apply", str(catalogue), "--server", target]) is ExitCode.OK
    line = ["readings", "import", str(csv), "--datasource", "bakery", "--channel", "load", "--quality", "measured"]
    assert run([*line, "--server", target]) is ExitCode.OK
    assert "  bakery/load: 2 of INTERVAL, 2030-07-01 00:30:00Z to 2030-07-01 01:00:00Z" in capsys.readouterr().out
    assert [(each.value, each.unit) for each in stored(target, "load", "bakery")] == [
        (Decimal("1.5"), "kWh"),
        (Decimal("2.5"), "kWh"),
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--column", "start=until"], "has the label BEGIN; classifier HALF_HOUR says END"),
        (["--column", "end=until", "--kind", "REGISTER"], "has the kind REGISTER; classifier HALF_HOUR says INTERVAL"),
    ],
)
def test_what_the_catalogue_calls_otherwise_is_refused_before_anything_is_sent(target, tmp_path, capsys, options, said):
    catalogue, csv = tmp_path / "catalog.yaml", tmp_path / "load.csv"
    catalogue.write_text("""
datasources: [{id: shop, channels: [{name: load, classifier: HALF_HOUR}]}]
channel_classifiers: [{id: HALF_HOUR, unit: kWh, decimal_places: 3, label: END, interval: 1800s}]
""")
    csv.write_text("until;value\n2030-07-01T00:30:00Z;1.5\n2030-07-01T01:00:00Z;2.5\n")
    assert run(["apply", str(catalogue), "--server", target]) is ExitCode.OK
    line = ["readings", "import", str(csv), "--datasource", "shop", "--channel", "load", "--unit", "kWh", *options]
    assert run([*line, "--quality", "measured", "--interval", "1800", "--server", target]) is not ExitCode.OK
    told = capsys.readouterr().err
    assert said in told
    assert "nothing was sent" in told
    assert not stored(target, "load", "shop")
