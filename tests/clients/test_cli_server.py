"""The command line against a real server: a customer's month, from catalogue to correction, in golden JSON."""

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from tests.support.live_server import SETTINGS, live_server

from tallybook_cli.exit_codes import ExitCode
from tallybook_cli.main import run
from tallybook_server.verify import VerifyReport

CATALOG = """
taxes: [{id: nl, country_code: NL, rate: 0.21}]
meters: [{id: api, values: [calls], properties: [region]}]
products: [{id: calls, meter: api, aggregation: SUM, value: calls}]
plans:
  - id: calls_2024
    product: calls
    currency: EUR
    included_quantity: {quantity: 10}
    graduated: {tiers: [{up_to: 100, unit_price: 0.0333}, {unit_price: 0.02}]}
customers: [{id: acme, name: Acme, country_code: NL}]
contracts:
  - id: acme_2024
    customer: acme
    time_zone: Europe/Amsterdam
    start_date: 2024-01-01
    billing_frequency: {basis: CALENDAR, interval: 1, unit: MONTH}
    product_contracts: [{plan: calls_2024}]
"""

USAGE = """reference,customer_reference,meter_reference,time,value:calls,property:region
e1,acme,api,2024-01-05T00:00:00Z,60,eu
e2,acme,api,2024-01-06T00:00:00Z,75.5,us
e3,nobody,api,2024-01-07T00:00:00Z,1,eu
"""


@pytest.fixture
def address():
    with live_server() as address:
        yield address


@pytest.fixture
def folder(tmp_path):
    """A catalogue and a file of events."""
    (tmp_path / "catalog.yaml").write_text(CATALOG)
    (tmp_path / "usage.csv").write_text(USAGE)
    return tmp_path


@pytest.fixture
def tallybook(address, capsys):
    """Run a command; (exit code, JSON lines)."""

    def run_json(*arguments: object, expected: ExitCode = ExitCode.OK):
        code = run([*map(str, arguments), "--server", address, "--json"])
        captured = capsys.readouterr()
        assert code is expected, captured.err
        return [json.loads(line) for line in captured.out.splitlines()]

    return run_json


@pytest.fixture
def told(address, capsys):
    """Run a command for a person; what it prints."""

    def run_text(*arguments: object, expected: ExitCode = ExitCode.OK):
        code = run([*map(str, arguments), "--server", address])
        captured = capsys.readouterr()
        assert code is expected, captured.err
        return captured.out + captured.err

    return run_text


@pytest.fixture
def applied(folder, tallybook):
    """The catalogue is applied."""
    tallybook("apply", folder / "catalog.yaml")
    return folder


@pytest.fixture
def stored(applied, tallybook):
    """The events are stored too."""
    tallybook("ingest", applied / "usage.csv")
    return applied


def test_a_dry_run_shows_the_difference_and_changes_nothing(folder, tallybook, told):
    shown = told("apply", folder / "catalog.yaml", "--dry-run")
    assert "+ plans calls_2024" in shown
    assert "would be version 1" in shown
    assert tallybook("apply", folder / "catalog.yaml", "--dry-run")[0]["version"] == "1"


def test_a_catalogue_is_applied_once(folder, tallybook, told):
    [applied] = tallybook("apply", folder / "catalog.yaml", "--expected-version", 0)
    assert applied["version"] == "1"
    assert [difference["kind"] for difference in applied["differences"]] == [
        "taxes",
        "meters",
        "products",
        "plans",
        "customers",
        "contracts",
    ]
    assert "version 1 (nothing differs)" in told("apply", folder / "catalog.yaml")


def test_a_catalogue_with_faults_names_each_by_its_line(folder, told):
    file = folder / "broken.yaml"
    file.write_text(CATALOG.replace("up_to: 100", "up_to: -1").replace("currency: EUR", "currency: EUX"))
    shown = told("apply", file, expected=ExitCode.REFUSED)
    assert f"{file}:8: plans[0].currency" in shown
    assert f"{file}:10: plans[0].graduated.tiers[0].up_to" in shown


