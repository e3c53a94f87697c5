"""Tallybook's Python client: usage events in, exact money out.

from decimal import Decimal
from tallybook_client import Client, Event

with Client("127.0.0.1:7430") as client:
    [result] = client.predict(
        [Event(reference="e1", customer_reference="acme", meter_reference="api", values={"calls": Decimal("3")})]
    )
    print(result.cost.details[0].amount_including_tax)
"""

from tallybook_client.catalog import CatalogChange, CatalogVersion
from tallybook_client.channel import DEFAULT_TARGET
from tallybook_client.charges import CHARGES_SCHEMA, charges_frame
from tallybook_client.client import BATCH_ROWS_DEFAULT, Charges, Client, Span, determinants_request
from tallybook_client.costs import Costs
from tallybook_client.determinants import (
    DETERMINANTS_SCHEMA,
    Determinant,
    Determinants,
    DeterminantsAnswer,
    IntervalCounts,
    Kind,
    Peak,
)
from tallybook_client.errors import (
    AbortedError,
    DeadlineExceededError,
    DeterminantsCancelledError,
    DeterminantsCause,
    FailedPreconditionError,
    FieldFault,
    InvalidArgumentError,
    LimitExceededError,
    NotFoundError,
    PermissionDeniedError,
    ServerFaultError,
    TallybookError,
    UnauthenticatedError,
    UnavailableError,
    read_causes,
)
from tallybook_client.events import AnyEvent, Event, EventKey
from tallybook_client.frames import ColumnMap, Frame, FrameError, event_batches
from tallybook_client.holiday_calendar import Holidays, HolidaysError, public_holidays
from tallybook_client.quotes import BillingDates, PriceQuote
from tallybook_client.readings import channel_readings, readings_stream
from tallybook_client.report import IngestReport, Progress
from tallybook_client.results import (
    AmountLine,
    Cause,
    ChargeLine,
    CostDetail,
    CostPrediction,
    DeleteResult,
    DeleteStatus,
    EventHistory,
    EventResult,
    Match,
    Money,
    PeriodCost,
    ReprocessProgress,
    RowFault,
    Status,
    StoredEvent,
    TaxSummary,
    UsageTotal,
    View,
)
from tallybook_client.sandboxes import CreatedSandbox, Sandbox
from tallybook_client.simulation import (
    BASELINE,
    SIMULATION_CHARGES_SCHEMA,
    SIMULATION_CUSTOMERS_SCHEMA,
    Scenario,
    ScenarioTotal,
    Simulation,
    SkippedScenario,
    simulation_request,
    usage_stream,
)
from tallybook_client.stored_readings import (
    Acknowledgement,
    BillingMessage,
    BillingReading,
    Delivery,
    ReadingsAnswer,
    ReadingsBatch,
    RefusedDelivery,
    StoredReading,
)
from tallybook_client.stream import WINDOW_BATCHES, Batch, BatchAnswer, ExceptionalRow, RetryPolicy

__all__ = [
    "BASELINE",
    "BATCH_ROWS_DEFAULT",
    "CHARGES_SCHEMA",
    "DEFAULT_TARGET",
    "DETERMINANTS_SCHEMA",
    "SIMULATION_CHARGES_SCHEMA",
    "SIMULATION_CUSTOMERS_SCHEMA",
    "WINDOW_BATCHES",
    "AbortedError",
    "Acknowledgement",
    "AmountLine",
    "AnyEvent",
    "Batch",
    "BatchAnswer",
    "BillingDates",
    "BillingMessage",
    "BillingReading",
    "CatalogChange",
    "CatalogVersion",
    "Cause",
    "ChargeLine",
    "Charges",
    "Client",
    "ColumnMap",
    "CostDetail",
    "CostPrediction",
    "Costs",
    "CreatedSandbox",
    "DeadlineExceededError",
    "DeleteResult",
    "DeleteStatus",
    "Delivery",
    "Determinant",
    "Determinants",
    "DeterminantsAnswer",
    "DeterminantsCancelledError",
    "DeterminantsCause",
    "Event",
    "EventHistory",
    "EventKey",
    "EventResult",
    "ExceptionalRow",
    "FailedPreconditionError",
    "FieldFault",
    "Frame",
    "FrameError",
    "Holidays",
    "HolidaysError",
    "IngestReport",
    "IntervalCounts",
    "InvalidArgumentError",
    "Kind",
    "LimitExceededError",
    "Match",
    "Money",
    "NotFoundError",
    "Peak",
    "PeriodCost",
    "PermissionDeniedError",
    "PriceQuote",
    "Progress",
    "ReadingsAnswer",
    "ReadingsBatch",
    "RefusedDelivery",
    "ReprocessProgress",
    "RetryPolicy",
    "RowFault",
    "Sandbox",
    "Scenario",
    "ScenarioTotal",
    "ServerFaultError",
    "Simulation",
    "SkippedScenario",
    "Span",
    "Status",
    "StoredEvent",
    "StoredReading",
    "TallybookError",
    "TaxSummary",
    "UnauthenticatedError",
    "UnavailableError",
    "UsageTotal",
    "View",
    "channel_readings",
    "charges_frame",
    "determinants_request",
    "event_batches",
    "public_holidays",
    "read_causes",
    "readings_stream",
    "simulation_request",
    "usage_stream",
]
