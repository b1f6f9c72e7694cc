"""What single rows of ops that move, index, pad and resize mean, with numbers worked out by hand."""

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from esp.astore.graph import Node, complete_attrs
from esp.astore.ops import OPS
from esp.astore.ops.dims import Rows, Unknown
from esp.astore.ops.row import Tensor
from esp.errors import GraphError


def whole(*numbers):
    return np.array(numbers, np.int64)


def run(op, *inputs, outputs=1, **attrs):
    arrays = [None if array is None else np.asarray(array) for array in inputs]
    return [made.tolist() for made in OPS[op].reference(complete_attrs(Node(op, (), (), attrs)), arrays, outputs)]


def rule(op, *inputs, **attrs):
    """The shape rule; a tuple is the shape of an input whose numbers are not known, an array is known."""
    shapes = [array.shape if isinstance(array, np.ndarray) else array for array in inputs]
    constants = [array if isinstance(array, np.ndarray) else None for array in inputs]
    return OPS[op].shapes(complete_attrs(Node(op, (), (), attrs)), shapes, constants)


def sizes(*numbers):
    made = np.empty(len(numbers), object)
    made[:] = numbers
    return made


def refused(op, *inputs, **attrs):
    with pytest.raises(GraphError) as caught:
        rule(op, *inputs, **attrs)
    return caught.value.what


def test_the_shape_of_a_part():
    assert run("Shape", np.zeros((2, 3, 4)), start=1) == [[3, 4]]
    assert run("Shape", np.zeros((2, 3, 4)), start=-9, end=-1) == [[2, 3]]
    assert rule("Shape", (None, 3, 4), start=2, end=1) == [(0,)]
    assert run("Size", np.zeros((2, 3, 4))) == [24]


def test_a_constant_has_exactly_one_value():
    assert run("Constant", value_ints=(3, 4)) == [[3, 4]]
    assert run("Constant", value=Tensor.of(np.float32([[1]]))) == [[[1]]]
    assert OPS["Constant"].dtypes.infer(complete_attrs(Node("Constant", (), (), {"value_int": 1})), [], 1) == ["int64"]
    assert "got none" in refused("Constant")
    assert "got value_float, value_int" in refused("Constant", value_int=1, value_float=1.0)


@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        (Tensor("float32", (2,), b"1234"), "wants 8 bytes, got 4"),
        (Tensor("float32", (-1, -1), b"1234"), "wants 4 bytes"),
        (Tensor("object", (1,), b"12345678"), "unknown dtype 'object'"),
    ],
)
def test_a_tensor_attribute_that_does_not_hold_what_it_says_is_refused(tensor, said):
    assert said in refused("Constant", value=tensor)


def test_a_fill_of_one_number_takes_sizes_and_the_batch():
    assert run("ConstantOfShape", whole(2, 1), value=Tensor.of(np.int8([5]))) == [[[5], [5]]]
    assert rule("ConstantOfShape", sizes(1, Rows(1), 4)) == [(1, None, 4)]
    assert rule("ConstantOfShape", whole()) == [()]
    assert "below 0" in refused("ConstantOfShape", whole(2, -1))
    assert "got 2" in refused("ConstantOfShape", whole(2), value=Tensor.of(np.float32([1, 2])))


@pytest.mark.parametrize(
    ("numbers", "wanted"),
    [((0, 5, 2), [0, 2, 4]), ((5, 0, -2), [5, 3, 1]), ((3, 3, 1), []), ((3, 1, 1), []), ((0.5, 2.1, 0.5), [0.5, 1, 1.5, 2])],
)
def test_a_range_leaves_its_limit_out(numbers, wanted):
    arrays = [np.array(number, np.result_type(*numbers)) for number in numbers]
    assert run("Range", *arrays) == [wanted]
    assert rule("Range", *arrays) == [(len(wanted),)]


