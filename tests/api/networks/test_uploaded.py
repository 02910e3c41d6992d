"""Networks of one's own over HTTP: uploaded, read, started from, deleted."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from api.store.tables.base import Blob
from saf import tensorfile
from saf.cli.main import app
from saf.lif.exporting import export
from saf.lif.network import load_lif
from tests.api.conftest import Server
from tests.saf.lif.incoming.relu_networks import LAYERS, relu_network
from tests.saf.training.starting.test_starting_from_files import left
from tests.saf.training.trainings import dataset


@pytest.fixture(scope="module")
def lif(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("lif")
    ten = type(dataset())(**{**vars(dataset()), "class_names": tuple("0123456789")})
    method = {"name": "ottt-a", "readout": "max"}
    left(directory, ten, neuron={"decay": 0.7, "threshold": 0.9}, method=method)
    return directory / "lif.safetensors"


def upload(server: Server, file: Path, **fields: str) -> httpx.Response:
    with file.open("rb") as content:
        return server.http.post("/v1/networks", files={"file": (file.name, content)}, data=fields)


@pytest.fixture(scope="module")
def network(shared: Server, lif: Path) -> dict[str, Any]:
    answer = upload(shared, lif, name="mine")
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    assert answer.headers["location"] == found["url"]
    return found


def refusal(answer: httpx.Response, pointer: str) -> str:
    assert answer.status_code == 422, answer.text
    errors = answer.json()["errors"]
    return str(next(each["detail"] for each in errors if each["pointer"] == pointer))


def test_an_upload_says_what_it_is_and_is_listed(shared: Server, network: dict[str, Any]) -> None:
    assert (network["name"], network["shape"], network["classes"]) == ("mine", [1, 8, 8], 10)
    assert network["layers"] == ["layer1", "layer2", "readout"]
    assert network["settings"]["neuron"] == {"name": "lif", "decay": 0.7, "threshold": 0.9}
    assert shared.get(network["url"]) == network
    assert network["id"] in {each["id"] for each in shared.get("/v1/networks/uploaded")["data"]}
    kinds = shared.get("/v1/networks")["data"]
    assert "uploaded" in {each["name"] for each in kinds}


def test_a_job_takes_over_what_it_does_not_say(shared: Server, network: dict[str, Any]) -> None:
    job = shared.submit(init={"network": network["id"]}, timesteps=3)
    specification = job["specification"]
    assert specification["init"] == {"network": network["id"], "freeze": []}
    assert specification["network"]["name"] == "uploaded"
    assert specification["neuron"]["decay"] == 0.7
    assert specification["timesteps"] == 3
    assert specification["method"]["name"] == "saf-e"
    assert specification["method"]["readout"] == "max"
    job = shared.submit(init={"network": network["id"]}, method={"name": "bptt"})
    assert job["specification"]["method"]["readout"] == "max"
    job = shared.submit(init={"network": network["id"]}, method={"name": "bptt", "readout": "mean"})
    assert job["specification"]["method"]["readout"] == "mean"


@pytest.mark.parametrize(
    ("change", "pointer", "words"),
    [
        ({"init": {"network": "net_none"}}, "/init/network", "there is no uploaded network"),
        ({"init": {"freeze": ["stage1"]}}, "/init/freeze", "no such layer"),
        ({"init": {"job": "job_1"}}, "/init", "either job or network"),
        (
            {"network": {"name": "convnet", "channels": [4, 5]}},
            "/init/network",
            "layer1 has standardised weights with gains",
        ),
        ({"network": {"name": "mlp"}}, "/init/network", "leave network out"),
    ],
)
def test_what_does_not_fit_is_refused(
    change: dict[str, Any], pointer: str, words: str, shared: Server, network: dict[str, Any]
) -> None:
    init = {"network": network["id"], **change.get("init", {})}
    body = {"dataset": "digits", **change, "init": init}
    assert words in refusal(shared.http.post("/v1/jobs", json=body), pointer)


def test_a_network_of_other_samples_is_refused(shared: Server, tmp_path: Path) -> None:
    left(tmp_path, dataset(3, 8, 8))
    network = upload(shared, tmp_path / "lif.safetensors").json()
    body = {"dataset": "digits", "init": {"network": network["id"]}}
    answer = shared.http.post("/v1/jobs", json=body)
    assert answer.status_code == 422
    assert "3 × 8 × 8" in answer.text or "3 values" in answer.text


@pytest.mark.slow
def test_what_is_no_network_is_refused_in_words(shared: Server, lif: Path, tmp_path: Path) -> None:
    file = tmp_path / "lif.safetensors"
    file.write_bytes(pickle.dumps({"weight": [1.0]}))
    assert "can run code" in refusal(upload(shared, file), "/file")
    torch.save({"weight": torch.ones(2)}, file)
    assert "never opened" in refusal(upload(shared, file), "/file")
    file.write_bytes(lif.read_bytes()[:-5])
    assert "damaged" in refusal(upload(shared, file), "/file")
    changed = bytearray(lif.read_bytes())
    changed[-1] ^= 1
    file.write_bytes(bytes(changed))
    assert "not those that were written" in refusal(upload(shared, file), "/file")
    file.write_bytes(b"")
    assert "no safetensors file" in refusal(upload(shared, file), "/file")


def test_values_that_are_no_numbers_are_refused(shared: Server, tmp_path: Path) -> None:
    network = left(tmp_path)
    tensors = {**network.tensors, "layer1.bias": network.tensors["layer1.bias"] * float("nan")}
    header = network.description.model_dump(mode="json")
    tensorfile.write(tmp_path / "nan.safetensors", tensors, header)
    assert "finite" in refusal(upload(shared, tmp_path / "nan.safetensors"), "/file")


def test_a_large_network_is_no_body_of_json(shared: Server, tmp_path: Path) -> None:
    """Neither the limit on the bytes of other bodies holds, nor that on their brackets."""
    left(tmp_path, network={"name": "mlp", "features": [3000, 512]})
    file = tmp_path / "lif.safetensors"
    assert file.stat().st_size > shared.service.settings.body_max_bytes
    answer = upload(shared, file)
    assert answer.status_code == 201, answer.text
    assert answer.json()["parameters"] > 1_500_000
    left(tmp_path, dataset(3, 32, 32, samples=6), network={"name": "resnet18", "width": 0.05})
    assert upload(shared, file).status_code == 201


def test_the_same_request_makes_one_network(shared: Server, lif: Path) -> None:
    def send(name: str) -> httpx.Response:
        with lif.open("rb") as content:
            return shared.http.post(
                "/v1/networks",
                files={"file": (lif.name, content)},
                data={"name": name},
                headers={"idempotency-key": "once"},
            )

    first, second = send("twice"), send("twice")
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json()["id"] == second.json()["id"]
    assert send("another").status_code == 409


def test_a_deleted_network_leaves_its_file_to_jobs_that_start_from_it(
    server: Server, lif: Path
) -> None:
    first, second = upload(server, lif).json(), upload(server, lif).json()
    job = server.submit(init={"network": first["id"]})
    for each in (first, second):
        assert server.http.delete(each["url"]).status_code == 204
        assert server.http.get(each["url"]).status_code == 404

    def kept() -> bool:
        with server.service.database.reading() as session:
            return session.get(Blob, first["sha256"]) is not None

    assert kept()
    assert server.http.post(f"/v1/jobs/{job['id']}/cancel").status_code in (200, 202)
    retried = server.http.post(f"/v1/jobs/{job['id']}/retry")
    assert retried.status_code == 201, retried.text
    for each in (job, retried.json()):
        server.http.post(f"/v1/jobs/{each['id']}/cancel")
        assert server.http.delete(f"/v1/jobs/{each['id']}").status_code == 204
    assert not kept()


def test_a_damaged_file_is_no_start(server: Server, lif: Path) -> None:
    network = upload(server, lif).json()
    with server.service.database.writing() as session:
        blob = session.get(Blob, network["sha256"])
        assert blob is not None
        blob.damaged_at = 1.0
    assert server.get(network["url"])["damaged"] is True
    body = {"dataset": "digits", "init": {"network": network["id"]}}
    assert "upload it again" in refusal(server.http.post("/v1/jobs", json=body), "/init/network")


def test_the_command_uploads_a_file_and_starts_from_it(
    shared: Server, lif: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAF_URL", shared.address)
    command = ["submit", "--dataset", "digits", "--json", "--init-network"]
    runner = CliRunner()
    done = runner.invoke(app, [*command, str(lif), "--freeze", "*"])
    assert done.exit_code == 0, done.output
    init = json.loads(done.stdout)["specification"]["init"]
    assert init["freeze"] == ["*"]
    assert "uploaded" in done.stderr
    again = runner.invoke(app, [*command, init["network"]])
    assert json.loads(again.stdout)["specification"]["init"]["network"] == init["network"]


def test_the_pages_offer_an_uploaded_network(shared: Server, network: dict[str, Any]) -> None:
    listed = shared.http.get("/networks").text
    assert f"/new?network={network['id']}" in listed
    form = shared.http.get(f"/new?network={network['id']}").text
    assert network["id"] in form
    assert "layer2" in form


def sent(server: Server, file: Path, **fields: str) -> dict[str, Any]:
    answer = upload(server, file, **fields)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.slow
def test_an_nir_file_is_asked_about_and_then_read(
    shared: Server, lif: Path, tmp_path: Path
) -> None:
    network = load_lif(lif)
    export(network, "nir-spikingjelly", tmp_path)
    file = tmp_path / "spikingjelly.nir"
    assert "send reset=subtract" in refusal(upload(shared, file, dt="1"), "/file")
    assert refusal(upload(shared, file, reader="brian"), "/reader")
    of = network.description
    fields = {"mean": ",".join(map(str, of.mean)), "std": ",".join(map(str, of.std))}
    fields |= {"reader": "spikingjelly", "reset": "subtract", "dt": "1", "timesteps": "5"}
    found = sent(shared, file, **fields)
    assert (found["name"], found["source"]) == ("spikingjelly", "nir")
    assert found["settings"]["neuron"] == {"name": "lif", "decay": 0.7, "threshold": 0.9}
    assert any("subtracts its threshold" in each for each in found["assumptions"])
    job = shared.submit(init={"network": found["id"]})
    assert job["specification"]["network"]["description"]["layers"][0]["name"] == "layer1"
    assert "What was assumed" in shared.http.get("/networks").text


@pytest.mark.slow
def test_weights_of_a_relu_network_begin_a_job(shared: Server, tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    save_file(relu_network().state_dict(), file)
    assert "no JSON" in refusal(upload(shared, file, network="mlp"), "/network")
    assert "perceptron" in upload(shared, file, network='{"name": "perceptron"}').text
    fields = {"network": LAYERS, "shape": "1,8,8"}
    unknown = upload(shared, file, **fields, dataset="nothing")
    assert "there is no data set" in refusal(unknown, "/dataset")
    found = sent(shared, file, **fields, dataset="digits", timesteps="4")
    assert found["source"] == "weights"
    assert any("percentile 99.9" in each for each in found["assumptions"])
    job = shared.submit(init={"network": found["id"]}, timesteps=4)
    assert job["specification"]["neuron"]["decay"] == 1.0


@pytest.mark.slow
def test_the_commands_of_networks(
    shared: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAF_URL", shared.address)
    file, runner = tmp_path / "weights.safetensors", CliRunner()
    save_file(relu_network().state_dict(), file)
    asked = ["--set", f"network={LAYERS}", "--set", "shape=1,8,8"]
    done = runner.invoke(app, ["networks", "upload", str(file), *asked, "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["source"] == "weights"
    assert found["id"] in runner.invoke(app, ["networks"]).stdout
    assert runner.invoke(app, ["networks", "delete", found["id"]]).exit_code == 0
    here = tmp_path / "here.safetensors"
    done = runner.invoke(app, ["import", str(file), "--out", str(here), *asked])
    assert done.exit_code == 0, done.output
    assert "the largest activations" in done.stdout
    assert load_lif(here).description.decay == 1.0
    assert runner.invoke(app, ["import", str(file), "--set", "reset=hard"]).exit_code == 2


def test_networks_count_as_stored_and_are_refused_beyond_the_limit(
    shared: Server, network: dict[str, Any], lif: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = vars(shared.service.settings)
    monkeypatch.setitem(most, "datasets_max_bytes_per_user", 1)
    assert upload(shared, lif, name="again").status_code == 201  # its content is there already
    other = lif.with_name("other.safetensors")
    other.write_bytes(lif.read_bytes().replace(b"0.9", b"0.8"))
    refused = upload(shared, other, name="other")
    assert refused.status_code == 413, refused.text
    assert "files of jobs of 127.0.0.1 take" in refused.json()["detail"]
    assert "SAF_DATASETS_MAX_BYTES_PER_USER" in refused.json()["detail"]
