"""Batches of one sample, of two, of odd numbers, in any number of parts: the same training."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from saf.config import Neuron, Surrogate
from saf.data import BUILTIN
from saf.data.dataset import Dataset
from saf.kernels import native
from saf.model import weight_standardisation
from saf.model.dropout import dropout_masks
from saf.model.network import SpikingNetwork, network_of
from saf.model.outcome import Outcome
from saf.networks.build import build
from saf.networks.convnet import ConvNet
from saf.networks.mlp import MLP
from saf.training import checkpoint as checkpoints
from saf.training.batches import Batches, Samples
from saf.training.events import Evaluation, Step
from saf.training.loop import train as train_job
from tests.saf.config.specifications import networks
from tests.saf.kernels.compiler import needs_compiler
from tests.saf.lif.grid_networks import converted
from tests.saf.methods import reference
from tests.saf.methods.gradients import assert_close, train
from tests.saf.methods.rules import METHODS, SAF_E_BY_STEP, Method, cut
from tests.saf.networks.random_networks import Case, cases, randomise
from tests.saf.training.trainings import resolved

AT_EACH_STEP = ("saf-e", "ottt-a", "bptt")
UPDATED_ONCE: dict[str, Method] = {
    name: method for name, method in METHODS.items() if name != "ottt-o"
} | {f"{name}, weighted": partial(METHODS[name], readout="weighted") for name in AT_EACH_STEP}
ALL: dict[str, Method] = METHODS | UPDATED_ONCE | {"saf-e, by step": SAF_E_BY_STEP}

pytestmark = pytest.mark.slow


def part_of(case: Case, rows: slice) -> Case:
    masks = {name: mask[rows] for name, mask in case.masks.items()}
    return Case(case.network, case.x[rows], case.y[rows], case.timesteps, masks)


def alone(case: Case, method: Method, **options: Any) -> tuple[Tensor, dict[str, Tensor]]:
    """Mean loss and mean gradients of the samples, each shown as a batch of its own."""
    count = len(case.y)
    found = [
        train(method, part_of(case, slice(i, i + 1)), traced=False, **options) for i in range(count)
    ]
    loss = torch.stack([outcome.loss for outcome, _ in found]).mean()
    names = found[0][1]
    return loss, {name: sum(own[name] for _, own in found) / count for name in names}  # type: ignore[misc]


@settings(max_examples=60, deadline=None)
@given(
    case=cases(fewest=2, most=7),
    method=st.sampled_from(sorted(UPDATED_ONCE)),
    parts=st.integers(2, 7),
    chunk=st.integers(1, 9),
)
def test_any_number_of_parts_is_the_whole_batch(
    case: Case, method: str, parts: int, chunk: int
) -> None:
    one = UPDATED_ONCE[method]
    whole, expected = train(one, case, traced=True, chunk=chunk)
    parted, found = train(cut(one, parts), case, traced=True, chunk=chunk)
    assert_close(found, expected, 1e-11, case.network)
    for ours, theirs in zip(parted, whole, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(case=cases(fewest=2, most=5), method=st.sampled_from(sorted(ALL)), chunk=st.integers(1, 9))
def test_the_gradient_of_a_batch_is_the_mean_of_those_of_its_samples(
    case: Case, method: str, chunk: int
) -> None:
    outcome, whole = train(ALL[method], case, traced=False, chunk=chunk)
    loss, mean = alone(case, ALL[method], chunk=chunk)
    assert_close(mean, whole, 1e-11, case.network)
    torch.testing.assert_close(loss, outcome.loss, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("frames", [False, True])
@pytest.mark.parametrize("samples", [1, 2, 3])
@pytest.mark.parametrize("side", [1, 3, 8])
def test_images_of_any_side_have_the_gradients_of_the_loop_reference(
    side: int, samples: int, frames: bool
) -> None:
    """One image of one pixel has the shape of a bias, one of one channel that of a feature."""
    layers = ConvNet(channels=(1, 4))
    for asked, shape in (
        (layers, (3, side, side)),
        (layers, (3, 1, side)),
        (MLP(features=(5, 4)), (2, side, side)),
    ):
        network = SpikingNetwork(
            asked.architecture(shape, 3),  # also of one pixel, which a job cannot ask for
            Neuron(threshold=0.7, surrogate=Surrogate(slope=1.0)),
            mean=[0.5] * shape[0],
            std=[0.3] * shape[0],
            seed=0,
        ).double()
        generator = torch.Generator().manual_seed(samples)
        randomise(network, generator)
        of = (samples, 4, *shape) if frames else (samples, *shape)
        x = torch.rand(of, generator=generator, dtype=torch.float64)
        case = Case(network, x, torch.arange(samples) % 3, 4)
        expected = reference.ottt_a(network, case.x, case.y, 4, True)
        for name in ("saf-e", "ottt-a"):
            for chunk in (1, 3):
                outcome, found = train(METHODS[name], case, traced=True, chunk=chunk)
                assert_close(found, expected.gradients, 1e-11, case.network)
                torch.testing.assert_close(outcome.loss, expected.loss, rtol=1e-11, atol=0.0)
        gate = reference.clamp_gate(0.7)
        expected = reference.spike_representation(network, case.x, case.y, 4, gate)
        _, found = train(METHODS["spike-representation"], case, traced=True, chunk=3)
        assert_close(found, expected.gradients, 1e-11, case.network)


@pytest.mark.parametrize("network", networks(), ids=lambda network: network["name"])
def test_every_network_that_can_be_asked_for_learns_the_same_in_parts_of_one(
    network: dict[str, Any],
) -> None:
    side = {"vgg16": 32, "vgg11": 16, "vgg11-f": 16}.get(network["name"], 8)
    number = networks().index(network)
    names = sorted(UPDATED_ONCE)
    job = resolved({"network": network, "precision": "float64"})
    module = network_of(job, build(job.network, (1, side, side), 3), mean=[0.5], std=[0.3])
    generator = torch.Generator().manual_seed(number)
    randomise(module, generator)
    for name, frames in ((names[number % len(names)], False), (names[-1 - number % 3], True)):
        if job.network.in_time and not frames:
            continue
        shape = (3, 2, 1, side, side) if frames else (3, 1, side, side)
        x = torch.rand(shape, generator=generator, dtype=torch.float64)
        case = Case(module, x, torch.arange(3), 2)
        whole, expected = train(UPDATED_ONCE[name], case, traced=False, chunk=2)
        parted, found = train(cut(UPDATED_ONCE[name], 3), case, traced=False, chunk=2)
        assert sum(gradient.abs().sum() > 0 for gradient in expected.values()) > 2
        assert_close(found, expected, 1e-10, case.network)
        torch.testing.assert_close(parted.scores, whole.scores, rtol=1e-10, atol=1e-11)
        torch.testing.assert_close(parted.loss, whole.loss, rtol=1e-11, atol=1e-12)


def dyadic(dtype: torch.dtype, frames: bool, samples: int, dropout: float) -> Case:
    """A convnet and a batch on which float32 is exact: weights are multiples of 2^−6, pixels 0 or
    1, λ = ½, V = 1. So its spikes do not depend on how a batch is cut, in low precision either."""
    architecture = build(ConvNet(channels=(4, 6)), (2, 8, 8), 3)
    plain = architecture.model_dump()
    for layer in (*plain["layers"], plain["readout"]):
        for connection in layer["connections"]:
            kept = [o for o in connection["operations"] if o["kind"] != "scale"]
            connection["operations"] = [
                o | {"standardised": False} if o["kind"] == "conv" else o for o in kept
            ]
    low = dtype is torch.bfloat16
    network = SpikingNetwork(
        type(architecture).model_validate(plain),
        Neuron(surrogate=Surrogate(slope=1.0), dropout=dropout),
        mean=[0.0, 0.0],
        std=[1.0, 1.0],
        seed=0,
        compute_dtype=dtype if low else None,
    ).to(torch.float32 if low else dtype)
    generator = torch.Generator().manual_seed(1)
    randomise(network, generator)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_((parameter * 2**6).round() / 2**6)
    shape = (samples, 3, 2, 8, 8) if frames else (samples, 2, 8, 8)
    x = torch.randint(0, 2, shape, generator=generator).to(network.parameter_dtype)
    masks = dropout_masks(network, samples, generator)
    return Case(network, x, torch.arange(samples) % 3, 3, masks)


@needs_compiler
@pytest.mark.parametrize("in_cpp", [False, True], ids=["plain", "C++"])
@pytest.mark.parametrize("frames", [False, True], ids=["images", "frames"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_parts_are_the_whole_in_every_precision_and_in_cpp(
    dtype: torch.dtype, frames: bool, in_cpp: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weight_standardisation, "FEWEST_WEIGHTS", 1)
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 3e-2}[dtype]
    for samples, dropout in ((1, 0.0), (2, 0.5), (3, 0.0), (5, 0.5)):
        case = dyadic(dtype, frames, samples, dropout)
        for name, method in UPDATED_ONCE.items():
            whole, expected = train(method, case, traced=False, chunk=2)
            assert (whole.firing_rates > 0).all()
            for parts in range(2, samples + 1):
                with native.allowed(in_cpp):
                    parted, found = train(cut(method, parts), case, traced=False, chunk=2)
                assert_close(found, expected, tolerance, case.network)
                torch.testing.assert_close(
                    parted.firing_rates, whole.firing_rates, rtol=1e-6, atol=1e-7, msg=name
                )
                torch.testing.assert_close(parted.loss, whole.loss, rtol=tolerance, atol=tolerance)
                assert torch.equal(parted.scores.argmax(1), whole.scores.argmax(1))


@settings(max_examples=20, deadline=None)
@given(case=cases(fewest=2, most=5), readout=st.sampled_from(["saf-e", "saf-f"]))
def test_lif_networks_give_a_sample_the_scores_that_it_has_in_a_batch(
    case: Case, readout: str
) -> None:
    frames = case.x.dim() == 5
    lif = converted(case.network.architecture, 0, case.timesteps, readout, frames=frames)
    lif.to(dtype=torch.float64)
    together = lif(case.x)
    for i in range(len(case.x)):
        one = case.x[i : i + 1]
        torch.testing.assert_close(lif(one), together[i : i + 1], rtol=1e-9, atol=1e-9)
        *_, last = lif.run(one)
        torch.testing.assert_close(last.scores, together[i : i + 1], rtol=1e-9, atol=1e-9)


def digits(samples: int) -> Dataset:
    whole = BUILTIN["digits"]()
    return Dataset(
        x_train=whole.x_train[:samples],
        y_train=whole.y_train[:samples],
        x_test=whole.x_test[:50],
        y_test=whole.y_test[:50],
        class_names=whole.class_names,
    )


def trained(directory: Path, samples: int, **changes: Any) -> tuple[dict[str, Tensor], list[Any]]:
    values: dict[str, Any] = {
        "network": {"name": "convnet", "channels": [4, 8]},
        "timesteps": 3,
        "epochs": 1,
        "precision": "float64",
    }
    job = resolved(values | changes)
    reports = list(train_job(job, digits(samples), directory, device="cpu"))
    saved = checkpoints.Checkpoint.read(directory / "checkpoint.safetensors")
    told = [
        {k: v for k, v in report.metrics.items() if k in TOLD}
        for report in reports
        if isinstance(report, Step | Evaluation)
    ]
    return saved.weights, told


TOLD = ("loss", "accuracy", "firing_rate", "test_loss", "test_accuracy")


@pytest.mark.parametrize("method", ["saf-e", "saf-f", "ottt-a", "spike-representation", "bptt"])
@pytest.mark.parametrize(("samples", "batch_size"), [(33, 16), (5, 2)])
def test_a_job_with_a_part_for_each_image_is_the_job_with_whole_batches(
    samples: int, batch_size: int, method: str, tmp_path: Path
) -> None:
    """33 samples in sixteens and 5 in twos leave batches whose parts have one image or none."""
    given = {"method": {"name": method}, "batch_size": batch_size}
    whole, told = trained(tmp_path / "1", samples, **given)
    cut, of_parts = trained(tmp_path / "n", samples, **given, micro_batches=batch_size)
    for name, weights in whole.items():
        torch.testing.assert_close(cut[name], weights, rtol=1e-10, atol=1e-11, msg=name)
    assert len(told) == len(of_parts) > 1
    for one, other in zip(told, of_parts, strict=True):
        assert one == pytest.approx(other, rel=1e-9)


def test_digits_in_sixteen_parts_of_one_image_are_digits_in_whole_batches(tmp_path: Path) -> None:
    """The job that ended at 10 % where the same job in whole batches gave 95 %."""
    changes = {"batch_size": 16, "network": {"name": "convnet", "channels": [8, 8]}}
    whole, told = trained(tmp_path / "1", 640, **changes)
    cut, of_parts = trained(tmp_path / "n", 640, **changes, micro_batches=16)
    for name, weights in whole.items():
        torch.testing.assert_close(cut[name], weights, rtol=1e-9, atol=1e-10, msg=name)
    for one, other in zip(told, of_parts, strict=True):
        assert one == pytest.approx(other, rel=1e-8)
    assert told[-1]["test_accuracy"] > 0.5


def test_batches_of_one_image_train_what_a_hand_written_loop_trains(tmp_path: Path) -> None:
    """batch_size 1 itself: plain gradient descent by the loop reference, image by image."""
    changes = {
        "batch_size": 1,
        "method": {"name": "spike-representation"},
        "optimizer": {"name": "sgd", "learning_rate": 0.05, "momentum": 0.0},
        "schedule": {"name": "constant"},
        "loss": {"mse_share": 0.0},
    }
    weights, _ = trained(tmp_path, 12, **changes)
    assert weights
    data = digits(12)
    job = resolved(
        {"network": {"name": "convnet", "channels": [4, 8]}, "timesteps": 3, "epochs": 1,
         "precision": "float64"} | changes
    )  # fmt: skip
    mean, std = (values.tolist() for values in data.channel_statistics())
    network = network_of(job, build(job.network, (1, 8, 8), 10), mean=mean, std=std)
    samples = Samples(data.x_train, data.y_train, torch.device("cpu"), torch.float64)
    batches = Batches(12, 1, job.seed)
    gate = reference.clamp_gate(1.0)
    for step in range(batches.per_epoch):
        x, y = samples[batches[step]]
        found = reference.spike_representation(network, x, y, 3, gate).gradients
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                parameter -= 0.05 * found[name]  # type: ignore[misc]
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(weights[name], parameter.detach(), rtol=1e-9, atol=1e-10)


def test_the_loss_of_a_part_without_a_sample_is_never_asked_for() -> None:
    seen: list[int] = []

    def method(*given: Any, **_: Any) -> Any:
        x = given[1]
        seen.append(len(x))
        return Outcome(torch.zeros(()), torch.zeros(len(x), 3), torch.zeros(2))

    network: Any = None
    for samples in (1, 2, 3, 5):
        for parts in range(2, 9):
            seen.clear()
            cut(method, parts)(
                network,
                torch.zeros(samples, 1, 8, 8),
                torch.zeros(samples, dtype=torch.int64),
                timesteps=1,
                loss=F.cross_entropy,
                update=lambda: None,
            )
            assert sum(seen) == samples
            assert min(seen) > 0
            assert max(seen) - min(seen) <= 1
