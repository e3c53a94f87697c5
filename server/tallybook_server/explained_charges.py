"""A charge of a simulation, explained: its simulation run again over the usage of its product contract alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tallybook.v1 import simulate_pb2 as wire
from tallybook_engine.catalog.compile import definition_of
from tallybook_engine.catalog.model import Catalog, Contract, Matrix, Plan, ProductContract
from tallybook_engine.contract.unopened import UnopenedLine, unopened_lines
from tallybook_engine.currencies import minor_digits
from tallybook_engine.decimals import AMOUNT_SCALE, QUANTITY_SCALE, format_decimal, format_money
from tallybook_engine.kernels.wide import from_limbs
from tallybook_engine.pricing.lines import price_lines
from tallybook_engine.simulation.explain import ExplainedPart, explain_line
from tallybook_engine.simulation.usage import UsageFrame
from tallybook_server.codec.instants import read_instant
from tallybook_server.codec.results import amount_line, timestamp
from tallybook_server.errors import ErrorCode, Fault, field_invalid
from tallybook_server.simulations import BASELINE, Simulation


@dataclass(frozen=True)
class WantedLine:
    """Which line is to be explained."""

    simulation: wire.RunSimulationRequest
    """With its one scenario, or none for the baseline, and of its customer alone."""
    product_contract_id: str
    cell_id: str
    period_start_us: int


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
    put = request.simulation.baseline.put.contracts
    # A contract that the baseline brings is read with the simulation.
    if not put:
        owner = _find(catalog, request.product_contract_id)
        if owner is None:
            raise field_invalid("product_contract_id", f'no product contract "{request.product_contract_id}"')
        simulation.customer_ids[:] = [owner[0].customer]
    return WantedLine(simulation, request.product_contract_id, request.cell_id, start_us)


def only(usage: UsageFrame, product_contract_id: str) -> UsageFrame:
    """The rows of one product contract."""
    if product_contract_id not in usage.contracts:
        return usage.taken(np.empty(0, dtype=np.int64))
    code = usage.contracts.index(product_contract_id)
    return usage.taken(np.flatnonzero(usage.contract_codes == code))


def explain(simulation: Simulation, wanted: WantedLine) -> wire.ExplainSimulatedChargeResponse:
    """The line, explained. CHARGE_NOT_FOUND where the simulation has none."""
    number = len(simulation.plan.terms) - 1
    terms = simulation.plan.terms[number]
    for piece in simulation.plan.pieces:
        lines = simulation.run(piece, lambda: None)[0][number]
        found = _find(terms.catalog, wanted.product_contract_id)
        assert found is not None
        plan = terms.catalog.plans[found[1].plan]
        cell = _cell(plan, wanted.cell_id)
        starts = simulation.plan.calendars.billing_start_us[lines.billing]
        at = np.flatnonzero((lines.cell == cell) & (starts == wanted.period_start_us))
        if cell < 0 or not len(at):
            continue
        parts = explain_line(simulation.plan, terms, piece, int(lines.subject[at[0]]), cell, wanted.period_start_us)
        digits, row = minor_digits(plan.currency), int(at[0])
        return wire.ExplainSimulatedChargeResponse(
            plan_id=plan.id,
            cell_id=wanted.cell_id,
            currency=plan.currency,
            exact_amount=format_decimal(from_limbs(*lines.lines.exact[row]), AMOUNT_SCALE),
            amount=format_money(int(lines.lines.amount[row]), digits),
            tax_amount=format_money(int(lines.lines.tax[row]), digits),
            parts=map(_part, parts),
        )
    unopened = _unopened(terms.catalog, wanted)
    if unopened is not None:
        digits = unopened.definition.minor_digits
        part = ExplainedPart(unopened.start_us, 0, 0, tuple(price_lines(unopened.price, 0)))
        return wire.ExplainSimulatedChargeResponse(
            plan_id=unopened.definition.plan_id,
            cell_id=wanted.cell_id,
            currency=unopened.definition.currency,
            exact_amount=format_decimal(unopened.exact, AMOUNT_SCALE),
            amount=format_money(unopened.amount, digits),
            tax_amount=format_money(unopened.tax_amount, digits),
            parts=[_part(part)],
        )
    raise Fault(
        ErrorCode.CHARGE_NOT_FOUND,
        f"the simulation has no charge of product contract {wanted.product_contract_id!r}, cell {wanted.cell_id!r}, "
        "in a billing period that starts then",
    )


def _find(catalog: Catalog, product_contract_id: str) -> tuple[Contract, ProductContract] | None:
    """(root contract, product contract) of an id."""
    for root in catalog.contracts.values():
        for *_, contract in root.levels():
            for each in contract.product_contracts:
                if each.id == product_contract_id:
                    return root, each
    return None


def _unopened(catalog: Catalog, wanted: WantedLine) -> UnopenedLine | None:
    """The line as it is without usage, where it costs something then."""
    taxes = {each.country_code: each for each in catalog.taxes.values()}
    for root in catalog.contracts.values():
        for path in root.levels():
            for each in path[-1].product_contracts:
                if each.id == wanted.product_contract_id:
                    definition = definition_of(catalog, taxes, path, each)
                    start_us = wanted.period_start_us
                    lines = unopened_lines(definition, start_us, start_us + 1, lambda *_: False)
                    return next(
                        (
                            line
                            for line in lines
                            if line.start_us == start_us and definition.cells[line.cell].id == wanted.cell_id
                        ),
                        None,
                    )
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
