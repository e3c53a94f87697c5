"""`tallybook serve`."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import click

from tallybook_cli.errors import CommandError
from tallybook_cli.exit_codes import ExitCode
from tallybook_cli.options import data_option, json_option
from tallybook_cli.output import print_json
from tallybook_server.app import StartError, serve
from tallybook_server.journal.interface import JournalError
from tallybook_server.keys import KeysError
from tallybook_server.settings import DEFAULT_ADDRESS, Settings

PATIENCE_SECONDS = 5.0
PATIENCE = "starting; the first start on a machine compiles its kernels, which takes a minute or two"

PEM = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@data_option
@click.option("--memory", is_flag=True, help="Keep everything in memory: gone when the server stops.")
@click.option("--listen", default=DEFAULT_ADDRESS, show_default=True, metavar="HOST:PORT", help="Port 0: a free one.")
@click.option("--certificate", type=PEM, help="The server's certificate chain; connections are then encrypted.")
@click.option("--private-key", type=PEM, help="The certificate's private key.")
@click.option("--log-calls", is_flag=True, help="One line a call on standard error.")
@json_option
def command(
    data: Path,
    memory: bool,
    listen: str,
    certificate: Path | None,
    private_key: Path | None,
    log_calls: bool,
    as_json: bool,
) -> ExitCode:
    """Start the server; it runs until Ctrl-C or SIGTERM, and then finishes what it has begun.

    Without keys it listens on loopback only and serves the book `default`.

    \b
    Example:
      tallybook serve
      tallybook serve --data /var/lib/tallybook --listen 0.0.0.0:7430 --certificate tls.pem --private-key tls.key
    """
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    logging.getLogger("tallybook.calls").setLevel(logging.INFO if log_calls else logging.WARNING)
    settings = Settings(
        address=listen,
        data_directory=None if memory else data,
        certificate_path=certificate,
        private_key_path=private_key,
    )
    host = listen.rpartition(":")[0]
    patience = threading.Timer(PATIENCE_SECONDS, lambda: click.echo(PATIENCE, err=True))
    patience.daemon = True

    def started(port: int) -> None:
        patience.cancel()
        address = f"{host}:{port}"
        if as_json:
            print_json({"address": address, "data": None if memory else str(data)})
        else:
            click.echo(f"listening on {address}; {'nothing is kept' if memory else f'the books are in {data}'}")

    patience.start()
    try:
        serve(settings, started)
    except (StartError, JournalError, KeysError, OSError) as error:
        raise CommandError(str(error), ExitCode.FAILURE_FOUND) from None
    finally:
        patience.cancel()
    return ExitCode.OK
