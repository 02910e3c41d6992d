"""What a network is read by: the mean of the scores of all steps, or the weighted one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from pydantic import ValidationError

from saf.config import ResolvedSpecification
from saf.lif.convert import convert
from saf.model.inference import infer
from saf.networks.chain import SPIKE_SCALE
from tests.saf.methods import reference
from tests.saf.methods.gradients import assert_close, firing_case, train
from tests.saf.methods.rules import AT_EACH_STEP, METHODS, called
from tests.saf.training.trainings import resolved


def specification(method: str, **changes: Any) -> ResolvedSpecification:
    return resolved(
        {"method": {"name": method, **changes}, "timesteps": 6, "neuron": {"decay": 0.8}}
    )


@pytest.mark.parametrize("method", ["saf-f", "spike-representation"])
def test_the_mean_is_refused_where_a_loss_sees_the_weighted_mean_only(method: str) -> None:
    with pytest.raises(ValidationError, match="take saf-e, ottt-a, ottt-o or bptt") as refused:
        specification(method, readout="mean")
    assert refused.value.errors()[0]["loc"] == ("method", method, "readout")
    assert specification(method).method.readout == "weighted"


@pytest.mark.parametrize("method", AT_EACH_STEP)
def test_methods_with_a_loss_at_each_step_read_the_mean_unless_told(method: str) -> None:
    assert specification(method).method.readout == "mean"
    weighted = specification(method, readout="weighted").method
    assert weighted.readout == "weighted"
    case = firing_case(decay=0.8)
    outcome, _ = train(called(weighted.rule()), case, traced=False)
    found = infer(case.network, case.x, case.timesteps, readout="weighted").scores
    torch.testing.assert_close(outcome.scores, found, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("method", ["saf-e", "ottt-a", "bptt"])
@pytest.mark.parametrize("frames", [False, True])
def test_the_weighted_readout_gets_the_gradient_of_its_own_loss(method: str, frames: bool) -> None:
    """The readout is linear, so its gradient is that of Σ_t loss(W r[t] + b) / T with the weighted
    rates r[t], which automatic differentiation knows, whatever the method does to the layers."""
    case = firing_case(decay=0.8, frames=frames)
    outcome, found = train(AT_EACH_STEP[method], case, traced=False, readout="weighted")
    weight = case.network.get_parameter("readout.0.weight").detach().requires_grad_()
    bias = case.network.get_parameter("readout.bias").detach().requires_grad_()
    loss = torch.zeros(())
    for t, run in enumerate(reference.lif_run(case.network, case.x, case.timesteps), start=1):
        rates = SPIKE_SCALE * run.traces["layer3"].flatten(1)
        scores = F.linear(rates / reference.c_of(t, 0.8), weight, bias)
        loss = loss + F.cross_entropy(scores, case.y) / case.timesteps
    loss.backward()
    expected = {"readout.0.weight": weight.grad, "readout.bias": bias.grad}
    torch.testing.assert_close(outcome.loss, loss.detach())
    assert_close({n: found[n] for n in expected}, expected, 1e-11, case.network)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["saf-f", *AT_EACH_STEP])
def test_at_one_step_methods_with_one_surrogate_agree_on_the_weighted_readout(method: str) -> None:
    case = firing_case(timesteps=1)
    options: dict[str, Any] = {"readout": "weighted"} if method in AT_EACH_STEP else {}
    _, expected = train(METHODS["ottt-a"], case, traced=True)
    _, found = train(METHODS[method], case, traced=True, **options)
    assert_close(found, expected, 1e-12, case.network)


def test_at_decay_one_the_weighted_mean_is_the_mean() -> None:
    case = firing_case(decay=1.0, timesteps=4, threshold=2.0)
    summed = infer(case.network, case.x, 4, readout="mean").scores
    weighted = infer(case.network, case.x, 4, readout="weighted").scores
    torch.testing.assert_close(weighted, summed / 4)


@pytest.mark.parametrize("readout", ["mean", "weighted"])
def test_the_converted_network_is_read_as_it_was_trained(readout: str) -> None:
    case = firing_case(decay=0.8)
    asked = specification("saf-e", readout=readout)
    lif = convert(case.network, asked, class_names="abc", frames=False, dtype=torch.float64)
    assert lif.description.readout == readout
    scores = infer(case.network, case.x, 6, readout=asked.method.readout).scores
    torch.testing.assert_close(lif(case.x), scores, rtol=1e-10, atol=1e-11)


def test_a_network_with_another_readout_than_the_specification_is_not_converted() -> None:
    case = firing_case(decay=0.8)
    case.network.readout_kind = "weighted"
    asked = specification("saf-e", readout="mean")
    with pytest.raises(ValueError, match=r"made with the readout weighted, .* \"weighted\"$"):
        convert(case.network, asked, class_names="abc", frames=False)
    asked = specification("saf-e", readout="weighted")
    lif = convert(case.network, asked, class_names="abc", frames=False)
    assert lif.description.readout == "weighted"
