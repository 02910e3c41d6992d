"""Uploads that can be read in more than one way: they wait for an answer, which can come later."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import update

from api.datasets import choices
from api.datasets.checks import Checks
from api.maintenance.leftovers import Leftovers
from api.maintenance.retention import Retention
from api.settings import Settings
from api.store.tables.uploads import Dataset
from saf.data import load
from tests.api.conftest import NO_BROKER, Server, serving
from tests.api.datasets.asking import grid, interpreter
from tests.api.datasets.uploading import row
from tests.api.web.test_problems import check


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(interpreter(tmp_path_factory.mktemp("environment")))


@pytest.fixture(scope="module")
def asking(python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose checks know a format that asks."""
    settings = Settings(data_dir=tmp_path_factory.mktemp("asking"), broker_url=NO_BROKER)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", python)
        with serving(settings) as server:
            yield server


TUS = {"Tus-Resumable": "1.0.0"}


def upload(server: Server, name: str, **more: Any) -> Any:
    file = {"file": ("grid.bin", grid())}
    headers = more.pop("headers", {})
    return server.http.post(
        "/v1/datasets", files=file, data={"name": name, **more}, headers=headers
    )


def answer(server: Server, dataset: str, **choices: Any) -> Any:
    return server.http.post(f"/v1/datasets/{dataset}/choices", json=choices)


def samples(server: Server, dataset_id: str) -> Any:
    with server.service.database.reading() as session:
        sha256 = session.get_one(Dataset, dataset_id).sha256
    assert sha256 is not None
    return load(server.files.path(sha256)).x_train


@pytest.mark.slow
def test_an_ambiguous_upload_is_kept_asks_with_pictures_and_is_read_as_answered(
    asking: Server,
) -> None:
    response = upload(asking, "ambiguous")
    assert response.status_code == 201, response.text
    found = response.json()
    assert (found["status"], found["problems"], found["shape"]) == ("needs_choice", [], None)
    (question,) = found["questions"]
    assert (question["setting"], question["asks"]) == ("layout", "Which axes has the grid?")
    assert [each["value"] for each in question["candidates"]] == ["N C H W", "N H W C"]
    shades = []
    for candidate in question["candidates"]:
        picture = asking.http.get(candidate["picture"])
        assert picture.headers["content-type"] == "image/png"
        shades.append(Image.open(io.BytesIO(picture.content)).getpixel((0, 0)))
    assert shades == [10, 240], "each candidate has its own picture"
    read = answer(asking, found["id"], layout="N H W C")
    assert read.status_code == 200, read.text
    assert (read.json()["status"], read.json()["questions"]) == ("ready", [])
    assert read.json()["settings"] == {"layout": "N H W C"}
    assert read.json()["decisions"] == [
        {"setting": "", "value": "bytes", "why": "the grid holds bytes"}
    ]
    first = bytearray(grid()[4:31])
    assert samples(asking, found["id"])[0, 1].tobytes() == first[1::3], "channels were last"
    assert not (asking.service.part(Checks).directory / found["id"]).exists()
    assert asking.http.get(question["candidates"][0]["picture"]).status_code == 404


def test_a_job_on_an_unanswered_upload_is_refused_with_the_question(asking: Server) -> None:
    upload(asking, "unanswered")
    refused = asking.http.post("/v1/jobs", json={"dataset": "unanswered"})
    problem = check(refused, 409)
    assert "Which axes has the grid?" in problem["detail"]
    assert "/choices" in problem["detail"]
    assert problem["errors"][0]["pointer"] == "/dataset"


def test_the_request_can_say_it_all_at_once(asking: Server) -> None:
    response = upload(asking, "said", layout="nchw", on_damaged="skip")
    assert response.status_code == 201, response.text
    found = response.json()
    assert (found["status"], found["shape"]) == ("ready", [3, 3, 3])
    assert found["skipped"] == {"count": 1, "files": ["bad.png: cut short"]}
    page = asking.http.get("/datasets/said", headers={"Accept": "text/html"}).text
    assert "1 file was left out" in page
    assert "bad.png: cut short" in page
    assert "you said so" in page
    assert "the grid holds bytes" in page


