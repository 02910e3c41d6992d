"""Folders of images in the layouts that people have."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from saf.data import Limits, detect, read, save
from saf.data.sources.archive import Tar
from saf.errors import DataError

Files = dict[str, bytes]
Place = Callable[[Mapping[str, bytes]], Path]
Pack = Callable[[Mapping[str, bytes], str], Path]
REAL = Path(__file__).resolve().parents[4].parent / "shared" / "data" / "cifar10-jpeg.tar.xz"
SPLIT = ("train/cat", "train/dog", "test/cat", "test/dog")


def pixels_of(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


@pytest.mark.parametrize(
    "kind", ["folder", "zip", "tar", "tar.gz", "tar.bz2", "tar.xz", "tar.zst", "7z"]
)
def test_every_container_gives_the_same_data_in_the_order_of_the_names(
    kind: str, image_files: Callable[..., Files], place: Place, pack: Pack, tmp_path: Path
) -> None:
    files = image_files(*SPLIT)
    backwards = dict(reversed(files.items()))
    path = place(files) if kind == "folder" else pack(backwards, kind)
    assert detect(path) == "image-folder"
    data = read(path)
    assert data.class_names == ("cat", "dog")
    assert data.y_train.tolist() == data.y_test.tolist() == [0] * 4 + [1] * 4
    for split, x in (("train", data.x_train), ("test", data.x_test)):
        expected = [pixels_of(files[n]) for n in sorted(files) if n.startswith(split)]
        np.testing.assert_array_equal(x, np.stack(expected)[:, np.newaxis])
    assert save(data, tmp_path / "a") == save(read(place(files)), tmp_path / "b")


@pytest.mark.parametrize("name", ["val", "valid", "validation", "Val", "VALID"])
def test_a_validation_folder_beside_train_and_test_is_the_validation_split(
    name: str, image_files: Callable[..., Files], place: Place
) -> None:
    files = image_files(*SPLIT, f"{name}/dog", f"{name}/cat")
    data = read(place(files))
    assert (len(data.y_train), len(data.y_test)) == (8, 8)
    assert data.y_val is not None
    assert data.y_val.tolist() == [0] * 4 + [1] * 4
    expected = [pixels_of(files[n]) for n in sorted(files) if n.startswith(name)]
    np.testing.assert_array_equal(data.x_val, np.stack(expected)[:, np.newaxis])
    assert read(place(image_files(*SPLIT))).y_val is None


@pytest.mark.parametrize("name", ["val", "valid", "validation", "Test", "VAL"])
def test_a_validation_folder_is_taken_for_the_test_split(
    name: str, image_files: Callable[..., Files], place: Place
) -> None:
    data = read(place(image_files("train/a", "train/b", f"{name}/a", f"{name}/b")))
    assert (len(data.y_train), len(data.y_test)) == (8, 8)
    assert data.y_val is None


@pytest.mark.parametrize("wrapper", ["", "pets/", "./", "train/"])
def test_without_test_split_a_fifth_of_each_class_is_held_out(
    wrapper: str, image_files: Callable[..., Files], pack: Pack
) -> None:
    data = read(pack(image_files(f"{wrapper}a", f"{wrapper}b", f"{wrapper}c", count=10), "tar"))
    assert data.class_names == ("a", "b", "c")
    assert np.bincount(data.y_train).tolist() == [8, 8, 8]
    assert np.bincount(data.y_test).tolist() == [2, 2, 2]


def test_the_holdout_is_the_same_for_every_container_and_wrapper(
    image_files: Callable[..., Files], place: Place, pack: Pack, tmp_path: Path
) -> None:
    files = image_files("a", "b", count=10)
    wrapped = {f"pets/{name}": content for name, content in files.items()}
    sums = {
        save(read(path), tmp_path / "out").sha256
        for path in (place(files), pack(files, "zip"), pack(wrapped, "tar.gz"))
    }
    assert len(sums) == 1


def test_one_wrapping_folder_and_what_systems_strew_about_are_looked_through(
    image_files: Callable[..., Files], pack: Pack
) -> None:
    files = {f"pets/{name}": content for name, content in image_files(*SPLIT).items()}
    litter = {
        "__MACOSX/pets/train/cat/._00.png": b"resource",
        "pets/.DS_Store": b"x",
        "pets/train/cat/.hidden.png": b"x",
        "pets/train/Thumbs.db": b"x",
        "pets/README.md": b"# Pets",
    }
    assert read(pack(litter | files, "zip")).x_train.shape == (8, 1, 6, 5)


def test_gray_and_colour_together_become_rgb_whichever_comes_first(
    png: Callable[..., bytes], place: Place
) -> None:
    gray = np.arange(30, dtype=np.uint8).reshape(6, 5)
    colour = np.stack([gray, gray + 50, gray + 100], axis=-1)
    for first, second in ((gray, colour), (colour, gray)):
        data = read(
            place(
                {
                    "train/a/0.png": png(first),
                    "train/b/0.png": png(second),
                    "test/a/0.png": png(first),
                    "test/b/0.png": png(second),
                }
            )
        )
        assert data.x_train.shape == (2, 3, 6, 5)
        expected = {2: np.stack([gray] * 3), 3: colour.transpose(2, 0, 1)}
        np.testing.assert_array_equal(data.x_train[0], expected[first.ndim])
        np.testing.assert_array_equal(data.x_train[1], expected[second.ndim])
        np.testing.assert_array_equal(data.x_test, data.x_train)


@pytest.mark.parametrize(
    ("mode", "channels"),
    [("L", 1), ("1", 1), ("LA", 1), ("RGB", 3), ("RGBA", 3), ("P", 3)],
)
def test_every_mode_of_png_is_converted(
    mode: str, channels: int, png: Callable[..., bytes], place: Place
) -> None:
    black_and_white = np.kron([[0, 255], [255, 0]], np.ones((3, 2))).astype(np.uint8)
    blob = png(np.stack([black_and_white] * 3, axis=-1), mode)
    names = ("train/a/0.png", "train/b/0.png", "test/a/0.png", "test/b/0.png")
    data = read(place(dict.fromkeys(names, blob)))
    np.testing.assert_array_equal(data.x_train[0], np.stack([black_and_white] * channels))


def test_a_palette_with_transparency_and_sixteen_bits_are_converted(place: Place) -> None:
    names = ("train/a/0.png", "train/b/0.png", "test/a/0.png", "test/b/0.png")
    palette = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8), "P")
    palette.putpalette([255, 0, 0, 0, 255, 0])
    buffer = io.BytesIO()
    palette.save(buffer, "PNG", transparency=b"\x00\x80")
    data = read(place(dict.fromkeys(names, buffer.getvalue())))
    assert data.x_train[0, :, 0].tolist() == [[255, 127], [255, 255], [255, 127]]
    deep = io.BytesIO()
    Image.fromarray(np.array([[0, 0x1234], [0xFFFF, 0x00FF]], np.uint16)).save(deep, "PNG")
    data = read(place(dict.fromkeys(names, deep.getvalue())))
    assert data.x_train[0, 0].tolist() == [[0, 0x12], [0xFF, 0]]


def test_jpeg_is_read_with_either_suffix(png: Callable[..., bytes], place: Place) -> None:
    flat = png(np.full((16, 16, 3), (10, 200, 100), np.uint8), format="JPEG")
    names = ("train/a/0.jpg", "train/b/0.JPEG", "test/a/0.Jpg", "test/b/0.jpeg")
    data = read(place(dict.fromkeys(names, flat)))
    assert np.abs(data.x_train[0].astype(int).mean(axis=(1, 2)) - (10, 200, 100)).max() < 4


@pytest.mark.parametrize(
    "blob",
    [b"", b"GIF89a not an image of ours", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"text" * 99],
)
def test_a_file_that_is_no_image_is_named(
    blob: bytes, image_files: Callable[..., Files], pack: Pack
) -> None:
    with pytest.raises(DataError, match=r"train/dog/77.png is no readable image") as caught:
        read(pack(image_files(*SPLIT) | {"train/dog/77.png": blob}, "zip"))
    assert caught.value.hint
    assert "0x" not in str(caught.value)  # no memory addresses


def test_an_image_that_is_cut_short_is_refused(
    image_files: Callable[..., Files], png: Callable[..., bytes], place: Place
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8)
    for suffix in ("PNG", "JPEG"):
        blob = png(noise, format=suffix)
        with pytest.raises(DataError, match=r"cut.png is no readable"):
            read(place(image_files(*SPLIT) | {"train/dog/cut.png": blob[: len(blob) * 2 // 3]}))


def test_an_image_larger_than_allowed_is_refused_before_it_is_decoded(
    image_files: Callable[..., Files], png: Callable[..., bytes], place: Place
) -> None:
    bomb = bytearray(png(np.zeros((6, 5), np.uint8)))
    bomb[16:24] = (50_000).to_bytes(4, "big") * 2  # the header's width and height
    bomb[29:33] = zlib.crc32(bomb[12:29]).to_bytes(4, "big")
    with pytest.raises(DataError, match=r"train/dog/bomb.png"):
        read(place(image_files(*SPLIT) | {"train/dog/bomb.png": bytes(bomb)}))
    with pytest.raises(DataError, match="5 × 6 pixels; at most 29"):
        read(place(image_files(*SPLIT)), limits=Limits(max_image_pixels=29))


def test_pixels_over_the_limit_are_refused_however_small_the_files(
    png: Callable[..., bytes], place: Place
) -> None:
    files = {f"{folder}/0.png": png(np.zeros((200, 200), np.uint8)) for folder in SPLIT}
    with pytest.raises(DataError, match="all images of shape") as caught:
        read(place(files), limits=Limits(max_unpacked_bytes=4 * 200 * 200 - 1))
    assert "size: '64x64'" in caught.value.hint
    assert read(place(files), settings={"size": "20"}, limits=Limits(max_unpacked_bytes=4000))


@pytest.mark.parametrize(
    ("folders", "says"),
    [
        (("train/a", "train/b", "test/a", "test/c"), "the class 'c' is tested but has no training"),
        (("train/a", "train/b", "test/a", "val/c"), "the class 'c' is tested but has no training"),
        (("train/a", "train/b", "val/a", "Valid/a"), "which of Valid, val is for testing"),
        (
            ("train/a", "train/b", "test/a", "val/a", "validation/a"),
            "which of val, validation is for validation",
        ),
        (("test/a", "test/b"), "no train folder"),
        (
            ("train/a", "train/b", "test/a", "extra/a"),
            "extra/ is no split as test, train beside it",
        ),
        (("a",), "all images lie in one folder, a"),
        (("train/a", "test/a"), "1 class"),
    ],
)
def test_other_layouts_are_refused_with_what_is_expected(
    folders: tuple[str, ...], says: str, image_files: Callable[..., Files], place: Place
) -> None:
    with pytest.raises(DataError) as caught:
        read(place(image_files(*folders)))
    assert says in str(caught.value)
    assert caught.value.hint


def test_images_of_a_kind_that_is_not_read_are_not_passed_over(
    image_files: Callable[..., Files], place: Place
) -> None:
    with pytest.raises(DataError, match=r"train/cat/x.heic is an image of a kind"):
        read(place(image_files(*SPLIT) | {"train/cat/x.heic": b"ftyp"}))


def test_links_in_a_folder_are_refused(
    image_files: Callable[..., Files], place: Place, tmp_path: Path
) -> None:
    root = place(image_files(*SPLIT))
    (tmp_path / "secret").write_bytes(b"secret")
    (root / "train" / "cat" / "link.png").symlink_to(tmp_path / "secret")
    with pytest.raises(DataError, match=r"train/cat/link.png.*link"):
        read(root)


@pytest.mark.skipif(
    not REAL.exists(), reason="the real CIFAR-10 archive is not beside the checkout"
)
def test_the_first_images_of_the_real_cifar_archive_are_reached_as_a_stream() -> None:
    source = Tar(REAL, Limits(), "xz")
    wanted = [f"train/airplane/{index:04}.jpg" for index in range(3)]
    contents = source.contents(wanted)
    for name in wanted:
        content = next(contents)
        assert content.name == name
        assert Image.open(io.BytesIO(content.read_whole(10_000))).size == (32, 32)
    del contents  # closes the archive
