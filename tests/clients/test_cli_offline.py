"""The command line without a server: help, quotes, and how failures are told."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tallybook_cli.exit_codes import ExitCode
from tallybook_cli.main import COMMANDS, run

DOCUMENT = Path(__file__).parents[2] / "docs" / "cli.md"

PLAN = """
id: storage
currency: EUR
included_quantity: {quantity: 10}
graduated: {tiers: [{up_to: 100, unit_price: 0.0333}, {unit_price: 0.02, flat_fee: 5}]}
"""

CATALOG = """
meters: [{id: m, values: [v], properties: [p]}]
products: [{id: x, meter: m, aggregation: SUM, value: v}]
plans:
  - {id: one, product: x, currency: JPY, package: {size: 10, amount: 150}}
  - {id: two, product: x, currency: EUR, matrix: {rules: [{match: {p: a}, per_unit: {unit_price: 1}}]}}
"""


@pytest.fixture
def plan(tmp_path):
    file = tmp_path / "plan.yaml"
    file.write_text(PLAN)
    return str(file)


@pytest.fixture
def catalog(tmp_path):
    file = tmp_path / "catalog.yaml"
    file.write_text(CATALOG)
    return str(file)


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_command_has_help_with_an_example(command, capsys):
    assert run([command, "--help"]) is ExitCode.OK
    out = capsys.readouterr().out
    assert "Example:" in out
    assert f"  tallybook {command} " in out


GROUPS = {
    "keys": [],
    "readings": ["list", "import"],
    "billing": ["messages", "acknowledge", "readings"],
    "sandbox": ["create", "list", "show", "delete"],
}
"""Commands of commands, with those that are asked for `--json` here."""


@pytest.mark.parametrize("command", [[name] for name in COMMANDS if name not in GROUPS])
def test_every_command_speaks_json(command, capsys):
    run([*command, "--help"])
    assert "--json" in capsys.readouterr().out


@pytest.mark.parametrize("command", [[group, name] for group, names in GROUPS.items() for name in names])
def test_every_command_of_a_group_speaks_json_and_has_an_example(command, capsys):
    run([*command, "--help"])
    out = capsys.readouterr().out
    assert "--json" in out
    assert f"  tallybook {' '.join(command)}" in out


def test_the_bare_command_is_its_help(capsys):
    assert run([]) is ExitCode.OK
    assert "verify" in capsys.readouterr().out


def test_help_imports_no_command():
    # Help has to be instant: no numba, no polars, no server.
    code = (
        "import sys; from tallybook_cli.main import run; run(['--help']);"
        "print([name for name in sys.modules if name in ('numba', 'polars', 'tallybook_server', 'matplotlib')])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "[]"


def test_a_quote_of_so_many_days(tmp_path, capsys):
    file = tmp_path / "plan.yaml"
    file.write_text(
        "{id: p, currency: EUR, per_unit: {unit_price: 1}, included_quantity: {quantity: 31, prorate: true}}"
    )
    assert run(["quote", str(file), "31", "--days", "10/31", "--json"]) is ExitCode.OK
    assert json.loads(capsys.readouterr().out)["amount"] == "21.00"


@pytest.mark.parametrize("days", ["10", "10/", "/31", "-1/31", "0/31", "32/31", "ten/31", "1/1000001"])
def test_days_of_a_quote_that_are_none(plan, days, capsys):
    assert run(["quote", plan, "150", f"--days={days}"]) is ExitCode.USAGE
    assert "days" in capsys.readouterr().err


DATES_SHOWN = re.findall(
    r"^\| `tallybook (dates [^`]+)` \| ([^|]+) \| ([^|]+) \|$",
    (Path(__file__).parents[2] / "docs" / "cli.md").read_text(),
    re.MULTILINE,
)
"""What the documentation shows of `tallybook dates`: command, first days, days."""


@pytest.mark.parametrize(("command", "first_days", "days"), DATES_SHOWN)
def test_billing_dates_are_as_the_documentation_shows_them(command, first_days, days, capsys):
    assert run([*command.split(), "--json"]) is ExitCode.OK
    periods = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert ", ".join(each["start_date"] for each in periods) == first_days
    assert ", ".join(f"{each['day_count']} of {each['whole_day_count']}" for each in periods) == days


def test_every_option_of_billing_dates_is_shown_in_the_documentation(capsys):
    assert len(DATES_SHOWN) == 11
    run(["dates", "--help"])
    options = set(re.findall(r"--[a-z]+", capsys.readouterr().out)) - {"--json", "--help"}
    commands = " ".join(command for command, *_ in DATES_SHOWN)
    assert [option for option in sorted(options) if f"{option} " not in commands] == []
    for word in ("CONTRACT", "CALENDAR", "WEEK", "YEAR", "DAY", "23:59:59"):
        assert word in commands


def test_a_midnight_that_does_not_exist_begins_with_the_date(capsys):
    assert run(["dates", "2024-04-01", "--zone", "Africa/Cairo", "--count", "1", "--json"]) is ExitCode.OK
    period = json.loads(capsys.readouterr().out)["period"]
    assert (period["start_time"], period["end_time"]) == ("2024-03-31T22:00:00Z", "2024-04-30T21:00:00Z")


def test_a_quote_in_json(plan, capsys):
    assert run(["quote", plan, "150", "--json"]) is ExitCode.OK
    assert json.loads(capsys.readouterr().out) == {
        "currency": "EUR",
        "plan_id": "storage",
        "quantity_before": "0",
        "quantity_after": "150",
        "exact_amount": "9.13",
        "amount": "9.13",
        "included_quantity_left": "0",
        "lines": [
            {"rule": "INCLUDED", "quantity": "10", "unit_amount": "0", "amount": "0"},
            {"rule": "TIER", "tier": 1, "quantity": "100", "unit_amount": "0.0333", "amount": "3.33"},
            {
                "rule": "TIER",
                "tier": 2,
                "quantity": "40",
                "unit_amount": "0.02",
                "flat_amount": "5",
                "amount": "5.8",
            },
        ],
    }


@pytest.mark.parametrize(
    ("arguments", "amount", "exact"),
    [
        (["3"], "0.00", "0"),
        (["11"], "0.03", "0.0333"),
        (["--from", "3", "--to", "11"], "0.03", "0.0333"),
        # From a line of 0.03 to one of 0.07: the move of the rounded line, not the rounded move.
        (["--from", "11", "--to", "12"], "0.04", "0.0333"),
        (["--from", "12", "--to", "11"], "-0.04", "-0.0333"),
    ],
)
def test_a_quote_is_the_move_of_the_rounded_line(plan, capsys, arguments, amount, exact):
    assert run(["quote", plan, *arguments, "--json"]) is ExitCode.OK
    quoted = json.loads(capsys.readouterr().out)
    assert (quoted["amount"], quoted["exact_amount"]) == (amount, exact)


def test_a_quote_for_a_person(plan, capsys):
    assert run(["quote", plan, "--from", "11", "--to", "12"]) is ExitCode.OK
    out = capsys.readouterr().out
    assert "tier 1" in out
    assert "+0.0333" in out
    assert "rounding" in out
    assert "+0.0067" in out
    assert "0.04 EUR without tax" in out
    assert "next tier from 110" in out


def test_a_plan_of_a_catalogue_is_named(catalog, capsys):
    assert run(["quote", catalog, "11", "--plan", "one", "--json"]) is ExitCode.OK
    assert json.loads(capsys.readouterr().out)["amount"] == "300"
    assert run(["quote", catalog, "11", "--plan", "two", "--rule", "p=a", "--json"]) is ExitCode.OK
    assert json.loads(capsys.readouterr().out)["amount"] == "11.00"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["quote", "{catalog}", "3"], "which plan? it has one, two"),
        (["quote", "{catalog}", "3", "--plan", "three"], "which plan?"),
        (["quote", "{catalog}", "3", "--plan", "two"], "which rule? it has p=a"),
        (["quote", "{catalog}", "3", "--plan", "one", "--rule", "p=a"], "has no matrix"),
        (["quote", "{plan}"], "how much?"),
        (["quote", "{plan}", "3", "--to", "4"], "how much?"),
        (["quote", "{plan}", "--to", "4"], "both --from and --to"),
        (["quote", "{plan}", "1e3"], "'1e3' is no quantity"),
        (["quote", "{plan}", "1000000000000000"], "is no quantity"),
        (["quote", "/nowhere/plan.yaml", "3"], "does not exist"),
        (["predict"], "give --customer and --meter"),
        (["predict", "--customer", "c", "--meter", "m", "--value", "miles"], "--value NAME=TEXT"),
        (["predict", "--customer", "c", "--meter", "m", "--time", "noon"], "'noon' is not a date or a time"),
        (["delete"], "give event ids"),
        (["delete", "--reference", "r"], "--generation"),
        (["explain"], "give an event id"),
        (["charges", "--customer", "a", "--customer-id", "b"], "not both"),
        (["charges", "--unopened"], "needs --from and --to"),
        (["charges", "--invoiced"], "--invoiced needs --from and --to"),
        (["simulate", "{plan}", "--billed-from", "2024-01-01"], "both --billed-from and --billed-to"),
        (["export", "charges", "charges.xlsx"], ".parquet or .csv"),
        (["ingest", "{plan}"], "--format"),
        (["ingest", "{plan}", "--format", "csv", "--map", "miles=m"], "events have no column miles"),
        (["apply", "{plan}"], "Catalog has no such field"),
        (["nonsense"], "No such command"),
        (["events", "--limit", "0"], "--limit"),
    ],
)
def test_a_wrong_command_line_is_one_line_on_standard_error(plan, catalog, capsys, arguments, words):
    filled = [argument.format(plan=plan, catalog=catalog) for argument in arguments]
    assert run(filled) is ExitCode.USAGE
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("tallybook: ")
    assert words in captured.err
    assert "Traceback" not in captured.err


def test_a_plan_with_faults_names_each_by_its_line(tmp_path, capsys):
    file = tmp_path / "plan.yaml"
    file.write_text(
        "id: x\ncurrency: XYZ\ngraduated:\n  tiers:\n    - {up_to: 1.2.3, unit_price: 1}\n    - {unit_price: a}\n"
    )
    assert run(["quote", str(file), "1"]) is ExitCode.USAGE
    err = capsys.readouterr().err
    assert f"{file}:2: currency" in err
    assert f"{file}:5: graduated.tiers[0].up_to" in err
    assert f"{file}:6: graduated.tiers[1].unit_price" in err


@pytest.mark.parametrize(
    "arguments", [["charges"], ["events"], ["usage", "--customer", "c"], ["reprocess"], ["explain", "evt_1"]]
)
def test_a_server_that_is_not_there_is_said_to_be_so(capsys, arguments):
    assert run([*arguments, "--server", "127.0.0.1:1"]) is ExitCode.UNAVAILABLE
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "no server answers at 127.0.0.1:1: start one with `tallybook serve`" in err


def test_the_key_is_never_echoed(capsys, monkeypatch):
    monkeypatch.setenv("TALLYBOOK_KEY", "tb_very_secret")
    run(["charges", "--server", "127.0.0.1:1"])
    run(["charges", "--help"])
    captured = capsys.readouterr()
    assert "tb_very_secret" not in captured.out + captured.err


def test_a_fault_of_its_own_is_one_line_too(capsys, monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("tallybook_client.Client.list_events", broken)
    monkeypatch.setattr("tallybook_client.Client.wait_until_ready", lambda _: None)
    assert run(["events"]) is ExitCode.SERVER_FAULT
    assert capsys.readouterr().err == (
        "tallybook: a fault of tallybook itself: ZeroDivisionError: oh (TALLYBOOK_TRACEBACK=1 shows where)\n"
    )
    monkeypatch.setenv("TALLYBOOK_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError):
        run(["events"])


def test_the_exit_codes_are_documented():
    documented = re.findall(r"^\| (\d+) \|", DOCUMENT.read_text(), re.MULTILINE)
    assert [int(code) for code in documented] == [code.value for code in ExitCode]


def test_every_command_is_documented():
    assert re.findall(r"^\| `(\w+)` \|", DOCUMENT.read_text(), re.MULTILINE) == list(COMMANDS)


def test_keys_are_made_listed_and_revoked(tmp_path, capsys):
    data = ["--data", str(tmp_path / "data"), "--json"]

    # Given a key to a book
    assert run(["keys", "create", "--book", "acme", *data]) is ExitCode.OK
    created = json.loads(capsys.readouterr().out)
    assert created["key"].startswith("tb_")
    assert created["book"] == "acme"

    # When it is revoked
    assert run(["keys", "revoke", created["key_id"], *data]) is ExitCode.OK
    assert "revoked_time" in json.loads(capsys.readouterr().out)

    # Then it is listed as such, and the key itself is nowhere
    assert run(["keys", "list", *data]) is ExitCode.OK
    out = capsys.readouterr().out
    assert "revoked_time" in json.loads(out)
    assert created["key"] not in out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["create", "--book", "../acme"], ExitCode.USAGE, "is no name of a book"),
        (["create", "--book", "keys"], ExitCode.USAGE, "is no name of a book"),
        (["list"], ExitCode.USAGE, "has no keys"),
        (["revoke", "key_1"], ExitCode.USAGE, "has no keys"),
    ],
)
def test_keys_that_cannot_be(tmp_path, capsys, arguments, code, words):
    assert run(["keys", *arguments, "--data", str(tmp_path)]) is code
    assert words in capsys.readouterr().err
