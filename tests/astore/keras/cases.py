"""Small Keras models, one or more for each kind of layer: functions of keras, which only the process that makes the files imports."""

from collections.abc import Mapping
from typing import Any

from tests.astore.keras.chains import Case, Model, chain
from tests.astore.keras.networks import FUNCTIONAL


def one(shape: tuple[int, ...], kind: str, *args: Any, **settings: Any) -> Case:
    """One layer of class ``kind``."""
    return chain(shape, lambda keras, layers: [getattr(layers, kind)(*args, name="layer", **settings)])


def joined(shapes: list[tuple[int, ...]], kind: str, **settings: Any) -> Case:
    """One layer called on several inputs."""

    def make(keras: Any, layers: Any) -> Model:
        inputs = [keras.Input(shape, name=f"x{at}") for at, shape in enumerate(shapes)]
        return keras.Model(inputs, getattr(layers, kind)(name="layer", **settings)(inputs))

    return make


BENDS = (
    "linear", "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "softplus", "softsign", "tanh", "sigmoid", "hard_sigmoid",
    "hard_silu", "silu", "gelu", "mish", "exponential", "softmax", "log_softmax", "hard_tanh", "log_sigmoid", "soft_shrink",
    "hard_shrink", "tanh_shrink", "sparse_plus", "sparse_sigmoid", "squareplus", "glu",
)  # fmt: skip

ACTIVATIONS: Mapping[str, Case] = {
    **{f"activation {name}": one((3, 6), "Activation", name) for name in BENDS},
    "relu with all settings": one((12,), "ReLU", max_value=1.5, negative_slope=0.2, threshold=0.3),
    "relu with a slope": one((12,), "ReLU", negative_slope=0.2),
    "relu with a slope and a top": one((12,), "ReLU", negative_slope=0.2, max_value=1.0),
    "relu with a threshold": one((12,), "ReLU", threshold=0.3),
    "leaky relu": one((12,), "LeakyReLU", negative_slope=0.13),
    "prelu": one((4, 5, 3), "PReLU"),
    "prelu shared": chain((6, 6, 3), lambda k, la: [la.Conv2D(4, 3), la.PReLU(shared_axes=[1, 2])]),
    "prelu behind a convolution": chain((6, 6, 3), lambda k, la: [la.Conv2D(4, 3), la.PReLU()]),
    "elu": one((12,), "ELU", alpha=0.7),
    "softmax axis 1": one((4, 5), "Softmax", axis=1),
    "softmax of channels": chain((5, 5, 2), lambda k, la: [la.Conv2D(3, 2), la.Softmax(), la.Conv2D(2, 2, activation="softmax")]),
    "an activation that is a layer": chain((5,), lambda k, la: [la.Dense(4, activation=la.LeakyReLU(negative_slope=0.4))]),
}

DENSE: Mapping[str, Case] = {
    "dense": one((5,), "Dense", 4, activation="tanh"),
    "dense without bias": one((5,), "Dense", 4, use_bias=False),
    "dense on steps": one((6, 5), "Dense", 4),
    "dense on a flattened picture": chain((4, 5, 3), lambda k, la: [la.Flatten(), la.Dense(4, activation="relu"), la.Dense(2)]),
    "dense on steps that were parted": chain((6, 4), lambda k, la: [la.Reshape((3, 8)), la.Dense(3), la.Flatten(), la.Dense(2)]),
    "dense on a turned picture": chain(
        (5, 6, 3), lambda k, la: [la.Conv2D(4, 2), la.Permute((2, 1, 3)), la.Flatten(), la.Dense(3)]
    ),
    "dense on a picture": chain((6, 6, 3), lambda k, la: [la.Conv2D(4, 3), la.Dense(5, activation="relu"), la.Dense(2)]),
    "einsum": one((6, 5), "EinsumDense", "abc,cd->abd", output_shape=(None, 4), bias_axes="d", activation="relu"),
    "einsum with an ellipsis": one((2, 6, 5), "EinsumDense", "...x,xy->...y", output_shape=7),
    "embedding": chain((7,), lambda k, la: [la.Embedding(11, 4), la.Dense(3)], "int32"),
    "embedding of floats": chain((7,), lambda k, la: [la.Embedding(11, 4, mask_zero=True), la.Flatten(), la.Dense(3)]),
    "flatten of channels": chain((5, 6, 3), lambda k, la: [la.Conv2D(4, 2), la.Flatten(), la.Dropout(0.2), la.ReLU(), la.Dense(3)]),
    "flatten of channels first": chain((4, 5, 6), lambda k, la: [la.Flatten(data_format="channels_first"), la.Dense(3)]),
    "flatten of a volume": chain((4, 4, 4, 2), lambda k, la: [la.Conv3D(3, 2), la.Flatten(), la.Dense(3)]),
    "flatten as output": chain((5, 5, 3), lambda k, la: [la.Conv2D(4, 2), la.Flatten()]),
}


