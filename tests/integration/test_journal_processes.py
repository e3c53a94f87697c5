"""The journal between processes: reading beside a writer, taking over from one, backing up a live one, killing one."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from tests.support.segments import PARTITION_COUNT, body_of, fill, segment

from tallybook_server.journal.interface import Fenced
from tallybook_server.journal.sqlite import SqliteJournal

ENVIRONMENT = {"PYTHONPATH": ":".join(filter(None, [*sys.path, str(Path(__file__).parents[2])]))}

FOLLOW = """
import sys
from pathlib import Path
from tallybook_server.journal.sqlite import SqliteJournal

journal = SqliteJournal.open(Path(sys.argv[1]), read_only=True)
print("open", flush=True)
passes = longest = 0
while longest < int(sys.argv[2]):
    covered = [n for s in journal.read() for n in range(s.first_sequence, s.last_sequence + 1)]
    assert covered == list(range(1, len(covered) + 1)), covered
    assert len(covered) >= longest, (covered, longest)
    longest = len(covered)
    passes += 1
print(passes, longest)
"""

APPEND = """
import sys
from pathlib import Path
from tallybook_server.journal.sqlite import SqliteJournal
from tests.support.segments import body_of, segment

journal = SqliteJournal.open(Path(sys.argv[1]))
journal.claim()
sequence = journal.last_sequence
while True:
    sequence += 1
    journal.append(sequence - 1, segment(sequence, body_of(sequence, 20_000)))
    print(sequence, flush=True)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "journal.sqlite"
    SqliteJournal.open(path, partition_count=PARTITION_COUNT).close()
    return path


def start(program: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_another_process_reads_while_this_one_appends_and_merges(path: Path) -> None:
    with closing(SqliteJournal.open(path)) as journal:
        journal.claim()
        with start(FOLLOW, path, 200) as follower:
            assert follower.stdout is not None
            assert follower.stdout.readline() == "open\n"
            for sequence in range(1, 201):
                journal.append(sequence - 1, segment(sequence))
                if sequence % 20 == 0:
                    journal.replace(segment(sequence - 19, last=sequence))
            out, error = follower.communicate()
        assert (follower.returncode, error) == (0, "")
        assert out.split()[1] == "200"


def test_a_process_that_takes_over_fences_the_one_before(path: Path) -> None:
    with closing(SqliteJournal.open(path)) as journal:
        fill(journal, 2)
        with start(APPEND, path) as successor:
            assert successor.stdout is not None
            assert successor.stdout.readline() == "3\n"
            with pytest.raises(Fenced):
                journal.append(3, segment(4))
            successor.kill()


@pytest.mark.parametrize("acknowledged", [1, 7, 30])
def test_a_process_that_is_killed_loses_nothing_it_acknowledged(path: Path, acknowledged: int) -> None:
    """Of a kill, not of a power cut: that is test_power_cut's."""
    with start(APPEND, path) as writer:
        assert writer.stdout is not None
        told = [int(writer.stdout.readline()) for _ in range(acknowledged)]
        writer.kill()
        told += [int(line) for line in writer.stdout if line.endswith("\n")]
    with closing(SqliteJournal.open(path)) as journal:
        bodies = [read.body for read in journal.read()]
        assert bodies == [body_of(sequence, 20_000) for sequence in range(1, len(bodies) + 1)]
        assert len(bodies) in (told[-1], told[-1] + 1)


def test_the_documented_backup_of_a_live_journal_is_a_whole_one(path: Path) -> None:
    """docs/operations.md, Backup."""
    copy = path.with_name("copy.sqlite")
    with closing(SqliteJournal.open(path)) as journal:
        appended = fill(journal, 20, 50_000)
        subprocess.run(
            [sys.executable, "-m", "apsw", "-bail", str(path), f".backup {copy}"], check=True, capture_output=True
        )
        fill(journal, 1)
        hash_key = journal.hash_key
    with closing(SqliteJournal.open(copy)) as restored:
        assert list(restored.read()) == appended
        assert restored.hash_key == hash_key
        assert len(fill(restored, 1)) == 1
