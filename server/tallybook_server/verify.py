"""The ledger's law, checked on a journal, of a stopped or a running server (DESIGN, The ledger's law), and what lies
beside the ledger.

The journal is folded from its first segment, so that a line is the sum of its recorded postings; then every line is
computed afresh from the events that survive. Two fresh sides are at hand: the engine's kernels, and the oracle, which
shares no code with them and reads nothing but the stored payloads and the catalogue.

Readings and values of BILLING channels are in no equation: each is read with its checksum, decoded, and held against
what its directory and its commit say of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.json_format import MessageToDict

from tallybook_engine.catalog.change import KINDS, CatalogObjects
from tallybook_engine.catalog.model import Catalog
from tallybook_engine.decimals import AMOUNT_SCALE, UNIT, parse_decimal
from tallybook_engine.determinants.blocks import bucket_of
from tallybook_engine.kernels.wide import from_limbs
from tallybook_engine.ledger.delete import own_parts
from tallybook_engine.ledger.net import NetLine
from tallybook_engine.ledger.outcomes import UNPINNED, Status
from tallybook_engine.ledger.references import locations_of
from tallybook_engine.ledger.segments import PROPERTY_PREFIX, VALUE_PREFIX, Decoded, limbs_of
from tallybook_engine.ledger.state import State
from tallybook_engine.ledger.verify import net_difference
from tallybook_engine.ledger.verify import verify as verify_with_kernels
from tallybook_oracle import catalog as oracle_catalog
from tallybook_oracle import contract as oracle_contract
from tallybook_oracle import ledger as oracle
from tallybook_server.billing import read_body
from tallybook_server.codec.catalog import write_objects
from tallybook_server.folding import Folded, open_book
from tallybook_server.journal.attached import DELETIONS_BUCKET, FiledBlock, FiledValue, sequence_of
from tallybook_server.journal.interface import DamagedJournal
from tallybook_server.journal.sqlite import SqliteJournal
from tallybook_server.stored_readings import block_of, deletion_of

DIFFERENCES_SHOWN = 100
"""Differences that a report tells in words."""


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What a verification found."""

    line_count: int
    """Charge lines that were compared."""
    net_line_count: int
    """Net lines that were compared."""
    posting_count: int
    """Postings of the journal."""
    event_count: int
    """Events that survive."""
    difference_count: int
    differences: list[str]
    """One sentence each, of the first ones."""
    reading_count: int
    """Readings of all deliveries, superseded ones and those that were taken back too."""
    block_count: int
    """Blocks that they are in, and deletions."""
    billing_value_count: int
    """Values of BILLING channels, superseded ones and withdrawals too."""


def verify(data_directory: Path, book: str, oracle: bool, sample: int | None) -> VerifyReport:
    """Checks one book. `sample`: only so many lines, spread over all. Raises OSError and JournalError."""
    journal = SqliteJournal.open(data_directory / f"{book}.sqlite", read_only=True)
    try:
        folded = open_book(journal, from_snapshot=False)
        lines = _sampled(len(folded.state.lines), sample)
        net_lines = _sampled(len(folded.state.net.lines), sample)
        if oracle:
            event_count, differences = _by_oracle(folded, lines)
            differences += _net_by_oracle(folded, net_lines)
        else:
            found = verify_with_kernels(folded.state, _segments(folded))
            event_count = found.event_count
            wanted = {f"line {line + 1} " for line in lines} | {f"net line {each + 1} " for each in net_lines}
            told = (*found.differences, *found.net_differences)
            differences = [each for each in told if any(each.startswith(name) for name in wanted)]
        posting_count = sum(summary.header.posting_count for summary in journal.headers())
        beside = _look_beside(journal)
    finally:
        journal.close()
    return VerifyReport(
        len(lines),
        len(net_lines),
        posting_count,
        event_count,
        len(differences),
        differences[:DIFFERENCES_SHOWN],
        *beside,
    )


def _look_beside(journal: SqliteJournal) -> tuple[int, int, int]:
    """(readings, blocks, values of BILLING channels), all looked at. JournalError for the first that is wrong."""
    reading_count = block_count = value_count = 0
    for each in journal.everything():
        if isinstance(each, FiledValue):
            _check_value(each)
            value_count += 1
        else:
            reading_count += _checked_count(each)
            block_count += 1
    return reading_count, block_count, value_count


