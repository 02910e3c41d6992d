"""No question ends the process in which networks are tried, and none blames memory falsely."""

from __future__ import annotations

import base64
import io
import os
import signal
import struct
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from api.jobs.results.predict_process import Predictor
from api.settings import Settings
from saf.data import Limits, read
from saf.errors import DataError
from saf.lif.network import LIFNetwork
from tests.api.conftest import NO_BROKER, Server, serving
from tests.api.jobs.results.test_predict import network, succeeded

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str, int]]:
    """A server, the address at which a job predicts, and the process that runs its network."""
    data = tmp_path_factory.mktemp("predictions")
    with serving(Settings(data_dir=data, broker_url=NO_BROKER)) as server:
        path = succeeded(server, data, network())
        assert server.http.post(path, json={"sample": 0}).status_code == 200
        pid = server.service.part(Predictor).pid
        assert pid is not None
        yield server, path, pid


def claims(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header tells of that many pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checked = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checked)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 1000)
    parts = ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def frames(count: int, side: int) -> bytes:
    """One PNG of many frames."""
    file = io.BytesIO()
    images = [Image.new("L", (side, side), color=number % 2) for number in range(count)]
    images[0].save(file, "PNG", save_all=True, append_images=images[1:])
    return file.getvalue()


QUESTIONS: dict[str, dict[str, Any]] = {
    "a number of many digits": {"pixels": [[[10**400] * 8] * 8]},
    "a number beyond float32": {"pixels": [[[1e308] * 8] * 8]},
    "texts": {"pixels": [[["one"] * 8] * 8]},
    "objects": {"pixels": [{"a": 1}]},
    "lists of all lengths": {"pixels": [[1], [2, 3], 4]},
    "nothing": {"pixels": []},
    "deep lists": {"pixels": [[[[[[[[1]]]]]]]]},
    "no base64": {"image": "%%%"},
    "no image": {"image": base64.b64encode(b"x" * 1000).decode()},
    "a picture that claims 50000 x 50000": {
        "image": base64.b64encode(claims(50_000, 50_000)).decode()
    },
    "a picture that claims 2^31 pixels on a side": {
        "image": base64.b64encode(claims(2**31 - 1, 1)).decode()
    },
    "a picture that ends early": {"image": base64.b64encode(claims(4000, 4000)).decode()},
    "a sample that is none": {"sample": 2**31 - 1},
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_hostile_question_is_refused_and_the_process_lives(
    warm: tuple[Server, str, int], question: str
) -> None:
    server, path, pid = warm
    answer = server.http.post(path, json=QUESTIONS[question])
    assert answer.status_code == 422, answer.text
    assert "memory" not in answer.json()["detail"]
    assert server.service.part(Predictor).pid == pid
    assert server.http.post(path, json={"sample": 0}).status_code == 200


def test_of_a_picture_with_many_frames_the_first_is_shown(warm: tuple[Server, str, int]) -> None:
    server, path, pid = warm
    image = base64.b64encode(frames(300, 64)).decode()
    assert server.http.post(path, json={"image": image}).status_code == 200
    assert server.service.part(Predictor).pid == pid


def test_a_network_whose_scores_are_no_numbers_is_said_to_be_so(
    warm: tuple[Server, str, int], tmp_path: Path
) -> None:
    server, _, pid = warm
    good = network()
    huge = {name: torch.full_like(tensor, 3e38) for name, tensor in good.tensors.items()}
    path = succeeded(server, tmp_path, LIFNetwork(good.description, huge))
    answer = server.http.post(path, json={"sample": 0})
    assert answer.status_code == 422
    assert "no finite numbers" in answer.json()["detail"]
    assert "memory" not in answer.json()["detail"]
    assert server.service.part(Predictor).pid == pid


def test_a_process_that_ends_by_a_defect_is_not_blamed_on_memory(
    warm: tuple[Server, str, int],
) -> None:
    server, path, _ = warm
    pid = server.service.part(Predictor).pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)  # so that it is asked before it ends
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(server.http.post, path, json={"sample": 0})
        time.sleep(0.5)
        os.kill(pid, signal.SIGSEGV)
        os.kill(pid, signal.SIGCONT)
        answer = asked.result()
    if answer.status_code == 503:
        assert "SIGSEGV" in answer.json()["detail"]
        assert "memory" not in answer.json()["detail"]
    assert server.http.post(path, json={"sample": 0}).status_code == 200


def test_many_small_pictures_of_many_pixels_are_a_bomb(tmp_path: Path) -> None:
    """Each passes; together they are 800 MB of pixels out of less than 1 MB."""
    black = io.BytesIO()
    Image.new("L", (1024, 1024)).save(black, "PNG")
    for name in ("a", "b"):
        folder = tmp_path / "bomb" / "train" / name
        folder.mkdir(parents=True)
        for number in range(400):
            (folder / f"{number}.png").write_bytes(black.getvalue())
    with pytest.raises(DataError, match="as a decompression bomb does"):
        read(tmp_path / "bomb", limits=Limits(max_ratio=200.0))
