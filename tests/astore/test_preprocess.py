"""Preprocessing against arithmetic by hand, Pillow's own pixels and ONNX's reference of Resize."""

import io
import struct
import zlib
from collections.abc import Sequence
from fractions import Fraction
from math import floor
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from PIL import Image

from esp.astore.image import MAX_PIXELS, decode, letterbox, letterbox_place, resize
from esp.astore.model import Input, Step
from esp.astore.preprocess import prepare, prepared_shape
from esp.errors import EventError, GraphError

NAN = float("nan")


class Files:
    """A column of blobs."""

    def __init__(self, values: Sequence[bytes]) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def value(self, row: int) -> bytes:
        return self.values[row]


def file_of(pixels: Any, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(pixels)).save(buffer, kind, **options)
    return buffer.getvalue()


def photo(height: int, width: int, channels: int = 3, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def image_input(height: int = 4, width: int = 5, channels: int = 3, *steps: Step, **options: Any) -> Input:
    first = (Step("decode", {"channels": channels}), Step("resize", {"height": height, "width": width}))
    return Input("photo", "blob", (), first + steps, **options)


def letterboxed(**params: Any) -> Step:
    return Step("letterbox", {"height": 2, "width": 2, "fill": 0, **params})


def by_onnx(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """ONNX's reference implementation of Resize: linear, half_pixel."""
    node = helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], mode="linear", coordinate_transformation_mode="half_pixel")
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, None])
    sizes = helper.make_tensor("sizes", TensorProto.INT64, [2], [height, width])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, None])
    model = helper.make_model(helper.make_graph([node], "g", [x], [y], [sizes]), opset_imports=[helper.make_opsetid("", 19)])
    planes = [ReferenceEvaluator(model).run(None, {"x": image[..., c].astype("f4")})[0] for c in range(image.shape[-1])]
    return np.stack(planes, axis=-1)


def test_no_steps_turn_numbers_into_float32() -> None:
    found = prepare(Input("x", "uint8", (2,)), np.array([[0, 255], [3, 4]], np.uint8))
    np.testing.assert_array_equal(found.array, np.array([[0, 255], [3, 4]], "f4"), strict=True)
    assert (found.refused, found.reasons) == (None, ())


def test_a_float32_column_without_steps_is_handed_through() -> None:
    column = np.ones((3, 2), "f4")
    assert prepare(Input("x", "float32", (2,)), column).array is column


def test_an_integer_graph_input_keeps_integers_exact() -> None:
    column = np.array([(1 << 53) + 1, 2], np.int64)
    found = prepare(Input("id", "int64", ()), column, dtype="int64")
    np.testing.assert_array_equal(found.array, column, strict=True)


def test_scale_and_normalise_follow_arithmetic_by_hand() -> None:
    steps = (Step("scale", {"scale": 0.5, "offset": (1.0, 0.0)}), Step("normalise", {"mean": (2.0, 1.0), "std": (0.5, 2.0)}))
    found = prepare(Input("x", "float64", (2,), steps), np.array([[4.0, 6.0], [2.0, 2.0]]))
    # (4 * .5 + 1 - 2) / .5 = 2, (6 * .5 + 0 - 1) / 2 = 1; (2 * .5 + 1 - 2) / .5 = 0, (2 * .5 - 1) / 2 = 0
    np.testing.assert_array_equal(found.array, np.array([[2, 1], [0, 0]], "f4"), strict=True)


def test_channels_first_and_reshape_move_what_they_should() -> None:
    column = np.arange(12, dtype=np.uint8).reshape(1, 12)
    steps = (Step("reshape", {"shape": (2, 3, 2)}), Step("channels_first"))
    item = Input("x", "uint8", (12,), steps)
    found = prepare(item, column).array
    assert prepared_shape(item) == (2, 2, 3)
    assert found.tolist() == [[[[0, 2, 4], [6, 8, 10]], [[1, 3, 5], [7, 9, 11]]]]
    assert found.flags.c_contiguous


