"""Images: files decoded by Pillow (imported here alone), bilinear resizing with half-pixel centres, letterboxes."""

import io
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from esp.errors import EventError

MAX_PIXELS = 1 << 25  # 33 million: 100 MB decoded; a file that says more is refused before it is decoded
MOST_READ = 16  # pixels of a row for each that is wanted: more are not all read, for an image may be as wide as it has pixels
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "PPM", "TIFF")
_MODES = {1: "L", 3: "RGB"}
_EIGHT_BITS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")


def decode(data: bytes, channels: int) -> npt.NDArray[np.uint8]:
    """The image in a file's bytes (its first frame) as uint8[h, w, channels]; EventError for one that cannot be decoded.

    Grey is ITU-R 601 luma; an alpha channel is left out; the orientation tag of a camera is not applied.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_kind(image)
            pixels = np.array(image.convert(_MODES[channels]), np.uint8)
    except EventError:
        raise
    except UnidentifiedImageError as err:
        raise EventError(f"these bytes are no image of a known kind ({', '.join(FORMATS)})") from err
    except (Exception, Image.DecompressionBombWarning) as err:  # a decoder may raise anything on bytes that lie
        raise EventError(f"the image cannot be decoded: {err or type(err).__name__}") from err
    return pixels.reshape(*pixels.shape[:2], channels)


def _check_kind(image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise EventError(f"the image has {image.width} x {image.height} pixels, over the limit of {MAX_PIXELS}")
    if image.mode not in _EIGHT_BITS:
        raise EventError(f"the image holds {image.mode} samples, not 8-bit ones")


def resize(images: npt.NDArray[np.generic], height: int, width: int) -> npt.NDArray[np.floating]:
    """[..., h, w, c] -> [..., height, width, c], bilinear: ONNX Resize linear, half_pixel, without antialiasing; computed in
    float32 (float64 for float64 images)."""
    dtype = np.result_type(images.dtype, np.float32) if images.dtype.kind == "f" else np.dtype(np.float32)
    if images.shape[-3:-1] == (height, width):
        return images.astype(dtype, copy=False)
    left, right, across = taps(images.shape[-2], width, dtype)
    if images.shape[-2] > MOST_READ * width:  # the columns that are needed
        images = images[..., np.concatenate([left, right]), :]
        left, right = np.arange(width), np.arange(width, 2 * width)
    low, high, down = taps(images.shape[-3], height, dtype)
    rows = _between(images[..., low, :, :].astype(dtype), images[..., high, :, :].astype(dtype), down[:, None, None])
    return _between(rows[..., left, :], rows[..., right, :], across[:, None])


class Place(NamedTuple):
    """Where an image lies in a larger one."""

    top: int
    left: int
    height: int
    width: int


def letterbox_place(height: int, width: int, wanted_height: int, wanted_width: int) -> Place:
    """The largest place for an image of that aspect ratio, in the middle: a side of half a pixel is rounded up, a margin down."""
    inner_height = max(1, min(wanted_height, (2 * height * wanted_width + width) // (2 * width)))
    inner_width = max(1, min(wanted_width, (2 * width * wanted_height + height) // (2 * height)))
    return Place((wanted_height - inner_height) // 2, (wanted_width - inner_width) // 2, inner_height, inner_width)


def letterbox(images: npt.NDArray[np.generic], height: int, width: int, fill: Any) -> npt.NDArray[np.floating]:
    """[..., h, w, c] -> [..., height, width, c]: resized with its aspect ratio kept, ``fill`` (one number, or one a channel) around it."""
    place = letterbox_place(images.shape[-3], images.shape[-2], height, width)
    inner = resize(images, place.height, place.width)
    framed = np.empty((*images.shape[:-3], height, width, images.shape[-1]), inner.dtype)
    framed[...] = np.asarray(fill, inner.dtype)
    framed[..., place.top : place.top + place.height, place.left : place.left + place.width, :] = inner
    return framed


def taps(
    size: int, wanted: int, dtype: np.dtype[np.generic]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.floating]]:
    """For each wanted position the two neighbours that it lies between and the share of the second; edges repeat."""
    centre = (np.arange(wanted) + 0.5) * (size / wanted) - 0.5
    floor = np.floor(centre)
    low = floor.astype(np.int64)
    return low.clip(0, size - 1), (low + 1).clip(0, size - 1), (centre - floor).astype(dtype)


def _between(
    first: npt.NDArray[np.floating], second: npt.NDArray[np.floating], share: npt.NDArray[np.floating]
) -> npt.NDArray[np.floating]:
    mixed: npt.NDArray[np.floating] = first + (second - first) * share
    return mixed
