"""A lab's own surrogate, method, network, neuron, format, augmentation, encoding and export target,
installed beside the service and named by nothing in it: seen everywhere, trained with, and gone."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from saf.data import digits
from tests.acceptance.conftest import Service
from tests.waiting import until

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "extending.md"
JOB: dict[str, Any] = {
    "dataset": "labdigits",
    "network": {"name": "lab-strided", "channels": 6},
    "method": {"name": "lab-last-steps", "steps": 1},
    "neuron": {"name": "lab-adaptive", "surrogate": {"name": "lab-gaussian", "slope": 2}},
    "augment": ["lab-brightness", "crop"],
    "input": {"encoding": {"name": "lab-squared"}},
    "timesteps": 2,
    "epochs": 1,
}


def code_of_the_guide() -> str:
    """The module that the blocks of the guide make up, without the one that tries it."""
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    return "\n".join(block for block in blocks if "saf.train(" not in block)


def distribution(folder: Path, name: str, module: str, code: str, entry: str) -> None:
    """A package as pip leaves it: the module and its metadata."""
    (folder / f"{module}.py").write_text(code, encoding="utf-8")
    metadata = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[saf.plugins]\n{entry} = {module}\n")


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a virtual environment that has what this one has, and plugins: the one of
    the guide, one that is broken, and two of one name."""
    home = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = home / "lib" / version / "site-packages"
    lines = [str(ROOT), sysconfig.get_paths()["purelib"], sysconfig.get_paths()["platlib"]]
    (packages / "ours.pth").write_text("\n".join(dict.fromkeys(lines)) + "\n")
    distribution(packages, "lab-plugin", "lab_plugin", code_of_the_guide(), "lab")
    distribution(packages, "broken-plugin", "broken_plugin", "import no_such_module\n", "broken")
    for number in ("one", "two"):
        code = code_of_the_guide().replace("lab-", "twin-").partition("## ")[0]
        twin = code[: code.index("from functools import partial")]
        distribution(packages, f"{number}-plugin", f"{number}_plugin", twin, number)
    return home / "bin" / "python"


class Lab(Service):
    """The service under another interpreter."""

    def __init__(self, directory: Path, python: str) -> None:
        self._python = python
        before, sys.executable = sys.executable, python
        try:
            super().__init__(directory)
        finally:
            sys.executable = before


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lab")


@pytest.fixture(scope="module")
def lab(python: Path, directory: Path) -> Iterator[Service]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SAF_WORKER_SLOTS", "1")
        service = Lab(directory, str(python))
    yield service
    service.stop()


def lab_file() -> bytes:
    """Digits as the format of the guide has them: a 255 first, so that labels can only be last."""
    data = digits()
    rows = []
    for image, label in zip(data.x_train[:300], data.y_train[:300], strict=True):
        pixels = image.reshape(-1).copy()
        pixels[0] = 255
        rows.append(pixels.tobytes() + bytes([int(label)]))
    return b"LAB\x08" + b"".join(rows)


EXPORT = """
import saf, sys, tempfile
from pathlib import Path
from saf.data import digits

data, out = digits(), Path(tempfile.mkdtemp())
job = {"network": {"name": "mlp", "features": [20]}, "timesteps": 3, "epochs": 1}
for report in saf.train(saf.JobSpecification.model_validate(job), data, out):
    pass
network = saf.load_lif(out / "lif.safetensors")
done = saf.export(network, "lab-arrays", out, data.x_test[:50], data.y_test[:50])
print(done.verdict, done.certificate["statement"])
"""