@pytest.mark.slow
def test_settings_that_cannot_be_are_refused_at_their_field(asking: Server) -> None:
    for setting, value, says in (
        ("split", "holdout", "'split'. Its settings are layout, on_damaged"),
        ("layout", "N Q", "name each axis once"),
        ("on_damaged", "perhaps", "'refuse' or 'skip'"),
    ):
        problem = check(upload(asking, "wrong", **{setting: value}), 422)
        assert problem["errors"][0]["pointer"] == f"/{setting}"
        assert says in problem["errors"][0]["detail"], problem["errors"]
    problem = check(upload(asking, "wrong", colour="red"), 422)
    known = problem["errors"][0]["detail"].partition("known are ")[2].split(", ")
    assert {"file", "format", "labels_from", "name"} <= set(known)
    assert asking.http.get("/v1/datasets/wrong").status_code == 404


@pytest.mark.slow
def test_an_answer_that_does_not_fit_is_refused_and_another_one_may_follow(asking: Server) -> None:
    dataset = upload(asking, "tried").json()["id"]
    problem = check(answer(asking, dataset, layout="N W H C"), 422)
    assert problem["errors"][0]["pointer"] == "/layout"
    assert "N C H W or N H W C" in problem["detail"]
    still = asking.get(f"/v1/datasets/{dataset}")
    assert (still["status"], still["settings"]) == ("needs_choice", {})
    assert len(still["questions"]) == 1
    problem = check(answer(asking, dataset, colour="red"), 422)
    assert problem["errors"][0]["pointer"] == "/colour"
    assert answer(asking, dataset, layout="N C H W").json()["status"] == "ready"
    assert asking.get(f"/v1/datasets/{dataset}")["problems"] == []


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ('{"layout": NaN}', "no number"),
        ('{"layout": -1e999}', "no number"),
        ('{"layout": "%s"}' % ("N" * 1001), "longer than 1000 bytes"),
        (r'{"layout": "\u0000"}', "NUL"),
        (r'{"layout": "\udfff"}', "no Unicode"),
    ],
)
def test_an_answer_that_nobody_can_mean_is_refused_before_it_is_tried(
    asking: Server, body: str, detail: str
) -> None:
    row(asking, id=f"ds_{abs(hash(body))}", name=f"meant {abs(hash(body))}", status="needs_choice")
    path = f"/v1/datasets/ds_{abs(hash(body))}/choices"
    answered = asking.http.post(path, content=body, headers={"Content-Type": "application/json"})
    problem = check(answered, 422)
    assert problem["errors"][0]["pointer"] == "/layout"
    assert detail in problem["detail"]
    assert asking.http.delete(path.removesuffix("/choices")).status_code == 204


def test_an_answer_whose_machine_is_gone_is_not_asked_for_again(asking: Server) -> None:
    asked: Any = {"questions": [{"setting": "layout"}], "answer": {"layout": "N C H W"}}
    row(asking, id="ds_left", name="left", status="checking", **asked)
    asking.service.part(Checks).expire()
    with asking.service.database.reading() as session:
        left = session.get_one(Dataset, "ds_left")
        assert (left.status, left.questions, left.answer) == ("invalid", None, None)
    assert asking.http.delete("/v1/datasets/ds_left").status_code == 204


@pytest.mark.slow
def test_an_answer_may_come_twice_and_another_one_later_is_a_conflict(asking: Server) -> None:
    dataset = upload(asking, "twice").json()["id"]
    first, second = (answer(asking, "twice", layout="N C H W") for _ in range(2))
    assert (first.status_code, second.status_code) == (200, 200)
    assert first.json() == second.json()
    problem = check(answer(asking, dataset, layout="N H W C"), 409)
    assert "never changes" in problem["detail"]
    keyed = {"Idempotency-Key": "answer-1"}
    path, body = (
        f"/v1/datasets/{upload(asking, 'keyed').json()['id']}/choices",
        {"layout": "N C H W"},
    )
    first, second = (asking.http.post(path, json=body, headers=keyed) for _ in range(2))
    assert first.json() == second.json()
    check(asking.http.post(path, json={"layout": "N H W C"}, headers=keyed), 409)
    check(answer(asking, "digits", layout="N H W C"), 409)
    check(answer(asking, "ds_nothing", layout="N H W C"), 404)


