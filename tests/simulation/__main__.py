"""The long form: `python -m tests.simulation --operations 1000000 --seed N`."""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from pathlib import Path

from tests.simulation.world import World

from tallybook_cli.server_process import serving

LIVES = 10
PHASE_OPERATIONS = 5_000
SCALE = 100
ORACLE_LINES = 40


def main() -> None:
    """Runs a world over a server in a process of its own, restarted between its lives; fails where the law does."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--operations", type=int, default=1_000_000, help="events sent and deleted, and changes")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    chosen = parser.parse_args()
    print(f"seed {chosen.seed}", flush=True)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        world = World(chosen.seed, directory, SCALE)
        for life in range(LIVES):
            with serving(directory, directory / "log") as address:
                world.live(address, chosen.operations // LIVES, PHASE_OPERATIONS)
            print(f"life {life + 1}: {world.operation_count} operations, {time.monotonic() - begun:.0f} s", flush=True)
        world.check_stored(ORACLE_LINES)
    for what, count in sorted(world.counts.items()):
        print(f"{count:>10,} {what}")
    print(f"the law holds after {world.operation_count:,} operations, {time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
