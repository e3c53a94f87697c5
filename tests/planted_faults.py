"""Plants one fault at a time in the rules of money, and demands that some test sees it.

    NUMBA_DISABLE_JIT=1 python -m tests.planted_faults             # pricing and rating
    NUMBA_DISABLE_JIT=1 python -m tests.planted_faults contract    # what contract levels come to
    NUMBA_DISABLE_JIT=1 python -m tests.planted_faults net_lines   # what events move of invoices
    NUMBA_DISABLE_JIT=1 python -m tests.planted_faults net_trees   # the trees behind that

Every comparison is moved by its bound and turned round (also those that are calls: `lt128`, `is_negative`, ...), every
condition negated, every rounding changed: its mode, its halves and addends, its division that cuts, its minimum and
maximum. A fault is planted by giving a function another body (kernels are plain Python here), so that whoever holds
the function runs the faulty one; then the group's tests run in this process until one fails.

A fault that changes no result is no fault. `EQUIVALENT` lists those with the reason, and they must go unseen, so that
the list stays true.
"""

import __future__

import ast
import copy
import importlib
import inspect
import itertools
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import FunctionType
from typing import Any

import pytest

from tallybook_engine.kernels import JIT_DISABLED

PRICING = (
    "tallybook_engine.pricing.graduated",
    "tallybook_engine.pricing.included_quantity",
    "tallybook_engine.pricing.lines",
    "tallybook_engine.pricing.minimum_and_cap",
    "tallybook_engine.pricing.none",
    "tallybook_engine.pricing.package",
    "tallybook_engine.pricing.per_unit",
    "tallybook_engine.pricing.price",
    "tallybook_engine.pricing.stairstep",
    "tallybook_engine.pricing.tables",
    "tallybook_engine.pricing.tiers",
    "tallybook_engine.pricing.unit_conversion",
    "tallybook_engine.pricing.volume",
    "tallybook_engine.pricing.zero_usage",
    "tallybook_engine.rating.postings",
    "tallybook_engine.rating.rounding",
    "tallybook_engine.rating.tax",
)
PRICING_TESTS = (
    "tests.unit.pricing.test_price_table",
    "tests.unit.rating.test_rounding_and_tax",
    "tests.unit.pricing.test_peer_vectors",
    "tests.unit.rating.test_postings",
)
CONTRACT = (
    "tallybook_engine.contract.cap",
    "tallybook_engine.contract.credits",
    "tallybook_engine.contract.discount",
    "tallybook_engine.contract.holding",
    "tallybook_engine.contract.minimum",
    "tallybook_engine.contract.percentage",
    "tallybook_engine.contract.revenue_share",
    "tallybook_engine.contract.settling",
    "tallybook_engine.contract.spread",
)
CONTRACT_TESTS = (
    "tests.unit.contract.test_modifiers",
    "tests.unit.contract.test_settle",
    "tests.property.test_settled_moves",
)
NET_LINES = ("tallybook_engine.ledger.net",)
NET_TREES = ("tallybook_engine.ledger.net_trees",)
NET_TESTS = ("tests.unit.ledger.test_net_lines",)
GROUPS = {
    "pricing": (PRICING, PRICING_TESTS),
    "contract": (CONTRACT, CONTRACT_TESTS),
    "net_lines": (NET_LINES, NET_TESTS),
    "net_trees": (NET_TREES, NET_TESTS),
}
"""Modules, and the tests that must see every fault in them."""
_SAME = "equal numbers: either is the answer"
_BOTH = "both ways of looking find the tier"
_ZERO = "0 has no sign"
_EVEN = "a power of ten has a half"
EQUIVALENT = {
    ("pricing.minimum_and_cap", "if lt192(lo, mid, hi, minimum[0], minimum[1], minimum[2]):", "lt192 moved"): _SAME,
    ("pricing.minimum_and_cap", "if lt192(cap[0], cap[1], cap[2], lo, mid, hi):", "lt192 moved"): _SAME,
    ("pricing.package", "if not lt192(lo, mid, hi, _LIMIT[0], _LIMIT[1], _LIMIT[2]):", "lt192 moved"): _SAME,
    (
        "pricing.package",
        "if not lt192(_MINUS_LIMIT[0], _MINUS_LIMIT[1], _MINUS_LIMIT[2], lo, mid, hi):",
        "lt192 moved",
    ): _SAME,
    ("pricing.tiers", "if end - first > _FEW:", "comparison 1 moved"): _BOTH,
    ("pricing.tiers", "if end - first > _FEW:", "sum turned"): _BOTH,
    ("pricing.tiers", "return rows + [rows[-1]] * (FEW_TIERS - len(rows))", "sum turned"): "more rows, never reached",
    (
        "pricing.unit_conversion",
        "multiplier, divisor = numerator // common, denominator // common",
        "division rounded up",
    ): "a common divisor divides",
    ("pricing.unit_conversion", "if not lt192(lo, mid, hi, _LIMIT[0], _LIMIT[1], _LIMIT[2]):", "lt192 moved"): (
        "the product is looked at once more"
    ),
    (
        "rating.rounding",
        "_HALF = limb_array([10**digits // 2 for digits in _DROPPED_DIGITS], 3)",
        "division rounded up",
    ): _EVEN,
    ("rating.rounding", "minor, rest = divmod(abs(amount) + step // 2, step)", "division rounded up"): _EVEN,
    ("rating.postings", "if sign < 0:", "comparison 1 moved"): "a sign is 1 or -1",
    ("rating.rounding", "return minor if amount >= 0 else -minor", "comparison 1 moved"): _ZERO,
    ("contract.cap", "return amount - cap if amount > cap else np.int64(0)", "comparison 1 moved"): _SAME,
    ("contract.holding", "middle = (first + end) // 2", "division rounded up"): "either middle finds the period",
    ("contract.minimum", "if amount >= minimum:", "comparison 1 moved"): _SAME,
    ("contract.minimum", "if amount < 0 and minimum > _LARGEST + amount:", "comparison 1 moved"): (
        "no minimum is above the largest number"
    ),
    ("contract.percentage", "_HALF = np.uint64(UNIT // 2)", "division rounded up"): _EVEN,
    ("contract.percentage", "negative = (amount < 0) != (rate < 0)", "comparison 1 moved"): _ZERO,
    (
        "contract.percentage",
        "lo, mid = umul64(np.uint64(-amount if amount < 0 else amount), np.uint64(-rate if rate < 0 else rate))",
        "comparison 1 moved",
    ): _ZERO,
    ("contract.settling", "if sign > 0:", "comparison 1 moved"): "a sign is 1 or -1",
    ("contract.spread", "if amount < 0:", "comparison 1 moved"): _ZERO,
    ("contract.spread", "if weights[index] > 0:", "comparison 1 moved"): "a weight of 0 has a part of 0",
    ("contract.spread", "magnitude = np.uint64(-amount if amount < 0 else amount)", "comparison 1 moved"): _ZERO,
    ("rating.tax", "negative = amount_minor < 0", "comparison 1 moved"): _ZERO,
    ("rating.tax", "return tax if amount_minor >= 0 else -tax", "comparison 1 moved"): _ZERO,
}
"""(module, line, fault) -> why it changes no result."""

