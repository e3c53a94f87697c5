"""A simulation from its request to the messages of its answer; what runs where, the service decides."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tallybook.v1 import common_pb2
from tallybook.v1 import simulate_pb2 as wire
from tallybook_engine.asking import GoOn, asking, stretches, unasked
from tallybook_engine.catalog.change import CatalogChange, CatalogObjects
from tallybook_engine.catalog.faults import CatalogFault, CatalogInvalidError, Faults
from tallybook_engine.catalog.model import Catalog, Contract, with_each_level, with_fields
from tallybook_engine.catalog.versions import apply_change
from tallybook_engine.contract.calendars import InvoiceTooLargeError
from tallybook_engine.currencies import minor_digits
from tallybook_engine.decimals import format_money
from tallybook_engine.simulation.charges import (
    MONEY,
    NAME,
    ChargesWriter,
    Laid,
    charges_writers,
    money_column,
    settled_tables,
)
from tallybook_engine.simulation.compare import Comparison, CustomerAmounts
from tallybook_engine.simulation.contracts import ContractTable, contract_table
from tallybook_engine.simulation.placing import TreeDoesNotFitError
from tallybook_engine.simulation.plan import Piece, Planner, SimulationPlan
from tallybook_engine.simulation.run import DoesNotFitError, PieceLines, run_piece
from tallybook_engine.simulation.settlement import BilledStretch, Settlement
from tallybook_engine.simulation.usage import FAULTS_MAX, SimulationTooLargeError, UsageFaultsError, UsageFrame
from tallybook_server import limits
from tallybook_server.codec.catalog import read_change
from tallybook_server.codec.instants import read_instant
from tallybook_server.codec.metering import fields_within_answer
from tallybook_server.codec.usage import read_usage, usage_invalid
from tallybook_server.errors import ErrorCode, Fault, field_invalid
from tallybook_server.stored_usage import UsageBook, determinants_as_usage, events_as_usage

BASELINE = "baseline"
"""Name of what scenarios are compared with."""

CUSTOMERS_SCHEMA = pa.schema(
    [
        ("customer_id", NAME),
        ("currency", NAME),
        ("scenario", NAME),
        ("amount_excluding_tax", MONEY),
        ("tax_amount", MONEY),
        ("amount_including_tax", MONEY),
        ("difference_excluding_tax", MONEY),
        ("is_cheapest", pa.bool_()),
    ]
)


@dataclass(frozen=True)
class Simulation:
    """A simulation that is ready to be run."""

    simulation_id: str
    catalog_version: int
    usage_sequence: int
    """Committed sequence of stored usage; 0 for other usage."""
    plan: SimulationPlan
    names: tuple[str, ...]
    """The baseline, then the scenarios that are run."""
    skipped: tuple[wire.SkippedScenario, ...]
    writers: tuple[ChargesWriter, ...]
    """Empty where charges are not asked."""
    billed: BilledStretch | None
    """What is billed whole, where something is."""

    def adding_up(self, go_on: GoOn) -> tuple[Settlement, Comparison]:
        """What takes the lines of all pieces. `go_on` raises where nobody waits for it, later too."""
        settlement = Settlement(self.plan, self.billed, go_on)
        return settlement, Comparison(self.plan, settlement.payers(), go_on)

    def started(self) -> wire.RunSimulationResponse:
        """The first message."""
        started = wire.SimulationStarted(
            catalog_version=self.catalog_version,
            row_count=self.plan.registry.usage.row_count,
            product_contract_count=len(self.plan.subjects),
            scenarios=self.names,
            skipped_scenarios=self.skipped,
            usage_sequence=self.usage_sequence,
        )
        return wire.RunSimulationResponse(simulation_id=self.simulation_id, started=started)

    def progress(self, row_count_done: int) -> wire.RunSimulationResponse:
        """How far it is."""
        progress = wire.SimulationProgress(
            row_count_done=row_count_done, row_count_total=self.plan.registry.usage.row_count
        )
        return wire.RunSimulationResponse(simulation_id=self.simulation_id, progress=progress)

    def run(self, piece: Piece, go_on: GoOn) -> tuple[list[PieceLines], list[wire.RunSimulationResponse]]:
        """A piece under every scenario, and the messages with its charges. `go_on` raises where nobody waits for it."""
        try:
            found = run_piece(self.plan, piece, go_on)
        except DoesNotFitError as error:
            name = self.names[error.terms_number]
            raise Fault(
                ErrorCode.SIMULATION_DOES_NOT_FIT,
                f"{name}: {error}",
                {"scenario": name, "product_contract_id": error.product_contract_id},
            ) from None
        messages, laid = [], Laid()
        for name, writer, lines in zip(self.names, self.writers, found, strict=False):
            go_on()
            for stream in _streams(writer.table(lines, laid), go_on):
                charges = wire.SimulationCharges(scenario=name, arrow=stream)
                messages.append(wire.RunSimulationResponse(simulation_id=self.simulation_id, charges=charges))
        return found, messages

    def settled(
        self, settlement: Settlement, comparison: Comparison, go_on: GoOn
    ) -> Iterator[list[wire.RunSimulationResponse]]:
        """Settles contract trees, a batch at a time, and adds what they come to beside their usage; the messages.
        `go_on` raises where nobody waits for them.
        """
        for number, name in enumerate(self.names):
            try:
                for found in settlement.settle(number, go_on, with_lines=bool(self.writers)):
                    comparison.add_settled(number, found)
                    tables = settled_tables(found) if self.writers else ()
                    yield [
                        wire.RunSimulationResponse(
                            simulation_id=self.simulation_id,
                            charges=wire.SimulationCharges(scenario=name, arrow=stream),
                        )
                        for table in tables
                        for stream in _streams(table, go_on)
                    ]
            except InvoiceTooLargeError as error:
                raise Fault(ErrorCode.SIMULATION_TOO_LARGE, f"{name}: {error}") from None
            except TreeDoesNotFitError as error:
                metadata = {"scenario": name, "contract_id": error.contract_id}
                raise Fault(ErrorCode.SIMULATION_DOES_NOT_FIT, f"{name}: {error}", metadata) from None

    def results(
        self, comparison: Comparison, unfit_row_counts: Sequence[int], go_on: GoOn
    ) -> Iterator[wire.RunSimulationResponse]:
        """The last messages, each made as it is asked for."""
        customers = comparison.customers()
        in_message = max(limits.SIMULATED_LINES_IN_MESSAGE // len(self.names), 1)
        for first in range(0, len(customers.customer_ids), in_message):
            go_on()
            for stream in _streams(self._customers(customers.stretch(first, first + in_message)), go_on):
                yield wire.RunSimulationResponse(
                    simulation_id=self.simulation_id, customers=wire.SimulationCustomers(arrow=stream)
                )
        totals = wire.SimulationTotals(unfit_row_counts=unfit_row_counts)
        for each in comparison.totals(customers):

            def money(minor: int, currency: str = each.currency, digits: int = each.minor_digits) -> common_pb2.Money:
                return common_pb2.Money(quantity=format_money(minor, digits), currency=currency)

            totals.totals.add(
                scenario=self.names[each.terms_number],
                amount_excluding_tax=money(each.excluding_tax),
                amount_including_tax=money(each.excluding_tax + each.tax),
                difference_excluding_tax=money(each.difference),
                customer_count_more=each.more_count,
                customer_count_less=each.less_count,
                customer_count_same=each.same_count,
                customer_count_cheapest=each.cheapest_count,
            )
        yield wire.RunSimulationResponse(simulation_id=self.simulation_id, totals=totals)

    def _customers(self, customers: CustomerAmounts) -> pa.Table:
        count = len(self.names)
        digits = np.array([minor_digits(each) for each in customers.currencies], dtype=np.int64).repeat(count)

        def money(amounts: NDArray[Any]) -> pa.Array:
            return money_column(amounts.ravel(), digits)

        def by_row(texts: Sequence[str]) -> pa.Array:
            encoded = pa.array(texts, pa.string()).dictionary_encode()
            return pa.DictionaryArray.from_arrays(
                pa.array(encoded.indices.to_numpy().repeat(count)), encoded.dictionary
            )

        columns = [
            by_row(customers.customer_ids),
            by_row(customers.currencies),
            pa.DictionaryArray.from_arrays(
                pa.array(np.tile(np.arange(count, dtype=np.int32), len(customers.customer_ids))),
                pa.array(self.names, pa.string()),
            ),
            money(customers.excluding_tax),
            money(customers.tax),
            money(customers.excluding_tax + customers.tax),
            money(customers.difference),
            pa.array(customers.is_cheapest.ravel()),
        ]
        return pa.Table.from_arrays(columns, schema=CUSTOMERS_SCHEMA)


def prepare(
    request: wire.RunSimulationRequest,
    catalog: Catalog,
    table: ContractTable,
    book: UsageBook | None = None,
    uploaded: UsageFrame | None = None,
    go_on: GoOn = unasked,
    narrowed: Callable[[UsageFrame, ContractTable], UsageFrame] = lambda usage, _: usage,
) -> Simulation:
    """Reads and checks a request against a book's catalogue; `table` is that of its contracts. `uploaded` is
    usage that came before; without a book and without that, the request brings it. `go_on` is asked all along,
    and raises where nobody waits; `narrowed` takes some of the usage, given the baseline's table. Raises
    Fault.
    """
    _check_names(request.scenarios)
    billed = _billed(request)
    try:
        baseline = _changed(catalog, request.baseline, go_on) if request.HasField("baseline") else catalog
    except _NotValid as error:
        raise _scenario_invalid(BASELINE, error.faults, error.fault_count) from None
    table = contract_table(baseline.contracts, table, go_on)
    usage, usage_sequence = _usage(request, baseline, table, book, go_on) if uploaded is None else (uploaded, 0)
    planner = _planner(narrowed(usage, table), baseline, table, request.customer_ids, go_on)
    names, skipped = [BASELINE], []
    for scenario in request.scenarios:
        go_on()
        try:
            changed = _changed(baseline, scenario, go_on)
            try:
                planner.add(changed)
            except UsageFaultsError as error:
                raise _NotValid(_as_faults(error), error.fault_count) from None
            names.append(scenario.name)
        except _NotValid as error:
            if not request.skip_invalid_scenarios:
                raise _scenario_invalid(scenario.name, error.faults, error.fault_count) from None
            faults = [wire.ScenarioFault(field=each.path, message=each.message) for each in error.faults[:FAULTS_MAX]]
            skipped.append(wire.SkippedScenario(name=scenario.name, faults=faults))
    try:
        plan = planner.finish()
    except SimulationTooLargeError as error:
        raise Fault(ErrorCode.SIMULATION_TOO_LARGE, str(error)) from None
    writers = () if request.omit_charges else charges_writers(plan)
    simulation_id = f"sim_{secrets.token_hex(8)}"
    return Simulation(
        simulation_id, catalog.version, usage_sequence, plan, tuple(names), tuple(skipped), writers, billed
    )


def _billed(request: wire.RunSimulationRequest) -> BilledStretch | None:
    """The stretch of time that is billed whole. FIELD_INVALID."""
    if not request.HasField("billed_period"):
        return None
    period = request.billed_period
    start_us, end_us = (read_instant(period, name, "billed_period") for name in ("start_time", "end_time"))
    if end_us <= start_us:
        raise field_invalid("billed_period.end_time", "is not after the start")
    return BilledStretch(start_us, end_us, frozenset(request.customer_ids) or None)


def _usage(
    request: wire.RunSimulationRequest, baseline: Catalog, table: ContractTable, book: UsageBook | None, go_on: GoOn
) -> tuple[UsageFrame, int]:
    """The usage, and the committed sequence of what is stored of it; 0 where nothing is."""
    kind = request.WhichOneof("usage")
    if book is not None and kind == "recorded":
        return events_as_usage(request, baseline, table, book, go_on)
    if book is not None and kind == "determinants":
        return determinants_as_usage(request, baseline, table, book, go_on)
    return read_usage(request, go_on), 0


class _NotValid(Exception):
    def __init__(self, faults: Sequence[CatalogFault], fault_count: int) -> None:
        super().__init__(faults[0])
        self.faults = faults
        self.fault_count = fault_count


def _as_faults(error: UsageFaultsError) -> list[CatalogFault]:
    return [CatalogFault(each.field, each.message) for each in error.faults]


def _planner(
    usage: UsageFrame, catalog: Catalog, table: ContractTable, customer_ids: Sequence[str], go_on: GoOn
) -> Planner:
    try:
        return Planner(usage, catalog, table, customer_ids, go_on)
    except UsageFaultsError as error:
        raise usage_invalid(error.faults, error.fault_count) from None


def _scenario_invalid(name: str, faults: Sequence[CatalogFault], count: int) -> Fault:
    first = f"{count} faults, the first one: {faults[0]}" if count > 1 else str(faults[0])
    metadata = {"scenario": name, "fault_count": str(count)}
    return Fault(ErrorCode.SCENARIO_INVALID, f"{name}: {first}", metadata, fields_within_answer(faults))


def _check_names(scenarios: Sequence[wire.Scenario]) -> None:
    if len(scenarios) > limits.SCENARIOS_MAX:
        raise field_invalid("scenarios", f"are {len(scenarios)}, at most {limits.SCENARIOS_MAX} are possible")
    seen = {BASELINE}
    for number, scenario in enumerate(scenarios):
        field = f"scenarios[{number}].name"
        if not 1 <= len(scenario.name.encode()) <= limits.NAME_BYTES_MAX:
            raise field_invalid(field, f"has 1 to {limits.NAME_BYTES_MAX} bytes")
        if scenario.name in seen:
            raise field_invalid(field, f'"{scenario.name}" is taken: each name once, and "{BASELINE}" is the baseline')
        seen.add(scenario.name)


def _changed(catalog: Catalog, scenario: wire.Scenario, go_on: GoOn) -> Catalog:
    """A catalogue under the changes of a scenario. Raises _NotValid."""
    try:
        faults = Faults()
        if scenario.HasField("put") or scenario.HasField("remove"):
            change = read_change(scenario.put, scenario.remove, False, faults, go_on=go_on)
            catalog = apply_change(catalog, change, faults, go_on)
        if scenario.replace_plans:
            catalog = _with_other_plans(catalog, scenario.replace_plans, go_on)
        return catalog
    except CatalogInvalidError as error:
        raise _NotValid(error.faults, len(error.faults)) from None


def _with_other_plans(catalog: Catalog, plans: Mapping[str, str], go_on: GoOn) -> Catalog:
    """A catalogue whose product contracts have other plans, by id."""
    faults = Faults()
    for before, after in plans.items():
        for name in (before, after):
            if name not in catalog.plans:
                faults.add(f'replace_plans["{before}"]', f'no plan "{name}"')
    if found := faults.ordered():
        raise CatalogInvalidError(found)
    changed = [_replanned(each, plans) for each in asking(catalog.contracts.values(), go_on)]
    put = tuple(each for each in changed if each is not catalog.contracts[each.id])
    return apply_change(catalog, CatalogChange(CatalogObjects(contracts=put)), go_on=go_on)


def _replanned(contract: Contract, plans: Mapping[str, str]) -> Contract:
    """A contract with other plans, itself where it has none of them."""

    def changed(level: Contract) -> Contract:
        if not any(each.plan in plans for each in level.product_contracts):
            return level
        own = tuple(
            [
                with_fields(each, plan=plans[each.plan]) if each.plan in plans else each
                for each in level.product_contracts
            ]
        )
        return level if own == level.product_contracts else with_fields(level, product_contracts=own)

    return with_each_level(contract, changed)


def _streams(table: pa.Table, go_on: GoOn) -> Iterator[bytes]:
    """A table as Arrow streams of as many rows as a message may have."""
    for rows in stretches(table.num_rows, go_on, limits.SIMULATED_LINES_IN_MESSAGE):
        part = table.slice(rows.start, rows.stop - rows.start)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, part.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
            writer.write_table(part)
        yield sink.getvalue().to_pybytes()
