"""The catalogues of examples/: sound, and what their readers are told."""

from datetime import date
from pathlib import Path

import pytest

from tallybook.v1 import catalog_pb2
from tallybook_engine.catalog.change import CatalogChange
from tallybook_engine.catalog.faults import Faults
from tallybook_engine.catalog.model import Basis, Catalog, Frequency, Matrix, PeriodUnit
from tallybook_engine.catalog.versions import apply_change
from tallybook_engine.pricing.model import NoPrice, Price, Volume
from tallybook_server.catalog_file import check_catalog_file, read_message_file
from tallybook_server.codec.catalog import read_objects

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
FILES = sorted(EXAMPLES.glob("*/catalog.yaml"))
MONTHLY = Frequency(Basis.CALENDAR, 1, PeriodUnit.MONTH)


def example(name: str) -> Catalog:
    file = read_message_file("catalog.yaml", (EXAMPLES / name / "catalog.yaml").read_bytes(), catalog_pb2.Catalog)
    return apply_change(Catalog(), CatalogChange(read_objects(file.message, Faults())))


def test_there_are_examples():
    assert {path.parent.name for path in FILES} >= {"cards", "energy", "flights"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parent.name)
def test_every_example_is_sound(path):
    file = read_message_file(path.name, path.read_bytes(), catalog_pb2.Catalog)
    assert check_catalog_file(file, Catalog(), prune=False) == ()


def test_cards_are_sold_through_a_division():
    catalog = example("cards")
    (root,) = catalog.contracts.values()
    (_, path) = root.levels()
    ids = [*(level.id for level in path), *(each.id for each in path[-1].product_contracts)]
    assert ids == ["parent", "sub", "product contract"]
    assert catalog.customers["cust_ywDeeN0teYVm9GAGeN1j"].reference == "Customer_GUID"


def test_every_airline_has_the_same_five_charges():
    catalog = example("flights")
    assert len(catalog.customers) == len(catalog.contracts) == 16
    for contract in catalog.contracts.values():
        assert (contract.id, contract.time_zone) == (f"{contract.customer}_2013", "America/New_York")
        assert (contract.start_date, contract.end_date) == (date(2013, 1, 1), date(2014, 1, 1))
        assert contract.billing_frequency == MONTHLY
        assert {each.plan: each.accumulation_period for each in contract.product_contracts} == {
            "landing_2013": None,
            "terminal_2013": None,
            "en_route_2013": None,
            "capacity_2013": Frequency(Basis.CALENDAR, 1, PeriodUnit.YEAR),
            "briefing_2013": None,
        }


def test_flights_show_a_volume_tier_a_matrix_and_a_plan_without_a_price():
    plans = example("flights").plans
    capacity, terminal, briefing = (plans[f"{name}_2013"].price for name in ("capacity", "terminal", "briefing"))
    assert isinstance(capacity, Price)
    assert isinstance(capacity.model, Volume)
    assert isinstance(terminal, Matrix)
    assert [rule.match for rule in terminal.rules] == [(("origin", each),) for each in ("EWR", "JFK", "LGA")]
    assert isinstance(briefing, Price)
    assert isinstance(briefing.model, NoPrice)


def test_the_home_pays_for_its_slices_and_its_demand():
    catalog = example("energy")
    sources = [each.determinant for each in catalog.products.values() if each.determinant]
    assert [each.slice for each in sources if each.slice] == ["NIGHT", "DAY", "PEAK", "WEEKEND"]
    assert [each.demand for each in sources if each.demand] == ["three_highest_days"]
    assert [each.id for each in catalog.datasources.values() if each.customer] == ["london"]
