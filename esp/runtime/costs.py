"""What blocks of a source cost: CPU seconds by size, so that a block may be told light before it is worked off."""

UNKNOWN_S = float("inf")
SHARE = 0.25  # of the newest measurement in what is remembered


class Costs:
    """The CPU seconds that blocks took lately, in classes of up to a power of two events.

    >>> costs = Costs()
    >>> costs.of(1)
    inf
    >>> costs.add(1, 250e-6)
    >>> costs.of(1), costs.of(2)
    (0.00025, inf)
    """

    def __init__(self) -> None:
        self._seconds = [UNKNOWN_S] * 64

    def add(self, events: int, cpu_s: float) -> None:
        size = events.bit_length()
        known = self._seconds[size]
        self._seconds[size] = cpu_s if known == UNKNOWN_S else known + SHARE * (cpu_s - known)

    def of(self, events: int) -> float:
        """What a block is thought to cost; infinity where none of its class has been measured."""
        return self._seconds[events.bit_length()]
