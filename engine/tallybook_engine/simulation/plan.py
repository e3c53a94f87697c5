"""Usage and catalogues made ready to be priced: contracts resolved, rows grouped once, what does not fit named.

All catalogues of a simulation see the same product contracts, by id, in one order: by customer and contract path under
the baseline. What a scenario leaves as it is, it shares with the baseline.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import compress
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.asking import GoOn, asking, stretches, unasked
from tallybook_engine.calendar.local_time import date_of
from tallybook_engine.calendar.proration import prorated_between
from tallybook_engine.calendar.zones import midnight
from tallybook_engine.catalog.compile import AGGREGATION_CODES, cells_of
from tallybook_engine.catalog.model import Catalog, Matrix, Meter, Plan, Product, TaxMode
from tallybook_engine.contract.unopened import costs_at_nothing
from tallybook_engine.currencies import minor_digits
from tallybook_engine.ledger.stage import ranges
from tallybook_engine.pricing.model import NoPrice, Rounding
from tallybook_engine.pricing.tables import PricePool
from tallybook_engine.rating.tax import TaxPool
from tallybook_engine.simulation.calendars import CalendarKey, Calendars, make_calendars, opened_billing
from tallybook_engine.simulation.contracts import Codes, ContractTable, Value, contract_table
from tallybook_engine.simulation.evaluation import Pricing
from tallybook_engine.simulation.event_counts import Rule, broken_rules
from tallybook_engine.simulation.grouping import (
    NEVER_US,
    Cells,
    Grouped,
    Instants,
    Judged,
    Layout,
    Survey,
    judge_rows,
    lay_codes,
    lay_quantities,
    lay_times,
    occurring_days,
    range_of_codes,
    survey_rows,
)
from tallybook_engine.simulation.usage import (
    Flaws,
    SimulationTooLargeError,
    UsageFault,
    UsageFaultsError,
    UsageFrame,
    gathered,
)

SLOTS_MAX = 67_108_864
"""Matrix cells times parts of all product contracts under one catalogue."""
PIECE_SLOTS = 1 << 20
"""A piece of the work has about so many slots under any catalogue; a single product contract may have more."""
PIECE_ROWS = 1 << 18
"""And about so many rows."""


class PlanTerms(NamedTuple):
    """What a plan means for its product contracts; `plan`, `product` and `meter` are kept, for they identify it."""

    plan: Plan
    product: Product
    meter: Meter | None
    aggregation: int
    allows_negative: bool
    minor_digits: int
    half_even: bool
    prorates: bool
    """Whether some price of its is another one in accumulation periods that are not whole."""
    due_without_events: bool
    """Whether some price of its may be something at quantity 0."""
    currency: int
    """Of the registry's currencies."""
    cell_set: int
    first_cell: int
    """Of the registry's cells, and how many behind it."""
    cell_count: int


@dataclass(frozen=True)
class Terms:
    """The product contracts of a simulation under one catalogue, in the order of the simulation's subjects."""

    catalog: Catalog
    table: ContractTable
    row: NDArray[np.int64]
    """[subjects] of the table."""
    customer: NDArray[np.int64]
    """[subjects] of the registry's customers."""
    plan: NDArray[np.int64]
    """[subjects] of the registry's plans."""
    cell: NDArray[np.int64]
    """[cells] of the registry's cells, subject by subject."""
    layout: Layout
    pricing: Pricing
    judged: Judged
    window_us: tuple[NDArray[np.int64], NDArray[np.int64]]
    """([subjects], [subjects]) first and last instant of what is looked at: of the rows, or, where something is due
    without events, of the billing periods that they open."""
    end_us: NDArray[np.int64]
    """[subjects]"""
    zone: NDArray[np.int64]
    """[subjects] of the registry's zones."""
    times_us: NDArray[np.int64]
    """[rows] in the order of the subjects."""
    allows_negative: NDArray[np.bool_]
    calendar: NDArray[np.int64]
    """[subjects] of the registry's calendars."""
    inclusive: NDArray[np.bool_]
    """[subjects] whether amounts contain their tax."""
    has_same_slots: NDArray[np.bool_]
    """[subjects] whether the same rows fall into the same slots as under the baseline."""
    has_same_lines: NDArray[np.bool_]
    """[subjects] whether these also come to the same charge lines."""

    def contract_paths(self) -> list[tuple[str, ...]]:
        """[subjects] ids from the root contract down to the product contract."""
        paths = self.table.paths
        return [paths[row] for row in self.row.tolist()]


