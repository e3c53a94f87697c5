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
    "results": "07598dcc7a9dbf29",
    "tallybook": "5338bf944b8eab46",
    "polars": "5338bf944b8eab46",
    "duckdb": "5338bf944b8eab46",
    "pandas": "5338bf944b8eab46",
    "tallybook_bill": "78fd5d21c36e9b3a",
    "pysam": "78fd5d21c36e9b3a",
}


def test_the_benchmark_computes_what_it_always_did():
    command = [sys.executable, "-m", "benchmarks.determinants", "--smoke", "--json"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    lines = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
    found = {line["case"]: line["hash"] for line in lines}
    absent = {line["case"] for line in lines if line.get("times_slower") == "not installed"}
    assert absent <= {"duckdb", "pandas", "pysam"}
    assert found == {**HASHES, **dict.fromkeys(absent, "")}