def test_a_range_to_the_batch_has_one_number_a_row():
    n = np.array(Rows(1), object)
    assert rule("Range", np.array(0), n, np.array(1)) == [(None,)]
    assert rule("Range", np.array(0), np.array(Rows(6), object), np.array(2)) == [(Rows(3),)]
    assert "mixes rows" in refused("Range", np.array(1), n, np.array(1))
    assert "no fixed count" in refused("Range", np.array(0), n, np.array(2))
    assert "has no end" in refused("Range", np.array(0), np.array(5), np.array(0))
    assert "has no end" in refused("Range", np.array(0.0), np.array(np.inf), np.array(1.0))


def test_expand_broadcasts_both_ways():
    assert run("Expand", [[1], [2]], whole(2)) == [[[1, 1], [2, 2]]]
    assert rule("Expand", (1, 1, 5), sizes(Rows(1), 3, 1)) == [(None, 3, 5)]
    assert "do not broadcast" in refused("Expand", (None, 3), whole(2, 1, 4))


def test_gather_keeps_the_shape_of_its_indices():
    assert run("Gather", [[1, 2], [3, 4]], [[0, -1]], axis=1) == [[[[1, 2]], [[3, 4]]]]
    assert rule("Gather", (10, 4), (None, 3)) == [(None, 3, 4)]
    assert rule("Gather", (None, 10, 4), (), axis=1) == [(None, 4)]
    assert "would mix the rows" in refused("Gather", (None, 10), whole(0))


def test_gather_elements_stays_in_its_row():
    assert run("GatherElements", [[1, 2], [3, 4]], whole(0, 0, 1, 0).reshape(2, 2), axis=1) == [[[1, 1], [4, 3]]]
    assert rule("GatherElements", (None, 5), (None, 2), axis=1) == [(None, 2)]
    assert rule("GatherElements", (5, 3), (None, 2), axis=0) == [(None, 2)]
    assert "reach beyond" in refused("GatherElements", (None, 5), (1, 2), axis=1)
    assert "reach beyond" in refused("GatherElements", (4, 5), (None, 2), axis=1)
    assert "would mix the rows" in refused("GatherElements", (None, 5), (None, 5), axis=0)


def test_gather_nd_of_a_batch_picks_in_each_row():
    data = np.arange(12).reshape(2, 2, 3)
    assert run("GatherND", data, whole(1, 1).reshape(1, 2)) == [[[9, 10, 11]]]
    assert run("GatherND", data, whole(1, 0).reshape(2, 1), batch_dims=1) == [[[3, 4, 5], [6, 7, 8]]]
    assert rule("GatherND", (None, 2, 3), (None, 4, 1), batch_dims=1) == [(None, 4, 3)]
    assert "would mix the rows" in refused("GatherND", (None, 2, 3), (4, 1))
    assert "do not share" in refused("GatherND", (None, 2, 3), (4, 1), batch_dims=1)


def test_scatter_puts_or_adds_updates():
    assert run("ScatterElements", [[1, 2, 3]], [[2, 0]], [[9, 8]], axis=1) == [[[8, 2, 9]]]
    assert run("ScatterElements", [[1, 2, 3]], [[0, 0]], [[9, 8]], axis=1, reduction="add") == [[[18, 2, 3]]]
    assert run("ScatterND", [[1, 2], [3, 4]], [[-1]], [[9, 8]]) == [[[1, 2], [9, 8]]]
    assert run("ScatterND", [1, 2], [[0], [0]], [5, 3], reduction="max") == [[5, 2]]
    assert "reach beyond" in refused("ScatterElements", (3, 4), (None, 4), (None, 4), axis=1)
    assert "would mix the rows" in refused("ScatterND", (None, 4), (1, 1), (1, 4))
    assert "would mix its rows" in refused("ScatterND", (3, 4), (None, 1), (None, 4))


