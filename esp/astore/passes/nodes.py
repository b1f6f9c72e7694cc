"""The nodes that passes change: in order, with who makes and who reads each tensor at hand."""

from collections.abc import Iterable, Iterator

from esp.astore.graph import Node


class Nodes:
    """Nodes in an order in which they run. To change one, or to ask who reads a tensor, is no walk over the others."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        self._nodes: list[Node | None] = list(nodes)  # None where one was taken out
        self._places: dict[int, int] = {}  # id of a node -> its place
        self._makers: dict[str, int] = {}
        self._readers: dict[str, dict[int, None]] = {}  # tensor -> places of the nodes that read it
        for place, node in enumerate(self._nodes):
            if node is not None:
                self._link(node, place)

    def __iter__(self) -> Iterator[Node]:
        """The nodes as they are when their turn comes: what is changed meanwhile further on is seen changed."""
        for place in range(len(self._nodes)):
            node = self._nodes[place]
            if node is not None:
                yield node

    def readers(self, name: str) -> list[Node]:
        """The nodes that read a tensor, in order."""
        return [self._at(place) for place in sorted(self._readers.get(name, ()))]

    def maker(self, name: str) -> Node | None:
        """The node that makes a tensor; none for inputs and weights."""
        return self._at(self._makers[name]) if name in self._makers else None

    def swap(self, old: Node, new: Node) -> None:
        """Puts one node in the place of another."""
        place = self._unlink(old)
        self._nodes[place] = new
        self._link(new, place)

    def remove(self, node: Node) -> None:
        self._nodes[self._unlink(node)] = None

    def _at(self, place: int) -> Node:
        node = self._nodes[place]
        assert node is not None
        return node

    def _link(self, node: Node, place: int) -> None:
        self._places[id(node)] = place
        for name in filter(None, node.outputs):
            self._makers[name] = place
        for name in node.inputs:
            self._readers.setdefault(name, {})[place] = None

    def _unlink(self, node: Node) -> int:
        place = self._places.pop(id(node))
        for name in node.outputs:
            if self._makers.get(name) == place:  # else another makes it by now
                del self._makers[name]
        for name in set(node.inputs):
            del self._readers[name][place]
        return place
