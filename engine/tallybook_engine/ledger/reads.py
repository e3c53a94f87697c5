"""Reading the ledger: stored events, running totals and charge lines, now or as of an earlier sequence.

Lists and invoices may take long, and the ledger does not wait for them. So what of a customer changes is copied in one
go on the ledger's own thread (`standing`), and everything else is done beside it: nothing else that is looked at here
ever changes once it is committed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from tallybook_engine.asking import GoOn, asking, unasked
from tallybook_engine.catalog.compile import CompiledCatalog, Definition
from tallybook_engine.contract.unopened import unopened_lines
from tallybook_engine.kernels.wide import from_limbs
from tallybook_engine.ledger.delete import Found, find_event, found_from, history
from tallybook_engine.ledger.explain import charge_line, explain_postings, shown, unopened_line, usage_total
from tallybook_engine.ledger.outcomes import (
    Cause,
    ChargeLine,
    EventPayload,
    EventSelector,
    History,
    Match,
    Status,
    StoredEvent,
    UsageTotal,
)
from tallybook_engine.ledger.segments import PROPERTY_PREFIX, VALUE_PREFIX, Decoded, RecordKind, limbs_of, numpy_of
from tallybook_engine.ledger.stage import Records
from tallybook_engine.ledger.state import State

_CAUSES = {RecordKind.EVENT: Cause.EVENT, RecordKind.DELETE: Cause.DELETE, RecordKind.RERATE: Cause.RERATE}


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events; None: any."""

    customer: str | None = None
    customer_is_id: bool = False
    meter: str | None = None
    start_us: int | None = None
    end_us: int | None = None
    matches: frozenset[Match] = frozenset()
    show_deleted: bool = False


# --- Events ---------------------------------------------------------------------------------------------------------


def first_records(decoded: Decoded, wanted: EventFilter, customer_reference: str | None) -> NDArray[np.int64]:
    """Positions of the events' own first records that fit what never changes of them, in the order of storing."""
    fits = numpy_of(decoded.column("kind")) == RecordKind.EVENT
    if customer_reference is not None:
        fits = fits & _named(decoded, "customer", customer_reference)
    if wanted.meter is not None:
        fits = fits & _named(decoded, "meter", wanted.meter)
    times_us = numpy_of(decoded.column("time_us"))
    if wanted.start_us is not None:
        fits = fits & (times_us >= wanted.start_us)
    if wanted.end_us is not None:
        fits = fits & (times_us < wanted.end_us)
    order = decoded.order()
    return order[fits[order]]


def _named(decoded: Decoded, column: str, name: str) -> NDArray[np.bool_]:
    coded = decoded.column(column)
    codes = np.flatnonzero(pc.equal(coded.dictionary, name).to_numpy(zero_copy_only=False))
    return np.isin(numpy_of(coded.indices.fill_null(-1)), codes)


def listed_event(state: State, event_id: int, wanted: EventFilter, records: Records) -> StoredEvent | None:
    """An event as it stands now; None where it does not fit."""
    found = find_event(state, EventSelector(event_id=event_id), records)
    assert found is not None
    event = _stored(state, found, records, with_history=False)
    if event.deleted and not wanted.show_deleted:
        return None
    if wanted.matches and event.match not in wanted.matches:
        return None
    return event


def event(
    state: State, key: tuple[int, int], latest: int, selector: EventSelector, records: Records
) -> StoredEvent | None:
    """An event with its history, by its key and the key's latest location; None where there is none. For any thread."""
    found = found_from(key, latest, selector, records)
    return None if found is None else _stored(state, found, records, with_history=True)


def _stored(state: State, found: Found, records: Records, *, with_history: bool) -> StoredEvent:
    chain = history(found, records)
    first = chain[0]
    rated = next(each for each in reversed(chain) if not each.deleted)
    return StoredEvent(
        payload=_payload(first),
        event_id=found.event_id,
        generation=found.generation,
        status=Status(_value(rated, "status")),
        match=Match(_value(rated, "match")),
        fault=int(_value(rated, "fault")),
        effective_time_us=int(_value(first, "time_us")),
        receipt_time_us=int(_value(first, "receipt_time_us")),
        sequence=first.location >> 24,
        deleted=found.deleted,
        history=tuple(_happened(state, each) for each in chain) if with_history else (),
    )


