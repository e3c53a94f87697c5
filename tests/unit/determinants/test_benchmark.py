"""The benchmark of determinants at its small size: it runs, and what it computes has not silently changed."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
HASHES = {
    "limit": "6aa56c4bcd208911",
    "pmax": "00f7b3c4bae1df30",
    "rule": "69bbc017f1114b44",
    "results": "3e2ccded799777ac",
    "polars": "ed656604a0400d77",
}


def test_the_benchmark_computes_what_it_always_did():
    command = [sys.executable, "-m", "benchmarks.determinants", "--smoke", "--json"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    lines = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
    assert {line["case"]: line["hash"] for line in lines} == HASHES
