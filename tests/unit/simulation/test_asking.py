"""Work that is cancelled stops soon: every step asks before each stretch of rows, and every so many objects."""

from dataclasses import replace
from datetime import date

import numpy as np
import pyarrow as pa
import pytest
from benchmarks import simulation as customer_base

import tallybook_client as tb
from tallybook.v1 import catalog_pb2, simulate_pb2
from tallybook_engine import asking
from tallybook_engine.catalog.change import CatalogChange, CatalogIds, CatalogObjects
from tallybook_engine.catalog.faults import Faults
from tallybook_engine.catalog.model import Catalog, Contract
from tallybook_engine.catalog.versions import apply_change
from tallybook_engine.ledger.recorded import EVENT_ID, RecordedEvents
from tallybook_engine.simulation.calendars import CalendarKey, make_calendars
from tallybook_engine.simulation.compare import Comparison
from tallybook_engine.simulation.contracts import ContractTable
from tallybook_engine.simulation.plan import Planner
from tallybook_engine.simulation.recorded import recorded_usage
from tallybook_engine.simulation.run import run_piece
from tallybook_engine.simulation.settlement import Settlement
from tallybook_engine.simulation.usage import joined
from tallybook_server.codec.catalog import read_change, write_objects
from tallybook_server.codec.usage import read_usage
from tallybook_server.simulations import _streams, prepare

ROWS, CONTRACTS = 1_000, 60
ROWS_UNASKED, OBJECTS_UNASKED = 100, 10
CATALOG = customer_base.catalogue(CONTRACTS)
TABLE = ContractTable(CATALOG.contracts)
USAGE = customer_base.usage(ROWS, CONTRACTS).frame(CONTRACTS)
DAYS = len(np.unique(USAGE.days))
CHANGES = customer_base.scenarios(CONTRACTS, 1, 4)


def elsewhere() -> Catalog:
    """The catalogue with other zones and dates, so that rows are at other times."""
    moved = [replace(each, time_zone="Asia/Tokyo", start_date=date(2024, 1, 1)) for each in CATALOG.contracts.values()]
    return apply_change(CATALOG, CatalogChange(CatalogObjects(contracts=tuple(moved))))


def recorded() -> RecordedEvents:
    customers = pa.array([f"customer{number % CONTRACTS}" for number in range(ROWS)]).dictionary_encode()
    meters = pa.array(["api"] * ROWS).dictionary_encode()
    nothing = pa.nulls(ROWS, pa.dictionary(pa.int32(), pa.string()))
    times = pa.array(np.full(ROWS, 1_740_000_000_000_000))
    values = pa.array(range(ROWS), pa.int64()).cast(pa.decimal128(38, 12))
    columns = {"customer": customers, "meter": meters, "contract": nothing, "time_us": times, "value:calls": values}
    return RecordedEvents(pa.table(columns | {EVENT_ID: pa.array(np.arange(ROWS, dtype=np.uint64))}))


def planned(go_on=asking.unasked):
    planner = Planner(USAGE, CATALOG, TABLE, (), go_on)
    for change in CHANGES:
        planner.add(apply_change(CATALOG, change, go_on=go_on))
    return planner.finish()


def compared(go_on):
    plan = planned()
    comparison = Comparison(plan, go_on=go_on)
    for piece in plan.pieces:
        comparison.add(run_piece(plan, piece, go_on))


def added(go_on):
    """A scenario that looks at every row again."""
    planner = Planner(USAGE, CATALOG, TABLE, ())
    planner._go_on = go_on
    planner.add(elsewhere())


def as_message() -> catalog_pb2.Catalog:
    return write_objects(CatalogObjects(contracts=tuple(CATALOG.contracts.values())))


def moved_contracts() -> tuple[Contract, ...]:
    return tuple(elsewhere().contracts.values())


