"""Production equals simulation: the same rows through Ingest and through a simulation give the same charge lines."""

import random
from dataclasses import replace
from datetime import date, timedelta
from fractions import Fraction

import numpy as np
import pytest
from google.protobuf.json_format import ParseDict
from tests.support.live_book import LiveBook
from tests.support.random_catalogue import FIRST_DAY, LAST_DAY, PROPERTIES, RandomCatalogue
from tests.support.random_events import written

from tallybook.v1 import catalog_pb2
from tallybook_engine.catalog.model import Aggregation
from tallybook_engine.decimals import format_decimal, parse_decimal
from tallybook_engine.kernels.wide import from_limbs, limb_array
from tallybook_engine.ledger.outcomes import EventSelector
from tallybook_engine.simulation.contracts import ContractTable
from tallybook_engine.simulation.explain import explain_line
from tallybook_engine.simulation.grouping import MAX
from tallybook_engine.simulation.plan import Planner
from tallybook_engine.simulation.recorded import recorded_usage
from tallybook_engine.simulation.run import run_piece
from tallybook_engine.simulation.usage import UsageFrame, UsageProperty
from tallybook_oracle.calendar import first_instant
from tallybook_oracle.ledger import NOTHING, OracleBook
from tallybook_server.codec.catalog import read_catalog
from tallybook_server.journal.memory import MemoryJournal

NOW_US = first_instant("UTC", LAST_DAY + timedelta(days=5))
EPOCH = date(1970, 1, 1)


class Rows:
    """Random usage rows, as events and as columns."""

    def __init__(self, chance, catalog):
        self.catalog = catalog
        self.subjects = [
            (path, each)
            for root in catalog.contracts.values()
            for path in root.levels()
            for each in path[-1].product_contracts
        ]
        self.rows = []
        for _ in range(chance.choice([1, 20, 150])):
            row = self._row(chance)
            if row is not None:
                self.rows.append(row)

    def _row(self, chance):
        path, each = chance.choice(self.subjects)
        product = self.catalog.products[self.catalog.plans[each.plan].product]
        start = each.start_date or path[-1].start_date
        end = each.end_date or path[-1].ends_on
        day = FIRST_DAY + timedelta(days=chance.randrange((LAST_DAY - FIRST_DAY).days))
        if day < start or (end is not None and day >= end):
            return None
        midnight_us = first_instant(path[-1].time_zone, day)
        time_us = None if chance.random() < 0.5 else midnight_us + chance.randrange(20 * 3600) * 1_000_000
        number = chance.choice(["0", "1", "2.5", "0.000000000001", str(chance.randrange(100)), "33.333333333333"])
        if product.aggregation is Aggregation.COUNT:
            number = "1"
        elif self.catalog.meters[product.meter].allow_negative and chance.random() < 0.3 and number != "0":
            number = f"-{number}"
        properties = {name: chance.choice([*texts, "other"]) for name, texts in PROPERTIES.items()}
        if chance.random() < 0.3:
            del properties["size"]
        properties |= dict(product.filter)
        return path, each, product, day, midnight_us, time_us, number, properties

    def events(self):
        found = []
        for index, (path, each, product, _, midnight_us, time_us, number, properties) in enumerate(self.rows):
            found.append(
                {
                    "reference": f"row{index}",
                    "customer_id": path[0].customer,
                    "meter_id": product.meter,
                    "contract_id": each.id,
                    "time": written(midnight_us if time_us is None else time_us),
                    "meter_values": [{"reference": product.value, "number": number}] if product.value else [],
                    "meter_properties": [{"reference": name, "value": text} for name, text in properties.items()],
                }
            )
        return found

    def frame(self):
        contracts = {name: code for code, name in enumerate(dict.fromkeys(row[1].id for row in self.rows))}
        products = {name: code for code, name in enumerate(dict.fromkeys(row[2].id for row in self.rows))}
        columns = []
        for name in PROPERTIES:
            texts: dict[str, int] = {}
            codes = [-1 if name not in row[7] else texts.setdefault(row[7][name], len(texts)) for row in self.rows]
            columns.append(UsageProperty(name, np.array(codes, dtype=np.int32), tuple(texts)))
        return UsageFrame(
            tuple(contracts),
            np.array([contracts[row[1].id] for row in self.rows], dtype=np.int32),
            tuple(products),
            np.array([products[row[2].id] for row in self.rows], dtype=np.int32),
            np.array([(row[3] - EPOCH).days for row in self.rows], dtype=np.int32),
            np.array([row[5] or 0 for row in self.rows], dtype=np.int64),
            np.array([row[5] is not None for row in self.rows], dtype=np.bool_),
            limb_array([parse_decimal(row[6]) for row in self.rows], 2),
            tuple(columns),
        )


