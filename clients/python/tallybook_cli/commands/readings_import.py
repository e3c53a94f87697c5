"""`tallybook readings import`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import click

import tallybook_client as tb
from tallybook.v1 import determinants_pb2
from tallybook_cli.deliveries import NamedChannel, batches
from tallybook_cli.errors import CommandError
from tallybook_cli.exit_codes import ExitCode
from tallybook_cli.options import json_option, pairs, server_options
from tallybook_cli.output import console, instant, print_json
from tallybook_cli.progress import progress_bar
from tallybook_cli.reading_files import read_file
from tallybook_cli.target import Target
from tallybook_server import offline_determinants as offline
from tallybook_server.readings_files.model import (
    ChannelDefaults,
    ChannelReadings,
    Format,
    ReadFile,
    ReadOptions,
)

LINES_SHOWN_MAX = 5
"""Lines of a file's report that are shown; the others are counted, and --json has a thousand."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--configuration",
    "configuration_file",
    metavar="REQUEST",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="YAML or JSON of a CalculateDeterminantsRequest: its configuration says what the catalogue does not.",
)
@click.option("--datasource", metavar="ID", help="The datasource of files that name none.")
@click.option("--channel", metavar="NAME", help="The channel of files that name none.")
@click.option(
    "--datasource-map",
    "datasources",
    multiple=True,
    metavar="THEIRS=OURS",
    help="A NMI, and its datasource in the book.",
)
@click.option(
    "--channel-map",
    "channels",
    multiple=True,
    metavar="THEIRS=OURS",
    help="A channel of the files, as E1 or NMI/E1, and its name in the book.",
)
@click.option("--only", multiple=True, metavar="CHANNEL", help="Only these channels, by their names in the book.")
@click.option(
    "--format",
    "file_format",
    type=click.Choice([each.value for each in Format], case_sensitive=False),
    help="By the content, if left out.",
)
@click.option("--quality", metavar="STATUS", help="Status of readings that have none.")
@click.option("--status", "statuses", multiple=True, metavar="WORD=STATUS", help="What a word of the files means.")
@click.option("--unit", metavar="UNIT", help="CSV, Parquet: the unit; others are converted by a power of ten.")
@click.option(
    "--column", "columns", multiple=True, metavar="OURS=THEIRS", help="CSV, Parquet: what the files call a column."
)
@click.option("--zone", metavar="ZONE", help="CSV, Parquet: time zone of times without an offset.")
@click.option(
    "--label",
    type=click.Choice(["BEGIN", "END"], case_sensitive=False),
    help="CSV, Parquet: which end of the interval a time names.",
)
@click.option(
    "--kind",
    type=click.Choice(["INTERVAL", "REGISTER"], case_sensitive=False),
    help="CSV, Parquet: intervals, or reads of a register.",
)
@click.option(
    "--interval", type=click.IntRange(min=1), metavar="SECONDS", help="CSV, Parquet: length of the intervals."
)
@click.option("--dry-run", is_flag=True, help="Read and report; send nothing.")
@server_options
@json_option
def command(
    target: Target,
    files: tuple[Path, ...],
    configuration_file: Path | None,
    datasource: str | None,
    channel: str | None,
    datasources: tuple[str, ...],
    channels: tuple[str, ...],
    only: tuple[str, ...],
    file_format: str | None,
    quality: str | None,
    statuses: tuple[str, ...],
    unit: str | None,
    columns: tuple[str, ...],
    zone: str | None,
    label: str | None,
    kind: str | None,
    interval: int | None,
    dry_run: bool,
    as_json: bool,
) -> ExitCode:
    """Store the readings of NEM12, NEM13, Green Button, CSV or Parquet files. Safe to run again.

    All files are read before anything is sent. What is skipped is told, with its reason and line. The last delivery of
    a timestamp counts, so a file that is sent again changes nothing. docs/readings.md has the formats.

    \b
    Example:
      tallybook readings import nem12.zip --dry-run
      tallybook readings import nem12.zip --datasource-map 4103035611=house --channel-map E1=load --only load
      tallybook readings import load.csv --datasource house --channel load --column end=until --zone Europe/London \\
        --unit kWh --quality measured
    """
    try:
        configuration = _Configuration(_message(configuration_file))
    except offline.RequestFileError as error:
        raise CommandError("\n  ".join(error.faults)) from None
    names = _Names(pairs(datasources, "--datasource-map"), pairs(channels, "--channel-map"), only)
    defaults = ChannelDefaults.of_words(kind, label, None if interval is None else interval * 1_000_000)
    options = replace(
        configuration.options(),
        format=None if file_format is None else Format(file_format),
        statuses=pairs(statuses, "--status"),
        default_status=quality,
        unit=unit,
        time_zone=zone,
        datasource=datasource,
        channel=channel,
        names_needed=True,
        defaults=defaults,
        channel_defaults=configuration.channel_defaults(names, datasource),
        columns=pairs(columns, "--column"),
    )
    found: list[ReadFile] = []
    with progress_bar(as_json) as progress:
        task = progress.add_task("files", total=len(files))
        for path in files:
            found.append(read_file(path, options))
            progress.advance(task)
    named = [_named(file, names, configuration, options) for file in found]
    for file, of_file in zip(found, named, strict=True):
        _tell_file(file, of_file, as_json)
    stored = _Stored()
    if not dry_run:
        begun = time.monotonic()
        _send(target, [each for of_file in named for each in of_file], configuration, stored, quiet=as_json)
        _tell_stored(stored, time.monotonic() - begun, as_json)
    is_whole = not stored.refused_count and not any(file.report.skipped_count for file in found)
    return ExitCode.OK if is_whole else ExitCode.FAILURE_FOUND