def test_one_hot_counts_from_the_end_and_leaves_out_what_lies_outside():
    assert run("OneHot", [1, -1, 5], np.array(3), np.float32([0, 1])) == [[[0, 1, 0], [0, 0, 1], [0, 0, 0]]]
    assert rule("OneHot", (None, 2), np.array(3.0), (2,), axis=1) == [(None, 3, 2)]
    assert "is not a constant" in refused("OneHot", (None, 2), np.array(np.nan), (2,))


def test_compress_has_a_size_that_the_data_tell():
    assert run("Compress", [[1, 2, 3]], [True, False, True], axis=1) == [[[1, 3]]]
    assert rule("Compress", (None, 3), np.array([True, False, True]), axis=1) == [(None, 2)]
    ((rows, size),) = rule("Compress", (None, 3), (3,), axis=1)
    assert rows is None
    assert isinstance(size, Unknown)
    assert "would mix" in refused("Compress", (None, 3), (3,))


@pytest.mark.parametrize(
    ("start", "end", "step", "wanted"),
    [
        (1, 3, 1, [1, 2]),
        (-2, 99, 1, [3, 4]),
        (4, -99, -2, [4, 2, 0]),
        (99, 0, -1, [4, 3, 2, 1]),
        (3, 1, 1, []),
        (-99, -99, -1, []),
    ],
)
def test_a_slice_clamps_where_it_starts_and_ends(start, end, step, wanted):
    parameters = [whole(start), whole(end), whole(0), whole(step)]
    assert run("Slice", np.arange(5), *parameters) == [wanted]
    assert rule("Slice", (5,), *parameters) == [(len(wanted),)]


def test_a_slice_takes_all_of_the_batch_or_is_refused():
    assert rule("Slice", (None, 5), whole(0, 1), whole(2**63 - 1, 3)) == [(None, 2)]
    assert rule("Slice", (None, 5), whole(0), sizes(Rows(1))) == [(None, 5)]
    for start, end, step in ((1, 2**31, 1), (0, 100, 1), (0, 2**31, 2), (0, -1, 1)):
        assert "would mix the rows" in refused("Slice", (None, 5), whole(start), whole(end), whole(0), whole(step))
    assert "equally many" in refused("Slice", (None, 5), whole(0, 1), whole(2))
    assert "twice" in refused("Slice", (None, 5), whole(0, 1), whole(2, 2), whole(1, -1))


def test_a_split_into_uneven_parts_leaves_the_last_one_smaller():
    assert run("Split", np.arange(7), num_outputs=3, outputs=3) == [[0, 1, 2], [3, 4, 5], [6]]
    assert rule("Split", (None, 7), num_outputs=3, axis=1) == [(None, 3), (None, 3), (None, 1)]
    assert "do not make up" in refused("Split", (None, 7), whole(3, 3), axis=1)
    assert "do not split" in refused("Split", (None, 7), num_outputs=5, axis=1)
    assert "would mix" in refused("Split", (None, 7), num_outputs=1)
    assert "either" in refused("Split", (None, 7), axis=1)


def test_the_first_of_equals_ranks_first():
    assert run("TopK", [[1, 3, 3, 2]], whole(3), outputs=2) == [[[3, 3, 2]], [[1, 2, 3]]]
    assert run("TopK", [[1, 3, 1, 2]], whole(3), largest=0, outputs=2) == [[[1, 1, 2]], [[0, 2, 3]]]
    assert run("TopK", np.uint8([[0, 255]]), whole(1), outputs=2) == [[[255]], [[1]]]
    assert "k = 5" in refused("TopK", (None, 4), whole(5))


def test_a_triangle_keeps_one_side_of_a_diagonal():
    x = [[1, 2], [3, 4]]
    assert run("Trilu", x) == [[[1, 2], [0, 4]]]
    assert run("Trilu", x, np.array(1)) == [[[0, 2], [0, 0]]]
    assert run("Trilu", x, np.array(0), upper=0) == [[[1, 0], [3, 4]]]
    assert "would mix the rows" in refused("Trilu", (None, 4))


