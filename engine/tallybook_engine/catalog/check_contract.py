"""Contract trees of a catalogue: one customer and one currency, dates inside the parent's, no event charged twice.

A change may put thousands of trees that differ from those before in nothing that is judged here: in plans of the same
product and currency, in accumulation periods. They are told from the others by a comparison, and only the others are
judged.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, fields
from datetime import date

from tallybook_engine.asking import GoOn, asking, unasked
from tallybook_engine.calendar.zones import midnight, zone_names
from tallybook_engine.catalog import limits
from tallybook_engine.catalog.change import CatalogChange
from tallybook_engine.catalog.check_accumulation import accumulation_fault
from tallybook_engine.catalog.check_names import check_name
from tallybook_engine.catalog.check_terms import check_terms
from tallybook_engine.catalog.faults import Faults
from tallybook_engine.catalog.model import Catalog, Contract, Frequency, Plan, ProductContract, billed_as

_FOREVER_US = 2**63 - 1
_WHEN = ("time_zone", "start_date", "end_date", "auto_renewal")


@dataclass(frozen=True)
class _Level:
    """One contract of a tree."""

    path: str
    contract: Contract
    above: tuple[_Level, ...]
    """Its ancestors, from the root."""
    nesting: int = 1
    """Levels that are written around it, itself counted."""

    def contracts(self) -> tuple[Contract, ...]:
        """Its contracts from the root down to its own."""
        return (*(each.contract for each in self.above), self.contract)

    def unknown_dates(self, faults: Faults) -> bool:
        """Whether a fault leaves open when the contract is active; what is left out comes from above."""
        levels = (*self.above, self)
        return not faults.is_empty and any(faults.at(*(f"{each.path}.{field}" for field in _WHEN)) for each in levels)


_judged_of_level = operator.attrgetter(
    *(each.name for each in fields(Contract) if each.name not in ("product_contracts", "sub_contracts"))
)
_judged_of_product_contract = operator.attrgetter("id", "start_date", "end_date", "shared")


def check_contracts(
    base: Catalog,
    catalog: Catalog,
    change: CatalogChange,
    roots: Sequence[tuple[str, Contract]],
    faults: Faults,
    go_on: GoOn = unasked,
) -> None:
    """Contract trees to check, each with its path. `base` is the catalogue before the change, which was checked."""
    # Of two with one id, at most one is as it was.
    is_each_once = len({root.id for _, root in roots}) == len(roots)
    is_alike = _Alike(base, catalog).is_alike
    changed = [(path, root) for path, root in asking(roots, go_on) if not (is_each_once and is_alike(root))]
    if not changed:
        return
    for path, root in asking(changed, go_on):
        if root.customer not in catalog.customers:
            faults.add(f"{path}.customer", f'no customer "{root.customer}"' if root.customer else "is required")
        for level in _levels(path, root):
            _check_level(catalog, level, faults)
        _check_currency(catalog, path, root, faults)
        check_terms(catalog, [(level.path, level.contracts()) for level in _levels(path, root)], faults)
    put = {root.id: f"contracts[{index}]" for index, root in enumerate(change.put.contracts)}
    _check_unique(catalog, put, [(path, root) for path, root in changed if root.id in put], faults, go_on)
    _check_overlaps(catalog, roots, {root.customer for _, root in changed}, faults, go_on)


class _Alike:
    """Tells trees of which all that is judged is as it was in `base`, so that there is nothing to find."""

    def __init__(self, base: Catalog, catalog: Catalog) -> None:
        self._before = base.contracts
        self._customers = catalog.customers
        self._plans = base.plans, catalog.plans
        self._are_alike: dict[tuple[str, str], bool] = {}
        """Whether the plans of two ids, before and after, are for the same."""

    def is_alike(self, root: Contract) -> bool:
        """Whether a tree differs from the one of its id in nothing that is judged."""
        before = self._before.get(root.id)
        if before is None or root.customer not in self._customers:
            return False
        if not before.sub_contracts and not root.sub_contracts:
            return self._is_level_alike(before, root, root.billing_frequency)
        due = [(before, root, root)]
        for old, new, billed in due:
            if len(old.sub_contracts) != len(new.sub_contracts):
                return False
            if not self._is_level_alike(old, new, billed.billing_frequency):
                return False
            for below in zip(old.sub_contracts, new.sub_contracts, strict=True):
                due.append((*below, billed if billed.override_underlying else below[1]))
        return True

    def _is_level_alike(self, old: Contract, new: Contract, billing: Frequency) -> bool:
        if _judged_of_level(old) != _judged_of_level(new):
            return False
        charges, others = old.product_contracts, new.product_contracts
        if len(charges) != len(others):
            return False
        for charge, other in zip(charges, others, strict=True):
            if _judged_of_product_contract(charge) != _judged_of_product_contract(other):
                return False
            accumulation = other.accumulation_period
            if accumulation is not None and not _accumulates(billing, accumulation):
                return False
            plans = charge.plan, other.plan
            are_alike = self._are_alike.get(plans)
            if are_alike is None:
                before, after = self._plans
                are_alike = self._are_alike[plans] = is_for_the_same(before.get(plans[0]), after.get(plans[1]))
            if not are_alike:
                return False
        return True


def _accumulates(billing: Frequency, accumulation: Frequency) -> bool:
    """Whether an accumulation period is a possible one where it is billed so often."""
    return _is_possible(accumulation) and not accumulation_fault(billing, accumulation)


def is_for_the_same(before: Plan | None, after: Plan | None) -> bool:
    """Whether two plans charge for one product in one currency: that is all that is asked of a contract's plan."""
    if before is None or after is None:
        return False
    return before.product == after.product and before.currency == after.currency