@pytest.mark.slow
def test_the_same_answer_at_one_moment_is_one_and_a_key_for_two_is_a_conflict(
    asking: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = upload(asking, "at one moment").json()["id"]
    barrier = threading.Barrier(4)

    def one(_: int) -> Any:
        barrier.wait()
        return answer(asking, dataset, layout="N C H W")

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(one, range(4)))
    assert [each.status_code for each in answers] == [200] * 4, answers[-1].text
    assert {each.json()["status"] for each in answers} <= {"checking", "ready"}
    other = upload(asking, "key of another").json()["id"]
    key = {"Idempotency-Key": "key of another"}
    begun = asking.http.post("/v1/uploads", headers={**TUS, **key, "Upload-Length": "1"})
    assert begun.is_success, begun.text
    # Between the look and the answer.
    monkeypatch.setattr(choices, "made_before", lambda *_: None)
    path, body = f"/v1/datasets/{other}/choices", {"layout": "N C H W"}
    refused = check(asking.http.post(path, json=body, headers=key), 409)
    assert "another request" in refused["detail"]
    assert asking.get(f"/v1/datasets/{other}")["status"] == "needs_choice"
    assert answer(asking, other, layout="N C H W").json()["status"] == "ready"
    assert asking.http.delete(begun.headers["location"], headers=TUS).status_code == 204


def test_the_same_request_again_is_answered_the_same(asking: Server) -> None:
    headers = {"Idempotency-Key": "grid-1"}
    first = upload(asking, "same", headers=headers)
    again = upload(asking, "same", headers=headers)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    other = upload(asking, "same", layout="N C H W", headers=headers)
    check(other, 409)


@pytest.mark.slow
def test_the_same_name_with_the_answer_takes_the_place_of_an_unanswered_upload(
    asking: Server,
) -> None:
    first = upload(asking, "again").json()["id"]
    read = upload(asking, "again", layout="N C H W")
    assert (read.status_code, read.json()["status"]) == (201, "ready")
    assert asking.http.get(f"/v1/datasets/{first}").status_code == 404
    assert not (asking.service.part(Checks).directory / first).exists()
    check(upload(asking, "again", layout="N C H W"), 409)


def test_the_page_of_an_upload_asks_with_pictures(asking: Server) -> None:
    dataset = upload(asking, "paged").json()
    page = asking.http.get("/datasets/paged", headers={"Accept": "text/html"}).text
    assert page.count("Read it so") == 2
    assert dataset["questions"][0]["candidates"][1]["picture"] in page
    assert "40 images, channels last" in page
    assert "Choose" in asking.http.get("/datasets", headers={"Accept": "text/html"}).text


def test_deleting_an_unanswered_upload_removes_its_file(asking: Server) -> None:
    dataset = upload(asking, "gone").json()["id"]
    assert (asking.service.part(Checks).directory / dataset).is_dir()
    assert asking.http.delete(f"/v1/datasets/{dataset}").status_code == 204
    assert not (asking.service.part(Checks).directory / dataset).exists()


@pytest.mark.slow
def test_an_unanswered_upload_outlives_the_server_and_is_answered_after(
    python: str, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", python)
    settings = Settings(data_dir=tmp_path, database_url=database_url, broker_url=NO_BROKER)
    with serving(settings) as server:
        found = upload(server, "kept").json()
    with serving(settings) as server:
        assert server.get("/v1/datasets/kept") == found
        assert list(Leftovers(server.service.database, tmp_path, -10.0).find()) == []
        with server.service.database.writing() as session:
            # Asked long ago: the time of the check that follows is counted from the answer.
            session.execute(update(Dataset).values(created_at=1.0, checked_at=1.0))
        read = answer(server, "kept", layout="N C H W")
        assert read.json()["status"] == "ready", read.text


@pytest.mark.slow
def test_an_upload_that_nobody_answers_goes_after_a_while(asking: Server) -> None:
    database, store = asking.service.database, asking.service.store
    old, young = (upload(asking, name).json()["id"] for name in ("old", "young"))
    with database.writing() as session:
        values = {"created_at": 1.0, "checked_at": 1.0}
        session.execute(update(Dataset).where(Dataset.id == old).values(values))
    settings = asking.service.settings
    items = [i for i in Retention(database, store, settings).find() if i.kind == "data set"]
    assert [item.name for item in items] == [f"{old} old"]
    assert items[0].remove()
    assert asking.http.get(f"/v1/datasets/{old}").status_code == 404
    assert asking.get(f"/v1/datasets/{young}")["status"] == "needs_choice"
    left = Leftovers(database, settings.data_dir, -10.0).find()
    assert [item.name for item in left] == [old], "its file goes with the leftovers"