def _happened(state: State, found: Found) -> History:
    cause = _CAUSES[RecordKind(_value(found, "kind"))]
    begin, end = found.decoded.posting_ranges
    return History(
        cause=cause,
        sequence=found.location >> 24,
        receipt_time_us=int(_value(found, "receipt_time_us")),
        status=Status(_value(found, "status")),
        match=Match(_value(found, "match")),
        postings=tuple(
            explain_postings(
                state,
                found.decoded.postings,
                int(begin[found.position]),
                int(end[found.position]),
                cause,
                found.decoded.net_of(found.location),
            )
        ),
    )


def _value(found: Found, column: str) -> int:
    value: int = found.decoded.column(column)[found.position].as_py()
    return value


def _payload(first: Found) -> EventPayload:
    decoded, position = first.decoded, first.position
    record = {name: decoded.column(name)[position] for name in decoded.tables.records.schema.names}
    values, properties = [], []
    for name, cell in record.items():
        if not cell.is_valid:
            continue
        if name.startswith(VALUE_PREFIX):
            limbs = limbs_of(decoded.column(name), 2)[position]
            values.append((name[len(VALUE_PREFIX) :], from_limbs(*limbs)))
        elif name.startswith(PROPERTY_PREFIX):
            properties.append((name[len(PROPERTY_PREFIX) :], cell.as_py()))
    return EventPayload(
        customer_reference=record["customer"].as_py(),
        meter_reference=record["meter"].as_py(),
        reference=record["reference"].as_py(),
        time_us=record["time_us"].as_py() if record["time_given"].as_py() else None,
        contract_id=record["contract"].as_py(),
        values=tuple(sorted(values)),
        properties=tuple(sorted(properties)),
    )


# --- Totals and lines -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NetStanding:
    """A net line (`ledger/net`) as it stands."""

    number: int
    contract_id: str
    start_us: int
    end_us: int
    version: int
    """That it is pinned to; UNPINNED: none."""
    amount: int
    tax: int


@dataclass(frozen=True)
class Standing:
    """What of a customer's lines and parts changes, as it stands at one committed sequence."""

    customer_id: str
    sequence: int
    compiled: CompiledCatalog
    """The current version of the catalogue."""
    lines: NDArray[np.int64]
    """[lines] numbers, in the order of opening, as the columns below."""
    exact: NDArray[np.uint64]
    """[lines, 3]"""
    amount: NDArray[np.int64]
    tax: NDArray[np.int64]
    end_us: Mapping[int, int]
    """By line, where it ends, of those whose charge was split."""
    part_counts: NDArray[np.int64]
    """[lines] how many parts each has."""
    parts: NDArray[np.int64]
    """[parts] numbers, line by line, as the columns below."""
    quantity: NDArray[np.uint64]
    """[parts, 2]"""
    earlier: NDArray[np.int32]
    later: NDArray[np.int32]
    retirement_count: int
    """How many periods of the book were retired."""
    net_lines: Sequence[NetStanding]


def standing(state: State, customer_id: str) -> Standing:
    """A customer's lines and parts as they are, with nothing on its way. Only on the ledger's own thread."""
    numbers = state.lines_of_customer.get(customer_id, [])
    of_lines = [state.parts_of_line[line] for line in numbers]
    lines, parts = np.array(numbers, dtype=np.int64), np.fromiter(chain.from_iterable(of_lines), dtype=np.int64)
    money, table = state.lines.arrays, state.parts.arrays
    end_us = {}
    for line in numbers if state.splits else ():
        if int(state.pools.definition_table.charge[state.line_origins[line].definition]) in state.splits:
            end_us[line] = state.line_end(line)
    return Standing(
        customer_id=customer_id,
        sequence=state.sequence,
        compiled=state.current,
        lines=lines,
        exact=money.exact[lines],
        amount=money.amount[lines],
        tax=money.tax[lines],
        end_us=end_us,
        part_counts=np.array([len(each) for each in of_lines], dtype=np.int64),
        parts=parts,
        quantity=table.quantity[parts],
        earlier=table.earlier[parts],
        later=table.later[parts],
        retirement_count=len(state.retirements),
        net_lines=_net_lines(state, numbers),
    )


