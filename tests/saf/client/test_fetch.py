"""Well-known data sets, from a server that stands for those of their authors."""

from __future__ import annotations

import gzip
import hashlib
import io
import struct
import sys
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from saf.cli import main as cli
from saf.client.fetch import FetchError, fetch
from saf.data import read
from saf.data.wellknown import KNOWN, RemoteFile, WellKnown, check, pack, steps
from saf.errors import DataError
from tests.api.conftest import Server


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def published(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the address under which it is published."""
    folder = tmp_path / "published"
    folder.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


def idx(array: np.ndarray) -> bytes:
    head = bytes([0, 0, 8, array.ndim]) + b"".join(struct.pack(">I", n) for n in array.shape)
    return gzip.compress(head + array.astype(np.uint8).tobytes())


def publish(folder: Path, address: str) -> WellKnown:
    """A small MNIST in the place of the real one."""
    values = np.random.default_rng(0)
    contents = [
        part
        for count in (40, 20)
        for part in (idx(values.integers(0, 256, (count, 8, 8))), idx(np.arange(count) % 10))
    ]
    files = []
    for file, content in zip(KNOWN["mnist"].files, contents, strict=True):
        (folder / file.name).write_bytes(content)
        files.append(
            RemoteFile(
                name=file.name, url=address + file.name, md5=hashlib.md5(content).hexdigest()
            )
        )
    return replace(KNOWN["mnist"], files=tuple(files))


def saf(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["saf", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


@pytest.mark.slow
def test_a_set_is_downloaded_once_compared_packed_and_uploaded(
    shared: Server,
    published: tuple[Path, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setitem(KNOWN, "mnist", publish(*published))
    assert saf(monkeypatch, "--url", shared.address, "datasets", "fetch", "mnist") == 0
    assert "please cite: Y. LeCun" in capsys.readouterr().out
    assert shared.get("/v1/datasets/mnist")["status"] == "ready"
    for file in published[0].iterdir():
        file.unlink()
    made = tmp_path / "mnist.zip"
    assert saf(monkeypatch, "datasets", "fetch", "mnist", "--to", str(made)) == 0
    assert len(read(made).x_train) == 40, "it was not downloaded again"


def test_without_a_network_it_says_what_to_do_and_goes_on_from_a_folder(
    published: tuple[Path, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    here = publish(*published)
    away = [replace(file, url="http://127.0.0.1:9/" + file.name) for file in here.files]
    monkeypatch.setitem(KNOWN, "mnist", replace(here, files=tuple(away)))
    assert saf(monkeypatch, "datasets", "fetch", "mnist") == 1
    said = capsys.readouterr().err
    for file in away:
        assert f"{file.url}, as {file.name} (MD5 {file.md5})" in said
    assert "saf datasets fetch mnist --from FOLDER" in said
    made = tmp_path / "mnist.zip"
    command = ("datasets", "fetch", "mnist", "--from", str(published[0]), "--to", str(made))
    assert saf(monkeypatch, *command) == 0
    assert len(read(made).x_test) == 20


def test_what_is_not_what_was_published_is_not_kept(
    published: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = publish(*published)
    monkeypatch.setitem(KNOWN, "mnist", entry)
    broken = published[0] / entry.files[2].name
    whole = broken.read_bytes()
    broken.write_bytes(whole[:-9])
    with pytest.raises(FetchError, match="is published with"):
        fetch("mnist")
    broken.write_bytes(whole)
    check(entry, fetch("mnist"))
    broken.unlink()
    with pytest.raises(DataError, match="lacks t10k-images"):
        check(entry, published[0])


def test_the_contents_of_several_zips_become_one(tmp_path: Path) -> None:
    for name in ("Train", "Test"):
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
            archive.writestr(f"{name}/0/1.bin", name.encode())
            archive.writestr(f"__MACOSX/{name}/0/._1.bin", b"litter")
    made = pack(KNOWN["n-mnist"], tmp_path, tmp_path / "all.zip")
    with zipfile.ZipFile(io.BytesIO(made.read_bytes())) as archive:
        assert archive.namelist() == ["Train/0/1.bin", "Test/0/1.bin"]
        assert archive.read("Test/0/1.bin") == b"Test"


def test_a_page_that_lets_no_program_download_is_named(shared: Server) -> None:
    with pytest.raises(FetchError, match="open in a browser https://ibm"):
        fetch("dvs128-gesture")
    listed = {entry["name"]: entry for entry in shared.get("/v1/catalogue")["data"]}
    assert list(listed) == list(KNOWN)
    assert listed["shd"]["licence"] == "CC BY 4.0"
    assert listed["dvs128-gesture"]["steps"] == steps("dvs128-gesture")
    page = shared.http.get("/datasets", headers={"Accept": "text/html"}).text
    assert "saf datasets fetch n-mnist" in page
