"""The short form: a small world over real gRPC, restarted twice, from a seed that it prints."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from tests.simulation.world import World
from tests.support.live_server import SETTINGS, live_server

LIVES = 3
OPERATIONS_A_LIFE = 700
PHASE_OPERATIONS = 120


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Counter[str]:
    """What was done in one fixed world and one random one; the law holds in both."""
    done: Counter[str] = Counter()
    for seed in (1, random.randrange(2**32)):
        print(f"seed {seed}")
        done += run(tmp_path_factory.mktemp("world"), seed)
    return done


def run(directory: Path, seed: int) -> Counter[str]:
    world = World(seed, directory, scale=2)
    for _ in range(LIVES):
        with live_server(replace(SETTINGS, data_directory=directory)) as address:
            world.live(address, OPERATIONS_A_LIFE, PHASE_OPERATIONS)
        world.check_stored(oracle_lines=None)
    return world.counts


@pytest.mark.parametrize(
    "what",
    [
        *("STORED", "DUPLICATE", "CONFLICT", "INVALID", "DELETED", "ALREADY_DELETED", "NOT_FOUND"),
        *("Ingest", "Stream", "Predict", "Delete", "change", "reprocess"),
    ],
)
def test_the_law_holds_in_worlds_where_everything_happens(lived, what):
    assert lived[what]