def test_the_middle_is_cut_or_padded():
    assert run("CenterCropPad", np.arange(5), whole(2)) == [[1, 2]]
    assert run("CenterCropPad", np.arange(2), whole(5)) == [[0, 0, 1, 0, 0]]


def test_steps_are_reversed_up_to_the_length_of_the_row():
    assert run("ReverseSequence", [[1, 2, 3], [4, 5, 6]], whole(2, 3), batch_axis=0, time_axis=1) == [[[2, 1, 3], [6, 5, 4]]]
    assert rule("ReverseSequence", (4, None, 2), (None,)) == [(4, None, 2)]
    assert "would mix" in refused("ReverseSequence", (None, 4), (4,))


def test_tile_repeats_a_weight_for_each_row_and_the_batch_never():
    assert run("Tile", [[1, 2]], whole(2, 2)) == [[[1, 2, 1, 2], [1, 2, 1, 2]]]
    assert rule("Tile", (1, 5), sizes(Rows(1), 1)) == [(None, 5)]
    assert rule("Tile", (2, 5), sizes(Rows(1), 2)) == [(Rows(2), 10)]
    assert "no fixed size" in refused("Tile", (None, 5), whole(2, 1))


def test_pad_fills_mirrors_repeats_or_goes_round():
    x = [1, 2, 3]
    assert run("Pad", x, whole(1, 2), np.array(9)) == [[9, 1, 2, 3, 9, 9]]
    assert run("Pad", x, whole(2, 1), mode="reflect") == [[3, 2, 1, 2, 3, 2]]
    assert run("Pad", x, whole(2, 1), mode="edge") == [[1, 1, 1, 2, 3, 3]]
    assert run("Pad", x, whole(2, 1), mode="wrap") == [[2, 3, 1, 2, 3, 1]]
    assert run("Pad", x, whole(-1, 1)) == [[2, 3, 0]]
    assert rule("Pad", (None, 3), whole(1, 2), None, whole(-1)) == [(None, 6)]
    assert "would mix" in refused("Pad", (None, 3), whole(1, 0, 0, 0))
    assert "leave nothing" in refused("Pad", (3,), whole(-2, -2))


def test_axes_of_size_1_come_and_go_but_never_the_batch():
    assert rule("Squeeze", (None, 1, 3, 1), whole(1, -1)) == [(None, 3)]
    assert rule("Squeeze", (1, 2, 1)) == [(2,)]
    assert rule("Unsqueeze", (None, 3), whole(0, -1)) == [(1, None, 3, 1)]
    assert "lose a batch" in refused("Squeeze", (None, 1, 3))
    assert "would mix" in refused("Squeeze", (None, 1), whole(0))
    assert "not of size 1" in refused("Squeeze", (None, 3), whole(1))
    assert "twice" in refused("Unsqueeze", (None, 3), whole(1, -3))


def test_blocks_move_between_depth_and_space():
    depth = np.arange(8).reshape(1, 8, 1, 1)
    assert run("DepthToSpace", depth, blocksize=2)[0] == [[[[0, 2], [4, 6]], [[1, 3], [5, 7]]]]
    assert run("DepthToSpace", depth, blocksize=2, mode="CRD")[0] == [[[[0, 1], [2, 3]], [[4, 5], [6, 7]]]]
    assert run("SpaceToDepth", [[[[0, 2], [4, 6]], [[1, 3], [5, 7]]]], blocksize=2)[0] == depth.tolist()
    assert "no multiple" in refused("SpaceToDepth", (None, 1, 3, 4), blocksize=2)


def test_resize_doubles_and_halves():
    x = [[[[1.0, 3.0]]]]
    scales = np.float32([1, 1, 1, 2])
    assert run("Resize", x, None, scales) == [[[[[1, 1, 3, 3]]]]]
    assert run("Resize", x, None, scales, mode="linear") == [[[[[1, 1.5, 2.5, 3]]]]]
    corners = {"mode": "linear", "coordinate_transformation_mode": "align_corners"}
    assert run("Resize", x, None, None, whole(1, 1, 1, 3), **corners) == [[[[[1, 2, 3]]]]]


