"""Ops that work number by number: arithmetic, functions, activations, comparison, logic, casts."""

from collections.abc import Callable

import numpy as np

from tests.astore.op_cases.case import BATCH, Case, flip, floats, sizes, whole

INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
CODES = {"float32": 1, "uint8": 2, "int8": 3, "uint16": 4, "int16": 5, "int32": 6, "int64": 7, "bool": 9, "float16": 10}
CODES |= {"float64": 11, "uint32": 12, "uint64": 13}


def of(dtype, low=-4.0, high=4.0):
    """How numbers of a dtype are drawn, reals between two bounds."""

    def draw(rng, *shape):
        if dtype == "bool":
            return rng.integers(0, 2, shape).astype(bool)
        if dtype.startswith(("int", "uint")):
            return rng.integers(max(low, 0) if dtype[0] == "u" else low, high + 1, shape).astype(dtype)
        return rng.uniform(low, high, shape).astype(dtype)

    return draw


def any_of(rng, *dtypes, low=-4.0, high=4.0):
    return of(str(rng.choice(dtypes)), low, high)


def one(op, dtypes=("float32",), low=-4.0, high=4.0, judge=True, **attrs):
    """One tensor; an attribute is drawn by its function, in half of the cases."""

    def draw(rng):
        x = any_of(rng, *dtypes, low=low, high=high)(rng, BATCH, *sizes(rng, int(rng.integers(0, 4))))
        return Case(op, [x], {name: make(rng) for name, make in attrs.items() if flip(rng)}, judge=judge)

    return draw


def together(rng, *makers):
    """Tensors that broadcast, and the ones that are fed: one at least has the batch, the others it or none."""
    shape, arrays, fed = sizes(rng, int(rng.integers(0, 4))), [], {}
    leader = int(rng.integers(len(makers)))
    for at, make in enumerate(makers):
        if at == leader or flip(rng):
            arrays.append(make(rng, BATCH, *shape))
            fed[at] = 0
        else:
            kept = shape[int(rng.integers(0, len(shape) + 1)) :]
            arrays.append(np.asarray(make(rng, *(size if flip(rng) else 1 for size in kept))))
    return arrays, fed


def two(op, dtypes, **attrs):
    def draw(rng):
        make = any_of(rng, *dtypes)
        arrays, fed = together(rng, make, make)
        return Case(op, arrays, {name: value(rng) for name, value in attrs.items() if flip(rng)}, fed)

    return draw


def several(op, dtypes):
    def draw(rng):
        make = any_of(rng, *dtypes)
        arrays, fed = together(rng, *[make] * int(rng.integers(1, 5)))
        return Case(op, arrays, {}, fed)

    return draw


def power(rng):
    base, exponent = [
        (of("float32", 0.1, 4), of("float32", -3, 3)),
        (of("float64", 0.1, 4), of("float64", -3, 3)),
        (of("float32"), of("int64", 0, 3)),
        (of("int32"), of("int32", 0, 3)),
        (of("int64"), of("int64", 0, 3)),
        (of("int32", 1, 5), of("float32", 0.1, 2.9)),
    ][int(rng.integers(6))]
    arrays, fed = together(rng, base, exponent)
    return Case("Pow", arrays, {}, fed)


def modulo(rng):
    dtype = str(rng.choice(["int32", "int64", "int8", "uint8", "float32"]))
    arrays, fed = together(rng, of(dtype, -20, 20), lambda rng, *shape: np.abs(whole(rng, "int64", *shape)).astype(dtype))
    fmod = dtype == "float32" or flip(rng)
    return Case("Mod", arrays, {"fmod": 1} if fmod else {}, fed)


def clip(rng):
    make = any_of(rng, "float32", "float64", "int8", "uint8", "int64")
    bounds = [np.asarray(make(rng)) if flip(rng) else None for _ in range(2)]
    return Case("Clip", [make(rng, BATCH, *sizes(rng, int(rng.integers(0, 4)))), *bounds])


def prelu(rng):
    shape = sizes(rng, int(rng.integers(1, 4)))
    kept = shape[int(rng.integers(0, len(shape) + 1)) :]
    return Case("PRelu", [floats(rng, BATCH, *shape), floats(rng, *(size if flip(rng) else 1 for size in kept))])


def special(op, **attrs):
    """Reals with infinities and NaN among them."""

    def draw(rng):
        x = rng.choice(np.array([0, 1, -2.5, np.inf, -np.inf, np.nan], str(rng.choice(["float32", "float64"]))), (BATCH, 6))
        return Case(op, [x], {name: make(rng) for name, make in attrs.items() if flip(rng)})

    return draw


