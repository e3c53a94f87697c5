"""Opening what an event falls into: its accumulation period (pinned), account, part and charge line.

A (product contract, accumulation period) is pinned to the catalogue version in force at its opening. A period never
reaches into one that an earlier version opened. Where a version splits it (`ledger/split`), its next stretch opens like
a period and takes its quantity on. The first part of an account opens with the account where the plan
costs something at quantity 0, so that the line's OPEN posting stands in the first billing period.

A line opens whole: with it open all accounts whose first part lies in its billing period and that cost something at
quantity 0, whether or not an event comes to them. So its value with no events is never that of some weeks of a month.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from tallybook_engine.aggregation.max import NO_EVENT
from tallybook_engine.catalog.compile import AGGREGATION_CODES, Definition
from tallybook_engine.catalog.model import Aggregation
from tallybook_engine.decimals import AMOUNT_LIMIT
from tallybook_engine.kernels.wide import from_limbs, to_limbs
from tallybook_engine.ledger.state import LineIdentity, LineOrigin, Opening, State
from tallybook_engine.pricing.model import NoPrice, Price
from tallybook_engine.pricing.price import price
from tallybook_engine.rating.rounding import round_to_minor
from tallybook_engine.rating.tax import tax_of

EMPTY_QUANTITIES = {
    aggregation: np.array(to_limbs(NO_EVENT if aggregation is Aggregation.MAX else 0, 2), dtype=np.uint64)
    for aggregation in Aggregation
}
"""[2] quantity of a part without events, scale 12."""


class OpeningDoesNotFit(Exception):
    """A line would leave the limits when it opens, without any event; nothing was opened."""


class Mark(NamedTuple):
    """How much is open at a moment: counts of each table."""

    parts: int
    accounts: int
    periods: int
    lines: int
    slots: int


def open_part(state: State, definition_index: int, cell: int, time_us: int, version: int) -> list[Opening]:
    """Opens the part of a definition's cell that holds an instant, if it is not open yet.

    `version` is what a new period is pinned to. Answers the openings made, oldest first. Raises OpeningDoesNotFit.
    """
    definition = state.pools.definitions[definition_index]
    charge = state.pools.charges.index[definition.product_contract_id]
    before = mark(state)
    period = _period(state, charge, time_us)
    if period < 0:
        period = _open_period(state, charge, definition_index, definition, time_us, version)
    made: list[Opening] = []
    try:
        account = _opened_account(state, period, cell, made)
        if _part(state, account, time_us) < 0:
            made.append(_open_part(state, account, time_us, value_at_open=False))
        for opening in tuple(made):
            _open_whole(state, opening, made)
    except OverflowError as error:
        close_after(state, before)
        raise OpeningDoesNotFit(str(error)) from error
    return made


def open_whole_again(state: State, lines: Iterable[int]) -> None:
    """Opens under the current version what lines have lost with retired periods, where other periods keep them open.

    Raises OpeningDoesNotFit; the caller takes back what was opened until then.
    """
    retired = state.retired_periods()
    try:
        for line in lines:
            standing = (state.openings[part] for part in state.parts_of_line[line])
            opening = next((each for each in standing if each.period not in retired), None)
            if opening is not None:
                _open_whole(state, opening, [])
    except OverflowError as error:
        raise OpeningDoesNotFit(str(error)) from error


def _open_whole(state: State, opening: Opening, made: list[Opening]) -> None:
    """Opens all accounts that are due without events on the line of a part that opened."""
    definition_index = int(state.periods.arrays.definition[opening.period])
    definition = state.pools.definitions[definition_index]
    bounds = opening.billing_start_us, opening.billing_end_us
    identity = _line_identity(state, definition, opening.cell, bounds)
    for due_index, cell, time_us in _due_on(state, identity, definition_index, opening.cell):
        period = _period(state, opening.charge, time_us)
        if period < 0:
            due = state.pools.definitions[due_index]
            period = _open_period(state, opening.charge, due_index, due, time_us, state.current.version)
        _opened_account(state, period, cell, made)


def _due_on(state: State, identity: LineIdentity, definition_index: int, cell: int) -> Iterator[tuple[int, int, int]]:
    """(definition, cell, first instant) of the accounts that are not open and are worth something on a line without
    events: those whose first part lies in its billing period.

    `definition_index` and `cell` are what the line is of; an accumulation period of it may be pinned to another
    definition, and one that is not pinned yet opens under the current one.
    """
    current = state.current.current_definitions.get(identity.charge, -1)
    pinned = _pinned_in(state, identity)
    cells = {definition_index: cell}
    for index in {current, *(int(state.periods.arrays.definition[period]) for period in pinned)} - {-1, *cells}:
        cells[index] = _billed_cell(state, index, identity.cell_id)
    if not any(each >= 0 and _may_be_due(state, index, each) for index, each in cells.items()):
        return
    at_us = identity.period_start_us
    periods = state.periods.arrays
    while at_us < identity.period_end_us:
        period = _period(state, identity.charge, at_us)
        if period >= 0:
            index, version = int(periods.definition[period]), int(periods.version[period])
            start_us, next_us = int(periods.start_us[period]), int(periods.end_us[period])
            whole = state.whole_period(period)
            goes_on = _cell_before(state, period, identity.cell_id) is not None
            is_open = cells[index] >= 0 and _account(state, period, cells[index]) >= 0
        else:
            later, _ = _neighbours(state, identity.charge, at_us)
            later_us = identity.period_end_us if later < 0 else int(periods.start_us[later])
            index, version, is_open = current, state.current.version, False
            if current < 0:
                at_us = later_us
                continue
            definition = state.pools.definitions[current]
            if not definition.start_us <= at_us < definition.end_us:
                at_us = min(definition.start_us, later_us) if at_us < definition.start_us else later_us
                continue
            whole = _whole(state, identity.charge, definition, at_us)
            before = _stretch_before(state, identity.charge, definition, at_us)
            start_us = whole[0] if before < 0 else int(periods.end_us[before])
            goes_on = before >= 0 and _cell_in(state, before, identity.cell_id) is not None
            next_us = whole[1] if later < 0 else min(whole[1], later_us)
        definition, own = state.pools.definitions[index], cells[index]
        at_us, first_us = next_us, max(start_us, definition.start_us)
        if own < 0 or is_open or goes_on:
            continue
        bounds = _line_bounds(state, definition, version, start_us, first_us)
        on_line = _line_identity(state, definition, own, bounds) == identity
        if on_line and _price_of_nothing(state, _price_index(state, index, own, whole)) != 0:
            yield index, own, first_us


def _pinned_in(state: State, identity: LineIdentity) -> list[int]:
    """The periods of a line's charge that touch its billing period."""
    found, periods = [], state.periods.arrays
    period = state.newest_period_of(identity.charge)
    while period >= 0 and periods.end_us[period] > identity.period_start_us:
        if periods.start_us[period] < identity.period_end_us:
            found.append(period)
        period = int(periods.earlier[period])
    return found


