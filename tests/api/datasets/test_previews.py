"""Pictures of data sets over HTTP."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.api.conftest import Server
from tests.waiting import until


def upload(server: Server, name: str, seed: int = 0) -> dict[str, Any]:
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (12, 1, 8, 8), np.uint8)
    labels = np.arange(12) % 3
    file = io.BytesIO()
    np.savez(file, x_train=images, y_train=labels, x_test=images[:3], y_test=labels[:3])
    answer = server.http.post(
        "/v1/datasets", files={"file": ("images.npz", file.getvalue())}, data={"name": name}
    )
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.slow
def test_an_upload_has_a_picture_that_browsers_may_keep(server: Server) -> None:
    dataset = upload(server, "squares")
    preview = server.get(dataset["urls"]["preview"])
    assert preview["rows"] == [0, 1, 2]
    assert preview["steps"] is None
    picture = server.http.get(preview["picture"])
    assert picture.headers["content-type"] == "image/png"
    assert "immutable" in picture.headers["cache-control"]
    assert Image.open(io.BytesIO(picture.content)).size == (preview["width"], preview["height"])
    again = server.http.get(preview["picture"], headers={"If-None-Match": picture.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    by_name = server.http.get("/v1/datasets/squares/preview.png")
    assert by_name.content == picture.content
    assert "immutable" not in by_name.headers["cache-control"]


@pytest.mark.slow
def test_the_picture_goes_with_the_last_data_set_that_shows_it(server: Server) -> None:
    first, second = upload(server, "first"), upload(server, "second")
    picture = server.get(first["urls"]["preview"])["picture"]
    assert server.http.delete(first["urls"]["self"]).status_code == 204
    assert server.http.get(picture).status_code == 404
    kept = server.get(second["urls"]["preview"])["picture"]
    assert server.http.get(kept).status_code == 200
    assert server.http.delete(second["urls"]["self"]).status_code == 204
    store = server.files.directory
    until(lambda: not [path for path in store.rglob("*") if path.is_file()])


def test_built_in_data_sets_have_counts_and_a_picture(shared: Server) -> None:
    dataset = shared.get("/v1/datasets/digits")
    assert sum(dataset["counts"]["per_class"]["train"]) == dataset["counts"]["train"] == 1437
    assert 0 < dataset["statistics"]["mean"][0] < 1
    preview = shared.get(dataset["urls"]["preview"])
    picture = shared.http.get(preview["picture"])
    assert "immutable" in picture.headers["cache-control"]
    assert Image.open(io.BytesIO(picture.content)).size == (preview["width"], preview["height"])


@pytest.mark.slow
def test_a_data_set_says_how_many_jobs_name_it(server: Server) -> None:
    dataset = upload(server, "squares")
    for name in ("squares", "squares", "digits"):
        server.submit(dataset=name)
    listed = {entry["name"]: entry["jobs"] for entry in server.get("/v1/datasets")["data"]}
    assert listed == {"digits": 1, "squares": 2}
    assert server.get(dataset["urls"]["self"])["jobs"] == 2


def test_what_is_not_there_has_no_picture(shared: Server) -> None:
    for path in ("/v1/datasets/nothing/preview", "/v1/datasets/nothing/preview.png"):
        assert shared.http.get(path).status_code == 404
