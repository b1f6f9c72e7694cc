"""How the parts of kernels are compiled: to IR alone, which the kernels that call them link, optimise and turn into machine code.

Numba optimises each function with all that it calls, and makes machine code of it and of wrappers for Python and C: a part deep
in a kernel was so compiled again at every level of calls above it.
"""

from typing import Any

from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler

_Library: Any = JITCodeLibrary
_Compiler: Any = Compiler


class _Codegen:
    """What an execution is told of a part that is never executed by itself."""

    def set_env(self, name: str, env: Any) -> None:
        """A part's environment (of objects that no kernel has) has no address."""


class PartLibrary(_Library):
    """The IR of a part and of the parts that it calls, each tidied by itself."""

    @property
    def codegen(self) -> Any:
        return _Codegen()

    def add_llvm_module(self, module: Any) -> None:
        self._optimize_functions(module)  # takes no time, and writers of text are 3 % faster for it
        self._final_module.link_in(module)

    def finalize(self) -> None:
        self._raise_if_finalized()
        for library in dict.fromkeys(self._linking_libraries):
            self._final_module.link_in(library._get_module_for_linking(), preserve=True)
        self._finalized = True


class PartCompiler(_Compiler):
    """Numba's own compiler, but for what it makes."""

    def define_pipelines(self) -> Any:
        self.state.library = PartLibrary(self.state.targetctx.codegen(), self.state.func_id.func_qualname)
        return super().define_pipelines()
