"""The JSON of the contract: the two golden documents, read and written with the original field names."""

import json
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from tests.support.outcomes import CENTS_7

from tallybook.v1.ingest_pb2 import CostPrediction, Event, EventResult
from tallybook_server.codec import results

GOLDEN = Path(__file__).parent / "golden"


def golden(name: str) -> Any:
    return json.loads((GOLDEN / name).read_text(encoding="utf-8"))


def as_json(message) -> Any:
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


def test_the_golden_event_is_an_event_to_the_letter():
    event = json_format.ParseDict(golden("event.json"), Event())
    assert as_json(event) == golden("event.json")
    assert list(as_json(event)["meter_values"][0]) == ["reference", "number"]


def test_the_golden_prediction_is_a_result_to_the_letter():
    result = json_format.ParseDict(golden("prediction.json"), EventResult())
    assert as_json(result) == golden("prediction.json")


def test_the_server_answers_the_golden_prediction():
    # Given the posting of the golden event
    result = EventResult(cost_prediction=results.prediction([CENTS_7], CostPrediction.FULL))
    # Then the answer holds every field of the document, and beside them only what explains
    extra: set[str] = set()
    assert_holds(as_json(result), golden("prediction.json"), extra)
    assert extra == {
        "catalog_version",
        "cause",
        "line_number",
        "plan_id",
        "quantity_after",
        "quantity_before",
        "rule",
        "tax_amount",
    }


def assert_holds(found: Any, expected: Any, extra: set[str]) -> None:
    """Every field of `expected` is in `found`; the names of what else is there are put into `extra`."""
    if isinstance(expected, dict):
        extra |= found.keys() - expected.keys()
        for name, value in expected.items():
            assert_holds(found[name], value, extra)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_holds(one, other, extra)
    else:
        assert found == expected
