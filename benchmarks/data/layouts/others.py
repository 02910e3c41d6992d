"""Archives, arrays, tables of pixels, recordings of events."""

from __future__ import annotations

import gzip
import io
import pickle
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.data.layouts.parts import (
    FIRST_OF_TEST,
    Files,
    Layout,
    idx,
    lines,
    many,
    npy,
    npz,
    pixels,
    table,
    tarred,
    zipped,
)

SPLITS = ("train/{c}/{n}.png", "test/{c}/{n}.png")


def stack(count: int = 12, first: int = 0) -> tuple[NDArray[Any], NDArray[Any]]:
    """Images `N H W`, numbered from the first, and labels of three classes."""
    labels = np.arange(count) % 3
    return np.stack([pixels(str(c), first + n)[..., 0] for n, c in enumerate(labels)]), labels


X, Y = stack()
A, B = stack(6, FIRST_OF_TEST)
SPIKES = np.random.default_rng(3).random((12, 20, 12)) > 0.8


def arrays(**changed: Any) -> bytes:
    """An `.npz` of training and test samples, some in another way."""
    return npz(**({"x_train": X, "y_train": Y, "x_test": A, "y_test": B} | changed))


def single(words: str, name: str, content: bytes, *, pictures: bool = False) -> Layout:
    """A layout of one file."""
    return Layout(words, lambda: {name: content}, name, pictures)


def frames(*axes: int) -> bytes:
    """Event frames, samples first."""
    random = np.random.default_rng(0)
    counts = random.poisson(1, (12, *axes)).astype(np.uint8)
    return npz(x_train=counts, y_train=Y, x_test=counts[:6], y_test=B)


def series() -> bytes:
    """Waves of nine channels, channels first."""
    time = np.linspace(0, 6, 128)
    waves = np.stack([np.sin(time * k + n) for n in range(12) for k in range(1, 10)])
    x = waves.reshape(12, 9, 128)
    return npz(x_train=x, y_train=Y, x_test=x[:6], y_test=B)


def four_files() -> Files:
    """An array in each file."""
    named = {"x_train": X, "y_train": Y, "x_test": A, "y_test": B}
    return {f"{name}.npy": npy(array) for name, array in named.items()}


def mnist() -> Files:
    """The four files of MNIST, gzipped."""
    files = {"train-images-idx3-ubyte": X, "train-labels-idx1-ubyte": Y}
    files |= {"t10k-images-idx3-ubyte": A, "t10k-labels-idx1-ubyte": B}
    return {f"{name}.gz": gzip.compress(idx(array), mtime=0) for name, array in files.items()}


def cifar() -> Files:
    """CIFAR-10's pickles."""
    rows = np.zeros((12, 3072), np.uint8) + np.arange(12, dtype=np.uint8)[:, None] * 20
    labels = [n % 10 for n in range(12)]
    one = pickle.dumps({b"data": rows, b"labels": labels}, 2)
    names = pickle.dumps({b"label_names": [f"class {n}".encode() for n in range(10)]}, 2)
    top = "cifar-10-batches-py"
    batches = {f"{top}/data_batch_{n}": one for n in range(1, 6)}
    return batches | {f"{top}/test_batch": one, f"{top}/batches.meta": names}


def pixel_rows(label_last: bool = False) -> bytes:
    """A table of labels and pixels without headings."""
    rows = [[*x.ravel(), y] if label_last else [y, *x.ravel()] for x, y in zip(X, Y, strict=True)]
    return table(*rows)


def recordings(top: str) -> Files:
    """N-MNIST's recordings."""
    random = np.random.default_rng(1)
    files = {}
    for split in ("Train", "Test"):
        for digit in range(2):
            for n in range(3):
                events = b"".join(
                    bytes([x, y, n % 2 << 7, t >> 8, t & 255])
                    for t, (x, y) in enumerate(random.integers(0, 34, (40, 2)).tolist())
                )
                files[f"{top}{split}/{digit}/{n:05}.bin"] = events
    return files


def named_recordings() -> Files:
    """Recordings whose files, and no folders, say the split."""
    parts = {name.lower().partition("/")[::2]: blob for name, blob in recordings("").items()}
    return {rest.replace("/", f"/{split}_"): blob for (split, rest), blob in parts.items()}


