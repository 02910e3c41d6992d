"""The readouts last and max: one loss, at the end, whose gradient goes to the steps it is of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

import saf
from saf.config import JobSpecification
from saf.config.methods import Readout
from saf.config.targets import CannotExportError
from saf.data.dataset import Dataset
from saf.lif.exporting import export
from saf.lif.header import LIFDescription
from saf.model.each_step import at_the_end
from saf.model.inference import infer
from tests.saf.methods.gradients import all_layers_fire, assert_close, firing_case, train
from tests.saf.methods.rules import METHODS
from tests.saf.networks.random_networks import Case, cases
from tests.saf.training.trainings import run, summary

READOUTS: list[Readout] = ["last", "max"]


def outputs_of(case: Case) -> Tensor:
    """o[t], T B classes: differences of the sums that the readout mean has."""
    found: list[Tensor] = []

    def noted(scores: Tensor, _y: Tensor) -> Tensor:
        found.append(scores.detach())
        return scores.sum()

    case.network.zero_grad()
    METHODS["ottt-a"](
        case.network,
        case.x,
        case.y,
        timesteps=case.timesteps,
        loss=noted,
        update=lambda: None,
        masks=case.masks,
    )
    return torch.stack(found)


@pytest.mark.slow
@pytest.mark.parametrize("readout", READOUTS)
@settings(max_examples=8, deadline=None)
@given(case=cases(), traced=st.booleans(), chunk=st.integers(1, 3))
def test_saf_e_and_ottt_a_have_the_gradient_of_the_steps_that_are_read(
    readout: Readout, case: Case, traced: bool, chunk: int
) -> None:
    outcome, of_saf = train(METHODS["saf-e"], case, traced=traced, readout=readout, chunk=chunk)
    assume(all_layers_fire(outcome))
    other, of_ottt = train(METHODS["ottt-a"], case, traced=traced, readout=readout)
    assert_close(of_saf, of_ottt, 1e-12, case.network)
    ended = at_the_end(outputs_of(case), case.y, readout, F.cross_entropy)
    for found in (outcome, other):
        torch.testing.assert_close(found.loss, ended.loss, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(found.scores, ended.scores, rtol=1e-10, atol=1e-12)
    steps = iter(ended.gradients * case.timesteps)
    case.network.zero_grad()
    METHODS["ottt-a"](
        case.network,
        case.x,
        case.y,
        timesteps=case.timesteps,
        loss=lambda scores, _y: (scores * next(steps)).sum(),
        update=lambda: None,
        trace_bias_and_input=traced,
        masks=case.masks,
    )
    expected = {
        name: torch.zeros_like(p) if p.grad is None else p.grad
        for name, p in case.network.named_parameters()
    }
    assert_close(of_saf, expected, 1e-12, case.network)


def test_the_gradient_of_max_goes_to_the_largest_output_of_each_class() -> None:
    outputs = torch.tensor([[[1.0, 5.0]], [[3.0, 2.0]], [[3.0, 4.0]]], dtype=torch.float64)
    found = at_the_end(outputs, torch.tensor([0]), "max", F.cross_entropy)
    assert found.scores.tolist() == [[3.0, 5.0]]
    share = F.softmax(found.scores, 1)[0]
    expected = torch.zeros_like(outputs)
    expected[1, 0, 0], expected[0, 0, 1] = share[0] - 1, share[1]
    torch.testing.assert_close(found.gradients, expected)


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("method", ["saf-e", "ottt-a", "bptt"])
@pytest.mark.parametrize("frames", [False, True])
def test_inference_and_a_call_have_the_scores_of_training(
    method: str, readout: Readout, frames: bool
) -> None:
    case = firing_case(threshold=0.7, decay=0.8, frames=frames)
    outcome, gradients = train(METHODS[method], case, traced=False, readout=readout)
    assert all(g.abs().max() > 0 for g in gradients.values())
    loss = infer(
        case.network,
        case.x,
        case.timesteps,
        readout=readout,
        loss=lambda scores: F.cross_entropy(scores, case.y),
    )
    torch.testing.assert_close(loss.scores, outcome.scores)
    torch.testing.assert_close(loss.loss, outcome.loss)
    case.network.readout_kind = readout
    torch.testing.assert_close(case.network(case.x, case.timesteps), outcome.scores)


def test_of_one_step_all_readouts_are_the_same() -> None:
    case = firing_case(threshold=0.7, decay=0.8, frames=False)
    case.timesteps = 1
    _, expected = train(METHODS["bptt"], case, traced=False)
    for readout in READOUTS:
        _, found = train(METHODS["bptt"], case, traced=False, readout=readout)
        assert_close(found, expected, 1e-12, case.network)


def bumps(samples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A bump at any time, in the channel of the class."""
    generator = np.random.default_rng(seed)
    y = np.arange(samples) % 3
    x = generator.normal(0, 0.3, (samples, 8, 3))
    x[np.arange(samples), generator.integers(0, 8, samples), y] += 4
    return x.astype(np.float32), y


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("method", ["saf-e", "ottt-a", "bptt"])
def test_a_job_delivers_a_network_that_reads_out_as_it_was_trained(
    method: str, readout: str, tmp_path: Path
) -> None:
    (x, y), (x_test, y_test) = bumps(48, 0), bumps(15, 1)
    data = Dataset(x, y, x_test, y_test, tuple("abc"))
    asked = JobSpecification.model_validate(
        {
            "network": {"name": "mlp", "features": [16]},
            "method": {"name": method, "readout": readout},
            "epochs": 3,
        }
    )
    reports = run(asked, data, tmp_path)
    certificate = json.loads((tmp_path / "certificate.json").read_text())
    assert certificate["readout"] == readout
    assert all(check["predictions_differing"] == 0 for check in certificate["checks"])
    lif = saf.load_lif(tmp_path / "lif.safetensors")
    assert lif.description.format == "saf-lif/3"
    samples, state, outputs, before = torch.from_numpy(x_test), None, [], None
    plain = lif.description.model_dump() | {"readout": "mean", "format": "saf-lif/2"}
    summed = type(lif)(LIFDescription.model_validate(plain), lif.tensors)
    for step in summed.run(samples):
        outputs.append(step.scores if before is None else step.scores - before)
        before = step.scores
    for now in samples.unbind(1):
        scores, state = lif.step(now, state)
    expected = outputs[-1] if readout == "last" else torch.stack(outputs).amax(0)
    torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(scores, lif(samples))
    accuracy = float((lif.predict(samples).numpy() == y_test).mean())
    assert summary(reports)["lif_accuracy"] == pytest.approx(accuracy)
    assert export(lif, "python", tmp_path / "written", x_test).verdict == "identical"
    with pytest.raises(CannotExportError, match=f"read out as {readout}"):
        export(lif, "c", tmp_path / "refused", x_test)


