"""`tallybook simulate` against a real server, and `tallybook dates` without one."""

import json
import re
from decimal import Decimal
from pathlib import Path
from unittest.mock import patch

import polars as pl
import pytest
from tests.support.live_server import live_server

from tallybook_cli import simulation_picture
from tallybook_cli.commands import simulate as simulate_command
from tallybook_cli.exit_codes import ExitCode
from tallybook_cli.main import run

CATALOG = """
meters: [{id: api, values: [calls]}]
products: [{id: calls, meter: api, aggregation: SUM, value: calls}]
plans:
  - id: tiered
    product: calls
    currency: EUR
    graduated: {tiers: [{up_to: 100, unit_price: 0.03}, {unit_price: 0.02}]}
  - {id: flat, product: calls, currency: EUR, per_unit: {unit_price: 0.028}}
customers: [{id: acme}, {id: globe}]
contracts:
  - {id: acme_2024, customer: acme, time_zone: UTC, start_date: 2024-01-01, product_contracts: [{plan: tiered}],
     billing_frequency: {basis: CALENDAR, interval: 1, unit: MONTH}}
  - {id: globe_2024, customer: globe, time_zone: UTC, start_date: 2024-01-01, product_contracts: [{plan: tiered}],
     billing_frequency: {basis: CALENDAR, interval: 1, unit: MONTH}}
"""
USAGE = """date,contract_id,product_id,quantity
2024-01-05,acme_2024/tiered,calls,60
2024-01-06,acme_2024/tiered,calls,75.5
2024-02-06,globe_2024/tiered,calls,1000
"""
CAPPED = """
put:
  contracts:
    - {id: globe_2024, customer: globe, time_zone: UTC, start_date: 2024-01-01, product_contracts: [{plan: tiered}],
       billing_frequency: {basis: CALENDAR, interval: 1, unit: MONTH}, cap: 10}
"""


@pytest.fixture
def files(tmp_path):
    (tmp_path / "catalog.yaml").write_text(CATALOG)
    (tmp_path / "usage.csv").write_text(USAGE)
    (tmp_path / "flat.yaml").write_text("replace_plans: {tiered: flat}")
    (tmp_path / "capped.yaml").write_text(CAPPED)
    (tmp_path / "wrong.yaml").write_text("{name: wrong, replace_plans: {tiered: nothing}}")
    return tmp_path


@pytest.fixture
def address(files, capsys):
    """A server whose book has the catalogue."""
    with live_server() as address:
        assert run(["apply", str(files / "catalog.yaml"), "--server", address]) is ExitCode.OK
        capsys.readouterr()
        yield address


@pytest.fixture
def simulate(address, files, capsys):
    """Run `tallybook simulate` on the files; (exit code, standard output)."""

    def call(*arguments):
        texts = [str(files / each) if "." in each and not each.startswith("-") else each for each in arguments]
        return run(["simulate", *texts, "--server", address]), capsys.readouterr().out

    return call


def test_scenarios_of_files_are_compared(simulate, files):
    # Given two customers, of whom a flat price is cheaper for the small one
    code, out = simulate("usage.csv", "flat.yaml", "--json", "--output", "charges.parquet")
    # Then every scenario has a total, and every customer whose bill changes what it changes by
    assert code is ExitCode.OK
    baseline, flat, *customers = map(json.loads, out.splitlines())
    totals = {each["scenario"]: each for each in (baseline, flat)}
    assert totals["baseline"]["amount_excluding_tax"] == {"quantity": "24.71", "currency": "EUR"}
    assert totals["flat"]["difference_excluding_tax"]["quantity"] == "7.08"
    assert (totals["flat"]["customer_count_more"], totals["flat"].get("customer_count_less")) == ("2", None)
    assert customers == [
        {
            "customer_id": name,
            "scenario": "flat",
            "amount_excluding_tax": {"quantity": amount, "currency": "EUR"},
            "amount_including_tax": {"quantity": amount, "currency": "EUR"},
            "difference_excluding_tax": {"quantity": difference, "currency": "EUR"},
            "is_cheapest": False,
        }
        for name, amount, difference in (("globe", "28.00", "7.00"), ("acme", "3.79", "0.08"))
    ]
    # As the document shows it
    (shown,) = re.findall(r"```json\n(\{\"customer_id\".*)\n```", Path("docs/cli.md").read_text())
    assert json.loads(shown) == customers[0]
    # And the charges are in the file
    charges = pl.read_parquet(files / "charges.parquet")
    assert charges.filter(pl.col("scenario") == "flat")["amount_excluding_tax"].sum() == Decimal("31.79")


