"""SimulateService: what would be charged."""
# ruff: noqa: N802, ARG002 - methods bear the names and arguments of the contract

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, TypeVar

from grpc.aio import ServicerContext

from tallybook.v1 import simulate_pb2 as wire
from tallybook.v1 import simulate_pb2_grpc
from tallybook_server import quotes

Context = ServicerContext[Any, Any]
Request = TypeVar("Request")
Response = TypeVar("Response")


class SimulateService(simulate_pb2_grpc.SimulateServiceServicer):
    """Everything but the transport happens on the executor's threads."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def QuotePrice(self, request: wire.QuotePriceRequest, context: Context) -> wire.QuotePriceResponse:
        """A quantity under a plan."""
        return await self._beside(quotes.quote_price, request)

    async def PreviewBillingDates(
        self, request: wire.PreviewBillingDatesRequest, context: Context
    ) -> wire.PreviewBillingDatesResponse:
        """The billing periods of a contract."""
        return await self._beside(quotes.billing_dates, request)

    async def _beside(self, work: Callable[[Request], Response], request: Request) -> Response:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work, request)
