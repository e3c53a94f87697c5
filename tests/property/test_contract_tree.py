"""A contract tree comes to what the recursive oracle says, whatever its calendars, terms and charge lines."""

import random
from dataclasses import replace
from fractions import Fraction

import pytest
from google.protobuf.json_format import ParseDict
from tests.support.random_terms import RandomTerms, levels

from tallybook.v1 import catalog_pb2
from tallybook_engine.catalog.model import Tax, TaxMode
from tallybook_engine.contract.calendars import level_periods
from tallybook_engine.contract.invoice import Charge
from tallybook_engine.contract.settle import settle, settled_stretch
from tallybook_engine.contract.tree import tree_of
from tallybook_engine.decimals import UNIT, DoesNotFit
from tallybook_engine.rating.tax import tax_amount
from tallybook_oracle.calendar import first_instant
from tallybook_oracle.catalog import OracleTax
from tallybook_oracle.contract import OracleCharge, invoices
from tallybook_server.codec.catalog import read_catalog

DAY_US = 86_400_000_000
TAXES = (
    Tax("nl", "NL", UNIT * 21 // 100),
    Tax("nl", "NL", UNIT * 9 // 100),
    Tax("a", "NL", UNIT // 3, TaxMode.INCLUSIVE),
    None,
)
"""As of several versions of the catalogue."""


def catalogue(chance):
    """One customer with a random tree."""
    digits = chance.choice([0, 2, 3])
    currency = {0: "JPY", 2: "EUR", 3: "KWD"}[digits]
    terms = RandomTerms(chance, digits)
    root = terms.tree("ann", ["plan"])
    terms.add(root)
    root["currency"] = currency
    mode = chance.choice(["EXCLUSIVE", "INCLUSIVE"])
    return {
        "taxes": [{"id": "nl", "country_code": "NL", "rate": "0.21", "mode": mode}] if chance.random() < 0.8 else [],
        "meters": [{"id": "meter", "values": ["units"]}],
        "products": [{"id": "product", "meter": "meter", "aggregation": "SUM", "value": "units"}],
        "plans": [{"id": "plan", "product": "product", "currency": currency, "per_unit": {"unit_price": "1"}}],
        "customers": [{"id": "ann", "country_code": "NL"}],
        "contracts": [root],
    }


AMOUNTS = (0, 1, 999, 12345, 99999, -777)


def random_charges(chance, tree, start_us, until_us, amounts=AMOUNTS):
    """Lines of the tree's product contracts, mostly of their billing periods."""
    found = []
    for calendar, level in zip(level_periods(tree, None, until_us), tree.levels, strict=True):
        for product_contract in level.contract.product_contracts:
            for period in calendar.periods:
                for _ in range(chance.choice([0, 1, 1, 2])):
                    tax = chance.choice(TAXES)
                    amount = chance.choice(amounts)
                    moved_us = chance.choice([0, 0, 0, 3 * DAY_US])
                    found.append(
                        Charge(
                            (*level.path, product_contract.id),
                            period.start_us - moved_us,
                            period.end_us - moved_us,
                            tree.currency,
                            amount,
                            0 if tax is None else tax_amount(tax.rate, tax.mode, amount),
                            tax,
                        )
                    )
    chance.shuffle(found)
    return found


def oracles_tax(tax):
    return None if tax is None else OracleTax(tax.id, Fraction(tax.rate, UNIT), tax.mode is TaxMode.INCLUSIVE)


def shown(line):
    """A line of either side as a tuple."""
    path = line.contract_path if hasattr(line, "contract_path") else line.path
    tax = line.tax if line.tax is None or isinstance(line.tax, OracleTax) else oracles_tax(line.tax)
    kind = line.kind if isinstance(line.kind, str) else line.kind.value
    return (
        kind,
        path,
        line.id,
        line.start_us,
        line.end_us,
        line.amount,
        line.tax_amount,
        "" if tax is None else f"{tax.id} {tax.rate} {tax.inclusive}",
        str(line.due_date),
    )


def case(seed, amounts=AMOUNTS):
    """A random tree, its charge lines and a stretch of time."""
    chance = random.Random(seed)
    put = catalogue(chance)
    tree = tree_of(*read(put))
    start_us = first_instant("UTC", tree.root.start_date)
    first_us = start_us + chance.choice([0, 45, 200]) * DAY_US
    until_us = first_us + chance.choice([1, 50, 200]) * DAY_US
    return put, tree, random_charges(chance, tree, start_us, until_us, amounts), first_us, until_us


def oracles_invoices(put, tree, charges, first_us, until_us):
    """The same invoices by the oracle."""
    by_id = {kind: {each["id"]: each for each in objects} for kind, objects in put.items()}
    oracles = invoices(
        by_id,
        tree.root.id,
        [
            OracleCharge(
                each.contract_path, each.start_us, each.end_us, each.amount, each.tax_amount, oracles_tax(each.tax)
            )
            for each in charges
        ],
        until_us,
        tree.currency,
    )
    return [each for each in oracles if each.days.end_us > first_us]


@pytest.mark.parametrize("seed", range(120))
def test_invoices_are_the_oracles(seed):
    # Given a random tree and charge lines
    put, tree, charges, first_us, until_us = case(seed)
    # When it is settled
    found = settle(tree, charges, first_us, until_us)
    # Then each invoice has the oracle's lines
    wanted = oracles_invoices(put, tree, charges, first_us, until_us)
    assert [(each.start_us, each.end_us) for each in found] == [
        (each.days.start_us, each.days.end_us) for each in wanted
    ]
    for invoice, oracles_invoice in zip(found, wanted, strict=True):
        assert sorted(map(shown, invoice.lines)) == sorted(map(shown, oracles_invoice.lines))
        assert invoice.levels[-1].total == oracles_invoice.total() if invoice.levels else not invoice.lines
        assert sum(each.base_amount for each in invoice.taxes) == sum(
            each.amount_excluding_tax for each in invoice.lines
        )
    # And charge lines outside of the stretch that it names change nothing
    low_us, high_us = settled_stretch(tree, first_us, until_us)
    near = [each for each in charges if each.end_us > low_us and each.start_us < high_us]
    again = settle(tree, near, first_us, until_us)
    assert [[replace(line, charge=0) for line in each.lines] for each in again] == [
        [replace(line, charge=0) for line in each.lines] for each in found
    ]


def test_amounts_near_the_limit_are_the_oracles():
    # Given charge lines of which a few fill 64 bits, so that products need up to 126
    amounts = (2**62 - 5, 2**61 + 12345, 2**59, 2**57, -(2**60), 1, 12345, -777)
    settled, refused = 0, 0
    for seed in range(60):
        put, tree, charges, first_us, until_us = case(seed, amounts)
        wanted = oracles_invoices(put, tree, charges, first_us, until_us)
        # When they are settled, or refused
        try:
            found = settle(tree, charges, first_us, until_us)
        except DoesNotFit as error:
            assert tree.root.id in str(error)
            refused += 1
            continue
        # Then the lines are the oracle's, and none leaves the limits
        for invoice, oracles_invoice in zip(found, wanted, strict=True):
            assert sorted(map(shown, invoice.lines)) == sorted(map(shown, oracles_invoice.lines))
            assert all(abs(number) < 2**63 for line in invoice.lines for number in (line.amount, line.tax_amount))
        settled += any(line.amount > 2**60 for each in found for line in each.lines)
    assert settled > 10
    assert refused > 10


def read(put):
    catalog = read_catalog(ParseDict(put, catalog_pb2.Catalog()))
    (root,) = catalog.contracts.values()
    return catalog, root


def test_random_trees_have_every_term():
    # The property above would hold of trees without any
    kinds, with_own_calendar = set(), 0
    for seed in range(120):
        chance = random.Random(seed)
        put = catalogue(chance)
        tree = tree_of(*read(put))
        until_us = first_instant("UTC", tree.root.start_date) + 250 * DAY_US
        charges = random_charges(chance, tree, 0, until_us)
        kinds |= {line.kind.value for each in settle(tree, charges, 0, until_us) for line in each.lines}
        with_own_calendar += sum("billing_frequency" in each for each in levels(put["contracts"][0])) > 1
    assert kinds == {"CHARGE", "FIXED_FEE", "REVENUE_SHARE", "DISCOUNT", "CAP", "MINIMUM", "CREDIT"}
    assert with_own_calendar > 20
