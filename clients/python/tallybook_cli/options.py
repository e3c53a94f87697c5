"""Options that many commands share, and what they stand for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from typing import Any, TypeVar

import click

import tallybook_client as tb
from tallybook_cli.errors import CommandError
from tallybook_cli.target import Target

Command = TypeVar("Command", bound=Callable[..., Any])


def server_options(command: Command) -> Command:
    """--server and --key, passed on as `target`."""

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
    @wraps(command)
    def with_target(*args: Any, server: str, key: str | None, **options: Any) -> Any:
        return command(*args, target=Target(server, key), **options)

    return with_target  # type: ignore[return-value]


json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object a line, as the server words it.")


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


def span_options(customer_required: bool = False) -> Callable[[Command], Command]:
    """--customer, --customer-id, --from and --to, passed on as `span`."""

    def decorate(command: Command) -> Command:
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
            if customer_required and not (customer or customer_id):
                raise CommandError("whose? give --customer or --customer-id")
            span = tb.Span(
                customer_reference=customer or "",
                customer_id=customer_id or "",
                start_time=start_time,
                end_time=end_time,
            )
            return command(*args, span=span, **options)

        return with_span  # type: ignore[return-value]

    return decorate


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
