"""Models of several layers: branches, models within models, shared layers, attention."""

from collections.abc import Mapping
from typing import Any

from tests.astore.keras.chains import Case, Model, chain


def _pair(keras: Any, one_shape: tuple[int, ...], other: tuple[int, ...]) -> tuple[Any, Any]:
    return keras.Input(one_shape, name="x"), keras.Input(other, name="y")


def heads(keras: Any, layers: Any) -> Model:
    x, y = _pair(keras, (4, 6), (5, 3))
    once = layers.MultiHeadAttention(2, 3, name="self")(x, x, use_causal_mask=True)
    return keras.Model([x, y], layers.MultiHeadAttention(3, 2, use_bias=False, output_shape=7, name="cross")(once, value=y))


def heads_scores(keras: Any, layers: Any) -> Model:
    x, y = _pair(keras, (4, 6), (5, 3))
    return keras.Model([x, y], layers.MultiHeadAttention(2, 3)(x, y, y, return_attention_scores=True))


def causal_attention(keras: Any, layers: Any) -> Model:
    x, y = _pair(keras, (4, 6), (4, 6))
    return keras.Model([x, y], layers.Attention()([x, y], use_causal_mask=True))


def residual(keras: Any, layers: Any) -> Model:
    x = keras.Input((8, 8, 3), name="x")
    y = layers.Conv2D(4, 3, padding="same", activation="relu")(x)
    z = layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same", use_bias=False)(y))
    y = layers.ReLU(6.0)(layers.Add()([y, z]))
    scale = layers.Reshape((1, 1, 4))(layers.GlobalAveragePooling2D()(y))
    scale = layers.Conv2D(4, 1, activation="hard_sigmoid")(scale)
    y = layers.Concatenate()([layers.Multiply()([y, scale]), layers.DepthwiseConv2D(3, padding="same")(y)])
    return keras.Model(x, [layers.Dense(3, activation="softmax")(layers.Flatten()(y)), y])


def u_net(keras: Any, layers: Any) -> Model:
    x = keras.Input((8, 8, 2), name="x")
    a = layers.Conv2D(3, 3, padding="same", activation="relu")(x)
    b = layers.Conv2D(4, 3, padding="same", activation="relu")(layers.MaxPooling2D()(a))
    c = layers.Concatenate()([layers.Conv2DTranspose(3, 2, strides=2)(b), a, layers.UpSampling2D()(b)])
    return keras.Model(x, layers.Conv2D(2, 1, activation="sigmoid", name="map")(c))


def shared(keras: Any, layers: Any) -> Model:
    x, y = _pair(keras, (5,), (5,))
    dense = layers.Dense(4, activation="tanh", name="shared")
    return keras.Model({"x": x, "y": y}, {"far": layers.Subtract(name="far")([dense(x), dense(y)]), "near": dense(y)})


def nested(kind: str) -> Case:
    def make(keras: Any, layers: Any) -> Model:
        inner_x = keras.Input((4,), name="inner_x")
        parts = [layers.Dense(4, name="dense"), layers.BatchNormalization(name="norm")]
        y = inner_x
        for part in parts:
            y = part(y)
        inner = keras.Model(inner_x, y, name="inner") if kind == "functional" else keras.Sequential([inner_x, *parts], name="inner")
        x = keras.Input((4,), name="x")
        once = inner(x)
        twice = inner(layers.Dense(4, name="dense")(once))
        return keras.Model(x, [layers.Add()([once, twice]), twice])

    return make


def deep(keras: Any, layers: Any) -> Model:
    core = keras.Sequential([keras.Input((6, 6, 2)), layers.Conv2D(3, 3), layers.BatchNormalization()], name="core")
    middle = keras.Sequential([core, layers.GlobalMaxPooling2D()], name="middle")
    return keras.Sequential([middle, layers.Dense(2)])


def parted(keras: Any, layers: Any) -> Model:
    x = keras.Input((5, 3), name="x")
    inner_x = keras.Input((3,), name="inner_x")
    inner = keras.Model(inner_x, [layers.Dense(2)(inner_x), layers.Dense(4)(inner_x)], name="inner")
    left, right = inner(layers.GlobalMaxPooling1D()(x))
    return keras.Model(x, [right, left, x])


def distributed(keras: Any, layers: Any) -> Model:
    """A model at every step."""
    inner = keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            layers.Conv2D(3, 3),
            layers.BatchNormalization(),
            layers.Conv2D(2, 2),
            layers.GlobalMaxPooling2D(),
        ],
        name="inner",
    )
    return keras.Sequential([keras.Input((3, 6, 6, 2)), layers.TimeDistributed(inner), layers.LSTM(2)])


def operations(keras: Any, layers: Any) -> Model:
    """Arithmetic on tensors as Python writes it."""
    x, y = _pair(keras, (5, 5, 2), (5, 5, 2))
    z = layers.Conv2D(2, 3, padding="same")(x)
    return keras.Model([x, y], [1.0 - z * 2.0 + y / 3.0, keras.ops.tanh(z)])


FUNCTIONAL: Mapping[str, Case] = {
    "distributed model": distributed,
    "distributed model, another form": distributed,
    "distributed model, a third form": distributed,
    "operations": operations,
    "operations, another form": operations,
    "operations, a third form": operations,
    "nested functional, another form": nested("functional"),
    "nested functional, a third form": nested("functional"),
    "nested sequential, another form": nested("sequential"),
    "nested sequential, a third form": nested("sequential"),
    "residual": residual,
    "u-net": u_net,
    "shared": shared,
    "nested functional": nested("functional"),
    "nested sequential": nested("sequential"),
    "models three deep": deep,
    "model with two outputs": parted,
    "heads": heads,
    "heads with scores": heads_scores,
    "causal attention": causal_attention,
    "channels first": chain(
        (3, 8, 7),
        lambda k, la: [
            la.Conv2D(4, 3, padding="same", data_format="channels_first"),
            la.BatchNormalization(axis=1),
            la.MaxPooling2D(2, data_format="channels_first"),
            la.Flatten(data_format="channels_first"),
            la.Dense(3),
        ],
    ),
    "masking that nobody uses": chain((5, 3), lambda k, la: [la.Masking(0.5), la.Conv1D(2, 3)]),
    "steps": chain(
        (12, 3),
        lambda k, la: [
            la.Conv1D(4, 3, activation="relu"), la.MaxPooling1D(2), la.Bidirectional(la.LSTM(4, return_sequences=True)), la.GRU(3),
            la.Dense(2),
        ],
    ),
}  # fmt: skip
