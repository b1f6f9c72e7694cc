"""How many threads numpy's matrix products may take: one, unless asked, for small products lose more by sharing than they gain."""

from contextlib import AbstractContextManager
from typing import Any

from threadpoolctl import threadpool_limits


def limit_threads(threads: int) -> AbstractContextManager[Any]:
    """Limits the BLAS of this process while the context lasts; 0 leaves it as it is.

    With one thread the result is the same on machines with any number of cores, and a busy neighbour costs no spinning.
    """
    limits: AbstractContextManager[Any] = threadpool_limits(threads or None, user_api="blas")
    return limits
