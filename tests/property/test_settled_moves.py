"""Trees that are settled again as charge lines move come to what they come to when settled from nothing."""

import random
from dataclasses import replace

import numpy as np
import pytest
from tests.property.test_contract_tree import DAY_US, catalogue, random_charges, read
from tests.unit.contract.test_settle import LOW, START_US, charge, contract
from tests.unit.contract.test_settle import tree as chain

from tallybook_engine.catalog.model import Credit, Discount, ProductContract, RevenueShare
from tallybook_engine.contract.forest import Forest, no_lines
from tallybook_engine.contract.invoice import Charge, LineKind
from tallybook_engine.contract.settle import settle
from tallybook_engine.contract.settling import settle_moves
from tallybook_engine.contract.tables import NONE, MoveColumns, NetDifferences
from tallybook_engine.contract.tree import tree_of
from tallybook_engine.decimals import UNIT
from tallybook_engine.kernels.arrays import column_types, typed
from tallybook_oracle.calendar import first_instant


def random_trees(chance):
    """Trees, each with a stretch of time and charge lines that may come."""
    found = []
    for _ in range(chance.randint(1, 3)):
        tree = tree_of(*read(catalogue(chance)))
        start_us = first_instant("UTC", tree.root.start_date)
        until_us = start_us + chance.choice([1, 50, 200]) * DAY_US
        found.append((tree, start_us, until_us, random_charges(chance, tree, start_us, until_us)))
    return found


class Stand:
    """Trees in one forest, settled without charge lines, and those that they hold by now."""

    def __init__(self, trees):
        self.forest = Forest()
        self.stretches = [(first_us, until_us) for _, first_us, until_us, _ in trees]
        self.lines = [lines for *_, lines in trees]
        self.held: list[list[Charge]] = [[] for _ in trees]
        self.planted = [
            self.forest.add(tree, first_us, until_us, {each.tax for each in lines})
            for tree, first_us, until_us, lines in trees
        ]
        assert all(map(self.forest.settle_all, self.planted))

    def row(self, number, line):
        """A charge line of a tree as a move; None where it is of no period."""
        planted = self.planted[number]
        place = self.forest.place_of(planted, line.contract_path, line.end_us)
        if place == NONE:
            return None
        tax = planted.compiled.tax_numbers[line.tax]
        return place, tax, self.forest.item_of(planted, line.contract_path, place), line.amount

    def move(self, groups, room=10_000):
        """Makes moves; of each group the differences by billing period, None where it does not fit."""
        forest, rows = self.forest, [row for group in groups for row in group]
        moves = typed(MoveColumns, *np.array(rows, dtype=np.int64).reshape(-1, 4).T)
        starts = np.cumsum([0, *map(len, groups)])
        fits = np.zeros(len(groups), dtype=np.bool_)
        found: list[dict[int, tuple[int, ...]]] = [{} for _ in groups]
        following = 0
        while following < len(groups):
            differences = NetDifferences._make(np.zeros(room, dtype=of) for of in column_types(NetDifferences))
            before = following
            following, count = settle_moves(
                *(forest.tables, forest.state, forest.taxes, no_lines()), moves, starts, before, fits, differences
            )
            assert following > before
            for group, *difference in zip(*(column[:count].tolist() for column in differences), strict=True):
                found[group][difference[0]] = tuple(difference[1:])
        assert following == len(groups)
        return [each if fit else None for each, fit in zip(found, fits, strict=True)]

    def adjustments(self):
        """By billing period, what the forest says."""
        return [self.forest.adjustment(root) for root in range(self.planted[-1].root_end)]

    def fresh(self):
        """By billing period, what invoices of the lines that are held have beside charge lines."""
        found = []
        for planted, held, stretch in zip(self.planted, self.held, self.stretches, strict=True):
            settled = {each.start_us: each for each in settle(planted.tree, held, *stretch)}
            for period in planted.root_periods:
                beyond = [each for each in settled[period.start_us].lines if each.kind is not LineKind.CHARGE]
                found.append(
                    (sum(each.amount_excluding_tax for each in beyond), sum(each.tax_amount for each in beyond))
                )
        return found

    def kept(self):
        """All that the forest knows; but an item that had a line once is there for ever, if only with 0."""
        cells, places, roots, items, balances, _ = self.forest.state
        return [each.tolist() for each in (*cells, *places, *roots, items.sum, *balances)]


@pytest.mark.parametrize("seed", range(15))
def test_moved_is_settled_afresh(seed):
    # Given trees without charge lines: they come to what their terms alone say
    chance = random.Random(seed)
    stand = Stand(random_trees(chance))
    posted = stand.adjustments()
    assert posted == stand.fresh()
    # When lines open and move in groups, of this tree and that
    due = [(number, line) for number, lines in enumerate(stand.lines) for line in lines]
    chance.shuffle(due)
    while due:
        groups = []
        for _ in range(chance.randint(1, 6)):
            number = chance.randrange(len(stand.planted))
            size = chance.choice([0, 1, 1, 3])
            mine = [at for at, (of, _) in enumerate(due) if of == number][-size:] if size else []
            lines = [due.pop(at)[1] for at in reversed(mine)]
            moved = [replace(line, amount=chance.choice([-50, 700])) for line in lines[1:]]
            stand.held[number] += lines + moved
            groups.append([row for line in lines + moved if (row := stand.row(number, line)) is not None])
        # Then the differences add up to what settling from nothing says
        for group in stand.move(groups, room=400):
            for root, difference in group.items():
                assert difference != (0, 0)
                posted[root] = posted[root][0] + difference[0], posted[root][1] + difference[1]
        if chance.random() < 0.2 or not due:
            assert posted == stand.adjustments() == stand.fresh()


