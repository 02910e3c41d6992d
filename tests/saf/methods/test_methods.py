"""What all training methods have in common."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st

from saf.config import JobSpecification, Neuron
from saf.config import Method as ChosenMethod
from saf.errors import UserConfigError
from saf.model.forward.presentation import Presentation
from saf.model.forward.saf_forward import chunks
from saf.model.inference import infer, record
from saf.model.network import SpikingNetwork, present
from saf.networks.architecture import (
    Architecture,
    Connection,
    Conv,
    Flatten,
    LayerDescription,
    Linear,
)
from saf.networks.build import build
from saf.networks.mlp import MLP
from saf.networks.rnn import RNN
from tests.saf.methods import reference
from tests.saf.methods.gradients import assert_close, firing_case, train
from tests.saf.methods.rules import METHODS, Method
from tests.saf.networks.random_networks import Case, cases, randomise


def chosen(name: str) -> ChosenMethod:
    """The method of a specification that says nothing but its name."""
    return JobSpecification.model_validate({"method": {"name": name}}).method


SEVERAL = [METHODS["saf-e"], partial(METHODS["saf-e"], readout="weighted"), METHODS["saf-f"]]


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(
    case=cases(),
    method=st.sampled_from(SEVERAL),
    chunk=st.integers(2, 9),
)
def test_any_chunking_of_time_gives_the_same_numbers(
    case: Case, method: Method, chunk: int
) -> None:
    one, ones = train(method, case, traced=False, chunk=1)
    many, manys = train(method, case, traced=False, chunk=chunk)
    assert_close(ones, manys, 1e-12, case.network)
    torch.testing.assert_close(one.scores, many.scores, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(one.firing_rates, many.firing_rates)


@pytest.mark.parametrize("name", METHODS)
def test_inference_repeats_the_scores_and_rates_of_training(name: str) -> None:
    case = firing_case(frames=True)
    outcome, _ = train(METHODS[name], case, traced=False)
    for chunk in (1, 4, None):
        readout = chosen(name).readout
        found = infer(case.network, case.x, case.timesteps, readout=readout, chunk=chunk)
        torch.testing.assert_close(found.scores, outcome.scores, rtol=1e-12, atol=1e-13)
        torch.testing.assert_close(found.firing_rates, outcome.firing_rates)
        assert not found.scores.requires_grad


@pytest.mark.parametrize("name", METHODS)
def test_outcomes_hold_no_graph_and_one_update_is_asked_for(name: str) -> None:
    case = firing_case()
    updates = []
    outcome = METHODS[name](
        case.network,
        case.x,
        case.y,
        timesteps=case.timesteps,
        loss=F.cross_entropy,
        update=lambda: updates.append(1),
        trace_bias_and_input=False,
    )
    assert len(updates) == (case.timesteps if name == "ottt-o" else 1)
    assert not any(value.requires_grad for value in outcome)
    assert outcome.loss.shape == ()
    assert outcome.scores.shape == (4, 3)
    assert outcome.firing_rates.shape == (3,)


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_every_method_lowers_its_loss_on_a_batch(name: str) -> None:
    case = firing_case()
    optimizer = torch.optim.SGD(case.network.parameters(), lr=0.05)

    def update() -> None:
        optimizer.step()
        optimizer.zero_grad()

    run = partial(
        METHODS[name],
        case.network,
        case.x,
        case.y,
        timesteps=case.timesteps,
        loss=F.cross_entropy,
        update=update,
    )
    losses = [float(run().loss) for _ in range(25)]
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize(
    ("samples", "timesteps", "expected"),
    [(16, 6, [6]), (64, 5, [2, 2, 1]), (128, 3, [1, 1, 1]), (1000, 2, [1, 1])],
)
def test_a_small_batch_takes_several_steps_at_once_up_to_the_size_of_a_full_one(
    samples: int, timesteps: int, expected: list[int]
) -> None:
    assert chunks(of_samples(firing_case().network, samples), timesteps, None) == expected


@pytest.mark.parametrize(("samples", "expected"), [(8, [20]), (128, [8, 8, 4]), (4096, [1] * 20)])
def test_a_network_of_matrices_takes_as_many_steps_as_its_size_allows(
    samples: int, expected: list[int]
) -> None:
    architecture = build(MLP(features=(128, 128)), (1, 4, 4), 3)
    network = SpikingNetwork(architecture, Neuron(), mean=[0.5], std=[0.3], seed=0)
    assert chunks(of_samples(network, samples), 20, None) == expected


def test_with_feedback_a_method_that_learns_at_each_step_takes_several_after_the_first() -> None:
    architecture = build(RNN(features=(128, 128)), (4, 1, 1), 3)
    network = SpikingNetwork(architecture, Neuron(), mean=[0.5] * 4, std=[0.3] * 4, seed=0)
    shown = of_samples(network, 128)
    assert chunks(shown, 20, None) == [1] * 20
    assert chunks(shown, 20, None, learns=True) == [1, 8, 8, 3]
    assert chunks(shown, 6, 1, learns=True) == [1] * 6
    assert chunks(shown, 1, 5, learns=True) == [1]


def of_samples(network: SpikingNetwork, samples: int) -> Presentation:
    x = torch.zeros(1, *network.architecture.input_shape).expand(samples, -1, -1, -1)
    return present(network, network.stimulus(x, 1))


def test_a_chunk_of_no_steps_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 time step"):
        chunks(of_samples(firing_case().network, 16), 6, 0)


def test_frames_of_another_number_of_steps_are_refused_with_both_numbers() -> None:
    case = firing_case(frames=True)
    with pytest.raises(UserConfigError, match=r"6 frames.*5 time steps") as error:
        infer(case.network, case.x, 5, readout="mean")
    assert "timesteps to 6" in error.value.hint


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (2, 2, 8, 7), (2, 8, 8), (2, 6, 3, 8, 8)])
def test_inputs_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    case = firing_case()
    with pytest.raises(ValueError, match=r"takes images of \(2, 8, 8\)"):
        infer(case.network, torch.rand(shape), 6, readout="mean")


def test_bfloat16_arithmetic_trains_float32_parameters() -> None:
    architecture = Architecture(
        input_shape=(1, 8, 8),
        layers=(
            LayerDescription(
                name="layer1",
                connections=(Connection(source="input", operations=(Conv(out_channels=4),)),),
            ),
            LayerDescription(
                name="layer2",
                connections=(Connection(source="layer1", operations=(Conv(out_channels=4),)),),
            ),
        ),
        readout=LayerDescription(
            name="readout",
            connections=(
                Connection(source="layer2", operations=(Flatten(), Linear(out_features=3))),
            ),
        ),
    )
    case = {}
    for dtype in (None, torch.bfloat16):
        network = SpikingNetwork(
            architecture, Neuron(), mean=[0.5], std=[0.3], seed=3, compute_dtype=dtype
        )
        randomise(network, torch.Generator().manual_seed(0))
        x = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(1))
        case[dtype] = Case(network, x, torch.arange(8) % 3, 4)
    for name in METHODS:
        full, exact = train(METHODS[name], case[None], traced=True)
        low, rough = train(METHODS[name], case[torch.bfloat16], traced=True)
        assert low.scores.dtype == low.loss.dtype == torch.float32
        assert all(g.dtype == torch.float32 for g in rough.values())
        assert abs(float(low.loss - full.loss)) < 0.1 * float(full.loss)
        for key, gradient in exact.items():
            assert F.cosine_similarity(gradient.flatten(), rough[key].flatten(), 0) > 0.8, key


def test_a_recording_has_the_spikes_and_potentials_of_the_lif_network() -> None:
    case = firing_case(decay=0.8, threshold=0.7)
    runs = reference.lif_run(case.network, case.x, case.timesteps)
    recorded = list(record(case.network, case.x, case.timesteps))
    assert len(recorded) == case.timesteps
    for step, run in zip(recorded, runs, strict=True):
        for (spikes, u), name in zip(step, ("layer1", "layer2", "layer3"), strict=True):
            assert torch.equal(spikes, run.spikes[name])
            torch.testing.assert_close(u, run.potentials[name], rtol=1e-11, atol=1e-12)
