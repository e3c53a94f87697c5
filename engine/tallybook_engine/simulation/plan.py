"""Usage and catalogues made ready to be priced: contracts resolved, rows grouped once, what does not fit named.

All catalogues of a simulation see the same product contracts, by id, in one order: by customer and contract path under
the baseline. What a scenario leaves as it is, it shares with the baseline.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.calendar.zones import midnight
from tallybook_engine.catalog.compile import AGGREGATION_CODES, Definition, definition_of
from tallybook_engine.catalog.model import Catalog, Contract, Matrix, Plan, ProductContract
from tallybook_engine.pricing.model import NoPrice
from tallybook_engine.pricing.tables import PricePool
from tallybook_engine.rating.tax import TaxPool
from tallybook_engine.simulation.calendars import CalendarKey, Calendars, calendar_key, make_calendars
from tallybook_engine.simulation.evaluation import Pricing
from tallybook_engine.simulation.grouping import (
    NEVER_US,
    Cells,
    Grouped,
    Judged,
    Layout,
    group_rows,
    judge_rows,
)
from tallybook_engine.simulation.usage import (
    SimulationTooLargeError,
    UsageFault,
    UsageFaultsError,
    UsageFrame,
)

SLOTS_MAX = 67_108_864
"""Matrix cells times parts of all product contracts under one catalogue."""
PIECE_SLOTS = 1 << 20
"""A piece of the work has about so many slots under any catalogue; a single product contract may have more."""
PIECE_ROWS = 1 << 18
"""And about so many rows."""

_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
Place = tuple[tuple[Contract, ...], ProductContract]


class ContractIndex:
    """Where each product contract of a catalogue stands; one made of another shares what did not change."""

    def __init__(self, contracts: Mapping[str, Contract], base: ContractIndex | None = None) -> None:
        self.contracts = contracts
        if base is not None and base.contracts is contracts:
            self.places: dict[str, Place] = base.places
            return
        before = {} if base is None else base.contracts
        changed = [each for each in contracts.values() if before.get(each.id) is not each]
        gone = [each for each in before.values() if contracts.get(each.id) is not each]
        self.places = {} if base is None else dict(base.places)
        for name, _ in _places(gone):
            self.places.pop(name, None)
        self.places.update(_places(changed))


def _places(roots: Sequence[Contract]) -> list[tuple[str, Place]]:
    return [(each.id, (path, each)) for root in roots for path in root.levels() for each in path[-1].product_contracts]


@dataclass(frozen=True)
class Terms:
    """The product contracts of a simulation under one catalogue, in the order of the simulation's subjects."""

    catalog: Catalog
    index: ContractIndex
    definitions: list[Definition]
    layout: Layout
    pricing: Pricing
    judged: Judged
    end_us: NDArray[np.int64]
    """[subjects]"""
    times_us: NDArray[np.int64]
    """[rows] in the order of the subjects."""
    allows_negative: NDArray[np.bool_]
    calendar: NDArray[np.int32]
    """[subjects] number of each one's calendar."""
    inclusive: NDArray[np.bool_]
    """[subjects] whether amounts contain their tax."""