def where(rng):
    make = any_of(rng, "float32", "float64", "int32", "int64", "uint8", "bool")
    arrays, fed = together(rng, of("bool"), make, make)
    return Case("Where", arrays, {}, fed, judge=arrays[1].dtype not in (np.float64, np.bool_))


def bit_shift(rng):
    make = any_of(rng, "uint8", "uint32", "uint64", low=0, high=7)
    arrays, fed = together(rng, make, make)
    return Case("BitShift", arrays, {"direction": str(rng.choice(["LEFT", "RIGHT"]))}, fed)


def cast(rng):
    source, target = (str(rng.choice(list(CODES))) for _ in range(2))
    low = 0 if target[0] == "u" else -4
    x = of(source, low, 4)(rng, BATCH, *sizes(rng, int(rng.integers(0, 4))))
    return Case("Cast", [x], {"to": CODES[target]} | ({"saturate": 1} if flip(rng) else {}))


def cast_like(rng):
    x = of("float32", 0, 9)(rng, BATCH, 3)
    return Case("CastLike", [x, of(str(rng.choice(list(CODES))))(rng, 2)])


def softmax_like(op, *dtypes):
    def draw(rng):
        rank = int(rng.integers(1, 4))
        axis = int(rng.integers(1, rank + 1))
        x = (floats(rng, BATCH, *sizes(rng, rank)) * 10).astype(rng.choice(dtypes))
        return Case(op, [x], [{}, {"axis": axis}, {"axis": axis - rank - 1}][int(rng.integers(3))])

    return draw


def real(rng):
    return float(rng.uniform(0.1, 2))


def flag(rng):
    return int(rng.integers(2))


BOTH = ("float32", "float64")
COMPARED = ("float32", "float64", "int32", "int64")
CURVES = {
    **{op: one(op, BOTH) for op in ("Floor", "Ceil", "Round", "Sin", "Cos", "Exp")},
    **{op: one(op) for op in ("Atan", "Sinh", "Cosh", "Asinh", "Erf", "Softsign", "HardSwish", "Mish")},
    "Tan": one("Tan", low=-1.2, high=1.2),
    **{op: one(op, low=-0.95, high=0.95) for op in ("Asin", "Acos", "Atanh")},
    "Acosh": one("Acosh", low=1.05),
    **{op: one(op, BOTH, low=0.05) for op in ("Sqrt", "Log", "Reciprocal")},
    "Neg": one("Neg", ("float32", "float64", "int8", "int32", "int64")),
    "Abs": one("Abs", ("float32", "float64", *INTEGERS)),
    "Sign": one("Sign", ("float32", "float64", *INTEGERS)),
}
BENT = {
    "Elu": one("Elu", alpha=real),
    "Celu": one("Celu", alpha=real),
    "Selu": one("Selu", alpha=real, gamma=real),
    "ThresholdedRelu": one("ThresholdedRelu", alpha=real),
    "Shrink": one("Shrink", ("float32", "float64", "int8", "int32", "int64", "uint8"), bias=real, lambd=real),
    "Softplus": one("Softplus"),
    "HardSigmoid": one("HardSigmoid", alpha=real, beta=real),
    "Gelu": one("Gelu", approximate=lambda rng: str(rng.choice(["none", "tanh"]))),
    "Swish": one("Swish", alpha=real, judge=False),  # an op of opset 24
    "Clip": clip,
    "PRelu": prelu,
    "LogSoftmax": softmax_like("LogSoftmax", "float32", "float64"),
    "Hardmax": softmax_like("Hardmax", "float32"),
}
ELEMENTWISE: dict[str, Callable] = {
    **CURVES,
    **BENT,
    "Pow": power,
    "Mod": modulo,
    "Sum": several("Sum", BOTH),
    "Mean": several("Mean", ("float32",)),
    **{op: several(op, ("float32", "float64", "int8", "int32", "int64", "uint8", "uint32", "uint64")) for op in ("Max", "Min")},
    "Equal": two("Equal", (*COMPARED, "bool")),
    **{op: two(op, COMPARED) for op in ("Less", "LessOrEqual", "Greater", "GreaterOrEqual")},
    **{op: two(op, ("bool",)) for op in ("And", "Or", "Xor")},
    "Not": one("Not", ("bool",)),
    **{op: two(op, INTEGERS) for op in ("BitwiseAnd", "BitwiseOr", "BitwiseXor")},
    "BitwiseNot": one("BitwiseNot", INTEGERS),
    "BitShift": bit_shift,
    "IsNaN": special("IsNaN"),
    "IsInf": special("IsInf", detect_negative=flag, detect_positive=flag),
    "Where": where,
    "Cast": cast,
    "CastLike": cast_like,
}