def motion() -> Files:
    """UCI HAR: a text for each channel and split."""
    random = np.random.default_rng(3)
    files = {"UCI HAR Dataset/activity_labels.txt": lines(["1 WALKING", "2 SITTING"])}
    for split in ("train", "test"):
        top = f"UCI HAR Dataset/{split}"
        files[f"{top}/X_{split}.txt"] = lines(" ".join(["0.1"] * 30) for _ in range(4))
        files[f"{top}/y_{split}.txt"] = lines(["1", "2"] * 2)
        for axis in "xyz":
            rows = random.normal(size=(4, 16))
            text = lines(" ".join(f"{value:.7e}" for value in row) for row in rows)
            files[f"{top}/Inertial Signals/body_acc_{axis}_{split}.txt"] = text
    return files


def spikes() -> Files:
    """SHD: lists of spikes in HDF5."""
    import h5py

    random = np.random.default_rng(2)
    files = {}
    for split in ("train", "test"):
        buffer = io.BytesIO()
        with h5py.File(buffer, "w") as file:
            for name, kind in (("times", np.float16), ("units", np.uint16)):
                cells = file.create_dataset(f"spikes/{name}", (4,), h5py.vlen_dtype(kind))
                for n in range(4):
                    drawn = random.random(30) if name == "times" else random.integers(0, 700, 30)
                    cells[n] = np.sort(drawn).astype(kind)
            file["labels"] = np.arange(4) % 2
            file["extra/keys"] = np.array([b"zero", b"one"])
        files[f"shd_{split}.h5"] = buffer.getvalue()
    return files


def twice() -> bytes:
    """A tar archive that was compressed, and once more."""
    return gzip.compress(gzip.compress(tarred(many(*SPLITS)), mtime=0), mtime=0)


LABELS = (("train", Y), ("test", B))

ARCHIVES = [
    Layout("`.tar.gz`", lambda: many(*SPLITS), "data.tar.gz"),
    Layout("`.7z`", lambda: many(*SPLITS), "data.7z"),
    single(
        "a zip of macOS: names in UTF-8 without the word for it",
        "data.zip.macos",
        zipped(many(*SPLITS, classes=("Äpfel", "猫")), utf8=False),
        pictures=True,
    ),
    Layout(
        "a zip of .NET: backslashes between folders",
        lambda: many("train\\{c}\\{n}.png", "test\\{c}\\{n}.png"),
    ),
    Layout("an archive in an archive", lambda: {"inner.zip": zipped(many(*SPLITS))}),
    single("RAR", "data.rar", b"Rar!\x1a\x07\x01\x00" + bytes(200)),
    single("an archive that is packed twice", "data.tar.gz.gz", twice()),
    single(
        "two archives in one file, `cat train.tar test.tar`",
        "both.tar.cat",
        tarred(many("train/{c}/{n}.png")) + tarred(many("test/{c}/{n}.png")),
    ),
    single("a web page saved as `data.zip`", "data.html", b"<!DOCTYPE html><html>Sign in"),
    single("a pointer of Git LFS", "data.bin", b"version https://git-lfs.github.com/spec/v1\n"),
    single("a single photo", "photo.png", many("{c}{n}.png", count=1)["cat0.png"]),
]

