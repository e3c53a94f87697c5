"""The demo, with a sample of its flights: twice, as its own process with a server process of its own."""

import csv
import gzip
import json
import math
import re
import subprocess
import sys
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from tests.support.live_server import SETTINGS, live_server

import tallybook_client as tb
from tallybook.v1 import catalog_pb2
from tallybook_server.catalog_file import read_message_file

ROOT = Path(__file__).parents[2]
VECTORS = ROOT / "tests/vectors/energy"
EVERY = 150
EVENT_COUNT = 2_183
METER_LINE_COUNT = 20
"""Charge lines of the home: four slices and its demand, in four months."""


def demo(out: Path, *arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tallybook_cli.demo", "--out", str(out), "--every", str(EVERY), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """(first run, charges after it, second run, charges after it)."""
    out = tmp_path_factory.mktemp("demo")
    first, charges_first = stopped(demo(out)), pl.read_parquet(out / "charges.parquet")
    second, charges_second = stopped(demo(out)), pl.read_parquet(out / "charges.parquet")
    return out, (first, charges_first, second, charges_second)


@pytest.fixture(scope="module")
def flown():
    """The flights of the sample, without the engine."""
    flights = pl.read_parquet(ROOT / "examples/flights/flights.parquet")
    return flights.filter(pl.col("air_time_minutes").is_not_null()).gather_every(EVERY)


def stopped(run: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    assert run.returncode == 0, run.stderr
    return run


def test_the_first_run_stores_every_flight_and_the_second_none(runs):
    _, (first, _, second, _) = runs
    assert re.search(rf"{EVENT_COUNT:,} events, .* a second: {EVENT_COUNT:,} stored, 0 duplicates", first.stdout)
    assert re.search(rf"{EVENT_COUNT:,} events, .* a second: 0 stored, {EVENT_COUNT:,} duplicates", second.stdout)


def test_both_runs_show_the_same_charges(runs):
    _, (first, charges_first, second, charges_second) = runs
    assert_frame_equal(charges_first, charges_second)
    for words in (r"\nall .*\n", r"\ntotal .*\n", r"\nthe costs that .*\n", r"\nequation holds: .*\n"):
        lines = re.findall(words, first.stdout)
        assert lines
        assert re.findall(words, second.stdout) == lines


def test_the_equation_holds_and_the_answers_add_up(runs):
    _, (first, charges, *_) = runs
    assert f"equation holds: {charges.height + METER_LINE_COUNT:,} lines, difference 0" in first.stdout
    assert "the same, to the cent" in first.stdout
    total = charges["amount_including_tax"].sum()
    assert f"total {total:,.2f} USD" in first.stdout


def test_every_airline_that_flew_is_charged_and_nobody_for_the_briefing(runs, flown):
    _, (_, charges, *_) = runs
    assert set(charges["customer_id"]) == set(flown["carrier"])
    assert set(charges["product_id"]) == {"landing", "terminal", "en_route", "capacity"}
    assert set(charges["currency"]) == {"USD"}


def test_the_charges_are_those_of_the_flights(runs, flown):
    # Quantities add up, and a flight without seats left that charge alone.
    _, (_, charges, *_) = runs
    assert flown.height == EVENT_COUNT
    by_product = {
        product: charges.filter(pl.col("product_id") == product)["quantity"].sum()
        for product in ("landing", "terminal", "en_route", "capacity")
    }
    assert by_product == {
        "landing": flown.height,
        "terminal": flown.height,
        "en_route": flown["distance_miles"].sum(),
        "capacity": flown["seats"].sum(),
    }


def test_the_files_are_written(runs):
    out, (first, *_) = runs
    names = ("cumulative-cost.png", "catalog.json", "charges.parquet")
    for name in (
        *names,
        "london-load.png",
        "billing-message.json",
        "meters.yaml",
        "proposals.png",
        "proposals.parquet",
    ):
        assert (out / name).stat().st_size > 3_000
        assert str(out / name) in first.stdout.replace("\n", "")
    assert (out / "data" / "default.sqlite").exists()


def test_the_year_under_proposals_begins_with_what_is_charged(runs):
    out, (first, charges, second, _) = runs
    for run in (first, second):
        assert "under 4 catalogues" in run.stdout
        assert "the baseline is to the cent what is charged" in run.stdout.replace("\n", " ")
    simulated = pl.read_parquet(out / "proposals.parquet")
    totals = dict(simulated.group_by("scenario").agg(pl.col("amount_excluding_tax").sum()).rows())
    assert set(totals) == {"baseline", "landings one by one", "long routes", "one price for seats"}
    taxed = charges["amount_including_tax"].sum() - charges["tax_amount"].sum()
    assert totals["baseline"] == taxed
    assert len(set(totals.values())) == 4


def test_the_server_stopped_in_order(runs):
    # What it wrote last is in the journal itself: the write-ahead log, where there still is one, is empty.
    out, _ = runs
    assert [log for log in (out / "data").glob("*-wal") if log.stat().st_size] == []


def test_elsewhere_the_demo_says_where_to_run_it(tmp_path):
    run = demo(tmp_path / "out", folder=tmp_path)
    assert run.returncode == 2
    assert (
        run.stderr == "tallybook: examples/flights/flights.parquet is not there: run the demo in the project's folder\n"
    )


def test_the_total_is_what_a_plain_script_computes(runs, flown):
    # Given the prices of the catalogue, applied here with fractions, airline by airline and month by month
    _, (_, charges, *_) = runs
    months = flown.with_columns(
        pl.col("scheduled_departure_time").dt.convert_time_zone("America/New_York").dt.month().alias("month")
    )
    seats_before: defaultdict[str, int] = defaultdict(int)
    cents: list[int] = []
    for (carrier, _), flights in months.sort("month").group_by("carrier", "month", maintain_order=True):
        seats_after = seats_before[carrier] + flights["seats"].sum()
        cents += map(
            to_cents,
            [
                Fraction(25_000) * -(-flights.height // 100),
                Fraction("61.25") * flights.filter(pl.col("origin") == "EWR").height,
                terminal_at_jfk(flights.filter(pl.col("origin") == "JFK").height),
                Fraction("55.10") * flights.filter(pl.col("origin") == "LGA").height,
                en_route(flights["distance_miles"].sum()),
                capacity(seats_after) - capacity(seats_before[carrier]),
            ],
        )
        seats_before[carrier] = seats_after

    # Then the charges and their tax, line by line to the cent, are those of the server
    assert charges["amount_excluding_tax"].sum() == Decimal(sum(cents)).scaleb(-2)
    tax = sum(to_cents(Fraction(cent, 100) * Fraction("0.075")) for cent in cents)
    assert charges["tax_amount"].sum() == Decimal(tax).scaleb(-2)


def to_cents(amount: Fraction) -> int:
    """To the nearest cent, a half away from zero."""
    size = math.floor(abs(amount) * 100 + Fraction(1, 2))
    return size if amount >= 0 else -size


def terminal_at_jfk(count: int) -> Fraction:
    return Fraction("78.40") * min(count, 1_000) + Fraction("69.90") * max(count - 1_000, 0)


def en_route(miles: int) -> Fraction:
    charged = max(miles - 100_000, 0)
    return Fraction("0.052") * min(charged, 1_000_000) + Fraction("0.041") * max(charged - 1_000_000, 0)


def capacity(seats: int) -> Fraction:
    return Fraction("0.31" if seats <= 500_000 else "0.27") * seats


# --- Its second part: meters ----------------------------------------------------------------------------------------

MONTHS = ("January", "February", "March", "April")
HOLIDAYS = (date(2013, 1, 1), date(2013, 3, 29), date(2013, 4, 1))
PRICES = {
    "NIGHT": Fraction("0.089"),
    "DAY": Fraction("0.168"),
    "PEAK": Fraction("0.315"),
    "WEEKEND": Fraction("0.1425"),
}


def vectors(file: str) -> dict:
    found: dict = json.loads((VECTORS / file).read_text())
    return found


def row_of(stdout: str, name: str) -> list[str]:
    """The words of the one line that begins with a name."""
    [line] = re.findall(rf"^{re.escape(name)} .*$", stdout, re.MULTILINE)
    return line.split()


def test_every_file_of_readings_is_told(runs):
    _, (first, _, second, _) = runs
    for run in (first, second):
        assert "CSV, 22,521 readings read, 15 skipped" in run.stdout
        assert "\n22,521 readings stored" in run.stdout
        assert "\n1,632 readings stored" in run.stdout


def test_the_bill_of_the_home_is_what_a_plain_script_computes(runs):
    # Given the readings, in local time, by the slices and prices of the catalogue
    london = ZoneInfo("Europe/London")
    energy: defaultdict[tuple[int, str], Fraction] = defaultdict(Fraction)
    hours: defaultdict[datetime, Fraction] = defaultdict(Fraction)
    with gzip.open(VECTORS / "real/uk-electricity-hdd-only-hourly-sample-1.csv.gz", "rt") as file:
        kwh_at = {datetime.fromisoformat(row["start"]): Fraction(row["value"]) for row in csv.DictReader(file)}
    for start, kwh in kwh_at.items():
        local = start.replace(tzinfo=UTC).astimezone(london)
        if (local.year, local.month) <= (2013, 4) and local.year == 2013:
            energy[local.month, slice_of(local)] += kwh
            hours[start.replace(minute=0)] += kwh
    totals: defaultdict[str, int] = defaultdict(int)
    _, (first, *_) = runs
    for month, name in enumerate(MONTHS, 1):
        days: defaultdict[date, Fraction] = defaultdict(Fraction)
        for start, kwh in hours.items():
            local = start.replace(tzinfo=UTC).astimezone(london)
            if local.month == month:
                days[local.date()] = max(days[local.date()], kwh)
        demand = Fraction(sum(sorted(days.values())[-3:], Fraction(0)), 3)
        charged = [to_cents(energy[month, each] * price) for each, price in PRICES.items()]
        for_demand = to_cents(
            Fraction("2.4") * min(demand, Fraction(3)) + Fraction("6.1") * max(demand - 3, Fraction(0))
        )
        tax = sum(to_cents(Fraction(cents, 100) * Fraction("0.05")) for cents in (*charged, for_demand))
        bill = {"energy": sum(charged), "demand": for_demand, "tax": tax, "bill": sum(charged) + for_demand + tax}
        # Then the month's row says the same, to the penny
        assert row_of(first.stdout, f"{name} 2013")[-4:] == [f"{cents / 100:,.2f}" for cents in bill.values()]
        assert row_of(first.stdout, f"{name} 2013")[-5] == f"{float(demand):.3f}"
        for key, cents in bill.items():
            totals[key] += cents
    last = re.findall(r"^all .*$", first.stdout, re.MULTILINE)[-1].split()
    assert last[-4:] == [f"{cents / 100:,.2f}" for cents in totals.values()]


def slice_of(local: datetime) -> str:
    if not 7 <= local.hour < 23:
        return "NIGHT"
    if local.date() in HOLIDAYS or local.weekday() >= 5:
        return "WEEKEND"
    return "PEAK" if 16 <= local.hour < 19 else "DAY"


def test_the_billing_message_agrees_with_the_cases(runs):
    out, _ = runs
    document = json.loads((out / "billing-message.json").read_text())
    months = [each for each in document["london"]["determinants"] if each["is_month"]]
    found = {
        (each["start_time"], each["end_time"], each["kind"]): float(each["value"])
        for each in months
        if each["kind"] in ("INTERVAL", "PMAX")
    }
    expected = {}
    for case in vectors("real/uk-electricity-hdd-only-hourly-sample-1.json")["expected"]:
        period = (case["start"].replace("+00:00", "Z"), case["end"].replace("+00:00", "Z"))
        expected[*period, "INTERVAL"] = case["sums"]["TOTAL"]
        expected[*period, "PMAX"] = case["pmax"]["kw"]
    assert len(found) == 2 * len(MONTHS)
    assert found == pytest.approx({key: expected[key] for key in found}, abs=1e-6)


def test_the_connection_points_agree_with_the_cases(runs):
    _, (first, *_) = runs
    cases = {(each["nmi"], each["suffix"], each["file"]): each for each in vectors("nem12/nem12.json")["cases"]}
    for (nmi, suffix), file in {
        ("NEM1202022", "E1"): "nem12/NEM12#000000000000002#CNRGYMDP#NEMMCO.zip",
        ("NEM1206104", "B1"): "nem12/NEM12#SCENARIO605033001#ENERGEXM#NEMMCO.zip",
    }.items():
        line = " ".join(row_of(first.stdout, f"{nmi}:"))
        case = cases[nmi, suffix, file]
        for month in case["by_month"].values():
            assert f"{Decimal(month['sum']):,f}" in line
        assert f"{Decimal(case['sum']):,f} kWh" in line
        assert f"Pmax {Decimal(case['max']) * 2:,f} kW" in line


def test_substituted_readings_cancel(runs):
    _, (first, *_) = runs
    line = " ".join(row_of(first.stdout, "NEM1208150:"))
    assert line.endswith("cancelled, nothing stored: readings that may not be billed: 74 substituted (NOT_BILLABLE)")


def test_a_second_run_bills_nothing_twice(runs):
    _, (first, _, second, _) = runs
    for name in (*(f"{each} 2013" for each in MONTHS), "NEM1202022:", "NEM1206104:", "NEM1208150:"):
        assert row_of(second.stdout, name) == row_of(first.stdout, name)
    assert "20 of them are usage of household: 20 new, 0 known already" in first.stdout
    assert "20 of them are usage of household: 0 new, 20 known already" in second.stdout


def test_what_the_book_holds_after_two_runs(runs):
    out, _ = runs
    with live_server(replace(SETTINGS, data_directory=out / "data")) as target, tb.Client(target) as client:
        # Readings twice, the later one in place of an equal one
        day = (datetime(2013, 2, 22, tzinfo=UTC), datetime(2013, 2, 23, tzinfo=UTC))
        readings = list(client.list_readings("london", "load", *day, include_superseded=True))
        assert len(readings) == 2 * 48
        kept, replaced = (
            {each.time: each.value for each in readings if each.superseded is superseded}
            for superseded in (False, True)
        )
        assert kept == replaced
        # Each month's maximum in its BILLING channel, calculated twice
        stored = list(client.list_billing_readings("london", "BILLING_HOME_PMAX_POWER_MONTH", include_superseded=True))
        assert [each.superseded for each in stored].count(False) == 4
        assert len(stored) == 8
        assert {each.unit for each in stored} == {"kW"}
        # And an outbox that was read
        assert list(client.billing_messages()) == []


def test_the_catalogue_of_the_meters_can_be_applied_again(runs):
    out, _ = runs
    written, example = (
        read_message_file(file.name, file.read_bytes(), catalog_pb2.Catalog)
        for file in (out / "meters.yaml", ROOT / "examples/energy/catalog.yaml")
    )
    assert written.faults == example.faults == ()
    for field in example.message.DESCRIPTOR.fields:
        ids = [{each.id for each in getattr(found.message, field.name)} for found in (written, example)]
        assert ids[0] == ids[1]
    with live_server(replace(SETTINGS, data_directory=out / "data")) as target, tb.Client(target) as client:
        version = client.get_catalog().version
        assert client.apply_catalog(written.message).version == version