@pytest.mark.parametrize("seed", range(5))
def test_what_is_taken_back_leaves_nothing_behind(seed):
    # Given trees with lines
    chance = random.Random(seed)
    stand = Stand(random_trees(chance))
    rows = [
        (number, row)
        for number, lines in enumerate(stand.lines)
        for line in lines
        if (row := stand.row(number, line)) is not None
    ]
    chance.shuffle(rows)
    half = len(rows) // 2
    stand.move([[row] for _, row in rows[:half]])
    before = stand.kept()
    # When others come and are taken back, last first
    stand.move([[row] for _, row in rows[half:]])
    stand.move([[(*row[:3], -row[3])] for _, row in reversed(rows[half:])])
    # Then no bit has changed
    assert stand.kept() == before


def test_a_group_that_does_not_fit_is_taken_back():
    # Given a tree at the limit of 64 bits, with a discount
    tree = chain(contract("root", discount=Discount(UNIT // 10)), tax=None)
    stand = Stand([(tree, START_US, START_US + 1, [charge("root/a", 1, None)])])
    [line] = stand.lines[0]
    amounts = (2**62, 2**62, -(2**62), 2**63 - 1, 5)
    held = [replace(line, amount=amount) for amount in amounts]
    # When lines come, of which the second would leave it
    differences = stand.move([[stand.row(0, each)] for each in held])
    # Then that one does not fit, and is as if it had not been
    assert [each is not None for each in differences] == [True, False, True, True, False]
    stand.held[0] = [held[0], held[2], held[3]]
    assert stand.adjustments() == stand.fresh() == [(-922337203685477581, 0)]


def test_a_group_that_is_taken_back_leaves_what_shares_are_of():
    # Given a share of one of two charges, and a discount
    share = RevenueShare("share", UNIT // 10, ("a",))
    charges = (ProductContract("a", "plan"), ProductContract("b", "plan"))
    tree = chain(contract("root", product_contracts=charges, revenue_shares=(share,)), tax=None)
    line, other = charge("root/a", 100, None), charge("root/b", 2**63 - 1, None)
    stand = Stand([(tree, START_US, START_US + 1, [line, other])])
    # When a group of both does not fit
    assert stand.move([[stand.row(0, line)], [stand.row(0, line), stand.row(0, other)]]) == [{0: (10, 0)}, None]
    # Then the share is of what there was
    assert stand.move([[stand.row(0, line)]]) == [{0: (10, 0)}]


def test_what_an_earlier_month_leaves_of_a_credit_is_found_by_all_behind_it():
    # Given three months, the first of which leaves 40 of a credit of 100, and the second 30
    root = contract("root", credits=(Credit("credit", UNIT),))
    lines = [charge("root/a", amount, None, month) for month, amount in enumerate((60, 10, 50))]
    stand = Stand([(chain(root, tax=None), START_US, START_US + 80 * DAY_US, lines)])
    stand.move([[stand.row(0, line)] for line in lines])
    assert [amount for amount, _ in stand.adjustments()] == [-60, -10, -30]
    # When the first takes 20 more, then the second finds 20 and leaves 10
    assert stand.move([[stand.row(0, replace(lines[0], amount=20))]]) == [{0: (-20, 0), 2: (20, 0)}]


def test_what_lines_of_two_taxes_move_of_the_level_above():
    # Given a division below a root with a discount, and lines of two taxes
    tree = chain(contract("root", discount=Discount(UNIT // 10)), contract("division"))
    lines = [charge("root/division/a", 100), charge("root/division/b", 200, LOW), charge("root/division/b", 50, LOW)]
    stand = Stand([(tree, START_US, START_US + 1, lines)])
    # When they come one after the other, then a tenth of each goes off, and 21 % and 9 % of that, rounded
    differences = stand.move([[stand.row(0, line)] for line in lines])
    assert differences == [{0: (-10, -2)}, {0: (-20, -2)}, {0: (-5, 0)}]


def test_room_for_one_difference_at_a_time():
    # Given two trees with one billing period each
    tree = chain(contract("root", discount=Discount(UNIT // 10)), tax=None)
    line = charge("root/a", 100, None)
    stand = Stand([(tree, START_US, START_US + 1, [line]) for _ in range(2)])
    rows = [[stand.row(number, line)] for number in (0, 1, 1)]
    # When there is room for no more than a group needs
    assert stand.move(rows, room=1) == [{0: (-10, 0)}, {1: (-10, 0)}, {1: (-10, 0)}]