def _levels(path: str, root: Contract) -> Iterator[_Level]:
    """The levels of a tree, as far as it may be deep, each with its path in the file."""
    due = [_Level(path, root, ())]
    while due:
        level = due.pop()
        yield level
        above = (*level.above, level)
        if len(above) == limits.CONTRACT_LEVELS_MAX:
            continue
        below = []
        for index, each in enumerate(level.contract.sub_contracts):
            if each.listed:
                below.append(_Level(f'{path}.sub_contracts["{each.id}"]', each, above))
            elif level.nesting < limits.NESTED_LEVELS_MAX:
                below.append(_Level(f"{level.path}.sub_contracts[{index}]", each, above, level.nesting + 1))
        due += reversed(below)


def _check_level(catalog: Catalog, level: _Level, faults: Faults) -> None:
    path, contract = level.path, level.contract
    if level.above and contract.customer != level.above[0].contract.customer:
        faults.add(f"{path}.customer", f'is not "{level.above[0].contract.customer}": a contract tree has one customer')
    parent = level.above[-1].contract if level.above else None
    # What a sub-contract has as its parent has it was judged there.
    if parent is None or contract.time_zone != parent.time_zone:
        _check_zone(f"{path}.time_zone", contract.time_zone, faults)
    if parent is None or contract.billing_frequency != parent.billing_frequency:
        _check_frequency(f"{path}.billing_frequency", contract.billing_frequency, faults)
    _check_dates(path, contract.start_date, contract.ends_on, parent, faults)
    if contract.auto_renewal and contract.end_date is None:
        faults.add(f"{path}.auto_renewal", "needs an end_date at which the contract is renewed")
    elif contract.auto_renewal and contract.end_date is not None and contract.end_date <= contract.start_date:
        faults.add(f"{path}.end_date", f"is {contract.end_date}, not after the start {contract.start_date}")
    if contract.sub_contracts and len(level.above) + 1 == limits.CONTRACT_LEVELS_MAX:
        faults.add(f"{path}.sub_contracts", f"lie below level {limits.CONTRACT_LEVELS_MAX}, the last one possible")
    elif level.nesting == limits.NESTED_LEVELS_MAX and not all(each.listed for each in contract.sub_contracts):
        faults.add(
            f"{path}.sub_contracts",
            f"are more than {limits.NESTED_LEVELS_MAX} levels within each other: list them in the root's "
            "sub_contracts, each with its parent",
        )
    for field, count, count_max in (
        ("product_contracts", len(contract.product_contracts), limits.PRODUCT_CONTRACTS_MAX),
        ("sub_contracts", len(contract.sub_contracts), limits.SUB_CONTRACTS_MAX),
    ):
        if count > count_max:
            faults.add(f"{path}.{field}", f"are {count}, at most {count_max} are possible")
    billing = billed_as(level.contracts()).billing_frequency
    for index, each in enumerate(contract.product_contracts):
        _check_product_contract(catalog, f"{path}.product_contracts[{index}]", each, contract, billing, faults)


