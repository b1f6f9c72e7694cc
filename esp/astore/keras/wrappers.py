"""TimeDistributed: one layer at every step."""

from esp.astore.keras import values
from esp.astore.keras.call import Call
from esp.astore.keras.values import Held, Perm
from esp.astore.ops.dims import of_rows

# Layers that do the same to a tensor with a further axis of steps before the last ones.
_EACH = ("Activation", "Dense", "Dropout", "ELU", "GaussianDropout", "GaussianNoise", "LeakyReLU", "ReLU", "ThresholdedReLU")


def time_distributed(call: Call) -> list[Held]:
    """The steps become rows of the batch, and steps again behind the layer."""
    spec = call.spec.wrapped
    assert spec is not None
    call.settings.ignore("layer")
    x = call.x
    rank = call.rank(3)
    if spec.kind in _EACH:
        return call.inner(spec, [x], call.arrays)
    steps = call.size(1)
    perm, name = values.favourite(call.build, x)
    if perm[:2] != (0, 1):
        perm, name = values.plain(rank), call.tensor(x)
    inner_perm: Perm = (0, *(axis - 1 for axis in perm[2:]))
    shape = call.build.shapes[name]
    rows = values.reshape(call.build, name, (of_rows(steps), *shape[2:]))
    made = call.inner(spec, [call.held(rows, inner_perm)], call.arrays)
    return [_steps_again(call, value, steps) for value in made]


def _steps_again(call: Call, value: Held, steps: int) -> Held:
    perm, name = values.favourite(call.build, value)
    if perm[0] != 0:
        perm, name = values.plain(len(value.shape)), call.tensor(value)
    shape = call.build.shapes[name]
    return call.held(
        values.reshape(call.build, name, (call.x.shape[0], steps, *shape[1:])), (0, 1, *(axis + 1 for axis in perm[1:]))
    )
