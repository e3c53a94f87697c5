"""Shared primitives of all kernels: the `kernel` decorator, wide integers, hashing.

With ``NUMBA_DISABLE_JIT=1`` every kernel runs as plain Python on NumPy scalars, with the same results: slow, but it
can be covered, stepped through and mutated.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

from tallybook_engine.kernels.cache import point_numba_at_cache

point_numba_at_cache()

import numpy as np  # noqa: E402 - kept beside Numba
from numba.core import config  # noqa: E402 - the cache folder must be known before Numba reads its settings

from tallybook_engine.kernels.compiling import KernelDispatcher  # noqa: E402 - imports Numba

JIT_DISABLED = bool(config.DISABLE_JIT)  # type: ignore[attr-defined]  # Numba sets its options by name

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def kernel(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Compiles a function of arrays and scalars to machine code that holds no interpreter lock.

    A kernel takes arrays and scalars (or named tuples of them), allocates nothing and knows no Python object. It may
    call other kernels, not itself: they become a part of it (see `kernels.compiling`).
    Division by zero is not checked (``error_model="numpy"``) and neither are bounds: the caller checks.
    Signatures are fixed by the types of Python's calls; compiled code is kept on disk (see `kernels.cache`).

    No references are counted. With counting, a kernel that takes an array out of a named tuple, or a row out of an
    array, counts it up and down by atomic operations: hundreds a row where tuples are many, more than the work itself.
    """
    return _compiled(function)


def inlined_kernel(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """A kernel for the inside of loops: laid into the kernels that call it, however large it is."""
    return _compiled(function, forceinline=True)


def _compiled(function: Callable[Parameters, Result], **options: bool) -> Callable[Parameters, Result]:
    if JIT_DISABLED:
        return _without_overflow_warnings(function)
    fixed: dict[str, Any] = {
        "nopython": True,
        "nogil": True,
        "error_model": "numpy",
        "boundscheck": False,
        "_nrt": False,
    }
    compiled: Any = KernelDispatcher(function, fixed | options)
    compiled.enable_caching()
    return cast("Callable[Parameters, Result]", compiled)


def _without_overflow_warnings(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Kernels wrap on purpose (hashing, two's complement); NumPy scalars warn of it."""

    @wraps(function)
    def plain(*arguments: Parameters.args, **named: Parameters.kwargs) -> Result:
        with np.errstate(over="ignore"):
            return function(*arguments, **named)

    return plain


__all__ = ["JIT_DISABLED", "inlined_kernel", "kernel"]
