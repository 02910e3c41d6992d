"""`saf export` of a job on a server: ordered, waited for, and brought here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from saf.client.client import Client
from saf.client.types import WaitTimeoutError
from saf.lif.verifying import verify
from tests.api.conftest import Server
from tests.api.jobs.exports.test_routes import job_of
from tests.api.jobs.results.test_predict import network
from tests.saf.cli.typed import saf
from worker.exports.exporter import Exporter
from worker.processes.scratch import Scratch

pytestmark = pytest.mark.slow  # its commands are processes


@contextmanager
def worker(server: Server, directory: Path) -> Iterator[None]:
    """Makes exports while it is there."""
    service, scratch = server.service, Scratch(directory, "worker_1")
    exporter = Exporter(service.database, service.store, service.settings, scratch, "worker_1")
    exporter.start()
    yield
    exporter.stop()
    scratch.remove()


def test_a_job_is_exported_by_a_worker_and_its_files_are_brought(
    server: Server, tmp_path: Path
) -> None:
    job_id = job_of(server, tmp_path, network())
    out = tmp_path / "deployed"
    with worker(server, tmp_path):
        arguments = ("export", job_id, "python", "--count", "20", "--out", str(out))
        ran = saf(*arguments, url=server.address)
        assert ran.returncode == 0, ran.stderr
        assert "It is the same network there." in ran.stdout
        assert str(out / "lif_numpy.py") in ran.stdout
        assert not verify(out / "python-certificate.json").problems
        certificate = json.loads((out / "python-certificate.json").read_text())
        assert certificate["samples"] == 20
        with Client(server.address) as client:
            job = client.get(job_id)
            (made,) = job.exports()
            assert made["verdict"] == "identical"
            assert "It is the same" in repr(made)
            files = job.export("onnx", samples=4).wait().download(tmp_path / "onnx")
            assert [path.name for path in files] == [
                "network.onnx",
                "step.onnx",
                "onnx-certificate.json",
            ]


def test_who_waits_is_told_for_what(server: Server, tmp_path: Path) -> None:
    said: list[str] = []
    with Client(server.address) as client:
        export = client.export(job_of(server, tmp_path, network()), "python", samples=4)
        with pytest.raises(WaitTimeoutError):
            export.wait(timeout=0.3, on_change=said.append)
        assert said == ["waits for a worker"]
        with worker(server, tmp_path):
            export.wait(on_change=said.append)
        assert export.has_ended
        assert set(said) <= {"waits for a worker", "a worker writes and replays it"}


def test_what_cannot_be_ordered_is_said(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    job_id = job_of(server, tmp_path, network())
    (tmp_path / job_id).mkdir()  # as `saf download` and the export before leave it
    refused = saf("export", job_id, "c", url=server.address)
    assert refused.returncode == 1
    assert "its weights are on no grid" in refused.stderr
    wrong = saf("export", job_id, "python", "--set", "bits=4", url=server.address)
    assert wrong.returncode == 1
    assert "/options/bits: there is no such option; python has none" in wrong.stderr
    samples = saf("export", job_id, "python", "--samples", "digits", url=server.address)
    assert samples.returncode == 2
    assert "its own data set" in " ".join(samples.stderr.split())
    network().save(tmp_path / "mine.safetensors")
    here = saf("export", str(tmp_path / "mine.safetensors"), "python", "--set", "bits=4")
    assert here.returncode == 2
    assert "python has none" in " ".join(here.stderr.replace("│", "").split())


def test_targets_takes_a_downloaded_folder_and_says_what_a_job_needs(tmp_path: Path) -> None:
    folder = tmp_path / "job_1"
    missing = saf("targets", str(folder))
    assert missing.returncode == 1
    assert "saf download job_1 lif.safetensors, then saf targets job_1" in missing.stderr
    folder.mkdir()
    network().save(folder / "lif.safetensors")
    found = saf("targets", str(folder), "--json")
    assert found.returncode == 0, found.stderr
    by_name = {each["name"]: each["obstacles"] for each in json.loads(found.stdout)}
    assert by_name["python"] == []
    assert by_name["c"]