def _check_product_contract(
    catalog: Catalog, path: str, each: ProductContract, contract: Contract, billing: Frequency, faults: Faults
) -> None:
    if each.plan not in catalog.plans:
        faults.add(f"{path}.plan", f'no plan "{each.plan}"' if each.plan else "is required")
    if each.accumulation_period is not None:
        here = f"{path}.accumulation_period"
        _check_frequency(here, each.accumulation_period, faults)
        are_possible = _is_possible(billing) and _is_possible(each.accumulation_period)
        if are_possible and (fault := accumulation_fault(billing, each.accumulation_period)):
            faults.add(here, fault)
    start, end = each.start_date or contract.start_date, each.end_date or contract.ends_on
    _check_dates(path, start, end, contract, faults)


def _check_dates(path: str, start: date, end: date | None, within: Contract | None, faults: Faults) -> None:
    if within is not None and (start, end) == (within.start_date, within.ends_on):
        return
    if not faults.at(f"{path}.start_date", f"{path}.end_date") and end is not None and end <= start:
        faults.add(f"{path}.end_date", f"is {end}, not after the start {start}")
    if within is None:
        return
    if start < within.start_date:
        faults.add(f"{path}.start_date", f"is {start}, before the contract above it starts on {within.start_date}")
    if within.ends_on is not None and end is None:
        faults.add(f"{path}.auto_renewal", f"has no end, and the contract above it ends on {within.ends_on}")
    elif within.ends_on is not None and end is not None and end > within.ends_on:
        faults.add(f"{path}.end_date", f"is {end}, after the contract above it ends on {within.ends_on}")


def _check_zone(path: str, name: str, faults: Faults) -> None:
    if name not in zone_names():
        faults.add(path, f'no IANA time zone "{name}"' if name else "is required")


def _check_frequency(path: str, frequency: Frequency, faults: Faults) -> None:
    if not _is_possible(frequency):
        faults.add(f"{path}.interval", f"is {frequency.interval}, not from 1 to {limits.INTERVAL_MAX}")


def _is_possible(frequency: Frequency) -> bool:
    return 1 <= frequency.interval <= limits.INTERVAL_MAX


def _check_currency(catalog: Catalog, path: str, root: Contract, faults: Faults) -> None:
    """One currency a tree: charges of a tree are discounted, capped and billed together."""
    first = ""
    for level in _levels(path, root):
        for index, each in enumerate(level.contract.product_contracts):
            plan = catalog.plans.get(each.plan)
            if plan is None:
                continue
            first = first or plan.currency
            if plan.currency != first:
                here = f"{level.path}.product_contracts[{index}].plan"
                faults.add(here, f'is in {plan.currency}, other plans of "{root.id}" are in {first}')


