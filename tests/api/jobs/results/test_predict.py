"""A network answers over HTTP, and whatever else may come, the server stays well."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from PIL import Image

from api.datasets.previews import builtin_summary
from api.errors import UnavailableError
from api.jobs.results.predict_process import Predictor
from api.settings import Settings
from api.store.jobs import lifecycle
from api.store.jobs.leases import Claim
from api.store.runs import artifacts, checkpoints
from saf.config import ResolvedSpecification
from saf.data import digits
from saf.lif.header import LIFDescription
from saf.lif.network import LIFNetwork, load_lif
from saf.model.network import network_of
from saf.networks.architecture import (
    Architecture,
    Connection,
    Conv,
    Flatten,
    LayerDescription,
    Linear,
)
from saf.networks.build import build
from saf.training.checkpoint import Checkpoint, Progress
from saf.training.to_lif import lif_network
from tests.api.conftest import NO_BROKER, Server, serving
from tests.waiting import until

PIXELS = np.linspace(0, 255, 64).astype(np.uint8).reshape(8, 8)


def slow_network() -> LIFNetwork:
    """A trillion products for one image."""
    channels = 1024

    def layer(name: str, source: str) -> LayerDescription:
        into = Conv(out_channels=channels, standardised=False)
        return LayerDescription(
            name=name, connections=(Connection(source=source, operations=(into,)),)
        )

    readout = LayerDescription(
        name="readout",
        connections=(Connection(source="layer2", operations=(Flatten(), Linear(out_features=10))),),
    )
    layers = (layer("layer1", "input"), layer("layer2", "layer1"))
    tensors = {
        "layer1.0.weight": torch.ones(channels, 1, 3, 3),
        "layer1.bias": torch.ones(channels),
        "layer2.0.weight": torch.ones(channels, channels, 3, 3),
        "layer2.bias": torch.ones(channels),
        "readout.0.weight": torch.ones(10, 64 * channels),
        "readout.bias": torch.ones(10),
    }
    plain = network(timesteps=1024).description
    architecture = Architecture(input_shape=(1, 8, 8), layers=layers, readout=readout)
    return LIFNetwork(plain.model_copy(update={"architecture": architecture}), tensors)


def network(timesteps: int = 4, neurons: int = 3, **changes: Any) -> LIFNetwork:
    """Three neurons for the digits of 8 × 8 pixels, ten classes; or more of them."""
    into_layer = (Flatten(), Linear(out_features=neurons))
    layer = LayerDescription(
        name="layer1", connections=(Connection(source="input", operations=into_layer),)
    )
    readout = LayerDescription(
        name="readout",
        connections=(Connection(source="layer1", operations=(Linear(out_features=10),)),),
    )
    random = torch.Generator().manual_seed(5)
    values: dict[str, Any] = {
        "architecture": Architecture(input_shape=(1, 8, 8), layers=(layer,), readout=readout),
        "decay": 0.5,
        "threshold": 1.0,
        "timesteps": timesteps,
        "readout": "mean",
        "frames": False,
        "mean": (0.5,),
        "std": (0.25,),
        "class_names": tuple("0123456789"),
        "specification": {},
    }
    tensors = {
        "layer1.0.weight": torch.randn(neurons, 64, generator=random),
        "layer1.bias": torch.ones(neurons),
        "readout.0.weight": torch.randn(10, neurons, generator=random),
        "readout.bias": torch.zeros(10),
    }
    return LIFNetwork(LIFDescription(**(values | changes)), tensors)


def succeeded(server: Server, directory: Path, lif: LIFNetwork) -> str:
    """A job that left `lif` behind: the address at which it predicts."""
    job = server.submit()
    claim = server.run()
    lif.save(directory / "lif.safetensors")
    store = server.service.store
    incoming = store.receive(directory / "lif.safetensors")
    with server.service.database.writing() as session:
        sha256 = store.keep(session, incoming)
        artifacts.register(
            session, job_id=claim.job_id, name="lif.safetensors", kind="network", sha256=sha256
        )
    server.succeed(claim)
    return str(job["urls"]["self"]) + "/predict"


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    """A server whose prediction process is started once, and where a network predicts."""
    directory = tmp_path_factory.mktemp("predictions")
    with serving(Settings(data_dir=directory, broker_url=NO_BROKER)) as server:
        yield server, succeeded(server, directory, network())


def png(pixels: np.ndarray[Any, Any] = PIXELS, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def ask(server: Server, path: str, **request: Any) -> httpx.Response:
    return server.http.post(path, **request)


def expected(pixels: np.ndarray[Any, Any]) -> list[list[float]]:
    x = torch.from_numpy(pixels.astype(np.float32) / 255).view(1, 1, 8, 8)
    return [step.scores[0].tolist() for step in network().run(x)]


@pytest.mark.slow
def test_an_image_a_form_and_pixels_get_the_answer_of_the_network(
    warm: tuple[Server, str],
) -> None:
    server, path = warm
    kinds: list[dict[str, Any]] = [
        {"content": png(), "headers": {"content-type": "image/png"}},
        {"files": {"file": ("digit.png", png(), "image/png")}},
        {"json": {"pixels": [(PIXELS / 255).tolist()]}},
    ]
    for request in kinds:
        response = ask(server, path, **request)
        assert response.status_code == 200, response.text
        found = response.json()
        np.testing.assert_allclose(found["scores"], expected(PIXELS), atol=1e-4)
        assert found["predicted"] == int(np.argmax(expected(PIXELS)[-1]))
        assert len(found["predictions"]) == found["timesteps"] == 4
        assert (found["label"], found["scaled_from"]) == (None, None)
        assert found["layers"][0]["raster"] is None
        assert found["image"].startswith("data:image/png;base64,")


def test_a_sample_of_the_data_set_comes_with_its_label_and_its_spikes(
    warm: tuple[Server, str],
) -> None:
    server, path = warm
    found = ask(server, path + "?detail=true", json={"sample": 17}).json()
    data = digits()
    assert found["label"] == data.y_test[17]
    np.testing.assert_allclose(found["scores"], expected(data.x_test[17]), atol=1e-4)
    (layer,) = found["layers"]
    x = torch.from_numpy(data.x_test[17:18]).float() / 255
    steps = list(network().run(x))
    assert layer["spikes"] == [int(step.spikes["layer1"].sum()) for step in steps]
    assert layer["shown"] == [0, 1, 2]
    assert layer["raster"] == [
        step.spikes["layer1"][0].nonzero().flatten().tolist() for step in steps
    ]
    np.testing.assert_allclose(
        layer["membrane"], [step.potentials["layer1"][0].tolist() for step in steps], atol=1e-4
    )


def test_a_sample_is_read_as_its_bytes(warm: tuple[Server, str]) -> None:
    server, path = warm
    samples = path.removesuffix("/predict") + "/samples"
    found = server.http.get(f"{samples}/3").json()
    pixels = np.frombuffer(base64.b64decode(found["pixels"]), np.uint8).reshape(found["shape"])
    assert np.array_equal(pixels, digits().x_test[3])
    assert (found["sample"], found["label"]) == (3, digits().y_test[3])
    beyond = server.http.get(f"{samples}/360")
    assert beyond.status_code == 404
    assert "samples 0 to 359" in beyond.json()["detail"]
    assert server.http.get(f"{samples}/-1").status_code == 422


def test_a_larger_coloured_image_is_fitted(warm: tuple[Server, str]) -> None:
    server, path = warm
    gray = np.kron(PIXELS, np.ones((4, 4), np.uint8))
    wide = np.pad(gray, ((0, 0), (8, 8)), constant_values=255)
    coloured = np.repeat(wide[..., None], 3, 2)
    found = ask(server, path, content=png(coloured), headers={"content-type": "image/png"}).json()
    assert found["scaled_from"] == [48, 32]
    np.testing.assert_allclose(found["scores"], expected(PIXELS), atol=1e-4)


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"json": {"sample": 10_000}}, "0 to 359"),
        ({"json": {"sample": 1, "pixels": [[[0]]]}}, "exactly one"),
        ({"json": {}}, "exactly one"),
        ({"json": {"sampel": 1}}, "Extra inputs"),
        ({"json": {"pixels": [[[0.5]]]}}, "[1, 8, 8]"),
        ({"json": {"pixels": [[[2.0] * 8] * 8]}}, "from 0 to 1"),
        ({"json": {"pixels": ["a", [1]]}}, "no nested lists"),
        ({"json": {"image": "%%%"}}, "no readable image"),
        ({"content": b"GIF89a", "headers": {"content-type": "image/png"}}, "no readable image"),
        ({"content": png()[:60], "headers": {"content-type": "image/png"}}, "no readable image"),
        ({"content": b"", "headers": {"content-type": "image/jpeg"}}, "empty"),
        ({"content": b"x", "headers": {"content-type": "text/plain"}}, "image/png"),
        ({"data": {"file": "text"}, "files": {"other": b"x"}}, "-F file=@"),
    ],
)
def test_what_is_no_question_is_refused_in_words(
    warm: tuple[Server, str], request_: dict[str, Any], said: str
) -> None:
    server, path = warm
    response = ask(server, path, **request_)
    assert response.status_code == 422, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert said in response.json()["detail"]


@pytest.mark.slow
def test_an_image_with_more_pixels_than_memory_is_not_unpacked(warm: tuple[Server, str]) -> None:
    server, path = warm
    bomb = png(np.zeros((9000, 9000), np.uint8))
    response = ask(server, path, content=bomb, headers={"content-type": "image/png"})
    assert response.status_code == 422
    assert "4096" in response.json()["detail"]
    assert ask(server, path, json={"sample": 0}).status_code == 200


def test_a_job_without_a_network_cannot_be_tried(warm: tuple[Server, str]) -> None:
    server, _ = warm
    job = server.submit()
    response = ask(server, job["urls"]["self"] + "/predict", json={"sample": 0})
    assert response.status_code == 409
    assert "neither lif.safetensors nor a checkpoint" in response.json()["detail"]


def checkpointed(server: Server, claim: Claim, directory: Path, step: int) -> LIFNetwork:
    """Store a checkpoint as a worker does; returns the network that it stands for."""
    specification = ResolvedSpecification.model_validate(claim.specification)
    summary = builtin_summary("digits")
    architecture = build(specification.network, (1, 8, 8), 10)
    untrained = network_of(specification, architecture, mean=summary["mean"], std=summary["std"])
    saved = Checkpoint(
        specification=specification,
        dataset="",
        progress=Progress(step=step),
        weights={name: p.detach() + step / 100 for name, p in untrained.named_parameters()},
        average={},
        best={},
        optimizer={},
    )
    path = directory / f"{step}.safetensors"
    saved.write(path)
    store = server.service.store
    incoming = store.receive(path)
    with server.service.database.writing() as session:
        sha256 = store.keep(session, incoming)
        unused = checkpoints.add(session, claim, step=step, sha256=sha256)
    store.remove_unused_of(server.service.database, unused)
    return lif_network(saved, summary)


def test_a_job_that_has_not_succeeded_is_tried_at_its_newest_checkpoint(
    warm: tuple[Server, str], tmp_path: Path
) -> None:
    server, _ = warm
    job = server.submit(network={"name": "mlp", "features": [5]}, timesteps=3)
    while (claim := server.run()).job_id != job["id"]:
        server.succeed(claim)
    path = job["urls"]["self"]
    assert server.get(path)["checkpoint_step"] is None
    x = torch.from_numpy(digits().x_test[4:5]).float() / 255
    for step in (10, 20, 30, 40):
        lif = checkpointed(server, claim, tmp_path, step)
        assert server.get(path)["checkpoint_step"] == step
        found = ask(server, path + "/predict?detail=true", json={"sample": 4}).json()
        assert found["checkpoint_step"] == step
        scores = [each.scores[0].tolist() for each in lif.run(x)]
        np.testing.assert_allclose(found["scores"], scores, atol=1e-3)
        assert len(found["layers"][0]["raster"]) == 3
    server.http.post(path + "/cancel").raise_for_status()
    with server.service.database.writing() as session:
        lifecycle.stopped(session, claim)
    found = ask(server, path + "/predict", json={"pixels": [(PIXELS / 255).tolist()]}).json()
    assert found["checkpoint_step"] == 40
    page = server.http.get("/jobs/" + job["id"], headers={"accept": "text/html"}).text
    assert "newest checkpoint, of step 40" in " ".join(page.split())


def test_a_checkpoint_that_newer_ones_removed_meanwhile_is_no_error(
    warm: tuple[Server, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, _ = warm
    job = server.submit(network={"name": "mlp", "features": [5]}, timesteps=3)
    while (claim := server.run()).job_id != job["id"]:
        server.succeed(claim)
    checkpointed(server, claim, tmp_path, 1)
    predictor, asked = server.service.part(Predictor), []
    real = predictor.ask

    def late(question: dict[str, Any]) -> dict[str, Any]:
        asked.append(question["checkpoint"])
        if len(asked) == 1:  # between the look into the database and that into the file
            for step in (2, 3):
                checkpointed(server, claim, tmp_path, step)
        return real(question)

    monkeypatch.setattr(predictor, "ask", late)
    found = ask(server, job["urls"]["self"] + "/predict", json={"sample": 0}).json()
    assert found["checkpoint_step"] == 3
    assert len(set(asked)) == 2


def test_the_page_and_the_answer_say_why_where_networks_are_not_run(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, broker_url=NO_BROKER, predict_max_memory_bytes=0)
    with serving(settings) as server:
        path = succeeded(server, tmp_path, network())
        response = ask(server, path, json={"sample": 0})
        assert response.status_code == 503
        assert "SAF_PREDICT_MAX_MEMORY_BYTES" in response.json()["detail"]
        page = server.http.get("/jobs/" + path.split("/")[3], headers={"accept": "text/html"})
        assert "Networks are not run on this server" in page.text
        assert server.service.part(Predictor).pid is None


def question(directory: Path, lif: LIFNetwork) -> dict[str, Any]:
    path = directory / "lif.safetensors"
    lif.save(path)
    assert load_lif(path).timesteps == lif.timesteps
    return {"network": str(path), "pixels": [(PIXELS / 255).tolist()]}


@pytest.mark.slow
def test_a_network_that_takes_too_long_is_given_up_and_the_next_one_answered(
    tmp_path: Path,
) -> None:
    quick = {"network": str(tmp_path / "quick"), "pixels": [(PIXELS / 255).tolist()]}
    network().save(tmp_path / "quick")
    slow = question(tmp_path, slow_network())
    predictor = Predictor(
        Settings(data_dir=tmp_path, predict_max_seconds=2.5, predict_idle_seconds=0.3)
    )
    try:
        with pytest.raises(UnavailableError, match="SAF_PREDICT_MAX_SECONDS"):
            predictor.ask(slow)
        assert predictor.ask(quick)["ok"]
        pid = predictor.pid  # None where it took its time to get here
        until(lambda: predictor.pid is None)  # nobody asks any more
        assert pid is None or not os.path.exists(f"/proc/{pid}")
    finally:
        predictor.close()
    with pytest.raises(UnavailableError, match="being stopped"):
        predictor.ask(quick)
