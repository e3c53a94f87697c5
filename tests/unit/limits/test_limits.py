"""Limits are named, documented and stated by the contract. Each is tested at its edge where it is enforced."""

import importlib
import re
from pathlib import Path

import pytest

from tallybook_engine.determinants import configuration
from tallybook_engine.determinants.quality import MAX_STATUSES
from tallybook_engine.ledger.faults import RowFault
from tallybook_engine.simulation.usage import FAULTS_MAX
from tallybook_server import limits
from tallybook_server.codec.usage import EVENT_COUNT_MAX
from tallybook_server.errors import ErrorCode

ROOT = Path(__file__).resolve().parents[3]
DOCUMENT = (ROOT / "docs/limits.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")] for line in DOCUMENT.splitlines() if line.startswith("| `")
]
REASONS = {code.name for code in ErrorCode} | {fault.name for fault in RowFault}


def constants() -> dict[str, int | float]:
    return {name: value for name, value in vars(limits).items() if name.isupper()}


def test_every_limit_of_the_server_is_documented_with_its_value():
    documented = {name.strip("`"): value for name, value, *_ in ROWS if "." not in name}
    assert documented == {name: f"{value:,.0f}" for name, value in constants().items()}


@pytest.mark.parametrize(("name", "value"), [(name.strip("`"), value) for name, value, *_ in ROWS if "." in name])
def test_every_other_limit_has_its_value(name, value):
    module, _, constant = name.rpartition(".")
    found = getattr(importlib.import_module(module), constant)
    assert (f"{found:,}" if isinstance(found, int) else str(found)) == value


def test_every_limit_of_a_catalogue_is_documented():
    module = "tallybook_engine.catalog.limits"
    documented = {name.strip("`") for name, *_ in ROWS}
    assert {f"{module}.{name}" for name in vars(importlib.import_module(module)) if name.isupper()} <= documented


@pytest.mark.parametrize("over", [over for *_, over in ROWS])
def test_reasons_are_of_the_catalogue(over):
    named = set(re.findall(r"`([A-Z_]+)`", over)) - {"RESOURCE_EXHAUSTED", "FAILED"}
    assert named <= REASONS


@pytest.mark.parametrize("name", list(constants()))
def test_every_limit_is_used(name):
    sources = [path for path in (ROOT / "server").rglob("*.py") if path.name != "limits.py"]
    defined = (ROOT / "server/tallybook_server/limits.py").read_text(encoding="utf-8")
    judged_by_the_engine = f"{name} = pivot." in defined
    assert (
        judged_by_the_engine
        or defined.count(name) > 1
        or any(f"limits.{name}" in path.read_text(encoding="utf-8") for path in sources)
    )


@pytest.mark.parametrize(
    ("stated", "value"),
    [
        ("At most 10,000 events", limits.EVENTS_IN_CALL_MAX),
        ("at most 65,536 a batch", limits.EVENTS_IN_BATCH_MAX),
        ("At most 10,000.", limits.SELECTORS_IN_CALL_MAX),
        ("16 MiB a message", limits.MESSAGE_BYTES_MAX),
        ("64 MiB decompressed", limits.ARROW_BYTES_MAX),
        ("1,024 record batches", limits.ARROW_BATCHES_MAX),
        ("1 to 255 bytes", limits.NAME_BYTES_MAX),
        ("What was measured; at most 64", limits.VALUES_IN_EVENT_MAX),
        ("What prices may depend on; at most 64", limits.PROPERTIES_IN_EVENT_MAX),
        ("4,194,304", limits.CELLS_IN_MESSAGE_MAX),
        ("while 16 batches are unanswered", limits.UNANSWERED_BATCHES_MAX),
        ("more than 1,000 are read as 1,000", limits.PAGE_SIZE_MAX),
        ("default and maximum 5 s", limits.PREDICTION_TIMEOUT_SECONDS_MAX),
        ("at most 80 % of the call's deadline", limits.PREDICTION_DEADLINE_PERCENT),
    ],
)
def test_the_contract_states_the_limits_that_callers_meet(stated, value):
    assert stated in comments("ingest.proto")
    assert stated_number(stated) == value


