"""Gradients of every method against formulas written out by hand."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import partial

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from saf.architecture import Architecture, Connection, Conv, Flatten, Linear, Population
from saf.config import ConvNet, JobSpecification, Neuron, OtttA, SafE, Surrogate
from saf.config import Method as ChosenMethod
from saf.errors import UserConfigError
from saf.forward import chunks
from saf.inference import infer, readout_of, record
from saf.methods import METHODS, Method, Outcome, method_of
from saf.network import SpikingNetwork
from saf.networks import build
from saf.published import ottt_as_published
from tests.saf import reference
from tests.saf.random_networks import Case, cases, randomise

PER_STEP = ["saf-e", "ottt-a", "ottt-o", "bptt"]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def train(
    method: Method, case: Case, *, traced: bool, chunk: int = 1
) -> tuple[Outcome, dict[str, Tensor]]:
    """Outcome and gradients (zero where none arrived) of one batch without an update."""
    case.network.zero_grad()
    outcome = method(
        case.network,
        case.x,
        case.y,
        timesteps=case.timesteps,
        loss=F.cross_entropy,
        update=lambda: None,
        trace_bias_and_input=traced,
        chunk=chunk,
    )
    gradients = {
        name: torch.zeros_like(p) if p.grad is None else p.grad.clone()
        for name, p in case.network.named_parameters()
    }
    return outcome, gradients


def assert_close(ours: dict[str, Tensor], theirs: dict[str, Tensor], relative: float) -> None:
    """Every parameter agrees, relative to the largest entry of its gradient."""
    for name, gradient in ours.items():
        other = theirs.get(name, torch.zeros_like(gradient))
        scale = max(gradient.abs().max(), other.abs().max())
        assert (gradient - other).abs().max() <= relative * scale, name


def firing_case(
    *,
    threshold: float = 1.0,
    decay: float = 0.5,
    timesteps: int = 6,
    seed: int = 0,
    frames: bool = False,
) -> Case:
    """A convnet of three spiking layers in which every layer fires."""
    architecture = build(ConvNet(channels=(4, 6, 6)), (2, 8, 8), 3)
    neuron = Neuron(decay=decay, threshold=threshold, surrogate=Surrogate(slope=1.0))
    network = SpikingNetwork(architecture, neuron, mean=[0.5, 0.5], std=[0.3, 0.3], seed=0)
    generator = torch.Generator().manual_seed(seed)
    randomise(network.double(), generator)
    shape = (4, timesteps, 2, 8, 8) if frames else (4, 2, 8, 8)
    x = torch.rand(shape, generator=generator, dtype=torch.float64)
    case = Case(network, x, torch.tensor([0, 1, 2, 1]), timesteps)
    rates = infer(network, x, timesteps, readout="sum").firing_rates
    assert (rates > 0.02).all(), "a silent layer proves nothing"
    assert (rates < 0.98).all(), "nor does one that always fires"
    return case


def chosen(name: str) -> ChosenMethod:
    """The method of a specification that says nothing but its name."""
    return JobSpecification.model_validate({"method": {"name": name}}).method


def all_layers_fire(outcome: Outcome) -> bool:
    return bool((outcome.firing_rates > 0).all())


@settings(max_examples=40, deadline=None)
@given(case=cases(), traced=st.booleans())
def test_saf_e_and_ottt_a_have_the_gradient_of_the_loop_reference(case: Case, traced: bool) -> None:
    outcome, of_saf = train(METHODS["saf-e"], case, traced=traced)
    assume(all_layers_fire(outcome))
    other, of_ottt = train(METHODS["ottt-a"], case, traced=traced)
    with torch.no_grad():
        expected = reference.ottt_a(case.network, case.x, case.y, case.timesteps, traced)
    assert_close(of_saf, of_ottt, 1e-12)
    assert_close(of_ottt, expected.gradients, 1e-12)
    for found in (outcome, other):
        torch.testing.assert_close(found.loss, expected.loss, rtol=1e-12, atol=0)
        torch.testing.assert_close(found.scores, expected.scores, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("frames", [False, True])
@pytest.mark.parametrize("traced", [False, True])
def test_saf_e_equals_ottt_a_in_a_convnet_whose_layers_all_fire(traced: bool, frames: bool) -> None:
    case = firing_case(threshold=0.7, decay=0.8, frames=frames)
    _, of_saf = train(METHODS["saf-e"], case, traced=traced)
    _, of_ottt = train(METHODS["ottt-a"], case, traced=traced)
    expected = reference.ottt_a(case.network, case.x, case.y, case.timesteps, traced)
    assert all(g.abs().max() > 0 for g in of_saf.values())
    assert_close(of_saf, of_ottt, 1e-12)
    assert_close(of_saf, expected.gradients, 1e-12)


def test_the_trace_option_changes_biases_and_the_first_layer_only() -> None:
    case = firing_case()
    _, without = train(METHODS["saf-e"], case, traced=False)
    _, with_trace = train(METHODS["saf-e"], case, traced=True)
    changed = {n for n in without if not torch.allclose(without[n], with_trace[n], rtol=1e-9)}
    biases = {name for name in without if name.endswith("bias")}
    assert changed == biases | {"layer1.0.weight", "layer1.0.gain"}


@settings(max_examples=15, deadline=None)
@given(case=cases(), traced=st.booleans())
def test_ottt_evaluated_twice_as_published_has_the_same_gradient(case: Case, traced: bool) -> None:
    outcome, once = train(METHODS["ottt-a"], case, traced=traced)
    assume(all_layers_fire(outcome))
    other, twice = train(ottt_as_published, case, traced=traced)
    assert_close(once, twice, 1e-12)
    torch.testing.assert_close(outcome.scores, other.scores)


@settings(max_examples=15, deadline=None)
@given(case=cases(), traced=st.booleans())
def test_saf_e_updated_at_every_step_takes_the_trajectory_of_ottt_o(
    case: Case, traced: bool
) -> None:
    ends = []
    for method in (METHODS["ottt-o"], method_of(SafE(update="step"))):
        network = deepcopy(case.network)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9)

        def update(optimizer: torch.optim.Optimizer = optimizer) -> None:
            optimizer.step()
            optimizer.zero_grad()

        for _ in range(3):
            outcome = method(
                network,
                case.x,
                case.y,
                timesteps=case.timesteps,
                loss=F.cross_entropy,
                update=update,
                trace_bias_and_input=traced,
            )
        ends.append((outcome, dict(network.named_parameters())))
    (of_ottt, weights_of_ottt), (of_saf, weights_of_saf) = ends
    assume(all_layers_fire(of_ottt))
    assert torch.equal(of_ottt.firing_rates, of_saf.firing_rates)
    torch.testing.assert_close(of_saf.scores, of_ottt.scores, rtol=1e-9, atol=1e-9)
    changed = False
    for name, weight in weights_of_ottt.items():
        torch.testing.assert_close(weights_of_saf[name], weight, rtol=1e-9, atol=1e-10)
        changed |= not torch.equal(weight, case.network.get_parameter(name))
    assert changed


def test_a_specification_chooses_when_saf_e_updates() -> None:
    assert method_of(SafE()) is METHODS["saf-e"]
    assert method_of(SafE(update="step")) is not METHODS["saf-e"]
    assert method_of(OtttA()) is METHODS["ottt-a"]


@pytest.mark.parametrize("traced", [False, True])
def test_ottt_o_is_a_loop_of_one_step_gradients_and_updates(traced: bool) -> None:
    """By hand: the state is that of LIF neurons that live through the changes of the weights."""
    case, twin = firing_case(), firing_case()
    rate = 0.05
    optimizer = torch.optim.SGD(case.network.parameters(), lr=rate)
    updates = 0

    def update() -> None:
        nonlocal updates
        updates += 1
        optimizer.step()
        optimizer.zero_grad()

    outcome = METHODS["ottt-o"](
        case.network,
        case.x,
        case.y,
        timesteps=case.timesteps,
        loss=F.cross_entropy,
        update=update,
        trace_bias_and_input=traced,
    )
    assert updates == case.timesteps
    assert all_layers_fire(outcome)

    network, V, decay = twin.network, 1.0, 0.5
    image = (twin.x - network.mean) / network.std
    u: dict[str, Tensor | float] = {}
    s: dict[str, Tensor | float] = {}
    a: dict[str, Tensor | float] = {}
    total: Tensor | float = 0.0
    with torch.no_grad():
        for t in range(1, twin.timesteps + 1):
            layers = reference.layers_of(network)
            s["input"], a["input"] = image, decay * a.get("input", 0.0) + image
            for layer in layers[:-1]:
                n = layer.name
                (wire,) = layer.wires
                current = reference.send(wire, s[wire.source])
                current = current + reference.shaped(layer.bias, current)
                u[n] = decay * (u.get(n, 0.0) - V * s.get(n, 0.0)) + current
                s[n] = (u[n] >= V).double()
                a[n] = decay * a.get(n, 0.0) + s[n]
            run = reference.Run(dict(s), dict(a), dict(u))
            gradients: dict[str, Tensor] = {}
            _, o = reference.ottt_step(
                network, layers, run, twin.y, t, twin.timesteps, traced, gradients
            )
            total = total + o
            for name, parameter in network.named_parameters():
                parameter -= rate * gradients[name]
    torch.testing.assert_close(outcome.scores, total, rtol=1e-10, atol=1e-12)
    for (name, ours), theirs in zip(
        case.network.named_parameters(), network.parameters(), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12, msg=name)


@settings(max_examples=30, deadline=None)
@given(case=cases())
def test_spike_representation_has_the_gradient_of_the_clamped_rates(case: Case) -> None:
    outcome, ours = train(METHODS["spike-representation"], case, traced=True)
    assume(all_layers_fire(outcome))
    gate = reference.clamp_gate(case.network.neuron.threshold)
    expected = reference.spike_representation(case.network, case.x, case.y, case.timesteps, gate)
    assert_close(ours, expected.gradients, 1e-11)
    torch.testing.assert_close(outcome.loss, expected.loss, rtol=1e-12, atol=0)
    torch.testing.assert_close(outcome.scores, expected.scores, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("frames", [False, True])
@pytest.mark.parametrize("threshold", [0.6, 1.0, 1.9])
def test_saf_f_is_the_spike_representation_times_v_per_spiking_layer_before_the_loss(
    threshold: float, frames: bool
) -> None:
    """With rates a = â/c and m = Û/c the spike representation has ∂a/∂m = gate / V, and SAF-F has
    ∂â/∂Û = gate; the factors c cancel. So the gradient of the parameters of spiking layer l of N
    is V^(N−l+1) times that of the spike representation, that of the readout the same. The gate is
    one function in both: the surrogate at u[T] − V, which the clamp's derivative is replaced by.
    """
    case = firing_case(threshold=threshold, decay=0.7, frames=frames)
    outcome, ours = train(METHODS["saf-f"], case, traced=True)

    def gate(m: Tensor, x: Tensor) -> Tensor:
        return reference.surrogate(x, 1.0)

    expected = reference.spike_representation(case.network, case.x, case.y, case.timesteps, gate)
    torch.testing.assert_close(outcome.loss, expected.loss, rtol=1e-12, atol=0)
    factors = {"layer1": threshold**3, "layer2": threshold**2, "layer3": threshold, "readout": 1.0}
    scaled = {n: factors[n.split(".")[0]] * g for n, g in expected.gradients.items()}
    assert all(g.abs().max() > 0 for g in ours.values())
    assert_close(ours, scaled, 1e-12)


@settings(max_examples=20, deadline=None)
@given(case=cases())
def test_saf_f_reduces_to_the_spike_representation_at_threshold_one(case: Case) -> None:
    """Skips and feedback too: at V = 1 every path has the factor 1."""
    neuron = case.network.neuron.model_copy(update={"threshold": 1.0})
    case.network.neuron = neuron
    outcome, ours = train(METHODS["saf-f"], case, traced=True)
    assume(all_layers_fire(outcome))
    slope = neuron.surrogate.slope
    expected = reference.spike_representation(
        case.network, case.x, case.y, case.timesteps, lambda _, x: reference.surrogate(x, slope)
    )
    assert_close(ours, expected.gradients, 1e-11)


def test_saf_f_without_a_trace_gives_hidden_biases_the_gradient_of_the_potential() -> None:
    case = firing_case(decay=0.7)
    c = sum(0.7**k for k in range(case.timesteps))
    _, traced = train(METHODS["saf-f"], case, traced=True)
    _, plain = train(METHODS["saf-f"], case, traced=False)
    for name, gradient in traced.items():
        factor = c if name in {"layer1.0.weight", "layer1.0.gain"} or "bias" in name else 1.0
        factor = 1.0 if name == "readout.bias" else factor
        torch.testing.assert_close(gradient, factor * plain[name], rtol=1e-12, atol=1e-15)


def test_bptt_equals_ottt_where_the_past_cannot_matter() -> None:
    """At T = 1 there is no past: every per-step method has one and the same gradient."""
    case = firing_case(timesteps=1)
    results = [train(METHODS[name], case, traced=True)[1] for name in PER_STEP]
    for other in results[1:]:
        assert_close(results[0], other, 1e-12)


def test_bptt_goes_through_the_leak_and_leaves_out_the_reset() -> None:
    """One neuron, two steps, by hand: ∂u[2]/∂b = 1 + λ, ∂u[1]/∂b = 1, the reset a constant."""
    decay, V, slope = 0.5, 1.0, 2.0
    network = SpikingNetwork(
        Architecture(
            input_shape=(1,),
            populations=(
                Population(
                    name="layer1",
                    connections=(Connection(source="input", operations=(Linear(out_features=1),)),),
                ),
            ),
            readout=Population(
                name="readout",
                connections=(Connection(source="layer1", operations=(Linear(out_features=1),)),),
            ),
        ),
        Neuron(decay=decay, threshold=V, surrogate=Surrogate(slope=slope)),
        mean=[0.0],
        std=[1.0],
        seed=0,
    ).double()
    with torch.no_grad():
        network.get_parameter("layer1.0.weight").fill_(1.5)
        network.get_parameter("readout.0.weight").fill_(3.0)
    METHODS["bptt"](
        network,
        torch.ones(1, 1, dtype=torch.float64),
        torch.zeros(1),
        timesteps=2,
        loss=lambda scores, _: scores.sum(),
        update=lambda: None,
    )
    # u[1] = 1.5 (fires), u[2] = 0.5 (1.5 − 1) + 1.5 = 1.75 (fires)
    sigma = [reference.surrogate(torch.tensor(u - V).double(), slope) for u in (1.5, 1.75)]
    expected = 3.0 * (sigma[0] + sigma[1] * (1 + decay)) / 2
    grad = network.get_parameter("layer1.bias").grad
    assert grad is not None
    torch.testing.assert_close(grad[0], expected, rtol=1e-13, atol=0)


@settings(max_examples=20, deadline=None)
@given(case=cases(), name=st.sampled_from(["saf-e", "saf-f"]), chunk=st.integers(2, 9))
def test_any_chunking_of_time_gives_the_same_numbers(case: Case, name: str, chunk: int) -> None:
    one, ones = train(METHODS[name], case, traced=False, chunk=1)
    many, manys = train(METHODS[name], case, traced=False, chunk=chunk)
    assert_close(ones, manys, 1e-12)
    torch.testing.assert_close(one.scores, many.scores, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(one.firing_rates, many.firing_rates)


@pytest.mark.parametrize("name", METHODS)
def test_inference_repeats_the_scores_and_rates_of_training(name: str) -> None:
    case = firing_case(frames=True)
    outcome, _ = train(METHODS[name], case, traced=False)
    for chunk in (1, 4, None):
        readout = readout_of(chosen(name))
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


def kept_bytes(method: Callable[[], object]) -> int:
    """Largest sum of bytes of tensors that autograd holds at one time for the backward pass."""
    held: dict[int, int] = {}
    largest = 0

    class Saved:
        def __init__(self, tensor: Tensor) -> None:
            nonlocal largest
            self.tensor = tensor
            held[id(self)] = tensor.numel() * tensor.element_size()
            largest = max(largest, sum(held.values()))

        def __del__(self) -> None:
            held.pop(id(self), None)

    with torch.autograd.graph.saved_tensors_hooks(Saved, lambda saved: saved.tensor):
        method()
    return largest


def memory(name: str, timesteps: int, chunk: int | None = 1) -> int:
    case = firing_case(timesteps=timesteps)
    return kept_bytes(lambda: train(METHODS[name], case, traced=False, chunk=chunk))


@pytest.mark.parametrize("name", ["saf-e", "saf-f", "spike-representation", "ottt-a", "ottt-o"])
def test_what_is_kept_for_the_backward_pass_does_not_grow_with_time(name: str) -> None:
    assert memory(name, 2) == memory(name, 4) == memory(name, 16)


def test_what_bptt_keeps_grows_with_time_and_what_saf_keeps_with_the_chunk() -> None:
    """The measurement above can fail."""
    assert memory("bptt", 16) > 3 * memory("bptt", 4)
    assert memory("saf-e", 16, chunk=8) > 2 * memory("saf-e", 16, chunk=2)


@pytest.mark.parametrize(
    ("samples", "timesteps", "expected"),
    [(16, 6, [6]), (64, 5, [2, 2, 1]), (128, 3, [1, 1, 1]), (1000, 2, [1, 1])],
)
def test_a_small_batch_takes_several_steps_at_once_up_to_the_size_of_a_full_one(
    samples: int, timesteps: int, expected: list[int]
) -> None:
    assert chunks(firing_case().network, samples, timesteps, None) == expected


def test_a_chunk_of_no_steps_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 time step"):
        chunks(firing_case().network, 16, 6, 0)


def test_frames_of_another_number_of_steps_are_refused_with_both_numbers() -> None:
    case = firing_case(frames=True)
    with pytest.raises(UserConfigError, match=r"6 frames.*5 time steps") as error:
        infer(case.network, case.x, 5, readout="sum")
    assert "timesteps to 6" in error.value.hint


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (2, 2, 8, 7), (2, 8, 8), (2, 6, 3, 8, 8)])
def test_inputs_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    case = firing_case()
    with pytest.raises(ValueError, match=r"takes images of \(2, 8, 8\)"):
        infer(case.network, torch.rand(shape), 6, readout="sum")


def test_bfloat16_arithmetic_trains_float32_parameters() -> None:
    architecture = Architecture(
        input_shape=(1, 8, 8),
        populations=(
            Population(
                name="layer1",
                connections=(Connection(source="input", operations=(Conv(out_channels=4),)),),
            ),
            Population(
                name="layer2",
                connections=(Connection(source="layer1", operations=(Conv(out_channels=4),)),),
            ),
        ),
        readout=Population(
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