def _sliding() -> dict[str, Case]:
    cases: dict[str, Case] = {}
    inputs: dict[int, tuple[int, ...]] = {1: (11, 4), 2: (9, 8, 4), 3: (6, 7, 5, 4)}
    for axes, shape in inputs.items():
        turned = (shape[-1], *shape[:-1])
        for padding in ("valid", "same"):
            cases[f"conv{axes}d {padding}"] = one(shape, f"Conv{axes}D", 6, 3, padding=padding, activation="relu")
            cases[f"conv{axes}d {padding} strides"] = one(shape, f"Conv{axes}D", 6, 2, strides=2, padding=padding, use_bias=False)
            cases[f"conv{axes}d transpose {padding}"] = one(shape, f"Conv{axes}DTranspose", 3, 3, strides=2, padding=padding)
            cases[f"conv{axes}d transpose {padding} wide"] = one(shape, f"Conv{axes}DTranspose", 3, 2, strides=3, padding=padding)
            cases[f"maxpool{axes}d {padding}"] = one(shape, f"MaxPooling{axes}D", 3, strides=2, padding=padding)
            cases[f"average pool{axes}d {padding}"] = one(shape, f"AveragePooling{axes}D", 3, strides=2, padding=padding)
        cases[f"conv{axes}d dilated"] = one(shape, f"Conv{axes}D", 4, 2, dilation_rate=2, padding="same")
        cases[f"conv{axes}d groups"] = one(shape, f"Conv{axes}D", 6, 2, groups=2)
        cases[f"conv{axes}d transpose even same"] = one(shape, f"Conv{axes}DTranspose", 3, 4, strides=2, padding="same")
        cases[f"pool{axes}d default"] = one(shape, f"MaxPooling{axes}D")
        for kind in ("Average", "Max"):
            cases[f"global {kind} {axes}d"] = one(shape, f"Global{kind}Pooling{axes}D")
            cases[f"global {kind} {axes}d keepdims"] = one(shape, f"Global{kind}Pooling{axes}D", keepdims=True)
        cases[f"global average {axes}d channels first"] = one(
            turned, f"GlobalAveragePooling{axes}D", keepdims=True, data_format="channels_first"
        )
        cases[f"cropping{axes}d"] = one(shape, f"Cropping{axes}D", (1, 2) if axes == 1 else tuple((1, at) for at in range(axes)))
        cases[f"padding{axes}d"] = one(shape, f"ZeroPadding{axes}D", (1, 2) if axes == 1 else tuple((1, at) for at in range(axes)))
        cases[f"padding{axes}d of one"] = one(shape, f"ZeroPadding{axes}D", 2)
        cases[f"upsampling{axes}d"] = one(shape, f"UpSampling{axes}D", 2)
    return cases


