"""`tallybook determinants`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import date, datetime
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import click
from google.protobuf.timestamp_pb2 import Timestamp

import tallybook_client as tb
from tallybook.v1 import determinants_pb2
from tallybook_cli.errors import CommandError
from tallybook_cli.exit_codes import ExitCode
from tallybook_cli.options import WrittenFile, json_option, server_options
from tallybook_cli.output import console, print_json, print_table
from tallybook_cli.reading_files import readings_of
from tallybook_cli.stored_load import with_book
from tallybook_cli.target import Target
from tallybook_server import offline_determinants as offline
from tallybook_server.readings_files.model import Report

REPORT_LINES_SHOWN = 20
"""Remarks on a file of readings that are shown; the others are counted."""


@click.command()
@click.argument("request_file", metavar="REQUEST", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("reading_files", metavar="[CHANNEL=]FILE...", nargs=-1)
@click.option(
    "--catalog",
    "catalog_file",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Take the configuration from this catalogue file; otherwise the request has it, or the server's catalogue.",
)
@click.option("--from", "start", metavar="DATE", help="First local date of the period, in the request's time zone ...")
@click.option("--to", "end", metavar="DATE", help="... and the first date after it.")
@click.option("--by-month", is_flag=True, help="Each local month of the period too.")
@click.option("--report", "on_invalid_report", is_flag=True, help="Compute also where readings may not be billed.")
@click.option("--quality", metavar="STATUS", help="Status of the readings of files without a column quality.")
@click.option("--utc", is_flag=True, help="Times without a zone are UTC.")
@click.option(
    "--store", is_flag=True, help="Store them, with a billing message; they are usage of the customer who pays."
)
@click.option("--offline", "is_offline", is_flag=True, help="Compute here: no server, no key.")
@click.option(
    "--picture",
    metavar="FILE.png",
    type=WrittenFile(".png"),
    help="Draw the load, its slices shaded and each maximum marked.",
)
@server_options
@json_option
def command(
    target: Target,
    request_file: Path,
    reading_files: tuple[str, ...],
    catalog_file: Path | None,
    start: str | None,
    end: str | None,
    by_month: bool,
    on_invalid_report: bool,
    quality: str | None,
    utc: bool,
    store: bool,
    is_offline: bool,
    picture: Path | None,
    as_json: bool,
) -> ExitCode:
    """Compute billing determinants of a meter: totals, timeslices, maxima, register reads, demand.

    REQUEST is YAML or JSON of the contract's CalculateDeterminantsRequest: the billing request and its configuration.
    Or it is a CIM GetMeterReadings message, JSON, whose reading types the channel classifiers name.
    Readings are files of NEM12, NEM13, Green Button, CSV or Parquet, also packed (docs/readings.md). Channels bear the
    names that the file gives them; CHANNEL=FILE names the one of a file that gives none. What CSV and Parquet leave
    unsaid (unit, kind, label, interval), the channel's classifier says. What is skipped is told. Without files, the
    readings are those that the book has. Nothing is stored without --store.

    \b
    Example:
      tallybook determinants examples/meter/request.yaml examples/meter/load.csv --offline
      tallybook determinants examples/meter/request.yaml examples/meter/load.csv --offline --picture load.png
      tallybook determinants examples/energy/london.yaml --store
      tallybook determinants cim_request.json load.csv --catalog catalog.yaml --offline
      tallybook determinants request.yaml load=load.parquet read=reads.csv --from 2026-01-01 --to 2026-04-01 --by-month
    """
    try:
        request = offline.read_request_file(str(request_file), request_file.read_bytes())
        if catalog_file is not None:
            offline.add_configuration(request, str(catalog_file), catalog_file.read_bytes())
        if start is not None or end is not None:
            _place(request.billing_request, _zone(request, is_offline, target), start, end)
        if by_month:
            request.billing_request.split_by_month = True
        if on_invalid_report:
            request.billing_request.on_invalid = determinants_pb2.BillingRequest.REPORT
        if reading_files:
            readings, reports = readings_of(request, reading_files, quality, "UTC" if utc else None)
            request.arrow = tb.readings_stream(readings)
            for report in reports:
                _tell(report)
        request.store = request.store or store
        message = _computed(request, is_offline, target)
    except offline.RequestFileError as error:
        raise CommandError("\n  ".join(error.faults)) from None
    except tb.FrameError as error:
        raise CommandError(str(error)) from None
    if as_json:
        print_json(message)
    else:
        _print(tb.Determinants.read(message))
    if picture is not None:
        _draw(request, tb.Determinants.read(message), picture, is_offline, target)
    return ExitCode.OK


def _draw(
    request: determinants_pb2.CalculateDeterminantsRequest,
    result: tb.Determinants,
    picture: Path,
    is_offline: bool,
    target: Target,
) -> None:
    # Matplotlib takes long to import, and is wanted here only.
    from tallybook_cli.load_picture import draw

    if not is_offline:
        with target.connect() as client:
            request = with_book(client, request, result)
    load = offline.sliced_load(request)
    if load is None or not len(load.values):
        raise CommandError("there is no load to draw: no channel of intervals is asked for")
    draw(load, result, picture)


def _place(billing: determinants_pb2.BillingRequest, zone: str, start: str | None, end: str | None) -> None:
    """The period that the options say, in place of the file's."""
    for option, text, field in (("--from", start, billing.start_time), ("--to", end, billing.end_time)):
        if text is not None:
            field.CopyFrom(_midnight(zone, option, text))