def _check_unique(
    catalog: Catalog, put: Mapping[str, str], changed: Sequence[tuple[str, Contract]], faults: Faults, go_on: GoOn
) -> None:
    """Ids of contracts are unique over all levels of all trees, ids of product contracts over all contracts.

    `put` are the paths of the roots that are put, by id; `changed` those of them whose ids may be others than before.
    """
    if not changed:
        return
    names = {path[-1].id for _, root in changed for path in root.levels()}
    names_below = {each.id for _, root in changed for path in root.levels() for each in path[-1].product_contracts}
    changed_ids = {root.id for _, root in changed}
    contracts: dict[str, str] = {}
    product_contracts: dict[str, str] = {}
    for root in asking(catalog.contracts.values(), go_on):
        if root.id in changed_ids:
            continue
        place = put.get(root.id) or f'contracts["{root.id}"]'
        for path in root.levels():
            if path[-1].id in names:
                contracts[path[-1].id] = place
            for each in path[-1].product_contracts:
                if each.id in names_below:
                    product_contracts[each.id] = place
    for root_path, root in asking(changed, go_on):
        for level in _levels(root_path, root):
            contract = level.contract
            check_name(f"{level.path}.id", contract.id, faults)
            if any(contract.id == above.contract.id for above in level.above):
                faults.add(f"{level.path}.id", f'a cycle: "{contract.id}" would lie below itself')
            _check_new(f"{level.path}.id", level.path, contract.id, contracts, faults)
            for index, each in enumerate(contract.product_contracts):
                here = f"{level.path}.product_contracts[{index}]"
                check_name(f"{here}.id", each.id, faults)
                _check_new(f"{here}.id", here, each.id, product_contracts, faults)


def _check_new(field: str, path: str, name: str, owners: dict[str, str], faults: Faults) -> None:
    owner = owners.setdefault(name, path)
    if owner != path:
        faults.add(field, f'"{name}" is an id in {owner} too')


@dataclass(frozen=True)
class _Claim:
    """A product contract that charges for a product from one instant to another."""

    path: str
    put: bool
    product: str
    shared: bool
    start_us: int
    end_us: int


def _check_overlaps(
    catalog: Catalog, roots: Sequence[tuple[str, Contract]], customers: Set[str], faults: Faults, go_on: GoOn
) -> None:
    """No event of these customers is charged twice for one product, unless both product contracts say that they are
    shared.
    """
    put_paths = {root.id: path for path, root in roots}
    claims: dict[tuple[str, str], list[_Claim]] = {}
    for root in asking(catalog.contracts.values(), go_on):
        if root.customer in customers:
            path = put_paths.get(root.id, f'contracts["{root.id}"]')
            for claim in _claims(catalog, path, root, root.id in put_paths, faults):
                claims.setdefault((root.customer, claim.product), []).append(claim)
    for rivals in claims.values():
        _check_rivals(sorted(rivals, key=lambda claim: claim.start_us), faults)


def _check_rivals(rivals: Sequence[_Claim], faults: Faults) -> None:
    """Claims to one product of one customer, by their start. What ends last stands for all that began before."""
    last: _Claim | None = None
    last_unshared: _Claim | None = None
    for claim in rivals:
        earlier = last_unshared if claim.shared else last
        if earlier is not None and claim.start_us < earlier.end_us:
            _add_overlap(earlier, claim, faults)
        if last is None or claim.end_us > last.end_us:
            last = claim
        if not claim.shared and (last_unshared is None or claim.end_us > last_unshared.end_us):
            last_unshared = claim


def _add_overlap(earlier: _Claim, later: _Claim, faults: Faults) -> None:
    here, other = (later, earlier) if later.put else (earlier, later)
    faults.add(
        f"{here.path}.plan",
        f'charges for the product "{here.product}" at the same time as {other.path}, and they are not both shared',
    )


def _claims(catalog: Catalog, path: str, root: Contract, put: bool, faults: Faults) -> Iterator[_Claim]:
    for level in _levels(path, root):
        contract = level.contract
        for index, each in enumerate(contract.product_contracts):
            here = f"{level.path}.product_contracts[{index}]"
            plan = catalog.plans.get(each.plan)
            if plan is None or level.unknown_dates(faults):
                continue
            if not faults.is_empty and faults.at(f"{here}.start_date", f"{here}.end_date"):
                continue
            end = each.end_date or contract.ends_on
            yield _Claim(
                path=here,
                put=put,
                product=plan.product,
                shared=each.shared,
                start_us=midnight(contract.time_zone, each.start_date or contract.start_date),
                end_us=_FOREVER_US if end is None else midnight(contract.time_zone, end),
            )
