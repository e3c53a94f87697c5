"""The short form: a small world over real gRPC, restarted once, from a seed that it prints."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest
from tests.simulation.world import World
from tests.support.live_server import SETTINGS, live_server

LIVES = 2
OPERATIONS_A_LIFE = 500
PHASE_OPERATIONS = 120


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Counter[str]:
    """What was done in a random world in which the law held."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    directory = tmp_path_factory.mktemp("world")
    world = World(seed, directory, scale=2)
    for _ in range(LIVES):
        with live_server(replace(SETTINGS, data_directory=directory)) as address:
            world.live(address, OPERATIONS_A_LIFE, PHASE_OPERATIONS)
    world.check_stored(oracle_lines=None)
    return world.counts


HAPPENS = ("STORED", "DUPLICATE", "CONFLICT", "INVALID", "DELETED", "Ingest", "Stream", "Delete", "change")


@pytest.mark.parametrize("what", HAPPENS)
def test_the_law_holds_in_a_world_where_everything_happens(lived, what):
    assert lived[what]
