"""Versions: immutable, equal content is the same version, and any of them comes back from its differences."""

import dataclasses
from itertools import pairwise

import pytest
from tests.support.catalog_files import CARDS, catalog, change

from tallybook_engine.catalog.change import KINDS, CatalogChange, CatalogIds
from tallybook_engine.catalog.faults import CatalogInvalidError
from tallybook_engine.catalog.model import Catalog
from tallybook_engine.catalog.versions import Versions, apply_change, difference, replay

DEARER = "plans: [{id: cards_2023, product: cards, currency: EUR, per_unit: {unit_price: 0.08}}]"


def test_the_first_version_is_1():
    assert Catalog().version == 0
    assert catalog().version == 1
    assert catalog(DEARER, catalog()).version == 2


def test_equal_content_is_the_same_version():
    base = catalog()
    # Given the same content written otherwise
    again = CARDS.replace("0.07", "0.0700").replace("{id: bank, name", "{reference: bank, id: bank, name")
    assert again != CARDS
    # Then the very same version is answered
    assert apply_change(base, change(again)) is base
    assert apply_change(base, change("")) is base


def test_a_version_never_changes():
    base = catalog()
    catalog(DEARER, base)
    assert base == catalog()
    with pytest.raises(TypeError):
        base.plans["x"] = base.plans["cards_2023"]  # type: ignore[index]
    with pytest.raises(dataclasses.FrozenInstanceError):
        base.version = 7  # type: ignore[misc]


def test_kinds_that_do_not_change_are_shared():
    base = catalog()
    later = catalog(DEARER, base)
    assert later.contracts is base.contracts
    assert later.plans is not base.plans


def test_an_object_is_replaced_as_a_whole():
    base = catalog("customers: [{id: a, name: A, country_code: NL}]")
    assert catalog("customers: [{id: a}]", base).customers["a"].name == ""


def test_replaced_objects_keep_their_place_and_new_ones_come_last():
    base = catalog("customers: [{id: b}, {id: a}]")
    assert list(catalog("customers: [{id: c}, {id: b, name: B}]", base).customers) == ["b", "a", "c"]


def test_prune_removes_what_is_not_put():
    base = catalog(CARDS + "  # more\n")
    more = catalog("customers: [{id: other}]", base)
    assert list(apply_change(more, change(CARDS, prune=True)).customers) == ["bank"]
    # Given the same with the same content, then it is the same version
    assert apply_change(base, change(CARDS, prune=True)) is base


def test_prune_by_nothing_removes_everything():
    empty = apply_change(catalog(), CatalogChange(prune=True))
    assert all(not getattr(empty, kind) for kind in KINDS)
    assert empty.version == 2


def test_a_refused_change_says_all_that_is_wrong():
    with pytest.raises(CatalogInvalidError) as refused:
        apply_change(catalog(), CatalogChange(remove=CatalogIds(meters=("card_issuing", "x"), customers=("bank",))))
    assert [fault.path for fault in refused.value.faults] == [
        'products["cards"].meter',
        'contracts["bank_2023"].customer',
        "remove.meters[1]",
    ]


def test_a_difference_holds_only_what_differs():
    base = catalog()
    later = apply_change(base, change(CARDS.replace("0.07", "0.08")))
    stored = difference(base, later)
    assert [each.id for _, _, each in stored.put] == ["cards_2023"]
    assert stored.remove == CatalogIds()
    assert replay(base, stored) == later


def test_a_difference_holds_removals():
    base = catalog()
    later = apply_change(base, CatalogChange(remove=CatalogIds(contracts=("bank_2023",))))
    assert difference(base, later) == CatalogChange(remove=CatalogIds(contracts=("bank_2023",)))
    assert replay(base, difference(base, later)) == later


class TestVersions:
    @pytest.fixture
    def history(self) -> list[Catalog]:
        first = catalog()
        second = catalog(DEARER, first)
        third = apply_change(second, CatalogChange(remove=CatalogIds(contracts=("bank_2023",))))
        fourth = apply_change(third, change(CARDS))
        return [Catalog(), first, second, third, fourth]

    @pytest.fixture
    def stored(self, history) -> list[CatalogChange]:
        return [difference(before, after) for before, after in pairwise(history)]

    def test_every_version_comes_back(self, history, stored):
        versions = Versions(stored)
        assert [versions.catalog(version) for version in range(5)] == history
        assert versions.current == history[4]

    def test_one_is_added_at_a_time(self, history, stored):
        versions = Versions()
        assert versions.current == Catalog()
        for expected, each in zip(history[1:], stored, strict=True):
            assert versions.add(each) == versions.current == expected

    @pytest.mark.parametrize("version", [-1, 5])
    def test_no_other_version_is_there(self, stored, version):
        with pytest.raises(KeyError):
            Versions(stored).catalog(version)

    def test_a_copy_goes_its_own_way(self, history, stored):
        versions = Versions(stored[:2])
        copied = versions.copy()
        versions.add(stored[2])
        assert copied.current == history[2]
        assert copied.catalog(1) == history[1]
        assert copied.current.customers is versions.catalog(2).customers or copied.current == versions.catalog(2)
        with pytest.raises(KeyError):
            copied.catalog(3)
