"""What does nothing goes: nodes whose outputs nobody uses, identities, dropout, casts to the same type."""

from dataclasses import replace

from esp.astore.graph import Node, live_nodes, op_of, read_outputs
from esp.astore.passes.net import Net
from esp.astore.passes.nodes import Nodes


def drop_unused(net: Net) -> None:
    """Takes out nodes whose outputs nobody uses, and unnames outputs that nobody uses."""
    nodes = list(net.nodes)
    alive = live_nodes([(node.inputs, node.outputs) for node in nodes], [value.name for value in net.outputs])
    net.nodes = Nodes(nodes[at] for at in alive)
    read = net.uses()
    for node in net.nodes:
        named = [name if name in read else "" for name in node.outputs]
        net.nodes.swap(node, replace(node, outputs=read_outputs(named, op_of(node), read)))


def drop_identities(net: Net) -> None:
    """Takes out nodes that hand on their first input; where that leaves an output of the graph without a maker, the node stays."""
    for node in net.nodes:
        if _is_identity(net, node):
            _take_out(net, node)


def _is_identity(net: Net, node: Node) -> bool:
    if any(node.outputs[1:]):
        return False
    if node.op in ("Identity", "Dropout"):
        return True
    return node.op == "Cast" and net.facts.dtypes[node.inputs[0]] == net.facts.dtypes[node.outputs[0]]


def _take_out(net: Net, node: Node) -> None:
    new, old = node.inputs[0], node.outputs[0]
    maker = net.maker(new)
    if old not in net.output_names:
        net.nodes.remove(node)
        net.rename(old, new)
    elif maker is not None and new not in net.output_names:
        net.nodes.remove(node)
        net.merge([maker], replace(maker, outputs=tuple(old if name == new else name for name in maker.outputs)))
        net.rename(new, old)
