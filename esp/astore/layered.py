"""Layered drawing of a directed acyclic graph: ranks by the longest path, few crossings, chains straight."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import fmean, median

SWEEPS = 12
BEND_WIDTH = 18.0  # room for an edge that passes a rank
STIFFNESS = 8.0  # how much more an edge between two bends wants to be straight than one at a box


@dataclass(frozen=True, slots=True)
class Drawing:
    """``places[i]`` is the centre (x, y) of box i; ``routes[j]`` the points that edge j passes between its boxes."""

    places: tuple[tuple[float, float], ...]
    routes: tuple[tuple[tuple[float, float], ...], ...]
    size: tuple[float, float]


@dataclass(slots=True)
class _Dot:
    """A box, or the bend of an edge where it passes a rank."""

    rank: int
    width: float
    height: float
    x: float = 0.0
    above: list[int] = field(default_factory=list)
    below: list[int] = field(default_factory=list)


def draw(sizes: Sequence[tuple[float, float]], edges: Sequence[tuple[int, int]], gap_x: float = 26, gap_y: float = 26) -> Drawing:
    """Places boxes of the ``sizes`` (width, height); each edge leads from a box to one of higher index.

    The method is that of Sugiyama, Tagawa and Toda (1981); coordinates are the least squares of distances to neighbours.
    """
    dots = [_Dot(rank, *size) for rank, size in zip(_ranks(len(sizes), edges), sizes)]
    chains = [_chain(dots, *edge) for edge in edges]
    ranks = _ordered(dots)
    for sweep in range(SWEEPS):
        _straighten(dots, ranks if sweep % 2 else ranks[::-1], gap_x, is_down=bool(sweep % 2))
    left = min((dot.x - dot.width / 2 for dot in dots), default=0)
    for dot in dots:
        dot.x -= left
    spans, height = _heights(dots, ranks, gap_y)
    routes = tuple(tuple(point for at in chain[1:-1] for point in _past(dots[at], spans)) for chain in chains)
    width = max((dot.x + dot.width / 2 for dot in dots), default=0)
    return Drawing(tuple((dot.x, sum(spans[dot.rank]) / 2) for dot in dots[: len(sizes)]), routes, (width, height))


def _past(bend: _Dot, spans: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Straight past the rank of a bend."""
    return [(bend.x, y) for y in spans[bend.rank]]


def _ranks(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    ranks = [0] * count
    for start, end in sorted(edges, key=lambda edge: edge[0]):
        ranks[end] = max(ranks[end], ranks[start] + 1)
    fed = {end for _, end in edges}
    for start in sorted({start for start, _ in edges} - fed, reverse=True):  # what nothing feeds stands just above what it feeds
        ranks[start] = min(ranks[other] for first, other in edges if first == start) - 1
    return ranks


def _chain(dots: list[_Dot], start: int, end: int) -> list[int]:
    """The dots of an edge, with a bend for every rank between; they are tied to one another."""
    chain = [start]
    for rank in range(dots[start].rank + 1, dots[end].rank):
        chain.append(len(dots))
        dots.append(_Dot(rank, BEND_WIDTH, 0))
    chain.append(end)
    for upper, lower in pairwise(chain):
        dots[upper].below.append(lower)
        dots[lower].above.append(upper)
    return chain


def _ordered(dots: list[_Dot]) -> list[list[int]]:
    """The dots of each rank from left to right, by medians of their neighbours' places, swept down and up."""
    ranks: list[list[int]] = [[] for _ in range(max((dot.rank for dot in dots), default=-1) + 1)]
    for at, dot in enumerate(dots):
        ranks[dot.rank].append(at)
    place = {at: float(index) for rank in ranks for index, at in enumerate(rank)}
    for sweep in range(SWEEPS):
        for rank in ranks if sweep % 2 == 0 else ranks[::-1]:
            beside = {at: dots[at].above if sweep % 2 == 0 else dots[at].below for at in rank}
            rank.sort(key=lambda at: median(place[one] for one in beside[at]) if beside[at] else place[at])
            place.update((at, float(index)) for index, at in enumerate(rank))
    return ranks


def _straighten(dots: list[_Dot], ranks: list[list[int]], gap: float, is_down: bool) -> None:
    """Moves each dot towards its neighbours as far as the order and the widths of its rank let it."""
    for rank in ranks:
        offsets, wanted, weights, at = [], [], [], 0.0
        for index, one in enumerate(rank):
            dot = dots[one]
            at += dot.width / 2 + (gap + dots[rank[index - 1]].width / 2 if index else 0)
            offsets.append(at)
            ends = (dot.above if is_down else dot.below) or dot.above or dot.below
            wanted.append((fmean(dots[other].x for other in ends) if ends else dot.x) - at)
            weights.append(STIFFNESS if not dot.height and any(not dots[other].height for other in ends) else 1.0)
        for one, offset, shift in zip(rank, offsets, _rising(wanted, weights)):
            dots[one].x = offset + shift


def _rising(wanted: Sequence[float], weights: Sequence[float]) -> list[float]:
    """The rising sequence nearest to the one wanted: isotonic regression, pooling neighbours that disagree."""
    pools: list[tuple[float, float, int]] = []  # mean, weight, count
    for value, weight in zip(wanted, weights):
        pools.append((value, weight, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (high, w1, n1), (low, w2, n2) = pools[-2:]
            pools[-2:] = [((high * w1 + low * w2) / (w1 + w2), w1 + w2, n1 + n2)]
    return [mean for mean, _, count in pools for _ in range(count)]


def _heights(dots: list[_Dot], ranks: list[list[int]], gap: float) -> tuple[list[tuple[float, float]], float]:
    """Top and bottom of each rank, and the height of the whole."""
    spans, top = [], 0.0
    for rank in ranks:
        bottom = top + max(dots[at].height for at in rank)
        spans.append((top, bottom))
        top = bottom + gap
    return spans, max(top - gap, 0)
