"""A server that answers as it is told, so that the client is tested alone: breaks, refusals, slow answers."""

from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import grpc
import pyarrow as pa
import pytest
from google.rpc import code_pb2, error_details_pb2, status_pb2

from tallybook.v1 import catalog_pb2_grpc, ingest_pb2, ingest_pb2_grpc
from tallybook_client import Client, RetryPolicy


class ScriptedService(ingest_pb2_grpc.IngestServiceServicer, catalog_pb2_grpc.CatalogServiceServicer):
    """Remembers what was sent; each method answers what the test put into `answers`."""

    def __init__(self) -> None:
        self.streams: list[list[ingest_pb2.StreamingIngestEventsRequest]] = []
        self.requests: list[object] = []
        self.metadata: list[dict[str, str]] = []
        self.answers: list[Any] = []
        self.failure = ""
        self.overloaded_count = 0
        self.on_stream: Callable[..., Iterator[ingest_pb2.StreamingIngestEventsResponse]] = answer_all

    def StreamingIngestEvents(self, request_iterator, context):  # noqa: N802
        received: list[ingest_pb2.StreamingIngestEventsRequest] = []
        self.streams.append(received)
        self.metadata.append(dict(context.invocation_metadata()))

        def remembered():
            for request in request_iterator:
                received.append(request)
                yield request

        yield from self.on_stream(remembered(), context, len(self.streams))

    def _answer(self, request, context):
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        if self.overloaded_count:
            self.overloaded_count -= 1
            context.set_trailing_metadata((("grpc-retry-pushback-ms", "1"),))
            context.abort(grpc.StatusCode.UNAVAILABLE, "overloaded")
        if self.failure:
            context.abort(grpc.StatusCode[self.failure], "it went wrong")
        answer = self.answers.pop(0)
        if isinstance(answer, status_pb2.Status):
            context.set_trailing_metadata((("grpc-status-details-bin", answer.SerializeToString()),))
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, answer.message)
        return answer

    IngestEvents = PredictCosts = DeleteEvents = GetEvent = ListEvents = ListUsage = ListCharges = _answer
    ApplyCatalog = GetCatalog = GetCustomer = ListCustomers = GetContract = ListContracts = _answer
    GetProduct = ListProducts = GetPlan = ListPlans = GetMeter = ListMeters = _answer
    GetDatasource = ListDatasources = GetChannelClassifier = ListChannelClassifiers = _answer
    GetTimesliceGroup = ListTimesliceGroups = GetHolidayCalendar = ListHolidayCalendars = _answer
    GetQualityTable = ListQualityTables = _answer

    def StreamingApplyCatalog(self, request_iterator, context):  # noqa: N802
        return self._answer(list(request_iterator), context)

    IngestReadings = StreamingIngestEvents
    DeleteReadings = _answer

    def ReprocessEvents(self, request, context):  # noqa: N802
        self.requests.append(ingest_pb2.ReprocessEventsRequest.FromString(request.SerializeToString()))
        for answer in self.answers.pop(0):
            if isinstance(answer, grpc.StatusCode):
                context.abort(answer, "broken")
            yield answer


def row_count(request: ingest_pb2.StreamingIngestEventsRequest) -> int:
    if request.WhichOneof("payload") == "rows":
        return len(request.rows.events)
    rows: int = pa.ipc.open_stream(request.arrow).read_all().num_rows
    return rows


def stored(request: ingest_pb2.StreamingIngestEventsRequest) -> ingest_pb2.StreamingIngestEventsResponse:
    count = row_count(request)
    result = ingest_pb2.BatchResult(sequence=request.batch_number + 1, stored_count=count, matched_count=count)
    if request.return_costs:
        result.costs.currencies.append("EUR")
        result.costs.decimal_places.append(2)
        result.costs.amount_excluding_tax.extend(range(count))
        result.costs.tax_amount.extend([1] * count)
    return ingest_pb2.StreamingIngestEventsResponse(batch_number=request.batch_number, result=result)


def answer_all(requests, context, attempt):
    """Answer every batch as stored."""
    for request in requests:
        yield stored(request)


def status(code: int, reason: str, message: str, **metadata: str) -> status_pb2.Status:
    answer = status_pb2.Status(code=code, message=message)
    answer.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain="tallybook.io", metadata=metadata))
    return answer


@pytest.fixture
def service():
    return ScriptedService()


@pytest.fixture
def target(service):
    server = grpc.server(futures.ThreadPoolExecutor(4), options=[("grpc.max_receive_message_length", 16 * 1024 * 1024)])
    ingest_pb2_grpc.add_IngestServiceServicer_to_server(service, server)
    catalog_pb2_grpc.add_CatalogServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


@pytest.fixture
def waits() -> list[float]:
    """Seconds that the client would have waited."""
    return []


@pytest.fixture
def client(target, waits):
    with Client(target, "tb_secret", retry=RetryPolicy(sleep=waits.append)) as connected:
        yield connected


@pytest.fixture
def answers():
    """What a scripted service can answer to a batch."""

    class Answers:
        OK = staticmethod(stored)
        UNAVAILABLE = code_pb2.UNAVAILABLE
        INVALID_ARGUMENT = code_pb2.INVALID_ARGUMENT
        status = staticmethod(status)

        @staticmethod
        def failed(request, code, reason):
            return ingest_pb2.StreamingIngestEventsResponse(
                batch_number=request.batch_number, status=status(code, reason, "not this time")
            )

    return Answers
