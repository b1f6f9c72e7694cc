"""Models with bytes and fields changed at random: each is read, or refused in one line; nothing else comes of it."""

import random

import numpy as np
import onnx
import pytest

from esp.astore.onnx import read_onnx
from esp.errors import EspError
from tests.astore.onnx.oracle import floats, model, node
from tests.astore.onnx.test_patterns import class_token

WILD = (-(2**63), -2, -1, 0, 1, 7, 2**31, 2**62)


def seeds() -> list:
    conv = [
        node("Conv", "x w", "c", pads=[1, 1, 1, 1]),
        node("Upsample", "c", "u", scales=[1.0, 1.0, 2.0, 2.0]),
        node("Softmax", "u", "y"),
    ]
    lstm = node("LSTM", "x w r", "_ y", hidden_size=5, layout=1)
    cut = [
        node("Split", "x", "a b", axis=1),
        node("Slice", "a", "c", starts=[0], ends=[1]),
        node("Pad", "c", "y", pads=[0, 0, 0, 1]),
    ]
    return [
        class_token(1),
        model(conv, {"x": [1, 3, 8, 8]}, ["y"], {"w": floats(4, 3, 3, 3)}, opset=8),
        model([lstm], {"x": ["N", 4, 3]}, ["y"], {"w": floats(1, 20, 3), "r": floats(1, 20, 5)}, opset=14),
        model(cut, {"x": ["N", 4]}, ["y"], opset=9),
    ]


def with_wild_field(proto, rng: random.Random):
    """The model with an attribute, a size, an input or an op exchanged."""
    made = onnx.ModelProto.FromString(proto.SerializeToString())
    nodes = list(made.graph.node)
    one, other = rng.choice(nodes), rng.choice(nodes)
    kind = rng.randrange(5)
    if kind == 0 and one.attribute:
        attr = rng.choice(list(one.attribute))
        attr.i = rng.choice(WILD)
        if attr.ints:
            attr.ints[rng.randrange(len(attr.ints))] = rng.choice(WILD)
    elif kind == 1 and one.input:
        one.input[rng.randrange(len(one.input))] = rng.choice([*other.input, *other.output, ""])
    elif kind == 2:
        one.op_type = other.op_type
    elif kind == 3:
        made.graph.input[0].type.tensor_type.shape.dim[rng.randrange(2)].dim_value = rng.choice(WILD)
    elif made.graph.initializer:
        tensor = rng.choice(list(made.graph.initializer))
        tensor.data_type = rng.randrange(30)
        tensor.dims.append(rng.choice(WILD))
    return made


def with_wild_bytes(proto, rng: random.Random):
    """The model with a byte exchanged; as it is where that is no protobuf any more."""
    data = bytearray(proto.SerializeToString())
    data[rng.randrange(len(data))] = rng.randrange(256)
    try:
        return onnx.ModelProto.FromString(bytes(data))
    except Exception:
        return proto


@pytest.mark.parametrize("at", range(4))
@pytest.mark.parametrize("change", [with_wild_field, with_wild_bytes])
def test_a_changed_model_is_read_or_refused_in_one_line(change, at: int) -> None:
    rng, proto = random.Random(at), seeds()[at]
    messages = []
    for _ in range(400):
        try:
            read_onnx(change(proto, rng), batch=rng.random() < 0.7)
        except EspError as err:
            messages.append(str(err))
    assert len(messages) > 20
    assert not [message for message in messages if "\n" in message or len(message) > 2000]


def test_a_weight_that_repeats_one_number_takes_no_memory_until_it_is_written() -> None:
    one = onnx.numpy_helper.from_array(np.float32([1]))
    nodes = [node("ConstantOfShape", "s", "w", value=one), node("MatMul", "x w", "y")]
    graph = read_onnx(model(nodes, {"x": ["N", 20_000]}, ["y"], {"s": np.int64([20_000, 10_000])}))
    assert graph.weights["w"].strides == (0, 0)
