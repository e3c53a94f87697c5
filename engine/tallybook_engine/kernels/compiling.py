"""How kernels are compiled: what Python calls is machine code, what only kernels call is laid into it.

Numba compiles every function alike. One that is called by kernels alone is optimised and made machine code too, and is
wrapped for Python, which unpacks every array of every named tuple; and that once for each type and each literal number
that it is called with, though all of it is linked into the kernels that call it and optimised there again. That was
more than half of what a first start took.

So a kernel has two sides. Called by Python it is what Numba makes of it. Called by a kernel it is its **inside**: code
for the linker, once for all integers that have a sign, which is optimised where it is called. An inside is neither run
by itself nor kept on disk: the machine code of the kernels that Python calls holds it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from numba.core import types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler, CompileResult
from numba.core.registry import CPUDispatcher

_UNWRAPPED = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}


class KernelDispatcher(CPUDispatcher):  # type: ignore[misc]  # Numba states no types
    """A kernel: called by Python as Numba compiles it, called by a kernel as its inside."""

    def __init__(self, function: Callable[..., Any], targetoptions: Mapping[str, Any]) -> None:
        # No C code calls a kernel.
        super().__init__(function, targetoptions={**targetoptions, "no_cfunc_wrapper": True})
        self._inside = _InsideDispatcher(
            function, targetoptions={**targetoptions, **_UNWRAPPED}, pipeline_class=_InsideCompiler
        )

    def get_call_template(self, args: Any, kws: Any) -> Any:
        """What Numba asks for the types of a call from within a kernel."""
        return self._inside.get_call_template(args, kws)

    def get_overload(self, sig: Any) -> Any:
        """What Numba asks for the code of a call from within a kernel."""
        return self._inside.get_overload(sig)

    @property
    def inside_signatures(self) -> list[Any]:
        """The types of arguments that kernels have called it with, one entry for each time it was compiled for them."""
        return list(self._inside.overloads)


class _InsideDispatcher(CPUDispatcher):  # type: ignore[misc]  # Numba states no types
    """The inside of a kernel: compiled for the linker alone."""

    def get_call_template(self, args: Any, kws: Any) -> Any:
        _, args = self._compiler.fold_argument_types(args, kws)
        return super().get_call_template(tuple(_widest(each) for each in args), {})

    def add_overload(self, cres: CompileResult) -> None:
        # There is no machine code to call. What names the overload is then what describes it.
        described = cres._replace(entry_point=cres.fndesc)
        self.targetctx.insert_user_function(cres.fndesc, cres.fndesc, [cres.library])
        self.overloads[tuple(cres.signature.args)] = described


class _InsideCompiler(Compiler):  # type: ignore[misc]  # Numba states no types
    """Stops before machine code is made."""

    def __init__(self, typing: Any, target: Any, _: None, args: Any, result: Any, flags: Any, names: Any) -> None:
        flags.no_compile = True
        library = _InsideLibrary(target.codegen(), "inside")
        super().__init__(typing, target, library, args, result, flags, names)


class _InsideLibrary(JITCodeLibrary):  # type: ignore[misc]  # Numba states no types
    """Code that is linked into other libraries, and optimised there."""

    def _optimize_final_module(self) -> None:
        """Nothing: each function by itself is as small as it gets, and the rest is done where it is linked into."""

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True


def _widest(argument: Any) -> Any:
    """The type that an argument is handed over as: integers with a sign in 64 bits, as a kernel computes with them."""
    plain = types.unliteral(argument)  # type: ignore[no-untyped-call]  # Numba states no types
    has_sign = isinstance(plain, types.Integer) and plain.signed  # type: ignore[attr-defined]  # the same
    return types.int64 if has_sign else plain