def test_a_table_for_a_person(simulate):
    code, out = simulate("usage.csv", "flat.yaml")
    assert code is ExitCode.OK
    assert "3 rows of usage, catalogue version 1" in out
    assert "changed most, 2 of 2" in out
    assert out.index("globe") < out.index("acme")
    # And amounts have their currency's digits and changes their sign
    assert "+7.08" in out
    assert "+7.00" in out
    assert "0.00" in out


def test_json_has_every_customer_whose_bill_changes(simulate):
    # Given more of them than the table shows
    with patch.object(simulate_command, "CUSTOMERS_SHOWN", 1):
        _, table = simulate("usage.csv", "flat.yaml", "capped.yaml")
        _, out = simulate("usage.csv", "flat.yaml", "capped.yaml", "--json")
    assert "changed most, 1 of 3" in table
    # Then those that change most come first, and it is said for whom what is cheapest
    found = [each for each in map(json.loads, out.splitlines()) if "customer_id" in each]
    changes = [
        (each["customer_id"], each["difference_excluding_tax"]["quantity"], each["is_cheapest"]) for each in found
    ]
    assert changes == [("globe", "-11.00", True), ("globe", "7.00", False), ("acme", "0.08", False)]


def test_a_wrong_scenario_is_left_out_if_asked(simulate):
    assert simulate("usage.csv", "wrong.yaml")[0] is ExitCode.REFUSED
    assert simulate("usage.csv", "wrong.yaml", "flat.yaml", "--skip-invalid")[0] is ExitCode.FAILURE_FOUND


def test_a_catalogue_file_needs_no_server(files, simulate, capsys):
    # Given the same files, with a server and without
    names = ("usage.csv", "flat.yaml", "capped.yaml", "--json", "--output")
    code, online = simulate(*names, "online.parquet")
    arguments = [str(files / each) if "." in each else each for each in (*names, "offline.parquet")]
    picture = files / "change.png"
    offline = run(["simulate", *arguments, "--catalog", str(files / "catalog.yaml"), "--picture", str(picture)])
    # Then the answers are the same, and the picture is one
    assert code is offline is ExitCode.OK
    assert capsys.readouterr().out == online
    charges = pl.read_parquet(files / "offline.parquet")
    assert charges.equals(pl.read_parquet(files / "online.parquet"))
    assert charges.filter(line_kind="CAP")["scenario"].to_list() == ["capped"]
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_charges_are_listed_afterwards(files, address, capsys):
    # Given a file with more rows than are sent with a request
    with patch.object(simulate_command, "SENT_ROWS_MAX", 2):
        code = run(
            ["simulate", *(str(files / each) for each in ("usage.csv", "flat.yaml", "capped.yaml")), "--keep",
             "--server", address]
        )  # fmt: skip
    assert code is ExitCode.OK
    simulation_id = re.findall(r"tallybook simulated (sim_\w+)", capsys.readouterr().err)[0]
    # When its charges are asked for
    asked = ["simulated", simulation_id, "--server", address]
    assert run([*asked, "--scenario", "flat", "--customer-id", "acme", "--json"]) is ExitCode.OK
    (line,) = map(json.loads, capsys.readouterr().out.splitlines())
    # Then they are there, and in a table
    assert (line["plan_id"], line["quantity"]) == ("flat", "135.5")
    assert line["amount_excluding_tax"] == {"quantity": "3.79", "currency": "EUR"}
    assert run([*asked, "--limit", "3"]) is ExitCode.OK
    assert "the first 3; --limit shows more" in capsys.readouterr().out
    # And what a contract has beside its charge lines
    assert run([*asked, "--scenario", "capped", "--customer-id", "globe", "--json"]) is ExitCode.OK
    charge, cap = map(json.loads, capsys.readouterr().out.splitlines())
    assert (charge["kind"], cap["kind"], cap["contract_path"]) == ("CHARGE", "CAP", ["globe_2024"])
    assert cap["amount_excluding_tax"] == {"quantity": "-11.00", "currency": "EUR"}
    assert run([*asked, "--scenario", "capped"]) is ExitCode.OK
    assert "CAP" in capsys.readouterr().out
    # And a customer whom it charges nothing is named, beside one whom it does
    assert run([*asked, "--customer-id", "acme", "--customer-id", "acne"]) is ExitCode.REFUSED
    told = capsys.readouterr()
    assert (told.out, 'the simulation has no charges of customer "acne"' in told.err) == ("", True)
    assert run(["simulated", "sim_0", "--server", address]) is ExitCode.FAILURE_FOUND
    assert "SIMULATION_EXPIRED" in capsys.readouterr().err