ARRAYS = [
    single("`x_train y_train x_test y_test`, bytes `N H W`", "data.npz", arrays(), pictures=True),
    single("`x y` alone", "data.npz", npz(x=X, y=Y), pictures=True),
    single(
        "`x y` and a `split` of train and test for each",
        "data.npz",
        npz(
            x=np.concatenate([X, A]), y=np.concatenate([Y, B]), split=["train"] * 12 + ["test"] * 6
        ),
        pictures=True,
    ),
    single(
        "`x y` and a `fold` of 0, 1 and 2 for each",
        "data.npz",
        npz(x=X, y=Y, fold=np.arange(12) // 4),
    ),
    single("an array for each class", "data.npz", npz(ant=X[:6], bee=X[6:])),
    single("`arr_0 arr_1`", "data.npz", npz(arr_0=X, arr_1=Y), pictures=True),
    Layout(
        "`x_train.npy`, `y_train.npy`, … in a zip",
        four_files,
    ),
    Layout(
        'the same with `class_names.json`, `["ant", "bee", "cow"]`',
        lambda: {**four_files(), "class_names.json": b'["ant", "bee", "cow"]'},
        pictures=False,
    ),
    Layout(
        "the same with a `labels.txt` of two lines",
        lambda: {**four_files(), "labels.txt": b"ant\nbee\n"},
        pictures=False,
    ),
    single("labels from 1", "data.npz", arrays(y_train=Y + 1, y_test=B + 1)),
    single(
        "labels one-hot",
        "data.npz",
        arrays(y_train=np.eye(3)[Y], y_test=np.eye(3)[B]),
        pictures=True,
    ),
    single("a test label that training has not", "data.npz", arrays(y_test=B + 1)),
    single("floats from 0 to 1", "data.npz", arrays(x_train=X / 255, x_test=A / 255)),
    single("floats from -1 to 1", "data.npz", arrays(x_train=X / 127.5 - 1, x_test=A / 127.5 - 1)),
    single(
        "floats from -1 to 1 to train on, from 0 to 1 to test on",
        "data.npz",
        arrays(x_train=X / 127.5 - 1, x_test=A / 255),
    ),
    single(
        "labels `cat\\|dog` beside `cat` and `dog`",
        "data.npz",
        arrays(**{f"y_{s}": np.array(("cat", "dog", "cat|dog"))[y] for s, y in LABELS}),
    ),
    single("NaN", "data.npz", arrays(x_train=np.where(X.max() == X, np.nan, X / 255))),
    single("Python objects", "data.npz", npz(x_train=np.array([{}] * 12), y_train=Y)),
    single("`N 3072`", "data.npz", npz(x_train=np.tile(X.reshape(12, -1), 12), y_train=Y)),
    Layout("MNIST's four files, gzipped", mnist, "mnist.zip"),
    Layout("CIFAR-10 in Python", cifar, "cifar-10-python.tar.gz", pictures=False),
    single("a table of pixels, the label first", "data.csv", pixel_rows(), pictures=True),
    Layout(
        "`X_train.txt`, `y_train.txt`, `X_test.txt`, `y_test.txt` of numpy.savetxt",
        lambda: {
            f"{name}.txt": table(*x.reshape(len(x), -1).tolist(), mark=" ")
            for name, x in (("X_train", X), ("y_train", Y), ("X_test", A), ("y_test", B))
        },
    ),
    single(
        "a table of Excel with decimal commas",
        "data.csv",
        table(
            *(
                [y, *(f"{v / 255:.3f}".replace(".", ",") for v in x.ravel())]
                for x, y in zip(X, Y, strict=True)
            ),
            mark=";",
        ),
    ),
    single("a table in UTF-16", "data.csv", pixel_rows().decode().encode("utf-16")),
]

TEMPORAL = [
    single("event frames `N T C H W`", "data.npz", frames(5, 2, 12, 10)),
    single("`N 2 6 H W`: which is time?", "data.npz", frames(2, 6, 12, 10)),
    single(
        "truth values `N 20 12`: images or spikes?",
        "data.npz",
        arrays(x_train=SPIKES, x_test=SPIKES[:6]),
    ),
    single("series `N C T`", "data.npz", series()),
    Layout("N-MNIST as distributed", lambda: recordings("N-MNIST/"), "nmnist.zip", False),
    Layout("SHD as distributed", spikes, "shd.zip", False),
    Layout("sounds in folders of classes", lambda: many("{c}/{n}.wav"), pictures=False),
    Layout(
        "a table for each recording, `x,y,t,p`",
        lambda: dict.fromkeys(many("{c}/{n}.csv"), b"x,y,t,p\n1,2,0,1\n"),
        pictures=False,
    ),
    Layout(
        "images of 100 bytes each in `.bin` files",
        lambda: {name: X[n % 12].tobytes()[:100] for n, name in enumerate(many("{c}/{n}.bin"))},
        pictures=False,
    ),
    Layout("recordings in EDF", lambda: many("{c}/{n}.edf"), pictures=False),
    Layout("UCI HAR as distributed", motion, "har.zip", False),
    Layout(
        "recordings named train_0, test_0 in folders of classes",
        named_recordings,
        "named.zip",
        False,
    ),
    single("one recording alone", "a.aedat", b"#!AER-DAT2.0\r\n" + bytes(80)),
]
