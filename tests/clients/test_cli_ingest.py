"""`tallybook ingest` and `predict` against a server that answers as it is told: what is sent, told, and exited with."""

import json

import polars as pl
import pyarrow as pa
import pytest

from tallybook.v1 import ingest_pb2
from tallybook_cli.exit_codes import ExitCode
from tallybook_cli.main import run

MAPPED = [
    *("--map", "reference=id"),
    *("--map", "value:miles=miles"),
    *("--set", "customer_reference=c"),
    *("--set", "meter_reference=m"),
]


@pytest.fixture
def server(target):
    return ["--server", target]


def a_csv(tmp_path, *numbers: str):
    file = tmp_path / "usage.csv"
    file.write_text("id,miles\n" + "".join(f"r{row},{number}\n" for row, number in enumerate(numbers)))
    return str(file)


def test_a_file_is_sent_in_batches_and_counted(tmp_path, service, server, capsys):
    # Given a file of five events
    file = a_csv(tmp_path, "1", "2.5", "3", "4", "5")

    # When it is ingested two at a time
    code = run(["ingest", file, *MAPPED, *server, "--batch-rows", "2", "--json"])

    # Then three batches went out, and the counts are told
    assert code is ExitCode.OK
    sent = [pa.ipc.open_stream(request.arrow).read_all() for request in service.streams[0]]
    assert [table.num_rows for table in sent] == [2, 2, 1]
    assert [str(number) for number in sent[0].column("value:miles").to_pylist()] == ["1.000000000000", "2.500000000000"]
    assert json.loads(capsys.readouterr().out) == {
        "row_count": 5,
        "stored_count": 5,
        "duplicate_count": 0,
        "matched_count": 5,
        "conflict_count": 0,
        "unpriced_count": 0,
        "invalid_count": 0,
        "sequence": 3,
        "unmatched": {},
        "refused_rows": [],
    }


def test_refused_rows_are_named_by_line_whoever_refused_them(tmp_path, service, server, capsys):
    # Given a file whose third line is no number, and a server that has the last row already, with another payload
    file = a_csv(tmp_path, "1", "many", "3")

    def conflict(requests, context, attempt):
        for request in requests:
            result = ingest_pb2.BatchResult(stored_count=1, conflict_count=1, sequence=9)
            row = result.exceptional_rows.add(row=1, status=ingest_pb2.EventResult.CONFLICT)
            row.fault.reason, row.fault.message = "REFERENCE_CONFLICT", "stored before"
            yield ingest_pb2.StreamingIngestEventsResponse(batch_number=request.batch_number, result=result)

    service.on_stream = conflict

    # When it is ingested
    code = run(["ingest", file, *MAPPED, *server, "--json"])

    # Then both are told, and the exit code says so
    assert code is ExitCode.FAILURE_FOUND
    told = json.loads(capsys.readouterr().out)
    assert (told["row_count"], told["invalid_count"], told["conflict_count"]) == (3, 1, 1)
    assert told["refused_rows"] == [
        {"line": 3, "status": "INVALID", "reason": "DECIMAL_MALFORMED", "message": "column miles: 'many'"},
        {"line": 4, "status": "CONFLICT", "reason": "REFERENCE_CONFLICT", "message": "stored before"},
    ]
    assert run(["ingest", file, *MAPPED, *server]) is ExitCode.FAILURE_FOUND
    assert "line 4: CONFLICT REFERENCE_CONFLICT stored before" in capsys.readouterr().out


def test_duplicates_are_no_failure(tmp_path, service, server, capsys):
    def duplicates(requests, context, attempt):
        for request in requests:
            result = ingest_pb2.BatchResult(duplicate_count=2, duplicate_rows=[0, 1])
            yield ingest_pb2.StreamingIngestEventsResponse(batch_number=request.batch_number, result=result)

    service.on_stream = duplicates
    assert run(["ingest", a_csv(tmp_path, "1", "2"), *MAPPED, *server]) is ExitCode.OK
    assert "0 stored, 2 duplicates (stored before)" in capsys.readouterr().out


def test_costs_are_written(tmp_path, service, server):
    costs = tmp_path / "costs.parquet"
    code = run(["ingest", a_csv(tmp_path, "1", "2", "3"), *MAPPED, *server, "--costs", str(costs), "--json"])
    assert code is ExitCode.OK
    frame = pl.read_parquet(costs)
    assert frame["row"].to_list() == [0, 1, 2]
    assert [str(amount) for amount in frame["amount_excluding_tax"]] == ["0.00", "0.01", "0.02"]


def test_a_refused_call_says_what_the_server_said(tmp_path, service, server, answers, capsys):
    def refuse(requests, context, attempt):
        for request in requests:
            yield answers.failed(request, answers.INVALID_ARGUMENT, "ARROW_COLUMN_TYPE")

    service.on_stream = refuse
    assert run(["ingest", a_csv(tmp_path, "1"), *MAPPED, *server]) is ExitCode.REFUSED
    assert capsys.readouterr().err == "tallybook: batch 0: not this time (ARROW_COLUMN_TYPE)\n"


def test_the_contracts_own_json_is_predicted_and_answered_as_it_came(tmp_path, service, server, capsys):
    # Given an event as a file of two lines
    file = tmp_path / "event.json"
    file.write_text('{"reference": "e", "customer_reference": "c", "meter_reference": "m",\n "meter_values": []}')
    result = ingest_pb2.EventResult(status=ingest_pb2.EventResult.STORED, match=ingest_pb2.EventResult.NO_CONTRACT)
    service.answers.append(ingest_pb2.PredictCostsResponse(results=[result]))

    # When it is predicted
    assert run(["predict", "--file", str(file), *server, "--json"]) is ExitCode.OK

    # Then it went out as it was, and its answer came back as it was
    assert service.requests[0].events[0].reference == "e"
    assert json.loads(capsys.readouterr().out) == {"status": "STORED", "match": "NO_CONTRACT"}


def test_an_event_that_is_none_is_named_by_its_line(tmp_path, server, capsys):
    file = tmp_path / "events.json"
    file.write_text('{"reference": "e"}\n\n{"referense": "f"}\n')
    assert run(["predict", "--file", str(file), *server]) is ExitCode.USAGE
    err = capsys.readouterr().err
    assert err.startswith(f"tallybook: {file}:3: an event has no field referense; it has contract_id, customer_id")


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [
        ("UNAUTHENTICATED", ExitCode.NOT_ALLOWED),
        ("NOT_FOUND", ExitCode.FAILURE_FOUND),
        ("RESOURCE_EXHAUSTED", ExitCode.REFUSED),
        ("INTERNAL", ExitCode.SERVER_FAULT),
    ],
)
def test_each_kind_of_failure_has_its_exit_code(service, server, capsys, code, exit_code):
    service.failure = code
    assert run(["explain", "evt_1", *server]) is exit_code
    assert capsys.readouterr().err.startswith("tallybook: it went wrong")
