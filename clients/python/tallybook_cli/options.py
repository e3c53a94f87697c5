"""Options that many commands share, and what they stand for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

import tallybook_client as tb
from tallybook_cli.errors import CommandError
from tallybook_cli.target import Target

Command = TypeVar("Command", bound=Callable[..., Any])


def server_options(command: Command) -> Command:
    """--server, --key, --tls and --ca, passed on as `target`."""

    @click.option(
        "--server",
        envvar="TALLYBOOK_SERVER",
        default=tb.DEFAULT_TARGET,
        show_default=True,
        metavar="HOST:PORT",
        help="The server; also TALLYBOOK_SERVER.",
    )
    @click.option(
        "--key",
        envvar="TALLYBOOK_KEY",
        metavar="KEY",
        help="The book's key; better given as TALLYBOOK_KEY, which no list of processes shows.",
    )
    @click.option("--tls", is_flag=True, envvar="TALLYBOOK_TLS", help="Encrypt; also TALLYBOOK_TLS.")
    @click.option(
        "--ca",
        envvar="TALLYBOOK_CA",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Encrypt, and trust the authority in this PEM file; also TALLYBOOK_CA.",
    )
    @wraps(command)
    def with_target(*args: Any, server: str, key: str | None, tls: bool, ca: Path | None, **options: Any) -> Any:
        return command(*args, target=Target(server, key, tls, ca), **options)

    return with_target  # type: ignore[return-value]


json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object a line, as the server words it.")


data_option = click.option(
    "--data",
    default=Path("tallybook-data"),
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="The data directory: journals and keys.",
)


class WrittenFile(click.ParamType[Path]):
    """A file to write. What would fail once all work is done, suffix or directory, is refused before it begins."""

    name = "file"

    def __init__(self, suffix: str) -> None:
        self._suffix = suffix

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Check the suffix, and that the directory is there."""
        file = Path(value)
        if file.suffix.lower() != self._suffix:
            self.fail(f"{value}: write to a file that ends in {self._suffix}", param, ctx)
        if not file.parent.is_dir():
            self.fail(f"{value}: there is no directory {file.parent}", param, ctx)
        if file.is_dir():
            self.fail(f"{value}: is a directory", param, ctx)
        return file


class Instant(click.ParamType[datetime]):
    """A date or a time; without a zone it is UTC."""

    name = "instant"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Read ISO 8601."""
        if isinstance(value, datetime):
            return value
        try:
            instant = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not a date or a time; write 2013-01-31 or 2013-01-31T12:00:00Z", param, ctx)
        return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def stored_options(command: Command) -> Command:
    """--from, --to, --as-of, --superseded and --limit of a list of readings."""
    for option in (
        click.option("--limit", default=100, show_default=True, type=click.IntRange(1), help="At most so many."),
        click.option("--superseded", is_flag=True, help="Also what was replaced or taken back later."),
        click.option("--as-of", default=0, metavar="SEQUENCE", help="The list as of this committed sequence."),
    ):
        command = option(command)
    return stretch_options(command)


def stretch_options(command: Command) -> Command:
    """--from and --to."""
    for option in (
        click.option("--to", "end_time", type=Instant(), metavar="TIME", help="Before this date or time (UTC)."),
        click.option("--from", "start_time", type=Instant(), metavar="TIME", help="From this date or time on (UTC)."),
    ):
        command = option(command)
    return command


def span_options(command: Command) -> Command:
    """--customer, --customer-id, --from and --to, passed on as `span`."""

    @click.option("--customer", metavar="REFERENCE", help="Only this customer's.")
    @click.option("--customer-id", metavar="ID", help="The customer, by id.")
    @click.option("--from", "start_time", type=Instant(), metavar="TIME", help="From this date or time on (UTC).")
    @click.option("--to", "end_time", type=Instant(), metavar="TIME", help="Before this date or time (UTC).")
    @wraps(command)
    def with_span(
        *args: Any,
        customer: str | None,
        customer_id: str | None,
        start_time: datetime | None,
        end_time: datetime | None,
        **options: Any,
    ) -> Any:
        if customer and customer_id:
            raise CommandError("give --customer or --customer-id, not both")
        span = tb.Span(
            customer_reference=customer or "",
            customer_id=customer_id or "",
            start_time=start_time,
            end_time=end_time,
        )
        return command(*args, span=span, **options)

    return with_span  # type: ignore[return-value]


def period_options(command: Command) -> Command:
    """`span_options`, and --at for the periods that hold one instant."""

    @span_options
    @click.option("--at", type=Instant(), metavar="TIME", help="Only the periods that hold this date or time.")
    @wraps(command)
    def with_instant(*args: Any, span: tb.Span, at: datetime | None, **options: Any) -> Any:
        if at is not None:
            if span.start_time or span.end_time:
                raise CommandError("give --at, or --from and --to, not both")
            span = replace(span, start_time=at, end_time=at + timedelta(microseconds=1))
        return command(*args, span=span, **options)

    return with_instant  # type: ignore[return-value]


def pairs(texts: tuple[str, ...], option: str) -> dict[str, str]:
    """NAME=TEXT options as a mapping; each name once."""
    found: dict[str, str] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise CommandError(f"{option} {text}: write {option} NAME=TEXT")
        if name in found:
            raise CommandError(f"{option} {name} is given twice")
        found[name] = value
    return found
