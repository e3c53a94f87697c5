"""What is billed is one thing: invoices of what is stored, a simulation's lines, and the recursive oracle agree."""

import random
from dataclasses import replace
from datetime import date, timedelta
from fractions import Fraction

import pytest
from google.protobuf.json_format import ParseDict
from tests.property.test_simulation import NOW_US, Rows
from tests.support.live_book import LiveBook
from tests.support.random_catalogue import LAST_DAY, RandomCatalogue
from tests.support.random_terms import RandomTerms
from tests.support.renamed import at_other_amounts, renamed
from tests.support.settled_trees import invoices_of, lines_beside, lines_of_no_usage, settled_lines, unopened_lines_of

from tallybook.v1 import catalog_pb2
from tallybook_engine.contract.invoice import LineKind
from tallybook_engine.contract.tree import tree_of
from tallybook_engine.currencies import minor_digits
from tallybook_engine.decimals import UNIT
from tallybook_engine.ledger.invoices import root_periods
from tallybook_engine.simulation.compare import Comparison
from tallybook_engine.simulation.contracts import contract_table
from tallybook_engine.simulation.explained_levels import explain_tree
from tallybook_engine.simulation.plan import Planner
from tallybook_engine.simulation.run import run_piece
from tallybook_engine.simulation.settlement import BilledStretch, Settlement
from tallybook_oracle.calendar import first_instant
from tallybook_oracle.catalog import KINDS, OracleTax
from tallybook_oracle.contract import OracleCharge, invoices
from tallybook_oracle.unopened import unopened_charges
from tallybook_server.codec.catalog import read_catalog
from tallybook_server.journal.memory import MemoryJournal

YEAR_US = 400 * 86_400_000_000
"""Beyond it lies no end of a period that began."""


def catalogue(chance):
    """Random trees with terms, and here and there with plans that cost something without usage."""
    put = RandomCatalogue(chance).first()
    currencies = {plan["id"]: plan["currency"] for plan in put["plans"]}
    for contract in put["contracts"]:
        currency = currencies[contract["product_contracts"][0]["plan"]]
        if chance.random() < 0.8:
            terms = RandomTerms(chance, minor_digits(currency), contract["id"])
            terms.add(contract)
    return put


def planned(catalogs, rows):
    planner = Planner(rows.frame(), catalogs[0], contract_table(catalogs[0].contracts), ())
    for each in catalogs[1:]:
        planner.add(each)
    return planner.finish()


def simulated(catalogs, rows, billed=None):
    """By catalogue: its invoices, and what each customer pays."""
    plan = planned(catalogs, rows)
    settlement = Settlement(plan, billed)
    comparison = Comparison(plan, settlement.payers())
    pieces = [run_piece(plan, piece) for piece in plan.pieces]
    for found in pieces:
        comparison.add(found)
        settlement.add(found)
    by_catalogue = []
    for number in range(len(catalogs)):
        settled = invoices_of(plan, pieces, number, billed)
        # All trees at once come to what they come to one by one, in the same order
        assert list(settled_lines(settlement, number)) == lines_beside(settled)
        assert sorted(unopened_lines_of(settlement, number)) == sorted(lines_of_no_usage(settled))
        for each in settlement.settle(number, with_lines=False):
            assert len(each.lines.tree) == 0
            comparison.add_settled(number, each)
        by_catalogue.append(settled)
    customers = comparison.customers()
    paid = [
        dict(
            zip(
                zip(customers.customer_ids, customers.currencies, strict=True),
                zip(customers.excluding_tax[:, number].tolist(), customers.tax[:, number].tolist(), strict=True),
                strict=True,
            )
        )
        for number in range(len(catalogs))
    ]
    return by_catalogue, paid


def shown(line):
    tax = "" if line.tax is None else line.tax.id
    return (
        *(line.kind.value, line.contract_path, line.id, line.start_us, line.end_us),
        *(line.amount, line.tax_amount, tax, str(line.due_date)),
    )


def by_period(found):
    return {(each.contract_id, each.start_us, each.end_us): sorted(map(shown, each.lines)) for each in found}