def _checked_count(filed: FiledBlock) -> int:
    """How many readings a block delivers."""
    datasource, channel, _ = filed.series
    if filed.bucket == DELETIONS_BUCKET:
        deletion = deletion_of(datasource, channel, filed.block)
        if not 0 < deletion.first_sequence <= deletion.last_sequence < deletion.sequence:
            raise _wrong(filed, "takes back what was not stored before it")
        return 0
    delivered = block_of(datasource, channel, filed.block).delivered()
    readings = delivered.readings
    count = readings.times.count
    if count != filed.reading_count:
        raise _wrong(filed, f"has {count} readings, and the directory says {filed.reading_count}")
    if {bucket_of(readings.label(row)) for row in (0, count - 1)} != {filed.bucket}:
        raise _wrong(filed, f"has timestamps outside of bucket {filed.bucket}, where the directory has it")
    if int(readings.quality.max()) >= len(delivered.statuses):
        raise _wrong(filed, "has a status that it does not name")
    return count


def _check_value(filed: FiledValue) -> None:
    value = filed.value
    try:
        body = read_body(value.body)
        if body.value:
            parse_decimal(body.value)
    except (ValueError, TypeError) as error:
        raise _wrong(filed, f"is no value: {error}") from error
    if value.start_us > value.end_us:
        raise _wrong(filed, "ends before it starts")


def _wrong(filed: FiledBlock | FiledValue, what: str) -> DamagedJournal:
    position = filed.value.position if isinstance(filed, FiledValue) else filed.block.position
    datasource, channel, _ = filed.series
    return DamagedJournal(
        f"datasource {datasource!r}, channel {channel!r}: what sequence {sequence_of(position)} stored {what}"
    )


def _segments(folded: Folded) -> Iterator[Decoded]:
    """The segments that were folded; a running server may have stored more since."""
    return folded.records.segments(upto=folded.state.sequence)


