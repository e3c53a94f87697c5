"""Planting all faults of a group, in a process of its own that runs kernels as plain Python."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def assert_every_fault_is_seen(group: str) -> None:
    """Fails, with their places, where faults of a group (`tests.planted_faults.GROUPS`) are seen by no test."""
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run(
        [sys.executable, "-m", "tests.planted_faults", group], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "faults planted" in run.stdout