def test_a_lost_update_is_refused(applied, told):
    file = applied / "other.yaml"
    file.write_text(CATALOG.replace("name: Acme", "name: Acme BV"))
    assert "CATALOG_VERSION_MISMATCH" in told("apply", file, "--expected-version", 0, expected=ExitCode.REFUSED)


def test_a_running_month_goes_on_under_other_prices(stored, tallybook, told):
    file = stored / "dearer.yaml"
    file.write_text(CATALOG.replace("unit_price: 0.0333", "unit_price: 1"))
    refused = told("apply", file, "--effective-from", "2024-01-06T00:00:00Z", expected=ExitCode.REFUSED)
    assert "effective_from" in refused
    assert "2024-01-06T00:00:00.000000Z" in refused
    tallybook("apply", file, "--effective-from", "2024-01-15T00:00:00+01:00")
    more = stored / "more.csv"
    more.write_text(USAGE.splitlines()[0] + "\nm1,acme,api,2024-01-20T00:00:00Z,10,eu\n")
    tallybook("ingest", more)
    charges = tallybook("charges", "--customer", "acme")
    periods = [(each["period"]["start_time"], each["period"]["end_time"]) for each in charges]
    assert periods == [
        ("2023-12-31T23:00:00Z", "2024-01-14T23:00:00Z"),
        ("2024-01-14T23:00:00Z", "2024-01-31T23:00:00Z"),
    ]
    # 135.5 less 10 included are in the second tier of both versions.
    assert charges[1]["amount_excluding_tax"]["quantity"] == "0.20"


def test_charges_as_invoiced_have_the_fees_beside_them(stored, tallybook, told):
    # Given the same contract with a fee and thirty days to pay
    file = stored / "with_fee.yaml"
    file.write_text(f"{CATALOG}    payment_term_days: 30\n    fixed_fees: [{{id: platform, amount: 12.34}}]\n")
    tallybook("apply", file)
    # When January is listed as invoiced
    january = ("--customer", "acme", "--from", "2024-01-02", "--to", "2024-01-31", "--invoiced")
    charge, fee = tallybook("charges", *january)
    # Then both lines are there, with tax and due date
    assert (charge["product_id"], charge["due_date"]) == ("calls", "2024-03-02")
    assert (fee["kind"], fee["id"], fee["contract_path"], fee["tax_id"]) == (
        "FIXED_FEE",
        "platform",
        ["acme_2024"],
        "nl",
    )
    assert (fee["amount_including_tax"]["quantity"], fee["due_date"]) == ("14.93", "2024-03-02")
    # And a person sees them, and what they come to
    shown = told("charges", *january)
    assert "fixed fee platform" in shown
    assert "(2 lines in all)" in shown


def test_charges_of_a_contract_with_terms_have_net_amounts(stored, tallybook, told):
    # Given the same contract with a minimum of 50 from January on
    file = stored / "with_minimum.yaml"
    file.write_text(f"{CATALOG}    minimum: 50\n")
    tallybook("apply", file)
    assert [each for each in tallybook("charges", "--customer", "acme") if "contract_id" in each] == []
    tallybook("reprocess", "--customer", "acme", "--move-pins")
    # When its charges are listed, then behind them stands what the minimum makes of the month
    charge, january = tallybook("charges", "--customer", "acme")
    assert (charge["product_id"], january["contract_id"]) == ("calls", "acme_2024")
    assert (charge["period"], charge["amount_excluding_tax"]) == (january["period"], january["amount_excluding_tax"])
    assert january["net_amount_excluding_tax"] == {"quantity": "50.00", "currency": "EUR"}
    assert january["net_amount_including_tax"]["quantity"] == "60.50"
    # And a person sees it
    shown = told("charges", "--customer", "acme")
    assert "net with tax" in shown
    assert "60.50" in shown


