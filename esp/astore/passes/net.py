"""A graph that passes may change, and what they ask of it."""

from collections import Counter
from dataclasses import dataclass, field, replace

from esp.astore.graph import Array, Graph, Layer, Node, Shape, Value
from esp.astore.passes.nodes import Nodes
from esp.astore.validation import Facts, examine


@dataclass(slots=True)
class Net:
    """Nodes in an order in which they run, weights, and what was known of every tensor before the passes began.

    ``layer_of`` names the layer of what makes a tensor; a pass that makes one node of several says whose layer it is in.
    """

    nodes: Nodes
    weights: dict[str, Array]
    facts: Facts
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    layer_of: dict[str, str]
    kinds: dict[str, str]
    output_names: frozenset[str]
    copies: Counter[str] = field(default_factory=Counter)  # how many weights were named after one

    @classmethod
    def of(cls, graph: Graph) -> "Net":
        """Raises GraphError when the graph is not valid."""
        facts = examine(graph, batched=any(value.shape[:1] == (None,) for value in graph.inputs))
        layer_of = {name: layer.name for layer in graph.layers for at in layer.nodes for name in graph.nodes[at].outputs if name}
        names = frozenset(value.name for value in graph.outputs)
        kinds = {layer.name: layer.kind for layer in graph.layers}
        return cls(Nodes(graph.nodes), dict(graph.weights), facts, graph.inputs, graph.outputs, layer_of, kinds, names)

    def graph(self) -> Graph:
        """The graph as it is now: without the weights that no node uses; layers that have lost their nodes are gone."""
        nodes = tuple(self.nodes)
        used = {name for node in nodes for name in node.inputs} | {value.name for value in self.outputs}
        members: dict[str, list[int]] = {}
        for at, node in enumerate(nodes):
            owner = next((self.layer_of[name] for name in node.outputs if name in self.layer_of), None)
            if owner is not None:
                members.setdefault(owner, []).append(at)
        layers = tuple(Layer(name, kind, tuple(members[name])) for name, kind in self.kinds.items() if name in members)
        weights = {name: array for name, array in self.weights.items() if name in used}
        return Graph(nodes, self.inputs, self.outputs, weights, layers)

    def shape(self, name: str) -> Shape:
        return self.facts.shapes[name]

    def uses(self) -> Counter[str]:
        """How often each tensor is asked for, by nodes and as an output of the graph."""
        found = Counter(name for node in self.nodes for name in node.inputs)
        found.update(value.name for value in self.outputs)
        return found

    def only_user(self, name: str) -> Node | None:
        """The one node that uses a tensor, once, where the tensor is no output of the graph."""
        return self.nodes.readers(name)[0] if self.count(name) == 1 and name not in self.output_names else None

    def count(self, name: str) -> int:
        """How often a tensor is asked for, by nodes and as an output of the graph."""
        return sum(node.inputs.count(name) for node in self.nodes.readers(name)) + (name in self.output_names)

    def maker(self, name: str) -> Node | None:
        """The node that makes a tensor; none for inputs and weights."""
        return self.nodes.maker(name)

    def weight(self, node: Node, index: int) -> Array | None:
        """Input ``index`` of a node, where it is a weight."""
        return self.weights.get(node.inputs[index]) if index < len(node.inputs) else None

    def put(self, name: str, array: Array) -> str:
        """Stores a weight under a name like the one given, and tells the name."""
        first = name
        while name in self.facts.shapes or name in self.weights:
            self.copies[first] += 1
            name = f"{first}'{self.copies[first]}"
        self.weights[name] = self.facts.numbers[name] = array
        self.facts.shapes[name], self.facts.dtypes[name] = array.shape, array.dtype.name
        return name

    def merge(self, nodes: list[Node], one: Node) -> None:
        """Puts ``one`` in the place of the first of ``nodes``, in its layer, and takes the others out."""
        first = nodes[0]
        owner = self.layer_of.get(next(filter(None, first.outputs)))
        self.nodes.swap(first, one)
        for node in nodes[1:]:
            self.nodes.remove(node)
        for name in filter(None, one.outputs):
            self.layer_of.pop(name, None)
            if owner is not None:
                self.layer_of[name] = owner

    def rename(self, old: str, new: str) -> None:
        """Lets every node that uses ``old`` use ``new``."""
        for node in self.nodes.readers(old):
            self.nodes.swap(node, replace(node, inputs=tuple(new if name == old else name for name in node.inputs)))
