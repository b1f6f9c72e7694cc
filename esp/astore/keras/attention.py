"""Attention: dot product, additive and of several heads."""

import math

import numpy as np

from esp.astore.keras.activations import scaled
from esp.astore.keras.call import Call
from esp.astore.keras.values import Held, reshape

FAR_BELOW = -1.0e9  # added to a score that does not count: its part is 0


def attention(call: Call) -> list[Held]:
    """Attention of [query, value, key] by the dot product, or by the sum of a tanh."""
    settings = call.settings
    mode = settings.choice("score_mode", ("dot", "concat"), "dot")
    has_scale = settings.flag("use_scale")
    settings.ignore("dropout")
    names = ("scale" if has_scale else "", "concat_score_weight" if mode == "concat" else "")
    scale, weight = call.weights(*names) if any(names) else (None, None)
    query, value, key = _given(call)
    if mode == "dot":
        scores = call.build.add("MatMul", query, call.build.add("Transpose", key, perm=(0, 2, 1)))
        if has_scale and scale is not None:
            scores = _learnt(call, scores, "scale", scale)
    else:
        scores = _additive(call, query, key, scale if has_scale else None, None)
        scores = _learnt(call, scores, "concat_score_weight", weight if weight is not None else np.ones((), np.float32))
    return _applied(call, scores, value, _is_causal(call))


def additive_attention(call: Call) -> list[Held]:
    """Attention of [query, value, key] by the weighted sum of tanh(query + key)."""
    has_scale = call.settings.flag("use_scale", True)
    call.settings.ignore("dropout")
    scale = call.weights("scale")[0] if has_scale else None
    query, value, key = _given(call)
    return _applied(call, _additive(call, query, key, None, scale), value, _is_causal(call))


def _given(call: Call) -> tuple[str, str, str]:
    """Query, value and key; the value is the key where none is given."""
    if len(call.inputs) not in (2, 3) or any(len(value.shape) != 3 for value in call.inputs):
        raise call.refused("it wants two or three inputs of 3 axes", "mend the model")
    names = [call.tensor(call.floating(value)) for value in call.inputs]
    return names[0], names[1], names[-1]


def _learnt(call: Call, name: str, word: str, number: np.ndarray) -> str:
    return call.build.add("Mul", name, call.build.weight(word, number.reshape(())))


def _additive(call: Call, query: str, key: str, before: np.ndarray | None, behind: np.ndarray | None) -> str:
    """The sum over features of tanh(query + key), scaled before or behind it, for each pair of steps."""
    rows, columns = call.build.shapes[query], call.build.shapes[key]
    left = reshape(call.build, query, (rows[0], rows[1], 1, rows[2]))
    right = reshape(call.build, key, (columns[0], 1, *columns[1:]))
    total = call.build.add("Add", left, right)
    bent = call.build.add("Tanh", _learnt(call, total, "scale", before) if before is not None else total)
    if behind is not None:
        bent = call.build.add("Mul", bent, call.build.weight("scale", behind))
    return call.build.add("ReduceSum", bent, call.ints(-1), keepdims=0)


def _is_causal(call: Call) -> bool:
    return bool(call.take("use_causal_mask"))


def _applied(call: Call, scores: str, value: str, is_causal: bool) -> list[Held]:
    """The values weighed by the softmax of the scores, and those weights where they are asked for."""
    weights = call.build.add("Softmax", causal(call, scores) if is_causal else scores, axis=-1)
    result = call.held(call.build.add("MatMul", weights, value))
    return [result, call.held(weights)] if call.take("return_attention_scores") else [result]


def causal(call: Call, scores: str) -> str:
    """Scores [..., query steps, key steps] of which a step counts none behind itself."""
    rows, columns = call.build.shapes[scores][-2:]
    assert isinstance(rows, int)
    assert isinstance(columns, int)
    mask = np.triu(np.full((rows, columns), FAR_BELOW, np.float32), 1)
    return call.build.add("Add", scores, call.build.weight("causal_mask", mask))


def multi_head(call: Call) -> list[Held]:
    """Attention of several heads, over one axis of steps."""
    settings = call.settings
    heads, size = settings.whole("num_heads"), settings.whole("key_dim")
    size_of_value = settings.whole("value_dim", size)
    is_biased = settings.flag("use_bias", True)
    settings.ignore("dropout", "output_shape", "flash_attention")
    if settings.get("attention_axes") not in (None, 1, [1], (1,)):
        raise settings.refused("attention_axes", "attention over several axes has no rule", "attend over axis 1")
    query, value, key = _heads_given(call)
    kinds = [f"{kind}_{part}" for kind in ("query", "key", "value", "output") for part in ("kernel", "bias")]
    arrays = dict(zip(kinds, call.weights(*(kind if is_biased or kind.endswith("kernel") else "" for kind in kinds))))
    parts = (("query", query, size), ("key", key, size), ("value", value, size_of_value))
    q, k, v = (_projected(call, name, kind, arrays, heads, width) for kind, name, width in parts)
    scores = call.build.add("MatMul", scaled(call, q, 1 / math.sqrt(size)), call.build.add("Transpose", k, perm=(0, 1, 3, 2)))
    weights = call.build.add("Softmax", causal(call, scores) if _is_causal(call) else scores, axis=-1)
    mixed = call.build.add("Transpose", call.build.add("MatMul", weights, v), perm=(0, 2, 1, 3))
    steps = call.build.shapes[mixed][:2]
    name = _times(call, reshape(call.build, mixed, (*steps, heads * size_of_value)), "output", arrays, heads * size_of_value)
    return [call.held(name), call.held(weights)] if call.take("return_attention_scores") else [call.held(name)]


def _heads_given(call: Call) -> tuple[str, str, str]:
    given = list(call.inputs)
    named = {name: call.take(name) for name in ("query", "value", "key")}
    ordered = [named[name] if named[name] is not None else given.pop(0) if given else None for name in ("query", "value", "key")]
    query, value, key = ordered[0], ordered[1], ordered[2] if ordered[2] is not None else ordered[1]
    if not all(isinstance(item, Held) and len(item.shape) == 3 for item in (query, value, key)):
        raise call.refused("it wants query and value of 3 axes", "mend the model")
    names = [call.tensor(call.floating(item)) for item in (query, value, key)]
    return names[0], names[1], names[2]


def _projected(call: Call, name: str, kind: str, arrays: dict[str, np.ndarray], heads: int, size: int) -> str:
    """[N, steps, features] as [N, heads, steps, size]."""
    features = call.build.shapes[name][2]
    assert isinstance(features, int)
    name = _times(call, name, kind, arrays, features)
    steps = call.build.shapes[name][:2]
    return call.build.add("Transpose", reshape(call.build, name, (*steps, heads, size)), perm=(0, 2, 1, 3))


def _times(call: Call, name: str, kind: str, arrays: dict[str, np.ndarray], rows: int) -> str:
    kernel, bias = arrays[f"{kind}_kernel"], arrays[f"{kind}_bias"]
    if kernel.size % rows:
        raise call.refused(f"its {kind} kernel is {list(kernel.shape)} for {rows} features", "give the file of this model")
    name = call.build.add("MatMul", name, call.build.weight(f"{kind}_kernel", kernel.reshape(rows, -1)))
    return call.build.add("Add", name, call.build.weight(f"{kind}_bias", bias.reshape(-1))) if bias.size else name