SLIDING: Mapping[str, Case] = {
    **_sliding(),
    "conv1d causal": one((11, 3), "Conv1D", 4, 3, padding="causal", dilation_rate=2),
    "conv1d causal strides": one((11, 3), "Conv1D", 4, 3, padding="causal", strides=2),
    "conv transpose output padding": one((4, 5, 3), "Conv2DTranspose", 2, 3, strides=2, padding="same", output_padding=1),
    "conv transpose valid output padding": one((4, 5, 3), "Conv2DTranspose", 2, 3, strides=3, output_padding=(1, 2)),
    "conv transpose dilated": one((4, 5, 3), "Conv2DTranspose", 2, 3, dilation_rate=2, padding="same"),
    "convs of odd kernels": chain(
        (9, 8, 3),
        lambda k, la: [
            la.Conv2D(4, (3, 2), strides=(2, 1), padding="same"),
            la.Conv2D(3, (1, 4), padding="same"),
            la.MaxPooling2D((2, 1)),
        ],
    ),
    "separable1d and two convolutions": chain(
        (9, 3), lambda k, la: [la.Conv1D(4, 3), la.SeparableConv1D(5, 2), la.Conv1D(4, 3), la.BatchNormalization(scale=False)]
    ),
    "depthwise1d": one((9, 3), "DepthwiseConv1D", 3, depth_multiplier=2, activation="relu"),
    "depthwise2d": one((9, 8, 3), "DepthwiseConv2D", (3, 2), strides=2, depth_multiplier=2, padding="same"),
    "depthwise2d dilated": one((9, 8, 3), "DepthwiseConv2D", 3, dilation_rate=2, use_bias=False),
    "separable1d": one((9, 3), "SeparableConv1D", 5, 3, depth_multiplier=2, activation="relu"),
    "separable2d": one((9, 8, 3), "SeparableConv2D", 5, 3, strides=2, padding="same"),
    "separable2d without bias": one((9, 8, 3), "SeparableConv2D", 5, 3, use_bias=False, depth_multiplier=2),
    "upsampling2d bilinear": one((4, 5, 3), "UpSampling2D", (2, 3), interpolation="bilinear"),
    "resizing bilinear": one((4, 5, 3), "Resizing", 7, 6),
    "resizing down": one((8, 9, 3), "Resizing", 5, 4, interpolation="bilinear"),
    "resizing nearest": one((8, 9, 3), "Resizing", 5, 13, interpolation="nearest"),
    "center crop": one((9, 8, 3), "CenterCrop", 4, 5),
    "zeros around a picture": chain(
        (5, 5, 2), lambda k, la: [la.Conv2D(3, 2), la.ZeroPadding2D(((1, 0), (2, 1))), la.Conv2D(2, 3)]
    ),
    "crop behind a convolution": chain((8, 7, 2), lambda k, la: [la.Conv2D(3, 2), la.Cropping2D(((1, 0), (2, 1)))]),
}

SHAPING: Mapping[str, Case] = {
    "reshape": one((6, 4), "Reshape", (3, -1)),
    "reshape of channels": chain((6, 6, 2), lambda k, la: [la.Conv2D(4, 3), la.Reshape((-1, 4)), la.Dense(2)]),
    "reshape to a picture": chain((12,), lambda k, la: [la.Dense(12), la.Reshape((1, 1, 12)), la.Conv2D(4, 1), la.Flatten()]),
    "permute": one((2, 3, 4), "Permute", (3, 1, 2)),
    "permute behind a convolution": chain((6, 5, 2), lambda k, la: [la.Conv2D(4, 3), la.Permute((2, 1, 3)), la.Conv2D(2, 2)]),
    "repeat vector": chain((5,), lambda k, la: [la.RepeatVector(3), la.LSTM(2)]),
    "flatten of vectors": chain((5,), lambda k, la: [la.Flatten(), la.Dense(2)]),
    "dropouts": chain(
        (4, 3),
        lambda k, la: [
            la.Dropout(0.5), la.GaussianNoise(0.3), la.GaussianDropout(0.3), la.AlphaDropout(0.2), la.SpatialDropout1D(0.2),
            la.ActivityRegularization(0.1), la.Identity(), la.Dense(2),
        ],
    ),
    "dropouts of pictures": chain(
        (4, 5, 3), lambda k, la: [la.SpatialDropout2D(0.2), la.Conv2D(2, 2), la.SpatialDropout2D(0.2, data_format="channels_first")]
    ),
    "dropout of volumes": chain((4, 4, 4, 2), lambda k, la: [la.SpatialDropout3D(0.2), la.Conv3D(2, 2)]),
    "augmentation": chain((5, 5, 3), lambda k, la: [la.RandomFlip(), la.RandomRotation(0.2), la.RandomZoom(0.1), la.Conv2D(2, 2)]),
}  # fmt: skip

