"""What rows of the op table for pictures, boxes and whole numbers that stand for real ones mean, worked out by hand."""

import numpy as np
import pytest

from esp.astore.graph import Node, complete_attrs
from esp.astore.ops.convolution import explicit_transpose
from esp.astore.ops.dims import Rows, Unknown
from esp.errors import GraphError
from tests.astore.op_cases.hand import dtypes, refused, rule, run, work

# pictures


def test_transposed_convolution_adds_up_where_kernels_overlap():
    assert run("ConvTranspose", [[[1, 2]]], [[[1, 10, 100]]])[0].tolist() == [[[1, 12, 120, 200]]]
    assert run("ConvTranspose", [[[1, 2]]], [[[1, 10, 100]]], [5], strides=(2,))[0].tolist() == [[[6, 15, 107, 25, 205]]]
    assert run("ConvTranspose", [[[1, 2]]], [[[1, 10, 100]]], pads=(1, 0))[0].tolist() == [[[12, 120, 200]]]
    assert run("ConvTranspose", [[[1, 2]]], [[[1, 10]]], dilations=(2,), output_padding=(1,))[0].tolist() == [[[1, 2, 10, 20, 0]]]


def test_output_shape_of_a_transposed_convolution_is_kept_to():
    for wanted in range(2, 9):
        made = run("ConvTranspose", [[[1, 2, 3]]], [[[1, 1]]], strides=(2,), output_shape=(wanted,))[0]
        assert made.shape == (1, 1, wanted)
    assert run("ConvTranspose", [[[1, 2, 3]]], [[[1, 1]]], strides=(2,), output_shape=(8,))[0].tolist() == [
        [[1, 1, 2, 2, 3, 3, 0, 0]]
    ]


@pytest.mark.parametrize("wanted", [3, 5, 6, 9])
def test_explicit_pads_of_a_transposed_convolution_say_the_same(wanted):
    rng = np.random.default_rng(wanted)
    x, w = (rng.standard_normal(shape).astype(np.float32) for shape in ((2, 2, 3), (2, 1, 2)))
    attrs = {"strides": (2,), "output_shape": (wanted,)}
    said = explicit_transpose(complete_attrs(Node("ConvTranspose", (), (), attrs)), [x.shape, w.shape])
    np.testing.assert_array_equal(run("ConvTranspose", x, w, **attrs)[0], run("ConvTranspose", x, w, strides=(2,), **said)[0])


def test_places_of_the_largest_count_over_the_whole_input():
    x = np.arange(16, dtype=np.float32).reshape(2, 1, 2, 4)
    assert run("MaxPool", x, outputs=2, kernel_shape=(2, 2), strides=(2, 2))[1].reshape(-1).tolist() == [5, 7, 13, 15]
    by_column = run("MaxPool", x, outputs=2, kernel_shape=(2, 2), strides=(2, 2), storage_order=1)[1]
    assert by_column.reshape(-1).tolist() == [3, 7, 11, 15]


def test_a_window_that_ties_with_its_padding_names_a_number_that_is_there():
    zeros = np.zeros((1, 1, 3), np.uint8)
    values, places = run("MaxPool", zeros, outputs=2, kernel_shape=(3,), pads=(2, 2))
    assert values.tolist() == [[[0, 0, 0, 0, 0]]]
    assert places.tolist() == [[[0, 0, 0, 1, 2]]]


def test_unpooling_puts_numbers_back_where_they_came_from():
    x = np.random.default_rng(0).permutation(32).reshape(2, 1, 4, 4).astype(np.float32)
    values, places = run("MaxPool", x, outputs=2, kernel_shape=(2, 2), strides=(2, 2))
    back = run("MaxUnpool", values, places, kernel_shape=(2, 2), strides=(2, 2))[0]
    np.testing.assert_array_equal(back, np.where(np.isin(x, values), x, 0))


def test_power_pooling_is_a_norm_of_the_window():
    assert run("LpPool", [[[3, -4, 0]]], kernel_shape=(2,))[0].tolist() == [[[5, 4]]]
    assert run("GlobalLpPool", [[[1, -2, 3]]], p=1)[0].tolist() == [[[6]]]
    assert run("GlobalMaxPool", [[[1, -2, 3]]])[0].tolist() == [[[3]]]


def test_local_response_sums_over_neighbouring_channels():
    x = np.float32([[[1], [2], [3], [4]]])
    sums = np.float32([1 + 4, 1 + 4 + 9, 4 + 9 + 16, 9 + 16])
    made = run("LRN", x, size=3, alpha=3.0, beta=1.0, bias=1.0)[0]
    np.testing.assert_allclose(made[0, :, 0], x[0, :, 0] / (1 + sums), rtol=1e-6)
    even = run("LRN", x, size=2, alpha=2.0, beta=1.0, bias=0.0)[0]  # the odd neighbour is the one after
    np.testing.assert_allclose(even[0, :, 0], [1 / 5, 2 / 13, 3 / 25, 4 / 16], rtol=1e-6)


