"""No comparison and no rounding of pricing and rating can be wrong without a test that sees it."""

from pathlib import Path

from tests.planted_faults import GROUPS
from tests.support.faults import assert_every_fault_is_seen


def test_every_planted_fault_is_seen():
    assert_every_fault_is_seen("pricing")


def test_each_group_has_a_file_of_its_own():
    # So that workers of the test run, each of which takes whole files, share the groups.
    files = Path(__file__).parent.glob("test_faults_of_*.py")
    assert {each.stem.removeprefix("test_faults_of_") for each in files} == GROUPS.keys()
