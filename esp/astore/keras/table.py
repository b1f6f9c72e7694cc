"""Which function makes which layer of Keras: everything that can be imported, by class."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from esp.astore.keras import (
    attention,
    convolution,
    dense,
    edges,
    elementwise,
    merging,
    normalisation,
    operations,
    pooling,
    recurrent,
    resizing,
    shaping,
    wrappers,
)
from esp.astore.keras.call import Call
from esp.astore.keras.values import Held

Rule = Callable[[Call], Held | list[Held]]

_BY_AXES: Mapping[str, Callable[..., Held]] = {
    "AveragePooling{}D": partial(pooling.pool, op="AveragePool"),
    "Conv{}D": convolution.conv,
    "Conv{}DTranspose": convolution.transposed,
    "Cropping{}D": edges.crop,
    "GlobalAveragePooling{}D": partial(pooling.global_pool, op="GlobalAveragePool"),
    "GlobalMaxPooling{}D": partial(pooling.global_pool, op="GlobalMaxPool"),
    "MaxPooling{}D": partial(pooling.pool, op="MaxPool"),
    "UpSampling{}D": resizing.up_sample,
    "ZeroPadding{}D": edges.zero_pad,
}
_NOTHING = (
    "ActivityRegularization",
    "AlphaDropout",
    "Dropout",
    "GaussianDropout",
    "GaussianNoise",
    "Identity",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
)
_AUGMENTATIONS = (
    "RandomBrightness",
    "RandomContrast",
    "RandomFlip",
    "RandomRotation",
    "RandomTranslation",
    "RandomZoom",
)
LAYERS: Mapping[str, Rule] = {
    **{name.format(axes): partial(rule, axes=axes) for name, rule in _BY_AXES.items() for axes in (1, 2, 3)},
    **dict.fromkeys(_NOTHING, elementwise.nothing),
    **dict.fromkeys(_AUGMENTATIONS, elementwise.augmentation),
    "Activation": elementwise.activation,
    "Add": partial(merging.merge, op="Add"),
    "AdditiveAttention": attention.additive_attention,
    "Attention": attention.attention,
    "Average": partial(merging.merge, op="Mean"),
    "BatchNormalization": normalisation.batch_normalization,
    "Bidirectional": recurrent.bidirectional,
    "CenterCrop": edges.center_crop,
    "Concatenate": merging.concatenate,
    "Dense": dense.dense,
    "DepthwiseConv1D": partial(convolution.depthwise, axes=1),
    "DepthwiseConv2D": partial(convolution.depthwise, axes=2),
    "Dot": merging.dot,
    "ELU": elementwise.elu,
    "EinsumDense": dense.einsum_dense,
    "Embedding": dense.embedding,
    "Flatten": shaping.flatten,
    "GRU": recurrent.recurrent,
    "GroupNormalization": normalisation.group_normalization,
    "LSTM": recurrent.recurrent,
    "LayerNormalization": normalisation.layer_normalization,
    "LeakyReLU": elementwise.leaky_relu,
    "Masking": elementwise.masking,
    "Maximum": partial(merging.merge, op="Max"),
    "Merge": merging.old_merge,
    "Minimum": partial(merging.merge, op="Min"),
    "MultiHeadAttention": attention.multi_head,
    "Multiply": partial(merging.merge, op="Mul"),
    "Normalization": elementwise.normalization,
    "PReLU": elementwise.prelu,
    "Permute": shaping.permute,
    "RMSNormalization": normalisation.rms_normalization,
    "ReLU": elementwise.relu,
    "RepeatVector": shaping.repeat_vector,
    "Rescaling": elementwise.rescaling,
    "Reshape": shaping.reshape,
    "Resizing": resizing.resizing,
    "SeparableConv1D": partial(convolution.separable, axes=1),
    "SeparableConv2D": partial(convolution.separable, axes=2),
    "SimpleRNN": recurrent.recurrent,
    "Softmax": elementwise.softmax,
    "Subtract": partial(merging.merge, op="Sub"),
    "ThresholdedReLU": elementwise.thresholded_relu,
    "TFOpLambda": operations.tensorflow,
    "TimeDistributed": wrappers.time_distributed,
    "UnitNormalization": normalisation.unit_normalization,
}
# Operations of Keras 3 that stand in a model as layers do; their classes have names that layers have too.
OPERATIONS: Mapping[str, Rule] = {
    **{kind: partial(operations.arithmetic, op=op) for kind, op in operations.BINARY.items()},
    **{kind: partial(operations.unary, op=op) for kind, op in operations.UNARY.items()},
}
# Layers that Keras gives a mask of steps, and what they do with it: let it through, or use it (then it cannot be imported).
LETS_MASK_THROUGH = (
    *_NOTHING,
    "Activation",
    "BatchNormalization",
    "Concatenate",
    "Dense",
    "ELU",
    "GroupNormalization",
    "LayerNormalization",
    "LeakyReLU",
    "PReLU",
    "ReLU",
    "Rescaling",
    "UnitNormalization",
)
USES_MASK = (
    "Add",
    "AdditiveAttention",
    "Attention",
    "Average",
    "Bidirectional",
    "GRU",
    "GlobalAveragePooling1D",
    "LSTM",
    "Maximum",
    "Minimum",
    "MultiHeadAttention",
    "Multiply",
    "SimpleRNN",
    "Softmax",
    "Subtract",
    "TimeDistributed",
)
WHY_NOT: Mapping[str, str] = {
    "CuDNNGRU": "its weights lie as cuDNN has them",
    "CuDNNLSTM": "its weights lie as cuDNN has them",
    "Lambda": "it holds Python code, which a file is not trusted with",
    "RNN": "its cell is a class of its own",
}


def rule_of(kind: str, is_operation: bool) -> Rule | None:
    """The function that makes layers of a class, None where there is none."""
    return (OPERATIONS if is_operation else LAYERS).get(kind)


def outputs_of(made: Held | Sequence[Held]) -> list[Held]:
    """What a rule gave, as a list."""
    return [made] if isinstance(made, Held) else [*made]
