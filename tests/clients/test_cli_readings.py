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


def test_readings_are_taken_back(client: tb.Client, tallybook: Run) -> None:
    list(client.ingest_readings([[("m1", day(250))], [("m1", day(1))]], configuration=configuration("m1")))
    assert [each.sequence for each in client.list_readings("m1", "load", include_superseded=True)][:2] == [1, 2]
    [answer] = tallybook("readings", "delete", "m1", "load", "--sequence", 2, "--from", "2026-01-01T00:16:00Z")
    assert answer == {"deleted_count": "95", "sequence": "3"}
    told = tallybook("readings", "delete", "m1", "load", "--sequence", 2, "--to", "2026-01-02", text=True)
    assert told == ["1 readings taken back in sequence 4"]
    told = tallybook("readings", "delete", "m1", "load", "--sequence", 2, text=True)
    assert told == ["nothing to take back: no such reading is stored, or all were taken back before"]
    assert {each.value for each in client.list_readings("m1", "load")} == {Decimal("0.25")}
    first, second, *_ = client.list_readings("m1", "load", include_superseded=True)
    assert (first.deleted_sequence, second.deleted_sequence, first.kind, first.label) == (0, 4, "INTERVAL", "END")
    shown = tallybook("readings", "list", "m1", "load", "--superseded", text=True)
    assert any("taken back" in line for line in shown), shown
    # All of a channel is not taken back by leaving everything out
    tallybook("readings", "delete", "m1", "load", expected=ExitCode.USAGE, text=True)


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


def test_a_frame_without_its_datasource_is_refused_before_it_is_sent(client: tb.Client) -> None:
    with pytest.raises(tb.FrameError, match="no column datasource"):
        list(client.ingest_readings([pl.DataFrame({"channel": ["load"]})]))
