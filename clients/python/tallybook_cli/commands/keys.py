"""`tallybook keys`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from tallybook_cli.errors import CommandError
from tallybook_cli.exit_codes import ExitCode
from tallybook_cli.options import data_option, json_option
from tallybook_cli.output import console, print_json, print_table
from tallybook_server.keys import ApiKey, ApiKeys, KeysError, check_book_name
from tallybook_server.settings import Settings


@click.group()
def command() -> None:
    """Create, list and revoke the keys of a data directory, also while its server runs.

    A key names its book. Only its hash is kept, so it is shown once. As soon as there is one, the server asks for a
    key on every call.

    \b
    Example:
      tallybook keys create --book acme
      tallybook keys list
      tallybook keys revoke key_6f1d0c52a97b3e84
    """


@command.command()
@click.option("--book", required=True, metavar="NAME", help="The book that the key opens; made on its first use.")
@data_option
@json_option
def create(book: str, data: Path, as_json: bool) -> ExitCode:
    """Create a key and show it, this once.

    \b
    Example:
      tallybook keys create --book acme
    """
    try:
        check_book_name(book)
    except ValueError as error:
        raise CommandError(str(error)) from None
    with _keys(data, must_exist=False) as keys:
        key, token = keys.create(book)
    if as_json:
        print_json({**_fields(key), "key": token})
    else:
        console().print(f"{key.key_id} opens book {key.book}; keep it safe, it is not shown again:", markup=False)
        click.echo(token)
    return ExitCode.OK


@command.command("list")
@data_option
@json_option
def list_keys(data: Path, as_json: bool) -> ExitCode:
    """List all keys ever made, without the keys themselves.

    \b
    Example:
      tallybook keys list
    """
    with _keys(data) as keys:
        found = keys.list()
    if as_json:
        for key in found:
            print_json(_fields(key))
    else:
        rows = ([key.key_id, key.book, _instant(key.created_time_us), _instant(key.revoked_time_us)] for key in found)
        print_table("", ["key", "book", "created", "revoked"], rows)
    return ExitCode.OK


@command.command()
@click.argument("key_id")
@data_option
@json_option
def revoke(key_id: str, data: Path, as_json: bool) -> ExitCode:
    """End a key, from the next call on.

    \b
    Example:
      tallybook keys revoke key_6f1d0c52a97b3e84
    """
    with _keys(data) as keys:
        key = keys.revoke(key_id)
    if as_json:
        print_json(_fields(key))
    else:
        console().print(f"{key.key_id} of book {key.book} opens nothing any more", markup=False)
    return ExitCode.OK


@contextmanager
def _keys(data: Path, must_exist: bool = True) -> Iterator[ApiKeys]:
    path = Settings(data_directory=data).keys_path
    if path is None or (must_exist and not path.exists()):
        raise CommandError(f"{data} has no keys: create one with `tallybook keys create`, or name it with --data")
    try:
        data.mkdir(parents=True, exist_ok=True)
        keys = ApiKeys(path, lambda: time.time_ns() // 1_000)
        try:
            yield keys
        finally:
            keys.close()
    except (KeysError, OSError) as error:
        raise CommandError(str(error), ExitCode.FAILURE_FOUND) from None


def _fields(key: ApiKey) -> dict[str, Any]:
    fields = {"key_id": key.key_id, "book": key.book, "created_time": _text(key.created_time_us)}
    return fields if key.revoked_time_us is None else {**fields, "revoked_time": _text(key.revoked_time_us)}


def _text(time_us: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us)).isoformat().replace("+00:00", "Z")


def _instant(time_us: int | None) -> datetime | None:
    return None if time_us is None else datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us)