def _zone(request: determinants_pb2.CalculateDeterminantsRequest, is_offline: bool, target: Target) -> str:
    """The time zone that is asked for, or else the datasource's, as the request or the book has it."""
    billing, configuration = request.billing_request, request.configuration
    if billing.time_zone:
        return billing.time_zone
    if billing.datasource and not is_offline:
        with target.connect() as client:
            configuration = client.datasource_configuration(billing.datasource, given=configuration)
    zone = next((each.time_zone for each in configuration.datasources if each.id == billing.datasource), "")
    if not zone:
        raise CommandError("--from and --to are local dates: give the billing request a time_zone")
    return zone


def _midnight(zone: str, option: str, text: str) -> Timestamp:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise CommandError(f"{option} {text}: write a date, as in 2026-01-31") from None
    instant_us = offline.midnight_us(zone, day)
    return Timestamp(seconds=instant_us // 1_000_000, nanos=instant_us % 1_000_000 * 1_000)


def _tell(report: Report) -> None:
    """What a person should know of a file, beside the answer."""
    for line in report.lines[:REPORT_LINES_SHOWN]:
        click.echo(f"{report.file}: {line}", err=True)
    unshown = len(report.lines) + report.unlisted_count - REPORT_LINES_SHOWN
    if unshown > 0:
        click.echo(f"{report.file}: and {unshown} more remarks", err=True)


def _computed(
    request: determinants_pb2.CalculateDeterminantsRequest, is_offline: bool, target: Target
) -> determinants_pb2.DeterminantsResult:
    if is_offline:
        if request.store:
            raise CommandError("only a server stores: leave --offline out, or --store and the request's `store`")
        try:
            return offline.determinants(request, time.time_ns() // 1_000)
        except offline.DeterminantsError as error:
            causes = getattr(error.detail, "causes", ())
            raise CommandError(_with_causes(str(error), tb.read_causes(causes)), ExitCode.REFUSED) from None
    with target.connect() as client:
        try:
            return client.calculate_determinants(request).message
        except tb.DeterminantsCancelledError as error:
            raise CommandError(_with_causes(str(error), error.causes), ExitCode.REFUSED) from None


def _with_causes(message: str, causes: Sequence[tb.DeterminantsCause]) -> str:
    if len(causes) < 2:
        return message
    return "\n  ".join([message, *(f"{each.reason} {each.channel}: {each.detail}" for each in causes)])


def _print(result: tb.Determinants) -> None:
    zone = ZoneInfo(result.time_zone)

    def local(instant: datetime) -> str:
        return instant.astimezone(zone).strftime("%Y-%m-%d %H:%M")

    rows = []
    for each in result:
        counts, peak = each.counts, each.peaks[0] if each.peaks else None
        rows.append(
            [
                each.channel,
                " ".join(word for word in (each.kind.value, each.demand, each.slice) if word),
                local(each.start_time),
                local(each.end_time),
                each.value,
                each.unit,
                each.quality,
                counts.present_count if counts else None,
                counts.missing_count if counts else None,
                local(peak.start_time) if peak else (local(each.read_time) if each.read_time else None),
            ]
        )
    columns = ["channel", "determinant", "from", "to", "value>", "unit", "quality", "present>", "missing>", "at"]
    print_table(f"{result.datasource}  times in {result.time_zone}", columns, rows)
    say = partial(console().print, markup=False, soft_wrap=True)
    for remark in result.remarks:
        say(f"  {remark.reason} {remark.channel}: {remark.detail}")
    if result.message.message_id:
        say(
            f"stored at sequence {result.message.stored_sequence}, with the billing message {result.message.message_id}"
        )