ROW_STEPS = {
    # Surveyed, subjects found, quantities, products, days, times, judged.
    "usage that is planned": (lambda go_on: Planner(USAGE, CATALOG, TABLE, (), go_on), 7, DAYS),
    # Times, judged; contracts that are gone, those that are there, and their terms.
    "a scenario at other times": (added, 2, DAYS + 3 * CONTRACTS),
    # Contracts and products recoded and joined, days, times, whether given, quantities.
    "frames that are joined": (lambda go_on: joined([USAGE], go_on), 8, 0),
    # Grouped and laid twice, keys thrice, times; rows and quantities of each product contract; customers.
    "recorded events": (
        lambda go_on: recorded_usage(recorded(), CATALOG, TABLE, go_on),
        8,
        (2 * CONTRACTS + 0.1) * OBJECTS_UNASKED + CONTRACTS,
    ),
}
OBJECT_STEPS = {
    "contracts that are read": (
        lambda go_on: read_change(as_message(), catalog_pb2.CatalogIds(), False, Faults(), go_on=go_on),
        1,
    ),
    # Ids, places, alike, judged, unique twice, overlaps; and once before datasources.
    "contracts that are checked": (
        lambda go_on: apply_change(
            CATALOG, CatalogChange(CatalogObjects(contracts=moved_contracts()), CatalogIds()), go_on=go_on
        ),
        7 + OBJECTS_UNASKED / CONTRACTS,
    ),
    # Those that are gone, those that are there, and their terms.
    "a table of contracts": (lambda go_on: ContractTable(elsewhere().contracts, TABLE, go_on), 3),
    "calendars": (
        lambda go_on: make_calendars(
            {
                CalendarKey("UTC", date(2025, 1, 1 + day % 28), customer_base.MONTH, customer_base.YEAR): (0, day)
                for day in range(CONTRACTS)
            },
            go_on,
        ),
        28 / CONTRACTS,
    ),
    "rows of a request": (
        lambda go_on: read_usage(tb.simulation_request(rows_of_a_request()), go_on),
        1,
    ),
}
CATALOGUE_STEPS = {
    "catalogues that are laid out": lambda go_on: planned(go_on),
    "pieces that are run and compared": compared,
    "trees that may be settled": lambda go_on: Settlement(planned(), go_on=go_on),
}


def rows_of_a_request() -> list[simulate_pb2.UsageRow]:
    row = simulate_pb2.UsageRow(contract_id="charge0", product_id="calls", date="2025-01-01", quantity="1")
    return [row] * CONTRACTS


@pytest.fixture(autouse=True)
def short_stretches(monkeypatch):
    monkeypatch.setattr(asking, "ROWS_UNASKED_MAX", ROWS_UNASKED)
    monkeypatch.setattr(asking, "OBJECTS_UNASKED_MAX", OBJECTS_UNASKED)


def asked(step) -> int:
    """How often a step asks whether to go on."""
    count = 0

    def go_on() -> None:
        nonlocal count
        count += 1

    step(go_on)
    return count


@pytest.mark.parametrize("name", ROW_STEPS)
def test_a_step_asks_before_each_stretch_of_rows(name):
    # Every pass over the rows, and over objects: a pass that does not ask is one too few
    step, passes, object_count = ROW_STEPS[name]
    assert asked(step) >= passes * ROWS / ROWS_UNASKED + object_count // OBJECTS_UNASKED


@pytest.mark.parametrize("name", OBJECT_STEPS)
def test_a_step_asks_every_so_many_objects(name):
    step, passes = OBJECT_STEPS[name]
    assert asked(step) >= passes * CONTRACTS / OBJECTS_UNASKED


def test_charges_ask_before_each_message(monkeypatch):
    monkeypatch.setattr("tallybook_server.limits.SIMULATED_LINES_IN_MESSAGE", ROWS_UNASKED)
    assert asked(lambda go_on: list(_streams(pa.table({"number": range(ROWS)}), go_on))) == ROWS / ROWS_UNASKED


@pytest.mark.parametrize("name", CATALOGUE_STEPS)
def test_a_step_asks_at_each_catalogue(name):
    assert asked(CATALOGUE_STEPS[name]) >= len(CHANGES) + 1


def whole(go_on) -> None:
    """A simulation from its request to its last message."""
    scenarios = [tb.Scenario(name="flat", replace_plans={"graduated": "flat"}), tb.Scenario(name="same")]
    request = tb.simulation_request(rows_of_a_request(), scenarios)
    simulation = prepare(request, CATALOG, TABLE, go_on=go_on)
    settlement, comparison = simulation.adding_up(go_on)
    for piece in simulation.plan.pieces:
        found, _ = simulation.run(piece, go_on)
        comparison.add(found)
        settlement.add(found)
    for _ in simulation.settled(settlement, comparison, go_on):
        pass
    for _ in simulation.results(comparison, [0, 0, 0], go_on):
        pass


def test_work_ends_wherever_it_is_told_to():
    # Given how often a whole simulation asks
    for last in range(1, asked(whole) + 1):
        count = 0

        def go_on(last: int = last) -> None:
            nonlocal count
            count += 1
            if count == last:
                raise InterruptedError

        # When it is told to end at any of these times, then it does, and asks no more
        with pytest.raises(InterruptedError):
            whole(go_on)
        assert count == last
