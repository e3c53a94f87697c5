"""The service config beside the protos: complete, within gRPC's limits, and obeyed by gRPC's own client."""

import importlib
import importlib.resources
import json
from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor

from tallybook.v1 import ingest_pb2

CONFIG_TEXT = (importlib.resources.files("tallybook.v1") / "service_config.json").read_text(encoding="utf-8")
CONFIG = json.loads(CONFIG_TEXT)

# Resent by the caller: gRPC's replay would hold a whole stream in memory.
RESENT_BY_THE_CALLER = {
    "tallybook.v1.IngestService/StreamingIngestEvents",
    "tallybook.v1.IngestService/IngestReadings",
    "tallybook.v1.CatalogService/StreamingApplyCatalog",
    "tallybook.v1.DeterminantsService/StreamingCalculateDeterminants",
    "tallybook.v1.SimulateService/UploadUsage",
}


def declared_methods() -> list[MethodDescriptor]:
    """Every method of every service of the package."""
    methods: list[MethodDescriptor] = []
    folder = importlib.resources.files("tallybook.v1")
    for name in sorted(entry.name for entry in folder.iterdir() if entry.name.endswith("_pb2.py")):
        module = importlib.import_module(f"tallybook.v1.{name.removesuffix('.py')}")
        for service in module.DESCRIPTOR.services_by_name.values():
            methods.extend(service.methods)
    return methods


def path(method: MethodDescriptor) -> str:
    """`package.Service/Method`."""
    return f"{method.containing_service.full_name}/{method.name}"


def configured() -> dict[str, dict[str, Any]]:
    """The config of each method, by its path; a method that is named twice fails."""
    found: dict[str, dict[str, Any]] = {}
    for entry in CONFIG["methodConfig"]:
        for name in entry["name"]:
            key = f"{name['service']}/{name['method']}"
            assert key not in found, f"{key} is named twice"
            found[key] = entry
    return found


def seconds(duration: str) -> float:
    """A duration of JSON, "0.2s", in seconds."""
    assert duration.endswith("s")
    return float(duration[:-1])


def test_every_method_is_named_once_and_no_other() -> None:
    assert sorted(configured()) == sorted(path(method) for method in declared_methods())


@pytest.mark.parametrize("method", declared_methods(), ids=path)
def test_a_method_retries_what_may_be_repeated_and_only_that(method: MethodDescriptor) -> None:
    entry = configured()[path(method)]

    if path(method) in RESENT_BY_THE_CALLER:
        assert "retryPolicy" not in entry
    else:
        assert entry["retryPolicy"]["retryableStatusCodes"] == ["UNAVAILABLE"]


@pytest.mark.parametrize("method", declared_methods(), ids=path)
def test_a_call_has_a_deadline_unless_the_caller_streams(method: MethodDescriptor) -> None:
    assert ("timeout" in configured()[path(method)]) == (not method.client_streaming)


@pytest.mark.parametrize("policy", [entry["retryPolicy"] for entry in CONFIG["methodConfig"] if "retryPolicy" in entry])
def test_a_retry_policy_is_within_what_grpc_accepts(policy: dict[str, Any]) -> None:
    assert 2 <= policy["maxAttempts"] <= 5
    assert 0 < seconds(policy["initialBackoff"]) <= seconds(policy["maxBackoff"])
    assert policy["backoffMultiplier"] > 1


@dataclass
class FailingIngest:
    """A server's side of GetEvent that answers the given status codes in turn, then a success."""

    codes: list[grpc.StatusCode]
    call_count: int = field(default=0, init=False)

    def __call__(
        self, request: ingest_pb2.GetEventRequest, context: grpc.ServicerContext
    ) -> ingest_pb2.GetEventResponse:
        self.call_count += 1
        if self.call_count <= len(self.codes):
            context.set_trailing_metadata((("grpc-retry-pushback-ms", "1"),))
            context.abort(self.codes[self.call_count - 1], "planted")
        return ingest_pb2.GetEventResponse()


@pytest.fixture
def get_event() -> Iterator[Callable[[FailingIngest], None]]:
    """Calls GetEvent once, through a channel that uses the config, against the server's side given."""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=1))
    port = server.add_insecure_port("127.0.0.1:0")

    def call(behavior: FailingIngest) -> None:
        handler = grpc.unary_unary_rpc_method_handler(
            behavior,
            request_deserializer=ingest_pb2.GetEventRequest.FromString,
            response_serializer=ingest_pb2.GetEventResponse.SerializeToString,
        )
        service = grpc.method_handlers_generic_handler("tallybook.v1.IngestService", {"GetEvent": handler})
        server.add_generic_rpc_handlers((service,))
        server.start()
        with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.service_config", CONFIG_TEXT)]) as channel:
            method = channel.unary_unary(
                "/tallybook.v1.IngestService/GetEvent",
                request_serializer=ingest_pb2.GetEventRequest.SerializeToString,
                response_deserializer=ingest_pb2.GetEventResponse.FromString,
            )
            method(ingest_pb2.GetEventRequest())

    yield call
    server.stop(grace=None).wait()


def test_unavailable_is_tried_again_until_it_succeeds(get_event: Callable[[FailingIngest], None]) -> None:
    behavior = FailingIngest([grpc.StatusCode.UNAVAILABLE] * 4)

    get_event(behavior)

    assert behavior.call_count == 5


@pytest.mark.parametrize(
    "code",
    [
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.INTERNAL,
    ],
)
def test_no_other_code_is_tried_again(get_event: Callable[[FailingIngest], None], code: grpc.StatusCode) -> None:
    behavior = FailingIngest([code])

    with pytest.raises(grpc.RpcError) as raised:
        get_event(behavior)

    assert raised.value.code() is code
    assert behavior.call_count == 1
