"""What a command prints: tables for people, one JSON object a line for programs."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol, TypeVar

import click
import yaml
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

PIPED_WIDTH = 180
"""Columns of a table that no terminal shows: nothing is cut off in a file."""


def console() -> Console:
    """Standard output. Text that looks like an emoji's name, `:key:`, stays as it is: names of things may."""
    width = None if sys.stdout.isatty() else PIPED_WIDTH
    return Console(width=width, highlight=False, soft_wrap=False, emoji=False)


def print_json(value: Message | Mapping[str, Any]) -> None:
    """One JSON object on a line, with the contract's own field names."""
    fields = fields_of(value) if isinstance(value, Message) else value
    click.echo(json.dumps(fields, ensure_ascii=False))


def fields_of(message: Message) -> dict[str, Any]:
    """A message as JSON has it, with the contract's own field names."""
    return MessageToDict(message, preserving_proto_field_name=True)


def yaml_text(message: Message) -> str:
    """A message as a file of it, which can be read again."""
    text: str = yaml.safe_dump(fields_of(message), sort_keys=False, allow_unicode=True, width=120)
    return text


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table; columns whose name ends with '>' are numbers and stand right. Cells are shown as they are: a name may
    have brackets.
    """
    out = console()
    if title:
        out.print(title, style="bold", markup=False, soft_wrap=True)
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in columns:
        right = column.endswith(">")
        table.add_column(column.removesuffix(">"), justify="right" if right else "left", no_wrap=right)
    for row in rows:
        table.add_row(*(Text(shown(cell)) for cell in row))
    out.print(table)


class Entry(Protocol):
    """Something of a list, as the client answers it."""

    @property
    def message(self) -> Message: ...


Listed = TypeVar("Listed", bound=Entry)


def print_listed(
    found: Iterable[Listed],
    limit: int,
    columns: Sequence[str],
    row_of: Callable[[Listed], Sequence[object]],
    as_json: bool,
) -> None:
    """The first entries of a list, as a table or a JSON object a line; no more of it is read than is shown, and one."""
    read = list(itertools.islice(found, limit + 1))
    if as_json:
        for each in read[:limit]:
            print_json(each.message)
        return
    print_table("", columns, map(row_of, read[:limit]))
    if len(read) > limit:
        console().print(f"the first {limit:,}; --limit shows more")


def shown(value: object) -> str:
    """A value for a person."""
    if value is None:
        return ""
    if isinstance(value, Decimal):
        return number(value)
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, datetime):
        return instant(value)
    return str(value)


def number(value: Decimal) -> str:
    """A number with thousands separators, without trailing zeros."""
    text = f"{value:,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def instant(value: datetime) -> str:
    """A time in UTC."""
    text = value.strftime("%Y-%m-%d %H:%M:%S")
    fraction = f".{value.microsecond:06d}" if value.microsecond else ""
    return f"{text}{fraction}Z"


def path(parts: Sequence[str]) -> str:
    """A contract path."""
    return " / ".join(parts)
