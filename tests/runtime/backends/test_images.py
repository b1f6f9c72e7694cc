"""The fused pass over images: the bits of the numpy reference, ONNX Runtime's Resize, rows that stand alone, nothing written outside."""

import tracemalloc
from io import BytesIO
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper
from PIL import Image

from esp.astore.image import decode
from esp.astore.model import Input, Step
from esp.astore.preprocess import prepare
from esp.astore.steps import prepared_shape
from esp.runtime.backends.images import MOST_SIZES, Images
from esp.runtime.backends.intake import Intake
from esp.runtime.events import VarColumn

FIRST, REVERSE = Step("channels_first"), Step("reverse_channels")
SIZES = [
    (1, 1, 1, 1), (1, 1, 5, 3), (7, 9, 1, 1), (5, 4, 5, 4), (5, 4, 5, 9), (5, 4, 11, 4), (6, 8, 3, 4), (17, 33, 8, 5), (3, 5, 16, 33),
    (1, 50, 7, 7), (50, 1, 7, 7), (12, 20, 10, 10), (20, 12, 10, 10), (3, 1000, 16, 16),
    (4, 160, 3, 9), (2, 33, 5, 2), (2, 32, 5, 2), (1, 99, 1, 1),
]  # fmt: skip


def resize(height: int, width: int) -> Step:
    return Step("resize", {"height": height, "width": width})


def letterbox(height: int, width: int, fill: Any = 114) -> Step:
    return Step("letterbox", {"height": height, "width": width, "fill": fill})


def scale(scale: Any = 1 / 255, offset: Any = 0.0) -> Step:
    return Step("scale", {"scale": scale, "offset": offset})


def normalise(mean: Any, std: Any) -> Step:
    return Step("normalise", {"mean": mean, "std": std})


def images(n: int, *shape: int, dtype: str = "uint8", seed: int = 3) -> Any:
    rng = np.random.default_rng(seed)
    if dtype.startswith("float"):
        return (100 * rng.standard_normal((n, *shape))).astype(dtype)
    return rng.integers(0, 2 if dtype == "bool" else 256, (n, *shape)).astype(dtype)


def file_of(pixels: Any) -> bytes:
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(file := BytesIO(), "PNG")
    return file.getvalue()


def taken(item: Input, column: Any, valid: Any = None) -> Any:
    """What the fused pass gives."""
    intake = Intake(item, "float32", is_lifted=False)
    assert isinstance(intake.fused, Images)
    return intake.take(column, valid)


def agree(item: Input, column: Any) -> None:
    found, wanted = taken(item, column).array, prepare(item, column).array
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, wanted, strict=True)
    assert found.view(np.uint32).tolist() == wanted.view(np.uint32).tolist()


@pytest.mark.parametrize("make", [resize, letterbox])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize("is_first", [False, True])
def test_every_size_and_layout_gives_the_bits_of_the_reference(make: Any, channels: int, is_first: bool) -> None:
    for at, (height, width, *wanted) in enumerate(SIZES):
        steps = (make(*wanted), scale(), normalise(tuple(np.linspace(0.1, 0.9, channels)), 0.3), *[FIRST] * is_first)
        item = Input("x", "uint8", (height, width, channels), steps)
        agree(item, images((1, 2, 7)[at % 3], height, width, channels))


@pytest.mark.parametrize("dtype", ["uint8", "bool", "int32", "int64", "float32", "float64"])
@pytest.mark.parametrize("make", [resize, letterbox])
def test_every_type_of_event_gives_the_bits_of_the_reference(dtype: str, make: Any) -> None:
    item = Input("x", dtype, (9, 14, 3), (make(6, 6), REVERSE, normalise((1.0, 2.0, 3.0), (0.5, 0.25, 0.3)), FIRST))
    agree(item, images(3, 9, 14, 3, dtype=dtype))


COLOURS = (3.0, 5.0, 11.0)
CHAINS: dict[str, tuple[tuple[int, ...], tuple[Step, ...]]] = {
    "order alone": ((8, 6, 3), (REVERSE,)),
    "order and layout": ((8, 6, 3), (REVERSE, FIRST)),
    "layout of large images": ((70, 60, 3), (scale(), normalise(COLOURS, 2.0), FIRST)),
    "layout of many channels": ((5, 6, 7), (scale(), FIRST)),
    "layout of a series": ((40, 6), (normalise(0.5, 3.0), FIRST)),
    "layout of a volume": ((3, 4, 5, 3), (REVERSE, scale(COLOURS, 1.0), FIRST)),
    "colours alone": ((3,), (scale(COLOURS), REVERSE)),
    "parameters before and after the order": ((8, 6, 3), (scale(COLOURS), REVERSE, scale(COLOURS, COLOURS), resize(3, 4))),
    "fill in the order that it meets": ((8, 6, 3), (REVERSE, letterbox(9, 9, COLOURS), REVERSE, FIRST)),
    "fill before the order": ((6, 8, 3), (letterbox(9, 9, COLOURS), REVERSE, scale(COLOURS))),
    "scaled before": ((8, 6, 3), (scale(COLOURS, 0.3), normalise(7.0, COLOURS), letterbox(5, 9, COLOURS), scale(0.1, COLOURS), FIRST)),
    "reshaped before": ((12, 4), (scale(0.3, (1.0, 2.0, 3.0, 4.0)), Step("reshape", {"shape": (4, 4, 3)}), resize(3, 3), FIRST)),
    "scaled after the layout": ((8, 6, 3), (resize(4, 4), FIRST, scale(0.3, 1.0), Step("reshape", {"shape": (48,)}), normalise(0.1, 0.7))),
    "reshaped and scaled": ((48,), (Step("reshape", {"shape": (4, 4, 3)}), scale(COLOURS))),
}  # fmt: skip