@dataclass
class Registry:
    """What the catalogues of one simulation share: prices, taxes, sets of cells, calendars, times of rows."""

    usage: UsageFrame
    prices: PricePool = field(default_factory=PricePool)
    taxes: TaxPool = field(default_factory=TaxPool)
    cell_sets: dict[tuple[tuple[tuple[str, str], ...], ...], int] = field(default_factory=dict)
    calendars: dict[CalendarKey, int] = field(default_factory=dict)
    spans: list[tuple[int, int]] = field(default_factory=list)
    """By calendar: first and last instant of the usage."""
    plans: dict[int, tuple[Plan, int, list[tuple[int, bool]]]] = field(default_factory=dict)
    """By identity of the plan: itself, its cell set, and (price, whether it is billed) of each cell."""

    def plan(self, plan: Plan) -> tuple[int, list[tuple[int, bool]]]:
        """Cell set and cells of a plan."""
        known = self.plans.get(id(plan))
        if known is None:
            rules = [(rule.match, rule.price) for rule in plan.price.rules] if isinstance(plan.price, Matrix) else []
            cells = rules or [((), plan.price)]  # type: ignore[list-item]  # it is a price where it is no matrix
            matches = tuple(match for match, _ in cells)
            found = [(self.prices.add(price), not isinstance(price.model, NoPrice)) for _, price in cells]
            known = plan, self.cell_sets.setdefault(matches, len(self.cell_sets)), found
            self.plans[id(plan)] = known
        return known[1], known[2]

    def calendar(self, definition: Definition, first_us: int, last_us: int) -> int:
        """The calendar of a product contract, which is to hold these instants."""
        number = self.calendars.setdefault(calendar_key(definition), len(self.calendars))
        if number == len(self.spans):
            self.spans.append((NEVER_US, -NEVER_US))
        before = self.spans[number]
        self.spans[number] = min(before[0], first_us), max(before[1], last_us)
        return number

    def cells(self) -> Cells:
        """The tables of all cell sets."""
        columns = {each.name: index for index, each in enumerate(self.usage.properties)}
        codes = [{text: code for code, text in enumerate(each.texts)} for each in self.usage.properties]
        set_start, condition_start, column, text = [0], [0], [], []
        for matches in self.cell_sets:
            for match in matches:
                for name, wanted in match:
                    at = columns.get(name, -1)
                    column.append(at)
                    # A text that no row has is a code that no row has.
                    text.append(codes[at].get(wanted, -2) if at >= 0 else -2)
                condition_start.append(len(column))
            set_start.append(len(condition_start) - 1)
        return Cells(*(np.array(each, dtype=np.int32) for each in (set_start, condition_start, column, text)))


@dataclass(frozen=True)
class Piece:
    """A stretch of the subjects."""

    first: int
    end: int
    row_count: int


@dataclass(frozen=True)
class SimulationPlan:
    """Everything that pricing needs: usage by product contract, and the terms of each catalogue."""

    registry: Registry
    subjects: tuple[str, ...]
    """Ids of the product contracts, by customer and contract path under the baseline."""
    grouped: Grouped
    terms: tuple[Terms, ...]
    """The baseline's, then each scenario's."""
    calendars: Calendars
    cells: Cells
    quantities: NDArray[np.uint64]
    """[rows, 2] in the order of the subjects, as the next."""
    properties: NDArray[np.int32]
    """[columns, rows]"""
    pieces: tuple[Piece, ...]


