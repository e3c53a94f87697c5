"""Simulations: usage and scenarios in, charges and comparisons out, as frames."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeAlias

import polars as pl
import pyarrow as pa

from tallybook.v1 import catalog_pb2, common_pb2, ingest_pb2, simulate_pb2
from tallybook_client.frames import Frame, FrameError, as_table
from tallybook_client.invoices import InvoiceLevel, InvoiceLine
from tallybook_client.numbers import optional_decimal, to_datetime, to_timestamp
from tallybook_client.results import AmountLine, Money

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-untyped]  # its types are another package

BASELINE = "baseline"
"""Name of what scenarios are compared with."""
TOTAL = "total"
"""Column of what a contract comes to, with all below it."""
CHARGE = "CHARGE"
"""Kind of the lines that are of a plan."""
MEASURES = ("unit_amount", "quantity", "total_amount")

UPLOAD_ROWS_DEFAULT = 262_144
"""Rows of one request of an upload: some megabytes."""

_INSTANT = pl.Datetime("us", "UTC")
_QUANTITY = pl.Decimal(38, 12)
_MONEY = pl.Decimal(38, 4)
_CHARGES: Mapping[str, pl.DataType | type[pl.DataType]] = {
    "scenario": pl.String,
    "customer_id": pl.String,
    "contract_path": pl.List(pl.String),
    "product_id": pl.String,
    "plan_id": pl.String,
    "cell_id": pl.String,
    "period_start_time": _INSTANT,
    "period_end_time": _INSTANT,
    "quantity": _QUANTITY,
    "unit_amount": _QUANTITY,
    # 15 digits before the point and 24 after are one more than a decimal column holds.
    "exact_amount": pl.String,
    "currency": pl.String,
    "amount_excluding_tax": _MONEY,
    "tax_amount": _MONEY,
    "amount_including_tax": _MONEY,
    "line_kind": pl.String,
    "line_id": pl.String,
}
SIMULATION_CHARGES_SCHEMA = pl.Schema(_CHARGES)
"""One row a line and scenario. `unit_amount` is there where a plan has one unit price; of lines that are no charge line
(`line_kind` is not CHARGE), but a fixed fee, share or modifier of a contract, product, plan and quantity are not there.
"""
_CUSTOMERS: Mapping[str, pl.DataType | type[pl.DataType]] = {
    "customer_id": pl.String,
    "currency": pl.String,
    "scenario": pl.String,
    "amount_excluding_tax": _MONEY,
    "tax_amount": _MONEY,
    "amount_including_tax": _MONEY,
    "difference_excluding_tax": _MONEY,
    "is_cheapest": pl.Boolean,
}
SIMULATION_CUSTOMERS_SCHEMA = pl.Schema(_CUSTOMERS)
"""One row a customer, currency and scenario."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A set of changes of a catalogue."""

    name: str
    put: catalog_pb2.Catalog | None = None
    remove: catalog_pb2.CatalogIds | None = None
    replace_plans: Mapping[str, str] = field(default_factory=dict)
    """Plan -> plan, by id: product contracts of the one have the other instead, and keep their ids."""

    def message(self) -> simulate_pb2.Scenario:
        """The message."""
        return simulate_pb2.Scenario(
            name=self.name, put=self.put, remove=self.remove, replace_plans=dict(self.replace_plans)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedUsage:
    """The book's own events of [start_time, end_time) as usage; 0: as they stand now."""

    start_time: datetime
    end_time: datetime
    as_of_sequence: int = 0

    def message(self) -> simulate_pb2.RecordedUsage:
        """The message."""
        return simulate_pb2.RecordedUsage(
            start_time=to_timestamp(self.start_time),
            end_time=to_timestamp(self.end_time),
            as_of_sequence=self.as_of_sequence,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DeterminantUsage:
    """The book's own billing determinants of periods that end in (start_time, end_time] as usage."""

    start_time: datetime
    end_time: datetime
    datasources: tuple[str, ...] = ()
    """Empty: all that have a customer."""
    as_of_sequence: int = 0

    def message(self) -> simulate_pb2.DeterminantUsage:
        """The message."""
        return simulate_pb2.DeterminantUsage(
            start_time=to_timestamp(self.start_time),
            end_time=to_timestamp(self.end_time),
            datasources=self.datasources,
            as_of_sequence=self.as_of_sequence,
        )


@dataclass(frozen=True, slots=True)
class UploadedUsage:
    """Usage that the server keeps for a while."""

    usage_frame_id: str
    row_count: int
    expire_time: datetime

    @classmethod
    def read(cls, message: simulate_pb2.UploadUsageResponse) -> UploadedUsage:
        """Read the message."""
        return cls(message.usage_frame_id, message.row_count, to_datetime(message.expire_time))


AnyUsage = Frame | Iterable[simulate_pb2.UsageRow] | RecordedUsage | DeterminantUsage | UploadedUsage
"""What a simulation may be run over."""


@dataclass(frozen=True, slots=True)
class ScenarioTotal:
    """All customers under one scenario in one currency."""

    scenario: str
    amount_excluding_tax: Money
    amount_including_tax: Money
    difference_excluding_tax: Money
    customer_count_more: int
    customer_count_less: int
    customer_count_same: int
    customer_count_cheapest: int
    message: simulate_pb2.ScenarioTotal


@dataclass(frozen=True)
class SkippedScenario:
    """A scenario that was not run, and why."""

    name: str
    faults: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SimulatedCharge:
    """A line under a scenario: a charge line, or what a contract tree has beside them."""

    scenario: str
    customer_id: str
    contract_path: tuple[str, ...]
    product_id: str
    plan_id: str
    cell_id: str
    """As product and plan, empty unless it is a charge line."""
    period_start_time: datetime
    period_end_time: datetime
    quantity: Decimal | None
    """Of a charge line."""
    unit_amount: Decimal | None
    """Where the plan has one price a unit."""
    exact_amount: Decimal | None
    """Of a charge line."""
    amount_excluding_tax: Money
    tax_amount: Money
    amount_including_tax: Money
    line_kind: str
    """CHARGE, or what it is of a contract: FIXED_FEE, REVENUE_SHARE, DISCOUNT, CAP, MINIMUM, CREDIT."""
    line_id: str
    """Of a fixed fee, revenue share or credit."""
    message: simulate_pb2.SimulatedCharge = field(repr=False, compare=False)

    @classmethod
    def read(cls, message: simulate_pb2.SimulatedCharge) -> SimulatedCharge:
        """Read the message."""
        return cls(
            message.scenario,
            message.customer_id,
            tuple(message.contract_path),
            message.product_id,
            message.plan_id,
            message.cell_id,
            to_datetime(message.period.start_time),
            to_datetime(message.period.end_time),
            optional_decimal(message.quantity),
            optional_decimal(message.unit_amount),
            optional_decimal(message.exact_amount),
            Money.read(message.amount_excluding_tax),
            Money.read(message.tax_amount),
            Money.read(message.amount_including_tax),
            ingest_pb2.InvoiceLine.Kind.Name(message.kind),
            message.line_id,
            message,
        )


@dataclass(frozen=True, slots=True)
class ExplainedPart:
    """What an accumulation period adds to a charge line."""

    accumulation_start_time: datetime
    quantity_before: Decimal
    quantity_after: Decimal
    lines: tuple[AmountLine, ...]
    """Tier by tier, after minus before."""


@dataclass(frozen=True, slots=True)
class ExplainedLevel:
    """A contract above a charge line, in the billing period that bills the line."""

    level: InvoiceLevel
    """What it comes to, with all of its lines, not the explained one alone."""
    lines: tuple[InvoiceLine, ...]
    """What it has beside charge lines and what lies below it: fixed fees and revenue shares, then its discount, cap,
    minimum and credits, in the order in which they apply."""


@dataclass(frozen=True, slots=True)
class ExplainedCharge:
    """A charge line: its tiers, and the levels above it."""

    scenario: str
    contract_path: tuple[str, ...]
    plan_id: str
    cell_id: str
    currency: str
    exact_amount: Decimal
    """The sum of the lines of all parts."""
    amount: Decimal
    """Rounded, as priced."""
    tax_amount: Decimal
    parts: tuple[ExplainedPart, ...]
    levels: tuple[ExplainedLevel, ...]
    """From the contract of the line up to the root."""
    message: simulate_pb2.ExplainSimulatedChargeResponse = field(repr=False, compare=False)


Explain = Callable[[simulate_pb2.ExplainSimulatedChargeRequest], simulate_pb2.ExplainSimulatedChargeResponse]
"""Asks for a line of a simulation."""


class Simulation:
    """What a simulation answered. Amounts are decimals unless `to_pandas` is asked for floats."""

    def __init__(
        self,
        messages: Iterable[simulate_pb2.RunSimulationResponse],
        request: simulate_pb2.RunSimulationRequest | None = None,
        explain: Explain | None = None,
    ) -> None:
        """Reads the messages to the last one. `request` is what they answer, and `explain` asks for a line of it."""
        self._request = request
        self._explain = explain
        self.simulation_id = ""
        self.catalog_version = 0
        self.row_count = 0
        self.usage_sequence = 0
        """Committed sequence that recorded usage, or determinants, were read at."""
        self.scenarios: tuple[str, ...] = ()
        """The baseline, then the scenarios that were run."""
        self.skipped: tuple[SkippedScenario, ...] = ()
        self.totals: tuple[ScenarioTotal, ...] = ()
        self.charges_expire_time: datetime | None = None
        """Until when the server has the charges; None where it does not keep them."""
        self.unfit_row_counts: Mapping[str, int] = {}
        """Scenario -> rows that no rule of their matrix fits."""
        self._charges: list[pl.DataFrame] = []
        self._customers: list[pl.DataFrame] = []
        for message in messages:
            self._add(message)

    def _add(self, message: simulate_pb2.RunSimulationResponse) -> None:
        match message.WhichOneof("event"):
            case "started":
                started = message.started
                self.simulation_id = message.simulation_id
                self.catalog_version, self.row_count = started.catalog_version, started.row_count
                self.usage_sequence = started.usage_sequence
                self.scenarios = tuple(started.scenarios)
                self.skipped = tuple(
                    SkippedScenario(each.name, tuple(f"{fault.field}: {fault.message}" for fault in each.faults))
                    for each in started.skipped_scenarios
                )
            case "charges":
                charges = _frame(message.charges.arrow).with_columns(scenario=pl.lit(message.charges.scenario))
                self._charges.append(charges.select(SIMULATION_CHARGES_SCHEMA.names()).cast(SIMULATION_CHARGES_SCHEMA))
            case "customers":
                self._customers.append(_frame(message.customers.arrow).cast(SIMULATION_CUSTOMERS_SCHEMA))
            case "totals":
                self.totals = tuple(
                    ScenarioTotal(
                        each.scenario,
                        Money.read(each.amount_excluding_tax),
                        Money.read(each.amount_including_tax),
                        Money.read(each.difference_excluding_tax),
                        each.customer_count_more,
                        each.customer_count_less,
                        each.customer_count_same,
                        each.customer_count_cheapest,
                        each,
                    )
                    for each in message.totals.totals
                )
                if message.totals.HasField("charges_expire_time"):
                    self.charges_expire_time = to_datetime(message.totals.charges_expire_time)
                self.unfit_row_counts = dict(zip(self.scenarios, message.totals.unfit_row_counts, strict=True))

    def __repr__(self) -> str:
        return f"Simulation({self.simulation_id!r}, {self.row_count:,} rows of usage, scenarios {self.scenarios})"

    def to_polars(self) -> pl.DataFrame:
        """The charges, long: one row a charge line and scenario, as SIMULATION_CHARGES_SCHEMA."""
        return pl.concat(self._charges) if self._charges else pl.DataFrame(schema=SIMULATION_CHARGES_SCHEMA)

    def customers(self) -> pl.DataFrame:
        """What each customer pays under each scenario, as SIMULATION_CUSTOMERS_SCHEMA."""
        return pl.concat(self._customers) if self._customers else pl.DataFrame(schema=SIMULATION_CUSTOMERS_SCHEMA)

    def explain(self, row: Mapping[str, Any] | SimulatedCharge) -> ExplainedCharge:
        """A charge line down to the tier, and the levels above it with their lines: a row of `to_polars()` as a dict
        (`frame.row(0, named=True)`), or a `SimulatedCharge`. Asks the server, which runs its customer's usage again.
        """
        if self._explain is None or self._request is None:
            raise ValueError("only a simulation that a server ran can be explained")
        kind = row.line_kind if isinstance(row, SimulatedCharge) else row["line_kind"]
        if kind != CHARGE:
            raise ValueError(f"only lines of kind {CHARGE} are explained, and this is a {kind}")
        if isinstance(row, SimulatedCharge):
            scenario, path, cell_id, start = row.scenario, row.contract_path, row.cell_id, row.period_start_time
        else:
            scenario, path = row["scenario"], tuple(row["contract_path"])
            cell_id, start = row["cell_id"], row["period_start_time"]
        request = simulate_pb2.ExplainSimulatedChargeRequest(
            simulation=self._request,
            scenario=scenario,
            product_contract_id=path[-1],
            cell_id=cell_id,
            period_start_time=to_timestamp(start),
        )
        # What was read then is read again.
        if request.simulation.HasField("recorded"):
            request.simulation.recorded.as_of_sequence = self.usage_sequence
        elif request.simulation.HasField("determinants"):
            request.simulation.determinants.as_of_sequence = self.usage_sequence
        answer = self._explain(request)
        return ExplainedCharge(
            scenario,
            path,
            answer.plan_id,
            answer.cell_id,
            answer.currency,
            Decimal(answer.exact_amount),
            Decimal(answer.amount),
            Decimal(answer.tax_amount),
            tuple(
                ExplainedPart(
                    to_datetime(each.accumulation_start_time),
                    Decimal(each.quantity_before),
                    Decimal(each.quantity_after),
                    tuple(map(AmountLine.read, each.lines)),
                )
                for each in answer.parts
            ),
            tuple(
                ExplainedLevel(InvoiceLevel.read(each.level), tuple(map(InvoiceLine.read, each.lines)))
                for each in answer.levels
            ),
            answer,
        )

    def to_pandas(self, scenario: str = BASELINE, *, as_float: bool = False) -> pd.DataFrame:
        """The charges of one scenario, wide: a row a start of a billing period, columns by contract, down to any depth.

        Columns are `[contract][sub-contract] ... [plan][unit_amount | quantity | total_amount]`, with kind and id in
        place of a plan where a line is no charge line, and `[contract] ... [total]` what a contract comes to with all
        below it; shorter ones are filled up with empty text. Amounts are without tax, `Decimal`, and what is not there
        is None; with `as_float` they are floats, which are not exact, and what is not there is NaN. Of lines that share
        a column and a start, quantities and amounts are added. ValueError for a scenario that was not run. Needs
        pandas, which is imported here only.
        """
        import pandas as pd

        if scenario not in self.scenarios:
            raise ValueError(f"{scenario!r} was not run; there are {', '.join(map(repr, self.scenarios))}")

        rows = self.to_polars().filter(pl.col("scenario") == scenario)
        tree = _Tree()
        cells: dict[_Column, dict[Any, Decimal | None]] = {}
        # Totals have their currency's digits; the frame has the same for all.
        unit = {each.amount_excluding_tax.currency: each.amount_excluding_tax.quantity for each in self.totals}
        for row in rows.iter_rows(named=True):
            start, contract = row["period_start_time"], _ROOT
            amount = row["amount_excluding_tax"].quantize(unit[row["currency"]])
            for name in _levels(row):
                contract = tree.below(contract, name)
                _add(cells.setdefault((contract, TOTAL, ""), {}), start, amount)
            values = (_without_zeros(row["unit_amount"]), _without_zeros(row["quantity"]), amount)
            for measure, value in zip(MEASURES, values, strict=True):
                if row["line_kind"] != CHARGE and value is None:
                    continue
                found = cells.setdefault((contract, _label(row), measure), {})
                if measure == MEASURES[0]:
                    found[start] = value
                else:
                    _add(found, start, value)
        starts = sorted({start for column in cells.values() for start in column})
        depth = max(map(len, tree.paths))
        names = []
        for contract, label, measure in cells:
            path = (*tree.paths[contract], label)
            names.append((*path, *[""] * (depth + 1 - len(path)), measure))
        columns = pd.MultiIndex.from_tuples(names, names=[*("contract",) * max(depth, 1), "plan", "measure"])
        data = [[column.get(start) for column in cells.values()] for start in starts]
        kind = "float64" if as_float else object
        return pd.DataFrame(data, index=pd.DatetimeIndex(starts, name="charge_time"), columns=columns, dtype=kind)


_Column: TypeAlias = tuple[int, str, str]
"""A contract of a `_Tree`, what of it, and which measure."""

_ROOT = 0
"""What is above all root contracts."""


class _Tree:
    """Contracts as numbers: the path of one a thousand levels deep is too long to be a key itself."""

    def __init__(self) -> None:
        self.paths: list[tuple[str, ...]] = [()]
        """Ids from the root contract down, by number."""
        self._below: dict[tuple[int, str], int] = {}

    def below(self, contract: int, name: str) -> int:
        """The contract of this id directly below another one."""
        found = self._below.setdefault((contract, name), len(self.paths))
        if found == len(self.paths):
            self.paths.append((*self.paths[contract], name))
        return found


def _levels(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Ids of the contracts from the root down to a line's own."""
    path = row["contract_path"]
    return tuple(path[:-1] if row["line_kind"] == CHARGE else path)


def _label(row: Mapping[str, Any]) -> str:
    """What a line is of: plan and cell of a charge line, or its kind and id: "FIXED_FEE support"."""
    if row["line_kind"] == CHARGE:
        return f"{row['plan_id']}[{row['cell_id']}]" if row["cell_id"] else str(row["plan_id"])
    return f"{row['line_kind']} {row['line_id']}" if row["line_id"] else str(row["line_kind"])


def _add(found: dict[Any, Decimal | None], start: Any, value: Decimal) -> None:
    found[start] = (found.get(start) or Decimal(0)) + value


def _without_zeros(value: Decimal | None) -> Decimal | None:
    """A number of a frame without the zeros that fill it up."""
    return None if value is None else Decimal(_plain(value))


def _frame(stream: bytes) -> pl.DataFrame:
    """An Arrow stream as a frame; decimals that are too wide for one become text."""
    table = pa.ipc.open_stream(stream).read_all()
    for index, each in enumerate(table.schema):
        if pa.types.is_decimal256(each.type):
            values = table.column(index).to_pylist()
            texts = [None if value is None else _plain(value) for value in values]
            table = table.set_column(index, each.name, pa.array(texts, pa.string()))
    found = pl.from_arrow(table)
    assert isinstance(found, pl.DataFrame)
    return found


def _plain(value: Decimal) -> str:
    """Every digit of a number but zeros at its end; `normalize` would round it to 28."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def usage_stream(usage: Frame) -> bytes:
    """A frame with the columns contract_id, product_id, quantity, date or time, and reference, event_count and
    property:<reference> where they are wanted, as one Arrow stream. FrameError where a column is of a type that has no
    exact numbers.
    """
    table = as_table(usage)
    columns = []
    for each in table.schema:
        column = table.column(each.name)
        if pa.types.is_floating(each.type):
            raise FrameError(f"column {each.name!r} is floating-point, which is not exact: cast it to a decimal")
        if pa.types.is_large_string(each.type) or pa.types.is_string_view(each.type) or pa.types.is_string(each.type):
            column = column.cast(pa.string())
            # References are there once each: a dictionary of them would be one more column.
            column = column if each.name == "reference" else column.dictionary_encode()
        columns.append(column)
    encoded = pa.Table.from_arrays(columns, names=table.column_names).unify_dictionaries().combine_chunks()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, encoded.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        writer.write_table(encoded)
    return sink.getvalue().to_pybytes()


def _check_frame(usage: Any) -> None:
    """FrameError for frames that others make."""
    if isinstance(usage, pl.LazyFrame):
        raise FrameError("usage is a LazyFrame: give usage.collect()")
    if hasattr(usage, "iloc"):
        raise FrameError("usage is a pandas frame: give pl.from_pandas(usage), its numbers cast to an exact type")


def usage_requests(
    usage: Frame | Iterable[Frame], request_rows: int = UPLOAD_ROWS_DEFAULT
) -> Iterator[simulate_pb2.UploadUsageRequest]:
    """Frames of usage as requests of so many rows. FrameError where a column does not fit."""
    _check_frame(usage)
    frames: Iterable[Any] = [usage] if isinstance(usage, pl.DataFrame | pa.Table | pa.RecordBatch) else usage
    for frame in frames:
        _check_frame(frame)
        row_count = frame.height if isinstance(frame, pl.DataFrame) else frame.num_rows
        for start in range(0, row_count, request_rows):
            yield simulate_pb2.UploadUsageRequest(arrow=usage_stream(frame.slice(start, request_rows)))


def simulation_request(
    usage: AnyUsage,
    scenarios: Iterable[Scenario] = (),
    *,
    baseline: Scenario | None = None,
    customer_ids: Iterable[str] = (),
    billed_period: tuple[datetime, datetime] | None = None,
    skip_invalid_scenarios: bool = False,
    omit_charges: bool = False,
) -> simulate_pb2.RunSimulationRequest:
    """The request of a simulation. FrameError where a column of a frame does not fit."""
    request = simulate_pb2.RunSimulationRequest(
        customer_ids=customer_ids,
        baseline=None if baseline is None else baseline.message(),
        scenarios=[each.message() for each in scenarios],
        skip_invalid_scenarios=skip_invalid_scenarios,
        omit_charges=omit_charges,
    )
    _check_frame(usage)
    if billed_period is not None:
        start_time, end_time = map(to_timestamp, billed_period)
        request.billed_period.CopyFrom(common_pb2.Period(start_time=start_time, end_time=end_time))
    if isinstance(usage, pl.DataFrame | pa.Table | pa.RecordBatch):
        request.arrow = usage_stream(usage)
    elif isinstance(usage, RecordedUsage):
        request.recorded.CopyFrom(usage.message())
    elif isinstance(usage, DeterminantUsage):
        request.determinants.CopyFrom(usage.message())
    elif isinstance(usage, UploadedUsage):
        request.usage_frame_id = usage.usage_frame_id
    else:
        request.rows.rows.extend(usage)
    return request
