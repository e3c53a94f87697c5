"""A server as a process of its own, stopped when it is no longer needed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tallybook_cli.errors import CommandError
from tallybook_cli.exit_codes import ExitCode

STOP_SECONDS = 60
"""How long a server may take to finish what it has begun before it is killed."""


@contextmanager
def serving(data: Path, log: Path) -> Iterator[str]:
    """Start a server on a free loopback port, with its journal in `data`; yields its address.

    What it logs goes to `log`. It is asked to stop at the end, and is waited for.
    """
    command = [sys.executable, "-m", "tallybook_cli", "serve", "--data", str(data), "--listen", "127.0.0.1:0", "--json"]
    with log.open("w") as log_file:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log_file, text=True)
    try:
        yield _address(process, log)
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _address(process: subprocess.Popen[str], log: Path) -> str:
    """The address that the server prints once it answers; CommandError where it ended instead."""
    line = process.stdout.readline() if process.stdout is not None else ""
    if not line:
        process.wait()
        last = log.read_text().strip().rpartition("\n")[2]
        raise CommandError(f"the server did not start: {last} (see {log})", ExitCode.SERVER_FAULT)
    address: str = json.loads(line)["address"]
    return address