@pytest.mark.parametrize("sizes", [(8, 8, 5, 3), (5, 7, 11, 13), (1, 4, 3, 2), (6, 6, 6, 6), (9, 4, 1, 1)])
def test_resize_agrees_with_onnx(sizes: tuple[int, int, int, int]) -> None:
    height, width, wanted_height, wanted_width = sizes
    image = photo(height, width)
    found = resize(image, wanted_height, wanted_width)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, by_onnx(image, wanted_height, wanted_width), rtol=1e-6, atol=1e-4)


def test_resize_of_two_pixels_by_hand() -> None:
    # centres of four in two: -.25, .25, .75, 1.25, the outer ones held at the edge
    found = resize(np.array([[[0], [100]]], np.uint8), 1, 4)
    assert found[0, :, 0].tolist() == [0, 25, 75, 100]


def test_a_letterbox_by_hand() -> None:
    # two pixels side by side in four rows of four: each side doubled, one row of fill above and one below
    found = letterbox(np.array([[[0], [100]]], np.uint8), 4, 4, 7)
    assert found[..., 0].tolist() == [[7, 7, 7, 7], [0, 25, 75, 100], [0, 25, 75, 100], [7, 7, 7, 7]]
    found = letterbox(np.array([[[0, 1]], [[100, 101]]], np.uint8), 2, 3, (7, 8))
    assert found.tolist() == [[[7, 8], [0, 1], [7, 8]], [[7, 8], [100, 101], [7, 8]]]


