"""The zoo: counts that the literature gives, and every network at a small size against onnxruntime."""

import numpy as np
import onnxruntime
import pytest

from esp.astore.binary import from_bytes, to_bytes
from esp.astore.graph import Graph, Value, run_reference
from esp.astore.model import Astore, Input, Output
from esp.astore.onnx import read_onnx, to_onnx
from esp.astore.summary import layer_rows, totals
from esp.astore.validation import validate
from esp.errors import GraphError
from esp.train.zoo import SMALL, ZOO, build
from esp.train.zoo.table import settings_of

ROWS = 7


def rows_for(value: Value, rng: np.random.Generator) -> np.ndarray:
    """Random rows of an input: whole numbers within every vocabulary of SMALL, lengths within every series."""
    shape = (ROWS, *value.shape[1:])
    if value.dtype == "float32":
        return rng.standard_normal(shape).astype(np.float32)
    return rng.integers(1, 6, shape).astype(value.dtype)


def onnx_outputs(graph: Graph, inputs: list[np.ndarray]) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(to_onnx(graph).SerializeToString(), options, ["CPUExecutionProvider"])
    one = session.run(None, {value.name: x[:1] for value, x in zip(graph.inputs, inputs)})
    many = session.run(None, {value.name: x for value, x in zip(graph.inputs, inputs)})
    return [*one, *many]


@pytest.mark.parametrize("name", ZOO)
def test_network_gives_what_onnxruntime_gives_at_batch_1_and_7(name: str) -> None:
    graph = build(name, seed=3, **SMALL[name])
    rng = np.random.default_rng(4)
    inputs = [rows_for(value, rng) for value in graph.inputs]
    ours = [*run_reference(graph, [x[:1] for x in inputs]), *run_reference(graph, inputs)]
    shapes = validate(graph)
    for at, (mine, theirs) in enumerate(zip(ours, onnx_outputs(graph, inputs), strict=True)):
        value = graph.outputs[at % len(graph.outputs)]
        assert mine.shape == (len(mine), *shapes[value.name][1:])
        assert mine.dtype == theirs.dtype == np.dtype(value.dtype)
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-4 * np.abs(theirs).max())


@pytest.mark.parametrize("name", ZOO)
def test_network_is_the_same_after_a_way_through_onnx_and_through_an_astore(name: str) -> None:
    graph = build(name, seed=3, **SMALL[name])
    inputs = tuple(Input(value.name, value.dtype, value.shape[1:]) for value in graph.inputs)  # type: ignore[arg-type]
    outputs = tuple(Output(value.name, value.dtype, value.shape[1:]) for value in graph.outputs)  # type: ignore[arg-type]
    stored = from_bytes(to_bytes(Astore(name, graph, inputs, outputs))).graph
    assert (stored.nodes, stored.layers, stored.inputs, stored.outputs) == (graph.nodes, graph.layers, graph.inputs, graph.outputs)
    assert all(stored.weights[key].tobytes() == array.tobytes() for key, array in graph.weights.items())
    rng = np.random.default_rng(4)
    rows = [rows_for(value, rng) for value in graph.inputs]
    for before, after in zip(run_reference(graph, rows), run_reference(read_onnx(to_onnx(graph)), rows), strict=True):
        np.testing.assert_allclose(after, before, rtol=1e-6, atol=1e-6 * np.abs(before).max())


@pytest.mark.parametrize("name", ZOO)
def test_outputs_are_finite_and_vary_from_row_to_row(name: str) -> None:
    graph = build(name, seed=5, **SMALL[name])
    rng = np.random.default_rng(6)
    for made in run_reference(graph, [rows_for(value, rng) for value in graph.inputs]):
        assert np.isfinite(made).all()
        assert np.abs(made).max() < 1e4
        assert np.ptp(made, axis=0).max() > 1e-3 * np.abs(made).max()


@pytest.mark.parametrize("name", ZOO)
def test_seed_fixes_every_weight_and_every_layer_is_summed_up(name: str) -> None:
    one, two, other = (build(name, seed=seed, **SMALL[name]) for seed in (1, 1, 2))
    assert (one.nodes, one.layers, [*one.weights]) == (two.nodes, two.layers, [*two.weights])
    assert all(one.weights[key].tobytes() == two.weights[key].tobytes() for key in one.weights)
    assert any(one.weights[key].tobytes() != other.weights[key].tobytes() for key in one.weights)
    rows = layer_rows(one)
    assert [row.name for row in rows] == [layer.name for layer in one.layers]
    assert totals(one, rows).parameters == sum(row.parameters for row in rows) > 0