def test_what_is_wrong_with_the_files_is_named(files, capsys):
    wrong = files / "wrong_catalog.yaml"
    wrong.write_text(CATALOG.replace("unit_price: 0.028", "unit_price: a lot"))
    usage, catalog = str(files / "usage.csv"), str(files / "catalog.yaml")
    assert run(["simulate", usage, "--catalog", str(wrong)]) is ExitCode.USAGE
    assert "wrong_catalog.yaml:9: plans[1].per_unit.unit_price" in capsys.readouterr().err
    (files / "nobody.csv").write_text(USAGE.replace("acme_2024/tiered", "nobody"))
    assert run(["simulate", str(files / "nobody.csv"), "--catalog", catalog]) is ExitCode.REFUSED
    told = capsys.readouterr().err
    assert "USAGE_INVALID" in told
    assert 'no product contract "nobody"' in told
    assert run(["simulate", usage, str(files / "wrong.yaml"), "--catalog", catalog]) is ExitCode.REFUSED
    assert 'wrong: replace_plans["tiered"]' in capsys.readouterr().err


FIELDS = "contract_id,product_id,quantity"
ROW = "acme_2024/tiered,calls"


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        (
            f"date,{FIELDS}\n2024-01-05,{ROW},NaN\n2024-01-05,{ROW},1\n2024-02-30,{ROW},1e400\n05/01/2024,{ROW},\n",
            ["2: column quantity: 'NaN'", "4: column date: '2024-02-30'", "4: column quantity: '1e400'",
             "5: column date: '05/01/2024'"],
        ),
        (f"date,{FIELDS}\n2024-01-05,{ROW},0.0000000000001\n", ["2: column quantity: '0.0000000000001'"]),
        (f"date,{FIELDS}\n2024-01-05,{ROW},1{'0' * 400}\n", ["2: column quantity: '1000000"]),
        (f"time,{FIELDS}\n2024-01-05T10:00:00,{ROW},1\n", ["2: column time: '2024-01-05T10:00:00'"]),
        (
            f"date,{FIELDS},event_count\n2024-01-05,{ROW},1,1.5\n2024-01-05,{ROW},1,1{'0' * 15}\n2024-01-05,{ROW},1,\n",
            ["2: column event_count: '1.5'", "3: column event_count: '1000000000000000'"],
        ),
        (f"date,{FIELDS}\n2024-01-05,{ROW},1\n2024-01-05,{ROW},1,red\n", ["3: 5 cells where the header has 4"]),
        ("", [" there is no header line"]),
        ("\0\0", [" cannot be read: its header is no text"]),
    ],
)  # fmt: skip
def test_every_cell_that_cannot_be_read_is_named_by_its_line(files, capsys, text, faults):
    # Given a file of usage with cells that no column has
    (files / "bad.csv").write_text(text)
    code = run(["simulate", str(files / "bad.csv"), "--catalog", str(files / "catalog.yaml")])
    # Then each is named, and nothing is rounded or left out
    told = capsys.readouterr().err.removeprefix("tallybook: ").splitlines()
    assert code is ExitCode.USAGE
    assert len(told) == len(faults)
    for line, fault in zip(told, faults, strict=True):
        assert line.strip().startswith(f"{files / 'bad.csv'}:{fault}")


def test_only_so_many_cells_are_named(files, capsys):
    (files / "bad.csv").write_text(f"date,{FIELDS}\n" + f"2024-01-05,{ROW},much\n" * 1_025)
    assert run(["simulate", str(files / "bad.csv"), "--catalog", str(files / "catalog.yaml")]) is ExitCode.USAGE
    told = capsys.readouterr().err.splitlines()
    assert (len(told), told[-1].strip()) == (21, "and 1,005 more")