def test_a_prediction_stores_nothing(applied, tallybook):
    [predicted] = tallybook(
        "predict",
        "--customer",
        "acme",
        "--meter",
        "api",
        "--value",
        "calls=12",
        "--time",
        "2024-01-05",
        "--reference",
        "p",
    )
    assert predicted["status"] == "STORED"
    [detail] = predicted["cost_prediction"]["details"]
    [period] = detail.pop("periods")
    assert detail == {
        "customer_id": "acme",
        "amount_excluding_tax": {"quantity": "0.07", "currency": "EUR"},
        "amount_including_tax": {"quantity": "0.08", "currency": "EUR"},
        "tax_summary": {
            "base_amount": {"quantity": "0.07", "currency": "EUR"},
            "tax_amount": {"quantity": "0.01", "currency": "EUR"},
            "total_amount": {"quantity": "0.08", "currency": "EUR"},
            "country_code": "NL",
        },
    }
    assert period["exact_amount"] == "0.0666"
    assert period["included_quantity_left"] == "0"
    assert period["next_tier_from"] == "110"
    assert tallybook("events") == []


def test_a_file_is_stored_once_however_often_it_is_sent(applied, tallybook):
    costs = applied / "costs.parquet"
    [first] = tallybook("ingest", applied / "usage.csv", "--costs", costs)
    assert (first["stored_count"], first["duplicate_count"], first["matched_count"]) == (3, 0, 2)
    assert first["unmatched"] == {"NO_CUSTOMER": 1}
    [second] = tallybook("ingest", applied / "usage.csv", "--costs", applied / "again.parquet")
    assert (second["stored_count"], second["duplicate_count"], second["unmatched"]) == (0, 3, {})

    # A duplicate answers what was posted the first time.
    assert pl.read_parquet(costs).equals(pl.read_parquet(applied / "again.parquet"))
    assert [str(amount) for amount in pl.read_parquet(costs)["amount_excluding_tax"]] == ["1.67", "2.17"]


def test_another_payload_under_the_same_reference_is_told(stored, tallybook):
    file = stored / "changed.csv"
    file.write_text(USAGE.replace("e1,acme,api,2024-01-05T00:00:00Z,60", "e1,acme,api,2024-01-05T00:00:00Z,61"))
    [report] = tallybook("ingest", file, expected=ExitCode.FAILURE_FOUND)
    assert (report["conflict_count"], report["duplicate_count"]) == (1, 2)
    assert [(row["line"], row["reason"]) for row in report["refused_rows"]] == [(2, "REFERENCE_CONFLICT")]


def test_events_are_listed_and_filtered(stored, tallybook):
    assert [event["event"]["reference"] for event in tallybook("events")] == ["e1", "e2", "e3"]
    [unmatched] = tallybook("events", "--match", "NO_CUSTOMER")
    assert unmatched["event"]["reference"] == "e3"
    [late] = tallybook("events", "--customer", "acme", "--from", "2024-01-06")
    assert late["event"]["reference"] == "e2"


def test_usage_and_charges_are_the_running_totals(stored, tallybook):
    [usage] = tallybook("usage", "--customer", "acme")
    assert (usage["quantity"], usage.get("next_tier_from")) == ("135.5", None)
    [charge] = tallybook("charges", "--at", "2024-01-15")
    assert charge["exact_amount"] == "3.84"
    assert charge["amount_including_tax"] == {"quantity": "4.65", "currency": "EUR"}
    assert [(line["rule"], line.get("tier"), line["amount"]) for line in charge["lines"]] == [
        ("INCLUDED", None, "0"),
        ("TIER", 1, "3.33"),
        ("TIER", 2, "0.51"),
    ]
    assert tallybook("charges", "--at", "2024-03-15") == []


def test_charges_for_a_person_end_on_their_total(stored, told):
    shown = told("charges", "--customer", "acme", "--lines")
    assert "tier 2" in shown
    assert "3.84 without tax, 0.81 tax, 4.65 EUR" in shown