def _billed_cell(state: State, definition_index: int, cell_id: str) -> int:
    """Which cell of a definition has an id and is billed; -1: none."""
    cells = state.pools.definitions[definition_index].cells
    return next((index for index, cell in enumerate(cells) if cell.id == cell_id and cell.billed), -1)


def _may_be_due(state: State, definition_index: int, cell: int) -> bool:
    """Whether a cell may cost something at quantity 0 in some accumulation period."""
    if state.pools.definitions[definition_index].cells[cell].price.prorates:
        return True
    at = state.pools.definition_table.cell_start[definition_index] + cell
    return _price_of_nothing(state, int(state.pools.cell_table.price[at])) != 0


def _opened_account(state: State, period: int, cell: int, made: list[Opening]) -> int:
    """The account of a cell, opened where it is not open; where it goes on from a stretch before, that one's first.

    An account that another goes on from has a part, so that there is a quantity to go on from.
    """
    account = _account(state, period, cell)
    if account >= 0:
        return account
    before = _cell_before(state, period, _cell_id(state, period, cell))
    if before is not None:
        earlier = _opened_account(state, *before, made)
        if state.accounts.arrays.last_part[earlier] < 0:
            made.append(_open_part(state, earlier, _first_instant(state, before[0]), value_at_open=False))
    account = _open_account(state, period, cell)
    if before is None and _price_of_nothing(state, int(state.accounts.arrays.price[account])) != 0:
        made.append(_open_part(state, account, _first_instant(state, period), value_at_open=True))
    return account