def test_a_file_of_usage_may_have_instants_and_text(files, capsys):
    # Given the same two rows by date and by instant, in CSV and as text in Parquet
    (files / "dates.csv").write_text(f"date,{FIELDS}\n2024-01-05,{ROW},60\n2024-02-01,{ROW},75.50000000000000\n")
    (files / "times.csv").write_text(
        f"time,{FIELDS}\n2024-01-05T12:00:00Z,{ROW},60\n2024-02-01T01:00:00+01:00,{ROW},75.5\n"
    )
    pl.read_csv(files / "dates.csv", infer_schema=False).write_parquet(files / "texts.parquet")
    # Then they come to the same
    found = []
    for name in ("dates.csv", "times.csv", "texts.parquet"):
        assert run(["simulate", str(files / name), "--catalog", str(files / "catalog.yaml"), "--json"]) is ExitCode.OK
        found.append(capsys.readouterr().out)
    assert found[0] == found[1] == found[2]


def test_a_file_of_usage_may_have_references_and_numbers_of_events(files, simulate, capsys):
    # Given a file with them, in CSV and in Parquet
    lines = [f"2024-01-05,{ROW},60,a,3", f"2024-01-06,{ROW},75.5,b,", "2024-02-06,globe_2024/tiered,calls,1000,a,1000"]
    (files / "keyed.csv").write_text("\n".join([f"date,{FIELDS},reference,event_count", *lines]))
    pl.read_csv(files / "keyed.csv").with_columns(
        pl.col("date").str.to_date(), pl.col("quantity").cast(pl.Decimal(38, 12))
    ).write_parquet(files / "keyed.parquet")
    # Then it comes to what the rows come to without, with a server and without one
    plain = simulate("usage.csv", "--json")
    assert plain[0] is ExitCode.OK
    for name in ("keyed.csv", "keyed.parquet"):
        assert simulate(name, "--json") == plain
        assert run(["simulate", str(files / name), "--catalog", str(files / "catalog.yaml"), "--json"]) is ExitCode.OK
        assert capsys.readouterr().out == plain[1]
    # And a reference that is there twice is named, also by a command without a server
    (files / "twice.csv").write_text("\n".join([f"date,{FIELDS},reference,event_count", *lines[:2], lines[0]]))
    for where in ((), ("--catalog", str(files / "catalog.yaml"))):
        code = run(["simulate", str(files / "twice.csv"), *where]) if where else simulate("twice.csv")[0]
        assert code is ExitCode.REFUSED


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("usage.csv", "--output", "charges.csv"), "ends in .parquet"),
        (("usage.csv", "--customers", "customers.csv"), "ends in .parquet"),
        (("usage.csv", "--picture", "change.txt"), "ends in .png"),
        (("usage.csv", "--output", "nowhere/charges.parquet"), "there is no directory"),
        (("flat.yaml", "usage.csv"), "comes before the scenarios"),
    ],
)
def test_what_cannot_be_written_or_read_is_refused_before_anything_runs(files, capsys, arguments, words):
    texts = [str(files / each) if "." in each else each for each in arguments]
    # Given a server that is not there: it is not asked
    assert run(["simulate", *texts, "--server", "127.0.0.1:1"]) is ExitCode.USAGE
    assert words in capsys.readouterr().err


def test_what_customers_pay_is_written(simulate, files):
    assert simulate("usage.csv", "flat.yaml", "--customers", "customers.parquet")[0] is ExitCode.OK
    customers = pl.read_parquet(files / "customers.parquet").filter(pl.col("scenario") == "flat")
    changes = dict(customers.select("customer_id", "difference_excluding_tax").iter_rows())
    assert changes == {"acme": Decimal("0.08"), "globe": Decimal("7.00")}


