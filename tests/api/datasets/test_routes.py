"""Data sets over HTTP: the catalogue, uploads, their documents and pages."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import pytest

from api.datasets.queries import find_facts
from api.store.tables.uploads import Dataset
from saf.data import load
from tests.api.conftest import Server
from tests.api.datasets.uploading import IMAGES, leftovers, row, upload
from tests.api.web.test_problems import check


def test_the_catalogue_comes_first_and_is_known_by_name(server: Server) -> None:
    row(server, id="ds_1", name="mine")
    row(server, id="ds_2", name="newer")
    listed = server.get("/v1/datasets")
    assert [entry["name"] for entry in listed["data"]] == ["digits", "newer", "mine"]
    digits = server.get("/v1/datasets/digits")
    assert digits == listed["data"][0]
    assert (digits["builtin"], digits["status"]) == (True, "ready")
    assert (digits["shape"], digits["classes"]) == ([1, 8, 8], 10)
    assert (digits["counts"]["train"], digits["counts"]["test"]) == (1437, 360)
    assert server.get("/v1/datasets/mine") == server.get("/v1/datasets/ds_1")
    page = server.get("/v1/datasets", limit=1)
    assert ([entry["name"] for entry in page["data"]], page["has_more"]) == (
        ["digits", "newer"],
        True,
    )
    rest = server.get("/v1/datasets", limit=1, after=page["last_id"])
    assert ([entry["name"] for entry in rest["data"]], rest["has_more"]) == (["mine"], False)


@pytest.mark.slow
def test_an_upload_is_checked_stored_and_can_be_trained_on(server: Server) -> None:
    response = upload(server, file="my set.npz")
    assert response.status_code == 201, response.text
    found = response.json()
    assert response.headers["location"] == found["urls"]["self"]
    assert (found["name"], found["status"], found["problems"]) == ("my set", "ready", [])
    assert (found["shape"], found["timesteps"], found["classes"]) == ([3, 9, 10], None, 2)
    assert (found["counts"]["train"], found["counts"]["test"]) == (8, 4)
    assert len(found["statistics"]["mean"]) == len(found["statistics"]["std"]) == 3
    assert found["bytes"] == len(IMAGES)
    assert server.get(found["urls"]["self"]) == found
    with server.service.database.reading() as session:
        sha256 = session.get_one(Dataset, found["id"]).sha256
    assert sha256 is not None
    stored = server.files.path(sha256)
    assert hashlib.sha256(stored.read_bytes()).hexdigest() == sha256
    assert load(stored).x_train.shape == (8, 3, 9, 10)
    assert leftovers(server) == []
    for name in (found["id"], "my set"):
        job = server.submit(dataset=name)
        assert job["specification"]["dataset"] == name
    assert len(server.get("/v1/jobs", dataset=found["id"])["data"]) == 2


@pytest.mark.slow
def test_a_validation_split_is_stored_counted_and_shown(server: Server) -> None:
    with np.load(io.BytesIO(IMAGES)) as file:
        arrays = dict(file) | {"x_val": file["x_train"][:3], "y_val": np.array([1, 0, 1])}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    response = upload(server, buffer.getvalue(), name="split")
    assert response.status_code == 201, response.text
    counts = response.json()["counts"]
    assert (counts["train"], counts["val"], counts["test"]) == (8, 3, 4)
    assert counts["per_class"]["val"] == [1, 2]
    with server.service.database.reading() as session:
        assert find_facts(session, "split").val == 3
        sha256 = session.get_one(Dataset, response.json()["id"]).sha256
    assert sha256 is not None
    y_val = load(server.files.path(sha256)).y_val
    assert y_val is not None
    assert y_val.tolist() == [1, 0, 1]
    page = server.http.get("/datasets/split", headers={"Accept": "text/html"}).text
    assert "8 to train, 3 to validate, 4 to test" in page
    assert ">Validation</th>" in page
    digits = server.http.get("/datasets/digits", headers={"Accept": "text/html"}).text
    assert "1,437 to train, none of its own to validate, 360 to test" in digits
    assert ">Validation</th>" not in digits


@pytest.mark.slow
def test_what_is_odd_about_a_data_set_stands_in_its_document_and_on_its_page(
    server: Server,
) -> None:
    with np.load(io.BytesIO(IMAGES)) as file:
        arrays = dict(file) | {"x_test": file["x_train"][:4]}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    found = upload(server, buffer.getvalue(), name="leak").json()
    codes = [finding["code"] for finding in found["findings"]]
    assert codes == ["test_in_training", "few_samples", "few_samples"]
    first = found["findings"][0]
    assert first["message"].startswith("all 4 of 4 test samples are also training samples")
    page = server.http.get("/datasets/leak", headers={"Accept": "text/html"}).text
    for finding in found["findings"]:
        assert f"{finding['message']}. {finding['hint']}" in page
    assert server.get("/v1/datasets/digits")["findings"] == []
    digits = server.http.get("/datasets/digits", headers={"Accept": "text/html"}).text
    assert 'id="findings"' not in digits


@pytest.mark.slow
def test_what_nothing_can_be_learnt_of_says_so_first(server: Server) -> None:
    with np.load(io.BytesIO(IMAGES)) as file:
        arrays = dict(file) | {"x_train": np.full_like(file["x_train"], 200)}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    found = upload(server, buffer.getvalue()).json()
    assert found["findings"][0]["code"] == "equal_samples"
    page = server.http.get(found["urls"]["page"], headers={"Accept": "text/html"}).text
    assert "all 8 training samples are equal: there is nothing to learn" in page


def test_data_sets_from_before_there_were_validation_splits_have_none(server: Server) -> None:
    row(server, id="ds_1", name="old")
    assert server.get("/v1/datasets/old")["findings"] is None
    counts = server.get("/v1/datasets/old")["counts"]
    assert (counts["train"], counts["val"], counts["test"]) == (30, 0, 9)
    assert counts["per_class"]["val"] == [0, 0, 0]
    with server.service.database.reading() as session:
        assert find_facts(session, "old").val == 0
        assert find_facts(session, "digits").val == 0


@pytest.mark.slow
def test_a_data_set_stays_while_an_unfinished_job_needs_it(server: Server) -> None:
    dataset = upload(server).json()
    with server.service.database.reading() as session:
        sha256 = session.get_one(Dataset, dataset["id"]).sha256
    assert sha256 is not None
    job = server.submit(dataset="mine")
    refused = check(server.http.delete(dataset["urls"]["self"]), 409)
    assert job["id"] in refused["detail"]
    server.fail(server.run())
    assert server.http.delete(dataset["urls"]["self"]).status_code == 204
    assert not server.files.path(sha256).exists()
    assert server.get(job["urls"]["self"])["status"] == "failed"
    check(server.http.get(dataset["urls"]["self"]), 404)
    check(server.http.post(f"{job['urls']['self']}/retry"), 422)
    row(server, id="ds_other", name="mine")
    refused = check(server.http.post(f"{job['urls']['self']}/retry"), 409)
    assert "deleted" in refused["detail"]
    check(server.http.delete("/v1/datasets/digits"), 409)
    check(server.http.delete("/v1/datasets/ds_nothing"), 404)
