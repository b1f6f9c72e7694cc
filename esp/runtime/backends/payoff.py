"""Whether it pays to split batches at present: on a machine that is busy elsewhere, a helper holds up the batch that it helps with."""

FADE = 0.25  # what the latest batch counts in the time of a row
LONGEST = 256  # batches that are scored alone between two tries, and splits between two batches scored alone


class Payoff:
    """Compares batches that were split with those that were not. A split that lost time is tried again later, each time twice as late."""

    def __init__(self) -> None:
        self.alone_ns = 0.0  # of a row
        self.left, self.rest, self.won = 1, 1, 0  # batches to score alone now, and after the next loss; splits that paid

    def is_due(self) -> bool:
        """Whether the next batch should be split; to be asked once a batch."""
        if self.left > 0:
            self.left -= 1
            return False
        return True

    def alone(self, row_ns: float) -> None:
        """A batch was scored by one thread; one that was held up is no measure."""
        known = self.alone_ns or row_ns
        self.alone_ns = known + FADE * (min(row_ns, 2 * known) - known)

    def split(self, row_ns: float) -> None:
        """A batch was split."""
        if row_ns >= self.alone_ns:
            self.left, self.rest = self.rest, min(2 * self.rest, LONGEST)
            return
        self.rest, self.won = 1, self.won + 1
        if self.won % LONGEST == 0:
            self.left = 1