def _sampled(count: int, sample: int | None) -> list[int]:
    """So many of `count` numbers, spread evenly; all without a sample."""
    if sample is None or sample >= count:
        return list(range(count))
    return [index * count // sample for index in range(sample)]


# --- The oracle's side ------------------------------------------------------------------------------------------------


def _by_oracle(folded: Folded, lines: Sequence[int]) -> tuple[int, list[str]]:
    """(surviving events, differences) of lines computed by the oracle from the events' payloads."""
    state = folded.state
    wanted = {int(state.parts.arrays.account[part]) for line in lines for part in state.parts_of_line[line]}
    wanted |= {earlier for account in wanted for earlier in _accounts_before(state, account)}
    meanings = _Meanings(folded)
    members: dict[int, list[tuple[int, Fraction]]] = defaultdict(list)
    differences: list[str] = []
    event_count = 0
    for decoded in _segments(folded):
        for position in _surviving(state, decoded):
            event_count += 1
            for part in own_parts(decoded, position):
                account = int(state.parts.arrays.account[part])
                if account not in wanted:
                    continue
                meaning, cell = meanings.of_account(account)
                member = _member(meaning, decoded, position)
                if member is None or member.cell != cell:
                    differences.append(f"{member_name(decoded, position)} does not belong to {'/'.join(meaning.path)}")
                else:
                    members[account].append((member.time_us, member.value))
    for line in lines:
        difference = _line_difference(state, meanings, members, line)
        if difference is not None:
            differences.append(difference)
    return event_count, differences


@dataclass(frozen=True, slots=True)
class _Member:
    """What an event brings to a product contract."""

    cell: int
    time_us: int
    value: Fraction


def _net_by_oracle(folded: Folded, net_lines: Sequence[int]) -> list[str]:
    """How the postings of net lines differ from the oracle's invoices of the charge lines as they stand."""
    state = folded.state
    differences = []
    catalogues: dict[int, dict[str, dict[str, Any]]] = {}
    for number in net_lines:
        each = state.net.lines[number]
        found = (0, 0)
        if each.version != UNPINNED:
            if each.version not in catalogues:
                catalogues[each.version] = _written(folded.versions.catalog(each.version))
            found = oracles_adjustment(state, catalogues[each.version], each)
        if found != state.net.value(number):
            differences.append(net_difference(state, number, found))
    return differences


def oracles_adjustment(state: State, catalogue: Mapping[str, Mapping[str, Any]], net: NetLine) -> tuple[int, int]:
    """(amount without tax, tax) of what the oracle's invoice of a net line's period has beside charge lines."""
    root = catalogue["contracts"].get(net.contract_id)
    if root is None:
        return 0, 0
    levels = dict(_levels(root))
    plans = (each["plan"] for level in levels.values() for each in level.get("product_contracts", ()))
    plan = next(plans, None)
    currency = root.get("currency") or ("" if plan is None else catalogue["plans"][plan]["currency"])
    charges = []
    for line in state.lines_of_customer.get(root["customer"], ()):
        origin = state.line_origins[line]
        definition = state.pools.definitions[origin.definition]
        if definition.contract_path[0] != net.contract_id or definition.currency != currency:
            continue
        tax = definition.tax
        charges.append(
            oracle_contract.OracleCharge(
                (*_nearest(levels, definition.contract_path[:-1]), definition.product_contract_id),
                origin.period_start_us,
                origin.period_end_us,
                int(state.lines.arrays.amount[line]),
                int(state.lines.arrays.tax[line]),
                None
                if tax is None
                else oracle_catalog.OracleTax(tax.id, Fraction(tax.rate, UNIT), definition.tax_inclusive),
            )
        )
    invoices = oracle_contract.invoices(catalogue, net.contract_id, charges, net.end_us, currency)
    # A tree with an amount that is not below 2^63 has no invoice.
    if any(not (_fits(line.amount) and _fits(line.tax_amount)) for each in invoices for line in each.lines):
        return 0, 0
    invoice = next(each for each in invoices if each.days.start_us == net.start_us)
    beyond = [line for line in invoice.lines if line.kind != "CHARGE"]
    inclusive = sum(line.tax_amount for line in beyond if line.tax is not None and line.tax.inclusive)
    return sum(line.amount for line in beyond) - inclusive, sum(line.tax_amount for line in beyond)


def _fits(amount: int) -> bool:
    return abs(amount) < 2**63


def _levels(root: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Every level of a contract tree by its path, parents before children."""
    due: list[tuple[tuple[str, ...], dict[str, Any]]] = [((root["id"],), root)]
    while due:
        path, level = due.pop()
        yield path, level
        due += [((*path, each["id"]), each) for each in reversed(level.get("sub_contracts", ()))]


def _nearest(levels: Mapping[tuple[str, ...], object], path: tuple[str, ...]) -> tuple[str, ...]:
    """The level that a charge is of: the one it names last that there is."""
    of_name = {each[-1]: each for each in levels}
    return next((of_name[name] for name in reversed(path) if name in of_name), path[:1])


class _Meanings:
    """What accounts are priced by, in the oracle's words."""

    def __init__(self, folded: Folded) -> None:
        self._folded = folded
        self._of_version: dict[int, Mapping[str, oracle_catalog.Meaning]] = {}

    def of_account(self, account: int) -> tuple[oracle_catalog.Meaning, int]:
        """(meaning, cell) of an account, by the version that its period is pinned to."""
        state = self._folded.state
        period = int(state.accounts.arrays.period[account])
        version = int(state.periods.arrays.version[period])
        if version not in self._of_version:
            self._of_version[version] = oracle_catalog.meanings(_written(self._folded.versions.catalog(version)))
        definition = state.pools.definitions[int(state.periods.arrays.definition[period])]
        return self._of_version[version][definition.product_contract_id], int(state.accounts.arrays.cell[account])


def _written(catalog: Catalog) -> dict[str, dict[str, Any]]:
    """A catalogue as its file says it, by kind and id."""
    objects = CatalogObjects(**{kind: tuple(getattr(catalog, kind).values()) for kind in KINDS})
    written = MessageToDict(write_objects(objects), preserving_proto_field_name=True)
    return {kind: {each["id"]: each for each in written.get(kind, [])} for kind in KINDS}


def _surviving(state: State, decoded: Decoded) -> Iterable[int]:
    """Where the latest records of events stand that are not deleted, in the order of their storing."""
    customers = decoded.column("customer")
    codes = customers.indices.to_numpy(zero_copy_only=False).astype(np.int32)
    keys = state.hasher.keys(codes, customers.dictionary, decoded.column("reference"))
    latest = np.zeros(len(codes), dtype=np.uint64)
    locations_of(state.references.keys, state.references.payloads, keys, latest)
    order = decoded.order()
    return [int(position) for position in order[(latest == decoded.locations)[order]]]


def _member(meaning: oracle_catalog.Meaning, decoded: Decoded, position: int) -> _Member | None:
    """What a record's event brings to a product contract, judged anew; None where it does not belong there."""
    values, properties = {}, {}
    for name in decoded.tables.records.schema.names:
        if name.startswith(VALUE_PREFIX) and decoded.column(name)[position].is_valid:
            scaled = from_limbs(*limbs_of(decoded.column(name), 2)[position])
            values[name.removeprefix(VALUE_PREFIX)] = Fraction(scaled, UNIT)
        elif name.startswith(PROPERTY_PREFIX) and decoded.column(name)[position].is_valid:
            properties[name.removeprefix(PROPERTY_PREFIX)] = decoded.column(name)[position].as_py()
    time_us = int(decoded.numbers("time_us")[position])
    cell = meaning.cell_of(values, properties)
    if cell is None or not meaning.active(time_us) or decoded.numbers("status")[position] != Status.STORED:
        return None
    return _Member(cell, time_us, Fraction(1) if meaning.value is None else values[meaning.value])


def member_name(decoded: Decoded, position: int) -> str:
    """How a difference names an event."""
    customer, reference = (decoded.column(name)[position].as_py() for name in ("customer", "reference"))
    return f"event {reference!r} of {customer!r}"


def _accounts_before(state: State, account: int) -> list[int]:
    """The accounts of the stretches before, whose quantity one goes on from."""
    parts, found = state.parts.arrays, dict[int, None]()
    part = int(state.accounts.arrays.last_part[account])
    while part >= 0:
        found[int(parts.account[part])] = None
        part = int(parts.earlier[part])
    return [each for each in found if each != account]


def _split_instants(state: State, period: int) -> list[int]:
    """Instants that the lines of a period do not reach over."""
    charge = int(state.pools.definition_table.charge[state.periods.arrays.definition[period]])
    version = int(state.periods.arrays.version[period])
    return [split.from_us for split in state.splits.get(charge, ()) if split.version <= version]


def _line_difference(
    state: State, meanings: _Meanings, members: Mapping[int, Sequence[tuple[int, Fraction]]], line: int
) -> str | None:
    """How a line's postings differ from the line computed by the oracle; None where they do not."""
    accounts = {int(state.parts.arrays.account[part]) for part in state.parts_of_line[line]}
    origin = state.line_origins[line]
    exact = Fraction(0)
    meaning = None
    retired = state.retired_periods()
    for account in accounts:
        meaning, cell = meanings.of_account(account)
        if int(state.accounts.arrays.period[account]) in retired:
            continue
        period = int(state.accounts.arrays.period[account])
        earlier = _accounts_before(state, account)
        brought = oracle.parts(
            meaning,
            int(state.periods.arrays.start_us[period]),
            cell,
            members.get(account, ()),
            [value for each in earlier for _, value in members.get(each, ())] if earlier else None,
            _split_instants(state, period),
        )
        if brought is None:
            return f"line {line + 1}: the oracle says that it does not fit"
        bounds = (origin.period_start_us, origin.period_end_us)
        exact += sum((value for key, value in brought.items() if (key.start_us, key.end_us) == bounds), Fraction(0))
    assert meaning is not None
    computed = oracle.line_value(meaning, exact)
    lines = state.lines.arrays
    posted = oracle.LineValue(
        Fraction(from_limbs(*lines.exact[line]), 10**AMOUNT_SCALE), int(lines.amount[line]), int(lines.tax[line])
    )
    if computed == posted:
        return None
    return f"line {line + 1} of {'/'.join(meaning.path)}: postings add up to {posted}, the oracle says {computed}"
