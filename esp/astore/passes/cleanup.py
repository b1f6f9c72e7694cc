"""What does nothing goes: nodes whose outputs nobody uses, identities, dropout, casts to the same type."""

from dataclasses import replace

from esp.astore.graph import Node, live_nodes, op_of, read_outputs
from esp.astore.passes.net import Net


def drop_unused(net: Net) -> None:
    """Takes out nodes whose outputs nobody uses, and unnames outputs that nobody uses."""
    alive = live_nodes([(node.inputs, node.outputs) for node in net.nodes], [value.name for value in net.outputs])
    net.nodes = [net.nodes[at] for at in alive]
    read = net.uses()
    for at, node in enumerate(net.nodes):
        named = [name if name in read else "" for name in node.outputs]
        net.nodes[at] = replace(node, outputs=read_outputs(named, op_of(node), read))


def drop_identities(net: Net) -> None:
    """Takes out nodes that hand on their first input; where that leaves an output of the graph without a maker, the node stays."""
    at = 0
    while at < len(net.nodes):
        if not (_is_identity(net, net.nodes[at]) and _taken_out(net, at)):
            at += 1


def _is_identity(net: Net, node: Node) -> bool:
    if any(node.outputs[1:]):
        return False
    if node.op in ("Identity", "Dropout"):
        return True
    return node.op == "Cast" and net.facts.dtypes[node.inputs[0]] == net.facts.dtypes[node.outputs[0]]


def _taken_out(net: Net, at: int) -> bool:
    new, old = net.nodes[at].inputs[0], net.nodes[at].outputs[0]
    outputs = {value.name for value in net.outputs}
    if old not in outputs:
        del net.nodes[at]
        net.rename(old, new)
        return True
    maker = net.maker(new)
    if maker is None or new in outputs:
        return False
    del net.nodes[at]
    net.merge([maker], replace(maker, outputs=tuple(old if name == new else name for name in maker.outputs)))
    net.rename(new, old)
    return True
