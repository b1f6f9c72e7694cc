"""How a connector stands with its peer, for whoever asks whether all is well."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Peer:
    """How a connector stands with its peer: what keeps it from its work (empty = nothing), and what has happened so far.

    ``faults`` counts troubles, ``away_s`` the seconds they took, ``retries`` what was tried in vain, ``events_lost`` what the
    peer no longer had when it was asked for.
    """

    trouble: str = ""
    faults: int = 0
    away_s: float = 0.0
    retries: int = 0
    events_lost: int = 0


FINE = Peer()
