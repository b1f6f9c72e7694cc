"""The weights of a Keras or DLPy file put into a graph that is there already, layer by layer."""

from collections import Counter
from dataclasses import replace
from functools import partial

from esp.astore.graph import Array, Graph, Layer
from esp.astore.hdf5.file import KerasFile, LayerWeights
from esp.astore.hdf5.flattening import Rows
from esp.astore.hdf5.nesting import Names, snake_case, split
from esp.astore.hdf5.place import Place, Slot
from esp.astore.hdf5.slots import places_of
from esp.astore.validation import validate
from esp.errors import EspError, FileError


def assign(graph: Graph, file: KerasFile, by_order: bool = False, rows: Rows | None = None) -> Graph:
    """``graph`` with the weights of ``file``: each layer of its table gets those of the layer of that name, a model within as
    "inner/dense".

    ``by_order`` goes by the order of the layers that have weights instead. ``rows`` says how the rows of a dense kernel after
    a Flatten stand in the file where the graph does not tell. Raises FileError unless every layer with weights gets all of
    its own, each of its very shape, and none is left over; GraphError where ``validate`` does.
    """
    shapes = validate(graph)
    knowing = partial(Place, graph, shapes, flavour=file.flavour, generation=file.generation, rows=rows)
    places = {layer.name: places_of(graph, layer, partial(knowing, kind=layer.kind, layer=layer.name)) for layer in graph.layers}
    layers = [layer for layer in graph.layers if places[layer.name]]
    found = _in_order(file, layers) if by_order else _by_name(file, graph, layers)
    weights = dict(graph.weights)
    for layer in layers:
        where = f"{file.path}: layer {layer.name!r}"
        try:
            weights.update(_read(places[layer.name], found[layer.name]))
        except EspError as err:
            raise FileError(err.what, where=where, mend=err.mend) from err
    return replace(graph, weights=weights)


def _read(places: list[tuple[Place, Slot]], weights: LayerWeights) -> dict[str, Array]:
    """The weights of a layer's nodes by their names in the graph. Raises FileError unless all fit and none is left over."""
    arrays, made = list(zip(weights.names, weights.arrays)), dict[str, Array]()
    for place, slot in places:
        for index, array in slot.read(place, arrays).items():
            wanted = place.kernel(index)
            if array.size == wanted.size and array.ndim == 1:
                array = array.reshape(wanted.shape)
            if array.shape != wanted.shape:
                what = f"{place.node.op} wants {list(wanted.shape)}, the file gives {list(array.shape)} in the graph's layout"
                raise FileError(what, mend="give the file of this very network")
            made[place.node.inputs[index]] = array.astype(wanted.dtype)
    if arrays:
        names = ", ".join(repr(name) for name, _ in arrays)
        raise FileError(f"the file has more for it than the graph takes: {names}", mend="give the file of this very network")
    return made


def _in_order(file: KerasFile, layers: list[Layer]) -> dict[str, LayerWeights]:
    if file.is_by_path:
        raise FileError("keeps no order of layers", where=str(file.path), mend="load by name, or save the weights as .h5")
    if len(layers) != len(file.layers):
        what = f"the file has weights of {len(file.layers)} layers, the graph wants those of {len(layers)}"
        raise FileError(what, where=str(file.path), mend="give the file of this very network")
    return {layer.name: weights for layer, weights in zip(layers, file.layers.values())}


def _by_name(file: KerasFile, graph: Graph, layers: list[Layer]) -> dict[str, LayerWeights]:
    wanted = [layer.name for layer in layers]
    found = _by_path(file, graph) if file.is_by_path else _flat(file, wanted)
    missing = [name for name in wanted if name not in found]
    spare = [name for name in found if name not in wanted]
    if missing or spare:
        what = f"layers do not match: the file lacks {missing[:5]}, the graph has none called {spare[:5]}"
        raise FileError(what, where=str(file.path), mend="name the layers alike, or load by order")
    return found


def _flat(file: KerasFile, wanted: list[str]) -> dict[str, LayerWeights]:
    """By the graph's names; the weights of a model within are told apart by those of its layers."""
    found: dict[str, LayerWeights] = {}
    for key, weights in file.layers.items():
        inner: list[Names] = [tuple(name.split("/")) for name in wanted if name.startswith(f"{key}/")]
        if key in wanted or not inner:
            found[key] = weights
        else:
            found.update({"/".join(names): part for names, part in split(file, key, weights, inner).items()})
    return found


def _by_path(file: KerasFile, graph: Graph) -> dict[str, LayerWeights]:
    """By the names that the file says, else by the kinds of the graph's layers, counted as Keras 3 counts classes."""
    if set(file.names) >= set(file.layers):
        return {_full_name(file, path): weights for path, weights in file.layers.items()}
    counts: Counter[str] = Counter()
    names = {}
    for layer in graph.layers:
        word = snake_case(layer.kind)
        names[f"layers/{word}_{counts[word]}" if counts[word] else f"layers/{word}"] = layer.name
        counts[word] += 1
    return {names.get(path, path): weights for path, weights in file.layers.items()}


def _full_name(file: KerasFile, path: str) -> str:
    parts = path.split("/layers/")
    outer = ("/layers/".join(parts[: at + 1]) for at in range(len(parts)))
    return "/".join(file.names.get(name, name) for name in outer)