def simulated(plan, number):
    """The lines under one of the plan's catalogues, as the ledger shows them."""
    found = set()
    for piece in plan.pieces:
        each = run_piece(plan, piece)[number]
        for at, subject in enumerate(each.subject.tolist()):
            terms = plan.terms[number]
            cell = int(terms.cell[terms.pricing.cell_start[subject] + each.cell[at]])
            period = int(each.billing[at])
            found.add(
                (
                    terms.contract_paths()[subject],
                    plan.registry.cell_ids[cell],
                    int(plan.calendars.billing_start_us[period]),
                    int(plan.calendars.billing_end_us[period]),
                    format_decimal(from_limbs(*each.lines.quantity[at]), 12),
                    from_limbs(*each.lines.exact[at]),
                    int(each.lines.amount[at]),
                    int(each.lines.tax[at]),
                )
            )
    return found


def ledgers(put, events):
    """The lines that the ledger holds once the events are stored."""
    live = LiveBook(MemoryJournal(), NOW_US)
    try:
        live.apply(put)
        if events:
            live.store(events)
        return lines_of(live, put)
    finally:
        live.close()


def lines_of(live, put):
    """All lines of a book."""
    found = set()
    for customer in put["customers"]:
        lines, _ = live.run(live.book.charges(customer["id"], True, None, None, None, False))
        found |= {
            (
                line.contract_path,
                line.cell_id,
                line.period_start_us,
                line.period_end_us,
                format_decimal(line.quantity, 12),
                line.exact_amount,
                line.amount,
                line.tax,
            )
            for line in lines
        }
    return found


def changed(chance, made, put):
    """The same catalogue with other prices, and here and there other periods, zones and taxes."""
    products = {each["id"]: each for each in put["products"]}
    plans = [
        {**made.plan(products[each["product"]], each["currency"]), "id": each["id"]} if chance.random() < 0.5 else each
        for each in put["plans"]
    ]
    contracts = [dict(each) for each in put["contracts"]]
    for contract in contracts:
        if chance.random() < 0.3:
            contract["billing_frequency"] = made.billing_frequency()
        if chance.random() < 0.3:
            contract["product_contracts"] = [
                {**each, "accumulation_period": made.accumulation_period()} for each in contract["product_contracts"]
            ]
    taxes = [{**each, "rate": "0.195"} for each in put["taxes"]] if chance.random() < 0.3 else put["taxes"]
    return {**put, "plans": plans, "contracts": contracts, "taxes": taxes}


@pytest.mark.parametrize("seed", range(30))
def test_a_simulation_is_what_the_ledger_holds(seed):
    # Given a catalogue, another one, and usage
    chance = random.Random(seed)
    made = RandomCatalogue(chance)
    put = made.first()
    other = changed(chance, made, put)
    catalog, scenario = (read_catalog(ParseDict(each, catalog_pb2.Catalog())) for each in (put, other))
    rows = Rows(chance, catalog)
    # When it is simulated under both, the one as a scenario of the other
    planner = Planner(rows.frame(), catalog, ContractTable(catalog.contracts), ())
    planner.add(scenario)
    plan = planner.finish()
    # Then the lines are those of two books that stored the rows as events
    assert simulated(plan, 0) == ledgers(put, rows.events())
    assert simulated(plan, 1) == ledgers(other, rows.events())


@pytest.mark.parametrize("seed", range(6))
def test_rows_of_several_events_are_those_events_in_ledger_and_oracle(seed):
    # Given rows that stand for some equal events each, but where the largest counts, in any order
    chance = random.Random(seed)
    put = RandomCatalogue(chance).first()
    catalog = read_catalog(ParseDict(put, catalog_pb2.Catalog()))
    rows = Rows(chance, catalog)
    while len(rows.rows) < 15:
        rows = Rows(chance, catalog)
    counts = [1 if row[2].aggregation is Aggregation.MAX else chance.choice([1, 2, 7]) for row in rows.rows]
    quantities = limb_array([parse_decimal(row[6]) * count for row, count in zip(rows.rows, counts, strict=True)], 2)
    frame = replace(rows.frame(), quantities=quantities, event_counts=np.array(counts, dtype=np.int64))
    shuffled = frame.taken(np.array(chance.sample(range(len(counts)), len(counts)), dtype=np.int64))
    # When they are simulated
    found = simulated(Planner(shuffled, catalog, ContractTable(catalog.contracts), ()).finish(), 0)
    # Then the lines are those of a book that stored every event by itself
    events = [
        {**event, "reference": f"{event['reference']}-{number}"}
        for event, count in zip(rows.events(), counts, strict=True)
        for number in range(count)
    ]
    assert found == ledgers(put, events)
    # And those of the oracle
    oracle = OracleBook()
    oracle.apply_catalog(put)
    assert {each.status for each in oracle.ingest(events, NOW_US)} == {"STORED"}
    held = {
        (key.product_contract, key.cell_id, key.start_us, key.end_us): value for key, value in oracle.lines().items()
    }
    for path, cell, start_us, end_us, _, exact, amount, tax in found:
        assert held.pop((path[-1], cell, start_us, end_us)) == (Fraction(exact, 10**24), amount, tax)
    assert set(held.values()) <= {NOTHING}