def test_an_export_target_of_a_plugin_is_replayed_and_certified(python: Path) -> None:
    ran = subprocess.run([python, "-c", EXPORT], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split()[0] in ("identical", "equivalent"), ran.stdout


def test_what_a_plugin_adds_is_offered_trained_with_and_listed_when_it_is_gone(
    lab: Service, directory: Path
) -> None:
    http = lab.http
    for kind in ("method", "network", "neuron", "surrogate"):
        found = {each["name"]: each for each in lab.get(f"/v1/{kind}s")["data"]}
        added = JOB["neuron"][kind] if kind == "surrogate" else JOB[kind]
        assert found[added["name"]]["description"]
        assert not any(name.startswith("twin-") for name in found)
    (method,) = (m for m in lab.get("/v1/methods")["data"] if m["name"] == "lab-last-steps")
    assert method["parameters"]["steps"]["default"] == 2
    assert "lab-arrays" in {each["name"] for each in lab.get("/v1/exports")["data"]}
    page = http.get("/new").text
    for kind in ("last-steps", "strided", "adaptive", "gaussian", "brightness", "squared"):
        assert f"lab-{kind}" in page
    assert "lab-bytes" in http.get("/openapi.json").text

    log = lab.log.read_text()
    broken = [line for line in log.splitlines() if "plugin broken (broken-plugin 1.0)" in line]
    assert broken
    assert all("No module named 'no_such_module'" in line for line in broken)
    assert "both add the surrogate 'twin-gaussian'" in log

    uploaded = http.post(
        "/v1/datasets",
        files={"file": ("digits.lab", lab_file())},
        data={"name": "labdigits"},
    ).json()
    until(lambda: lab.get(f"/v1/datasets/{uploaded['id']}")["status"] != "checking")
    uploaded = lab.get(f"/v1/datasets/{uploaded['id']}")
    assert uploaded["status"] == "ready", uploaded
    assert (uploaded["counts"]["train"], uploaded["counts"]["test"]) == (240, 60)

    told = http.post("/v1/jobs", params={"validate_only": True}, json=JOB).json()
    assert "lab-last-steps" in {curve["method"] for curve in told["memory_curves"]}
    refused = http.post("/v1/jobs", json={**JOB, "method": {"name": "lab-last-steps", "stps": 1}})
    assert "did you mean 'steps'" in refused.json()["errors"][0]["detail"]
    sent = http.post("/v1/jobs", json=JOB)
    assert sent.status_code == 201, sent.text
    job = lab.wait(sent.json()["id"])
    assert job["status"] == "succeeded", job["error"]
    assert job["specification"]["method"]["steps"] == 1
    assert job["specification"]["neuron"]["memory"] == 0.9
    names = {each["name"] for each in lab.get(f"/v1/jobs/{job['id']}/artifacts")["data"]}
    assert {"lif.safetensors", "certificate.json"} <= names

    report = json.loads(lab.download(job["id"], "report.json", directory / "report").read_bytes())
    assert report["environment"]["packages"]["lab-plugin"] == "1.0"
    assert "broken-plugin" not in report["environment"]["packages"]
    assert job["specification"]["plugins"] == {
        "encoding 'lab-squared'": "lab-plugin 1.0",
        "network 'lab-strided'": "lab-plugin 1.0",
        "method 'lab-last-steps'": "lab-plugin 1.0",
        "neuron 'lab-adaptive'": "lab-plugin 1.0",
        "surrogate 'lab-gaussian'": "lab-plugin 1.0",
        "augmentation 'lab-brightness'": "lab-plugin 1.0",
    }
    long = lab.submit(epochs=200)
    lab.wait(long, "running")
    waiting = lab.submit(**JOB, priority=0)  # behind it, and before it once the service is back
    lab.stop()
    without = Service(directory)
    try:
        failed = without.wait(waiting)
        cancelled = without.http.post(f"/v1/jobs/{long}/cancel")
        assert cancelled.status_code < 300, (cancelled.text, without.get(f"/v1/jobs/{long}"))
        assert failed["status"] == "failed"
        assert failed["error"]["code"] == "user_config"
        missing = (
            "this worker knows no encoding 'lab-squared', no network 'lab-strided', no method "
            "'lab-last-steps', no neuron 'lab-adaptive', no surrogate"
        )
        assert failed["error"]["message"].startswith(missing)
        assert "install lab-plugin 1.0 on every worker" in failed["error"]["hint"]
        listed = without.get(f"/v1/jobs/{job['id']}")
        assert listed["specification"]["method"] == job["specification"]["method"]
        assert without.http.get(f"/jobs/{job['id']}").status_code == 200
        again = without.http.post(f"/v1/jobs/{job['id']}/retry")
        assert again.status_code == 409
        refused = without.http.post("/v1/jobs", json=JOB)
        assert refused.status_code == 422
        assert "there is no 'lab-strided'" in refused.text
    finally:
        without.stop()


def test_a_plugin_is_there_for_training_without_a_service(python: Path, tmp_path: Path) -> None:
    specification = {**JOB, "dataset": "digits"}
    (tmp_path / "job.json").write_text(json.dumps(specification))
    done = subprocess.run(
        [python, "-m", "saf.cli", "train", tmp_path / "job.json", "--out", tmp_path / "out"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "out" / "lif.safetensors").exists()