class Planner:
    """Takes the baseline, then the scenarios, then `finish`."""

    def __init__(self, usage: UsageFrame, catalog: Catalog, index: ContractIndex, customer_ids: Sequence[str]) -> None:
        """Raises UsageFaultsError with everything that does not fit the baseline."""
        self._usage = usage
        self._registry = Registry(usage)
        faults: list[UsageFault] = []
        used = np.bincount(usage.contract_codes, minlength=len(usage.contracts)) > 0
        names = [name for name, is_used in zip(usage.contracts, used.tolist(), strict=True) if is_used]
        faults += [
            UsageFault("customer_ids", f'no customer "{name}" in the catalogue')
            for name in dict.fromkeys(customer_ids)
            if name not in catalog.customers
        ]
        faults += self._unknown(names, index, "in the catalogue")
        faults += self._unknown_products(catalog)
        if customer_ids:
            wanted = set(customer_ids)
            faults += [
                UsageFault(
                    "contract_id", f'"{name}" is of customer "{index.places[name][0][0].customer}", who is not asked'
                )
                for name in names
                if name in index.places and index.places[name][0][0].customer not in wanted
            ]
        if faults:
            raise UsageFaultsError(faults)
        known = [(index.places[name], name) for name in names]
        known.sort(key=lambda each: (each[0][0][0].customer, tuple(level.id for level in each[0][0]), each[1]))
        self._subjects = tuple(name for _, name in known)
        subject_of = {name: number for number, name in enumerate(self._subjects)}
        codes = np.array([subject_of.get(name, -1) for name in usage.contracts], dtype=np.int32)
        subject_of_row = codes[usage.contract_codes] if usage.row_count else np.empty(0, dtype=np.int32)
        self._grouped = group_rows(subject_of_row, len(self._subjects))
        self._subject_of_row = subject_of_row
        self._quantities = np.ascontiguousarray(usage.quantities[self._grouped.order])
        self._times: dict[tuple[str, ...], NDArray[np.int64]] = {}
        self._terms: list[Terms] = []
        self._terms.append(self._made(catalog, index, None))

    def add(self, catalog: Catalog) -> None:
        """Adds a scenario. Raises UsageFaultsError where the usage does not fit it, and then it is not added."""
        base = self._terms[0]
        index = ContractIndex(catalog.contracts, base.index)
        faults = self._unknown(self._subjects, index, "in this scenario: keep its id")
        if faults:
            raise UsageFaultsError(faults)
        self._terms.append(self._made(catalog, index, base))

    def finish(self) -> SimulationPlan:
        """The plan. Raises SimulationTooLargeError."""
        registry = self._registry
        spans = dict(zip(registry.calendars, registry.spans, strict=True))
        calendars = make_calendars(spans)
        terms = tuple(self._laid_out(each, calendars) for each in self._terms)
        properties = self._usage.properties
        order = self._grouped.order
        stacked = np.stack([each.codes[order] for each in properties]) if properties else np.empty((0, 0), np.int32)
        return SimulationPlan(
            registry,
            self._subjects,
            self._grouped,
            terms,
            calendars,
            registry.cells(),
            self._quantities,
            np.ascontiguousarray(stacked),
            tuple(self._pieces(terms)),
        )

    def _unknown(self, names: Sequence[str], index: ContractIndex, where: str) -> list[UsageFault]:
        missing = [name for name in names if name not in index.places]
        return [UsageFault("contract_id", f'no product contract "{name}" {where}') for name in missing]

    def _unknown_products(self, catalog: Catalog) -> list[UsageFault]:
        usage = self._usage
        used = np.bincount(usage.product_codes, minlength=len(usage.products)) > 0
        return [
            UsageFault("product_id", f'no product "{name}" in the catalogue')
            for name, is_used in zip(usage.products, used.tolist(), strict=True)
            if is_used and name not in catalog.products
        ]

    def _made(self, catalog: Catalog, index: ContractIndex, base: Terms | None) -> Terms:
        definitions = self._definitions(catalog, index, base)
        registry, count = self._registry, len(definitions)
        plans = [registry.plan(catalog.plans[each.plan_id]) for each in definitions]
        zones = tuple(each.time_zone for each in definitions)
        if base is not None and zones == tuple(each.time_zone for each in base.definitions):
            times_us = base.times_us
        else:
            times_us = self._times_of(zones)
        start_us = np.array([each.start_us for each in definitions], dtype=np.int64)
        end_us = np.array([each.end_us for each in definitions], dtype=np.int64)
        negative = [self._allows_negative(catalog, each) for each in definitions]
        allows_negative = np.array(negative, dtype=np.bool_)
        if (
            base is not None
            and times_us is base.times_us
            and np.array_equal(start_us, base.layout.start_us)
            and np.array_equal(end_us, base.end_us)
            and np.array_equal(allows_negative, base.allows_negative)
        ):
            judged = base.judged
        else:
            judged = Judged(*(np.zeros(count, dtype=np.int64) for _ in Judged._fields))
            row_start = self._grouped.start
            judge_rows(row_start, start_us, end_us, allows_negative, times_us, self._quantities, judged)
        self._refuse(catalog, definitions, judged)
        cells = [cell for _, found in plans for cell in found]
        cell_counts = np.array([len(found) for _, found in plans], dtype=np.int64)
        unplaced = np.zeros(count, dtype=np.int32)
        spans = zip(judged.first_us.tolist(), judged.last_us.tolist(), strict=True)
        calendar = np.array(
            [
                base.calendar[subject]
                if base is not None and judged is base.judged and base.definitions[subject] is definition
                else registry.calendar(definition, *span)
                for subject, (definition, span) in enumerate(zip(definitions, spans, strict=True))
            ],
            dtype=np.int32,
        )
        return Terms(
            catalog,
            index,
            definitions,
            Layout(
                np.array([AGGREGATION_CODES[each.aggregation] for each in definitions], dtype=np.uint8),
                np.array([cell_set for cell_set, _ in plans], dtype=np.int32),
                start_us,
                unplaced,
                unplaced,
                np.zeros(count + 1, dtype=np.int64),
            ),
            Pricing(
                np.concatenate([[0], np.cumsum(cell_counts)]).astype(np.int64),
                np.array([price for price, _ in cells], dtype=np.int32),
                np.array([billed for _, billed in cells], dtype=np.bool_),
                np.array([each.minor_digits for each in definitions], dtype=np.uint8),
                np.array([each.half_even for each in definitions], dtype=np.bool_),
                np.array([registry.taxes.add(each.tax) for each in definitions], dtype=np.int32),
                np.zeros(count + 1, dtype=np.int64),
            ),
            judged,
            end_us,
            times_us,
            allows_negative,
            calendar,
            np.array([each.tax_inclusive for each in definitions], dtype=np.bool_),
        )

    def _definitions(self, catalog: Catalog, index: ContractIndex, base: Terms | None) -> list[Definition]:
        """The definitions of the subjects; those whose objects did not change are the baseline's own."""
        taxes = {tax.country_code: tax for tax in catalog.taxes.values()}
        same_taxes = base is not None and base.catalog.taxes is catalog.taxes
        found = []
        for subject, name in enumerate(self._subjects):
            path, each = index.places[name]
            if base is not None and same_taxes:
                before = base.definitions[subject]
                plan = catalog.plans[each.plan]
                if (
                    base.index.places[name][0][0] is path[0]
                    and base.catalog.plans.get(each.plan) is plan
                    and base.catalog.products.get(plan.product) is catalog.products[plan.product]
                    and base.catalog.customers.get(path[0].customer) is catalog.customers[path[0].customer]
                ):
                    found.append(before)
                    continue
            found.append(definition_of(catalog, taxes, path, each))
        return found

    def _allows_negative(self, catalog: Catalog, definition: Definition) -> bool:
        meter = catalog.meter_of(catalog.products[definition.product_id])
        return meter is not None and meter.allow_negative

    def _times_of(self, zones: tuple[str, ...]) -> NDArray[np.int64]:
        """The instant of each row, in the order of the subjects: its own, or midnight of its date in its zone."""
        usage = self._usage
        if usage.row_count == 0 or bool(usage.time_given.all()):
            return usage.times_us[self._grouped.order]
        dated = ~usage.time_given
        first, last = int(usage.days[dated].min()), int(usage.days[dated].max())
        names = list(dict.fromkeys(zones))
        occurs = np.flatnonzero(np.bincount(usage.days[dated] - first, minlength=last - first + 1))
        table = np.zeros((len(names), last - first + 1), dtype=np.int64)
        for number, name in enumerate(names):
            for day in occurs.tolist():
                table[number, day] = midnight(name, date.fromordinal(_EPOCH_ORDINAL + first + day))
        number_of = {name: number for number, name in enumerate(names)}
        zone_of_subject = np.array([number_of[name] for name in zones], dtype=np.int32)
        offsets = np.where(dated, usage.days - first, 0)
        midnights = table[zone_of_subject[self._subject_of_row], offsets]
        return np.where(usage.time_given, usage.times_us, midnights)[self._grouped.order]

    def _refuse(
        self,
        catalog: Catalog,
        definitions: list[Definition],
        judged: Judged,
    ) -> None:
        """Names everything that is wrong with the rows under a catalogue."""
        faults = self._other_products(definitions)
        for subject in np.flatnonzero(judged.outside_count).tolist():
            faults.append(
                UsageFault(
                    "date",
                    f'{int(judged.outside_count[subject])} rows of "{self._subjects[subject]}" lie outside its dates',
                )
            )
        for subject in np.flatnonzero(judged.negative_count).tolist():
            faults.append(
                UsageFault(
                    "quantity",
                    f'{int(judged.negative_count[subject])} rows of "{self._subjects[subject]}" are below 0, '
                    "which its meter does not take",
                )
            )
        faults += self._missing_properties(catalog, definitions)
        if faults:
            raise UsageFaultsError(faults)

    def _other_products(self, definitions: list[Definition]) -> list[UsageFault]:
        """Rows whose product is not that of their product contract's plan."""
        usage = self._usage
        code_of = {name: code for code, name in enumerate(usage.products)}
        wanted = np.array([code_of.get(each.product_id, -1) for each in definitions], dtype=np.int32)
        if usage.row_count == 0:
            return []
        wrong = np.flatnonzero(usage.product_codes != wanted[self._subject_of_row])
        pairs = Counter(zip(self._subject_of_row[wrong].tolist(), usage.product_codes[wrong].tolist(), strict=True))
        return [
            UsageFault(
                "product_id",
                f'{count} rows of "{self._subjects[subject]}" are of product "{usage.products[code]}"; '
                f'its plan "{definitions[subject].plan_id}" is for "{definitions[subject].product_id}"',
            )
            for (subject, code), count in pairs.items()
        ]

    def _missing_properties(self, catalog: Catalog, definitions: list[Definition]) -> list[UsageFault]:
        """Properties that a matrix looks at and that the usage has no column of."""
        there = {each.name for each in self._usage.properties}
        faults: dict[tuple[str, str], None] = {}
        for plan_id in dict.fromkeys(each.plan_id for each in definitions):
            price = catalog.plans[plan_id].price
            if isinstance(price, Matrix):
                for rule in price.rules:
                    faults.update(dict.fromkeys((name, plan_id) for name, _ in rule.match if name not in there))
        return [
            UsageFault(f"property:{name}", f'is missing, and the matrix of plan "{plan_id}" looks at it')
            for name, plan_id in faults
        ]

    def _laid_out(self, terms: Terms, calendars: Calendars) -> Terms:
        """Terms with windows, slots and lines."""
        count = len(terms.definitions)
        numbers = terms.calendar
        part_start, part_end = np.zeros(count, dtype=np.int32), np.zeros(count, dtype=np.int32)
        order = np.argsort(numbers, kind="stable")
        starts = np.flatnonzero(np.r_[True, np.diff(numbers[order]) != 0]) if count else np.empty(0, dtype=np.int64)
        for members in np.split(order, starts[1:]) if count else ():
            low, high = calendars.part_range[numbers[members[0]]].tolist()
            instants = calendars.parts.start_us[low:high]
            period = calendars.parts.period[low:high]
            first = np.searchsorted(instants, terms.judged.first_us[members], side="right") - 1
            last = np.searchsorted(instants, terms.judged.last_us[members], side="right") - 1
            part_start[members] = calendars.period_first_part[period[first]]
            part_end[members] = calendars.period_end_part[period[last]]
        parts = (part_end - part_start).astype(np.int64)
        cells = np.diff(terms.pricing.cell_start)
        billing = calendars.parts.billing
        lines = (billing[part_end - 1] + 1 - billing[part_start]).astype(np.int64) if count else parts
        slot_start = np.concatenate([[0], np.cumsum(parts * cells)]).astype(np.int64)
        if slot_start[-1] > SLOTS_MAX:
            raise SimulationTooLargeError(
                f"{int(slot_start[-1])} matrix cells times periods of all product contracts; at most {SLOTS_MAX}"
            )
        line_start = np.concatenate([[0], np.cumsum(lines * cells)]).astype(np.int64)
        return replace(
            terms,
            layout=terms.layout._replace(part_start=part_start, part_end=part_end, slot_start=slot_start),
            pricing=terms.pricing._replace(line_start=line_start),
        )

    def _pieces(self, terms: Sequence[Terms]) -> list[Piece]:
        """Stretches of subjects that are about as much work and memory."""
        count = len(self._subjects)
        slots = np.max([np.diff(each.layout.slot_start) for each in terms], axis=0) if count else np.empty(0)
        rows = np.diff(self._grouped.start)
        pieces, first, slot_count, row_count = [], 0, 0, 0
        for subject, (more_slots, more_rows) in enumerate(zip(slots.tolist(), rows.tolist(), strict=True)):
            if subject > first and (slot_count + more_slots > PIECE_SLOTS or row_count + more_rows > PIECE_ROWS):
                pieces.append(Piece(first, subject, row_count))
                first, slot_count, row_count = subject, 0, 0
            slot_count += more_slots
            row_count += more_rows
        if count:
            pieces.append(Piece(first, count, row_count))
        return pieces
