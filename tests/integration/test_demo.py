"""The demo, with a sample of its flights: twice, as its own process with a server process of its own."""

import math
import re
import subprocess
import sys
from collections import defaultdict
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

ROOT = Path(__file__).parents[2]
EVERY = 150
EVENT_COUNT = 2_183


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
        [line] = re.findall(words, first.stdout)
        assert re.findall(words, second.stdout) == [line]


def test_the_equation_holds_and_the_answers_add_up(runs):
    _, (first, charges, *_) = runs
    assert f"equation holds: {charges.height:,} lines, difference 0" in first.stdout
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
    for name in ("cumulative-cost.png", "catalog.json", "charges.parquet"):
        assert (out / name).stat().st_size > 10_000
        assert str(out / name) in first.stdout.replace("\n", "")
    assert (out / "data" / "default.sqlite").exists()


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
