"""Layers in the words of Keras and DLPy: small frozen settings that each append one to four ONNX nodes to a network."""

from esp.train.layers.basic import (
    BN,
    Activation,
    Dense,
    Dropout,
    Flatten,
    InputLayer,
    OutputLayer,
    RegressionLayer,
    Softmax,
)
from esp.train.layers.build import LAYERS, build_graph
from esp.train.layers.layer import LayerSettings
from esp.train.layers.merge import Add, Concat, Res
from esp.train.layers.recurrent import GRU, LSTM, RNN
from esp.train.layers.spatial import AveragePool, Conv1d, Conv2d, ConvNd, GlobalAveragePool, MaxPool

__all__ = [
    "BN",
    "GRU",
    "LAYERS",
    "LSTM",
    "RNN",
    "Activation",
    "Add",
    "AveragePool",
    "Concat",
    "Conv1d",
    "Conv2d",
    "ConvNd",
    "Dense",
    "Dropout",
    "Flatten",
    "GlobalAveragePool",
    "InputLayer",
    "LayerSettings",
    "MaxPool",
    "OutputLayer",
    "RegressionLayer",
    "Res",
    "Softmax",
    "build_graph",
]
