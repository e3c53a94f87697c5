"""No comparison and no rounding of the rules of money can be wrong without a test that sees it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.planted_faults import GROUPS

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("group", GROUPS)
def test_every_planted_fault_is_seen(group):
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run(
        [sys.executable, "-m", "tests.planted_faults", group], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "faults planted" in run.stdout