def test_layer_normalisation_gives_mean_and_inverse_deviation():
    y, mean, inverse = run("LayerNormalization", [[1, 3], [2, 10]], [1, 2], [0, 1], outputs=3, epsilon=0.0)
    assert (y.tolist(), mean.tolist(), inverse.tolist()) == ([[-1, 3], [-1, 3]], [[2], [6]], [[1], [0.25]])
    assert rule("LayerNormalization", (None, 3, 4), (3, 4), axis=-2) == [(None, 3, 4), (None, 1, 1), (None, 1, 1)]


def test_groups_of_channels_are_normalised_together():
    x = np.float32([[[1, 1], [3, 3], [0, 0], [8, 8]]])
    made = run("GroupNormalization", x, [1, 2, 1, 1], [0, 0, 5, 0], num_groups=2, epsilon=0.0)[0]
    assert made.tolist() == [[[-1, -1], [2, 2], [4, 4], [1, 1]]]
    assert run("InstanceNormalization", [[[1, 3], [0, 8]]], [1, 2], [0, 1], epsilon=0.0)[0].tolist() == [[[-1, 1], [-1, 3]]]


def test_a_row_without_length_is_left_as_it_is():
    assert run("LpNormalization", [[3, 4], [0, 0]])[0].tolist() == [[np.float32(0.6), np.float32(0.8)], [0, 0]]
    assert run("LpNormalization", [[3, -1]], p=1)[0].tolist() == [[0.75, -0.25]]


def test_root_mean_square_scales_alone():
    np.testing.assert_allclose(
        run("RMSNormalization", [[3, 4]], [1, 2], epsilon=0.0)[0], [[3 / 12.5**0.5, 8 / 12.5**0.5]], rtol=1e-6
    )


def test_grid_reads_between_pixels_and_0_outside():
    x, grid = [[[[1, 2], [3, 4]]]], [[[[-1, -1], [0, 0], [1, 0], [3, 3]]]]
    assert run("GridSample", x, grid, align_corners=1)[0].tolist() == [[[[1, 2.5, 3, 0]]]]
    assert run("GridSample", x, grid, align_corners=1, padding_mode="border")[0].tolist() == [[[[1, 2.5, 3, 4]]]]


# boxes and regions


def test_boxes_that_cover_a_better_one_are_dropped():
    boxes = [[[0, 0, 1, 1], [0, 0.1, 1, 1.1], [0, 5, 1, 6], [1, 6, 0, 5]]]  # the last is the third, corners turned
    scores = [[[0.9, 0.8, 0.7, 0.75]]]
    most, overlap = np.array([3]), np.float32([0.5])
    assert run("NonMaxSuppression", boxes, scores, most, overlap)[0].tolist() == [[0, 0, 0], [0, 0, 3]]
    assert run("NonMaxSuppression", boxes, scores, most, overlap, np.float32([0.8]))[0].tolist() == [[0, 0, 0]]
    assert run("NonMaxSuppression", boxes, scores)[0].shape == (0, 3)


def test_centred_boxes_are_middle_and_size():
    boxes, scores = [[[0.5, 0.5, 1, 1], [0.6, 0.5, 1, 1], [5, 5, 1, 1]]], [[[0.5, 0.9, 0.1]]]
    kept = run("NonMaxSuppression", boxes, scores, np.array([9]), np.float32([0.5]), center_point_box=1)[0]
    assert kept[:, 2].tolist() == [1, 2]


def test_boxes_of_a_batch_are_refused_with_the_place_to_cut():
    said = refused("NonMaxSuppression", (None, 8, 4), (None, 2, 8))
    assert said.endswith("cut the graph before it, at the boxes and scores")
    (shape,) = rule("NonMaxSuppression", (1, 8, 4), (1, 2, 8))
    assert isinstance(shape[0], Unknown)
    assert shape[1] == 3


def test_a_region_is_the_mean_of_its_samples():
    x = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    attrs = {"output_height": 2, "output_width": 2, "sampling_ratio": 1}
    made = run("RoiAlign", x, [[0.5, 0.5, 2.5, 2.5]], np.array([0]), **attrs)[0]  # samples at .5 and 1.5, both ways
    assert made.tolist() == [[[[2.5, 3.5], [6.5, 7.5]]]]
    outside = run("RoiAlign", x, [[50, 50, 60, 60], [np.nan, 0, 1, 1]], np.array([0, 0]), **attrs)[0]
    assert outside[0].tolist() == [[[0, 0], [0, 0]]]
    assert np.isnan(outside[1]).all()


def test_regions_take_their_row_and_a_row_that_is_not_there_is_refused():
    x = np.stack([np.full((1, 4, 4), value, np.float32) for value in (5, 7)])
    assert run("RoiAlign", x, [[1, 1, 2, 2]] * 3, np.array([1, 0, 1]))[0].reshape(-1).tolist() == [7, 5, 7]
    assert run("MaxRoiPool", x, [[1, 0, 0, 3, 3]], pooled_shape=(1, 1))[0].tolist() == [[[[7]]]]
    with pytest.raises(GraphError, match="row 2 of 2"):
        run("RoiAlign", x, [[1, 1, 2, 2]], np.array([2]))


