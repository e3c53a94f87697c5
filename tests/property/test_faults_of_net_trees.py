"""No comparison and no sum of the trees behind net lines can be wrong without a test that sees it."""

from tests.support.faults import assert_every_fault_is_seen


def test_every_planted_fault_is_seen():
    assert_every_fault_is_seen("net_trees")