@pytest.mark.slow
def test_a_bump_at_any_time_is_found_by_its_largest_output(tmp_path: Path) -> None:
    (x, y), (x_test, y_test) = bumps(90, 0), bumps(30, 1)
    asked = JobSpecification.model_validate(
        {
            "network": {"name": "mlp", "features": [32]},
            "method": {"name": "saf-e", "readout": "max"},
            "epochs": 20,
        }
    )
    reports = run(asked, Dataset(x, y, x_test, y_test, tuple("abc")), tmp_path)
    assert summary(reports)["test_accuracy"] >= 0.9


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": {"name": "ottt-o"}}, "updates the weights after every time step"),
        ({"method": {"name": "saf-e", "update": "step"}}, "updates the weights after every"),
        ({"method": {"name": "saf-f"}}, "train the weighted readout"),
        ({"method": {"name": "spike-representation"}}, "train the weighted readout"),
        (
            {"method": {"name": "saf-e"}, "conversion": {"grid_bits": 8}},
            "needs the readout mean or weighted",
        ),
    ],
)
def test_what_cannot_be_read_out_at_the_end_is_refused_in_words(
    readout: str, changes: dict[str, Any], message: str
) -> None:
    asked = {**changes, "method": {**changes["method"], "readout": readout}}
    with pytest.raises(ValidationError, match=message):
        JobSpecification.model_validate(asked)
