"""The catalogue between wire and model: defaults, stored differences, and paths of what cannot be read."""

import pytest
from tests.support.catalog_files import CARDS, catalog, change, faults

from tallybook.v1 import catalog_pb2 as wire
from tallybook_engine.catalog.change import KINDS, CatalogChange, CatalogObjects
from tallybook_engine.catalog.faults import CatalogInvalidError, Faults
from tallybook_engine.catalog.model import Basis, Frequency, PeriodUnit, Plan, TaxMode
from tallybook_engine.pricing.model import Graduated, Package, PerUnit, Price, Rounding, Tier
from tallybook_server.codec import catalog as codec

UNIT = 10**12


def test_answers_carry_the_defaults_filled_in():
    kept = catalog()
    customer = codec.write_customer(kept.customers["bank"])
    tax = codec.write_tax(kept.taxes["nl"])
    contract = codec.write_contract(kept.contracts["bank_2023"])
    assert customer.reference == "bank"
    assert (tax.mode, tax.rate) == (wire.Tax.EXCLUSIVE, "0.21")
    assert contract.product_contracts[0].id == "bank_2023/cards_2023"
    assert not contract.HasField("end_date")


def test_defaults_of_the_wire():
    base = catalog(
        CARDS.replace("[{plan: cards_2023}]", "[{plan: cards_2023, accumulation_period: {interval: 2, unit: DAY}}]")
    )
    assert base.taxes["nl"].mode is TaxMode.EXCLUSIVE
    assert base.plans["cards_2023"].rounding is Rounding.HALF_AWAY_FROM_ZERO
    accumulation = base.contracts["bank_2023"].product_contracts[0].accumulation_period
    assert accumulation == Frequency(Basis.CALENDAR, 2, PeriodUnit.DAY)


@pytest.mark.parametrize(
    ("price", "model"),
    [
        ("package: {size: 5, amount: 1}", Package(5 * UNIT, UNIT, Rounding.UP)),
        ("graduated: {tiers: [{flat_fee: 1}]}", Graduated((Tier(None, 0, UNIT),))),
        ("per_unit: {unit_price: 000.0700}", PerUnit(7 * UNIT // 100)),
    ],
)
def test_defaults_of_prices(price, model):
    price_kept = catalog(CARDS.replace("per_unit: {unit_price: 0.07}", price)).plans["cards_2023"].price
    assert isinstance(price_kept, Price)
    assert price_kept.model == model


def test_a_plan_by_itself():
    found = Faults()
    read = codec.read_plan(wire.Plan(id="p", currency="EUR", per_unit=wire.PerUnitPrice(unit_price="x")), found)
    assert isinstance(read, Plan)
    assert [str(fault) for fault in found.ordered()] == ['plan.per_unit.unit_price: "x" is no decimal number']


def test_a_catalogue_that_was_answered():
    kept = catalog()
    objects = CatalogObjects(**{kind: tuple(getattr(kept, kind).values()) for kind in KINDS})
    assert codec.read_catalog(codec.write_objects(objects)) == kept
    with pytest.raises(CatalogInvalidError):
        codec.read_catalog(wire.Catalog(taxes=[wire.Tax(id="a")]))


def test_a_number_of_an_enum_that_is_not_known():
    found = Faults()
    message = wire.Catalog()
    wire_tax = message.taxes.add(id="t", country_code="NL", rate="0.1")
    wire_tax.mode = 7  # type: ignore[assignment]  # open enums keep any number
    codec.read_objects(message, found)
    assert [str(fault) for fault in found.ordered()] == ["taxes[0].mode: 7 is none of EXCLUSIVE, INCLUSIVE"]


def test_a_text_from_outside_is_cut_in_a_fault():
    (fault,) = faults(CARDS.replace("0.07", "9" * 400))
    assert fault.endswith(f'unit_price: "{"9" * 40}..." is not below 10^15 in size')


def test_indices_in_paths_order_by_value():
    found = Faults()
    message = wire.Catalog(taxes=[wire.Tax(id=str(index), country_code="NL") for index in range(12)])
    codec.read_objects(message, found)
    assert [fault.path for fault in found.ordered()] == [f"taxes[{index}].rate" for index in range(12)]


class TestStoredDifferences:
    def test_are_read_as_what_they_were(self):
        difference = CatalogChange(change(CARDS).put)
        assert codec.read_difference(codec.write_difference(difference)) == difference

    @pytest.mark.parametrize("effective_from_us", [0, 1_773_532_800_000_001])
    def test_keep_the_instant_from_which_they_are_effective(self, effective_from_us):
        difference = CatalogChange(change(CARDS).put, effective_from_us=effective_from_us)
        assert codec.read_difference(codec.write_difference(difference)) == difference

    @pytest.mark.parametrize("stored", [b"\xff", b"\x0a\x05"])
    def test_other_bytes_are_refused(self, stored):
        with pytest.raises(ValueError, match="no catalogue difference"):
            codec.read_difference(stored)

    def test_bytes_that_hold_a_fault_are_refused(self):
        broken = wire.ApplyCatalogRequest(put=wire.Catalog(taxes=[wire.Tax(id="a")])).SerializeToString()
        with pytest.raises(CatalogInvalidError, match=r"taxes\[0\].rate: is required"):
            codec.read_difference(broken)