@pytest.mark.parametrize("case", CHAINS)
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_every_chain_of_steps_gives_the_bits_of_the_reference(case: str, dtype: str) -> None:
    shape, steps = CHAINS[case]
    agree(Input("x", dtype, shape, steps), images(5, *shape, dtype=dtype))


@pytest.mark.parametrize(
    "steps",
    [
        (resize(4, 4), resize(3, 3)),
        (FIRST, resize(4, 4)),
        (FIRST, REVERSE),
        (FIRST, FIRST),
        (resize(4, 3), FIRST, scale((1.0, 2.0, 3.0))),
        (REVERSE, Step("reshape", {"shape": (3, 6, 3)}), resize(4, 4)),
        (REVERSE, Step("reshape", {"shape": (27, 2)}), scale((1.0, 2.0))),
    ],
)
def test_other_chains_are_left_to_the_reference(steps: tuple[Step, ...]) -> None:
    item = Input("x", "uint8", (6, 3, 3), steps)
    intake, column = Intake(item, "float32", is_lifted=False), images(3, 6, 3, 3)
    assert intake.fused is None
    np.testing.assert_array_equal(intake.take(column, None).array, prepare(item, column).array, strict=True)


def in_onnxruntime(column: Any, height: int, width: int) -> Any:
    """ONNX Runtime's Resize of [n, h, w, c], linear, half_pixel."""
    attrs = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    node = helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], **attrs)
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * 4) for name in "xy")
    planes = np.moveaxis(column.astype(np.float32), -1, 1)
    sizes = helper.make_tensor("sizes", TensorProto.INT64, [4], [*planes.shape[:2], height, width])
    model = helper.make_model(helper.make_graph([node], "g", [x], [y], [sizes]), opset_imports=[helper.make_opsetid("", 19)])
    model.ir_version = 9
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": planes})[0]


@pytest.mark.parametrize("sizes", SIZES)
def test_resize_is_that_of_onnxruntime(sizes: tuple[int, int, int, int]) -> None:
    height, width, *wanted = sizes
    column = images(2, height, width, 3)
    found = taken(Input("x", "uint8", (height, width, 3), (resize(*wanted), FIRST)), column).array
    rounding = 255 * max(sizes) * 2.0**-22  # it computes places along an axis in float32
    np.testing.assert_allclose(found, in_onnxruntime(column, *wanted), rtol=1e-5, atol=rounding)