def _net_lines(state: State, lines: Iterable[int]) -> list[NetStanding]:
    """The net lines of the root contracts of charge lines."""
    net, definitions = state.net, state.pools.definitions
    if not net.lines:
        return []
    roots = {definitions[each].contract_path[0] for each in {state.line_origins[line].definition for line in lines}}
    return [
        NetStanding(number, *net.lines[number].period, net.lines[number].version, *net.value(number))
        for root in roots
        for number in net.of_contract.get(root, ())
    ]


@dataclass
class AsOf:
    """The parts and lines of a customer at a sequence: those of a standing, less what came after."""

    standing: Standing
    parts_of_line: dict[int, list[int]]
    """By line, in the order of opening; those opened after the sequence too."""
    quantity: dict[int, int]
    """By part, scale 12."""
    exact: dict[int, int]
    """By line, scale 24."""
    amount: dict[int, int]
    tax: dict[int, int]
    earlier: dict[int, int]
    """By part, the one before it in its chain; -1: none."""
    later: dict[int, int]
    retired: set[int]
    """Periods that were retired: other periods rate their events."""

    def counts(self, state: State, part: int) -> bool:
        """Whether a part is priced, and not just there because its line once had it."""
        return int(state.accounts.arrays.period[state.parts.arrays.account[part]]) not in self.retired

    def end_us(self, state: State, line: int) -> int:
        """Where a line ends."""
        return self.standing.end_us.get(line, state.line_origins[line].period_end_us)


def as_of(state: State, standing: Standing, later: Iterable[Decoded], sequence: int, go_on: GoOn = unasked) -> AsOf:
    """A customer's parts and lines at a sequence. `later` are the segments behind it, newest first; what they hold
    behind the standing is left alone.
    """
    go_on()
    lines, parts = standing.lines.tolist(), standing.parts.tolist()
    ends = np.cumsum(standing.part_counts).tolist()
    starts = [0, *ends[:-1]]
    view = AsOf(
        standing=standing,
        parts_of_line={line: parts[start:end] for line, start, end in zip(lines, starts, ends, strict=False)},
        quantity=dict(zip(parts, _numbers(standing.quantity, go_on), strict=True)),
        exact=dict(zip(lines, _numbers(standing.exact, go_on), strict=True)),
        amount=dict(zip(lines, standing.amount.tolist(), strict=True)),
        tax=dict(zip(lines, standing.tax.tolist(), strict=True)),
        earlier=dict(zip(parts, standing.earlier.tolist(), strict=True)),
        later=dict(zip(parts, standing.later.tolist(), strict=True)),
        retired={each.period for _, each in state.retirements[: standing.retirement_count]},
    )
    for decoded in later:
        _roll_back(state, view, decoded, sequence, go_on)
    return view


def _numbers(limbs: NDArray[np.uint64], go_on: GoOn) -> list[int]:
    return [from_limbs(*each) for each in asking(limbs.tolist(), go_on)]


def _roll_back(state: State, view: AsOf, decoded: Decoded, sequence: int, go_on: GoOn) -> None:
    begin, end = decoded.posting_ranges
    kinds, locations = numpy_of(decoded.column("kind")), decoded.locations
    moving = kinds != RecordKind.RERATE
    stored = locations >> np.uint64(24)
    after = (stored > np.uint64(sequence)) & (stored <= np.uint64(view.standing.sequence))
    order = decoded.order()
    postings = decoded.postings
    for position in asking(order[(moving & after)[order]][::-1], go_on):
        for at in range(int(end[position]) - 1, int(begin[position]) - 1, -1):
            part = int(postings.part[at])
            if part not in view.quantity:
                continue
            line = int(state.parts.arrays.line[part])
            view.quantity[part] = from_limbs(*postings.quantity_before[at])
            view.exact[line] -= from_limbs(*postings.exact[at])
            view.amount[line] -= int(postings.amount[at])
            view.tax[line] -= int(postings.tax[at])
    columns = ("sequence_offset", "part", "period")
    offsets, opened, periods = (numpy_of(decoded.tables.openings.column(name).combine_chunks()) for name in columns)
    behind = decoded.first_sequence + offsets.astype(np.int64) > sequence
    view.retired -= set(periods[behind & (opened < 0)].tolist())
    for part in opened[behind].tolist():
        if part in view.quantity:
            line = int(state.parts.arrays.line[part])
            made = state.openings[part]
            view.exact[line] -= made.exact
            view.amount[line] -= made.amount
            view.tax[line] -= made.tax
            del view.quantity[part]


