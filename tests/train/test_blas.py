"""The limit on threads: it holds while the context lasts, and no longer."""

import numpy as np
from threadpoolctl import threadpool_info

from esp.train.blas import limit_threads


def blas_threads() -> list[int]:
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


def test_limit_holds_while_the_context_lasts() -> None:
    np.ones((2, 2)) @ np.ones((2, 2))
    before = blas_threads()
    with limit_threads(1):
        assert set(blas_threads()) <= {1}
    assert blas_threads() == before