NORMALISING: Mapping[str, Case] = {
    "batch norm of vectors": one((5,), "BatchNormalization"),
    "batch norm of steps": chain((6, 3), lambda k, la: [la.LSTM(4, return_sequences=True), la.BatchNormalization(), la.LSTM(2)]),
    "batch norm of a picture": one((5, 4, 3), "BatchNormalization", epsilon=0.1),
    "batch norm axis 1": one((3, 5, 4), "BatchNormalization", axis=1),
    "batch norm without scale": one((5, 4, 3), "BatchNormalization", scale=False),
    "batch norm without center": one((5, 4), "BatchNormalization", center=False),
    "batch norm bare": one((5,), "BatchNormalization", center=False, scale=False),
    "batch norm behind conv1d": chain((9, 3), lambda k, la: [la.Conv1D(4, 3), la.BatchNormalization(), la.Conv1D(2, 3)]),
    "layer norm": one((5, 4), "LayerNormalization"),
    "layer norm of vectors": one((6,), "LayerNormalization", epsilon=0.01),
    "layer norm over two axes": one((5, 4, 3), "LayerNormalization", axis=(2, 3)),
    "layer norm over axis 1": one((5, 4, 3), "LayerNormalization", axis=1),
    "layer norm without scale": one((5, 4), "LayerNormalization", scale=False),
    "layer norm bare": one((5, 4), "LayerNormalization", scale=False, center=False),
    "layer norm of channels": chain((6, 6, 2), lambda k, la: [la.Conv2D(4, 3), la.LayerNormalization(), la.Conv2D(3, 2)]),
    "group norm": one((4, 5, 6), "GroupNormalization", groups=3),
    "group norm each": one((4, 5, 6), "GroupNormalization", groups=-1, scale=False),
    "group norm of steps": one((7, 6), "GroupNormalization", groups=2),
    "unit norm": one((5, 4), "UnitNormalization"),
    "unit norm over two axes": one((5, 4), "UnitNormalization", axis=(1, 2)),
    "rms norm": one((5, 4), "RMSNormalization"),
    "rescaling": one((5, 4, 3), "Rescaling", 1 / 127.5, offset=-1.0),
    "rescaling channels": chain((5, 4, 3), lambda k, la: [la.Rescaling([0.1, 0.2, 0.3], offset=[1.0, 2.0, 3.0]), la.Conv2D(2, 2)]),
    "normalization": one((5, 3), "Normalization", mean=[1.0, 2.0, 3.0], variance=[0.5, 1.0, 2.0]),
    "normalization inverted": one((5, 3), "Normalization", mean=[1.0, 2.0, 3.0], variance=[0.5, 1.0, 2.0], invert=True),
    "normalization by one number": one((5, 3), "Normalization", axis=None, mean=2.0, variance=3.0),
    "normalization learnt": chain((4, 3), lambda k, la: [la.Normalization(), la.Dense(2)]),
    "bytes rescaled": chain((5, 5, 3), lambda k, la: [la.Rescaling(1 / 255), la.Conv2D(2, 2)], "uint8"),
}


def _recurrent() -> dict[str, Case]:
    cases: dict[str, Case] = {}
    for kind in ("SimpleRNN", "GRU", "LSTM"):
        cases[kind] = one((6, 3), kind, 4)
        cases[f"{kind} sequences"] = chain(
            (6, 3),
            lambda k, la, kind=kind: [getattr(la, kind)(4, return_sequences=True), getattr(la, kind)(2, return_sequences=True)],
        )
        cases[f"{kind} backwards"] = one((6, 3), kind, 4, go_backwards=True)
        cases[f"{kind} backwards sequences"] = one((6, 3), kind, 4, go_backwards=True, return_sequences=True)
        cases[f"{kind} without bias"] = one((6, 3), kind, 4, use_bias=False, unroll=True)
        cases[f"{kind} relu"] = one((6, 3), kind, 4, activation="relu")
        cases[f"{kind} linear"] = one((6, 3), kind, 4, activation="linear", dropout=0.2, recurrent_dropout=0.1)
        cases[f"{kind} states"] = states(kind)
        for mode in ("concat", "sum", "mul", "ave"):
            cases[f"both {kind} {mode}"] = both(kind, mode, return_sequences=mode != "mul")
        cases[f"both {kind} last"] = both(kind, "concat")
        cases[f"both {kind} states"] = both_states(kind)
    return cases


def both(kind: str, mode: str, **settings: Any) -> Case:
    return chain((6, 3), lambda k, la: [la.Bidirectional(getattr(la, kind)(4, **settings), merge_mode=mode)])


