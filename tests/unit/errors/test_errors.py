"""The catalogue of errors: complete, documented, used, and faithful on the wire."""

import re
from pathlib import Path

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status

from tallybook_engine.ledger.faults import RowFault
from tallybook_server import limits
from tallybook_server.errors import (
    DOMAIN,
    PUSHBACK_TRAILER,
    ROW_FAULTS,
    STATUS_TRAILER,
    ErrorCode,
    Fault,
    FieldFault,
    field_invalid,
    status_message,
    trailers,
)

ROOT = Path(__file__).resolve().parents[3]
FAULTS = [fault for fault in RowFault if fault is not RowFault.NONE]


def documented(heading: str) -> dict[str, list[str]]:
    """Rows of the table under a heading of docs/errors.md: reason -> the other cells."""
    section = (ROOT / "docs/errors.md").read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| `")]
    reasons = [row[0].strip("`") for row in rows]
    assert len(set(reasons)) == len(reasons)
    return {reason: row[1:] for reason, row in zip(reasons, rows, strict=True)}


def test_every_code_is_documented_and_nothing_else():
    expected = {
        code.name: [f"`{code.status.name}`", "yes" if code.retryable else "no", code.value.meaning]
        for code in ErrorCode
    }
    assert documented("Calls") == expected


def test_every_row_fault_is_documented_in_order_and_nothing_else():
    rows = documented("Rows")
    assert list(rows) == [fault.name for fault in FAULTS]
    assert {reason: cells[0] for reason, cells in rows.items()} == {fault.name: ROW_FAULTS[fault] for fault in FAULTS}


@pytest.mark.parametrize("code", ErrorCode)
def test_every_code_is_raised_somewhere(code):
    sources = [path for path in (ROOT / "server").rglob("*.py") if path.name != "errors.py"]
    used = any(f"ErrorCode.{code.name}" in path.read_text(encoding="utf-8") for path in sources)
    assert used or code is ErrorCode.FIELD_INVALID, "raised by field_invalid alone"


@pytest.mark.parametrize("fault", FAULTS)
def test_every_row_fault_is_given_somewhere(fault):
    # Those of decimals are numbered on from the first of them.
    name = "DECIMAL_EMPTY" if fault.name.startswith("DECIMAL_") else fault.name
    sources = [*(ROOT / "server").rglob("*.py"), *(ROOT / "engine").rglob("*.py")]
    assert any(f"RowFault.{name}" in path.read_text(encoding="utf-8") for path in sources if path.name != "errors.py")


@pytest.mark.parametrize("code", ErrorCode)
def test_retryable_means_unavailable(code):
    assert code.retryable == (code.status is grpc.StatusCode.UNAVAILABLE)


@pytest.mark.parametrize("name", [code.name for code in ErrorCode] + [fault.name for fault in FAULTS])
def test_reasons_are_upper_snake(name):
    assert re.fullmatch(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*", name)


def details(status: Status) -> tuple[ErrorInfo, BadRequest]:
    info, request = ErrorInfo(), BadRequest()
    assert status.details[0].Unpack(info)
    for other in status.details[1:]:
        assert other.Unpack(request)
    return info, request


def test_a_fault_becomes_a_status_with_one_error_info():
    # Given a fault with metadata and two fields
    fields = (FieldFault("plans[0].id", "is empty"), FieldFault("plans[1]", "is cyclic"))
    fault = Fault(ErrorCode.CATALOG_INVALID, "2 faults", {"version": "7"}, fields)
    # When it is translated
    status = status_message(fault)
    info, request = details(status)
    # Then nothing is lost
    assert (status.code, status.message) == (3, "2 faults")
    assert (info.reason, info.domain, dict(info.metadata)) == ("CATALOG_INVALID", DOMAIN, {"version": "7"})
    assert [(each.field, each.description) for each in request.field_violations] == list(fields)


def test_a_wrong_field_is_named():
    info, request = details(status_message(field_invalid("page_size", "is below 0")))
    assert (info.reason, info.metadata["field"]) == ("FIELD_INVALID", "page_size")
    assert not request.field_violations


def test_trailers_carry_the_status():
    [(name, value)] = trailers(Fault(ErrorCode.EVENT_NOT_FOUND, "no such event"))
    assert name == STATUS_TRAILER
    assert Status.FromString(value).message == "no such event"


def test_overloaded_says_when_to_come_back():
    pushbacks = [int(dict(trailers(Fault(ErrorCode.OVERLOADED, "busy")))[PUSHBACK_TRAILER]) for _ in range(200)]
    assert min(pushbacks) >= limits.PUSHBACK_MS_MIN
    assert max(pushbacks) <= limits.PUSHBACK_MS_MAX
    assert len(set(pushbacks)) > 20, "spread, so that not all come back at once"


@pytest.mark.parametrize(("letter", "sent_bytes"), [("x", 1), ("~", 1), ("%", 3), ("\n", 3), ("é", 6), ("𝄞", 12)])
def test_what_an_error_says_is_cut_before_it_is_too_long_to_be_sent(letter, sent_bytes):
    most = limits.FAULT_TEXT_BYTES_MAX
    fits, cut = letter * (most // sent_bytes), letter * ((most - 3) // sent_bytes) + "..."
    for text, said in ((fits, fits), (fits + letter, cut)):
        fault = Fault(ErrorCode.FIELD_INVALID, text, {"field": text})
        assert fault.message == fault.metadata["field"] == said
