"""The benchmark of decoding at its smoke size: it runs, and rows and Arrow still make the columns of the hash."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_the_smoke_size_makes_the_same_columns_as_ever():
    run = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "decode_events.py"), "--smoke"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    answers = [json.loads(line) for line in run.stdout.splitlines()]
    hashes = {answer["layer"]: answer["hash"] for answer in answers if answer["hash"] is not None}
    assert set(hashes.values()) == {"c2cb96f0edc64f7d"}
    assert len(hashes) == 5