TIMES_MAX = 10
CPU_SECONDS_MORE = 1
"""A fault has been seen, because it loops, where a test takes so many times the CPU time it takes without it, and so
much more. What else the machine has to do does not count.
"""
SEEDS = 2
"""So many of the seeds of a property are tried; what only others would see needs a test of its own."""

MOVED = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
TURNED = {
    ast.Lt: ast.GtE,
    ast.LtE: ast.Gt,
    ast.Gt: ast.LtE,
    ast.GtE: ast.Lt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
ORDERINGS = {"lt128": 2, "lt192": 3}
"""Comparisons that are calls, and the limbs of a side."""
PREDICATES = {"is_negative", "is_zero128", "is_zero192", "quantity_fits", "amount_fits", "isinstance"}
OTHER_MODE = {
    "UP": "DOWN",
    "DOWN": "UP",
    "HALF_AWAY_FROM_ZERO": "HALF_EVEN",
    "HALF_EVEN": "HALF_AWAY_FROM_ZERO",
}
OTHER_CALL = {"min": "max", "max": "min"}
OTHER_OPERATOR = {ast.Add: ast.Sub, ast.Sub: ast.Add}

Change = Callable[[Any], ast.AST]
"""From a node, which it may change, to what stands in its place."""


def changes_of(node: ast.AST) -> Iterator[tuple[str, Change]]:
    """The faults that a node can have: a name and the change."""
    match node:
        case ast.Compare(ops=operators):
            for position, operator in enumerate(operators):
                for verb, others in (("moved", MOVED), ("turned", TURNED)):
                    if type(operator) in others:
                        yield f"comparison {position + 1} {verb}", _other_comparison(position, others)
        case ast.Call(func=ast.Name(id=name)) if name in ORDERINGS:
            yield f"{name} turned", _negated
            yield f"{name} moved", _moved_ordering
        case ast.Call(func=ast.Name(id=name)) if name in PREDICATES:
            yield f"{name} turned", _negated
        case ast.Call(func=ast.Name(id=name)) if name in OTHER_CALL:
            yield f"{name} made {OTHER_CALL[name]}", _other_call
        case ast.Attribute(value=ast.Name(id="Rounding"), attr=mode) if mode in OTHER_MODE:
            yield f"{mode} made {OTHER_MODE[mode]}", _other_mode
        case ast.BinOp(op=ast.Add() | ast.Sub()):
            yield "sum turned", _other_operator
        case ast.BinOp(op=ast.FloorDiv()):
            yield "division rounded up", _rounded_up
        case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test) if not isinstance(test, ast.Compare):
            yield "condition turned", _negated_condition
        case ast.AugAssign(op=ast.Add() | ast.Sub() | ast.BitAnd()):
            yield "step left out", lambda _: ast.Pass()


