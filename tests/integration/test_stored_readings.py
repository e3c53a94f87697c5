"""Stored readings over gRPC, under a catalogue that changes."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.support.billed_meter import SMALL, request, served
from tests.support.call_errors import failed_with

from tallybook.v1 import determinants_pb2


def stored_request() -> Any:
    """The small meter's hour, of what the book holds."""
    made = request()
    made.ClearField("readings")
    return made


def deliveries() -> list[Any]:
    """The small meter's readings, as they are delivered."""
    return [determinants_pb2.ReadingDelivery(datasource="m1", readings=each) for each in request().readings]


@pytest.mark.parametrize(
    ("classifier", "change", "channel", "words"),
    [
        (0, {"label": "BEGIN"}, "load", "label the interval's END, and its classifier 'ACTIVE' says BEGIN"),
        (0, {"kind": "REGISTER"}, "load", "kind INTERVAL, and its classifier 'ACTIVE' says REGISTER"),
        (1, {"kind": "INTERVAL", "dial_digits": 0}, "read", "kind REGISTER, and its classifier 'READ' says INTERVAL"),
    ],
)
def test_what_was_stored_is_not_read_under_another_meaning(
    tmp_path: Path, classifier: int, change: dict[str, Any], channel: str, words: str
) -> None:
    changed = deepcopy(SMALL)
    del changed["products"], changed["plans"], changed["contracts"]
    with served(tmp_path) as services:
        services.apply(changed)
        services.ingest_readings(*deliveries())
        # When the catalogue says something else of a channel
        changed["channel_classifiers"][classifier].update(change)
        changed["channel_classifiers"] = [
            {key: value for key, value in each.items() if value != 0} for each in changed["channel_classifiers"]
        ]
        services.apply(changed)
        asked = stored_request()
        del asked.billing_request.channels[:]
        kind = changed["channel_classifiers"][classifier].get("kind", "INTERVAL")
        asked.billing_request.channels.add(channel=channel, kind=kind)
        # Then what was delivered before is not read so
        with pytest.raises(grpc.RpcError) as failure:
            services.determinants.CalculateDeterminants(asked)
        assert (failure.value.code(), failed_with(failure.value)) == (
            grpc.StatusCode.FAILED_PRECONDITION,
            "STORED_READINGS_DO_NOT_FIT",
        )
        assert words in str(failure.value.details())
