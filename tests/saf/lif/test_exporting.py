"""The certificate of an export says what came out, whatever the target made of the network."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from saf import tensorfile
from saf.config.targets import (
    TARGETS,
    CannotExportError,
    NoReaderError,
    Obstacle,
    Played,
    Reader,
    Target,
)
from saf.lif.exporting import Export, ReplayError, check, export, exported
from saf.lif.network import LIFNetwork
from saf.lif.verifying import verify
from tests.saf.lif.grid_networks import architecture_of_one_layer, converted, samples


class Odd(Target):
    """A target for tests, which plays what it is told to."""

    label: ClassVar[str] = "odd"
    can: ClassVar[tuple[str, ...]] = ()
    loading: ClassVar[str] = "open({file!r})"

    name: Literal["odd"] = "odd"
    flips: int = 0
    """Spikes of the first sample that are turned over."""
    shows: bool = True
    installed: bool = True
    refuses: bool = False
    scores: Literal["same", "reversed", "one off"] = "same"
    breaks: bool = False

    def obstacles(self, network: LIFNetwork) -> Iterator[Obstacle]:
        if self.refuses:
            yield Obstacle("layer1", "it is odd", "take another")

    def write(self, network: LIFNetwork, directory: Path) -> tuple[str, ...]:
        (directory / "odd.txt").write_text(repr(network))
        return ("odd.txt",)

    @contextmanager
    def replay(self, network: LIFNetwork, directory: Path) -> Iterator[Reader]:
        if not self.installed:
            raise NoReaderError("/srv/saf/bin/python of ours has no odd")
        yield _OddReader(self, network)


class _OddReader:
    def __init__(self, target: Odd, network: LIFNetwork) -> None:
        self.versions = {"odd": "1"}
        self._target, self._network, self._played = target, network, 0

    def play(
        self, samples: NDArray[np.float32], lengths: NDArray[np.int64] | None = None
    ) -> Played:
        assert lengths is None  # it is no target with lengths
        steps = list(self._network.run(torch.from_numpy(samples)))
        spikes = {
            name: np.stack([step.spikes[name].bool().numpy() for step in steps], axis=1)
            for name in steps[0].spikes
        }
        first = next(iter(spikes.values()))
        turned = np.arange(first.size).reshape(first.shape) < self._target.flips
        first ^= turned
        scores = steps[-1].scores.double().numpy()
        if self._target.scores == "reversed":
            scores = -scores
        if self._target.scores == "one off" and not self._played:
            scores[0] = -scores[0]
        self._played += len(samples)
        if self._target.breaks:
            raise RuntimeError("broken")
        return Played(spikes if self._target.shows else None, scores)


@pytest.mark.parametrize(
    "name", sorted(name for name, kind in TARGETS.members().items() if "lif" not in kind.neurons)
)
def test_neurons_of_a_layer_that_a_target_does_not_know_are_an_obstacle(
    network: LIFNetwork, tmp_path: Path, name: str
) -> None:
    own = {"layer1": {"name": "lif", "decay": 0.25, "threshold": 2.0}}
    description = network.description.model_copy(update={"neurons": own, "grid": None})
    other = LIFNetwork(description, network.tensors)
    assert "layer1" in {obstacle.layer for obstacle in check(other, name)}
    with pytest.raises(CannotExportError, match=r"its neurons \(lif\) are others"):
        export(other, name, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"neurons": {"layer1": {"name": "izhikevich"}}}, "does not know the neurons"),
        ({"encoding": {"name": "phase"}}, "does not know 'phase'"),
        ({"readout": "median"}, "does not know 'median'"),
        ({"format": "saf-lif/4"}, "does not know the format"),
    ],
)
def test_the_program_of_numpy_refuses_a_file_of_another_kind(
    network: LIFNetwork, changes: dict[str, Any], says: str, tmp_path: Path
) -> None:
    export(network, "python", tmp_path)
    header = {**network.description.model_dump(mode="json"), **changes}
    tensorfile.write(tmp_path / "lif.safetensors", network.tensors, header)
    (program,) = tmp_path.glob("*.py")
    code = f"import runpy; runpy.run_path({str(program)!r})['Network']('lif.safetensors')"
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert says in ran.stderr


@pytest.fixture
def network() -> LIFNetwork:
    return converted(architecture_of_one_layer(), 1, 3, "saf-f")


def done_with(network: LIFNetwork, target: Odd, directory: Path, count: int = 8) -> Export:
    x = samples(0, max(2, count), network)[:count]
    *_, done = exported(network, target, directory, x, network.predict(x), batch_size=3)
    assert isinstance(done, Export)
    return done


@pytest.mark.parametrize(
    ("target", "verdict", "says"),
    [
        (Odd(), "identical", "It is the same network there"),
        (Odd(flips=1), "equivalent", "It may stand in"),
        (Odd(flips=100), "differs", "another network"),
        (Odd(shows=False), "equivalent", "shows no spikes"),
        (Odd(scores="reversed"), "differs", "8 of 8 predictions"),
        (Odd(installed=False), "not_replayed", "…/python of ours has no odd."),
    ],
)
def test_the_verdict_is_of_what_was_played(
    network: LIFNetwork, target: Odd, verdict: str, says: str, tmp_path: Path
) -> None:
    done = done_with(network, target, tmp_path)
    assert done.verdict == done.certificate["verdict"] == verdict
    assert says in done.certificate["statement"]


def test_a_network_that_cannot_be_expressed_leaves_no_file(
    network: LIFNetwork, tmp_path: Path
) -> None:
    with pytest.raises(CannotExportError, match="layer layer1: it is odd; take another"):
        done_with(network, Odd(refuses=True), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_certificate_holds_accuracies_digests_and_how_to_load(
    network: LIFNetwork, tmp_path: Path
) -> None:
    found = done_with(network, Odd(), tmp_path).certificate
    assert json.loads((tmp_path / "odd-certificate.json").read_text()) == found
    assert found["accuracy_lif"] == found["accuracy_exported"] == 1.0
    (file,) = found["files"]
    assert file["sha256"] == hashlib.sha256((tmp_path / "odd.txt").read_bytes()).hexdigest()
    assert found["load"] == "open('odd.txt')"
    assert found["reader"] == {"odd": "1"}
    assert sum(layer["spikes_compared"] for layer in found["layers"]) == found["spikes_compared"]


def test_without_samples_nothing_is_replayed(network: LIFNetwork, tmp_path: Path) -> None:
    done = export(network, "python", tmp_path)
    assert done.verdict == "not_replayed"
    assert "no held-out samples" in done.certificate["statement"]


@pytest.mark.parametrize(
    ("count", "verdict"), [(1, "differs"), (19, "differs"), (20, "equivalent")]
)
def test_one_prediction_is_tolerated_among_many_samples_alone(
    network: LIFNetwork, count: int, verdict: str, tmp_path: Path
) -> None:
    assert done_with(network, Odd(scores="one off"), tmp_path, count).verdict == verdict


def test_a_network_that_fires_nowhere_is_compared_with_nothing(
    network: LIFNetwork, tmp_path: Path
) -> None:
    silent = LIFNetwork(network.description, {k: 0 * v for k, v in network.tensors.items()})
    for shows in (True, False):
        done = done_with(silent, Odd(shows=shows), tmp_path)
        assert done.verdict == "not_replayed"
        assert "no neuron fired" in done.certificate["statement"]


@pytest.mark.parametrize("shape", [(0, 2, 8, 8), (3, 1, 8, 8), (3, 2, 8)])
def test_samples_that_do_not_fit_are_refused_before_anything_is_written(
    network: LIFNetwork, shape: tuple[int, ...], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="takes samples of shape N 2 8 8"):
        export(network, "python", tmp_path / "out", np.zeros(shape, np.float32))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("labels", [[0, 1, 3], [0, -1, 2]])
def test_labels_of_another_data_set_are_refused(
    network: LIFNetwork, labels: list[int], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="another data set"):
        export(network, "python", tmp_path, samples(0, 3, network), np.array(labels))


def test_a_reader_that_cannot_run_the_file_is_an_error_in_words(
    network: LIFNetwork, tmp_path: Path
) -> None:
    with pytest.raises(ReplayError, match="odd cannot run what was written for it: broken"):
        done_with(network, Odd(breaks=True), tmp_path)
    assert not list(tmp_path.glob("*-certificate.json"))


def test_a_file_that_was_changed_or_lost_is_found(network: LIFNetwork, tmp_path: Path) -> None:
    done_with(network, Odd(), tmp_path)
    certificate = tmp_path / "odd-certificate.json"
    assert verify(certificate).problems == ()
    assert verify(tmp_path / "odd.txt").says[0] == "odd.txt, by odd-certificate.json"
    (tmp_path / "odd.txt").write_text("changed")
    assert verify(tmp_path / "odd.txt").problems == verify(certificate).problems
    assert verify(certificate).problems == ("odd.txt is not the file that was certified",)
    (tmp_path / "odd.txt").unlink()
    assert verify(certificate).problems == ("odd.txt is not beside it",)


def test_a_network_found_on_a_disk_is_traced_to_its_exports(
    network: LIFNetwork, tmp_path: Path
) -> None:
    certificate = done_with(network, Odd(), tmp_path).certificate
    network.save(tmp_path / "lif.safetensors")
    digest = certificate["network"]["sha256_of_tensors"]
    assert any(digest in line for line in verify(tmp_path / "lif.safetensors").says)


def test_an_export_without_training_data_says_so(network: LIFNetwork, tmp_path: Path) -> None:
    found = done_with(network, Odd(), tmp_path)
    assert found.certificate["dataset_sha256"] is None
    path = tmp_path / "odd-certificate.json"
    assert any("names no data set" in line for line in verify(path).says)
    path.write_text(json.dumps({**found.certificate, "dataset_sha256": "ab" * 32}))
    (line,) = (line for line in verify(path).says if "ab" * 32 in line)
    assert "the data set that they are of" in line


def test_a_file_that_no_certificate_names_is_refused(network: LIFNetwork, tmp_path: Path) -> None:
    done_with(network, Odd(), tmp_path)
    (tmp_path / "other-certificate.json").write_text("[]")
    (tmp_path / "other.txt").write_text("no network")
    with pytest.raises(ValueError, match=r"other\.txt"):
        verify(tmp_path / "other.txt")


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", b'{"format": "saf-export/1"}', b'{"format": "saf-certificate/1"}', b"\xff"],
)
def test_what_is_no_certificate_is_refused_in_words(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "odd.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"odd\.json"):
        verify(tmp_path / "odd.json")


def test_a_certificate_names_no_file_elsewhere(network: LIFNetwork, tmp_path: Path) -> None:
    done_with(network, Odd(), tmp_path)
    path = tmp_path / "odd-certificate.json"
    found = json.loads(path.read_text())
    found["files"][0]["name"] = "../secret"
    path.write_text(json.dumps(found))
    assert verify(path).problems == ("../secret is not beside it",)


def test_a_target_that_knows_no_lengths_is_replayed_at_all_time_steps_and_says_so(
    tmp_path: Path,
) -> None:
    network = converted(architecture_of_one_layer(), 1, 3, "saf-f", frames=True)
    x = samples(0, 6, network)
    done = export(network, Odd(), tmp_path, x, lengths=np.array([1, 2, 3, 3, 2, 1]))
    assert done.certificate["until_ends"] is False
    assert done.certificate["spikes_compared"] == 6 * 3 * 4 * 64
    done = export(network, "python", tmp_path, x, lengths=np.array([1, 2, 3, 3, 2, 1]))
    assert done.certificate["until_ends"] is True
    assert done.certificate["spikes_compared"] == 12 * 4 * 64
    with pytest.raises(ValueError, match="6 whole numbers from 1 to 3"):
        export(network, "python", tmp_path, x, lengths=np.array([1, 2, 3, 4, 2, 1]))
