"""The words by which the import from Keras names a layer's weights, so that a file of Keras can be made of them again."""

import re

CHANNELS_FIRST = "_channels_first"  # behind a word: the numbers stand as in a tensor held channels first
DENSE_KERNEL = "dense_kernel"  # of a Dense that the graph holds as a convolution of kernel 1
HEADS = {
    "query": "query",
    "key": "key",
    "value": "value",
    "output": "attention_output",
}  # of MultiHeadAttention, as Keras calls them
LEARNT = frozenset(
    {
        *("kernel", "recurrent_kernel", "bias", DENSE_KERNEL, "depthwise_kernel", "pointwise_kernel", "embeddings", "alpha"),
        *("gamma", "beta", "moving_mean", "moving_variance", "scale", "concat_score_weight"),
        *("deviation", "mean", "inverse_deviation", "scaled_mean"),
        *(f"{head}_{part}" for head in HEADS for part in ("kernel", "bias")),
    }
)


def word_of(tensor: str, layer: str) -> str:
    """The word of a layer's weight without the count behind it; "" where its name is not one that the import gives."""
    word = tensor.removeprefix(f"{layer}/")
    return "" if word == tensor else re.sub(r"_\d+$", "", word)


def is_learnt(word: str) -> bool:
    """Whether Keras keeps the numbers among the weights of the layer."""
    return word.removesuffix(CHANNELS_FIRST) in LEARNT