def test_letterbox_is_a_resize_in_a_frame() -> None:
    column = images(2, 12, 20, 3)
    item = Input("x", "uint8", (12, 20, 3), (letterbox(10, 10, (1, 2, 3)), FIRST))
    wanted = np.ones((2, 3, 10, 10), np.float32) * np.float32([1, 2, 3]).reshape(3, 1, 1)
    wanted[:, :, 2:8] = in_onnxruntime(column, 6, 10)
    np.testing.assert_allclose(taken(item, column).array, wanted, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("steps", [(letterbox(6, 9), REVERSE, scale(), FIRST), (resize(6, 9), scale()), (scale(), FIRST)])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_a_row_has_the_same_bits_in_any_batch(steps: tuple[Step, ...], dtype: str) -> None:
    item, column = Input("x", dtype, (11, 7, 3), steps), images(7, 11, 7, 3, dtype=dtype)
    whole = taken(item, column).array
    for low, high in ((0, 1), (1, 3), (3, 7), (6, 7)):
        assert taken(item, column[low:high]).array.tobytes() == whole[low:high].tobytes()


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("steps", [(letterbox(6, 9),), (letterbox(9, 6), FIRST), (resize(5, 5),), (resize(13, 2), FIRST), (FIRST,)])
def test_nothing_is_written_outside_of_what_comes_out(channels: int, steps: tuple[Step, ...]) -> None:
    item, column = Input("x", "uint8", (8, 7, channels), steps), images(2, 8, 7, channels)
    made = Images(item, Intake(item, "float32", False).fused.steps)  # type: ignore[union-attr]
    size = 2 * int(np.prod(prepared_shape(item)))
    frame = np.full(size + 32, 7e30, np.float32)
    out = frame[16:-16].reshape(2, *prepared_shape(item))
    made._pass(column, made.way, out)  # type: ignore[arg-type]
    assert (frame[:16] == np.float32(7e30)).all()
    assert (frame[-16:] == np.float32(7e30)).all()
    assert (out != np.float32(7e30)).all()


@pytest.mark.parametrize("steps", [(resize(5, 4), scale()), (letterbox(3, 9), REVERSE, FIRST)])
def test_nan_passes_and_infinities_are_those_of_the_reference(steps: tuple[Step, ...]) -> None:
    item, column = Input("x", "float32", (7, 6, 3), steps, "nan"), images(4, 7, 6, 3, dtype="float32")
    column[0, 3, 2, 1], column[1, 0, 0, 0], column[2, 6, 5, 2], column[2, 1, 1, 1] = np.nan, np.inf, -np.inf, np.nan
    with np.errstate(invalid="ignore"):
        wanted = prepare(item, column).array
    assert np.isnan(wanted[:3]).reshape(3, -1).any(axis=1).all()
    np.testing.assert_array_equal(taken(item, column).array, wanted)


@pytest.mark.parametrize(("missing", "impute"), [("refuse", 0.0), ("impute", (1.0, 2.0, 3.0)), ("nan", 0.0)])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("steps", [(resize(5, 4), scale(), FIRST), (scale(), letterbox(5, 4)), (REVERSE,)])
def test_nulls_and_nan_are_refused_imputed_or_passed_as_the_reference_does(
    missing: Any, impute: Any, dtype: str, steps: tuple[Step, ...]
) -> None:
    item, column = Input("x", dtype, (7, 6, 3), steps, missing, impute), images(4, 7, 6, 3, dtype=dtype)
    if dtype != "uint8":
        column[2, 6, 5, 2] = np.nan
    for valid in (None, np.array([True, False, True, True])):
        found, wanted = taken(item, column, valid), prepare(item, column, valid)
        np.testing.assert_array_equal(found.array, wanted.array)
        assert found.reasons == wanted.reasons
        assert (found.refused is None) == (wanted.refused is None)
        if found.refused is not None:
            np.testing.assert_array_equal(found.refused, wanted.refused)


def test_an_empty_column_gives_no_rows() -> None:
    assert taken(Input("x", "uint8", (4, 4, 3), (resize(2, 2),)), np.zeros((0, 4, 4, 3), np.uint8)).array.shape == (0, 2, 2, 3)


def photos(channels: int, count: int) -> VarColumn:
    sizes = [(6, 8), (13, 5), (1, 31), (1, 1), (6, 8), (40, 30)] * (count // 6 + 1)
    return VarColumn.of([file_of(images(1, *size, channels, seed=at)[0]) for at, size in enumerate(sizes[:count])])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("make", [resize, letterbox])
def test_image_files_each_of_its_own_size_give_the_bits_of_the_reference(channels: int, make: Any) -> None:
    steps = (Step("decode", {"channels": channels}), make(6, 8), *[REVERSE] * (channels == 3), scale(), FIRST)
    agree(Input("photo", "blob", (), steps), photos(channels, 7))


@pytest.mark.parametrize(("missing", "impute"), [("refuse", 0.0), ("impute", (1.0, 2.0, 3.0)), ("nan", 0.0)])
def test_null_and_broken_files_are_dealt_with_as_the_reference_does(missing: Any, impute: Any) -> None:
    steps = Step("decode", {"channels": 3}), letterbox(6, 8), REVERSE, scale(0.5, 1.0), FIRST
    item = Input("photo", "blob", (), steps, missing, impute)
    good = [photos(3, 6).value(row) for row in range(6)]
    column, valid = VarColumn.of([*good[:2], b"no image", b"", good[2]]), np.array([True, True, True, False, True])
    found, wanted = taken(item, column, valid), prepare(item, column, valid)
    assert found.reasons == wanted.reasons
    np.testing.assert_array_equal(found.refused, wanted.refused)
    kept = ~wanted.refused  # type: ignore[operator]
    np.testing.assert_array_equal(found.array[kept], wanted.array[kept])


def peak(way: Any, *args: Any) -> int:
    """Bytes that a call takes at most."""
    tracemalloc.start()
    try:
        way(*args)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("way", [taken, prepare])
def test_an_image_as_wide_as_it_has_pixels_takes_no_more_memory_than_its_decoding(way: Any) -> None:
    file = file_of(np.zeros((1, 1 << 23, 1), np.uint8))
    item = Input("photo", "blob", (), (Step("decode", {"channels": 1}), resize(224, 224)))
    assert peak(way, item, VarColumn.of([file])) < peak(decode, file, 1) + (4 << 20)  # rows of float32 of its width take 32 MB each


def test_tables_are_kept_for_so_many_sizes_and_no_more() -> None:
    item = Input("photo", "blob", (), (Step("decode", {"channels": 1}), letterbox(4, 4)))
    made = Intake(item, "float32", is_lifted=False).fused
    assert isinstance(made, Images)
    sides = (*range(1, MOST_SIZES + 1), 1, MOST_SIZES + 1)  # the first is used again before one too many comes
    column = VarColumn.of([file_of(images(1, 3, side, 1)[0]) for side in sides])
    wanted = prepare(item, column).array
    np.testing.assert_array_equal(made.take_files(column, None).array, wanted)
    assert sorted(made.ways) == [(3, 1), *((3, side) for side in range(3, MOST_SIZES + 2))]