@pytest.mark.parametrize("seed", range(25))
def test_production_simulation_and_oracle_bill_the_same(seed):
    # Given trees with terms, and usage
    chance = random.Random(seed)
    put = catalogue(chance)
    catalog = read_catalog(ParseDict(put, catalog_pb2.Catalog()))
    rows = Rows(chance, catalog)
    # When it is simulated, and stored as events
    (settled,), (paid,) = simulated([catalog], rows)
    live = LiveBook(MemoryJournal(), NOW_US)
    try:
        live.apply(put)
        if rows.rows:
            live.store(rows.events())
        sums: dict[tuple[str, str], list[int]] = {}
        roots = {path[0].id for path, *_ in rows.rows}
        for root in sorted(roots):
            # Then production's invoices are the simulation's, in all their lines
            tree = tree_of(catalog, catalog.contracts[root])
            mine = [each for each in settled if each.contract_id == root]
            if mine:
                previewed = live.run(live.book.invoices(root, mine[0].start_date, len(mine), None)).invoices
                assert by_period(previewed) == by_period(mine)
            else:
                periods, _ = root_periods(tree, tree.root.start_date, 1000)
                periods = [each for each in periods if each.start_date <= LAST_DAY + timedelta(days=60)]
                previewed = live.run(live.book.invoices(root, tree.root.start_date, len(periods), None)).invoices
            # And the oracle's
            lines, _ = live.run(live.book.charges(tree.root.customer, True, None, None, None, False))
            assert_oracle_agrees(put, tree, lines, previewed)
            total = sums.setdefault((tree.root.customer, tree.currency), [0, 0])
            total[0] += sum(each.amount_excluding_tax for each in previewed)
            total[1] += sum(each.tax_amount for each in previewed)
        # And customers pay their sums
        assert paid == {key: tuple(total) for key, total in sums.items()}
    finally:
        live.close()


def assert_oracle_agrees(put, tree, lines, previewed):
    by_id = {kind: {each["id"]: each for each in put.get(kind, ())} for kind in KINDS}

    def oracles(tax):
        return None if tax is None else OracleTax(tax.id, Fraction(tax.rate, UNIT), tax.mode.value == "INCLUSIVE")

    charges = [
        OracleCharge(
            each.contract_path,
            each.period_start_us,
            each.period_end_us,
            each.amount,
            each.tax,
            oracles(each.applied_tax),
        )
        for each in lines
        if each.contract_path[0] == tree.root.id
    ]
    until_us = previewed[-1].end_us
    opened = {(each.contract_path[-1], each.cell_id, each.period_start_us, each.period_end_us) for each in lines}
    charges += unopened_charges(by_id, tree.root.id, opened, until_us + YEAR_US)
    wanted = {
        (each.days.start_us, each.days.end_us): sorted(
            (line.kind, line.path, line.id, line.amount, line.tax_amount, str(line.due_date)) for line in each.lines
        )
        for each in invoices(by_id, tree.root.id, charges, until_us, tree.currency)
    }
    for invoice in previewed:
        found = sorted(
            (line.kind.value, line.contract_path, line.id, line.amount, line.tax_amount, str(line.due_date))
            for line in invoice.lines
        )
        assert found == wanted[invoice.start_us, invoice.end_us]


@pytest.mark.parametrize("seed", range(10))
def test_a_stretch_is_billed_whole_with_usage_or_without(seed):
    # Given trees, of which some have usage, and a stretch of time that is billed for everyone
    chance = random.Random(seed)
    put = catalogue(chance)
    catalog = read_catalog(ParseDict(put, catalog_pb2.Catalog()))
    rows = Rows(chance, catalog)
    rows.rows = rows.rows[: chance.choice([0, 3, 200])]
    # Some trees begin after it, and some ended before
    first_us = first_instant("UTC", date(2023, 11, 1)) + chance.randrange(210 * 86400) * 1_000_000
    billed = BilledStretch(first_us, first_us + chance.randrange(1, 80 * 86400) * 1_000_000)
    # When it is simulated, and stored as events
    (settled,), (paid,) = simulated([catalog], rows, billed)
    live = LiveBook(MemoryJournal(), NOW_US)
    try:
        live.apply(put)
        if rows.rows:
            live.store(rows.events())
        due = set()
        for root in catalog.contracts.values():
            periods, _ = root_periods(tree_of(catalog, root), root.start_date, 1000)
            touched = [each for each in periods if each.start_us < billed.end_us and billed.start_us < each.end_us]
            mine = [each for each in settled if each.contract_id == root.id]
            if touched:
                whole = live.run(live.book.invoices(root.id, touched[0].start_date, len(touched), None)).invoices
                due |= {each.contract_id for each in whole if each.lines}
            if not touched or not mine:
                # Then trees without invoices are not of that time, or nothing is due in them but for usage
                continue
            # And the others have production's in all their lines, at least of the stretch
            assert {each.start_us for each in touched} <= {each.start_us for each in mine}
            previewed = live.run(live.book.invoices(root.id, mine[0].start_date, len(mine), None)).invoices
            assert by_period(previewed) == by_period(mine)
        assert due <= {each.contract_id for each in settled} | {path[0].id for path, *_ in rows.rows}
        assert sum(total for total, _ in paid.values()) == sum(
            each.amount_excluding_tax for each in settled
        ) + unsettled(live, settled, rows)
    finally:
        live.close()


