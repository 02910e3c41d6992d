"""Well-known data sets that are not built in: where their authors publish them, with checksums and
licences, and what to do to have them here. Nothing in this module uses a network."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import md5
from pathlib import Path
from typing import Literal

from saf.errors import DataError
from saf.files import blocks


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A file as it is published."""

    name: str
    url: str
    md5: str
    """As torchvision, tonic and SpikingJelly publish it: against broken downloads, no signature."""


@dataclass(frozen=True, kw_only=True)
class WellKnown:
    """A data set that many have, and how to make one upload of its files."""

    title: str
    page: str
    """Where its authors describe it."""
    licence: str
    cite: str
    files: tuple[RemoteFile, ...]
    packing: Literal["alone", "together", "contents"]
    """`alone`: the one file is uploaded as it is; `together`: they are packed into one zip;
    `contents`: what is in them, which are zips, is packed into one zip."""
    by_hand: bool = False
    """The page has to be opened in a browser; a program cannot download."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """How its files are to be read, where something else is usual than what the format does."""


_IDX = (
    *("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    *("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
)
_MENDELEY = "https://data.mendeley.com/public-files/datasets/468j46mzdv/files"
_ZENKE = "https://zenkelab.org/datasets"
_GESTURE = "https://ibm.ent.box.com/s/3hiq58ww1pbbjrinh367ykfdf60xsfm8/folder/50167556794"
_HEIDELBERG = (
    "B. Cramer, Y. Stradmann, J. Schemmel, F. Zenke: The Heidelberg spiking data sets for the "
    "systematic evaluation of spiking neural networks, IEEE TNNLS 33, 2744-2757"
)


def _idx(base: str, *sums: str) -> tuple[RemoteFile, ...]:
    return tuple(
        RemoteFile(name=name, url=base + name, md5=sum_)
        for name, sum_ in zip(_IDX, sums, strict=True)
    )


KNOWN: dict[str, WellKnown] = {
    "mnist": WellKnown(
        title="MNIST: handwritten digits, 28 × 28 pixels",
        page="http://yann.lecun.com/exdb/mnist/",
        licence="not stated with the files; see its page",
        cite="Y. LeCun, L. Bottou, Y. Bengio, P. Haffner: Gradient-based learning applied to "
        "document recognition, Proceedings of the IEEE 86 (1998)",
        files=_idx(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "d53e105ee54ea40749a09fcbcd1e9432",
            "9fb629c4189551a2d022fa330f9573f3",
            "ec29112dd5afa0611ce80d1b7f02629c",
        ),
        packing="together",
    ),
    "fashion-mnist": WellKnown(
        title="Fashion-MNIST: pieces of clothing, 28 × 28 pixels",
        page="https://github.com/zalandoresearch/fashion-mnist",
        licence="MIT",
        cite="H. Xiao, K. Rasul, R. Vollgraf: Fashion-MNIST, arXiv:1708.07747",
        files=_idx(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "25c81989df183df01b3e8a0aad5dffbe",
            "bef4ecab320f06d8554ea6380940ec79",
            "bb300cfdad3c16e7a12a480ee83cd310",
        ),
        packing="together",
    ),
    "cifar-10": WellKnown(
        title="CIFAR-10: photographs of 10 classes, 32 × 32 pixels",
        page="https://www.cs.toronto.edu/~kriz/cifar.html",
        licence="not stated with the files; see its page",
        cite="A. Krizhevsky: Learning multiple layers of features from tiny images, 2009",
        files=(
            RemoteFile(
                name="cifar-10-python.tar.gz",
                url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
                md5="c58f30108f718f92721af3b95e74349a",
            ),
        ),
        packing="alone",
    ),
    "cifar-100": WellKnown(
        title="CIFAR-100: photographs of 100 classes, 32 × 32 pixels",
        page="https://www.cs.toronto.edu/~kriz/cifar.html",
        licence="not stated with the files; see its page",
        cite="A. Krizhevsky: Learning multiple layers of features from tiny images, 2009",
        files=(
            RemoteFile(
                name="cifar-100-python.tar.gz",
                url="https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
                md5="eb9058c3a382ffc7106e4002c42a8d85",
            ),
        ),
        packing="alone",
    ),
    "n-mnist": WellKnown(
        title="N-MNIST: MNIST before an event camera, 34 × 34 pixels",
        page="https://www.garrickorchard.com/datasets/n-mnist",
        licence="see its page",
        cite="G. Orchard, A. Jayawant, G. K. Cohen, N. Thakor: Converting static image datasets to "
        "spiking neuromorphic datasets using saccades, Frontiers in Neuroscience 9 (2015)",
        files=(
            RemoteFile(
                name="Train.zip",
                url=f"{_MENDELEY}/39c25547-014b-4137-a934-9d29fa53c7a0/file_downloaded",
                md5="20959b8e626244a1b502305a9e6e2031",
            ),
            RemoteFile(
                name="Test.zip",
                url=f"{_MENDELEY}/05a4d654-7e03-4c15-bdfa-9bb2bcbea494/file_downloaded",
                md5="69ca8762b2fe404d9b9bad1103e97832",
            ),
        ),
        packing="contents",
    ),
    "dvs128-gesture": WellKnown(
        title="DVS128 Gesture: 11 gestures before an event camera, 128 × 128 pixels",
        page="https://research.ibm.com/interactive/dvsgesture/",
        licence="CC BY 4.0",
        cite="A. Amir et al.: A low power, fully event-based gesture recognition system, CVPR 2017",
        files=(
            RemoteFile(
                name="DvsGesture.tar.gz", url=_GESTURE, md5="8a5c71fb11e24e5ca5b11866ca6c00a1"
            ),
        ),
        packing="alone",
        by_hand=True,
    ),
    "shd": WellKnown(
        title="Spiking Heidelberg Digits: spoken digits as spikes of 700 channels",
        page="https://zenkelab.org/resources/spiking-heidelberg-datasets-shd/",
        licence="CC BY 4.0",
        cite=_HEIDELBERG,
        files=(
            RemoteFile(
                name="shd_train.h5.zip",
                url=f"{_ZENKE}/shd_train.h5.zip",
                md5="f3252aeb598ac776c1b526422d90eecb",
            ),
            RemoteFile(
                name="shd_test.h5.zip",
                url=f"{_ZENKE}/shd_test.h5.zip",
                md5="1503a5064faa34311c398fb0a1ed0a6f",
            ),
        ),
        packing="contents",
        settings={"step_ms": "10", "timesteps": "140"},  # the latest spike is at 1.37 s
    ),
    "ssc": WellKnown(
        title="Spiking Speech Commands: 35 spoken words as spikes of 700 channels",
        page="https://zenkelab.org/resources/spiking-heidelberg-datasets-shd/",
        licence="CC BY 4.0",
        cite=_HEIDELBERG,
        files=(
            RemoteFile(
                name="ssc_train.h5.zip",
                url=f"{_ZENKE}/ssc_train.h5.zip",
                md5="d102be95e7144fcc0553d1f45ba94170",
            ),
            RemoteFile(
                name="ssc_valid.h5.zip",
                url=f"{_ZENKE}/ssc_valid.h5.zip",
                md5="b4eee3516a4a90dd0c71a6ac23a8ae43",
            ),
            RemoteFile(
                name="ssc_test.h5.zip",
                url=f"{_ZENKE}/ssc_test.h5.zip",
                md5="a35ff1e9cffdd02a20eb850c17c37748",
            ),
        ),
        packing="contents",
        settings={"step_ms": "10", "timesteps": "100"},  # recordings of 1 s
    ),
}
"""By the names that their data sets get."""


def steps(name: str) -> list[str]:
    """What to do where this machine cannot download: a line each, with addresses and commands."""
    entry = KNOWN[name]
    where = "open in a browser" if entry.by_hand else "download, on a machine that can,"
    return [
        *(f"{where} {file.url}, as {file.name} (MD5 {file.md5})" for file in entry.files),
        f"put {'it' if len(entry.files) == 1 else 'them'} into a folder here, unchanged, and run: "
        f"saf datasets fetch {name} --from FOLDER",
    ]


def check(entry: WellKnown, folder: Path) -> None:
    """Raise DataError unless a folder has the files, each with its checksum."""
    for file in entry.files:
        path = folder / file.name
        if not path.is_file():
            raise DataError(
                f"{folder} lacks {file.name}",
                hint=f"It is at {file.url}; its MD5 is {file.md5}.",
            )
        if (found := _md5(path)) != file.md5:
            raise DataError(
                f"{path} has the MD5 {found}, and is published with {file.md5}",
                hint="Download it again: it was cut short, or is another version.",
            )


def pack(entry: WellKnown, folder: Path, target: Path) -> Path:
    """The one file to upload, of those in `folder`: at `target`, a zip, or the file itself."""
    paths = [folder / file.name for file in entry.files]
    if entry.packing == "alone":
        return paths[0]
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        if entry.packing == "together":
            for path in paths:  # which are compressed already
                archive.write(path, path.name, zipfile.ZIP_STORED)
        else:
            _copy(paths, archive)
    return target


def _copy(paths: Iterable[Path], archive: zipfile.ZipFile) -> None:
    for path in paths:
        try:
            with zipfile.ZipFile(path) as inner:
                for member in inner.infolist():
                    if member.is_dir() or member.filename.startswith("__MACOSX/"):
                        continue
                    with (
                        inner.open(member) as content,
                        archive.open(member.filename, "w", force_zip64=True) as copy,
                    ):
                        for block in blocks(content):
                            copy.write(block)
        except zipfile.BadZipFile as error:
            raise DataError(f"{path} is no zip: {error}", hint="Download it again.") from error


def _md5(path: Path) -> str:
    digest = md5(usedforsecurity=False)
    with path.open("rb") as file:
        for block in blocks(file):
            digest.update(block)
    return digest.hexdigest()
