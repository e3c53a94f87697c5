"""Sandboxes under random calls: whatever is done in them, production's journal stays what it is, byte for byte."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.simulation.world import World
from tests.support.live_server import SETTINGS, live_server

from tallybook_client import (
    Client,
    FailedPreconditionError,
    InvalidArgumentError,
    RecordedUsage,
    Scenario,
    Span,
    UnauthenticatedError,
)

PRODUCTION_OPERATIONS = 200
SANDBOXES = 3
OPERATIONS_A_SANDBOX = 340
PHASE_OPERATIONS = 120


class Lived(NamedTuple):
    """What was there of production before and after sandboxes lived, and what they did."""

    before: list[str]
    after: list[str]
    operation_count: int
    kinds: set[str]
    charges: list[str]
    charges_afterwards: list[str]
    tokens: list[str]
    directory: Path


def bytes_of(directory: Path) -> list[str]:
    """Each file that holds anything of production, by name and content."""
    files = sorted(path for path in directory.iterdir() if not path.name.endswith("-shm"))
    return [f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in files]


def charges_of(client: Client) -> list[str]:
    return [str(line.message) for each in client.list_customers() for line in client.charges(Span(customer_id=each.id))]


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lived]:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    directory = tmp_path_factory.mktemp("production")
    settings = replace(SETTINGS, data_directory=directory)
    world = World(seed, directory, scale=2)
    with live_server(settings) as address:
        world.live(address, PRODUCTION_OPERATIONS, PHASE_OPERATIONS)
    now = datetime.now(UTC)
    with live_server(settings) as address, Client(address) as production:
        charges, before = charges_of(production), bytes_of(directory)
        made = [production.create_sandbox(str(number)) for number in range(SANDBOXES - 1)]
        made.append(production.create_sandbox(recorded_usage=(now - timedelta(days=400), now + timedelta(days=400))))
        worlds = [world.in_sandbox(each.access_token, seed + number) for number, each in enumerate(made)]
        for each in worlds:
            each.live(address, OPERATIONS_A_SANDBOX, PHASE_OPERATIONS)
        # What is run over production itself is not stored either
        period = RecordedUsage(start_time=now - timedelta(days=400), end_time=now + timedelta(days=400))
        with suppress(FailedPreconditionError, InvalidArgumentError):
            # Random numbers may leave the limits.
            production.simulate(period, [Scenario(name="again")], omit_charges=True)
        production.delete_sandbox(made[0].sandbox.sandbox_id)
        after = bytes_of(directory)
        yield Lived(
            before,
            after,
            sum(each.operation_count for each in worlds),
            {kind for each in worlds for kind, count in each.counts.items() if count},
            charges,
            charges_of(production),
            [each.access_token for each in made],
            directory,
        )


def test_productions_journal_is_byte_identical(lived):
    assert lived.operation_count >= 1_000
    assert {"STORED", "DELETED", "change", "Stream", "Predict"} <= lived.kinds
    assert lived.before
    assert lived.after == lived.before


def test_productions_charges_are_what_they_were(lived):
    assert lived.charges
    assert lived.charges_afterwards == lived.charges


def test_a_restart_leaves_no_sandbox(lived, tmp_path):
    # Given a server that starts from a copy of the files
    for path in lived.directory.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with live_server(replace(SETTINGS, data_directory=tmp_path)) as address:
        with Client(address) as production:
            assert production.list_sandboxes() == []
            assert charges_of(production) == lived.charges
        for token in lived.tokens:
            with Client(address, token) as sandbox, pytest.raises(UnauthenticatedError) as error:
                sandbox.get_catalog()
            assert error.value.reason == "SANDBOX_EXPIRED"
