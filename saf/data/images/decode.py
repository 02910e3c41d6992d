"""One image file as pixels, by rules that are the same in training and in prediction.

- Orientation: an image is turned as its EXIF entry says, as every viewer shows it.
- Transparency: an image is laid on white, or on black where the setting `background` says so.
- Of several frames or pages the first is taken.
- Gray stays one channel, everything else becomes RGB; CMYK is converted.
- Integers of more than 8 bits, and floats, are brought to 0…255 by a range, see `to_bytes`.
- Scaling: an image covers the size and is cropped to it in the middle (`fitted`).

Shapes: C channels (1 or 3), H × W pixels.
"""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from saf import extras
from saf.data.sources.limits import DEFAULT_LIMITS, MIB, LimitError, Limits
from saf.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

Pixels = NDArray[np.uint8]
Background = Literal["white", "black"]

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".dib", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".gif"),
)
UNREAD = (
    *(".heic", ".heif", ".avif", ".jp2", ".j2k", ".jxl", ".svg", ".psd", ".dcm", ".nii"),
    *(".nii.gz", ".mha", ".mhd", ".nrrd"),
    *(".exr", ".hdr", ".tga", ".ico", ".dng", ".cr2", ".nef", ".arw", ".raw", ".xcf"),
)
"""Endings of images that are not read."""
MAX_FILE = 64 * MIB
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "DIB", "TIFF", "PPM", "GIF")
_GRAY = frozenset({"1", "L", "LA", "La"})
_COLOUR = frozenset({"P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "LAB", "RGBa"})
_ORIENTATION = 0x0112
_BITS_PER_SAMPLE = 0x0102
_PHOTOMETRIC = 262  # of TIFF: 0 where white is 0
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Header:
    """What an image says of itself before it is decoded."""

    width: int
    height: int
    """As it is shown, that is after it was turned."""
    channels: int
    kind: Literal["bytes", "deep", "deep colour", "float"]
    """How its values are stored. Deep: integers of more than 8 bits; of colours, Pillow keeps the
    upper 8 alone."""
    transparent: bool
    turned: bool
    frames: bool
    """Whether there are further frames or pages."""


def is_image_name(name: str) -> bool:
    """Whether a file is named as the images are that are read."""
    return name.lower().endswith(SUFFIXES)


def is_unread_image_name(name: str) -> bool:
    """Whether a file is named as images are that are not read."""
    return name.lower().endswith(UNREAD)


def header_of(name: str, blob: bytes) -> Header:
    """What an image says of itself. Raises DataError if it is none."""
    with _opened(name, blob) as image:
        turned = _orientation(image)
        width, height = image.size[::-1] if turned >= 5 else image.size
        return Header(
            width=width,
            height=height,
            channels=3 if image.mode in _COLOUR else 1,
            kind=_kind(image, blob),
            transparent=_is_transparent(image),
            turned=turned > 1,
            frames=image.format != "MPO" and bool(getattr(image, "is_animated", False)),
        )


def values_of(name: str, blob: bytes, limits: Limits = DEFAULT_LIMITS) -> NDArray[Any]:
    """The values, in one row, of a gray image of more than 8 bits, or of floats, without those of
    transparent pixels. Raises DataError."""
    with _opened(name, blob) as image:
        _check_pixels(name, image, limits)
        values = _deep_values(image).ravel()
        clear = _clear_value(image)
        return values if clear is None else values[values != clear]


def decode(
    name: str,
    blob: bytes,
    *,
    size: tuple[int, int] | None = None,
    background: Background = "white",
    value_range: tuple[float, float] | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Pixels:
    """The pixels `C H W` of an image; see the module.

    `size` is width × height; None leaves the image as it is. `value_range` is for images of more
    than 8 bits and of floats; None means all 16 bits, or 0 to 1. Raises DataError, LimitError for
    more than `limits.max_image_pixels` to decode; JPEGs are decoded to a fraction of their size
    where that suffices.
    """
    from PIL import Image

    with _opened(name, blob) as image:
        turn = _orientation(image)
        if size is not None:
            wanted = size if turn < 5 else size[::-1]
            image.draft(None, (2 * wanted[0], 2 * wanted[1]))
        _check_pixels(name, image, limits)
        if image.mode.startswith("I") or image.mode == "F":
            values = _deep_values(image)
            gray = to_bytes(values, value_range)
            if (clear := _clear_value(image)) is not None:
                gray[values == clear] = 255 if background == "white" else 0
            shown = Image.fromarray(gray)
        else:
            shown = _opaque(_shrunk(image, size), background)
        shown = _turned(shown, turn)
        return pixels_of(shown if size is None else fitted(shown, size))


def decode_image(name: str, blob: bytes, limits: Limits) -> Pixels:
    """The pixels `C H W` of an image in its own size, one channel or three. Raises DataError."""
    header = header_of(name, blob)
    if max(header.width, header.height) > limits.max_image_side:
        raise LimitError(
            f"{name} has {header.width} × {header.height} pixels; at most "
            f"{limits.max_image_side} on a side are accepted",
            limit="max_image_side",
            hint="Scale the images down.",
        )
    return decode(name, blob, limits=limits)


def fitted(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """An image L or RGB scaled until it covers `size`, width × height, and cropped to it in the
    middle: by the mean of the pixels where it becomes smaller, else bilinearly."""
    from PIL import Image, ImageOps

    if image.size == size:
        return image
    shrinks = image.width >= size[0] and image.height >= size[1]
    method = Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR
    return ImageOps.fit(image, size, method)


def pixels_of(image: Image.Image) -> Pixels:
    """The pixels `C H W` of an image L or RGB."""
    array = np.asarray(image)
    return array[np.newaxis] if array.ndim == 2 else array.transpose(2, 0, 1)


def to_bytes(values: NDArray[Any], value_range: tuple[float, float] | None) -> Pixels:
    """Values as 0…255, those outside of the range cut off.

    Integers in a range from 0 to 2^b − 1 keep their upper 8 bits; others, and floats, are scaled
    linearly. Values that are not finite raise DataError.
    """
    if values.dtype.kind == "f":
        if not np.isfinite(values).all():
            raise DataError("it holds NaN or infinite values", hint="Replace or remove the file.")
        low, high = value_range or (0.0, 1.0)
        scaled = (values.astype(np.float64) - low) * (255 / (high - low))
        return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    low, high = value_range or (0, 65535)
    bits = int(high + 1).bit_length() - 1
    if low == 0 and high == 2**bits - 1 and bits >= 8:
        scaled = np.floor(values.astype(np.float64) / 2 ** (bits - 8))
    else:
        scaled = np.rint((values.astype(np.float64) - low) * (255 / (high - low)))
    return np.clip(scaled, 0, 255).astype(np.uint8)


def require_pillow() -> None:
    """Raise DataError with the remedy where Pillow is not installed."""
    try:
        import PIL.Image  # noqa: F401
    except ModuleNotFoundError as error:
        if not extras.is_missing("data", error):
            raise
        raise DataError("reading images needs Pillow", hint=extras.remedy("data")) from None


@contextmanager
def _opened(name: str, blob: bytes) -> Iterator[Image.Image]:
    """An image whose header was read; whatever is wrong with it becomes a DataError."""
    require_pillow()
    from PIL import Image

    try:
        with warnings.catch_warnings():
            # EXIF that points nowhere, as many cameras and programs write it, and sizes, which
            # are checked here.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(blob), formats=_FORMATS) as image:
                yield image
    except (LimitError, MemoryError):
        raise
    except Exception as error:
        # Pillow's readers raise whatever the bytes make them stumble over.
        raise DataError(
            f"{name} is no readable image: {_reason(error, blob)}",
            hint="Replace or remove the file."
            if not name.lower().endswith((".tif", ".tiff"))
            else "Replace or remove the file. Of TIFFs, those with one or three bands are read; "
            "send more bands as an .npz, N C H W.",
        ) from error


def _check_pixels(name: str, image: Image.Image, limits: Limits) -> None:
    if image.width * image.height > limits.max_image_pixels:
        raise LimitError(
            f"{name} has {image.width:,} × {image.height:,} pixels; at most "
            f"{limits.max_image_pixels:,} in all are decoded",
            limit="max_image_pixels",
            hint="Scale the images down.",
        )


def _kind(image: Image.Image, blob: bytes) -> Literal["bytes", "deep", "deep colour", "float"]:
    if image.mode == "F":
        return "float"
    if image.mode.startswith("I"):
        return "deep"
    bits = blob[24] if blob.startswith(_PNG) and len(blob) > 24 else 8  # of each value
    if image.format == "TIFF":
        bits = max(getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, (8,)))
    return "deep colour" if bits == 16 else "bytes"


def _orientation(image: Image.Image) -> int:
    """1 to 8 as EXIF counts them, 1 where nothing is said."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF, which no viewer minds
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    from PIL import Image

    by = Image.Transpose
    turns = {
        2: by.FLIP_LEFT_RIGHT,
        3: by.ROTATE_180,
        4: by.FLIP_TOP_BOTTOM,
        5: by.TRANSPOSE,
        6: by.ROTATE_270,
        7: by.TRANSVERSE,
        8: by.ROTATE_90,
    }
    return image.transpose(turns[orientation]) if orientation in turns else image


def _deep_values(image: Image.Image) -> NDArray[Any]:
    """The values of a gray image of more than 8 bits, or of floats, black the lowest. Pillow turns
    TIFFs over in which white is 0, except those of 16 bits."""
    values = np.asarray(image)
    tags = getattr(image, "tag_v2", {}) if image.format == "TIFF" else {}
    if image.mode.startswith("I;16") and tags.get(_PHOTOMETRIC) == 0:
        return 65535 - values
    return values


def _clear_value(image: Image.Image) -> int | None:
    """The value that transparent pixels of a gray image of more than 8 bits have."""
    value = image.info.get("transparency")
    return value if isinstance(value, int) and image.mode.startswith("I") else None


def _is_transparent(image: Image.Image) -> bool:
    if image.mode == "F":
        return False
    if image.mode.startswith("I"):
        return _clear_value(image) is not None
    return image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info


def _shrunk(image: Image.Image, size: tuple[int, int] | None) -> Image.Image:
    """A large image made smaller in its own mode, so that what follows takes little memory."""
    if size is None or image.mode not in ("L", "RGB", "RGBA", "LA", "CMYK"):
        return image
    if "transparency" in image.info:
        return image
    factor = min(image.width, image.height) // (2 * max(size))
    return image.reduce(factor) if factor > 1 else image


def _opaque(image: Image.Image, background: Background) -> Image.Image:
    """The image as L or RGB, laid on the background where it is transparent."""
    from PIL import Image

    if image.mode not in _GRAY | _COLOUR:
        raise DataError(
            f"it has pixels of the kind {image.mode!r}",
            hint="Save the image with 8 bits per channel, gray or RGB.",
        )
    mode = "L" if image.mode in _GRAY else "RGB"
    if not _is_transparent(image):
        return image.convert(mode)
    # Premultiplied modes know no direct way to the others.
    straight = {"La": "LA", "RGBa": "RGBA"}.get(image.mode)
    layer = (image.convert(straight) if straight else image).convert("RGBA")
    below = Image.new("RGBA", layer.size, background)
    return Image.alpha_composite(below, layer).convert(mode)


def _reason(error: Exception, blob: bytes) -> str:
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):  # its own message prints a memory address
        if blob.startswith(b"version https://git-lfs"):
            return "it is a pointer of Git LFS: fetch the files with git lfs pull"
        if blob[4:8] == b"ftyp":
            return "it is HEIC, AVIF or a film, whatever its name says; write it as PNG or JPEG"
        return "it is empty" if not blob else "its content is none that is read"
    if isinstance(error, (SyntaxError, struct.error)):
        return "its header is broken"
    return str(error)[:200] or type(error).__name__
