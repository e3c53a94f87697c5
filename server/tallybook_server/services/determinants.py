"""DeterminantsService: readings in, billing determinants out."""
# ruff: noqa: N802 - methods bear the names of the contract

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from functools import partial
from typing import Any, Protocol

import grpc
from grpc.aio import ServicerContext

from tallybook.v1 import determinants_pb2 as wire
from tallybook_engine.catalog.model import Catalog
from tallybook_engine.determinants.result import Cancellation
from tallybook_server import limits
from tallybook_server.billing import outcome_of
from tallybook_server.codec import determinants as codec
from tallybook_server.codec.columns import CalculateDeterminantsEnvelope, StreamingCalculateDeterminantsEnvelope
from tallybook_server.codec.envelope import parsed
from tallybook_server.errors import ErrorCode, Fault, status_message
from tallybook_server.interceptors import check_size, internal_fault
from tallybook_server.services.streaming import AnswersInOrder, Turn
from tallybook_server.services.unanswered import UnansweredBytes

SERVICE = "tallybook.v1.DeterminantsService"

Context = ServicerContext[Any, Any]


class CatalogBook(Protocol):
    """What the service needs of a book."""

    def catalog(self) -> Catalog:
        """The current version."""


class DeterminantsService:
    """Everything but the transport happens on the executor's threads; nothing is stored."""

    def __init__(
        self, book_of: Callable[[Context], CatalogBook], executor: Executor, now_us: Callable[[], int]
    ) -> None:
        """`book_of` answers the book that a call's credential names."""
        self._book_of = book_of
        self._executor = executor
        self._now_us = now_us
        self._unanswered = UnansweredBytes(limits.UNANSWERED_BYTES_MAX)

    async def CalculateDeterminants(self, request: bytes, context: Context) -> wire.CalculateDeterminantsResponse:
        """One billing request."""
        if not self._unanswered.take(len(request)):
            raise Fault(ErrorCode.OVERLOADED, f"{limits.UNANSWERED_BYTES_MAX} bytes of requests are unanswered.")
        try:
            return await self._beside(self._calculate, request, self._book_of(context).catalog())
        finally:
            self._unanswered.give_back(len(request))

    async def StreamingCalculateDeterminants(
        self, requests: AsyncIterator[bytes], context: Context
    ) -> AsyncIterator[wire.StreamingCalculateDeterminantsResponse]:
        """Many requests: what is wrong with one is its answer, and the stream goes on."""
        progress = wire.DeterminantsProgress()
        book = self._book_of(context)

        async def answer(message: bytes, _turn: Turn) -> wire.StreamingCalculateDeterminantsResponse:
            return await self._beside(self._answer, message, book.catalog())

        async for response in AnswersInOrder(requests, answer, self._unanswered).answers():
            progress.answered_count += 1
            progress.cancelled_count += response.HasField("cancellation")
            progress.refused_count += response.HasField("status")
            response.progress.CopyFrom(progress)
            yield response

    def _calculate(self, request: bytes, catalog: Catalog) -> wire.CalculateDeterminantsResponse:
        outcome = outcome_of(parsed(CalculateDeterminantsEnvelope, request), catalog)
        if isinstance(outcome, Cancellation):
            raise codec.cancelled(outcome)
        return wire.CalculateDeterminantsResponse(result=codec.result_message(outcome, self._now_us()))

    def _answer(self, message: bytes, catalog: Catalog) -> wire.StreamingCalculateDeterminantsResponse:
        """The answer to one message of a stream; never raises."""
        response = wire.StreamingCalculateDeterminantsResponse()
        try:
            check_size(message)
            envelope = parsed(StreamingCalculateDeterminantsEnvelope, message)
            response.request_number = envelope.request_number
            outcome = outcome_of(envelope.request, catalog)
            if isinstance(outcome, Cancellation):
                response.cancellation.CopyFrom(codec.cancellation_message(outcome))
            else:
                response.result.CopyFrom(codec.result_message(outcome, self._now_us()))
        except Fault as fault:
            response.status.CopyFrom(status_message(fault))
        except Exception:
            response.status.CopyFrom(status_message(internal_fault()))
        return response

    async def _beside(self, work: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._executor, partial(work, *arguments))


def add_to_server(service: DeterminantsService, server: grpc.aio.Server) -> None:
    """Registers the service: as the generated code does, but its methods take bytes."""
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "CalculateDeterminants": grpc.unary_unary_rpc_method_handler(
            service.CalculateDeterminants,
            response_serializer=wire.CalculateDeterminantsResponse.SerializeToString,
        ),
        "StreamingCalculateDeterminants": grpc.stream_stream_rpc_method_handler(
            service.StreamingCalculateDeterminants,
            response_serializer=wire.StreamingCalculateDeterminantsResponse.SerializeToString,
        ),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