def test_the_documented_example_runs(tmp_path, capsys):
    # Given the catalogue of docs/catalog.md, and usage and scenario of docs/cli.md
    def block(page, marker):
        blocks = re.findall(r"```\w*\n(.*?)```", Path("docs", page).read_text(), re.DOTALL)
        return next(each for each in blocks if marker in each)

    (tmp_path / "catalog.yaml").write_text(block("catalog.md", "id: bank_2023"))
    (tmp_path / "usage.csv").write_text(block("cli.md", "contract_id,product_id"))
    (tmp_path / "flat.yaml").write_text(block("cli.md", "replace_plans"))
    files = [str(tmp_path / name) for name in ("usage.csv", "flat.yaml")]
    # Then it runs: 200.5 cards at 0.07 and at 0.06
    assert run(["simulate", *files, "--catalog", str(tmp_path / "catalog.yaml"), "--json"]) is ExitCode.OK
    baseline, flat, _ = map(json.loads, capsys.readouterr().out.splitlines())
    assert baseline["amount_excluding_tax"]["quantity"] == "14.04"
    assert (flat["scenario"], flat["amount_excluding_tax"]["quantity"]) == ("flat from January", "12.03")


@pytest.mark.parametrize("name", ["[/] x", "[red]x[/red]", ":key:", "$\\\\frac{$", "a name " * 20])
def test_a_name_is_shown_as_it_is(simulate, files, name):
    # Given a scenario whose name looks like markup, a formula, or is very long
    (files / "odd.yaml").write_text(f'{{name: "{name}", replace_plans: {{tiered: flat}}}}')
    code, out = simulate("usage.csv", "odd.yaml", "--picture", "change.png")
    # Then table and picture have it
    assert code is ExitCode.OK
    assert name.replace("\\\\", "\\").split(" name", 1)[0] in out
    assert (files / "change.png").read_bytes().startswith(b"\x89PNG")


RECORDED = ("--recorded", "--from", "2024-01-01", "--to", "2025-01-01")


def test_what_is_recorded_is_usage(files, address, simulate, capsys):
    # Given the usage as events
    rows = [line.split(",") for line in USAGE.splitlines()[1:]]
    events = [
        {"reference": str(number), "customer_reference": row[1].split("_")[0], "meter_reference": "api",
         "time": f"{row[0]}T12:00:00Z", "meter_values": [{"reference": "calls", "number": row[3]}]}
        for number, row in enumerate(rows)
    ]  # fmt: skip
    (files / "events.ndjson").write_text("\n".join(map(json.dumps, events)))
    code, sent = simulate("usage.csv", "flat.yaml", "--json")
    assert run(["ingest", str(files / "events.ndjson"), "--server", address]) is ExitCode.OK
    capsys.readouterr()
    # Then they simulate alike
    assert simulate(*RECORDED, "flat.yaml", "--json") == (code, sent)
    assert code is ExitCode.OK


LEAST = """
contracts:
  - {id: globe_2024, customer: globe, time_zone: UTC, start_date: 2024-03-01, end_date: 2024-09-01, minimum: 100,
     product_contracts: [{plan: tiered}], billing_frequency: {basis: CALENDAR, interval: 1, unit: MONTH}}
"""


def test_what_was_billed_without_usage_is_billed_with_what_is_recorded(files, address, simulate, capsys):
    # Given six months of at least 100, and an event in one of them
    (files / "least.yaml").write_text(LEAST)
    event = {"reference": "one", "customer_reference": "globe", "meter_reference": "api",
             "time": "2024-05-05T12:00:00Z", "meter_values": [{"reference": "calls", "number": "1"}]}  # fmt: skip
    (files / "events.ndjson").write_text(json.dumps(event))
    assert run(["apply", str(files / "least.yaml"), "--server", address]) is ExitCode.OK
    assert run(["ingest", str(files / "events.ndjson"), "--server", address]) is ExitCode.OK
    capsys.readouterr()
    # Then the year's events come to the year's bills, and a stretch that is asked for to its own
    for billed, amount in ((), "600.00"), (("--billed-from", "2024-05-01", "--billed-to", "2024-07-01"), "200.00"):
        code, out = simulate(*RECORDED, *billed, "--json")
        assert code is ExitCode.OK
        assert json.loads(out.splitlines()[0])["amount_excluding_tax"] == {"quantity": amount, "currency": "EUR"}


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--recorded",),
        ("--recorded", "--from", "2024-01-01"),
        ("--recorded", "--determinants", "--from", "2024-01-01", "--to", "2025-01-01"),
        ("usage.csv", "--from", "2024-01-01"),
        (*RECORDED, "--catalog", "catalog.yaml"),
    ],
)
def test_usage_is_said_in_one_way(simulate, arguments):
    assert simulate(*arguments)[0] is ExitCode.USAGE


