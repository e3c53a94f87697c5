"""The benchmarks at their small size: they run, and what they compute has not silently changed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

HASHES = {
    "streaming": {"8b2cb19d8539b879", "9cc0ce3b5bb51613"},
    "unary": {"621b4b307c6896ed"},
    "restart": {"1f6e32ccc448bbc0", "2e36d3a24a2cde75"},
    "readings": {"8b375caf0b4cfe1f", "abf01b212aab4cdb", "e92b45de97acd321", "ef318693236f9320", "f411c1156f76c659"},
    "simulation": {
        "6b6084f7fa64499b",
        "231057d5f7b67f0c",
        "0bbbbcd9e67308a8",
        "8bf40b8effc27c41",
        "4291df6f7b92e0d5",
        "5e1e83ebd19b5d5d",
        "fed245fa3075327f",
        "0c43e2d4169e32e2",
        "aff20e55633561d1",
        "2b32546fef040c33",
        "56e1f98d464a7e07",
        "65fae503341265f9",
    },
    "sandboxes": {"bb515a40320c8900"},
    "large_simulations": {"f806986e483da64a", "28fdae8deae31d6e"},
    "net_amounts": {"48db243e0560dca5", "cecf11f08fff7efd"},
}
"""Streams with one charge an event and with four; books opened from batches and from single events; readings read back,
determinants of a month over gRPC, and the whole rule over a journal; bills of a simulation and its rivals, then of the
simulations by which growth is measured; what scenarios over uploaded usage come to, and a cancelled one; amounts and
net amounts with terms, and without."""


@pytest.mark.parametrize("name", HASHES)
def test_a_benchmark_computes_what_it_always_did(name: str):
    command = [sys.executable, "-m", f"benchmarks.{name}", "--smoke", "--json"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    lines = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
    assert {line["hash"] for line in lines} == HASHES[name]


def test_a_part_of_a_benchmark_is_run_by_itself():
    command = [sys.executable, "-m", "benchmarks.readings", "--smoke", "--json", "--part", "rule"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert [json.loads(line)["case"] for line in ran.stdout.splitlines()] == ["whole rule from the journal"]


def test_a_start_is_measured():
    command = [sys.executable, "-m", "benchmarks.first_start", "--smoke", "--json"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    figures = json.loads(ran.stdout)
    assert figures["case"] == "start"
    # The server's processor time is counted, and so is the cache that it has filled.
    assert figures["cpu_seconds"] > 0
    assert figures["cache_mib"] > 0


def test_help_names_the_parts():
    command = [sys.executable, "-m", "benchmarks.readings", "--help"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "--part {rpc,journal,rule}" in ran.stdout