class Registry:
    """What the catalogues of one simulation share: prices, taxes, names, plans, sets of cells, calendars."""

    def __init__(self, usage: UsageFrame) -> None:
        self.usage = usage
        self.prices = PricePool()
        self.taxes = TaxPool()
        self.customers: Codes[str] = Codes()
        self.currencies: Codes[str] = Codes()
        self.zones: Codes[str] = Codes()
        self.calendars: Codes[CalendarKey] = Codes()
        self.spans: list[tuple[int, int]] = []
        """By calendar: first and last instant of the usage."""
        self.plans: list[PlanTerms] = []
        self.cell_ids: list[str] = []
        self.cell_prices: list[int] = []
        self.cell_billed: list[bool] = []
        self._cell_sets: Codes[tuple[tuple[tuple[str, str], ...], ...]] = Codes()
        self._plan_numbers: dict[tuple[int, int, int], int] = {}
        """By identity of what is kept in the plan's terms."""

    def plan(self, catalog: Catalog, plan_id: str) -> int:
        """The number of a plan as it is in a catalogue."""
        plan = catalog.plans[plan_id]
        product = catalog.products[plan.product]
        meter = catalog.meters.get(product.meter)
        identity = id(plan), id(product), id(meter)
        if identity not in self._plan_numbers:
            metered = catalog.meter_of(product)
            allows_negative = metered is not None and metered.allow_negative
            self._plan_numbers[identity] = len(self.plans)
            self.plans.append(self._plan_terms(plan, product, meter, allows_negative))
        return self._plan_numbers[identity]

    def _plan_terms(self, plan: Plan, product: Product, meter: Meter | None, allows_negative: bool) -> PlanTerms:
        cells = cells_of(plan)
        first_cell = len(self.cell_ids)
        for each in cells:
            self.cell_ids.append(each.id)
            self.cell_prices.append(self.prices.add(each.price))
            self.cell_billed.append(not isinstance(each.price.model, NoPrice))
        return PlanTerms(
            plan,
            product,
            meter,
            AGGREGATION_CODES[product.aggregation],
            allows_negative,
            minor_digits(plan.currency),
            plan.rounding is Rounding.HALF_EVEN,
            any(each.price.prorates for each in cells),
            any(costs_at_nothing(each.price) for each in cells),
            self.currencies.add(plan.currency),
            self._cell_sets.add(tuple(each.match for each in cells)),
            first_cell,
            len(cells),
        )

    def extend_spans(
        self, calendar: NDArray[np.int64], first_us: NDArray[np.int64], last_us: NDArray[np.int64]
    ) -> None:
        """Makes calendars hold these instants, one pair a product contract."""
        first, last = np.full(len(self.calendars), NEVER_US), np.full(len(self.calendars), -NEVER_US)
        np.minimum.at(first, calendar, first_us)
        np.maximum.at(last, calendar, last_us)
        before = [*self.spans, *[(NEVER_US, -NEVER_US)] * (len(self.calendars) - len(self.spans))]
        self.spans = [
            (min(one, low), max(other, high))
            for (one, other), low, high in zip(before, first.tolist(), last.tolist(), strict=True)
        ]

    def cells(self) -> Cells:
        """The tables of all cell sets."""
        columns = {each.name: index for index, each in enumerate(self.usage.properties)}
        codes = [{text: code for code, text in enumerate(each.texts)} for each in self.usage.properties]
        set_start, condition_start, column, text = [0], [0], [], []
        for matches in self._cell_sets:
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

    def __init__(
        self,
        usage: UsageFrame,
        catalog: Catalog,
        table: ContractTable,
        customer_ids: Sequence[str],
        go_on: GoOn = unasked,
    ) -> None:
        """`table` is of the catalogue's contracts; `go_on` is asked all along, later too. Raises UsageFaultsError with
        everything that does not fit, and with the flaws that the usage has in itself.
        """
        self._usage = usage
        self._go_on = go_on
        self._survey = _surveyed(usage, go_on)
        used = np.flatnonzero(self._survey.contract_counts)
        names = [usage.contracts[code] for code in used.tolist()]
        rows = table.of(names)
        faults = [
            UsageFault("customer_ids", f'no customer "{name}" in the catalogue')
            for name in dict.fromkeys(customer_ids)
            if name not in catalog.customers
        ]
        faults += _unknown(names, rows, "in the catalogue")
        faults += self._unknown_products(catalog)
        if customer_ids:
            faults += _unasked(names, rows, table, customer_ids)
        self._faults, self._unnamed_count = faults, 0
        """What is known to be wrong before any row is judged: the rest is told with it."""
        if usage.flaws is not None:
            self._faults += usage.flaws.faults
            self._unnamed_count = usage.flaws.fault_count - len(usage.flaws.faults)
        if self._faults:
            used, rows = used[rows >= 0], rows[rows >= 0]
            usage = self._usage = _judgeable(usage, used, table.start_us[rows], go_on)
            self._survey = _surveyed(usage, go_on)
            names = [usage.contracts[code] for code in used.tolist()]
        self._registry = Registry(usage)
        order = np.argsort(table.rank[rows])
        self._subjects = tuple(names[at] for at in order.tolist())
        subject_of_code = np.full(len(usage.contracts), -1, dtype=np.int32)
        subject_of_code[used[order]] = np.arange(len(used), dtype=np.int32)
        row_start = np.concatenate([[0], np.cumsum(self._survey.contract_counts[used[order]])])
        self._grouped = Grouped(row_start, gathered(subject_of_code, usage.contract_codes, go_on))
        self._quantities = lay_quantities(self._grouped, usage.quantities, go_on)
        # Nearly always all rows of a product contract are of one product, and then one look is enough.
        self._products = range_of_codes(self._grouped, usage.product_codes, go_on)
        self._terms: list[Terms] = []
        self._terms.append(self._made(catalog, table, rows[order], None))

    def add(self, catalog: Catalog) -> None:
        """Adds a scenario. Raises UsageFaultsError where the usage does not fit it, and then it is not added."""
        base = self._terms[0]
        table = contract_table(catalog.contracts, base.table, self._go_on)
        rows = base.row if table is base.table else _same_as(base.row, table.of(self._subjects))
        faults = _unknown(self._subjects, rows, "in this scenario: keep its id")
        if faults:
            there = gathered(rows >= 0, self._grouped.subject, self._go_on)
            usage = self._usage.taken(np.flatnonzero(there))
            flaws = Flaws(tuple(faults), len(faults), np.zeros(usage.row_count, dtype=np.bool_))
            # It raises, for there are flaws: with all else that is wrong in this scenario.
            Planner(replace(usage, flaws=flaws), catalog, table, (), self._go_on)
        self._terms.append(self._made(catalog, table, rows, base))

    def finish(self) -> SimulationPlan:
        """The plan. Raises SimulationTooLargeError."""
        registry = self._registry
        spans = dict(zip(registry.calendars, registry.spans, strict=True))
        calendars = make_calendars(spans, self._go_on)
        terms: list[Terms] = []
        for each in self._terms:
            self._go_on()
            terms.append(self._laid_out(each, calendars, terms[0] if terms else None))
        properties = self._usage.properties
        stacked = np.empty((len(properties), self._usage.row_count if properties else 0), dtype=np.int32)
        for number, column in enumerate(properties):
            lay_codes(self._grouped, column.codes, stacked[number], self._go_on)
        return SimulationPlan(
            registry,
            self._subjects,
            self._grouped,
            tuple(terms),
            calendars,
            registry.cells(),
            self._quantities,
            stacked,
            tuple(self._pieces(terms)),
        )

    def _unknown_products(self, catalog: Catalog) -> list[UsageFault]:
        return [
            UsageFault("product_id", f'no product "{name}" in the catalogue')
            for name, is_used in zip(self._usage.products, self._survey.has_product.tolist(), strict=True)
            if is_used and name not in catalog.products
        ]

    def _made(self, catalog: Catalog, table: ContractTable, row: NDArray[np.int64], base: Terms | None) -> Terms:
        registry, count = self._registry, len(row)
        customer, zone, calendar = (self._codes(name, table, row, base) for name in ("customer", "zone", "calendar"))
        start_us, end_us = table.start_us[row], table.end_us[row]
        plan = _looked_up(table.plan[row], table.plans, lambda names: [registry.plan(catalog, each) for each in names])
        by_plan = _PlanColumns(registry.plans)
        allows_negative = by_plan.allows_negative[plan]
        times_us = base.times_us if base is not None and zone is base.zone else self._times_of(zone)
        if (
            base is not None
            and times_us is base.times_us
            and np.array_equal(start_us, base.layout.start_us)
            and np.array_equal(end_us, base.end_us)
            and np.array_equal(allows_negative, base.allows_negative)
        ):
            judged = base.judged
        else:
            judged = judge_rows(
                self._grouped.start, start_us, end_us, allows_negative, times_us, self._quantities, self._go_on
            )
        aggregation = by_plan.aggregation[plan]
        if base is None or not np.array_equal(aggregation, base.layout.aggregation):
            broken = broken_rules(self._usage, self._grouped.subject, aggregation, self._go_on)
        else:
            broken = []
        self._refuse(catalog, plan, judged, broken)
        due = by_plan.due_without_events[plan]
        window_us = self._window(judged, calendar, start_us, end_us, due)
        registry.extend_spans(calendar, *window_us)
        tax_rule, inclusive = self._taxes(catalog, customer, base)
        cell_count, first_cell = by_plan.cell_count[plan], by_plan.first_cell[plan]
        cell = ranges(first_cell, first_cell + cell_count)
        price = np.array(registry.cell_prices, dtype=np.int32)[cell]
        unplaced, none = np.zeros(count, dtype=np.int32), np.full(count, -1, dtype=np.int32)
        differs = np.zeros(count, dtype=np.bool_)
        return Terms(
            catalog=catalog,
            table=table,
            row=row,
            customer=customer,
            plan=plan,
            cell=cell,
            layout=Layout(
                aggregation=aggregation,
                cell_set=by_plan.cell_set[plan],
                start_us=start_us,
                part_start=unplaced,
                part_end=unplaced,
                slot_start=np.zeros(count + 1, dtype=np.int64),
            ),
            pricing=Pricing(
                cell_start=np.concatenate([[0], np.cumsum(cell_count)]).astype(np.int64),
                price=price,
                first_price=price,
                last_price=price,
                billed=np.array(registry.cell_billed, dtype=np.bool_)[cell],
                minor_digits=by_plan.minor_digits[plan],
                half_even=by_plan.half_even[plan],
                tax_rule=tax_rule,
                first_period=none,
                last_period=none,
                due_without_events=due,
                line_start=np.zeros(count + 1, dtype=np.int64),
            ),
            judged=judged,
            window_us=window_us,
            end_us=end_us,
            zone=zone,
            times_us=times_us,
            allows_negative=allows_negative,
            calendar=calendar,
            inclusive=inclusive,
            has_same_slots=differs,
            has_same_lines=differs,
        )

    def _codes(self, name: str, table: ContractTable, row: NDArray[np.int64], base: Terms | None) -> NDArray[np.int64]:
        """[subjects] a column of the table as numbers of the registry; the baseline's where it has the same."""
        codes = getattr(table, name)[row]
        # A table keeps the codes of the one that it was made of.
        if base is not None and np.array_equal(codes, getattr(base.table, name)[base.row]):
            same: NDArray[np.int64] = getattr(base, name)
            return same
        others = getattr(self._registry, f"{name}s")
        return _looked_up(codes, getattr(table, f"{name}s"), others.add_all)

    def _taxes(
        self, catalog: Catalog, customer: NDArray[np.int64], base: Terms | None
    ) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """([subjects] number of the tax, [subjects] whether amounts contain it)."""
        if (
            base is not None
            and customer is base.customer
            and base.catalog.customers is catalog.customers
            and base.catalog.taxes is catalog.taxes
        ):
            return base.pricing.tax_rule, base.inclusive
        taxes = {tax.country_code: tax for tax in catalog.taxes.values()}
        countries: Codes[str] = Codes()

        def countries_of(names: list[str]) -> list[int]:
            return countries.add_all([catalog.customers[each].country_code for each in names])

        country = _looked_up(customer, self._registry.customers, countries_of)
        of_country = [taxes.get(code) for code in countries]
        rule = np.array([self._registry.taxes.add(tax) for tax in of_country], dtype=np.int32)
        inclusive = [tax is not None and tax.mode is TaxMode.INCLUSIVE for tax in of_country]
        return rule[country], np.array(inclusive, dtype=np.bool_)[country]

    def _times_of(self, zone: NDArray[np.int64]) -> NDArray[np.int64]:
        """The instant of each row, in the order of the subjects: its own, or midnight of its date in its zone."""
        usage, days = self._usage, self._days
        first, midnights = 0, np.zeros((len(self._registry.zones), 1), dtype=np.int64)
        if days:
            first = days[0]
            names = list(self._registry.zones)
            midnights = np.zeros((len(names), days[-1] - first + 1), dtype=np.int64)
            for number in np.unique(zone).tolist():
                for day in asking(days, self._go_on):
                    midnights[number, day - first] = midnight(names[number], date_of(day))
        instants = Instants(usage.times_us, usage.time_given, usage.days, midnights, first)
        return lay_times(self._grouped, instants, zone, self._go_on)

    @cached_property
    def _days(self) -> list[int]:
        """The days, since 1970-01-01, of the rows that have no instant; in order."""
        usage = self._usage
        return occurring_days(self._survey, usage.days, usage.time_given, self._go_on).tolist()

    def _refuse(self, catalog: Catalog, plan: NDArray[np.int64], judged: Judged, broken: Sequence[Rule]) -> None:
        """Names everything that is wrong with the rows under a catalogue; `plan` by subject."""
        faults = [*self._faults, *self._other_products(catalog, plan)]
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
        faults += self._other_event_counts(plan, broken)
        faults += self._missing_properties(plan)
        if faults:
            raise UsageFaultsError(faults, self._unnamed_count)

    def _other_products(self, catalog: Catalog, plan: NDArray[np.int64]) -> list[UsageFault]:
        """Rows whose product is there and not that of their product contract's plan."""
        usage, plans = self._usage, self._registry.plans
        if usage.row_count == 0:
            return []
        code_of = {name: code for code, name in enumerate(usage.products)}
        wanted = np.array([code_of.get(each.product.id, -1) for each in plans], dtype=np.int32)[plan]
        if all(np.array_equal(wanted, each) for each in self._products):
            return []
        pairs: Counter[tuple[int, int]] = Counter()
        for rows in stretches(usage.row_count, self._go_on):
            subjects, products = self._grouped.subject[rows], usage.product_codes[rows]
            wrong = np.flatnonzero(products != wanted[subjects])
            pairs.update(zip(subjects[wrong].tolist(), products[wrong].tolist(), strict=True))
        return [
            UsageFault(
                "product_id",
                f'{count} rows of "{self._subjects[subject]}" are of product "{usage.products[code]}"; '
                f'its plan "{plans[plan[subject]].plan.id}" is for "{plans[plan[subject]].product.id}"',
            )
            for (subject, code), count in pairs.items()
            if code >= 0 and usage.products[code] in catalog.products
        ]

    def _other_event_counts(self, plan: NDArray[np.int64], broken: Sequence[Rule]) -> Iterator[UsageFault]:
        """Rows that stand for other numbers of events than their products can take."""
        for rule in broken:
            for subject in np.flatnonzero(rule.counts).tolist():
                where = f"the first is row {self._usage.number_of(int(rule.first_rows[subject]))}, counted from 0"
                name, product = self._subjects[subject], self._registry.plans[plan[subject]].product.id
                yield UsageFault(
                    rule.column,
                    f'{int(rule.counts[subject])} rows of "{name}", of product "{product}", {rule.words}; {where}',
                )

    def _missing_properties(self, plan: NDArray[np.int64]) -> list[UsageFault]:
        """Properties that a matrix looks at and that the usage has no column of."""
        there = {each.name for each in self._usage.properties}
        faults: dict[tuple[str, str], None] = {}
        plans, first_at = np.unique(plan, return_index=True)
        for number in plans[np.argsort(first_at)].tolist():
            each = self._registry.plans[number].plan
            if isinstance(each.price, Matrix):
                for rule in each.price.rules:
                    faults.update(dict.fromkeys((name, each.id) for name, _ in rule.match if name not in there))
        return [
            UsageFault(f"property:{name}", f'is missing, and the matrix of plan "{plan_id}" looks at it')
            for name, plan_id in faults
        ]

    def _window(
        self,
        judged: Judged,
        calendar: NDArray[np.int64],
        start_us: NDArray[np.int64],
        end_us: NDArray[np.int64],
        due: NDArray[np.bool_],
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """([subjects] first, [subjects] last instant) of the rows; where something is due without events, of the
        billing periods that they open, as far as the product contract is active."""
        first_us, last_us = judged.first_us, judged.last_us
        wanted = np.flatnonzero(due & (first_us <= last_us))
        if len(wanted) == 0:
            return first_us, last_us
        first_us, last_us = first_us.copy(), last_us.copy()
        keys = list(self._registry.calendars)
        for number in asking(np.unique(calendar[wanted]).tolist(), self._go_on):
            members = wanted[calendar[wanted] == number]
            if keys[number].billing != keys[number].accumulation:
                begins_us, ends_us = opened_billing(keys[number], first_us[members], last_us[members])
                first_us[members] = np.maximum(begins_us, start_us[members])
                last_us[members] = np.minimum(ends_us, end_us[members]) - 1
        return first_us, last_us

    def _laid_out(self, terms: Terms, calendars: Calendars, base: Terms | None) -> Terms:
        """Terms with windows, slots and lines; `base` are the baseline's."""
        count, numbers = len(terms.row), terms.calendar
        if base is None:
            part_start, part_end = np.zeros(count, dtype=np.int32), np.zeros(count, dtype=np.int32)
            due = np.arange(count)
        else:
            part_start, part_end = base.layout.part_start.copy(), base.layout.part_end.copy()
            due = np.flatnonzero(
                (numbers != base.calendar)
                | (terms.window_us[0] != base.window_us[0])
                | (terms.window_us[1] != base.window_us[1])
            )
        order = due[np.argsort(numbers[due], kind="stable")]
        starts = np.flatnonzero(np.diff(numbers[order])) + 1
        for members in asking(np.split(order, starts) if len(order) else (), self._go_on):
            low, high = calendars.part_range[numbers[members[0]]].tolist()
            instants = calendars.parts.start_us[low:high]
            period = calendars.parts.period[low:high]
            first = np.searchsorted(instants, terms.window_us[0][members], side="right") - 1
            last = np.searchsorted(instants, terms.window_us[1][members], side="right") - 1
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
        laid_out = replace(
            terms,
            layout=terms.layout._replace(part_start=part_start, part_end=part_end, slot_start=slot_start),
            pricing=self._prorated(terms, calendars, part_start, part_end)._replace(line_start=line_start),
        )
        return laid_out if base is None else _compared(laid_out, base)

    def _prorated(
        self, terms: Terms, calendars: Calendars, part_start: NDArray[np.int32], part_end: NDArray[np.int32]
    ) -> Pricing:
        """The pricing with what accumulation periods cost that product contracts begin or end within."""
        registry, pricing = self._registry, terms.pricing
        prorates = np.array([each.prorates for each in registry.plans], dtype=np.bool_)[terms.plan]
        if not prorates.any():
            return pricing
        period = calendars.parts.period
        first, last = period[part_start], period[part_end - 1]
        begun, ended = np.full(len(first), -1, dtype=np.int32), np.full(len(first), -1, dtype=np.int32)
        begins = prorates & (calendars.period_start_us[first] < terms.layout.start_us)
        ends = prorates & (terms.end_us < calendars.period_end_us[last])
        begun[begins], ended[ends] = first[begins], last[ends]
        first_price, last_price = pricing.price.copy(), pricing.price.copy()
        zones = list(registry.zones)
        for numbers, prices in ((begun, first_price), (ended, last_price)):
            for subject in np.flatnonzero(numbers >= 0).tolist():
                number = numbers[subject]
                whole = int(calendars.period_start_us[number]), int(calendars.period_end_us[number])
                active = int(terms.layout.start_us[subject]), int(terms.end_us[subject])
                for at in range(pricing.cell_start[subject], pricing.cell_start[subject + 1]):
                    price = registry.prices[int(pricing.price[at])]
                    if price.included is not None and price.prorates:
                        quantity = prorated_between(price.included.quantity, zones[terms.zone[subject]], whole, active)
                        prices[at] = registry.prices.add(price.including(quantity))
        return pricing._replace(first_price=first_price, last_price=last_price, first_period=begun, last_period=ended)

    def _pieces(self, terms: Sequence[Terms]) -> list[Piece]:
        """Stretches of subjects that are about as much work and memory."""
        count = len(self._subjects)
        slots = np.max([np.diff(each.layout.slot_start) for each in terms], axis=0)
        rows_before = self._grouped.start
        slots_before = np.concatenate([[0], np.cumsum(slots)])
        pieces, first = [], 0
        while first < count:
            # As many as fit, but one at least.
            within = (
                int(np.searchsorted(before, before[first] + size, side="right")) - 1
                for before, size in ((slots_before, PIECE_SLOTS), (rows_before, PIECE_ROWS))
            )
            end = max(first + 1, min(within))
            pieces.append(Piece(first, end, int(rows_before[end] - rows_before[first])))
            first = end
        return pieces


def _compared(terms: Terms, base: Terms) -> Terms:
    """Terms that know which of their subjects are as under the baseline."""
    layout, other = terms.layout, base.layout
    # A part is of one calendar, and that of one zone: where parts are the same, so are the instants of the rows.
    same_slots = (
        (layout.aggregation == other.aggregation)
        & (layout.cell_set == other.cell_set)
        & (layout.part_start == other.part_start)
        & (layout.part_end == other.part_end)
    )
    # What an accumulation period costs follows from the plan and from what of the period the product contract has.
    same_lines = (
        same_slots
        & (terms.plan == base.plan)
        & (layout.start_us == other.start_us)
        & (terms.end_us == base.end_us)
        & (terms.pricing.tax_rule == base.pricing.tax_rule)
    )
    return replace(terms, has_same_slots=same_slots, has_same_lines=same_lines)


class _PlanColumns:
    """Plans as columns, [plans] each."""

    def __init__(self, plans: Sequence[PlanTerms]) -> None:
        def column(name: str, dtype: type[np.generic]) -> NDArray[Any]:
            return np.array([getattr(each, name) for each in plans], dtype=dtype)

        self.aggregation = column("aggregation", np.uint8)
        self.allows_negative = column("allows_negative", np.bool_)
        self.due_without_events = column("due_without_events", np.bool_)
        self.minor_digits = column("minor_digits", np.uint8)
        self.half_even = column("half_even", np.bool_)
        self.cell_set = column("cell_set", np.int32)
        self.first_cell = column("first_cell", np.int64)
        self.cell_count = column("cell_count", np.int64)


def _surveyed(usage: UsageFrame, go_on: GoOn) -> Survey:
    return survey_rows(
        usage.contract_codes,
        len(usage.contracts),
        usage.product_codes,
        len(usage.products),
        usage.days,
        usage.time_given,
        go_on,
    )


def _judgeable(
    usage: UsageFrame, contract_codes: NDArray[np.int64], start_us: NDArray[np.int64], go_on: GoOn
) -> UsageFrame:
    """The rows of some product contracts; where one has no date that could be read, it is at the start of its own,
    which fits.
    """
    # The last one is what -1 reads.
    of_contract = np.zeros(len(usage.contracts) + 1, dtype=np.bool_)
    of_contract[contract_codes] = True
    found = usage.taken(np.flatnonzero(gathered(of_contract, usage.contract_codes, go_on)))
    if found.flaws is None:
        return found
    starts = np.zeros(len(usage.contracts), dtype=np.int64)
    starts[contract_codes] = start_us
    undated = found.flaws.is_undated
    return replace(
        found,
        times_us=np.where(undated, gathered(starts, found.contract_codes, go_on), found.times_us),
        time_given=found.time_given | undated,
        flaws=None,
    )


def _looked_up(
    codes: NDArray[np.int64], values: Codes[Value], numbers_of: Callable[[list[Value]], list[int]]
) -> NDArray[np.int64]:
    """The number of the value of each code; `numbers_of` is asked for those of all values that occur."""
    numbers = np.zeros(len(values), dtype=np.int64)
    occurs = np.bincount(codes, minlength=len(values)) > 0
    numbers[occurs] = numbers_of(list(compress(values, occurs.tolist())))
    return numbers[codes]


def _same_as(column: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
    """A column, or else the other one where it is another: what is made of one column is made once."""
    return column if np.array_equal(column, other) else other


def _unknown(names: Sequence[str], rows: NDArray[np.int64], where: str) -> list[UsageFault]:
    missing = [names[at] for at in np.flatnonzero(rows < 0).tolist()]
    return [UsageFault("contract_id", f'no product contract "{name}" {where}') for name in missing]


def _unasked(
    names: Sequence[str], rows: NDArray[np.int64], table: ContractTable, customer_ids: Sequence[str]
) -> list[UsageFault]:
    """Usage of customers that are not asked."""
    wanted, customers = set(customer_ids), list(table.customers)
    of = [(name, customers[table.customer[row]]) for name, row in zip(names, rows.tolist(), strict=True) if row >= 0]
    return [
        UsageFault("contract_id", f'"{name}" is of customer "{customer}", who is not asked')
        for name, customer in of
        if customer not in wanted
    ]