def _first_instant(state: State, period: int) -> int:
    """The first instant at which a period's charge is active."""
    definition = state.pools.definitions[int(state.periods.arrays.definition[period])]
    return max(int(state.periods.arrays.start_us[period]), definition.start_us)


def _cell_id(state: State, period: int, cell: int) -> str:
    return state.pools.definitions[int(state.periods.arrays.definition[period])].cells[cell].id


def _cell_before(state: State, period: int, cell_id: str) -> tuple[int, int] | None:
    """(period, cell) of the same cell in the last stretch before a period that bills it."""
    before = state.continues.get(period)
    return None if before is None else _cell_in(state, before, cell_id)


def _cell_in(state: State, period: int, cell_id: str) -> tuple[int, int] | None:
    """(period, cell) of a cell in a period, or else in the last stretch before it that bills the cell."""
    definition = state.pools.definitions[int(state.periods.arrays.definition[period])]
    for index, cell in enumerate(definition.cells):
        if cell.id == cell_id and cell.billed:
            return period, index
    return _cell_before(state, period, cell_id)


def opens_with_value(state: State, definition_index: int, cell: int, time_us: int) -> bool:
    """Whether `open_part` may open something that is worth something without events, so that it moves a line."""
    charge = int(state.pools.definition_table.charge[definition_index])
    definition = state.pools.definitions[definition_index]
    cell_id = definition.cells[cell].id
    period = _period(state, charge, time_us)
    if period >= 0:
        start_us, version = int(state.periods.arrays.start_us[period]), int(state.periods.arrays.version[period])
        whole, is_open = state.whole_period(period), _account(state, period, cell) >= 0
        before = _cell_before(state, period, cell_id)
    else:
        whole, is_open, version = _whole(state, charge, definition, time_us), False, state.current.version
        earlier = _stretch_before(state, charge, definition, time_us)
        start_us = whole[0] if earlier < 0 else int(state.periods.arrays.end_us[earlier])
        before = None if earlier < 0 else _cell_in(state, earlier, cell_id)
    if not is_open:
        # Stretches before, to which nothing came, open with it, each on a line of its own.
        if before is not None and _account(state, *before) < 0:
            return True
        if before is None and _price_of_nothing(state, _price_index(state, definition_index, cell, whole)) != 0:
            return True
    bounds = _line_bounds(state, definition, version, start_us, time_us)
    identity = _line_identity(state, definition, cell, bounds)
    return any(True for _ in _due_on(state, identity, definition_index, cell))


def price_at(state: State, account: int, quantity: int) -> int:
    """F of an account's plan at a quantity of scale 12; scale 24. The catalogue bounds it at quantity 0."""
    return _price(state, int(state.accounts.arrays.price[account]), quantity)


def _price(state: State, price_index: int, quantity: int) -> int:
    ok, *exact = price(state.pools.prices.tables, price_index, *to_limbs(quantity, 2))
    if not ok:
        raise OverflowError(f"price {price_index} at {quantity} does not fit")
    return from_limbs(*exact)


def _price_of_nothing(state: State, price_index: int) -> int:
    """F at quantity 0; scale 24."""
    if price_index not in state.prices_of_nothing:
        state.prices_of_nothing[price_index] = _price(state, price_index, 0)
    return state.prices_of_nothing[price_index]


def _price_index(state: State, definition_index: int, cell: int, period: tuple[int, int]) -> int:
    """The price of a definition's cell in an accumulation period (start, end), which may be one of its own."""
    definition = state.pools.definitions[definition_index]
    if definition.cells[cell].price.prorates:
        return state.pools.prices.add(definition.price_in(cell, *period))
    return int(state.pools.cell_table.price[state.pools.definition_table.cell_start[definition_index] + cell])