def test_an_event_is_explained_rule_by_rule(stored, told, tallybook):
    shown = told("explain", "--customer", "acme", "--reference", "e2")
    for words in (
        "quantity 60 -> 135.5",
        "tier 1",
        "tier 2",
        "rounding of the line",
        "plan calls_2024: graduated; included quantity 10 SUBTRACT_FIRST; rounding HALF_AWAY_FROM_ZERO",
        "tax nl: 21 % EXCLUSIVE",
        "in all 2.17 EUR without tax, 0.46 EUR tax, 2.63 EUR",
    ):
        assert words in shown
    [explained] = tallybook("explain", "--customer", "acme", "--reference", "e2")
    assert [entry["cause"] for entry in explained["history"]] == ["EVENT"]


def test_export_keeps_every_digit(stored, tallybook):
    assert tallybook("export", "charges", stored / "charges.parquet")[0]["row_count"] == 1
    charges = pl.read_parquet(stored / "charges.parquet")
    assert charges["amount_including_tax"].to_list() == [Decimal("4.65")]
    assert charges["exact_amount"].to_list() == ["3.84"]
    assert tallybook("export", "events", stored / "events.csv")[0]["row_count"] == 3
    assert "75.500000000000" in (stored / "events.csv").read_text()


def test_a_late_customer_is_rated_by_a_reprocess(stored, tallybook, told):
    # Given a catalogue that now knows the customer of the third event
    more = CATALOG.replace("customers: [", "customers: [{id: nobody, name: Nobody, country_code: NL}, ") + (
        "  - {id: nobody_2024, customer: nobody, time_zone: UTC, start_date: 2024-01-01,\n"
        "     billing_frequency: {basis: CALENDAR, interval: 1, unit: MONTH},\n"
        "     product_contracts: [{plan: calls_2024}]}\n"
    )
    (stored / "catalog.yaml").write_text(more)
    tallybook("apply", stored / "catalog.yaml")

    # When it is reprocessed, first only to look
    assert "1 events would be rated" in told("reprocess", "--dry-run")
    assert tallybook("usage", "--customer", "nobody") == []
    assert tallybook("reprocess")[-1]["event_count_rated"] == "1"

    # Then the event counts, and once more changes nothing
    assert tallybook("usage", "--customer", "nobody")[0]["quantity"] == "1"
    assert tallybook("reprocess")[-1].get("event_count_rated") is None


def test_an_event_is_taken_back_and_may_come_again(stored, tallybook, told):
    # Given the first event
    event_id = tallybook("events", "--customer", "acme")[0]["event_id"]

    # When it is deleted twice
    [deleted] = tallybook("delete", event_id)
    [again] = tallybook("delete", "--customer", "acme", "--reference", "e1", "--generation", 1)

    # Then its cost went back once, and the answer repeats
    assert (deleted["status"], again["status"]) == ("DELETED", "ALREADY_DELETED")
    assert deleted["cost_prediction"] == again["cost_prediction"]
    amount = deleted["cost_prediction"]["details"][0]["amount_excluding_tax"]["quantity"]
    # 135.5 calls cost 3.84; the 75.5 that stay cost 65.5 * 0.0333 = 2.18115.
    assert amount == "-1.66"
    assert tallybook("events", "--customer", "acme", "--deleted")[0]["deleted"] is True

    # And the file brings it back as its second generation
    assert tallybook("ingest", stored / "usage.csv")[0]["stored_count"] == 1
    assert "generation 2" in told("events", "--customer", "acme")


def test_what_is_not_there_is_said_to_be_so(stored, told):
    assert "EVENT_NOT_FOUND" in told("explain", "evt_00000000ffff0000", expected=ExitCode.FAILURE_FOUND)
    assert "NOT_FOUND" in told("delete", "evt_00000000ffff0000", expected=ExitCode.FAILURE_FOUND)
    assert "CUSTOMER_NOT_FOUND" in told("charges", "--customer", "ghost", expected=ExitCode.FAILURE_FOUND)


