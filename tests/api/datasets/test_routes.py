from __future__ import annotations

import hashlib
import io
import sys
import threading
import zipfile
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from sqlalchemy import update

from api.datasets import accept, checks
from api.datasets.checks import Checks
from api.datasets.queries import find_facts
from api.settings import Settings
from api.store.tables import Dataset
from saf.data import Dataset as SavedDataset
from saf.data import load, save
from tests.api.conftest import NO_BROKER, Server, serving, until
from tests.api.web.test_problems import check


def npz(*shape: int, labels: int = 2) -> bytes:
    """An .npz whose samples have the shape; 8 to train, 4 to test."""
    values = np.random.default_rng(0)
    buffer = io.BytesIO()
    splits = {"train": 8, "test": 4}
    arrays: dict[str, Any] = {
        f"x_{split}": values.integers(0, 255, (n, *shape), np.uint8) for split, n in splits.items()
    }
    arrays |= {f"y_{split}": np.arange(n) % labels for split, n in splits.items()}
    np.savez(buffer, **arrays)
    return buffer.getvalue()


IMAGES = npz(3, 9, 10)


def upload(server: Server, content: bytes = IMAGES, file: str = "mine.npz", **fields: str) -> Any:
    return server.http.post("/v1/datasets", files={"file": (file, content)}, data=fields)


def leftovers(server: Server) -> list[Path]:
    return list(server.service.part(Checks).directory.glob("*"))


def row(server: Server, **values: Any) -> None:
    """Put a data set into the database without uploading it."""
    facts = {
        "shape": [1, 8, 8],
        "timesteps": None,
        "classes": 3,
        "class_names": ["a", "b", "c"],
        "counts": {"train": 30, "test": 9, "per_class": {}},
        "dtype": "uint8",
        "mean": [0.5],
        "std": [0.25],
    }
    with server.service.database.writing() as session:
        session.add(
            Dataset(
                **{
                    "format": "auto",
                    "status": "ready",
                    "problems": [],
                    "summary": facts | values.pop("summary", {}),
                    "upload_bytes": 100,
                    "created_at": 1.0,
                    **values,
                }
            )
        )


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
def test_what_cannot_be_used_is_refused_with_the_reason_and_leaves_nothing(server: Server) -> None:
    body = check(upload(server, npz(1, 8, 8, labels=1)), 422)
    (error,) = body["errors"]
    assert error["pointer"] == "/file"
    assert "class" in error["detail"]
    assert [entry["name"] for entry in server.get("/v1/datasets")["data"]] == ["digits"]
    assert leftovers(server) == []


@pytest.mark.slow
def test_a_long_check_goes_on_after_the_answer(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accept, "CHECK_WAIT_SECONDS", 0.0)
    good, bad = upload(server, name="good"), upload(server, b"\0", name="bad")
    assert (good.status_code, bad.status_code) == (201, 201)
    assert good.json()["status"] == "checking"
    early = server.http.post("/v1/jobs", json={"dataset": "good"})
    if early.status_code != 201:  # the check may be quicker
        assert check(early, 409)["errors"][0]["pointer"] == "/dataset"

    def ended(response: httpx.Response) -> Any:
        found = server.get(response.json()["urls"]["self"])
        return found if found["status"] != "checking" else None

    assert until(lambda: ended(good))["shape"] == [3, 9, 10]
    refused = until(lambda: ended(bad))
    assert refused["status"] == "invalid"
    assert refused["problems"][0]["message"]
    assert refused["problems"][0]["hint"]
    body = check(server.http.post("/v1/jobs", json={"dataset": "bad"}), 422)
    assert refused["problems"][0]["message"] in body["errors"][0]["detail"]
    again = upload(server, name="bad")
    assert again.status_code == 201, "an invalid upload keeps no name"


@pytest.mark.parametrize(
    ("broken", "status"), [("interpreter", 503), ("storage", 503), ("verdict", 500)]
)
def test_a_check_that_fails_on_our_side_is_not_blamed_on_the_file(
    server: Server, monkeypatch: pytest.MonkeyPatch, broken: str, status: int
) -> None:
    if broken == "interpreter":
        monkeypatch.setattr(sys, "executable", "/nowhere/python")
    elif broken == "storage":
        server.files.directory.write_text("no directory")
    else:
        monkeypatch.setattr(checks, "GRACE_SECONDS", None)
    check(upload(server), status)
    monkeypatch.undo()
    assert [entry["name"] for entry in server.get("/v1/datasets")["data"]] == ["digits"]
    assert leftovers(server) == []


