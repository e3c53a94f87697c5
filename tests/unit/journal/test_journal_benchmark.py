"""The benchmark of the journal still does the work that its figures are about."""

from __future__ import annotations

import pytest
from benchmarks.journal_commit import main


def test_the_benchmark_reads_back_what_it_committed(capsys: pytest.CaptureFixture[str]) -> None:
    results = main(["--smoke"])
    assert [(result.body_bytes, result.commits, result.sha256[:16]) for result in results] == [
        (2_500, 20, "2bd2e0b4eb500112"),
        (1_048_576, 3, "f8e99725cc32d4d0"),
    ]
    assert capsys.readouterr().out.count('"benchmark": "journal_commit"') == 2
