"""One image from a file to RGB bytes, whatever it is stored as; and how it is made the size that a network takes.

What had to be done to an image (its first frame taken, its 16 bits cut to 8, ...) comes back in words, so that a caller
can count them. An image that cannot be used is an :class:`ImageError`, which a caller may skip.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from unrolled.errors import UserError

Pixels = npt.NDArray[np.uint8]
"""(H, W, 3) RGB."""

SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".tga", ".jp2")
)
"""What is taken for an image where a folder is looked through."""

FRAMES = "has several frames, of which the first is taken"
CMYK = "is CMYK, converted to RGB"
DEEP = "has 16 bits or more a channel, cut to 8"
TURNED = "is turned as its EXIF orientation says"
CLEAR = "is transparent in part, laid on white"
SHRUNK = "is larger than --image-size, shrunk to it"

_SIXTEEN = ("I;16", "I;16L", "I;16B", "I;16N")
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, TypeError, KeyError, IndexError, struct.error, zlib.error)
"""What Pillow's readers raise on damaged files."""


class ImageError(UserError):
    """An image that cannot be used: missing, damaged, enormous."""


def read_image(path: Path, *, name: str | None = None, megapixels: float = 50.0, size: int | None = None) -> tuple[
    Pixels, list[str]
]:  # fmt: skip
    """Read an image file.

    Args:
        name: what messages call it (default: its path).
        megapixels: a larger image is refused from its header, before it is unpacked.
        size: the picture will be shrunk to about this many pixels a side: a large JPEG is then unpacked smaller, at
            twice that or more.
    Returns:
        RGB, and what was done to it, in words.
    Raises:
        ImageError: missing, no image, damaged, enormous, or of values that have no place between black and white.
    """
    name = name or str(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own limits and its remarks on odd metadata
            with Image.open(path) as image:
                return _read(image, name, megapixels, size)
    except ImageError:
        raise
    except FileNotFoundError:
        raise ImageError(f"{name}: not there") from None
    except Image.DecompressionBombError:
        raise _enormous(name, "an enormous image", megapixels) from None
    except UnidentifiedImageError:
        raise ImageError(f"{name}: not an image that Pillow reads; convert it to PNG, or leave it out") from None
    except MemoryError:
        raise ImageError(f"{name}: too large for the memory") from None
    except _BROKEN as error:
        raise ImageError(f"{name}: cannot be read ({_first_line(error)})") from None


def _read(image: Image.Image, name: str, megapixels: float, size: int | None) -> tuple[Pixels, list[str]]:
    width, height = image.size
    if width * height > megapixels * 1e6:
        raise _enormous(name, f"{width} x {height} pixels", megapixels)
    done = [FRAMES] if getattr(image, "is_animated", False) else []
    if size is not None and image.format == "JPEG":
        image.draft(None, (2 * size, 2 * size))  # None keeps the mode
    image.load()
    plain = image
    try:
        if image.getexif().get(0x0112, 1) in range(2, 9):
            plain = ImageOps.exif_transpose(image)
            done.append(TURNED)
    except _BROKEN:  # damaged metadata are no reason to lose the picture
        plain = image
    return _rgb(plain, name, done), done


def _enormous(name: str, what: str, megapixels: float) -> ImageError:
    return ImageError(f"{name}: {what}, above the limit of {megapixels:g} megapixels (--megapixels)")


def _rgb(image: Image.Image, name: str, done: list[str]) -> Pixels:
    if image.mode in (*_SIXTEEN, "I", "F"):
        done.append(DEEP)
        return from_array(np.asarray(image), name, deep=True)
    if image.mode == "CMYK":
        done.append(CMYK)
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        rgba = np.asarray(image.convert("RGBA"))
        if rgba[..., 3].min(initial=255) < 255:
            done.append(CLEAR)
        return from_array(rgba, name)
    return np.array(image.convert("RGB"), np.uint8)


def from_array(array: npt.NDArray[Any], name: str, *, deep: bool = False) -> Pixels:
    """RGB from an array of one image: (H, W) or (H, W, 1) grey, (H, W, 3) RGB, (H, W, 4) RGBA, laid on white.

    Args:
        array: bool, uint8, uint16, or other numbers: from 0 to 1 if none is above 1 in a float array, else from 0 to
            255, and where ``deep`` is set, from 0 to 65535.
    Raises:
        ImageError: another shape, NaN, or values out of range.
    """
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in array.shape:
        raise ImageError(f"{name}: an array of shape {array.shape} is no image; (H, W), (H, W, 3) or (H, W, 4) is")
    eight = _eight_bits(array, name, deep)
    if eight.shape[2] == 4:
        alpha = eight[..., 3:].astype(np.uint32)
        eight = ((eight[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(eight, (*eight.shape[:2], 3)))


def _eight_bits(array: npt.NDArray[Any], name: str, deep: bool) -> Pixels:
    if array.dtype == np.uint8:
        return np.asarray(array, np.uint8)
    if array.dtype == np.bool_:
        return np.asarray(array.astype(np.uint8) * 255, np.uint8)
    if array.dtype.kind not in "iuf":
        raise ImageError(f"{name}: holds {array.dtype}, not numbers")
    low, high = float(array.min()), float(array.max())
    if array.dtype.kind == "f" and low >= 0 and high <= 1:
        scale = 255.0
    elif array.dtype.itemsize == 2 or (deep and array.dtype.kind != "f"):
        scale = 1 / 257
    else:
        scale = 1.0
    if not (low >= 0 and high * scale <= 255.5):  # a NaN fails too
        raise ImageError(f"{name}: values from {low:g} to {high:g}; an image goes from 0 to 1, 255 or 65535")
    return np.asarray(np.clip(np.rint(array.astype(np.float64) * scale), 0, 255), np.uint8)


def fit(pixels: Pixels, size: int, how: str) -> Pixels:
    """Make a picture the size that the network takes.

    Args:
        how: ``crop`` (the middle square), ``stretch`` (the whole, its shape lost), ``pad`` (the whole, on white): all
            to (size, size). ``keep``: as it is, but shrunk to at most ``size`` on its longer side.
    """
    height, width = pixels.shape[:2]
    if how == "crop":
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        return _resized(pixels[top : top + side, left : left + side], size, size)
    if how == "stretch":
        return _resized(pixels, size, size)
    longest = max(height, width)
    if how == "keep" and longest <= size:
        return pixels
    rows, columns = (max(1, round(side * size / longest)) for side in (height, width))
    small = _resized(pixels, rows, columns)
    if how == "keep":
        return small
    square = np.full((size, size, 3), 255, np.uint8)
    top, left = (size - rows) // 2, (size - columns) // 2
    square[top : top + rows, left : left + columns] = small
    return square


def _resized(pixels: Pixels, rows: int, columns: int) -> Pixels:
    if pixels.shape[:2] == (rows, columns):
        return np.ascontiguousarray(pixels)
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return np.array(image.resize((columns, rows), Image.Resampling.LANCZOS), np.uint8)


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
