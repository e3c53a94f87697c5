"""Versions of a catalogue: each an immutable value, stored as its difference from the one before.

Applying a change copies the mapping of a kind only where the kind changes; all else is shared with the version before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType

from tallybook_engine.asking import GoOn, unasked
from tallybook_engine.catalog.change import KINDS, CatalogChange, CatalogIds, CatalogObjects
from tallybook_engine.catalog.check import check
from tallybook_engine.catalog.faults import CatalogInvalidError, Faults
from tallybook_engine.catalog.model import Catalog, CatalogObject


def apply_change(base: Catalog, change: CatalogChange, faults: Faults | None = None, go_on: GoOn = unasked) -> Catalog:
    """The catalogue after a change, one version on; `base` itself where the change changes nothing.

    `faults` holds what was wrong in reading the change; `go_on` is asked while objects are checked. Raises
    CatalogInvalidError with everything that is wrong.
    """
    faults = Faults() if faults is None else faults
    _check_removals(base, change, faults)
    catalog = _changed(base, change)
    check(base, catalog, change, faults, go_on)
    found = faults.ordered()
    if found:
        raise CatalogInvalidError(found)
    return base if replace(catalog, version=base.version) == base else catalog


def difference(before: Catalog, after: Catalog) -> CatalogChange:
    """The smallest change that makes `after` of `before`: what is stored for a version."""
    put: dict[str, tuple[CatalogObject, ...]] = {}
    remove: dict[str, tuple[str, ...]] = {}
    for kind in KINDS:
        old, new = _of_kind(before, kind), _of_kind(after, kind)
        if old is not new:
            put[kind] = tuple(each for each in new.values() if old.get(each.id) != each)
            remove[kind] = tuple(each for each in old if each not in new)
    return CatalogChange(CatalogObjects(**put), CatalogIds(**remove))  # type: ignore[arg-type]  # kind by kind


def replay(base: Catalog, stored: CatalogChange) -> Catalog:
    """The version that a stored difference makes of the one before. It was checked when it was applied."""
    return _changed(base, stored)


class Versions:
    """All versions of one catalogue: the current one as a value, earlier ones by replaying their differences."""

    def __init__(self, stored: Iterable[CatalogChange] = ()) -> None:
        """`stored` are the differences of versions 1, 2, 3 and so on."""
        self._differences: list[CatalogChange] = []
        self._customers: dict[str, tuple[str, ...]] = {}
        self.current = Catalog()
        for each in stored:
            self.add(each)

    def copy(self) -> Versions:
        """The same versions, to which others can be added. Everything is shared."""
        twin = Versions()
        twin._differences, twin.current = list(self._differences), self.current
        return twin

    def add(self, stored: CatalogChange) -> Catalog:
        """Makes the next version current, by its difference from the current one."""
        self._differences.append(stored)
        for source in stored.put.datasources:
            known = self._customers.get(source.id, ())
            if source.customer is not None and source.customer not in known:
                self._customers[source.id] = (*known, source.customer)
        self.current = replay(self.current, stored)
        return self.current

    def customers_of(self, datasource_id: str) -> tuple[str, ...]:
        """Ids of the customers that some version lets pay for a datasource, in the order of the versions."""
        return self._customers.get(datasource_id, ())

    def catalog(self, version: int) -> Catalog:
        """Any version; 0 is the empty catalogue. Raises KeyError for one that does not exist (yet).

        Time in the number of changed objects from version 1 on, so hold on to what is asked for often.
        """
        if not 0 <= version <= self.current.version:
            raise KeyError(version)
        if version == self.current.version:
            return self.current
        kept: dict[str, dict[str, CatalogObject]] = {kind: {} for kind in KINDS}
        for stored in self._differences[:version]:
            for kind in KINDS:
                _change(kept[kind], stored.put.of_kind(kind), stored.remove.of_kind(kind))
        return _catalog(version, {kind: MappingProxyType(objects) for kind, objects in kept.items()})


def _check_removals(base: Catalog, change: CatalogChange, faults: Faults) -> None:
    for kind in KINDS:
        there, put = _of_kind(base, kind), {each.id for each in change.put.of_kind(kind)}
        for index, name in enumerate(change.remove.of_kind(kind)):
            if name not in there:
                faults.add(f"remove.{kind}[{index}]", f'"{name}" is not there')
            elif name in put:
                faults.add(f"remove.{kind}[{index}]", f'"{name}" is put by the same change')


def _changed(base: Catalog, change: CatalogChange) -> Catalog:
    kept: dict[str, Mapping[str, CatalogObject]] = {}
    for kind in KINDS:
        before, put = _of_kind(base, kind), change.put.of_kind(kind)
        removed = change.remove.of_kind(kind)
        if change.prune:
            put_ids = {each.id for each in put}
            removed = tuple(name for name in before if name not in put_ids)
        if put or removed:
            after = dict(before)
            _change(after, put, removed)
            kept[kind] = MappingProxyType(after)
        else:
            kept[kind] = before
    return _catalog(base.version + 1, kept)


def _change(kept: dict[str, CatalogObject], put: Iterable[CatalogObject], removed: Iterable[str]) -> None:
    for name in removed:
        kept.pop(name, None)
    for each in put:
        kept[each.id] = each


def _catalog(version: int, kept: Mapping[str, Mapping[str, CatalogObject]]) -> Catalog:
    return Catalog(version=version, **kept)  # type: ignore[arg-type]  # each kind holds its own type


def _of_kind(catalog: Catalog, kind: str) -> Mapping[str, CatalogObject]:
    objects: Mapping[str, CatalogObject] = getattr(catalog, kind)
    return objects
