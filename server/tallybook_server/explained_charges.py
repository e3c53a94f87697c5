"""A charge of a simulation, explained: its simulation run again over the usage of its customer alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tallybook.v1 import simulate_pb2 as wire
from tallybook_engine.asking import GoOn, unasked
from tallybook_engine.catalog.model import Catalog, Contract, Matrix, Plan, ProductContract
from tallybook_engine.currencies import minor_digits
from tallybook_engine.decimals import AMOUNT_SCALE, QUANTITY_SCALE, format_decimal, format_money
from tallybook_engine.kernels.wide import from_limbs
from tallybook_engine.pricing.lines import price_lines
from tallybook_engine.simulation.contracts import ContractTable
from tallybook_engine.simulation.explain import ExplainedPart, explain_line
from tallybook_engine.simulation.explained_levels import ExplainedLevel, explain_tree
from tallybook_engine.simulation.usage import UsageFrame
from tallybook_server.codec.instants import read_instant
from tallybook_server.codec.results import amount_line, timestamp
from tallybook_server.errors import ErrorCode, Fault, field_invalid
from tallybook_server.invoices import invoice_level, invoice_line
from tallybook_server.simulations import BASELINE, Simulation


@dataclass(frozen=True)
class WantedLine:
    """Which line is to be explained."""

    simulation: wire.RunSimulationRequest
    """With its one scenario, or none for the baseline."""
    product_contract_id: str
    cell_id: str
    period_start_us: int
    is_narrow: bool
    """Whether the usage of its customer is enough."""


def read_wanted(request: wire.ExplainSimulatedChargeRequest, catalog: Catalog) -> WantedLine:
    """What is asked for. FIELD_INVALID where the scenario or the product contract is not there."""
    simulation = wire.RunSimulationRequest()
    simulation.CopyFrom(request.simulation)
    del simulation.scenarios[:]
    name = request.scenario or BASELINE
    if name != BASELINE:
        scenarios = [each for each in request.simulation.scenarios if each.name == name]
        if not scenarios:
            raise field_invalid("scenario", f"{name!r} is not one of the simulation")
        simulation.scenarios.append(scenarios[0])
    simulation.omit_charges, simulation.skip_invalid_scenarios = True, False
    start_us = read_instant(request, "period_start_time", "request")
    # A contract that the baseline brings is read with the simulation; one of the scenario may be another customer's.
    is_narrow = not any(each.put.contracts for each in simulation.scenarios)
    if is_narrow and not simulation.baseline.put.contracts:
        owner = _find(catalog, request.product_contract_id)
        if owner is None:
            raise field_invalid("product_contract_id", f'no product contract "{request.product_contract_id}"')
        simulation.customer_ids[:] = [owner[0].customer]
    return WantedLine(simulation, request.product_contract_id, request.cell_id, start_us, is_narrow)


def of_customer(usage: UsageFrame, table: ContractTable, product_contract_id: str) -> UsageFrame:
    """The rows of the customer of a product contract: its tree is settled as a whole. `table` is the baseline's."""
    row = table.rows.get(product_contract_id)
    if row is None:
        return usage.taken(np.empty(0, dtype=np.int64))
    customer = list(table.customers)[table.customer[row]]
    names = {table.paths[each][-1] for each in table.of_customers({customer}).tolist()}
    # The last one is what -1 reads, in a row without a product contract.
    wanted = np.array([*(each in names for each in usage.contracts), False], dtype=np.bool_)
    return usage.taken(np.flatnonzero(wanted[usage.contract_codes]))