@pytest.mark.parametrize("seed", range(6))
def test_a_tree_that_is_explained_is_the_one_that_is_settled(seed):
    # Given trees, of which some have usage, and now and then a stretch of time that is billed for everyone
    chance = random.Random(seed)
    catalog = read_catalog(ParseDict(catalogue(chance), catalog_pb2.Catalog()))
    rows = Rows(chance, catalog)
    rows.rows = rows.rows[:50]
    first_us = first_instant("UTC", date(2024, 2, 1))
    billed = BilledStretch(first_us, first_us + 60 * 86_400_000_000) if seed % 2 else None
    plan = planned([catalog], rows)
    pieces = [run_piece(plan, piece) for piece in plan.pieces]
    settled = invoices_of(plan, pieces, 0, billed)
    # When each is explained
    for root in {each.contract_id for each in settled}:
        explained = explain_tree(plan, plan.terms[0], [piece[0] for piece in pieces], root, billed)
        # Then it has the same invoices, and says which lines nothing opened
        mine = [each for each in settled if each.contract_id == root]
        assert by_period(explained.invoices) == by_period(mine)
        unopened = [(each.definition.product_contract_id, each.start_us, each.amount) for each in explained.unopened]
        of_invoices = [
            (line.id, line.start_us, line.amount) for each in mine for line in each.lines if line.charge >= 0
        ]
        assert sorted(unopened) == sorted(of_invoices)


def unsettled(live, settled, rows):
    """What trees come to that nothing but usage is due in."""
    total = 0
    settled_ids = {each.contract_id for each in settled}
    for name in {path[0].customer for path, *_ in rows.rows}:
        lines, _ = live.run(live.book.charges(name, True, None, None, None, False))
        of_usage = [each for each in lines if each.contract_path[0] not in settled_ids]
        total += sum(each.amount - (each.tax if each.tax_inclusive else 0) for each in of_usage)
    return total


def test_scenarios_are_settled_each_by_its_own_terms():
    # Given a catalogue with terms, and one in which one tree of its has another minimum
    found = 0
    for seed in range(40):
        chance = random.Random(seed)
        put = catalogue(chance)
        other = {**put, "contracts": [{**put["contracts"][0], "minimum": "900", "cap": "900"}, *put["contracts"][1:]]}
        catalogs = [read_catalog(ParseDict(each, catalog_pb2.Catalog())) for each in (put, other)]
        rows = Rows(chance, catalogs[0])
        # When both are simulated in one call
        settled, paid = simulated(catalogs, rows)
        # Then each is what it is alone
        for number in (0, 1):
            (alone,), (paid_alone,) = simulated([catalogs[number]], rows)
            assert by_period(settled[number]) == by_period(alone)
            assert paid[number] == paid_alone
        kinds = {
            line.kind for each in settled[1] for line in each.lines if each.contract_id == put["contracts"][0]["id"]
        }
        found += bool(kinds & {LineKind.CAP, LineKind.MINIMUM})
    assert found > 10


def test_trees_of_one_form_each_come_to_their_own():
    alike = 0
    for seed in range(10):
        # Given customers with the same trees at other amounts, who use other quantities at other times
        chance = random.Random(seed)
        catalog = read_catalog(ParseDict(catalogue(chance), catalog_pb2.Catalog()))
        contracts, customers = dict(catalog.contracts), dict(catalog.customers)
        for root in list(catalog.contracts.values())[:2]:
            for number in range(3):
                name = f"{root.customer}.{number}"
                customers[name] = replace(catalog.customers[root.customer], id=name, reference=name)
                other = at_other_amounts(renamed(root, name, f".{number}"), number + 1)
                contracts[other.id] = other
        catalog = replace(catalog, contracts=contracts, customers=customers)
        capped = {name: replace(each, cap=5 * UNIT) for name, each in contracts.items()}
        # When all are settled at once, then each comes to what it comes to alone: `simulated` looks at that
        (settled, _), _ = simulated([catalog, replace(catalog, contracts=capped)], Rows(chance, catalog))
        names = {each.contract_id for each in settled}
        alike += len(names) - len({name.split(".")[0] for name in names})
    assert alike > 10
