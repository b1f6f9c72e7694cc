"""The weights of recurrent nodes between a graph and the arrays of a Keras layer, either direction or both."""

from esp.astore.graph import Array, complete_attrs
from esp.astore.hdf5 import keras1, layouts
from esp.astore.hdf5.layouts import Maybe, Three
from esp.astore.hdf5.place import Named, Place, is_kept, refuse_dlpy
from esp.errors import FileError

_ARRAYS_OF_KERAS_1 = {"LSTM": 12, "GRU": 9}


def read_cell(place: Place, arrays: list[Named]) -> dict[int, Array]:
    """W, R and B out of the arrays of one direction or two, all of the layer's."""
    refuse_dlpy(place)
    ways = place.kernel().shape[0]
    each, rest = divmod(len(arrays), ways)
    if rest or each < 2:
        what = f"wants kernel, recurrent kernel and bias of {ways} directions, got {len(arrays)} arrays"
        raise FileError(what, mend="give the file of this very network")
    given = [array for _, array in arrays]
    arrays.clear()
    directions = [_direction(place, given[at : at + each]) for at in range(0, len(given), each)]
    w, r, b = directions[0] if ways == 1 else layouts.bidirectional(*directions)
    if place.weight(3) is not None:
        return {1: w, 2: r, 3: b}
    if b.any():
        raise FileError("the file has a bias for it, the graph none", mend="give the file of this very network")
    return {1: w, 2: r}


def _direction(place: Place, arrays: list[Array]) -> Three:
    op = place.node.op
    if place.generation == 1 and len(arrays) == _ARRAYS_OF_KERAS_1.get(op):
        arrays = [*(keras1.keras1_lstm(arrays) if op == "LSTM" else keras1.keras1_gru(arrays))]
    if len(arrays) > 3:
        raise FileError(f"wants 3 arrays, got {len(arrays)}", mend="give the file of this very network")
    kernel, recurrent = arrays[:2]
    bias = arrays[2] if len(arrays) > 2 else None
    _check(place, kernel, recurrent, bias)
    return {"RNN": layouts.simple_rnn, "GRU": layouts.gru, "LSTM": layouts.lstm}[op](kernel, recurrent, bias)


def _check(place: Place, kernel: Array, recurrent: Array, bias: Array | None) -> None:
    """Raises FileError unless the arrays are those of a layer of this size."""
    _, rows, units = place.kernel(2).shape
    is_reset_after = place.node.op == "GRU" and bool(complete_attrs(place.node)["linear_before_reset"])
    wanted = [(place.kernel().shape[2], rows), (units, rows), (2, rows) if is_reset_after else (rows,)]
    found = [array.shape for array in (kernel, recurrent, bias) if array is not None]
    if found != wanted[: len(found)]:
        what = f"wants arrays of shapes {[*map(list, wanted)]}, got {[*map(list, found)]}"
        raise FileError(what, mend="give the file of this very network (a GRU: reset_after as it was)")


def write_cell(place: Place) -> list[Named]:
    """Kernel, recurrent kernel and bias of each direction."""
    w, r, b = place.kernel(1), place.kernel(2), place.weight(3) if is_kept(place, 3) else None
    named: list[Named] = []
    for way in range(w.shape[0]):
        prefix = ("forward_", "backward_")[way] if w.shape[0] == 2 else ""
        arrays = _to_keras(place, w[way], r[way], None if b is None else b[way])
        named += [(f"{prefix}{name}", array) for name, array in zip(_NAMES, arrays) if array is not None]
    return named


_NAMES = ("kernel", "recurrent_kernel", "bias")


def _to_keras(place: Place, w: Array, r: Array, b: Array | None) -> Maybe:
    if place.node.op == "LSTM":
        return layouts.lstm_to_keras(w, r, b)
    if place.node.op == "RNN":
        return layouts.simple_rnn_to_keras(w, r, b)
    is_reset_after = bool(complete_attrs(place.node)["linear_before_reset"])
    return layouts.gru_to_keras(w, r, b, is_reset_after)