def states(kind: str) -> Case:
    """A layer that begins with the last states of another one and gives its own."""

    def make(keras: Any, layers: Any) -> Model:
        x, y = keras.Input((6, 3), name="x"), keras.Input((4, 2), name="y")
        _, *ends = getattr(layers, kind)(5, return_state=True, name="one")(x)
        outputs = getattr(layers, kind)(5, return_state=True, return_sequences=True, name="two")(y, initial_state=ends)
        return keras.Model([x, y], outputs)

    return make


def both_states(kind: str) -> Case:
    def make(keras: Any, layers: Any) -> Model:
        x, y = keras.Input((6, 3), name="x"), keras.Input((4, 2), name="y")
        _, *ends = layers.Bidirectional(getattr(layers, kind)(5, return_state=True), name="one")(x)
        last = layers.Bidirectional(getattr(layers, kind)(5, return_sequences=True), name="two")(y, initial_state=ends)
        return keras.Model([x, y], [last, *ends])

    return make


RECURRENT: Mapping[str, Case] = {
    **_recurrent(),
    "LSTM hard sigmoid": one((6, 3), "LSTM", 4, recurrent_activation="hard_sigmoid", activation="softsign"),
    "GRU reset before": one((6, 3), "GRU", 4, reset_after=False),
    "GRU reset before without bias": one((6, 3), "GRU", 4, reset_after=False, use_bias=False),
    "both GRU of two kinds": chain(
        (6, 3),
        lambda k, la: [
            la.Bidirectional(
                la.GRU(4, return_sequences=True),
                backward_layer=la.GRU(4, activation="relu", return_sequences=True, go_backwards=True),
            )
        ],
    ),
    "distributed dense": chain((6, 3), lambda k, la: [la.TimeDistributed(la.Dense(4, activation="relu")), la.GRU(2)]),
    "distributed convolutions": chain(
        (3, 6, 6, 2),
        lambda k, la: [
            la.TimeDistributed(la.Conv2D(4, 3, activation="relu")),
            la.TimeDistributed(la.MaxPooling2D()),
            la.TimeDistributed(la.Flatten()),
            la.LSTM(3),
        ],
    ),
    "distributed recurrence": chain(
        (3, 5, 2), lambda k, la: [la.TimeDistributed(la.LSTM(4)), la.TimeDistributed(la.BatchNormalization())]
    ),
}

MERGING: Mapping[str, Case] = {
    "add": joined([(5,), (5,)], "Add"),
    "add three": joined([(5, 2), (5, 2), (5, 2)], "Add"),
    "add of few axes": joined([(4, 5), (5,)], "Add"),
    "subtract": joined([(5,), (5,)], "Subtract"),
    "multiply": joined([(5,), (5,), (5,)], "Multiply"),
    "multiply broadcast": joined([(4, 5, 3), (1, 1, 3)], "Multiply"),
    "average": joined([(5,), (5,), (5,)], "Average"),
    "maximum": joined([(5,), (5,)], "Maximum"),
    "minimum": joined([(5,), (5,), (5,)], "Minimum"),
    "concatenate": joined([(5, 2), (5, 3)], "Concatenate"),
    "concatenate axis 1": joined([(5, 2), (4, 2)], "Concatenate", axis=1),
    "dot of vectors": joined([(5,), (5,)], "Dot", axes=1),
    "dot normalised": joined([(5,), (5,)], "Dot", axes=1, normalize=True),
    "dot of matrices": joined([(4, 5), (5, 3)], "Dot", axes=(2, 1)),
    "dot of matrices axis 1": joined([(4, 5), (4, 3)], "Dot", axes=1),
    "dot of a matrix and a vector": joined([(4, 5), (5,)], "Dot", axes=(2, 1)),
    "attention": joined([(4, 5), (6, 5)], "Attention"),
    "attention with key and scale": joined([(4, 5), (6, 3), (6, 5)], "Attention", use_scale=True),
    "attention concat": joined([(4, 5), (6, 5)], "Attention", score_mode="concat", use_scale=True),
    "additive attention": joined([(4, 5), (6, 5)], "AdditiveAttention"),
    "additive attention without scale": joined([(4, 5), (6, 5)], "AdditiveAttention", use_scale=False),
}


CASES: Mapping[str, Case] = {
    **ACTIVATIONS, **DENSE, **SLIDING, **SHAPING, **NORMALISING, **RECURRENT, **MERGING, **FUNCTIONAL,
}  # fmt: skip