def test_a_key_opens_its_book_until_it_is_revoked(tmp_path, capsys, monkeypatch):
    # Given a server whose data directory has a key
    data = ["--data", str(tmp_path), "--json"]
    assert run(["keys", "create", "--book", "acme", *data]) is ExitCode.OK
    key = json.loads(capsys.readouterr().out)
    with live_server(replace(SETTINGS, data_directory=tmp_path)) as address:
        events = ["events", "--server", address]

        # Without it, or with another one, nothing is told
        assert run(events) is ExitCode.NOT_ALLOWED
        assert "give a key with --key or TALLYBOOK_KEY" in capsys.readouterr().err
        assert run([*events, "--key", "tb_wrong"]) is ExitCode.NOT_ALLOWED
        assert "tb_wrong" not in capsys.readouterr().err

        # With it, its book answers; revoked, it opens nothing
        monkeypatch.setenv("TALLYBOOK_KEY", key["key"])
        assert run(events) is ExitCode.OK
        assert run(["keys", "revoke", key["key_id"], *data]) is ExitCode.OK
        assert run(events) is ExitCode.NOT_ALLOWED
    assert (tmp_path / "acme.sqlite").exists()


def test_verify_reads_the_book_of_a_running_server(tmp_path, capsys):
    # Given a server with two events in its journal
    (tmp_path / "catalog.yaml").write_text(CATALOG)
    (tmp_path / "usage.csv").write_text(USAGE)
    data = tmp_path / "data"
    with live_server(replace(SETTINGS, data_directory=data)) as address:
        server = ["--server", address, "--json"]
        assert run(["apply", str(tmp_path / "catalog.yaml"), *server]) is ExitCode.OK
        assert run(["ingest", str(tmp_path / "usage.csv"), *server]) is ExitCode.OK
        capsys.readouterr()

        # When its data directory is verified while it runs
        assert run(["verify", str(data)]) is ExitCode.OK

        # Then the equation holds
        assert capsys.readouterr().out == "equation holds: 1 lines, difference 0 (3 events, 2 postings)\n"
        assert run(["verify", str(data), "--json"]) is ExitCode.OK
        assert json.loads(capsys.readouterr().out) == {
            "line_count": 1,
            "net_line_count": 0,
            "posting_count": 2,
            "event_count": 3,
            "difference_count": 0,
            "differences": [],
            "reading_count": 0,
            "block_count": 0,
            "billing_value_count": 0,
        }


def test_verify_fails_where_a_line_differs(tmp_path, capsys, monkeypatch):
    # Given a verification that finds a difference
    found = VerifyReport(2, 0, 4, 3, 1, ["line 2: postings 1.00, afresh 1.01"], 9_000, 2, 5)
    monkeypatch.setattr("tallybook_cli.commands.verify.verify", lambda *_: found)

    # When it is told, then the line is named and the exit code says so
    assert run(["verify", str(tmp_path)]) is ExitCode.FAILURE_FOUND
    out = capsys.readouterr().out
    assert "line 2: postings 1.00, afresh 1.01" in out
    assert "equation does not hold: 2 lines, difference 1" in out
    assert "sound beside it: 9,000 readings in 2 blocks, 5 billing values" in out


def test_verify_of_a_book_that_is_not_there(tmp_path, capsys):
    assert run(["verify", str(tmp_path), "--book", "nobody"]) is ExitCode.FAILURE_FOUND
    assert "nobody.sqlite" in capsys.readouterr().err


def test_connections_can_be_encrypted(capsys):
    # Given a server with a certificate (of this test alone)
    here = Path(__file__).parent
    encrypted = replace(SETTINGS, certificate_path=here / "localhost.pem", private_key_path=here / "localhost.key")
    with live_server(encrypted) as address:
        # Whoever trusts the certificate is answered; who does not trust it, or speaks in plain text, is not
        assert run(["events", "--server", address, "--ca", str(here / "localhost.pem")]) is ExitCode.OK
        assert run(["events", "--server", address, "--tls"]) is ExitCode.UNAVAILABLE
        assert run(["events", "--server", address]) is ExitCode.UNAVAILABLE