def _other_comparison(position: int, others: dict[Any, Any]) -> Change:
    def change(compare: Any) -> ast.AST:
        compare.ops[position] = others[type(compare.ops[position])]()
        return compare

    return change


def _negated(expression: ast.expr) -> ast.expr:
    return ast.UnaryOp(ast.Not(), expression)


def _moved_ordering(call: Any) -> ast.expr:
    """a < b becomes a <= b, which is not b < a."""
    limbs = ORDERINGS[call.func.id]
    call.args = [*call.args[limbs:], *call.args[:limbs]]
    return _negated(call)


def _other_call(call: Any) -> ast.AST:
    return ast.Call(ast.Name(OTHER_CALL[call.func.id], ast.Load()), call.args, call.keywords)


def _other_mode(mode: Any) -> ast.AST:
    return ast.Attribute(mode.value, OTHER_MODE[mode.attr], mode.ctx)


def _other_operator(binary: Any) -> ast.AST:
    return ast.BinOp(binary.left, OTHER_OPERATOR[type(binary.op)](), binary.right)


def _rounded_up(division: Any) -> ast.AST:
    """a // b becomes -(-a // b)."""
    return ast.UnaryOp(ast.USub(), ast.BinOp(ast.UnaryOp(ast.USub(), division.left), ast.FloorDiv(), division.right))


def _negated_condition(branch: Any) -> ast.AST:
    branch.test = _negated(branch.test)
    return branch


@dataclass(frozen=True)
class Fault:
    """One statement of a module, with one of its nodes changed."""

    module: str
    line_number: int
    line: str
    what: str
    statement: ast.stmt
    constants_behind: tuple[ast.stmt, ...]
    """Assignments of the module behind it, which may have been made of it."""

    @property
    def key(self) -> tuple[str, str, str]:
        """How `EQUIVALENT` names it."""
        return self.module.removeprefix("tallybook_engine."), self.line, self.what


def faults_of(module_name: str) -> Iterator[Fault]:
    """Every fault that can be planted in a module."""
    source = inspect.getsource(importlib.import_module(module_name))
    lines = source.splitlines()
    body = ast.parse(source).body
    for index, statement in enumerate(body):
        behind = tuple(later for later in body[index + 1 :] if isinstance(later, ast.Assign))
        if not isinstance(statement, ast.FunctionDef | ast.ClassDef | ast.Assign):
            continue
        for position, node in enumerate(ast.walk(statement)):
            for what, change in changes_of(node):
                line_number = node.lineno  # type: ignore[attr-defined]  # all that change are expressions or statements
                line = lines[line_number - 1].strip()
                changed = _changed(statement, position, change)
                yield Fault(module_name, line_number, line, what, changed, behind)