def _period(state: State, charge: int, time_us: int) -> int:
    period = state.newest_period_of(charge)
    periods = state.periods.arrays
    while period >= 0 and periods.start_us[period] > time_us:
        period = int(periods.earlier[period])
    return period if period >= 0 and time_us < periods.end_us[period] else -1


def _open_period(
    state: State, charge: int, definition_index: int, definition: Definition, time_us: int, version: int
) -> int:
    whole = _whole(state, charge, definition, time_us)
    return _append_period(state, charge, definition_index, version, *whole)


def _whole(state: State, charge: int, definition: Definition, time_us: int) -> tuple[int, int]:
    """The accumulation period that a period would be of, or be a stretch of, that is opened at an instant."""
    before = _stretch_before(state, charge, definition, time_us)
    if before >= 0:
        return state.whole_period(before)
    start_us, end_us = state.recent_periods.at(
        definition.accumulation_frequency, definition.anchor, definition.time_zone, time_us
    )
    later, earlier = _neighbours(state, charge, time_us)
    periods = state.periods.arrays
    if earlier >= 0:
        start_us = max(start_us, int(periods.end_us[earlier]))
    if later >= 0:
        end_us = min(end_us, int(periods.start_us[later]))
    return start_us, end_us


def _stretch_before(state: State, charge: int, definition: Definition, time_us: int) -> int:
    """The last stretch of the accumulation period that was split before an instant, if what a charge means by now can
    go on from it; -1 otherwise."""
    _, earlier = _neighbours(state, charge, time_us)
    if earlier < 0 or time_us >= state.whole_period(earlier)[1]:
        return -1
    pinned = state.pools.definitions[int(state.periods.arrays.definition[earlier])]
    return earlier if definition.goes_on_from(pinned) else -1


def _append_period(state: State, charge: int, definition_index: int, version: int, start_us: int, end_us: int) -> int:
    """Opens an accumulation period, or its next stretch where there is one already."""
    periods = state.periods.arrays
    before = state.newest_period_of(charge)
    while before >= 0 and state.whole_period(before)[0] > start_us:
        before = int(periods.earlier[before])
    whole = start_us, end_us
    goes_on = before >= 0 and state.whole_period(before)[0] == start_us
    if goes_on:
        start_us = int(periods.end_us[before])
    later, earlier = _neighbours(state, charge, start_us)
    end_us = state.stretch_end(version, definition_index, start_us, end_us)
    if later >= 0:
        end_us = min(end_us, int(periods.start_us[later]))
    slots = len(state.cell_slots)
    for _ in state.pools.definitions[definition_index].cells:
        state.cell_slots.append(-1)
    period = state.periods.append(definition_index, start_us, end_us, earlier, version, slots)
    if goes_on:
        state.continues[period] = before
    if (start_us, end_us) != whole:
        state.whole[period] = whole
    link_period(state, charge, period, later)
    return period


def link_period(state: State, charge: int, period: int, later: int) -> None:
    """Puts a period into its charge's list, behind the one that follows it in time (-1: it is the newest)."""
    if later >= 0:
        state.periods.arrays.earlier[later] = period
    else:
        state.newest_period[charge] = period


def _neighbours(state: State, charge: int, time_us: int) -> tuple[int, int]:
    """The periods of a charge right after and right before an instant that none holds; -1 where there is none."""
    later, period = -1, state.newest_period_of(charge)
    periods = state.periods.arrays
    while period >= 0 and periods.start_us[period] > time_us:
        later, period = period, int(periods.earlier[period])
    return later, period


def _account(state: State, period: int, cell: int) -> int:
    return int(state.cell_slots.arrays.account[state.periods.arrays.account_start[period] + cell])


def _open_account(state: State, period: int, cell: int) -> int:
    definition_index = int(state.periods.arrays.definition[period])
    definition = state.pools.definitions[definition_index]
    price_index = _price_index(state, definition_index, cell, state.whole_period(period))
    account = state.accounts.append(period, cell, price_index, AGGREGATION_CODES[definition.aggregation], -1)
    state.cell_slots.arrays.account[state.periods.arrays.account_start[period] + cell] = account
    return account