def test_regions_of_rows_make_several_outputs_a_row():
    attrs = {"output_height": 7, "output_width": 6}
    assert rule("RoiAlign", (None, 16, 10, 10), (Rows(5), 4), (Rows(5),), **attrs) == [(Rows(5), 16, 7, 6)]
    assert rule("MaxRoiPool", (1, 16, 10, 10), (9, 5), pooled_shape=(2, 3)) == [(9, 16, 2, 3)]
    assert "give each row its regions" in refused("RoiAlign", (None, 16, 10, 10), (5, 4), (5,), **attrs)


# whole numbers for real ones


def test_quantising_rounds_halves_to_even_and_keeps_within_the_dtype():
    zero = np.uint8(10)
    assert run("QuantizeLinear", [1, 3, -1, 1000, -1000], 2.0, np.asarray(zero))[0].tolist() == [10, 12, 10, 255, 0]
    assert run("DequantizeLinear", np.uint8([10, 0]), 2.0, np.asarray(zero))[0].tolist() == [0, -20]
    assert dtypes("QuantizeLinear", "float32", "float32") == ["uint8"]
    assert dtypes("QuantizeLinear", "float32", "float32", output_dtype=3) == ["int8"]
    assert dtypes("QuantizeLinear", "float32", "float32", "int16") == ["int16"]


def test_scales_of_channels_and_of_blocks_broadcast():
    x = np.int8([[2, 4, 6], [1, 1, 1]])
    assert run("DequantizeLinear", x, [1, 2, 3], axis=1)[0].tolist() == [[2, 8, 18], [1, 2, 3]]
    assert run("DequantizeLinear", x, [[1, 2], [3, 4]], axis=1, block_size=2)[0].tolist() == [[2, 4, 12], [3, 3, 4]]


def test_products_of_whole_numbers_take_the_zero_points_off():
    left, right = np.uint8([[3, 4]]), np.int8([[1], [2]])
    assert run("MatMulInteger", left, right, np.uint8(3), np.int8(1))[0].tolist() == [[1]]
    assert run("ConvInteger", np.uint8([[[3, 4, 5]]]), np.uint8([[[1, 2]]]), np.uint8(3), np.uint8(1))[0].tolist() == [[[1, 2]]]


def test_one_scale_for_a_whole_batch_is_refused():
    assert "mix the rows" in refused("DynamicQuantizeLinear", (None, 3))


REFUSED = [
    ("ConvTranspose", [(None, 4, 5), (3, 2, 3)], {}, "do not fit weight"),
    ("ConvTranspose", [(None, 4, 5), (4, 2, 3)], {"pads": (9, 9)}, "leave nothing"),
    ("ConvTranspose", [(None, 4, 5), (4, 2, 3)], {"output_padding": (1, 1)}, "output_padding"),
    ("ConvTranspose", [(None, 4, 5), (4, 2, 3), (3,)], {}, "bias wants shape [2]"),
    ("LpPool", [(None, 4, 5)], {"kernel_shape": (2,), "p": 0}, "power"),
    ("GlobalMaxPool", [(None, 4, 0)], {}, "size 0"),
    ("GroupNormalization", [(None, 4, 5), (4,), (4,)], {"num_groups": 3}, "3 groups"),
    ("LayerNormalization", [(None, 4), (3,)], {}, "do not broadcast"),
    ("LRN", [(None, 4, 5)], {"size": 0}, "size is 0"),
    ("RoiAlign", [(None, 4, 5, 5), (Rows(3), 4), (Rows(2),)], {}, "batch_indices"),
    ("MaxRoiPool", [(None, 4, 5, 5), (Rows(3), 4)], {"pooled_shape": (2, 2)}, "[regions, 5]"),
    ("NonMaxSuppression", [(1, 3, 4), (1, 2, 4)], {}, "do not fit"),
    ("GridSample", [(None, 4, 5, 5), (None, 3, 3, 3)], {}, "does not fit"),
    ("QuantizeLinear", [(None, 4), (3,)], {}, "along axis 1"),
    ("QuantizeLinear", [(None, 4), (3,)], {"axis": 0}, "no fixed size"),
    ("MatMulInteger", [(None, 4), (4, 3), (), (2,)], {}, "b_zero_point"),
]


@pytest.mark.parametrize(("op", "shapes", "attrs", "said"), REFUSED, ids=range(len(REFUSED)))
def test_what_does_not_fit_is_refused_in_one_line(op, shapes, attrs, said):
    assert said in refused(op, *shapes, **attrs)


def test_work_of_a_transposed_convolution_counts_what_is_multiplied():
    assert work("ConvTranspose", (None, 4, 5), (4, 2, 3), (2,)) == 2 * 4 * 5 * 2 * 3 + 2 * 7


def test_statistics_keep_rows_apart():
    assert "mix the rows" in refused("LayerNormalization", (None, 3), (3,), axis=0)
    assert "mix the rows" in refused("MeanVarianceNormalization", (None, 3, 4, 4))
    assert "mix the rows" in refused("LpNormalization", (None, 3), axis=0)