def test_more_uploads_than_may_wait_are_answered_at_once(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.service.part(Checks), "_waiting", threading.BoundedSemaphore(1))
    with server.service.part(Checks)._waiting:
        response = upload(server)
    assert response.status_code == 201
    until(lambda: server.get("/v1/datasets/mine")["status"] == "ready")


def test_a_check_that_was_cut_off_goes_on_when_the_server_starts(
    database_url: str, tmp_path: Path
) -> None:
    settings = Settings(data_dir=tmp_path, database_url=database_url, broker_url=NO_BROKER)
    with serving(settings) as server:
        row(server, id="ds_here", name="here", status="checking", summary={}, created_at=4e9)
        row(server, id="ds_lost", name="lost", status="checking", summary={}, created_at=1.0)
        row(server, id="ds_else", name="else", status="checking", summary={}, created_at=4e9)
        uploads = server.service.part(Checks).directory
    for name in ("ds_here", "ds_stale"):
        (uploads / name / "file").mkdir(parents=True)
        (uploads / name / "file" / "mine.npz").write_bytes(IMAGES)
    with serving(settings) as server:
        until(lambda: server.get("/v1/datasets/here")["status"] != "checking")
        assert server.get("/v1/datasets/here")["shape"] == [3, 9, 10]
        lost = server.get("/v1/datasets/lost")
        assert lost["status"] == "invalid"
        assert "Upload the file again" in lost["problems"][0]["hint"]
        assert server.get("/v1/datasets/else")["status"] == "checking", "another machine's"
        until(lambda: leftovers(server) == [])


def test_a_check_that_has_waited_for_long_on_this_machine_is_not_given_up(
    shared: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go, run, service = threading.Event(), Checks._run, shared.service.part(Checks)

    def waits(self: Checks, *arguments: Any) -> Any:
        assert let_go.wait(30)
        return run(self, *arguments)

    monkeypatch.setattr(Checks, "_run", waits)
    row(shared, id="ds_waits", name="waits", status="checking", created_at=1.0)
    (service.directory / "ds_waits" / "file").mkdir(parents=True)
    (service.directory / "ds_waits" / "file" / "mine.npz").write_bytes(IMAGES)
    service.resume()
    assert shared.get("/v1/datasets/waits")["status"] == "checking"
    let_go.set()
    until(lambda: shared.get("/v1/datasets/waits")["status"] == "ready")


def test_an_upload_that_begins_to_wait_for_an_answer_while_a_server_starts_stays(
    shared: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = shared.service.part(Checks)
    folder = service.directory / "ds_asks" / "file"

    def meanwhile(self: Checks) -> None:
        row(shared, id="ds_asks", name="asks", status="needs_choice")
        folder.mkdir(parents=True)

    monkeypatch.setattr(Checks, "expire", meanwhile)
    service.resume()
    assert folder.is_dir()
    assert shared.http.delete("/v1/datasets/ds_asks").status_code == 204
    assert not folder.exists()


def test_a_name_is_made_of_the_files_without_the_endings_of_archives(shared: Server) -> None:
    for ending in ("tar.zst", "tbz2"):
        sent = upload(shared, IMAGES, f"endings-{ending.replace('.', '-')}.{ending}")
        assert sent.json()["name"] == f"endings-{ending.replace('.', '-')}", sent.text


@pytest.mark.parametrize(
    ("fields", "status", "pointer"),
    [
        ({"layout": "a\x00"}, 422, "/layout"),
        ({"name": "digits"}, 409, "/name"),
        ({"name": "taken"}, 409, "/name"),
        ({"name": "ds_01"}, 422, "/name"),
        ({"name": "a/b"}, 422, "/name"),
        ({"name": "../a"}, 422, "/name"),
        ({"name": "a\x00"}, 422, "/name"),
        ({"name": "a" * 201}, 422, "/name"),
        ({"name": "a" * 2000}, 422, "/name"),
        ({"format": "excel"}, 422, "/format"),
        ({"labels": "1"}, 422, "/labels"),
    ],
)
def test_wrong_fields_of_an_upload_are_named(
    uploads: Server, fields: dict[str, str], status: int, pointer: str
) -> None:
    body = check(upload(uploads, b"", **fields), status)
    assert [error["pointer"] for error in body["errors"]] == [pointer]
    assert leftovers(uploads) == []


@pytest.fixture(scope="module")
def uploads(shared: Server) -> Server:
    row(shared, id="ds_1", name="taken")
    return shared


def form(*parts: str, end: str = "--b--\r\n") -> dict[str, Any]:
    body = "".join(f"--b\r\nContent-Disposition: form-data; {part}\r\n" for part in parts) + end
    return {"content": body, "headers": {"content-type": "multipart/form-data; boundary=b"}}


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (form('name="file"; filename="a"\r\n\r\nabc', end=""), 400),
        (form('name="name"\r\n\r\nabc'), 422),
        (form('name="file"\r\n\r\nabc'), 422),
        (form('name="file"; filename="a"\r\n\r\na', 'name="file"; filename="b"\r\n\r\nb'), 422),
        (form(*['name="name"\r\n\r\na'] * 11), 422),
        (form("\r\n\r\n"), 422),
        ({"content": b"garbage", "headers": form()["headers"]}, 400),
        ({"content": b"", "headers": form()["headers"]}, 400),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 415),
        ({"content": b"x", "headers": {"content-type": "application/zip"}}, 415),
        ({"json": {}}, 422),
    ],
)
def test_a_broken_form_is_refused(uploads: Server, request_: dict[str, Any], status: int) -> None:
    check(uploads.http.post("/v1/datasets", **request_), status)
    assert leftovers(uploads) == []


