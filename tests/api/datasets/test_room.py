"""Data sets are bounded by what they unpack to, for a user and for all."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from api.settings import Settings
from tests.api.conftest import NO_BROKER, Server, serving
from tests.api.datasets.test_routes import upload
from tests.api.web.test_limits import as_user
from tests.api.web.test_problems import check


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings = Settings(
        data_dir=tmp_path_factory.mktemp("room"),
        broker_url=NO_BROKER,
        trusted_proxies=("127.0.0.1",),
        datasets_max_bytes_per_user=1_500_000,
        datasets_max_bytes=2_500_000,
    )
    with serving(settings) as server:
        yield server


def light(samples: int, shade: int) -> bytes:
    """An upload of some kilobytes, of samples that take 10,000 bytes each."""
    x = np.full((samples, 1, 100, 100), shade, np.uint8)
    x[:, 0, 0, 0] = np.arange(samples)
    x[:, 0, 1, 1] = 255
    buffer = io.BytesIO()
    y = np.arange(samples) % 2
    np.savez_compressed(buffer, x_train=x, y_train=y, x_test=x[:2], y_test=y[:2])
    return buffer.getvalue()


def send(server: Server, user: str, name: str, samples: int, shade: int) -> Any:
    file = {"file": ("light.npz", light(samples, shade))}
    return server.http.post("/v1/datasets", files=file, data={"name": name}, headers=as_user(user))


@pytest.mark.slow
def test_what_unpacks_to_more_than_a_user_or_all_may_have_is_refused(small: Server) -> None:
    one, two, three = (f"192.0.2.{n}" for n in (40, 41, 42))
    first = send(small, one, "first", 100, 1)
    assert first.status_code == 201, first.text
    refused = check(send(small, one, "second", 100, 2), 422)
    assert "the data sets of 192.0.2.40 take" in refused["detail"]
    assert "SAF_DATASETS_MAX_BYTES_PER_USER" in refused["detail"]
    assert small.http.get("/v1/datasets/second").status_code == 404
    assert send(small, two, "second", 120, 3).status_code == 201
    refused = check(send(small, three, "third", 100, 4), 422)
    assert "all data sets take" in refused["detail"]
    assert send(small, three, "third", 20, 5).status_code == 201
    assert small.http.delete("/v1/datasets/second").status_code == 204
    assert send(small, one, "fourth", 40, 6).status_code == 201


@pytest.mark.slow
def test_sparse_event_frames_that_compress_a_thousandfold_are_no_bomb(shared: Server) -> None:
    x = np.zeros((400, 10, 2, 128, 128), np.uint8)  # 125 MiB
    x[:, :, 0, 5, 5] = 1
    x[::2, 3, 1, 9, 9] = 2
    buffer = io.BytesIO()
    y = np.arange(400) % 2
    np.savez_compressed(buffer, x_train=x, y_train=y, x_test=x[:4], y_test=y[:4])
    content = buffer.getvalue()
    assert x.nbytes > 300 * len(content)
    response = upload(shared, content, "sparse.npz", layout="N T C H W")
    assert response.status_code == 201, response.text