def charge_lines(
    state: State,
    view: AsOf,
    start_us: int | None,
    end_us: int | None,
    *,
    include_unopened: bool,
    root_id: str | None = None,
    go_on: GoOn = unasked,
) -> list[ChargeLine]:
    """The customer's lines whose billing period touches [start, end), by period, contract path and cell.

    Of one root contract alone where that is named.
    """
    found = []
    for line, of_line in asking(view.parts_of_line.items(), go_on):
        origin = state.line_origins[line]
        if not _touches(origin.period_start_us, origin.period_end_us, start_us, end_us):
            continue
        if root_id is not None and state.definition_of_part(of_line[0]).contract_path[0] != root_id:
            continue
        parts = sorted(
            (part for part in of_line if part in view.quantity),
            key=lambda part: int(state.parts.arrays.start_us[part]),
        )
        if not parts:
            continue
        quantities = [
            (part, _start_quantity(view, part), shown(view.quantity[part]))
            for part in asking(parts, go_on)
            if view.counts(state, part)
        ]
        end_of_line_us = view.end_us(state, line)
        worth = view.exact[line], view.amount[line], view.tax[line]
        found.append(charge_line(state, line, end_of_line_us, *worth, quantities))
    if include_unopened and start_us is not None and end_us is not None:
        found += _unopened(state, view.standing, root_id, found, start_us, end_us, go_on)
    return sorted(found, key=order_of)


def order_of(line: ChargeLine) -> tuple[int, tuple[str, ...], str, int]:
    """By billing period, contract path and cell, and where a catalogue change parted them, in the order of opening."""
    return line.period_start_us, line.contract_path, line.cell_id, line.line_number


def usage_totals(state: State, view: AsOf, start_us: int | None, end_us: int | None) -> list[UsageTotal]:
    """A customer's running totals of accumulation periods that touch [start, end); a split one has that of its end."""
    last: dict[int, int] = {}
    for part in view.quantity:
        account = int(state.parts.arrays.account[part])
        if account not in last or state.parts.arrays.start_us[part] > state.parts.arrays.start_us[last[account]]:
            last[account] = part
    found = []
    for account, part in last.items():
        if not view.counts(state, part) or _goes_on(view, part):
            continue
        total = usage_total(state, account, shown(view.quantity[part]))
        if _touches(total.period_start_us, total.period_end_us, start_us, end_us):
            found.append(total)
    return sorted(found, key=lambda each: (each.period_start_us, each.contract_path, each.cell_id))


def _goes_on(view: AsOf, part: int) -> bool:
    """Whether a later part of the accumulation period is there."""
    later = view.later[part]
    while later >= 0 and later not in view.quantity:
        later = view.later[later]
    return later >= 0


def _start_quantity(view: AsOf, part: int) -> int | None:
    """The quantity that a part goes on from; None: it is the first one."""
    earlier = view.earlier[part]
    while earlier >= 0 and earlier not in view.quantity:
        earlier = view.earlier[earlier]
    return None if earlier < 0 else shown(view.quantity[earlier])


def _touches(start_us: int, end_us: int, wanted_start_us: int | None, wanted_end_us: int | None) -> bool:
    return (wanted_start_us is None or end_us > wanted_start_us) and (wanted_end_us is None or start_us < wanted_end_us)


def _unopened(
    state: State,
    standing: Standing,
    root_id: str | None,
    opened: list[ChargeLine],
    start_us: int,
    end_us: int,
    go_on: GoOn,
) -> list[ChargeLine]:
    """The lines of the current catalogue that no event has opened and that are worth something all the same."""
    there = set()
    for line in asking(opened, go_on):
        origin = state.line_origins[line.line_number - 1]
        there.add((line.contract_path[-1], line.cell_id, origin.period_start_us, origin.period_end_us))
    found = []
    for index in asking(standing.compiled.current_definitions.values(), go_on):
        definition = state.pools.definitions[index]
        if definition.customer_id != standing.customer_id or root_id not in (None, definition.contract_path[0]):
            continue

        def is_open(cell: int, start_us: int, end_us: int, definition: Definition = definition) -> bool:
            return (definition.product_contract_id, definition.cells[cell].id, start_us, end_us) in there

        for each in unopened_lines(definition, start_us, end_us, is_open, go_on):
            found.append(unopened_line(standing.compiled.version, index, each))
    return found