@pytest.mark.parametrize("stated", [True, False])
def test_an_upload_beyond_the_limit_is_refused_while_it_is_read(
    tmp_path: Path, stated: bool
) -> None:
    settings = Settings(data_dir=tmp_path, broker_url=NO_BROKER, upload_max_bytes=100_000)
    body = form(f'name="file"; filename="a"\r\n\r\n{"x" * 150_000}')
    content = body["content"].encode()
    pieces = content if stated else (content[i : i + 10_000] for i in range(0, 150_000, 10_000))
    with serving(settings) as server:
        response = server.http.post("/v1/datasets", content=pieces, headers=body["headers"])
        assert check(response, 413)["code"] == "too_large"
        assert leftovers(server) == []


def test_the_same_name_at_the_same_moment_is_taken_once(server: Server) -> None:
    barrier = threading.Barrier(3)
    statuses: list[int] = []

    def send() -> None:
        barrier.wait()
        statuses.append(upload(server, name="race").status_code)

    threads = [threading.Thread(target=send) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [201, 409, 409]
    assert leftovers(server) == []


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


@pytest.mark.parametrize(
    ("summary", "change", "pointer", "says"),
    [
        ({"timesteps": 4}, {"timesteps": 6}, "/timesteps", "set timesteps to 4"),
        (
            {"timesteps": 4, "dtype": "float32"},
            {"timesteps": 4, "conversion": {"grid_bits": 8}},
            "/conversion/grid_bits",
            "set grid_bits to null",
        ),
        ({"shape": [3, 12, 128]}, {"network": {"name": "vgg11"}}, "/network", "12 × 128"),
        ({"shape": [65, 8, 8]}, {}, "/network", "1 to 64 channels"),
        ({"classes": 20_000}, {}, "/dataset", "2 to 10000 classes"),
    ],
)
def test_a_data_set_that_the_network_cannot_take_is_refused(
    shared: Server, summary: dict[str, Any], change: dict[str, Any], pointer: str, says: str
) -> None:
    name = f"{pointer[1:]} {says[:20]}".replace("×", "x")
    row(shared, id=f"ds_{abs(hash(name))}", name=name, summary=summary)
    body = check(shared.http.post("/v1/jobs", json={"dataset": name, **change}), 422)
    assert body["errors"][0]["pointer"] == pointer
    assert says in body["errors"][0]["detail"]


def test_event_frames_of_the_right_number_are_accepted(shared: Server) -> None:
    row(shared, id="ds_events", name="events", summary={"timesteps": 4, "shape": [2, 16, 16]})
    shared.submit(dataset="events", timesteps=4)
    shared.submit(dataset="events", timesteps=4, conversion={"grid_bits": "auto"})


def test_the_row_of_a_data_set_deleted_during_its_check_leaves_no_file(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accept, "CHECK_WAIT_SECONDS", 0.0)
    found = upload(server).json()
    with server.service.database.writing() as session:
        session.execute(update(Dataset).values(status="checking"))
    assert server.http.delete(found["urls"]["self"]).status_code == 204
    until(lambda: leftovers(server) == [])
    files = server.files.directory.rglob("*")
    assert [path for path in files if path.is_file()] == []


def canonical(tmp_path: Path, x: np.ndarray, unit: int = 255) -> bytes:
    y = np.arange(len(x)) % 2
    saved = SavedDataset(x, y, x[:4], y[:4], ("a", "b"), unit=unit)
    save(saved, tmp_path / "d.safetensors")
    return (tmp_path / "d.safetensors").read_bytes()


def test_series_are_kept_and_shown_and_a_job_on_them_needs_a_network_for_them(
    shared: Server, tmp_path: Path
) -> None:
    x = np.random.default_rng(1).normal(size=(8, 12, 3)).astype(np.float32)
    found = upload(shared, canonical(tmp_path, x), "series.safetensors", name="series").json()
    assert (found["status"], found["kind"]) == ("ready", "series")
    assert (found["shape"], found["timesteps"]) == ([3, 1, 1], 12)
    page = shared.http.get("/datasets/series").text
    assert "One series" in page
    assert "12 time steps" in page
    assert shared.http.get("/v1/datasets/series/preview.png").status_code == 200
    for changes, pointer, said in (
        ({"network": {"name": "convnet"}}, "/network", "use mlp"),
        ({"timesteps": 6}, "/timesteps", "set timesteps to 12"),
        ({"conversion": {"grid_bits": 8}}, "/conversion/grid_bits", "series of any values"),
        ({"augment": ["flip"]}, "/augment/0", "flip changes the places of pixels"),
    ):
        body = {"dataset": "series", "network": {"name": "mlp"}, **changes}
        problem = check(shared.http.post("/v1/jobs", json=body), 422)
        assert problem["errors"][0]["pointer"] == pointer
        assert said in problem["detail"]
    body = {"dataset": "series", "network": {"name": "mlp"}}
    told = shared.http.post("/v1/jobs", params={"validate_only": True}, json=body).json()
    assert told["specification"]["timesteps"] == 12
    assert {"pointer": "/timesteps", "value": 12} in told["automatic"]
    assert told["neurons"] == 1024
    job = shared.http.post("/v1/jobs", json=body).json()
    page = shared.http.get(f"/jobs/{job['id']}").text
    assert 'accept=".csv,.txt,.npy"' in page
    assert "A row for each of 12 time steps, a column for each of 3 channels" in page
    assert shared.http.post(f"/v1/jobs/{job['id']}/cancel").status_code in (200, 202)


@pytest.mark.parametrize(("unit", "is_bounded"), [(1, False), (255, True)])
def test_event_frames_in_bytes_are_bounded_where_they_are_no_counts(
    shared: Server, tmp_path: Path, unit: int, is_bounded: bool
) -> None:
    x = np.random.default_rng(2).poisson(1.0, (8, 4, 2, 5, 6)).astype(np.uint8)
    name = f"events-{unit}"
    sent = upload(shared, canonical(tmp_path, x, unit), "events.safetensors", name=name)
    assert sent.json()["kind"] == "events"
    with shared.service.database.reading() as session:
        assert find_facts(session, name).is_bounded is is_bounded


def recordings() -> bytes:
    """N-MNIST's layout: three recordings of each of two digits, 40 events each."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for split, rows in (("Train", range(3)), ("Test", range(3, 5))):
            for digit in range(2):
                for index in rows:
                    content = b"".join(
                        bytes([4 * digit + index, 7, (t % 2) << 7, t, 0]) for t in range(40)
                    )
                    archive.writestr(f"{split}/{digit}/{index:05d}.bin", content)
    return buffer.getvalue()


def test_recordings_of_events_are_binned_as_the_form_says_and_tell_how(shared: Server) -> None:
    said = {"timesteps": "4", "bin_by": "count", "size": "17x17"}
    found = upload(shared, recordings(), "NMNIST.zip", name="nmnist", **said).json()
    assert (found["status"], found["kind"], found["format"]) == ("ready", "events", "event-bin")
    assert (found["shape"], found["timesteps"]) == ([2, 17, 17], 4)
    decided = {each["setting"]: each["value"] for each in found["decisions"]}
    assert decided["bin_by"] == "count"
    assert decided["sensor"] == "34x34"
    assert shared.http.get("/v1/datasets/nmnist/preview").json()["steps"] == [1, 2, 3, 4]
    job = shared.http.post("/v1/jobs", json={"dataset": "nmnist", "timesteps": 4})
    assert job.status_code == 201, job.text
    refused = upload(shared, recordings(), "b.zip", name="nmnist-2", bin_by="colour")
    assert "bin_by" in refused.text