def _part(state: State, account: int, time_us: int) -> int:
    part, parts = int(state.accounts.arrays.last_part[account]), state.parts.arrays
    while part >= 0 and parts.start_us[part] > time_us:
        part = int(parts.earlier[part])
    return part if part >= 0 and time_us < parts.end_us[part] else -1


def _open_part(state: State, account: int, time_us: int, *, value_at_open: bool) -> Opening:
    period, cell = int(state.accounts.arrays.period[account]), int(state.accounts.arrays.cell[account])
    definition_index = int(state.periods.arrays.definition[period])
    definition = state.pools.definitions[definition_index]
    version = int(state.periods.arrays.version[period])
    charge = state.pools.charges.index[definition.product_contract_id]
    period_start_us = int(state.periods.arrays.start_us[period])
    billing_start_us, billing_end_us = _line_bounds(state, definition, version, period_start_us, time_us)
    line = _line(state, definition_index, definition, cell, billing_start_us, billing_end_us, version)
    exact = _price_of_nothing(state, int(state.accounts.arrays.price[account])) if value_at_open else 0
    amount, tax = _moved(state, line, exact) if exact else (0, 0)
    whole_start_us, whole_end_us = state.whole_period(period)
    opening = Opening(
        part=len(state.parts),
        line=line,
        account=account,
        period=period,
        charge=charge,
        cell=cell,
        version=version,
        period_start_us=whole_start_us,
        period_end_us=whole_end_us,
        billing_start_us=billing_start_us,
        billing_end_us=billing_end_us,
        amount=amount,
        exact=exact,
        tax=tax,
    )
    add_part(state, opening, priced=True)
    return opening


def _line_bounds(
    state: State, definition: Definition, version: int, period_start_us: int, time_us: int
) -> tuple[int, int]:
    """(start, end) of the line of the part that holds an instant, in a period that is pinned to a version."""
    start_us, end_us = state.recent_periods.at(
        definition.billing_frequency, definition.anchor, definition.time_zone, time_us
    )
    charge = state.pools.charges.index[definition.product_contract_id]
    return state.line_start(version, charge, max(period_start_us, start_us), start_us), end_us


def _line_identity(state: State, definition: Definition, cell: int, bounds: tuple[int, int]) -> LineIdentity:
    return LineIdentity(
        charge=state.pools.charges.index[definition.product_contract_id],
        cell_id=definition.cells[cell].id,
        period_start_us=bounds[0],
        period_end_us=bounds[1],
        currency=definition.currency,
        half_even=definition.half_even,
        tax_rule=state.pools.taxes.add(definition.tax),
    )


def _line(
    state: State,
    definition_index: int,
    definition: Definition,
    cell: int,
    billing_start_us: int,
    billing_end_us: int,
    version: int,
) -> int:
    identity = _line_identity(state, definition, cell, (billing_start_us, billing_end_us))
    known = state.line_by_identity.get(identity)
    if known is not None:
        return known
    line = state.lines.append(
        0,
        0,
        0,
        definition.minor_digits,
        definition.half_even,
        identity.tax_rule,
        state.pools.currencies.add(definition.currency),
        definition.tax_inclusive,
    )
    state.line_by_identity[identity] = line
    state.line_origins.append(LineOrigin(definition_index, cell, billing_start_us, billing_end_us, version))
    state.lines_of_customer.setdefault(definition.customer_id, []).append(line)
    state.parts_of_line.append([])
    return line


def _moved(state: State, line: int, exact: int) -> tuple[int, int]:
    """How a line's rounded amount and tax move when its exact amount moves; the exact amount is not changed."""
    lines = state.lines.arrays
    after = from_limbs(*lines.exact[line]) + exact
    if abs(after) >= AMOUNT_LIMIT:
        raise OverflowError(f"line {line} does not fit when it opens")
    fits, amount = round_to_minor(*to_limbs(after, 3), lines.minor_digits[line], lines.half_even[line])
    taxed, tax = tax_of(state.pools.taxes.tables, lines.tax_rule[line], amount)
    moved, moved_tax = int(amount) - int(lines.amount[line]), int(tax) - int(lines.tax[line])
    if not (fits and taxed and -(2**63) <= moved < 2**63 and -(2**63) <= moved_tax < 2**63):
        raise OverflowError(f"line {line} does not fit when it opens")
    return moved, moved_tax