def _changed(statement: ast.stmt, position: int, change: Change) -> ast.stmt:
    """A copy of a statement with the node at a position of its walk changed."""
    clone = copy.deepcopy(statement)
    target = list(ast.walk(clone))[position]

    class Replace(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> Any:
            return ast.copy_location(change(node), node) if node is target else self.generic_visit(node)

    return ast.fix_missing_locations(Replace().visit(clone))


@contextmanager
def planted(fault: Fault) -> Iterator[None]:
    """The fault in its module, whoever has imported from there."""
    module = importlib.import_module(fault.module)
    names = {**vars(module)}
    statements = [fault.statement]
    if isinstance(fault.statement, ast.Assign):
        statements += fault.constants_behind
    # Annotations are left as they are written: some name what is there for type checkers only.
    exec(
        compile(ast.Module(statements, []), module.__file__ or "", "exec", __future__.annotations.compiler_flag), names
    )
    undo: list[Callable[[], None]] = []
    match fault.statement:
        case ast.FunctionDef(name=name):
            undo += _give_body(vars(module)[name], names[name])
        case ast.ClassDef(name=name):
            for key, method in vars(vars(module)[name]).items():
                undo += _give_body(method, vars(names[name]).get(key))
        case ast.Assign():
            for target in itertools.chain.from_iterable(map(ast.walk, statements)):
                if isinstance(target, ast.Name) and target.id in vars(module) and isinstance(target.ctx, ast.Store):
                    undo += _rebind(target.id, vars(module)[target.id], names[target.id])
    try:
        yield
    finally:
        for step in reversed(undo):
            step()


def _plain(value: Any) -> FunctionType | None:
    """The function behind a kernel, a method or a property."""
    value = value.fget if isinstance(value, property) else value
    value = value.__func__ if isinstance(value, classmethod | staticmethod) else value
    value = inspect.unwrap(value) if callable(value) else value
    return value if isinstance(value, FunctionType) else None


def _give_body(sound: Any, faulty: Any) -> list[Callable[[], None]]:
    """Makes a function run another's code."""
    function, other = _plain(sound), _plain(faulty)
    if function is None or other is None:
        return []
    code, defaults = function.__code__, function.__defaults__

    def undo() -> None:
        function.__code__, function.__defaults__ = code, defaults

    function.__code__, function.__defaults__ = other.__code__, other.__defaults__
    return [undo]


def _rebind(name: str, sound: Any, faulty: Any) -> list[Callable[[], None]]:
    """Gives a constant another value at home and wherever it was imported."""
    undo: list[Callable[[], None]] = []
    for holder in [module for key, module in sys.modules.items() if key.startswith("tallybook_engine")]:
        if vars(holder).get(name) is sound:
            setattr(holder, name, faulty)
            undo.append(lambda holder=holder: setattr(holder, name, sound))  # type: ignore[misc]  # bound now
    return undo


@dataclass
class TestCall:
    """A call of a test, and what is known of it."""

    run: Callable[[], None]
    cpu_seconds: float = 0
    """What it takes where no fault is planted."""
    seen: int = 0
    """How many faults it has seen."""

    def measure(self) -> None:
        """Runs it without a fault."""
        start = time.process_time()
        self.run()
        self.cpu_seconds = time.process_time() - start

    def fails(self) -> bool:
        """Whether it sees the fault that is planted."""
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS_MORE + TIMES_MAX * self.cpu_seconds)
        try:
            self.run()
        except BaseException as seen:
            if isinstance(seen, KeyboardInterrupt):
                raise
            self.seen += 1
            return True
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        return False


def calls_of(module_name: str) -> Iterator[TestCall]:
    """The calls that pytest would make of a module's tests, but for most seeds; none of them takes a fixture."""
    for name, function in vars(importlib.import_module(module_name)).items():
        if name.startswith("test_"):
            axes = [list(_arguments(mark)) for mark in getattr(function, "pytestmark", ())]
            for rows in itertools.product(*axes):
                yield TestCall(partial(function, **{key: value for row in rows for key, value in row.items()}))


def _arguments(mark: Any) -> Iterator[dict[str, Any]]:
    names, rows = mark.args
    names = [names] if isinstance(names, str) else names
    for row in rows[:SEEDS] if names == ["seed"] else rows:
        if isinstance(row, type(pytest.param())):
            values = row.values
        else:
            values = row if len(names) > 1 else (row,)
        yield dict(zip(names, values, strict=True))


def is_seen(fault: Fault, calls: Sequence[TestCall]) -> bool:
    """Whether some test fails: those go first that have seen many faults in little time, then the quick ones."""
    order = sorted(calls, key=lambda call: (call.seen + 1) / (call.cpu_seconds + 0.001), reverse=True)
    try:
        with planted(fault):
            return any(call.fails() for call in order)
    except OverflowError:
        # A constant that cannot even be made.
        return True


def main(group: str = "pricing") -> int:
    """Plants every fault of a group's modules; 0 if all that change a result were seen."""
    if not JIT_DISABLED:
        sys.exit("a compiled kernel keeps its body: set NUMBA_DISABLE_JIT=1")
    signal.signal(signal.SIGPROF, _too_long)
    modules, tests = GROUPS[group]
    equivalent = {key for key in EQUIVALENT if f"tallybook_engine.{key[0]}" in modules}
    calls = [call for module_name in tests for call in calls_of(module_name)]
    for call in calls:
        call.measure()
    unseen: dict[tuple[str, str, str], Fault] = {}
    count = 0
    for fault in itertools.chain.from_iterable(faults_of(module_name) for module_name in modules):
        count += 1
        if not is_seen(fault, calls):
            unseen[fault.key] = fault
    for key, fault in unseen.items():
        if key not in equivalent:
            print(f"{fault.module}:{fault.line_number}: {fault.what} is seen by no test: {fault.line}")
    for key in equivalent - unseen.keys():
        print(f"is seen, and so not equivalent: {key}")
    print(f"{count} faults planted, {len(unseen)} unseen, {len(equivalent)} of them change no result")
    return 0 if unseen.keys() == equivalent else 1


def _too_long(_signal: int, _frame: Any) -> None:
    raise TimeoutError


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