@dataclass(frozen=True)
class _Configuration:
    """What is known of datasources before the server is asked."""

    message: determinants_pb2.DeterminantsConfiguration | None

    def options(self) -> ReadOptions:
        """With the one quality table of all datasources."""
        if self.message is None or not self.message.datasources:
            return ReadOptions()
        if len({each.quality_table for each in self.message.datasources}) > 1:
            raise CommandError("the datasources have several quality tables: import the files of each by themselves")
        known = offline.datasource_configuration(self.message, self.message.datasources[0].id)
        return ReadOptions(quality=known.quality)

    def channel_defaults(self, names: _Names, datasource: str | None) -> dict[str, ChannelDefaults]:
        """By the files' own names, for files of one datasource."""
        if self.message is None or datasource is None or not self._has(datasource):
            return {}
        known = offline.channel_defaults(offline.datasource_configuration(self.message, datasource))
        renamed = {theirs: known[ours] for theirs, ours in names.channels.items() if ours in known}
        return {**known, **renamed}

    def check(self, file: str, datasource: str, channel: str, found: ChannelReadings) -> None:
        """Refuses what would be billed as what it is not; what the configuration does not know the server judges."""
        if self.message is None or not self._has(datasource):
            return
        classifiers = offline.datasource_configuration(self.message, datasource).classifiers
        if channel not in classifiers:
            known = ", ".join(classifiers) or "none"
            what = f"{file}: datasource {datasource} has no channel {channel}; it has {known}"
            raise CommandError(f"{what}; map it with --channel-map, or leave it out with --only")
        offline.check_classifier(file, found.info, classifiers[channel])

    def _has(self, datasource: str) -> bool:
        return self.message is not None and any(each.id == datasource for each in self.message.datasources)


@dataclass(frozen=True)
class _Names:
    """Names of the book by those of the files."""

    datasources: Mapping[str, str]
    channels: Mapping[str, str]
    only: Sequence[str]

    def of(self, datasource: str, found: ChannelReadings) -> tuple[str, str]:
        """(datasource, channel) of a file's channel, of the longest name that is mapped."""
        info = found.info
        own = info.channel
        for theirs in (f"{datasource}/{own}/{info.meter_serial}", f"{datasource}/{own}", own):
            if theirs in self.channels:
                own = self.channels[theirs]
                break
        return self.datasources.get(datasource, datasource), own


@dataclass
class _Stored:
    """What became of what was sent."""

    stored_count: int = 0
    ignored_count: int = 0
    refused_count: int = 0
    sequence: int = 0
    refused: list[tb.RefusedDelivery] = field(default_factory=list)

    def add(self, answer: tb.ReadingsAnswer) -> None:
        self.stored_count += answer.stored_count
        self.ignored_count += answer.ignored_count
        self.refused_count += answer.refused_delivery_count
        self.sequence = answer.sequence or self.sequence
        self.refused += answer.refused_deliveries


def _message(file: Path | None) -> determinants_pb2.DeterminantsConfiguration | None:
    return None if file is None else offline.read_request_file(str(file), file.read_bytes()).configuration


def _named(file: ReadFile, names: _Names, configuration: _Configuration, options: ReadOptions) -> list[NamedChannel]:
    """The channels of a file that are wanted, each under a name of its own."""
    found: dict[tuple[str, str], NamedChannel] = {}
    path, statuses = file.report.file, tuple(each.name for each in options.quality.statuses)
    for each in file.channels:
        theirs = each.info.datasource or options.datasource or ""
        datasource, channel = names.of(theirs, each)
        if not datasource or not channel:
            raise CommandError(f"{path}: of which datasource and channel is it? give --datasource and --channel")
        if names.only and channel not in names.only:
            continue
        if (datasource, channel) in found:
            what = f"{path}: two channels would be {datasource}/{channel}"
            mend = f"map each by its meter, as --channel-map {theirs}/{each.info.channel}/{each.info.meter_serial}=NAME"
            raise CommandError(f"{what}; {mend}")
        try:
            configuration.check(path, datasource, channel, each)
        except offline.RequestFileError as error:
            raise CommandError(str(error)) from None
        found[datasource, channel] = NamedChannel(datasource, channel, each, statuses)
    return list(found.values())