def test_dates_in_json(capsys):
    arguments = ["dates", "2024-11-26", "2025-11-26", "--every", "2", "--basis", "CONTRACT", "--json"]
    assert run(arguments) is ExitCode.OK
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["start_date"] for each in found] == [
        *("2024-11-26", "2025-01-26", "2025-03-26", "2025-05-26", "2025-07-26", "2025-09-26"),
    ]


def test_dates_for_a_person(capsys):
    assert run(["dates", "2024-01-10", "--count", "2"]) is ExitCode.OK
    out = capsys.readouterr().out
    assert "2024-01-01 to 2024-02-01" in out
    assert "more from 2024-03-01 on" in out


def test_wrong_dates_are_named(capsys):
    assert run(["dates", "2024-02-30", "--zone", "Mars"]) is ExitCode.USAGE
    told = capsys.readouterr().err
    assert "start_date" in told
    assert "time_zone" in told


@pytest.fixture
def billed(files, capsys):
    """Run `tallybook invoice` on a book whose customer globe pays a fee and has a credit; (exit code, output)."""
    catalog = CATALOG.replace(
        "{id: globe_2024, customer: globe,",
        "{id: globe_2024, customer: globe, currency: EUR, payment_term_days: 14, "
        "fixed_fees: [{id: platform, amount: 1200.5}], credits: [{id: opening, amount: 200}],",
    )
    (files / "catalog.yaml").write_text(catalog)
    with live_server() as address:
        assert run(["apply", str(files / "catalog.yaml"), "--server", address]) is ExitCode.OK
        capsys.readouterr()

        def call(*arguments):
            code = run(["invoice", *arguments, "--server", address])
            return code, capsys.readouterr()

        yield call


def test_an_invoice_for_a_person(billed):
    code, output = billed("globe_2024", "2024-02-10")
    assert code is ExitCode.OK
    assert "globe_2024, customer globe, 2024-02-01 to 2024-03-01" in output.out
    assert "1,200.50 without tax, 0.00 tax, 1,200.50 EUR, due 2024-03-15" in output.out
    assert "fixed fee" in output.out
    code, output = billed("globe_2024", "2024-01-10")
    assert "-200.00" in output.out
    assert "1,000.50 EUR, due 2024-02-15" in output.out


def test_invoices_in_json(billed):
    code, output = billed("globe_2024", "2024-01-01", "--count", "2", "--json")
    assert code is ExitCode.OK
    first, second = map(json.loads, output.out.splitlines())
    assert [line["kind"] for line in first["lines"]] == ["FIXED_FEE", "CREDIT"]
    assert second["amount_including_tax"] == {"quantity": "1200.50", "currency": "EUR"}


def test_an_invoice_of_nobody(billed):
    code, output = billed("nobody", "2024-01-01")
    assert code is not ExitCode.OK
    assert 'there is no root contract "nobody"' in output.err


def test_an_invoice_of_a_division_names_its_root(files, capsys):
    (files / "tree.yaml").write_text("""
customers: [{id: acme}]
contracts:
  - {id: root, customer: acme, time_zone: UTC, start_date: 2024-01-01, currency: EUR,
     billing_frequency: {basis: CALENDAR, interval: 1, unit: MONTH},
     sub_contracts: [{id: north, sub_contracts: [{id: oslo}]}]}
""")
    with live_server() as address:
        assert run(["apply", str(files / "tree.yaml"), "--server", address]) is ExitCode.OK
        assert run(["invoice", "oslo", "2024-01-01", "--server", address]) is ExitCode.FAILURE_FOUND
    assert 'no root contract "oslo"; it is a sub-contract of "root"' in capsys.readouterr().err


def test_the_picture_says_what_is_small_and_what_is_beyond_its_edge():
    percentage = simulation_picture._percentage
    assert [percentage(Decimal(each)) for each in ("0", "0.0009", "-0.0009", "0.001", "-0.1234")] == [
        *("no change", "under 0.1 % more", "under 0.1 % less", "+0.1 %", "-12.3 %"),
    ]
    assert simulation_picture._heading(False).endswith("100 % or more at the edge")