def test_resize_leaves_the_batch_alone():
    assert rule("Resize", (None, 3, 4, 4), None, np.float32([1, 1, 2, 0.6])) == [(None, 3, 8, 2)]
    assert rule("Resize", (None, 3, 4, 4), None, None, sizes(Rows(1), 3, 7, 9)) == [(None, 3, 7, 9)]
    assert rule("Resize", (None, 3, 4, 8), None, None, whole(8, 8), axes=(2, 3), keep_aspect_ratio_policy="not_larger") == [
        (None, 3, 4, 8)
    ]
    assert "would mix" in refused("Resize", (None, 4), None, np.float32([2, 1]))
    assert "would mix" in refused("Resize", (None, 4), None, None, whole(2, 8))
    assert "either" in refused("Resize", (None, 4), None, np.float32([1, 1]), whole(1, 8))
    assert "not above 0" in refused("Resize", (None, 4), None, np.float32([1, np.nan]))


CROPS = [
    {"coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 7.0, "mode": mode}
    for mode in ("nearest", "linear", "cubic")
]
SMOOTHED = [{"mode": mode, "antialias": 1, "exclude_outside": out} for mode in ("linear", "cubic") for out in (0, 1)]
CORNERS = [{"mode": mode, "coordinate_transformation_mode": "align_corners"} for mode in ("linear", "cubic")]


@pytest.mark.parametrize("attrs", [*CROPS, *SMOOTHED, *CORNERS], ids=str)
def test_resize_is_that_of_the_onnx_reference_where_onnxruntime_has_another(attrs):
    rng = np.random.default_rng(5)
    for scale in (0.35, 0.6, 1.0, 1.7):
        x = rng.standard_normal((2, 2, 6, 5)).astype(np.float32)
        roi, scales = np.float32([0, 0, 0.1, 0.25, 1, 1, 0.8, 1.25]), np.float32([1, 1, scale, 1.3])
        node = onnx.helper.make_node("Resize", ["x", "roi", "scales"], ["y"], **attrs)
        wanted = ReferenceEvaluator(node).run(None, {"x": x, "roi": roi, "scales": scales})[0]
        made = OPS["Resize"].reference(complete_attrs(Node("Resize", (), (), attrs)), [x, roi, scales], 1)[0]
        np.testing.assert_allclose(made, wanted, rtol=1e-5, atol=1e-5)
        assert rule("Resize", x, roi, scales, **attrs) == [wanted.shape]


def test_einsum_names_axes_by_letters():
    assert run("Einsum", [[1, 2], [3, 4]], equation="ii") == [5]
    assert run("Einsum", [[1, 2], [3, 4]], [1, 10], equation="Ba, a") == [[21, 43]]
    assert rule("Einsum", (None, 2, 3), (3, 4), equation="...i,ij->...j") == [(None, 2, 4)]
    assert rule("Einsum", (None, 2, 3), (1, 3, 5), equation="nij,njk->nik") == [(None, 2, 5)]


@pytest.mark.parametrize(
    ("equation", "shapes", "said"),
    [
        ("ni->i", [(None, 3)], "would mix the rows"),
        ("ni,i->n", [(None, 3)], "2 terms for 1 inputs"),
        ("n", [(None, 3)], "does not name the axes"),
        ("ii->i", [(2, 3)], "differ in size"),
        ("ni->nk", [(None, 3)], "no input has"),
        ("n1->n", [(None, 3)], "names no axes"),
        ("n...->n", [(None, 3)], "drops the ellipsis"),
    ],
)
def test_einsum_refuses_equations_that_do_not_fit(equation, shapes, said):
    assert said in refused("Einsum", *shapes, equation=equation)
