"""The rules of stepping: for each op that may read a series, how it takes one event, and where time lies in what it makes."""

from collections.abc import Callable, Mapping

from esp.astore.graph import Node, complete_attrs
from esp.astore.stepping import moving
from esp.astore.stepping.recurrent import recurrent
from esp.astore.stepping.walk import Steps, refuse

Rule = Callable[[Steps, Node], None]

NUMBER_BY_NUMBER = (
    "Abs", "Acos", "Acosh", "Add", "And", "Asin", "Asinh", "Atan", "Atanh", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "Cast",
    "Ceil", "Celu", "Clip", "Cos", "Cosh", "Div", "Dropout", "Elu", "Equal", "Erf", "Exp", "Floor", "Gelu", "Greater", "GreaterOrEqual",
    "HardSigmoid", "HardSwish", "Identity", "IsInf", "IsNaN", "LeakyRelu", "Less", "LessOrEqual", "Log", "Max", "Mean", "Min", "Mish",
    "Mod", "Mul", "Neg", "Not", "Or", "PRelu", "Pow", "Reciprocal", "Relu", "Round", "Selu", "Shrink", "Sigmoid", "Sign", "Sin", "Sinh",
    "Softplus", "Softsign", "Sqrt", "Sub", "Sum", "Swish", "Tan", "Tanh", "ThresholdedRelu", "Where", "Xor",
)  # fmt: skip
ALONG_AN_AXIS = ("ArgMax", "ArgMin", "Hardmax", "LogSoftmax", "LpNormalization", "Softmax")
FROM_AN_AXIS = ("LayerNormalization", "RMSNormalization")
REDUCTIONS = (
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum",
    "ReduceSumSquare",
)  # fmt: skip
WINDOWED = ("AveragePool", "Conv", "LpPool", "MaxPool")


def number_by_number(steps: Steps, node: Node) -> None:
    """Inputs broadcast together; none may differ from step to step but the series themselves."""
    behind = {steps.rank(name) - axis for name in node.inputs if (axis := steps.time(name)) is not None}
    if len(behind) != 1:
        refuse(node, "joins series along different axes")
    (from_end,) = behind
    for name in filter(None, node.inputs):
        shape = steps.net.shape(name)
        if steps.time(name) is not None:
            continue
        if name in steps.axes:
            refuse(node, "joins the last event with the series")
        if len(shape) >= from_end and shape[-from_end] != 1:
            refuse(node, "has constants that differ from step to step")
    steps.keep(node, steps.rank(node.outputs[0]) - from_end)


def along_an_axis(steps: Steps, node: Node) -> None:
    x, attrs = node.inputs[0], complete_attrs(node)
    time, axis = _time(steps, x), attrs["axis"] % steps.rank(x)
    if axis == time:
        refuse(node, "goes over all steps")
    steps.keep(node, time - (axis < time and not attrs.get("keepdims", 1)))


def from_an_axis(steps: Steps, node: Node) -> None:
    x = node.inputs[0]
    time = _time(steps, x)
    if time >= complete_attrs(node)["axis"] % steps.rank(x):
        refuse(node, "goes over all steps")
    steps.keep(node, time)


def normalised_by_channel(steps: Steps, node: Node) -> None:
    time = _time(steps, node.inputs[0])
    if time == 1:
        refuse(node, "has numbers for each step")
    steps.keep(node, time)


def reduced(steps: Steps, node: Node) -> None:
    x, attrs = node.inputs[0], complete_attrs(node)
    rank, time, axes = steps.rank(x), _time(steps, x), steps.numbers(node, 1)
    if not axes and attrs["noop_with_empty_axes"]:
        steps.keep(node, time)
        return
    gone = {axis % rank for axis in axes} if axes else set(range(rank))
    if time in gone:
        refuse(node, "goes over all steps")
    steps.keep(node, time - (0 if attrs["keepdims"] else sum(axis < time for axis in gone)))


def product(steps: Steps, node: Node) -> None:
    """A product with a constant matrix, on either side."""
    a, b = node.inputs
    time_a, time_b = steps.time(a), steps.time(b)
    other = b if time_a is not None else a
    if other in steps.axes:
        refuse(node, "joins events of different steps")
    if steps.rank(other) > 2:
        refuse(node, "has a constant of more than two axes")
    if time_a is not None:
        if time_a == steps.rank(a) - 1:
            refuse(node, "goes over all steps")
        steps.keep(node, time_a)
    elif time_b is not None:
        if time_b != steps.rank(b) - 1 or steps.rank(a) != 2:
            refuse(node, "goes over all steps")
        steps.keep(node, steps.rank(node.outputs[0]) - 1)


def gemm(steps: Steps, node: Node) -> None:
    a, b, *rest = node.inputs
    if b in steps.axes or steps.time(a) != 0 or complete_attrs(node)["transA"]:
        refuse(node, "goes over all steps")
    if any(name in steps.axes or (steps.rank(name) == 2 and steps.net.shape(name)[0] != 1) for name in rest if name):
        refuse(node, "has constants that differ from step to step")
    steps.keep(node, 0)


def windowed(steps: Steps, node: Node) -> None:
    """Convolutions and pools that look at one step at a time."""
    time, attrs = _time(steps, node.inputs[0]), complete_attrs(node)
    dims = steps.rank(node.inputs[0]) - 2
    others = any(name in steps.axes for name in node.inputs[1:])
    at = time - 2
    if at < 0 or others:
        refuse(node, "goes over all steps")
    kernel = attrs["kernel_shape"] or steps.net.shape(node.inputs[1])[2:]
    pads, strides = attrs["pads"] or (0,) * 2 * dims, attrs["strides"] or (1,) * dims
    if (kernel[at], strides[at], pads[at], pads[dims + at]) != (1, 1, 0, 0):
        refuse(node, "looks at several steps at once")
    steps.keep(node, time)


def shape_of(steps: Steps, node: Node) -> None:
    """Of what it tells only the batch is still asked for: other sizes have become constants."""
    steps.put(node, {})


def _time(steps: Steps, name: str) -> int:
    axis = steps.time(name)
    assert axis is not None
    return axis


RULES: Mapping[str, Rule] = {
    **dict.fromkeys(NUMBER_BY_NUMBER, number_by_number),
    **dict.fromkeys(ALONG_AN_AXIS, along_an_axis),
    **dict.fromkeys(FROM_AN_AXIS, from_an_axis),
    **dict.fromkeys(REDUCTIONS, reduced),
    **dict.fromkeys(WINDOWED, windowed),
    "BatchNormalization": normalised_by_channel,
    "MatMul": product,
    "Gemm": gemm,
    "Shape": shape_of,
    "Reshape": moving.reshape,
    "Flatten": moving.reshape,
    "Transpose": moving.transpose,
    "Squeeze": moving.squeeze,
    "Unsqueeze": moving.unsqueeze,
    "Concat": moving.concat,
    "Split": moving.split,
    "Slice": moving.slice_,
    "Gather": moving.gather,
    "RNN": recurrent,
    "GRU": recurrent,
    "LSTM": recurrent,
}