def _send(
    target: Target, channels: Sequence[NamedChannel], configuration: _Configuration, stored: _Stored, quiet: bool
) -> None:
    """Sends everything, with a progress bar on standard error."""
    with progress_bar(quiet) as progress, target.connect() as client:
        _check_catalogue(client, channels, configuration)
        task = progress.add_task("readings", total=sum(each.reading_count for each in channels))
        sizes: list[int] = []
        for answer in client.ingest_readings(_noted(batches(channels), sizes), configuration=configuration.message):
            stored.add(answer)
            # What was refused is done with too.
            progress.advance(task, sizes[answer.batch_number])


def _noted(sent: Iterable[list[tb.Delivery]], sizes: list[int]) -> Iterator[list[tb.Delivery]]:
    """The batches, once how many readings each has is noted."""
    for batch in sent:
        sizes.append(sum(len(readings.values) for _, readings in batch))
        yield batch


def _check_catalogue(client: tb.Client, channels: Sequence[NamedChannel], configuration: _Configuration) -> None:
    """Refuses what the book's classifiers call otherwise, for a delivery tells neither kind nor label, and it would be
    billed as what it is not. What the book does not know, the server judges.
    """
    known: dict[str, Mapping[str, Any]] = {}
    for each in channels:
        try:
            if each.datasource not in known:
                found = client.datasource_configuration(each.datasource, given=configuration.message)
                known[each.datasource] = offline.datasource_configuration(found, each.datasource).classifiers
            if each.channel in known[each.datasource]:
                name = f"{each.datasource}/{each.channel}"
                offline.check_classifier(name, each.file_channel.info, known[each.datasource][each.channel])
        except tb.NotFoundError:
            known[each.datasource] = {}
        except offline.RequestFileError as error:
            raise CommandError(f"{error}; nothing was sent") from None


def _tell_file(file: ReadFile, channels: Sequence[NamedChannel], as_json: bool) -> None:
    report = file.report
    if as_json:
        print_json(
            {
                "file": report.file,
                "format": report.format.value,
                "read_count": report.read_count,
                "skipped_count": report.skipped_count,
                "skipped_counts": {reason.value: count for reason, count in report.skipped_counts.items()},
                "lines": [
                    {
                        "line": each.line,
                        "reason": each.reason.value if each.reason else None,
                        "skipped_count": each.skipped_count,
                        "what": each.what,
                        "mend": each.mend,
                    }
                    for each in report.lines
                ],
                "unlisted_count": report.unlisted_count,
                "channels": list(map(_described, channels)),
            }
        )
        return
    print_ = partial(console().print, markup=False, soft_wrap=True)
    print_(
        f"{report.file}: {report.format.value}, {report.read_count:,} readings read, {report.skipped_count:,} skipped"
    )
    for each in map(_described, channels):
        in_unit = f" in {each['unit']}" if each["unit"] else ""
        print_(
            f"  {each['datasource']}/{each['channel']}: {each['reading_count']:,} of {each['kind']}{in_unit}, "
            f"{each['first_time']} to {each['last_time']}"
        )
    if report.skipped_counts:
        counts = ", ".join(f"{count:,} {reason.value}" for reason, count in report.skipped_counts.items())
        print_(f"  skipped: {counts}")
    for line in report.lines[:LINES_SHOWN_MAX]:
        print_(f"  {line}")
    unshown = len(report.lines) - LINES_SHOWN_MAX + report.unlisted_count
    if unshown > 0:
        print_(f"  and {unshown:,} more; --json lists {len(report.lines):,}")


def _described(each: NamedChannel) -> dict[str, Any]:
    labels, info = each.file_channel.labels_us, each.file_channel.info
    first, last = (instant(_EPOCH + timedelta(microseconds=int(label))) for label in (labels[0], labels[-1]))
    return {
        "datasource": each.datasource,
        "channel": each.channel,
        "kind": info.kind.value,
        "label": info.label.value,
        "unit": info.unit,
        "reading_count": each.reading_count,
        "first_time": first,
        "last_time": last,
    }


def _tell_stored(stored: _Stored, seconds: float, as_json: bool) -> None:
    refused = [
        {
            "datasource": each.datasource,
            "channel": each.channel,
            "reason": each.fault.reason,
            "message": each.fault.text,
        }
        for each in stored.refused
    ]
    if as_json:
        print_json(
            {
                "stored_count": stored.stored_count,
                "ignored_count": stored.ignored_count,
                "refused_delivery_count": stored.refused_count,
                "refused_deliveries": refused,
                "sequence": stored.sequence,
            }
        )
        return
    print_ = partial(console().print, markup=False, soft_wrap=True)
    rate = f", {stored.stored_count / seconds:,.0f} a second" if seconds > 0 else ""
    print_(f"{stored.stored_count:,} readings stored{rate}; {stored.ignored_count:,} without quality left out")
    if stored.refused_count:
        print_(f"refused: {stored.refused_count:,} deliveries, of which nothing is stored")
    for each in refused[:LINES_SHOWN_MAX]:
        print_(f"  {each['datasource']}/{each['channel']}: {each['reason']} {each['message']}")