@pytest.mark.parametrize(
    ("name", "settings", "layers", "parameters"),
    [
        ("mlp", {}, 4, 118_282),
        ("mnist_cnn", {}, 7, 1_256_080),
        ("resnet50", {"conv_bias": True}, 126, 25_575_912),  # Gluon's rule, layers as DLPy counts
        ("resnet50", {}, 126, 25_557_032),  # light_resnet50 of the onnx package
        ("tiny_yolov2", {"classes": 2}, 25, 11_031_952),
        ("unet", {}, 51, 34_520_899),
        ("spectral_3d", {}, 9, 578_544),
    ],
)
def test_layers_and_parameters_are_dlpys(name: str, settings: dict[str, object], layers: int, parameters: int) -> None:
    graph = build(name, init="zeros", **settings)
    found = totals(graph, layer_rows(graph))
    assert (found.layers, found.parameters) == (layers, parameters)


PUBLISHED = {
    "lenet": 61_706,  # every map fed by all
    "alexnet": 60_965_224,  # Caffe; light_bvlc_alexnet of the onnx package
    "alexnet_2014": 61_100_840,  # torchvision
    "zfnet": 87_250_536,  # light_zfnet512
    "vgg11": 132_863_336,  # torchvision, as far as squeezenet1_1
    "vgg13": 133_047_848,
    "vgg16": 138_357_544,
    "vgg16_bn": 138_365_992,
    "vgg19": 143_667_240,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "wide_resnet50": 68_883_240,
    "densenet121": 7_978_856,
    "densenet169": 14_149_480,
    "densenet201": 20_013_928,
    "squeezenet1_0": 1_248_424,
    "squeezenet1_1": 1_235_496,
    "darknet53": 41_609_928,  # timm
    "yolov1": 271_703_550,
    "tiny_yolov1": 27_095_374,
    "inception_v1": 6_998_552,  # Caffe's GoogLeNet; light_inception_v1's 5,974,552 leaves out the last 1024 x 1000
    "inception_v2": 11_194_984,  # light_inception_v2
    "inception_v3": 23_834_568,  # torchvision without the side classifier
    "xception": 22_855_952,  # Keras, trainable
    "mobilenet": 4_231_976,  # Keras, trainable; so mobilenet_v2
    "mobilenet_v2": 3_504_872,
    "shufflenet": 1_865_728,  # three groups
    "shufflenet_v2": 2_278_604,  # torchvision, as far as efficientnet_b3
    "efficientnet_b0": 5_288_548,
    "efficientnet_b1": 7_794_184,
    "efficientnet_b2": 9_109_994,
    "efficientnet_b3": 12_233_232,
    "yolox": 5_055_855,  # YOLOX-tiny
    "vit": 5_717_416,  # timm's vit_tiny_patch16_224
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_the_published_ones(name: str) -> None:
    graph = build(name, init="zeros")
    assert totals(graph, layer_rows(graph)).parameters == PUBLISHED[name]


def test_fresh_weights_have_no_bias_and_batch_normalisation_that_changes_nothing() -> None:
    weights = build("vgg11_bn", init="fresh", **SMALL["vgg11_bn"]).weights
    assert not weights["conv2d_1.bias"].any()
    assert not weights["bn_1.mean"].any()
    assert (weights["bn_1.variance"] == 1).all()
    assert weights["conv2d_1.weight"].std() > 0


def test_every_network_has_small_settings_that_it_knows() -> None:
    assert SMALL.keys() == ZOO.keys()
    assert all(settings.keys() <= settings_of(name).keys() for name, settings in SMALL.items())


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("resnet7", {}, "no network"),
        ("lenet", {"depth": 3}, "no setting"),
        ("resnet50", {"depth": 51}, "depth 51 is none"),
        ("shufflenet", {"groups": 5}, "groups 5 is none"),
        ("squeezenet1_0", {"version": "2"}, "version 2 is none"),
        ("vgg11", {"size": 16}, "layer maxpool_5"),
        ("yolox", {"size": 72}, "layer concat"),
    ],
)
def test_what_the_zoo_does_not_have_is_refused_in_one_line(name: str, settings: dict[str, object], message: str) -> None:
    with pytest.raises(GraphError, match=message) as caught:
        build(name, init="zeros", **settings)
    assert "\n" not in str(caught.value)