def explain(simulation: Simulation, wanted: WantedLine, go_on: GoOn = unasked) -> wire.ExplainSimulatedChargeResponse:
    """The line, explained. CHARGE_NOT_FOUND where the simulation has none."""
    plan, number = simulation.plan, len(simulation.names) - 1
    terms = plan.terms[number]
    found = [simulation.run(piece, go_on)[0][number] for piece in plan.pieces]
    owner = _find(terms.catalog, wanted.product_contract_id)
    if owner is None:
        raise _not_found(wanted)
    price_plan = terms.catalog.plans[owner[1].plan]
    subject = plan.subjects.index(owner[1].id) if owner[1].id in plan.subjects else -1
    cell, digits = _cell(price_plan, wanted.cell_id), minor_digits(price_plan.currency)
    tree = explain_tree(plan, terms, found, owner[0].id, simulation.billed, go_on)

    def response(
        path: Sequence[str], end_us: int, exact: int, amount: int, tax_amount: int, parts: Iterable[ExplainedPart]
    ) -> wire.ExplainSimulatedChargeResponse:
        return wire.ExplainSimulatedChargeResponse(
            plan_id=price_plan.id,
            cell_id=wanted.cell_id,
            currency=price_plan.currency,
            exact_amount=format_decimal(exact, AMOUNT_SCALE),
            amount=format_money(amount, digits),
            tax_amount=format_money(tax_amount, digits),
            parts=map(_part, parts),
            levels=[_level(each, (price_plan.currency, digits)) for each in tree.levels(path, end_us)],
        )

    for piece, lines in zip(plan.pieces, found, strict=True):
        starts = plan.calendars.billing_start_us[lines.billing]
        is_wanted = (lines.subject == subject) & (lines.cell == cell) & (starts == wanted.period_start_us)
        for row in np.flatnonzero(is_wanted).tolist():
            return response(
                terms.table.paths[terms.row[subject]],
                int(plan.calendars.billing_end_us[lines.billing[row]]),
                from_limbs(*lines.lines.exact[row]),
                int(lines.lines.amount[row]),
                int(lines.lines.tax[row]),
                explain_line(plan, terms, piece, subject, cell, wanted.period_start_us, go_on),
            )
    for line in tree.unopened:
        of = line.definition
        if (of.product_contract_id, line.cell, line.start_us) == (owner[1].id, cell, wanted.period_start_us):
            # What its accumulation periods cost at quantity 0.
            parts = [ExplainedPart(part.start_us, 0, 0, tuple(price_lines(part.price, 0))) for part in line.parts]
            return response(of.contract_path, line.end_us, line.exact, line.amount, line.tax_amount, parts)
    raise _not_found(wanted)


def _not_found(wanted: WantedLine) -> Fault:
    return Fault(
        ErrorCode.CHARGE_NOT_FOUND,
        f"the simulation has no charge of product contract {wanted.product_contract_id!r}, cell {wanted.cell_id!r}, "
        "in a billing period that starts then",
    )


def _level(each: ExplainedLevel, currency: tuple[str, int]) -> wire.ExplainedLevel:
    return wire.ExplainedLevel(
        level=invoice_level(each.level, currency), lines=[invoice_line(line, currency) for line in each.lines]
    )


def _find(catalog: Catalog, product_contract_id: str) -> tuple[Contract, ProductContract] | None:
    """(root contract, product contract) of an id."""
    for root in catalog.contracts.values():
        for *_, contract in root.levels():
            for each in contract.product_contracts:
                if each.id == product_contract_id:
                    return root, each
    return None


def _cell(plan: Plan, cell_id: str) -> int:
    """Which cell of a plan has an id; -1: none."""
    ids = [rule.id for rule in plan.price.rules] if isinstance(plan.price, Matrix) else [""]
    return ids.index(cell_id) if cell_id in ids else -1


def _part(part: ExplainedPart) -> wire.ExplainedPart:
    return wire.ExplainedPart(
        accumulation_start_time=timestamp(part.start_us),
        quantity_before=format_decimal(part.quantity_before, QUANTITY_SCALE),
        quantity_after=format_decimal(part.quantity_after, QUANTITY_SCALE),
        lines=map(amount_line, part.lines),
    )