@pytest.mark.parametrize("seed", range(10))
def test_included_quantities_by_days_are_the_ledgers(seed):
    # Given prices that all include a quantity by days, in contracts that begin and end in the middle of their periods
    chance = random.Random(seed)
    put = RandomCatalogue(chance).first()
    for each in put["plans"]:
        for price in each.get("matrix", {}).get("rules", [each]):
            if "none" not in price:
                mode = chance.choice(["SUBTRACT_FIRST", "FREE_FIRST_TIER"])
                price["included_quantity"] = {"quantity": chance.choice(["7", "40"]), "mode": mode, "prorate": True}
    for contract in put["contracts"]:
        contract["end_date"] = (FIRST_DAY + timedelta(days=chance.randint(100, 160))).isoformat()
    catalog = read_catalog(ParseDict(put, catalog_pb2.Catalog()))
    rows = Rows(chance, catalog)
    while len(rows.rows) < 50:
        rows = Rows(chance, catalog)
    # When it is simulated
    plan = Planner(rows.frame(), catalog, ContractTable(catalog.contracts), ()).finish()
    # Then the lines are those of a book that stored the rows as events
    assert simulated(plan, 0) == ledgers(put, rows.events())


@pytest.mark.parametrize("seed", range(15))
def test_recorded_usage_is_what_the_ledger_holds(seed):
    # Given events, some that pin no product contract, and some that are deleted again
    chance = random.Random(seed)
    put = RandomCatalogue(chance).first()
    catalog = read_catalog(ParseDict(put, catalog_pb2.Catalog()))
    events = Rows(chance, catalog).events()
    for each in events:
        if chance.random() < 0.6:
            del each["contract_id"]
    live = LiveBook(MemoryJournal(), NOW_US)
    try:
        live.apply(put)
        if events:
            live.store(events)
        gone = chance.sample(events, len(events) // 5)
        selectors = [EventSelector(None, each["customer_id"], True, each["reference"], 1) for each in gone]
        sequence = live.book.committed_sequence()
        before = lines_of(live, put)
        if selectors:
            live.run(live.book.delete(selectors))
        spans = {each.reference: (-NOW_US, 2 * NOW_US) for each in catalog.customers.values()}
        table = ContractTable(catalog.contracts)
        # When they are read as usage, as of the sequence before and now
        found = []
        for at in (sequence, live.book.committed_sequence()):
            frame = recorded_usage(live.book.recorded_events(spans, at), catalog, table)
            found.append(simulated(Planner(frame, catalog, table, ()).finish(), 0))
        # Then the lines are the ledger's, and those of a ledger that never saw what was deleted
        assert found[0] == before
        assert found[1] == ledgers(put, [each for each in events if each not in gone])
    finally:
        live.close()


@pytest.mark.parametrize("seed", range(20))
def test_every_line_is_explained_to_its_exact_amount(seed):
    # Given the lines of a catalogue and of another one
    chance = random.Random(seed)
    made = RandomCatalogue(chance)
    put = made.first()
    catalog, scenario = (
        read_catalog(ParseDict(each, catalog_pb2.Catalog())) for each in (put, changed(chance, made, put))
    )
    planner = Planner(Rows(chance, catalog).frame(), catalog, ContractTable(catalog.contracts), ())
    planner.add(scenario)
    plan = planner.finish()
    for piece in plan.pieces:
        for terms, each in zip(plan.terms, run_piece(plan, piece), strict=True):
            for at, (subject, cell) in enumerate(zip(each.subject.tolist(), each.cell.tolist(), strict=True)):
                start_us = int(plan.calendars.billing_start_us[each.billing[at]])
                # When one is explained
                parts = explain_line(plan, terms, piece, subject, cell, start_us)
                # Then its tier lines are the exact amount, and sums of events its quantity
                assert parts
                assert sum(line.amount for part in parts for line in part.lines) == from_limbs(*each.lines.exact[at])
                if terms.layout.aggregation[subject] != MAX:
                    moved = sum(part.quantity_after - part.quantity_before for part in parts)
                    assert moved == from_limbs(*each.lines.quantity[at])


def test_pieces_change_nothing(monkeypatch):
    # Given work that is cut into one product contract a piece
    chance = random.Random(2)
    put = RandomCatalogue(chance).first()
    catalog = read_catalog(ParseDict(put, catalog_pb2.Catalog()))
    rows = Rows(chance, catalog)
    while len({row[1].id for row in rows.rows}) < 3:
        rows = Rows(chance, catalog)
    frame = rows.frame()

    def lines():
        return simulated(plan, 0)

    plan = Planner(frame, catalog, ContractTable(catalog.contracts), ()).finish()
    whole = lines()
    monkeypatch.setattr("tallybook_engine.simulation.plan.PIECE_SLOTS", 1)
    plan = Planner(frame, catalog, ContractTable(catalog.contracts), ()).finish()
    assert len(plan.pieces) == len(plan.subjects) > 1
    assert lines() == whole
