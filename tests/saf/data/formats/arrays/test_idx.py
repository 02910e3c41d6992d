"""MNIST's files, whole and in every way broken."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from saf.data import Limits, detect, read
from saf.errors import DataError

Files = dict[str, bytes]
Place = Callable[[Mapping[str, bytes]], Path]
Pack = Callable[[Mapping[str, bytes], str], Path]
Idx = Callable[..., bytes]
Mnist = Callable[..., Files]

IMAGES = "train-images-idx3-ubyte"
LABELS = "train-labels-idx1-ubyte"


def images_in(content: bytes, shape: tuple[int, ...]) -> np.ndarray:
    return np.frombuffer(content[-int(np.prod(shape)) :], np.uint8).reshape(shape)


@pytest.mark.parametrize("gz", [False, True])
@pytest.mark.parametrize("kind", ["folder", "zip", "tar.gz", "tar.xz"])
def test_the_four_files_are_read_from_every_container(
    gz: bool, kind: str, mnist: Mnist, place: Place, pack: Pack
) -> None:
    files = mnist(gz=gz)
    path = place(files) if kind == "folder" else pack(files, kind)
    assert detect(path) == "idx"
    data = read(path)
    np.testing.assert_array_equal(data.x_train, images_in(mnist()[IMAGES], (12, 1, 7, 5)))
    np.testing.assert_array_equal(
        data.x_test, images_in(mnist()["t10k-images-idx3-ubyte"], (6, 1, 7, 5))
    )
    assert data.y_train.tolist() == [0, 1, 2] * 4
    assert data.y_test.tolist() == [0, 1, 2] * 2
    assert data.class_names == ("0", "1", "2")


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: name.replace("-idx", ".idx"),
        lambda name: f"FashionMNIST/raw/{name}",
        lambda name: f"qmnist-{name}",
        lambda name: name.replace("t10k", "test").upper(),
    ],
)
def test_files_as_others_name_them_are_found(
    rename: Callable[[str], str], mnist: Mnist, place: Place
) -> None:
    data = read(place({rename(name): content for name, content in mnist().items()}))
    assert data.x_train.shape == (12, 1, 7, 5)


def test_a_fourth_dimension_holds_channels(mnist: Mnist, place: Place) -> None:
    files = mnist(channels=3)
    data = read(place(files))
    np.testing.assert_array_equal(
        data.x_train, images_in(files["train-images-idx4-ubyte"], (12, 3, 7, 5))
    )


def test_unpacked_files_beside_their_packed_originals_are_no_second_data_set(
    mnist: Mnist, place: Place
) -> None:
    assert len(read(place(mnist() | mnist(gz=True))).y_train) == 12


def test_copies_are_left_out_and_two_data_sets_in_one_place_refused(
    mnist: Mnist, place: Place
) -> None:
    files = mnist()
    copies = {f"more/{name}": content for name, content in files.items()}
    data = read(place(files | copies))
    assert len(data.y_train) == 12
    assert len(data.skipped) == 4
    copies[f"more/{IMAGES}"] = copies[f"more/{IMAGES}"][:-1] + b"\7"
    with pytest.raises(DataError, match=r"holds both .* which differ"):
        read(place(files | copies))


def test_without_test_files_a_fifth_is_held_out(mnist: Mnist, place: Place) -> None:
    files = {name: content for name, content in mnist().items() if name.startswith("train")}
    data = read(place(files))
    assert (len(data.y_train), len(data.y_test)) == (9, 3)
    alone = {name.removeprefix("train-"): content for name, content in files.items()}
    np.testing.assert_array_equal(read(place(alone)).x_test, data.x_test)


def test_pictures_of_emnist_are_turned_and_letters_count_from_1(
    mnist: Mnist, idx: Idx, place: Place
) -> None:
    files = mnist()
    for name in (LABELS, "t10k-labels-idx1-ubyte"):
        files[name] = idx(np.frombuffer(files[name][8:], np.uint8) + 1)
    path = place({f"gzip/emnist-letters-{name}": content for name, content in files.items()})
    data = read(path)
    straight = images_in(files[IMAGES], (12, 1, 7, 5))
    np.testing.assert_array_equal(data.x_train, straight.transpose(0, 1, 3, 2))
    assert data.class_names == ("1", "2", "3")
    assert [d.value for d in data.decisions] == ["N W H", "the classes 1, 2, 3"]
    again = read(path, settings={"layout": "N H W"})
    np.testing.assert_array_equal(again.x_train, straight)


def test_labels_of_qmnist_are_the_first_of_their_numbers(mnist: Mnist, place: Place) -> None:
    files = {f"qmnist-{name}": content for name, content in mnist().items()}
    rows = np.zeros((12, 8), ">i4")
    rows[:, 0], rows[:, 1:] = np.arange(12) % 3, 77
    del files[f"qmnist-{LABELS}"]
    head = bytes([0, 0, 0x0C, 2]) + (12).to_bytes(4, "big") + (8).to_bytes(4, "big")
    files["qmnist-train-labels-idx2-int"] = head + rows.tobytes()
    assert read(place(files)).y_train.tolist() == [0, 1, 2] * 4


def test_truncated_idx_file_is_refused_with_its_byte_counts(mnist: Mnist, place: Place) -> None:
    files = mnist()
    files[IMAGES] = files[IMAGES][:-3]
    with pytest.raises(DataError) as caught:
        read(place(files))
    assert str(caught.value) == (
        "train-images-idx3-ubyte: expected 436 bytes (its header says 12 × 7 × 5 values), found 433"
    )
    assert caught.value.hint


def test_truncated_gz_is_refused_with_the_bytes_that_were_in_it(
    mnist: Mnist, idx: Idx, place: Place
) -> None:
    files = mnist(gz=True)
    noise = np.random.default_rng(0).integers(0, 256, (60, 50, 50), np.uint8)
    files[f"{IMAGES}.gz"] = gzip.compress(idx(noise))[:100_000]
    with pytest.raises(DataError, match=r"idx3-ubyte.gz: expected 150016 bytes .* found 9\d{4}$"):
        read(place(files))


@pytest.mark.parametrize("cut", [0, 3, 4, 9])
def test_idx_file_cut_inside_its_header_is_refused(cut: int, mnist: Mnist, place: Place) -> None:
    files = mnist()
    files[IMAGES] = files[IMAGES][:cut]
    with pytest.raises(DataError, match=IMAGES):
        read(place(files))


def test_idx_file_with_more_than_it_announces_is_refused(mnist: Mnist, place: Place) -> None:
    files = mnist()
    files[IMAGES] += b"\0"
    with pytest.raises(DataError, match=r"expected 436 bytes .* found more"):
        read(place(files))


def header(*shape: int) -> bytes:
    return bytes([0, 0, 8, len(shape)]) + b"".join(n.to_bytes(4, "big") for n in shape)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        (IMAGES, b"\x89PNG" + bytes(40), "starts with 89 50 4e 47, not with 00 00"),
        (IMAGES, b"\0\0\x0d\x03" + bytes(40), "type 0x0d; only unsigned bytes"),
        (IMAGES, header(12, 35) + bytes(420), "has 2 dimensions; 3 or 4 expected"),
        (LABELS, header(12, 1) + bytes(12), "has 2 dimensions; 1 expected"),
        (IMAGES, header(12, 2000, 5), "at most 1024 pixels on a side"),
        (IMAGES, header(2**32 - 1, 28, 28), "at most 10000000 are accepted"),
        (IMAGES, header(9_000_000, 1000, 1000), "at most 4.0 GiB are accepted"),
        (IMAGES, header(1000, 1000, 1000), "announces more than 1100 times the"),
        (IMAGES, header(12, 7, 7, 3) + bytes(12 * 147), "different numbers of axes"),
        (IMAGES, header(12, 7, 0), "has the shape (12, 7, 0)"),
        (
            LABELS,
            header(11) + bytes([0, 1] * 5 + [2]),
            "x_train has 12 samples, and there are 11 labels",
        ),
        (LABELS, header(12) + bytes(12), "1 class"),
        (LABELS, header(12) + bytes([0] * 11 + [255]), "the classes are 0, 255"),
        (LABELS, header(0), "train-labels-idx1-ubyte has the shape (0,)"),
    ],
)
def test_idx_file_that_is_not_as_it_should_be_is_refused(
    name: str, content: bytes, says: str, mnist: Mnist, place: Place
) -> None:
    with pytest.raises(DataError) as caught:
        read(place(mnist() | {name: content}))
    assert says in str(caught.value)
    assert caught.value.hint


def test_labels_out_of_range_are_named_with_file_value_index_and_range(
    mnist: Mnist, idx: Idx, place: Place
) -> None:
    files = mnist() | {"t10k-labels-idx1-ubyte": idx([0, 1, 2, 9, 1, 2])}
    with pytest.raises(DataError) as caught:
        read(place(files))
    assert "t10k-labels-idx1-ubyte[3] is 9; labels are in 0…2, as in training" in str(caught.value)


@pytest.mark.parametrize("gz", [False, True])
def test_a_single_idx_file_is_refused_with_what_to_send(
    gz: bool, mnist: Mnist, tmp_path: Path
) -> None:
    for name, says in ((IMAGES, "images without its labels"), (LABELS, "labels without images")):
        path = tmp_path / "upload"
        path.write_bytes(gzip.compress(mnist()[name]) if gz else mnist()[name])
        with pytest.raises(DataError, match=says) as caught:
            read(path)
        assert "t10k-labels-idx1-ubyte" in caught.value.hint


def test_a_missing_file_of_the_four_is_named(mnist: Mnist, place: Place) -> None:
    files = mnist()
    del files["t10k-labels-idx1-ubyte"]
    with pytest.raises(DataError, match="lacks the test labels"):
        read(place(files))


@pytest.mark.parametrize("kind", ["folder", "zip", "tar"])
def test_a_gz_member_that_would_unpack_to_a_bomb_is_refused_before_memory_is_taken(
    kind: str, mnist: Mnist, place: Place, pack: Pack
) -> None:
    files = mnist(gz=True)
    files[f"{IMAGES}.gz"] = gzip.compress(header(80_000, 32, 32) + bytes(100_000))
    path = place(files) if kind == "folder" else pack(files, kind)
    with pytest.raises(DataError, match="announces more than"):
        read(path)


def test_data_after_the_limit_are_not_even_unpacked(mnist: Mnist, place: Place) -> None:
    with pytest.raises(DataError, match="at most 400 bytes"):
        read(place(mnist()), limits=Limits(max_unpacked_bytes=400))