@pytest.mark.parametrize("wanted", [(1, 1), (2, 2), (5, 8), (16, 9), (416, 416), (7, 640)])
def test_a_letterbox_keeps_the_aspect_ratio_to_half_a_pixel_and_the_image_in_the_middle(wanted: tuple[int, int]) -> None:
    half = Fraction(1, 2)
    for height, width in ((1, 1), (1, 3), (3, 1), (2, 5), (480, 640), (720, 1280), (333, 77), (1, 16384), (1000, 999)):
        place = letterbox_place(height, width, *wanted)
        ratio = min(Fraction(wanted[0], height), Fraction(wanted[1], width))
        sides = [max(1, floor(side * ratio + half)) for side in (height, width)]
        assert list(place) == [(wanted[0] - sides[0]) // 2, (wanted[1] - sides[1]) // 2, *sides]


def test_a_letterbox_of_the_places_of_well_known_sizes() -> None:
    assert letterbox_place(720, 1280, 416, 416) == (91, 0, 234, 416)
    assert letterbox_place(480, 640, 640, 640) == (80, 0, 480, 640)
    assert letterbox_place(5, 2, 9, 9) == (0, 2, 9, 4)  # 3.6 is 4 wide, five columns are left, two of them before it
    assert letterbox_place(2, 1, 5, 9) == (0, 3, 5, 3)  # 2.5 is 3 wide


def test_colours_are_reversed_by_hand() -> None:
    item = Input("x", "uint8", (1, 2, 3), (Step("reverse_channels"), Step("normalise", {"mean": (3.0, 2.0, 1.0), "std": 2.0})))
    found = prepare(item, np.array([[[[1, 2, 3], [5, 6, 7]]]], np.uint8)).array
    assert found.tolist() == [[[[0, 0, 0], [2, 2, 2]]]]
    assert found.flags.c_contiguous


def test_a_letterbox_of_image_files_is_that_of_their_pixels() -> None:
    pixels, steps = photo(9, 4), (Step("letterbox", {"height": 6, "width": 7, "fill": (1, 2, 3)}), Step("reverse_channels"))
    blob = Input("photo", "blob", (), (Step("decode", {"channels": 3}), *steps))
    found = prepare(blob, Files([file_of(pixels)])).array
    np.testing.assert_array_equal(found, prepare(Input("x", "uint8", (9, 4, 3), steps), pixels[None]).array, strict=True)
    assert found[0, 0, 0].tolist() == [3, 2, 1]


def test_a_tensor_of_pixels_is_resized_as_an_image_file_is() -> None:
    pixels = photo(6, 7)
    tensor = prepare(Input("x", "uint8", (6, 7, 3), (Step("resize", {"height": 4, "width": 5}),)), pixels[None]).array
    blob = prepare(image_input(), Files([file_of(pixels)])).array
    np.testing.assert_array_equal(tensor, blob, strict=True)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP"])
def test_files_without_loss_decode_to_their_pixels(kind: str) -> None:
    pixels = photo(3, 4)
    np.testing.assert_array_equal(decode(file_of(pixels, kind, **({"lossless": True} if kind == "WEBP" else {})), 3), pixels)


def test_a_jpeg_decodes_near_its_pixels() -> None:
    pixels = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    assert abs(decode(file_of(pixels, "JPEG", quality=95), 3).astype(int) - pixels).max() <= 3


def test_colour_becomes_grey_by_its_luma_and_grey_becomes_colour() -> None:
    # ITU-R 601: .299 * 200 + .587 * 100 + .114 * 50 = 124.2
    assert decode(file_of(np.full((2, 2, 3), (200, 100, 50), np.uint8)), 1)[0, 0].tolist() == [124]
    assert decode(file_of(np.full((2, 2), 7, np.uint8)), 3)[1, 1].tolist() == [7, 7, 7]


def test_a_broken_image_refuses_its_row_alone() -> None:
    good = file_of(photo(4, 5))
    files = Files([good, b"no image", good[:-30], b"", good])
    found = prepare(image_input(), files)
    assert found.refused is not None
    assert found.refused.tolist() == [False, True, True, True, False]
    assert len(found.reasons) == 3
    assert all(reason.startswith("input 'photo': ") and "0x" not in reason for reason in found.reasons)
    np.testing.assert_array_equal(found.array[0], photo(4, 5).astype("f4"))
    np.testing.assert_array_equal(found.array[4], found.array[0])
    assert not found.array[1:4].any()


def test_every_flipped_or_missing_byte_of_an_image_is_decoded_or_refused() -> None:
    for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF"):
        good = file_of(photo(4, 5), kind)
        for at in range(0, len(good), 3):
            flipped = bytearray(good)
            flipped[at] ^= 0xFF
            found = prepare(image_input(), Files([bytes(flipped), good[:at]]))
            assert found.array.shape == (2, 4, 5, 3)


def bomb(side: int) -> bytes:
    """A PNG of a few hundred bytes that says it is side x side pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [6_000, 12_000, 60_000])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(side: int) -> None:
    assert side * side > MAX_PIXELS
    found = prepare(image_input(), Files([bomb(side)]))
    assert found.refused is not None
    assert found.refused.tolist() == [True]
    assert "pixels" in found.reasons[0]


def test_sixteen_bit_images_are_refused() -> None:
    with pytest.raises(EventError, match="8-bit"):
        decode(file_of(np.full((2, 2), 40_000, np.uint16)), 1)


def test_refuse_names_nulls_and_the_place_of_a_nan() -> None:
    column = np.array([[1, 2], [NAN, 2], [0, 0], [1, NAN]], "f4")
    found = prepare(Input("x", "float32", (2,)), column, np.array([True, True, False, True]))
    assert found.refused is not None
    assert found.refused.tolist() == [False, True, True, True]
    assert found.reasons == ("input 'x' is NaN at [0]", "input 'x' is null", "input 'x' is NaN at [1]")
    assert found.array.tolist() == [[1, 2], [0, 0], [0, 0], [0, 0]]
    assert np.isnan(column[1, 0])  # the block is not changed


def test_a_scalar_nan_is_refused_without_a_place() -> None:
    assert prepare(Input("x", "float64", ()), np.array([1.0, NAN])).reasons == ("input 'x' is NaN",)


def test_nan_is_passed_on_and_a_null_becomes_nan() -> None:
    item = Input("x", "float32", (2,), (Step("scale", {"scale": 2.0, "offset": 0.0}),), missing="nan")
    found = prepare(item, np.array([[1, NAN], [0, 0]], "f4"), np.array([True, False]))
    np.testing.assert_array_equal(found.array, np.array([[2, NAN], [NAN, NAN]], "f4"))
    assert found.refused is None


def test_a_null_integer_becomes_nan_for_a_float_graph() -> None:
    found = prepare(Input("x", "int32", (), missing="nan"), np.array([7, 0], np.int32), np.array([True, False]))
    np.testing.assert_array_equal(found.array, np.array([7, NAN], "f4"))


def test_impute_fills_each_channel_before_the_steps() -> None:
    item = Input("x", "float32", (2, 2), (Step("scale", {"scale": 10.0, "offset": 0.0}),), "impute", (0.5, 0.25))
    column = np.array([[[1, NAN], [NAN, 1]], [[0, 0], [0, 0]]], "f4")
    found = prepare(item, column, np.array([True, False]))
    assert found.array.tolist() == [[[10, 2.5], [5, 10]], [[5, 2.5], [5, 2.5]]]
    assert found.refused is None


def test_a_null_image_is_refused_imputed_or_nan_as_said() -> None:
    files, valid = Files([b"", file_of(photo(4, 5))]), np.array([False, True])
    assert prepare(image_input(), files, valid).reasons == ("input 'photo' is null",)
    filled = prepare(image_input(missing="impute", impute=(1.0, 2.0, 3.0)), files, valid)
    assert (filled.refused, filled.array[0, 3, 4].tolist()) == (None, [1, 2, 3])
    assert np.isnan(prepare(image_input(missing="nan"), files, valid).array[0]).all()


def test_infinite_values_are_not_missing() -> None:
    column = np.array([[np.inf, -np.inf], [1, 2]], "f4")
    assert prepare(Input("x", "float32", (2,)), column).refused is None


def test_a_float64_beyond_float32_becomes_infinite_without_a_warning() -> None:
    assert prepare(Input("x", "float64", ()), np.array([1e300])).array.tolist() == [np.inf]


def test_an_empty_block_gives_an_empty_array() -> None:
    assert prepare(Input("x", "float32", (3,)), np.zeros((0, 3), "f4"), np.zeros(0, np.bool_)).array.shape == (0, 3)
    assert prepare(image_input(), Files([])).array.shape == (0, 4, 5, 3)


def test_a_row_is_prepared_to_the_same_bits_in_any_block() -> None:
    steps = (
        Step("resize", {"height": 5, "width": 3}),
        Step("scale", {"scale": 0.1, "offset": -0.3}),
        Step("normalise", {"mean": 0.7, "std": 0.3}),
        Step("channels_first"),
    )
    item = Input("x", "uint8", (8, 8, 1), steps)
    column = np.random.default_rng(5).integers(0, 256, (37, 8, 8, 1), np.uint8)
    whole = prepare(item, column).array
    parts = [prepare(item, column[at : at + size]).array for at, size in ((0, 1), (1, 16), (17, 20))]
    assert np.concatenate(parts).tobytes() == whole.tobytes()


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (Input("x", "string", ()), "dtype 'string'"),
        (Input("x", "blob", ()), "'decode' is the first step of a blob"),
        (Input("x", "blob", (2,), image_input().steps), "a blob has no shape"),
        (Input("x", "uint8", (4, 4, 3), image_input().steps), "'decode' is the first step of a blob"),
        (Input("x", "blob", (), image_input().steps[:1]), "must be followed by 'resize'"),
        (Input("x", "blob", (), (image_input().steps[0], Step("channels_first"))), "must be followed by 'resize'"),
        (Input("x", "blob", (), image_input().steps * 2), r"steps\[2\]: 'decode' can only be the first"),
        (Input("x", "blob", (), (Step("decode", {"channels": 4}), image_input().steps[1])), "channels 4"),
        (Input("x", "float32", (0,)), "cannot be prepared"),
        (Input("x", "float32", (1 << 14, 1 << 14)), "cannot be prepared"),
        (Input("x", "float32", (4, 4), (Step("resize", {"height": 2, "width": 2}),)), "wants .height, width, channels."),
        (Input("x", "float32", (4, 4, 1), (Step("resize", {"height": 0, "width": 2}),)), "cannot resize to 0 x 2"),
        (Input("x", "float32", (4, 4, 1), (Step("resize", {"height": 1 << 20, "width": 2}),)), "cannot resize"),
        (Input("x", "float32", (4, 4, 1), (Step("resize", {"height": 4}),)), "step 'resize' lacks 'width'"),
        (Input("x", "float32", (4, 4), (letterboxed(),)), "'letterbox' wants .height, width, channels., got .4, 4."),
        (Input("x", "float32", (4, 4, 1), (letterboxed(height=0),)), "cannot letterbox to 0 x 2"),
        (Input("x", "float32", (4, 4, 1), (letterboxed(width=2.0),)), "cannot letterbox to 2 x 2.0"),
        (Input("x", "float32", (4, 4, 3), (letterboxed(fill=(1, 2)),)), "fill: 2 numbers for a last axis of 3"),
        (Input("x", "float32", (4, 4, 3), (letterboxed(fill=NAN),)), "fill: wanted a finite number"),
        (Input("x", "float32", (4, 4, 3), (letterboxed(pad=1),)), "step 'letterbox' knows no 'pad'"),
        (Input("x", "float32", (4, 4, 3), (Step("letterbox", {"height": 4, "width": 4}),)), "step 'letterbox' lacks 'fill'"),
        (Input("x", "float32", (1 << 13, 1 << 13, 1), (letterboxed(height=1 << 14, width=1 << 14),)), "cannot be prepared"),
        (Input("x", "float32", (4, 4, 4), (Step("reverse_channels"),)), "wants a last axis of 3 colours, got .4, 4, 4."),
        (Input("x", "float32", (), (Step("reverse_channels"),)), "wants a last axis of 3 colours, got .."),
        (
            Input("x", "float32", (4, 4, 3), (Step("channels_first"), Step("reverse_channels"))),
            r"steps\[1\]: 'reverse_channels' wants",
        ),
        (Input("x", "float32", (4, 4, 3), (Step("reverse_channels", {"order": "bgr"}),)), "knows no 'order'"),
        (Input("x", "float32", (3,), (Step("normalise", {"mean": 0.0, "std": 0.0}),)), "std: a standard deviation of 0"),
        (
            Input("x", "float32", (3,), (Step("normalise", {"mean": (1.0, 2.0), "std": 1.0}),)),
            "mean: 2 numbers for a last axis of 3",
        ),
        (Input("x", "float32", (), (Step("scale", {"scale": (1.0,), "offset": 1.0}),)), "1 numbers for a scalar"),
        (Input("x", "float32", (3,), (Step("scale", {"scale": NAN, "offset": 1.0}),)), "scale: wanted a finite number"),
        (Input("x", "float32", (3,), (Step("scale", {"scale": True, "offset": 1.0}),)), "scale: wanted a finite number"),
        (Input("x", "float32", (3,), (Step("channels_first"),)), "two axes or more"),
        (Input("x", "float32", (3,), (Step("channels_first", {"axis": 1}),)), "knows no 'axis'"),
        (Input("x", "float32", (4,), (Step("reshape", {"shape": (2, 3)}),)), r"\[4\] cannot become \[2, 3\]"),
        (Input("x", "float32", (4,), (Step("reshape", {"shape": (2, -2)}),)), "cannot be prepared"),
        (Input("x", "float32", (4,), (Step("reshape", {"shape": 4}),)), "is a list of sizes"),
        (Input("x", "float32", (4,), (Step("rotate"),)), "step 'rotate' is unknown"),  # type: ignore[arg-type]
    ],
)
def test_steps_that_cannot_be_are_refused_with_their_place(item: Input, said: str) -> None:
    with pytest.raises(GraphError, match=said) as error:
        prepared_shape(item)
    assert error.value.where.startswith("input 'x'")
    assert error.value.mend
