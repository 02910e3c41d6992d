"""Values of image files that are black and white: of more than 8 bits, of floats, of dark bytes."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from saf.data import read
from saf.data.formats.format import NeedsChoiceError
from saf.errors import DataError
from tests.saf.data.image_files import cornered, decided, encoded, folders, question

Place = Callable[[Mapping[str, bytes]], Path]


def deep(top: int, kind: str = "PNG") -> bytes:
    """A ramp of integers up to `top`, of 16 bits."""
    return encoded(np.linspace(0, top, 64).reshape(8, 8).round().astype(np.uint16), kind)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
@pytest.mark.parametrize(
    ("top", "bits"), [(65535, 16), (16000, 14), (4000, 12), (900, 10), (250, 8)]
)
def test_deep_integers_are_read_by_the_bits_they_fill(
    top: int, bits: int, kind: str, place: Place
) -> None:
    data = read(place(folders([deep(top, kind), deep(top // 3, kind)], kind.lower())))
    assert decided(data)["value_range"] == f"0..{2**bits - 1}"
    assert data.x_train.max() == top >> (bits - 8)


@pytest.mark.parametrize("top", [1, 300, 1500, 5000, 20000])
def test_deep_integers_that_fill_no_usual_bits_are_a_question(top: int, place: Place) -> None:
    files = folders([deep(top)] * 2)
    with pytest.raises(NeedsChoiceError, match="Which values are black and white") as caught:
        read(place(files))
    assert {f"0..{top}", "0..65535"} <= set(question(caught))
    assert read(place(files), settings={"value_range": f"0..{top}"}).x_train.max() == 255


def colour(top: int) -> bytes:
    """A ramp of colours of 16 bits up to `top`."""
    rows = np.linspace(0, top, 8 * 8 * 3).reshape(8, 24).astype(">u2")
    body = b"".join(b"\0" + row.tobytes() for row in rows)
    return png16(2, body)


def png16(kind: int, body: bytes, *more: tuple[bytes, bytes]) -> bytes:
    """A PNG of 8 × 8 values of 16 bits."""

    def chunk(name: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + check

    head = struct.pack(">IIBBBBB", 8, 8, 16, kind, 0, 0, 0)
    parts = [(b"IHDR", head), *more, (b"IDAT", zlib.compress(body)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def test_colours_of_16_bits_that_are_all_but_black_are_refused(place: Place) -> None:
    assert read(place(folders([colour(65535)] * 2))).x_train.max() == 255
    for top, bits in ((4095, 12), (1023, 10), (255, 8), (1, 8)):
        with pytest.raises(DataError, match=f"use the lower {bits} of them") as caught:
            read(place(folders([colour(top)] * 2)))
        assert "65535" in caught.value.hint
        with pytest.raises(DataError, match="next to nothing is left"):
            read(place(folders([colour(top)] * 2)), settings={"value_range": f"0..{top}"})
    whole = read(place(folders([colour(65535)] * 2)))
    said = read(place(folders([colour(65535)] * 2)), settings={"value_range": "0..65535"})
    assert np.abs(said.x_train.astype(int) - whole.x_train).max() <= 1


def test_a_range_is_that_of_the_deep_images_and_not_of_those_of_8_bits(place: Place) -> None:
    shallow = encoded(cornered(8, 8)[:, :, 0])
    files = folders([deep(4000), shallow])
    for settings in ({}, {"value_range": "0..4095"}):
        data = read(place(files), settings=settings)
        assert data.x_train[0].max() == 4000 >> 4
        np.testing.assert_array_equal(data.x_train[1, 0], cornered(8, 8)[:, :, 0])
    assert "8 bits are from 0 to 255" in next(
        each.why for each in data.decisions if each.setting == "value_range"
    )
    with pytest.raises(DataError, match="all images have 8 bits"):
        read(place(folders([shallow] * 2)), settings={"value_range": "0..4095"})
    with pytest.raises(DataError, match="from -1 to 1"):
        read(place(folders([shallow] * 2)), settings={"value_range": "-1..1"})


def test_values_outside_of_the_range_that_is_said_are_told(place: Place) -> None:
    data = read(place(folders([deep(4000)] * 2)), settings={"value_range": "0..1000"})
    assert any(
        "values from 0 to 4000, and those outside are cut off" in d.why for d in data.decisions
    )


def test_a_split_that_is_all_but_black_beside_another_is_refused(place: Place) -> None:
    bright, dark = encoded(cornered(8, 8)), encoded(cornered(8, 8) // 128)
    files = folders([bright, bright])
    files |= {name: dark for name in files if name.startswith("train")}
    with pytest.raises(DataError, match="the training images from 0 to 1, the test images to 250"):
        read(place(files))


@pytest.mark.parametrize(
    ("kind", "train", "test"),
    [("deep", 60000, 255), ("deep", 60000, 4095), ("float", 255, 1), ("float", 1, 0.1)],
)
def test_splits_of_deep_images_and_floats_of_different_ranges_are_refused(
    kind: str, train: float, test: float, place: Place
) -> None:
    def ramp(top: float) -> bytes:
        values = np.linspace(0, top, 64).reshape(8, 8)
        if kind == "deep":
            return encoded(values.astype(np.uint16))
        return encoded(values.astype(np.float32), "TIFF")

    files = {
        f"{split}/{c}/{n}.{'png' if kind == 'deep' else 'tif'}": ramp(top)
        for split, top in (("train", train), ("test", test))
        for c in "ab"
        for n in range(3)
    }
    path = place(files)
    says = rf"different ranges: the training images up to {train} and the test images up to {test}"
    with pytest.raises(DataError, match=says) as caught:
        read(path)
    assert "all splits alike" in caught.value.hint
    if kind == "float" and train > 1:
        with pytest.raises(DataError, match=says):
            read(path, settings={"value_range": "0..255"})
    else:
        assert read(path, settings={"value_range": f"0..{train}"}).classes == 2


def test_transparent_pixels_of_deep_images_are_laid_on_white(place: Place) -> None:
    values = np.linspace(0, 4000, 64).reshape(8, 8).astype(">u2")
    values[0] = 65535
    body = b"".join(b"\0" + row.tobytes() for row in values)
    blob = png16(0, body, (b"tRNS", struct.pack(">H", 65535)))
    data = read(place(folders([blob] * 2)))
    assert decided(data)["value_range"] == "0..4095"
    assert (data.x_train[0, 0, 0] == 255).all()
    assert data.x_train[0, 0, -1, -1] == 4000 >> 4
    black = read(place(folders([blob] * 2)), settings={"background": "black"})
    assert (black.x_train[0, 0, 0] == 0).all()


def test_floats_from_0_to_1_are_taken_and_others_are_a_question(place: Place) -> None:
    def floats(top: float) -> bytes:
        return encoded(np.linspace(0, top, 64, dtype=np.float32).reshape(8, 8), "TIFF")

    data = read(place(folders([floats(1)] * 2, "tif")))
    assert (data.x_train.min(), data.x_train.max()) == (0, 255)
    for top in (0.1, 1e-3):
        with pytest.raises(NeedsChoiceError) as caught:
            read(place(folders([floats(top)] * 2, "tif")))
        least, most = sorted(question(caught), key=lambda said: float(said.split("..")[1]))
        assert most == "0..1"
        dark = read(place(folders([floats(top)] * 2, "tif")), settings={"value_range": least})
        assert dark.x_train.max() == 255
    with pytest.raises(NeedsChoiceError) as caught:
        read(place(folders([floats(200)] * 2, "tif")))
    assert set(question(caught)) == {"0..255", "0..200"}
    said = read(place(folders([floats(200)] * 2, "tif")), settings={"value_range": "0..200"})
    assert said.x_train.max() == 255


def test_bytes_that_are_all_but_black_are_a_question(place: Place) -> None:
    files = folders([encoded(np.eye(8, dtype=np.uint8)), encoded(np.ones((8, 8), np.uint8))])
    with pytest.raises(NeedsChoiceError, match="from 0 to 1") as caught:
        read(place(files))
    assert set(question(caught)) == {"0..1", "0..255"}
    assert read(place(files), settings={"value_range": "0..1"}).x_train.max() == 255
    assert read(place(files), settings={"value_range": "0..255"}).x_train.max() == 1


def test_a_deep_tiff_whose_white_is_0_is_turned_over(place: Place) -> None:
    plain = deep(65535, "TIFF")
    tag = struct.pack("<HHIH", 262, 3, 1, 1)  # black is 0
    assert plain.count(tag) == 1
    turned = plain.replace(tag, tag[:-2] + struct.pack("<H", 0))
    straight, over = (read(place(folders([each] * 2, "tiff"))) for each in (plain, turned))
    np.testing.assert_array_equal(over.x_train, 255 - straight.x_train)