@pytest.fixture
def least(folder, tallybook):
    """The same catalogue with a minimum of 10 a month, and the first two events."""
    (folder / "catalog.yaml").write_text(CATALOG + "    minimum: 10\n")
    tallybook("apply", folder / "catalog.yaml")
    return folder


def net_amounts(detail):
    """What a cost in JSON says of net amounts: without tax, with tax, and each period's adjustment without tax."""
    return (
        detail["net_amount_excluding_tax"]["quantity"],
        detail["net_amount_including_tax"]["quantity"],
        [each["amount_excluding_tax"]["quantity"] for each in detail["adjustments"]],
    )


NEXT = ("predict", "--customer", "acme", "--meter", "api", "--value", "calls=500", "--time", "2024-01-08")


def test_what_a_minimum_makes_of_costs_is_shown(least, tallybook, told):
    # Given usage of 3.84 in a month that costs 10 at least
    costs = least / "costs.parquet"
    tallybook("ingest", least / "usage.csv", "--costs", costs)

    # Then its costs are 3.84, and its net costs nothing
    frame = pl.read_parquet(costs)
    assert [str(amount) for amount in frame["amount_excluding_tax"]] == ["1.67", "2.17"]
    assert [str(amount) for amount in frame["net_amount_excluding_tax"]] == ["0.00", "0.00"]

    # And an event that is foreseen costs what lies above 10
    [predicted] = tallybook(*NEXT)
    [detail] = predicted["cost_prediction"]["details"]
    assert detail["amount_excluding_tax"]["quantity"] == "10.00"
    assert net_amounts(detail) == ("3.84", "4.65", ["-6.16"])
    shown = told(*NEXT)
    assert "with the contract's terms 3.84 EUR without tax, 4.65 EUR in all" in shown
    assert "terms of acme_2024" in shown
    assert "-6.16 without tax, -7.45 in all" in shown

    # And an event that was stored is explained with both
    [explained] = tallybook("explain", "--customer", "acme", "--reference", "e2")
    [detail] = explained["history"][0]["cost"]["details"]
    assert net_amounts(detail) == ("0.00", "0.00", ["-2.17"])
    shown = told("explain", "--customer", "acme", "--reference", "e2")
    assert "in all 2.17 EUR without tax" in shown
    assert "with the contract's terms 0.00 EUR without tax, 0.00 EUR in all" in shown


def test_a_reprocess_shows_what_terms_make_of_it(least, tallybook, told):
    # Given a month that opened with a minimum of 10, which is 20 from now on
    tallybook("ingest", least / "usage.csv")
    (least / "catalog.yaml").write_text(CATALOG + "    minimum: 20\n")
    tallybook("apply", least / "catalog.yaml")

    # Then 10 more are due, though no charge line moves
    assert "with the contracts' terms +10.00 without tax, +2.10 tax, +12.10 EUR in all" in told(
        "reprocess", "--move-pins", "--dry-run"
    )
    last = tallybook("reprocess", "--move-pins")[-1]
    assert [each["base_amount"]["quantity"] for each in last["net_amounts"]] == ["10.00"]
    assert "amounts" not in last
    assert "terms" not in told("reprocess", "--move-pins")


def test_verify_counts_net_lines(tmp_path, capsys):
    (tmp_path / "catalog.yaml").write_text(CATALOG + "    minimum: 10\n")
    (tmp_path / "usage.csv").write_text(USAGE)
    data = tmp_path / "data"
    with live_server(replace(SETTINGS, data_directory=data)) as address:
        for command in (["apply", str(tmp_path / "catalog.yaml")], ["ingest", str(tmp_path / "usage.csv")]):
            assert run([*command, "--server", address, "--json"]) is ExitCode.OK
    for oracle in ((), ("--oracle",)):
        capsys.readouterr()
        assert run(["verify", str(data), *oracle]) is ExitCode.OK
        assert "compared with them: 1 net lines of contracts with terms\n" in capsys.readouterr().out
    assert run(["verify", str(data), "--json"]) is ExitCode.OK
    assert json.loads(capsys.readouterr().out)["net_line_count"] == 1
