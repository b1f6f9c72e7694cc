"""Layers in the words of Keras and DLPy: small frozen settings that each append a few ONNX nodes to a network."""

from esp.train.layers.attention import Embedding, LayerNorm, MultiHeadAttention, TimeDense
from esp.train.layers.basic import (
    BN,
    Activation,
    Dense,
    Dropout,
    Flatten,
    InputLayer,
    OutputLayer,
    Permute,
    RegressionLayer,
    Reshape,
    Scale,
    Softmax,
)
from esp.train.layers.build import LAYERS, build_graph
from esp.train.layers.layer import LayerSettings
from esp.train.layers.merge import Add, Concat, Multiply, Res
from esp.train.layers.pools import AveragePool, GlobalAveragePool, GlobalMaxPool, MaxPool
from esp.train.layers.recurrent import GRU, LSTM, RNN
from esp.train.layers.resizing import Conv2dTranspose, ConvTransposeNd, UpSampling, ZeroPad
from esp.train.layers.spatial import Conv1d, Conv2d, Conv3d, ConvNd, DepthwiseConv2d, SeparableConv2d

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
    "Conv2dTranspose",
    "Conv3d",
    "ConvNd",
    "ConvTransposeNd",
    "Dense",
    "DepthwiseConv2d",
    "Dropout",
    "Embedding",
    "Flatten",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "InputLayer",
    "LayerNorm",
    "LayerSettings",
    "MaxPool",
    "MultiHeadAttention",
    "Multiply",
    "OutputLayer",
    "Permute",
    "RegressionLayer",
    "Res",
    "Reshape",
    "Scale",
    "SeparableConv2d",
    "Softmax",
    "TimeDense",
    "UpSampling",
    "ZeroPad",
    "build_graph",
]