def add_part(state: State, opening: Opening, *, priced: bool) -> None:
    """Puts an opened part into its account's chain and its OPEN posting on its line.

    `priced`: the price at its start is computed; else that is left to `fold.settle`. Raises OverflowError where that
    price does not fit; nothing has changed then.
    """
    definition = state.pools.definitions[int(state.periods.arrays.definition[opening.period])]
    start_us = max(int(state.periods.arrays.start_us[opening.period]), opening.billing_start_us)
    end_us = min(int(state.periods.arrays.end_us[opening.period]), opening.billing_end_us)
    parts, earlier = state.parts.arrays, int(state.accounts.arrays.last_part[opening.account])
    before = _cell_before(state, opening.period, _cell_id(state, opening.period, opening.cell))
    if earlier < 0 and before is not None:
        earlier = int(state.accounts.arrays.last_part[_account(state, *before)])
    later = int(parts.later[earlier]) if earlier >= 0 else -1
    while earlier >= 0 and parts.start_us[earlier] > start_us:
        later, earlier = earlier, int(parts.earlier[earlier])
    quantity = parts.quantity[earlier] if earlier >= 0 else EMPTY_QUANTITIES[definition.aggregation]
    base = price_at(state, opening.account, from_limbs(*quantity)) if priced and earlier >= 0 else 0
    part = state.parts.append(
        opening.account,
        opening.line,
        start_us,
        end_us,
        quantity,
        to_limbs(base, 3) if base else 0,
        to_limbs(opening.exact, 3) if opening.exact else 0,
        earlier,
        later,
    )
    assert part == opening.part
    _relink(state, opening.account, earlier, later, part, part)
    if opening.exact:
        _post_opening(state, opening, +1)
    state.openings.append(opening)
    state.parts_of_line[opening.line].append(part)


def _relink(state: State, account: int, earlier: int, later: int, part_of_earlier: int, part_of_later: int) -> None:
    if earlier >= 0:
        state.parts.arrays.later[earlier] = part_of_earlier
    if later >= 0:
        state.parts.arrays.earlier[later] = part_of_later
    if later < 0 or state.parts.arrays.account[later] != account:
        # The stretch before may end the chain, but not this account.
        mine = part_of_later >= 0 and state.parts.arrays.account[part_of_later] == account
        state.accounts.arrays.last_part[account] = part_of_later if mine else -1


def _post_opening(state: State, opening: Opening, sign: int) -> None:
    lines = state.lines.arrays
    lines.exact[opening.line] = to_limbs(from_limbs(*lines.exact[opening.line]) + sign * opening.exact, 3)
    lines.amount[opening.line] += sign * opening.amount
    lines.tax[opening.line] += sign * opening.tax


def restore_around(state: State, opening: Opening) -> None:
    """Opens again what a recorded part stands on, with the numbers that were recorded."""
    if opening.period == len(state.periods):
        definition_index = state.definition_of_charge(opening.version, opening.charge)
        bounds = opening.period_start_us, opening.period_end_us
        _append_period(state, opening.charge, definition_index, opening.version, *bounds)
    if opening.account == len(state.accounts):
        _open_account(state, opening.period, opening.cell)
    if opening.line == len(state.lines):
        definition_index = int(state.periods.arrays.definition[opening.period])
        _line(
            state,
            definition_index,
            state.pools.definitions[definition_index],
            opening.cell,
            opening.billing_start_us,
            opening.billing_end_us,
            opening.version,
        )


