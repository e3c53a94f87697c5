"""A billing request that a server answered out of its book, with what the book had: readings and configuration."""

from __future__ import annotations

from datetime import timedelta

import polars as pl

import tallybook_client as tb
from tallybook.v1 import determinants_pb2
from tallybook_cli.reading_files import SCHEMA

_OF_INTERVALS = (tb.Kind.INTERVAL, tb.Kind.TIMESLICE, tb.Kind.PMAX, tb.Kind.DEMAND)


def with_book(
    client: tb.Client, request: determinants_pb2.CalculateDeterminantsRequest, result: tb.Determinants
) -> determinants_pb2.CalculateDeterminantsRequest:
    """The request with the readings of its first channel of intervals, as the result had read them, and with all that
    is configured of its datasource. What the request brought itself stays as it is.
    """
    found = determinants_pb2.CalculateDeterminantsRequest()
    found.CopyFrom(request)
    groups = [each.timeslice_group for each in request.billing_request.channels if each.timeslice_group]
    groups += [
        each.time_of_use.timeslice_group
        for each in request.billing_request.demands
        if each.WhichOneof("scheme") == "time_of_use"
    ]
    found.configuration.CopyFrom(client.datasource_configuration(result.datasource, groups, request.configuration))
    channel = next((each.channel for each in result if each.kind in _OF_INTERVALS), None)
    if channel is not None and not request.readings and not request.arrow:
        # A period takes its first instant, or its last, as the channel's label says: both are asked for.
        readings = client.list_readings(
            result.datasource,
            channel,
            result.start_time,
            result.end_time + timedelta(microseconds=1),
            as_of_sequence=result.message.readings_sequence,
        )
        rows = [(channel, each.time, each.value, each.quality, each.interval) for each in readings]
        found.arrow = tb.readings_stream(pl.DataFrame(rows, schema=dict(SCHEMA), orient="row"))
    return found