@pytest.mark.parametrize(
    ("file", "stated", "value"),
    [
        ("simulate.proto", "distinct names may be 67,108,864", limits.USAGE_CELLS_MAX),
        ("determinants.proto", "At most 16 MiB", limits.MESSAGE_BYTES_MAX),
        ("determinants.proto", "at most 1,048,576 together", limits.READINGS_IN_REQUEST_MAX),
        ("determinants.proto", "channels counted, may be 1,048,576", limits.DEMAND_READINGS_MAX),
        ("determinants.proto", "64 MiB decompressed", limits.ARROW_BYTES_MAX),
        ("determinants.proto", "1,024 record batches", limits.ARROW_BATCHES_MAX),
        ("determinants.proto", "while 64 requests of the stream are unanswered", limits.UNANSWERED_REQUESTS_MAX),
        ("determinants.proto", "at most 2,097,152 deliveries of readings at once", limits.READINGS_AT_ONCE_MAX),
        ("determinants.proto", "asked of channels; at most 256", limits.REQUESTED_CHANNELS_MAX),
        ("determinants.proto", "Demand that is asked; at most 64", limits.REQUESTED_DEMANDS_MAX),
        ("determinants.proto", "may be 65,536", limits.DETERMINANTS_IN_ANSWER_MAX),
        ("determinants.proto", "a group may be 1,048,576", limits.TIMESLICE_CELLS_MAX),
        ("determinants.proto", "Datasources; at most 1,000", limits.CONFIGURED_OBJECTS_MAX),
        ("determinants.proto", "Timeslice groups; at most 64", limits.CONFIGURED_TABLES_MAX),
        ("determinants.proto", "which look back. At most 1,200", limits.HISTORY_MONTHS_MAX),
        ("determinants.proto", "beginnings of the peaks; at most 1,000", limits.DEMAND_PEAKS_MAX),
        ("determinants.proto", "above 0 and at most 366 days", limits.INTERVAL_DAYS_MAX),
        ("simulate.proto", "at most 2,097,152 rows", limits.USAGE_ROWS_MAX),
        ("simulate.proto", "compare with the baseline; at most 64", limits.SCENARIOS_MAX),
        ("simulate.proto", "A server runs 8 at once", limits.SIMULATIONS_MAX),
        ("simulate.proto", "A book has at most 16 sandboxes", limits.SANDBOXES_MAX),
        ("simulate.proto", "sandboxes and a server 64", limits.SANDBOXES_OF_SERVER_MAX),
        ("simulate.proto", "may come to 268,435,456 bytes", limits.SANDBOX_BYTES_MAX),
        ("simulate.proto", "to 604,800 s (7 days)", limits.SANDBOX_SECONDS_MAX),
        ("simulate.proto", "not deleted: at most 10,000,000", limits.RECORDED_EVENTS_MAX),
        ("simulate.proto", "At most 10,000,000 rows in all", limits.UPLOADED_ROWS_MAX),
        ("simulate.proto", "and 1,073,741,824 bytes of columns", limits.UPLOADED_BYTES_MAX),
        ("simulate.proto", "A book may have 4 frames", limits.USAGE_FRAMES_MAX),
        ("simulate.proto", "come to 2,147,483,648 bytes at most", limits.UPLOADED_BYTES_OF_SERVER_MAX),
        ("simulate.proto", "page by page, for 900 s after", limits.KEPT_CHARGES_SECONDS),
        ("simulate.proto", "with more than 67,108,864 bytes", limits.KEPT_CHARGES_BYTES_MAX),
        ("simulate.proto", "more than 268,435,456 bytes", limits.KEPT_CHARGES_OF_SERVER_BYTES_MAX),
        ("simulate.proto", "Absent: 3,600 s", limits.SANDBOX_SECONDS_DEFAULT),
        ("simulate.proto", "at least both together, at most 1,000,000", limits.QUOTE_DAYS_MAX),
        ("simulate.proto", "more than 1,000 are read as 1,000", limits.BILLING_PERIODS_MAX),
        ("simulate.proto", "at most 16,384 lines", limits.SIMULATED_LINES_IN_MESSAGE),
        ("simulate.proto", "What is wrong, at most 1,000 faults", FAULTS_MAX),
        ("simulate.proto", "at most 1,000 faults are named", FAULTS_MAX),
        ("simulate.proto", "the row stands for, from 1 to 999,999,999,999,999", EVENT_COUNT_MAX),
        ("catalog.proto", "Its channels; at most 256", configuration.MAX_CHANNELS),
        ("catalog.proto", "The windows of the slices; 1 to 1,000", configuration.MAX_WINDOWS),
        ("catalog.proto", "at most 62 names of slices", configuration.MAX_TIMESLICES),
        ("catalog.proto", 'The holidays, "2026-12-25"; at most 10,000', configuration.MAX_HOLIDAYS),
        ("catalog.proto", "From 0 to 31 days", configuration.MAX_REGISTER_TOLERANCE_DAYS),
        ("catalog.proto", "of the channels of this sort; at most 64", configuration.MAX_READING_TYPES),
        ("catalog.proto", "From the best to the worst; 1 to 256", MAX_STATUSES),
    ],
)
def test_the_contract_of_determinants_states_its_limits(file, stated, value):
    assert stated in comments(file)
    assert stated_number(stated.replace("2026-12-25", "").replace("above 0", "").replace("From 0 to", "")) == value


def comments(file: str) -> str:
    return re.sub(r"\s*\n\s*// ", " ", (ROOT / "proto/tallybook/v1" / file).read_text(encoding="utf-8"))


def stated_number(stated: str) -> int:
    number = re.findall(r"\d[\d,]*", stated.replace("1 to ", ""))[0]
    return int(number.replace(",", "")) * (2**20 if "MiB" in stated else 1)
