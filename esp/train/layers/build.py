"""From a list of layers to a graph: who feeds whom, names, and the table of layer kinds."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from esp.astore.graph import Graph
from esp.errors import GraphError
from esp.train.layers import attention, basic, merge, pools, recurrent, resizing, spatial
from esp.train.layers.layer import LayerSettings
from esp.train.network import Network, Tensor

LAYERS: dict[str, type[LayerSettings]] = {
    kind.__name__: kind
    for kind in (
        basic.InputLayer,
        basic.Dense,
        basic.OutputLayer,
        basic.Softmax,
        basic.RegressionLayer,
        basic.Activation,
        basic.BN,
        basic.Dropout,
        basic.Flatten,
        basic.Reshape,
        basic.Permute,
        basic.Scale,
        spatial.ConvNd,
        spatial.Conv1d,
        spatial.Conv2d,
        spatial.Conv3d,
        spatial.DepthwiseConv2d,
        spatial.SeparableConv2d,
        resizing.ConvTransposeNd,
        resizing.Conv2dTranspose,
        resizing.UpSampling,
        resizing.ZeroPad,
        pools.MaxPool,
        pools.AveragePool,
        pools.GlobalAveragePool,
        pools.GlobalMaxPool,
        merge.Concat,
        merge.Res,
        merge.Add,
        merge.Multiply,
        attention.Embedding,
        attention.LayerNorm,
        attention.TimeDense,
        attention.MultiHeadAttention,
        recurrent.RNN,
        recurrent.GRU,
        recurrent.LSTM,
    )
}


def name_layers(layers: Sequence[LayerSettings]) -> list[LayerSettings]:
    """Layers with a name each: its kind and its number among its kind (conv2d_1) where it has none."""
    counts: dict[str, int] = {}
    named = []
    for layer in layers:
        kind = type(layer).__name__.lower()
        counts[kind] = counts.get(kind, 0) + 1
        named.append(layer if layer.name else replace(layer, name=f"{kind}_{counts[kind]}"))
    return named


def build_graph(layers: Sequence[LayerSettings], seed: int = 0, dtype: str = "float32", output: str = "output") -> Graph:
    """The graph of layers that begin with an InputLayer; the last one makes its output.

    Raises GraphError naming the layer that does not fit.

    >>> from esp.train.layers import Dense, InputLayer, OutputLayer
    >>> graph = build_graph([InputLayer((4,), name="x"), Dense(8, "relu"), OutputLayer(3)])
    >>> [node.op for node in graph.nodes]
    ['Gemm', 'Relu', 'Gemm', 'Softmax']
    """
    net, made = Network(np.random.default_rng(seed), dtype), dict[str, Tensor]()
    last: Tensor | None = None
    for layer in name_layers(layers):
        inputs = [] if isinstance(layer, basic.InputLayer) else _inputs(layer, made, last)
        last = made[layer.name] = net.add_layer(layer.name, type(layer).__name__, partial(layer.build, net, inputs))
    if last is None or not net.graph.inputs:
        raise GraphError("a network needs layers, and an InputLayer first", mend="add them")
    return net.freeze({output: last})


def _inputs(layer: LayerSettings, made: dict[str, Tensor], last: Tensor | None) -> list[Tensor]:
    if not layer.inputs:
        if last is None:
            raise GraphError("nothing comes in", where=f"layer {layer.name}", mend="begin with an InputLayer")
        return [last]
    for name in layer.inputs:
        if name not in made:
            raise GraphError(f"no layer {name} before it", where=f"layer {layer.name}", mend=f"use one of {', '.join(made)}")
    return [made[name] for name in layer.inputs]
