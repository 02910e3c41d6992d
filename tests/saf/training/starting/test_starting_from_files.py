"""A training that starts from a `lif.safetensors`: it begins with the spikes of the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

from saf.config import JobSpecification, ResolvedSpecification
from saf.config.methods import Readout
from saf.data.dataset import Dataset
from saf.errors import UserConfigError
from saf.lif.convert import convert, on_grid
from saf.lif.network import LIFNetwork, load_lif
from saf.lif.starting import settings_of, taken_over
from saf.model.network import network_of
from saf.networks.build import build_for
from saf.training.trainer import Trainer
from tests.saf.training.starting.continuations import of_classes
from tests.saf.training.trainings import AS_PUBLISHED, dataset, resolved

NEURONS: list[dict[str, Any]] = [
    {"decay": 0.5},
    {"decay": 0.8, "threshold": 0.7},
    {"decay": 0.5, "decays": [0.25, 0.75]},
    {"name": "cuba", "synaptic_decay": 0.3},
    {"name": "cuba", "synaptic_decay": 0.3, "decay": 0.4, "decays": [0.25, 0.75]},
    {"name": "alif", "decays": [0.9, 0.9]},
    {"name": "alif"},
    {"name": "plif", "decay": 0.6},
]


def left(directory: Path, data: Dataset | None = None, **changes: Any) -> LIFNetwork:
    """A file of a network with drawn weights and biases, standardised and then folded."""
    data = data or dataset()
    changes.setdefault("network", {"name": "convnet", "channels": [4, 5]})
    changes.setdefault("method", {"name": "ottt-a"})
    job = resolved(timesteps=5, **changes)
    architecture = build_for(job, data.sample_shape, data.classes, in_time=False)
    mean, std = [0.1] * data.sample_shape[0], [0.3] * data.sample_shape[0]
    network = network_of(job, architecture, mean=mean, std=std)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0.0, 0.1, generator=generator)
    lif = convert(network, job, class_names=data.class_names, frames=False)
    lif.save(directory / "lif.safetensors")
    return lif


def job_from(lif: LIFNetwork, **changes: Any) -> ResolvedSpecification:
    as_sent = {"init": {"network": "lif.safetensors"}, **changes}
    body = taken_over(as_sent, settings_of(lif))
    JobSpecification.model_validate(body)  # what a client sends
    return ResolvedSpecification.model_validate({**AS_PUBLISHED, **body})


def begun(job: ResolvedSpecification, file: Path, data: Dataset) -> Trainer:
    architecture = build_for(job, data.sample_shape, data.classes, in_time=False)
    cpu = torch.device("cpu")
    return Trainer(job, data, architecture, cpu, resume_from=None, init_from=file)


def delivered(trainer: Trainer, data: Dataset) -> LIFNetwork:
    job = trainer.specification
    return convert(
        trainer.delivered(),
        job,
        class_names=data.class_names,
        frames=False,
        dtype=trainer.network.parameter_dtype,
    )


def assert_same_spikes(one: LIFNetwork, other: LIFNetwork, data: Dataset) -> None:
    x = torch.from_numpy(data.x_test).to(one.dtype) / 255
    fired = 0
    for ours, theirs in zip(one.run(x), other.run(x), strict=True):
        assert ours.spikes.keys() == theirs.spikes.keys()
        for layer, spikes in theirs.spikes.items():
            assert torch.equal(ours.spikes[layer], spikes), layer
            fired += int(spikes.sum())
        assert torch.equal(ours.scores, theirs.scores)
    assert fired


@pytest.mark.parametrize("neuron", NEURONS, ids=lambda neuron: str(neuron))
@pytest.mark.parametrize("readout", get_args(Readout))
def test_without_further_learning_it_spikes_as_the_file(
    neuron: dict[str, Any], readout: str, tmp_path: Path
) -> None:
    data = dataset()
    left(tmp_path, neuron=neuron, method={"name": "ottt-a", "readout": readout})
    file = load_lif(tmp_path / "lif.safetensors")
    job = job_from(file)
    assert job.method.readout == readout
    trainer = begun(job, tmp_path / "lif.safetensors", data)
    assert_same_spikes(delivered(trainer, data), file, data)


@pytest.mark.parametrize(
    "network",
    [
        {"name": "mlp", "features": [7]},
        {"name": "resnet18", "width": 0.05},
        {"name": "vgg11-f", "width": 0.05},
        {
            "name": "layers",
            "layers": [
                {"kind": "conv", "channels": 4},
                {"kind": "average_pool"},
                {"kind": "linear", "features": 5},
            ],
        },
    ],
    ids=lambda network: str(network["name"]),
)
def test_every_kind_of_network_can_be_a_start(network: dict[str, Any], tmp_path: Path) -> None:
    data = dataset(3, 32, 32, samples=6)
    left(tmp_path, data, network=network)
    file = load_lif(tmp_path / "lif.safetensors")
    trainer = begun(job_from(file), tmp_path / "lif.safetensors", data)
    assert_same_spikes(delivered(trainer, data), file, data)


def test_a_network_on_a_grid_stays_on_it(tmp_path: Path) -> None:
    data = dataset()
    file = on_grid(left(tmp_path), 6)
    file.save(tmp_path / "lif.safetensors")
    job = job_from(file)
    assert job.conversion.grid_bits == 6
    trainer = begun(job, tmp_path / "lif.safetensors", data)
    assert_same_spikes(on_grid(delivered(trainer, data), 6), file, data)


def test_float64_stays_float64_and_is_never_rounded_silently(tmp_path: Path) -> None:
    data = dataset()
    file = left(tmp_path).copied(dtype=torch.float64)
    file.save(path := tmp_path / "lif.safetensors")
    assert_same_spikes(delivered(begun(job_from(file), path, data), data), file, data)
    with pytest.raises(UserConfigError, match="would be rounded"):
        begun(job_from(file, precision="float32"), path, data)


def test_a_file_of_version_1_is_a_start(tmp_path: Path) -> None:
    path = Path(__file__).parents[3] / "data" / "lif-version-1" / "final.safetensors"
    file = load_lif(path)
    shape = file.description.architecture.input_shape
    generator = np.random.default_rng(1)
    x = generator.integers(0, 255, (8, *shape)).astype(np.uint8)
    y = np.arange(8) % len(file.class_names)
    data = Dataset(x_train=x, y_train=y, x_test=x, y_test=y, class_names=file.class_names)
    trainer = begun(job_from(file), path, data)
    assert_same_spikes(delivered(trainer, data), file, data)


def test_other_classes_get_a_new_readout_and_layers_can_be_frozen(tmp_path: Path) -> None:
    file = left(tmp_path)
    data = of_classes(5)
    job = job_from(file, init={"network": "n", "freeze": ["layer1"]})
    trainer = begun(job, tmp_path / "lif.safetensors", data)
    assert trainer.network.classes == 5
    for name, parameter in trainer.parameters.items():
        assert parameter.requires_grad != name.startswith("layer1."), name
        if not name.startswith("readout."):
            assert torch.equal(parameter, file.tensors[name]), name


def test_what_is_said_goes_before_what_the_file_says(tmp_path: Path) -> None:
    job = job_from(left(tmp_path), timesteps=3, neuron={"decay": 0.9}, method={"name": "bptt"})
    assert (job.timesteps, job.neuron.decay, job.method.name) == (3, 0.9, "bptt")
    assert job.network.name == "uploaded"


def test_another_network_is_refused_with_the_layer_that_does_not_fit(tmp_path: Path) -> None:
    file = left(tmp_path)
    convnet = {"name": "convnet", "channels": [4, 5]}
    with pytest.raises(UserConfigError, match="layer1 has standardised weights") as error:
        begun(job_from(file, network=convnet), tmp_path / "lif.safetensors", dataset())
    assert "leave network out" in error.value.hint
    other = settings_of(left(tmp_path, network={"name": "convnet", "channels": [4, 6]}))["network"]
    file.save(tmp_path / "lif.safetensors")
    with pytest.raises(UserConfigError, match="layer2 is another one"):
        begun(job_from(file, network=other), tmp_path / "lif.safetensors", dataset())


def test_layers_with_neurons_of_several_kinds_are_refused(tmp_path: Path) -> None:
    lif = left(tmp_path)
    neurons = {"layer2": {"name": "alif"}}
    description = lif.description.model_validate({**dict(lif.description), "neurons": neurons})
    with pytest.raises(ValueError, match="alif, lif; layer2 is the first"):
        settings_of(LIFNetwork(description, lif.tensors))


@pytest.mark.parametrize("what", ["zip", "legacy", "pickle"])
def test_what_can_run_code_is_refused_in_words(what: str, tmp_path: Path) -> None:
    import pickle

    path = tmp_path / "lif.safetensors"
    if what == "pickle":
        path.write_bytes(pickle.dumps({"weight": [1.0, 2.0]}))
    else:
        new = what == "zip"
        torch.save({"w": torch.ones(3)}, path, _use_new_zipfile_serialization=new)
    with pytest.raises(ValueError, match=r"torch\.save or of pickle"):
        load_lif(path)


@pytest.mark.parametrize(
    ("said", "readout"),
    [
        ("saf-e", "max"),
        ({"name": "bptt"}, "max"),
        ({"name": "saf-e", "readout": "mean"}, "mean"),
        ({"name": "saf-f"}, "weighted"),  # which has no other
        ("no-method", None),
    ],
)
def test_a_method_without_a_readout_reads_scores_as_the_file_does(
    said: Any, readout: str | None, tmp_path: Path
) -> None:
    """It read them as a mean, whatever the file says."""
    lif = left(tmp_path, method={"name": "saf-e", "readout": "max"})
    body = taken_over({"method": said}, settings_of(lif))
    if readout is None:
        assert body["method"] == said
    else:
        assert JobSpecification.model_validate(body).method.readout == readout
