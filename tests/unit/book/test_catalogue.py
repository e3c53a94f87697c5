"""Changes of the catalogue and the ledger: what is open stays what it is."""

from __future__ import annotations

import pytest
from tests.support.ledger_view import difference, lines_of
from tests.support.small_catalogue import YEARLY, catalogue, per_unit, used

from tallybook_engine.catalog.faults import CatalogInvalidError
from tallybook_engine.ledger.outcomes import Status
from tallybook_server.errors import ErrorCode, Fault
from tallybook_server.journal.interface import CommitFailed, OutcomeUnknown
from tallybook_server.journal.memory import MemoryJournal


def two_customers() -> dict:
    put = catalogue(per_unit("1"), per_unit("2"), accumulation=YEARLY)
    put["customers"].append({"id": "bob", "reference": "Bob"})
    return put


def contract_of(put: dict, customer: str, *charges: int) -> dict:
    """The contract with only some charges, of a customer."""
    contract = put["contracts"][0]
    product_contracts = [contract["product_contracts"][charge] for charge in charges]
    name = contract["id"] if customer == "ann" else f"{customer}s"
    return {**contract, "id": name, "customer": customer, "product_contracts": product_contracts}


def amounts(book) -> dict[str, int]:
    return {key.product_contract: line.amount for key, line in lines_of(book.state).items()}


@pytest.mark.parametrize("move", ["the contract", "a charge"])
def test_what_has_open_lines_is_not_given_to_another_customer(open_book, move):
    """Its lines would be the other customer's too."""
    put = two_customers()
    book = open_book(put)
    book.store([used("a")])
    before = book.view()
    if move == "the contract":
        change = {"contracts": [{**put["contracts"][0], "customer": "bob"}]}
    else:
        change = {"contracts": [contract_of(put, "ann", 0), contract_of(put, "bob", 1)]}
    with pytest.raises(Fault, match="another id") as refused:
        book.apply(change)
    assert refused.value.code is ErrorCode.CATALOG_OBJECT_IN_USE
    assert difference(before, book.view()) == []


def test_a_charge_without_lines_may_be_given_to_another_customer(open_book):
    put = two_customers()
    book = open_book(put)
    book.store([used("a", contract_id="charge0")])
    book.apply({"contracts": [contract_of(put, "ann", 0), contract_of(put, "bob", 1)]})
    book.store([used("b"), used("c", customer_reference="Bob")])
    assert amounts(book) == {"charge0": 200, "charge1": 200}


def test_a_charge_that_is_gone_takes_an_event_once_however_often_it_was_changed(open_book):
    """January, February and March are pinned to different prices of a charge that April does not have."""
    put = catalogue(per_unit("1"), per_unit("5"))
    book = open_book(put)
    book.store([used("a", day=1)])
    for price, day in (("2", 40), ("3", 70)):
        book.apply({"plans": [{**put["plans"][0], "per_unit": {"unit_price": price}}]})
        book.store([used(f"at {price}", day=day)])
    book.apply({"contracts": [contract_of(put, "ann", 1)]})
    book.store([used("b", day=2), used("c", day=41), used("d", day=71), used("e", day=100)])
    by_month = sorted(
        (key.start_us, line.amount) for key, line in lines_of(book.state).items() if key.product_contract == "charge0"
    )
    assert [amount for _, amount in by_month] == [200, 400, 600]


def test_a_removed_customer_comes_back_under_its_own_reference_only(open_book):
    book = open_book(two_customers())
    book.apply({}, {"customers": ["bob"]})
    for restarted in (False, True):
        if restarted:
            book.restart()
        with pytest.raises(CatalogInvalidError) as refused:
            book.apply({"customers": [{"id": "bob", "reference": "Robert"}]})
        assert [fault.path for fault in refused.value.faults] == ["customers[0].reference"]
    book.apply({"customers": [{"id": "bob", "reference": "Bob"}]})


@pytest.mark.parametrize("change", ["customer", "contract"])
def test_nothing_with_open_lines_is_removed(open_book, change):
    book = open_book(two_customers())
    book.store([used("a")])
    remove = {"contracts": ["contract"]} | ({"customers": ["ann"]} if change == "customer" else {})
    with pytest.raises(Fault) as refused:
        book.apply({}, remove)
    assert refused.value.code is ErrorCode.CATALOG_OBJECT_IN_USE


def test_a_dry_run_changes_nothing(open_book):
    put = two_customers()
    book = open_book(put)
    book.store([used("a", "3")])
    before = book.view()
    outcome = book.apply({"plans": [{**put["plans"][0], "per_unit": {"unit_price": "4"}}]}, validate_only=True)
    assert [(line.amount_minor, line.reprocess_amount_minor) for line in outcome.affected_lines] == [(300, 900)]
    assert difference(before, book.view()) == []


class UncertainJournal(MemoryJournal):
    """Cannot tell whether a catalogue was stored, and has or has not stored it."""

    stores = True
    uncertain = False

    def put_catalog_version(self, version: int, parent: int, difference: bytes) -> None:
        if not self.uncertain or self.stores:
            super().put_catalog_version(version, parent, difference)
        if self.uncertain:
            raise OutcomeUnknown("planned: the commit was not confirmed")


@pytest.mark.parametrize("stored", [True, False])
def test_a_change_whose_commit_was_not_confirmed_is_looked_for(open_book, stored):
    put, journal = two_customers(), UncertainJournal()
    book = open_book(put, journal)
    journal.uncertain, journal.stores = True, stored
    change = {"customers": [{"id": "eve"}]}
    if stored:
        assert book.apply(change).version == 2
    else:
        with pytest.raises(Fault) as refused:
            book.apply(change)
        assert refused.value.code is ErrorCode.COMMIT_FAILED
    journal.uncertain = False
    assert book.apply({"customers": [{"id": "fay"}]}).version == (3 if stored else 2)
    book.restart()
    assert ("eve" in book.book.catalog().customers) is stored


def test_a_change_that_was_not_stored_changes_nothing(open_book):
    class FullJournal(MemoryJournal):
        full = False

        def put_catalog_version(self, version: int, parent: int, difference: bytes) -> None:
            if self.full:
                raise CommitFailed("planned: no room")
            super().put_catalog_version(version, parent, difference)

    journal = FullJournal()
    book = open_book(two_customers(), journal)
    journal.full = True
    before = book.view()
    with pytest.raises(Fault) as refused:
        book.apply({"customers": [{"id": "eve"}]})
    assert refused.value.code is ErrorCode.COMMIT_FAILED
    assert difference(before, book.view()) == []
    assert book.store([used("a", customer_reference="eve")]).outcome.status.tolist() == [Status.STORED]
