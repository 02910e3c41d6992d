"""Image files of many sizes, kinds and depths, turned, transparent or damaged."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from saf.data import read
from saf.data.formats.format import NeedsChoiceError
from saf.errors import DataError
from tests.saf.data.image_files import cornered, decided, encoded, folders, question

Place = Callable[[Mapping[str, bytes]], Path]


Pack = Callable[[Mapping[str, bytes], str], Path]


def test_images_of_many_sizes_cover_a_square_of_the_median_side_and_say_so(place: Place) -> None:
    blobs = [encoded(cornered(h, w)) for h, w in ((16, 16), (20, 18), (30, 24), (16, 24), (40, 20))]
    data = read(place(folders(blobs)))
    assert data.sample_shape == (3, 18, 18)
    (told,) = data.decisions
    assert (told.setting, told.value) == ("size", "18x18")
    assert "5 sizes, from 16 × 16 to 20 × 40" in told.why
    assert (data.x_train[:, :, 9, 9] == (100, 150, 30)).all()


def test_images_of_one_proportion_keep_it_and_large_ones_become_small(place: Place) -> None:
    blobs = [encoded(cornered(h, w), "JPEG") for h, w in ((300, 400), (600, 800), (450, 600))]
    data = read(place(folders(blobs, "jpg")))
    assert data.sample_shape == (3, 48, 64)
    assert decided(data)["size"] == "64x48"
    alike = [encoded(cornered(1200, 1600, n), "JPEG") for n in range(4)]
    assert read(place(folders(alike, "jpg"))).sample_shape == (3, 48, 64)


def test_large_photos_are_read_within_the_limits_and_look_as_they_did(place: Place) -> None:
    blobs = [encoded(cornered(3000, 4000, n), "JPEG") for n in range(2)]
    data = read(place(folders(blobs, "jpg")))
    assert data.sample_shape == (3, 48, 64)
    whole = np.asarray(Image.open(io.BytesIO(blobs[0])).resize((64, 48), Image.Resampling.BOX))
    assert np.abs(data.x_train[0].astype(int) - whole.transpose(2, 0, 1)).mean() < 2


def test_the_size_that_is_said_is_taken_for_all(place: Place) -> None:
    files = folders([encoded(cornered(24, 32, n)) for n in range(4)])
    data = read(place(files), settings={"size": "16x12"})
    assert data.sample_shape == (3, 12, 16)
    assert decided(data)["size"] == "16x12"
    assert read(place(files)).decisions == ()
    with pytest.raises(DataError, match="more than 1024 pixels on a side"):
        read(place(files), settings={"size": "2000"})


def test_long_images_of_many_shapes_are_a_question_with_a_picture_of_each_way(place: Place) -> None:
    blobs = [encoded(cornered(20, 20 * n)) for n in (1, 3, 4, 5, 6)]
    with pytest.raises(NeedsChoiceError, match="To which size") as caught:
        read(place(folders(blobs)))
    assert set(question(caught)) == {"20x20", "64x16"}
    assert read(place(folders(blobs)), settings={"size": "64x16"}).sample_shape == (3, 16, 64)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_as_their_exif_says(orientation: int, place: Place) -> None:
    upright = cornered(24, 16)
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    blobs = [encoded(np.ascontiguousarray(stored), exif=exif) for _ in range(2)]
    data = read(place(folders(blobs)))
    np.testing.assert_array_equal(data.x_train[0], upright.transpose(2, 0, 1))
    assert ("upright" in decided(data)) == (orientation > 1)


def test_exif_that_points_nowhere_is_no_damage(place: Place) -> None:
    entries = struct.pack("<HHII", 0x011A, 5, 1, 60_000) + struct.pack(
        "<HHII", 0x0110, 2, 80_000, 60_000
    )
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + entries + bytes(4)
    blobs = [encoded(cornered(16, 16, n), "JPEG", exif=exif) for n in range(4)]
    assert read(place(folders(blobs, "jpg"))).sample_shape == (3, 16, 16)


def inked(colour: int, kind: str) -> bytes:
    """A stroke of one colour, all of its shape in alpha."""
    alpha = np.zeros((16, 16), np.uint8)
    alpha[4:12, 6:9] = 255
    if kind == "LA":
        return encoded(
            Image.merge("LA", [Image.new("L", (16, 16), colour), Image.fromarray(alpha)])
        )
    whole = Image.merge("RGBA", [Image.new("L", (16, 16), colour)] * 3 + [Image.fromarray(alpha)])
    if kind == "WEBP":
        return encoded(whole, "WEBP", lossless=True, exact=True)
    return encoded(whole)


@pytest.mark.parametrize("kind", ["RGBA", "LA", "WEBP"])
@pytest.mark.parametrize(("ink", "below"), [(0, "white"), (255, "black")])
def test_drawings_on_transparent_are_laid_on_what_shows_them(
    kind: str, ink: int, below: str, place: Place
) -> None:
    data = read(place(folders([inked(ink, kind)] * 4)))
    assert decided(data)["background"] == below
    assert data.x_train[0, 0, 8, 7] == ink
    assert data.x_train[0, 0, 0, 0] == 255 - ink
    said = read(place(folders([inked(100, kind)] * 4)), settings={"background": "black"})
    assert said.x_train[0, 0, 0, 0] == 0


def test_colours_below_transparent_pixels_never_show(place: Place) -> None:
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[..., :3] = (255, 0, 255)
    pixels[2:6, 2:6] = (10, 20, 30, 255)
    data = read(place(folders([encoded(pixels)] * 2)))
    assert data.x_train[0, :, 0, 0].tolist() == [255, 255, 255]
    assert data.x_train[0, :, 4, 4].tolist() == [10, 20, 30]
    gray = encoded(np.array([[7, 9], [9, 9]], np.uint8), transparency=7)
    assert read(place(folders([gray] * 2))).x_train[0, 0].tolist() == [[255, 9], [9, 9]]


@pytest.mark.parametrize(
    ("suffix", "kind", "options"),
    [
        ("webp", "WEBP", {"lossless": True}),
        ("bmp", "BMP", {}),
        ("tif", "TIFF", {}),
        ("tiff", "TIFF", {"compression": "tiff_lzw"}),
        ("ppm", "PPM", {}),
        ("png", "PNG", {}),
        ("JPG", "PNG", {}),
        ("jpeg", "WEBP", {"lossless": True}),
    ],
)
def test_images_are_known_by_their_content_whatever_they_are_called(
    suffix: str, kind: str, options: dict[str, Any], place: Place
) -> None:
    pixels = [cornered(8, 8, n) for n in range(4)]
    data = read(place(folders([encoded(each, kind, **options) for each in pixels], suffix)))
    np.testing.assert_array_equal(data.x_train[0], pixels[0].transpose(2, 0, 1))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_several_frames_the_first_is_taken_and_told(kind: str, place: Place) -> None:
    first, second = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    moving = encoded(first, kind, save_all=True, append_images=[second], **options)
    data = read(place(folders([moving, moving, encoded(second), encoded(second)], kind.lower())))
    assert data.x_train[0, :, 0, 0].tolist() == [255, 0, 0]
    assert "4 of 8 files" in next(d.why for d in data.decisions if d.value == "first frame")


def test_cmyk_becomes_rgb(place: Place) -> None:
    blobs = [encoded(Image.fromarray(cornered(16, 16, n)).convert("CMYK"), "JPEG") for n in (0, 1)]
    data = read(place(folders(blobs, "jpg")))
    assert np.abs(data.x_train[0, :, 8, 8].astype(int) - (100, 150, 30)).max() < 15


@pytest.mark.parametrize("kind", ["folder", "zip", "tar.gz"])
def test_all_damaged_files_are_named_at_once_and_can_be_left_out(
    kind: str, place: Place, pack: Pack
) -> None:
    blobs = [encoded(cornered(16, 16, n), "JPEG", quality=100, subsampling=0) for n in range(20)]
    files = folders(blobs, "jpg")
    for name in ("train/a/04.jpg", "train/b/07.jpg"):
        files[name] = files[name][: len(files[name]) // 2]
    files["test/b/03.jpg"] = b"<html>not found</html>"
    path = place(files) if kind == "folder" else pack(files, kind)
    with pytest.raises(DataError, match="3 of 40 images cannot be read") as caught:
        read(path)
    for name in ("train/a/04.jpg", "train/b/07.jpg", "test/b/03.jpg"):
        assert name in str(caught.value)
    assert "on_damaged: 'skip'" in caught.value.hint
    data = read(path, settings={"on_damaged": "skip"})
    assert [each.split(" ")[0] for each in data.skipped] == [
        "test/b/03.jpg",
        "train/a/04.jpg",
        "train/b/07.jpg",
    ]
    assert data.summary()["skipped"]["count"] == 3
    held_out = read(
        place({n: b for n, b in files.items() if n.startswith("train")}),
        settings={"on_damaged": "skip"},
    )
    (split,) = [each for each in held_out.decisions if each.setting == "split"]
    assert "4 of 20" in split.why
    assert split.why.endswith("2 of the images counted here cannot be read and are left out")
    whole = [n for n in range(0, 20, 2) if n != 4] + [n for n in range(1, 20, 2) if n != 7]
    assert data.y_train.tolist() == [0] * 9 + [1] * 9
    middle = data.x_train[:, 0, 8, 8].astype(int)
    assert np.abs(middle - [100 + n for n in whole]).max() <= 2


def test_damage_beyond_counting_is_bounded_in_words(place: Place) -> None:
    files = folders([b"nothing"] * 300)
    with pytest.raises(DataError, match="600 of 600 images cannot be read") as caught:
        read(place(files))
    assert len(str(caught.value)) < 2000
    with pytest.raises(DataError, match="600 of 600"):
        read(place(files), settings={"on_damaged": "skip"})
