"""The benchmark of marginal costs at its smoke size: it runs, and it still does the work that its hashes name."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
HASHES = {
    "per_unit": "907a48057379cc85",
    "graduated": "f61c21f109a3784b",
    "volume": "f7bb2813fb3b9561",
    "stairstep": "d6d827f101af8386",
    "package": "9f6557dc0e813316",
    "per_unit+graduated+volume+stairstep+package": "cb9f5278f77dfc51",
}


def test_the_smoke_size_answers_the_same_costs_as_ever():
    run = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "marginal_costs.py"), "--smoke"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    answers = [json.loads(line) for line in run.stdout.splitlines()]
    assert {answer["prices"]: answer["hash"] for answer in answers} == HASHES
    assert all(answer["events_per_second"] > 0 for answer in answers)