def retire_period(state: State, period: int) -> list[tuple[int, int]]:
    """Takes a pinned period out of its charge's list: its accounts are worth nothing from now on.

    Answers (account, price before) of its accounts, with which `revive_period` puts it back. The caller posts the
    accounts' parts down to nothing.
    """
    state.retirements.append((len(state.openings), _retirement(state, period)))
    _unlink_period(state, period)
    definition = state.pools.definitions[int(state.periods.arrays.definition[period])]
    start = int(state.periods.arrays.account_start[period])
    before = []
    for account in state.cell_slots.arrays.account[start : start + len(definition.cells)]:
        if account >= 0:
            before.append((int(account), int(state.accounts.arrays.price[account])))
            state.accounts.arrays.price[account] = state.pools.prices.add(Price(NoPrice()))
    return before


def revive_period(state: State, period: int, accounts: list[tuple[int, int]]) -> None:
    """The reverse of `retire_period`; periods are revived in the reverse order."""
    state.retirements.pop()
    for account, price_index in accounts:
        state.accounts.arrays.price[account] = price_index
    charge = int(state.pools.definition_table.charge[state.periods.arrays.definition[period]])
    later, earlier = _neighbours(state, charge, int(state.periods.arrays.start_us[period]))
    state.periods.arrays.earlier[period] = earlier
    link_period(state, charge, period, later)


def _retirement(state: State, period: int) -> Opening:
    """The journal's word for a retired period: an opening of no part."""
    periods = state.periods.arrays
    charge = int(state.pools.definition_table.charge[periods.definition[period]])
    start_us, end_us = state.whole_period(period)
    version = int(periods.version[period])
    return Opening(-1, -1, -1, period, charge, -1, version, start_us, end_us, start_us, end_us, 0, 0, 0)


def restore_openings(state: State, openings: Iterable[Opening]) -> None:
    """Opens and retires again what was recorded, in order."""
    for opening in openings:
        if opening.part < 0:
            retire_period(state, opening.period)
            continue
        restore_around(state, opening)
        add_part(state, opening, priced=False)


def mark(state: State) -> Mark:
    """Remembers how much is open."""
    return Mark(len(state.parts), len(state.accounts), len(state.periods), len(state.lines), len(state.cell_slots))


def close_after(state: State, earlier: Mark) -> None:
    """Takes back every opening made since a mark; their parts must hold no postings any more."""
    while len(state.openings) > earlier.parts:
        opening = state.openings.pop()
        state.parts_of_line[opening.line].pop()
        if opening.exact:
            _post_opening(state, opening, -1)
        parts = state.parts.arrays
        before, after = int(parts.earlier[opening.part]), int(parts.later[opening.part])
        _relink(state, opening.account, before, after, after, before)
        state.parts.truncate(opening.part)
    for account in range(earlier.accounts, len(state.accounts)):
        accounts = state.accounts.arrays
        slot = state.periods.arrays.account_start[accounts.period[account]] + accounts.cell[account]
        state.cell_slots.arrays.account[slot] = -1
    for period in range(len(state.periods) - 1, earlier.periods - 1, -1):
        _unlink_period(state, period)
        state.continues.pop(period, None)
        state.whole.pop(period, None)
    while len(state.line_by_identity) > earlier.lines:
        state.line_by_identity.popitem()
    for origin in state.line_origins[earlier.lines :]:
        state.lines_of_customer[state.pools.definitions[origin.definition].customer_id].pop()
    for line in range(earlier.lines, len(state.line_origins)):
        state.net.forget_line(line)
    del state.line_origins[earlier.lines :]
    del state.parts_of_line[earlier.lines :]
    state.accounts.truncate(earlier.accounts)
    state.periods.truncate(earlier.periods)
    state.lines.truncate(earlier.lines)
    state.cell_slots.truncate(earlier.slots)


def _unlink_period(state: State, period: int) -> None:
    periods = state.periods.arrays
    charge = int(state.pools.definition_table.charge[periods.definition[period]])
    before = int(periods.earlier[period])
    if state.newest_period[charge] == period:
        state.newest_period[charge] = before
        return
    later = int(state.newest_period[charge])
    while periods.earlier[later] != period:
        later = int(periods.earlier[later])
    periods.earlier[later] = before
