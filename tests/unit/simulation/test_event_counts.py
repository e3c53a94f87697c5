"""What products make of rows that stand for several events, and references over several frames."""

import random
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest

from tallybook_engine.asking import stretches
from tallybook_engine.catalog.compile import AGGREGATION_CODES
from tallybook_engine.catalog.model import Aggregation
from tallybook_engine.decimals import parse_decimal
from tallybook_engine.kernels.wide import limb_array
from tallybook_engine.simulation import event_counts
from tallybook_engine.simulation.event_counts import COUNT, MAX, broken_rules, whole_units
from tallybook_engine.simulation.references import References
from tallybook_engine.simulation.usage import UsageFrame

SUM = AGGREGATION_CODES[Aggregation.SUM]
EDGES = [0, 1, 10**12 - 1, 10**12, 10**12 + 1, 2**64 - 1, 2**64, 2**64 + 1, 18446744 * 10**12, 18446745 * 10**12]
LARGEST = 10**27 - 1


def test_whole_units_are_those_of_exact_arithmetic():
    chance = random.Random(1)
    numbers = [*EDGES, LARGEST, 10**27 - 10**12, *(chance.randrange(10 ** chance.randint(1, 27)) for _ in range(300))]
    numbers += [each // 10**12 * 10**12 for each in numbers]
    signed = [sign * each for each in numbers for sign in (1, -1)]
    is_whole, units = whole_units(limb_array(signed, 2))
    for number, found, which in zip(signed, is_whole.tolist(), units.tolist(), strict=True):
        exact = Fraction(number, 10**12)
        assert found == (number >= 0 and exact.denominator == 1)
        assert not found or which == exact


def broken(aggregations, rows):
    """(column, number of its rule's rows by subject, first of them) of what rows (subject, quantity, count) break."""
    subjects = np.array([subject for subject, *_ in rows], dtype=np.int32)
    counts = np.array([count for *_, count in rows], dtype=np.int64)
    nothing = np.zeros(len(rows), dtype=np.int32)
    frame = UsageFrame(
        ("c",), nothing, ("p",), nothing, nothing, nothing.astype(np.int64), nothing.astype(np.bool_),
        limb_array([parse_decimal(quantity) for _, quantity, _ in rows], 2),
        event_counts=counts if counts.any() else None,
    )  # fmt: skip
    found = broken_rules(frame, subjects, np.array(aggregations, dtype=np.uint8))
    return [(each.column, each.counts.tolist(), each.first_rows[each.counts > 0].tolist()) for each in found]


# Aggregations by subject; rows of (subject, quantity, events, 0: not given); what is broken
@pytest.mark.parametrize(
    ("aggregations", "rows", "expected"),
    [
        ([SUM], [(0, "2.5", 0), (0, "2.5", 1), (0, "-7", 999)], []),
        ([COUNT], [(0, "0", 0), (0, "3", 0), (0, "3", 3), (0, "999999999999999", 999999999999999)], []),
        ([COUNT], [(0, "3", 0), (0, "2.5", 0), (0, "-1", 0)], [("quantity", [2], [1])]),
        ([COUNT], [(0, "3", 3), (0, "3", 2), (0, "0", 1)], [("event_count", [2], [1])]),
        ([COUNT], [(0, "0.000000000001", 1)], [("quantity", [1], [0])]),
        ([MAX], [(0, "2.5", 0), (0, "2.5", 1)], []),
        ([MAX], [(0, "1", 1), (0, "1", 2), (0, "1", 7)], [("event_count", [2], [1])]),
        (
            [MAX, COUNT, SUM],
            [(2, "1", 2), (0, "1", 2), (1, "4", 5), (1, "4.5", 5), (0, "1", 3)],
            [("quantity", [0, 1, 0], [3]), ("event_count", [0, 1, 0], [2]), ("event_count", [2, 0, 0], [1])],
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("rows_max", [1, 2, 1 << 20])
def test_what_a_product_cannot_take_is_counted_and_the_first_named(aggregations, rows, expected, rows_max, monkeypatch):
    # Given stretches of any length
    monkeypatch.setattr(event_counts, "stretches", lambda count, go_on: stretches(count, go_on, rows_max))
    assert broken(aggregations, rows) == expected


def test_rows_are_not_looked_at_where_nothing_can_be_broken():
    asked = []
    nothing = np.zeros(3, dtype=np.int32)
    frame = UsageFrame(
        ("c",), nothing, ("p",), nothing, nothing, nothing.astype(np.int64), nothing.astype(np.bool_),
        limb_array([1, 2, 3], 2),
    )  # fmt: skip
    for aggregation, count in ((SUM, 0), (MAX, 0), (COUNT, 1)):
        broken_rules(frame, nothing, np.array([aggregation], dtype=np.uint8), lambda: asked.append(1))
        assert len(asked) == count


def test_references_of_several_frames_are_compared_with_all_before(monkeypatch):
    # Given frames of two product contracts, of which the second has no references at all
    monkeypatch.setattr("tallybook_engine.simulation.references.LAID_ROWS_MAX", 3)
    chance = random.Random(3)
    references, row = References(b"0123456789abcdef"), 0
    seen: dict[tuple[str, str], int] = {}
    for number in range(6):
        contracts = ("one", "two") if number % 2 else ("two", "one", "three")
        codes = np.array([chance.randrange(-1, len(contracts)) for _ in range(20)], dtype=np.int32)
        texts = [chance.choice(["", None, *"abcdefghijklmnopqrstuvwxyz"]) for _ in codes]
        column = None if number == 1 else pa.array(texts, pa.string())
        expected = []
        for at, (code, text) in enumerate(zip(codes.tolist(), texts, strict=True)):
            if code >= 0 and text and column is not None:
                earlier = seen.setdefault((contracts[code], text), row + at)
                if earlier != row + at:
                    expected.append((at, earlier))
        # Then each repeated one is found, and the first that had it
        found = references.add(contracts, codes, column)
        assert list(zip(found.rows.tolist(), found.earlier.tolist(), strict=True)) == expected
        row += len(codes)
        assert references.row_count == row
    assert len(seen) > 40


def test_as_many_references_as_make_the_table_grow():
    count = 20_000
    references = References(b"0123456789abcdef")
    codes = np.zeros(count, dtype=np.int32)
    texts = pa.array([f"event-{number}" for number in range(count)])
    assert references.add(("c",), codes, texts).rows.tolist() == []
    assert references.add(("c",), codes, texts).earlier.tolist() == list(range(count))
