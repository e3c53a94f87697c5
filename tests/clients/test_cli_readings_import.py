"""Readings and stored determinants through the client and the command line, against a real server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pytest
from tests.support.live_server import live_server
from tests.support.metered_book import configuration, wire

import tallybook_client as tb
from tallybook_cli.exit_codes import ExitCode
from tallybook_cli.main import run

START = datetime(2026, 1, 1, tzinfo=UTC)
QUARTER = timedelta(minutes=15)
Run = Callable[..., list[Any]]


@pytest.fixture
def address() -> Iterator[str]:
    with live_server() as found:
        yield found


@pytest.fixture
def client(address: str) -> Iterator[tb.Client]:
    with tb.Client(address) as connected:
        yield connected


@pytest.fixture
def tallybook(address: str, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command; JSON lines, or lines of text."""

    def run_it(*arguments: object, expected: ExitCode = ExitCode.OK, text: bool = False) -> list[Any]:
        code = run([*map(str, arguments), "--server", address, *([] if text else ["--json"])])
        captured = capsys.readouterr()
        assert code is expected, captured.err
        return [line if text else json.loads(line) for line in captured.out.splitlines()]

    return run_it


def day(value: int) -> Any:
    values = np.full(96, value)
    return tb.channel_readings("load", values, START + QUARTER, QUARTER, decimal_places=3, unit="kWh")


def calculate(client: tb.Client) -> tb.Determinants:
    billing = wire.BillingRequest(datasource="m1", time_zone="UTC", channels=[{"channel": "load", "kind": "INTERVAL"}])
    billing.start_time.FromDatetime(START)
    billing.end_time.FromDatetime(START + timedelta(days=1))
    request = wire.CalculateDeterminantsRequest(billing_request=billing, configuration=configuration("m1"), store=True)
    return client.calculate_determinants(request)


def test_readings_are_stored_listed_and_billed(client: tb.Client, tallybook: Run) -> None:
    frame = pl.DataFrame(
        {
            "datasource": ["m1"],
            "channel": ["load"],
            "time": [START + QUARTER],
            "value": [Decimal("1.25")],
            "quality": ["estimated"],
            "interval": [QUARTER],
        }
    )
    batches: list[Any] = [[("m1", day(250)), ("m9", day(1))], frame]
    first, second = client.ingest_readings(batches, configuration=configuration("m1"))
    assert (first.batch_number, first.stored_count, first.refused_delivery_count) == (0, 96, 1)
    assert [(each.index, each.datasource) for each in first.refused_deliveries] == [(1, "m9")]
    assert (second.batch_number, second.stored_count, second.sequence) == (1, 1, 2)

    readings = list(client.list_readings("m1", "load"))
    assert (len(readings), readings[0].value, readings[0].quality) == (96, Decimal("1.25"), "estimated")
    assert readings[1].interval == QUARTER
    [shown, *_] = tallybook("readings", "list", "m1", "load", "--to", "2026-01-01T00:16:00Z", "--superseded")
    assert (shown["value"], shown["sequence"], shown["superseded"]) == ("0.25", "1", True)
    assert "the first 3; --limit shows more" in tallybook("readings", "list", "m1", "load", "--limit", 3, text=True)[-1]

    total = calculate(client)
    assert total[0].value == Decimal("25")
    [message] = tallybook("billing", "messages")
    assert message["message_id"] == total.message.message_id
    assert json.loads(message["document"])["m1"]["determinants"][0]["value"] == "25"
    assert any("m1" in line for line in tallybook("billing", "messages", text=True))
    [value] = tallybook("billing", "readings", "m1", "BILLING_ACTIVE_INTERVAL")
    assert (value["value"], value["quality"], value["message_id"]) == ("25", "estimated", message["message_id"])
    assert any("estimated" in line for line in tallybook("billing", "readings", "m1", value_channel(), text=True))


def value_channel() -> str:
    return "BILLING_ACTIVE_INTERVAL"


def test_messages_are_acknowledged(client: tb.Client, tallybook: Run) -> None:
    list(client.ingest_readings([[("m1", day(250))]], configuration=configuration("m1")))
    ids = [calculate(client).message.message_id for _ in range(2)]
    assert [each.message_id for each in client.billing_messages()] == ids
    [answer] = tallybook("billing", "acknowledge", ids[0])
    assert answer == {"acknowledged_count": 1}
    told = tallybook("billing", "acknowledge", *ids, "msg_1", expected=ExitCode.FAILURE_FOUND, text=True)
    assert told == ["1 acknowledged, 1 before", "there is no message msg_1"]
    assert client.acknowledge(ids).already_acknowledged_count == 2
    assert tallybook("billing", "messages") == []


def test_a_batch_that_is_wrong_as_a_whole_is_raised_with_its_number(client: tb.Client) -> None:
    with pytest.raises(tb.InvalidArgumentError) as raised:
        list(
            client.ingest_readings(
                [[("m1", day(1))]], configuration=wire.DeterminantsConfiguration(channel_classifiers=[{"id": "A"}])
            )
        )
    assert raised.value.__notes__ == ["batch 0"]


<<<<<<<< HEAD:tests/clients/test_cli_readings.py
def test_a_frame_without_its_datasource_is_refused_before_it_is_sent(client: tb.Client) -> None:
    with pytest.raises(tb.FrameError, match="no column datasource"):
        list(client.ingest_readings([pl.DataFrame({"channel": ["load"]})]))
========
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
>>>>>>>> h-import:tests/clients/test_cli_readings_import.py
