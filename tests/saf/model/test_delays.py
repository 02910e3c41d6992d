"""Connections with delays: in a converted network, in files, and where they are refused.

That they give the spikes and the gradients of a loop is tested with all random networks.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from saf import certify, load_lif
from saf.config import JobSpecification, Neuron
from saf.errors import UserConfigError
from saf.lif.convert import convert, on_grid
from saf.lif.grid.saf_run import run_saf
from saf.lif.header import LIFDescription
from saf.model.forward.delays import DelayLine
from saf.model.inference import record
from saf.model.network import SpikingNetwork
from saf.networks.architecture import (
    INPUT,
    Architecture,
    Connection,
    LayerDescription,
    LearnedDelay,
    Linear,
    Scale,
)

T = 9


def linear(source: str, features: int, delay: int = 0, span: int = 0) -> Connection:
    learned = LearnedDelay(span=span, width=0.7) if span else None
    operations = (Linear(out_features=features),)
    return Connection(source=source, operations=operations, delay=delay, learned_delay=learned)


def architecture(
    *, of_input: int = 0, recurrent: bool = False, feedback: int = 4, span: int = 0
) -> Architecture:
    layer2 = [linear("layer1", 8), linear("layer1", 8, 2, span), linear("layer1", 8, 5)]
    if recurrent:
        layer2.append(linear("layer2", 8, feedback, span))
    return Architecture(
        input_shape=(3,),
        layers=(
            LayerDescription(
                name="layer1", connections=(linear(INPUT, 10), linear(INPUT, 10, of_input))
            ),
            LayerDescription(name="layer2", connections=tuple(layer2)),
        ),
        readout=LayerDescription(name="readout", connections=(linear("layer2", 4),)),
    )


def network(of: Architecture, seed: int = 0) -> SpikingNetwork:
    found = SpikingNetwork(
        of, Neuron(decay=0.7), mean=[0.4] * 3, std=[0.3] * 3, seed=0, timesteps=T
    ).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in found.parameters():
            scale = 0.2 if parameter.dim() == 1 else parameter[0].numel() ** -0.5
            parameter.normal_(0, scale, generator=generator)
        for name, parameter in found.named_parameters():
            if name.endswith("centre"):
                parameter.uniform_(generator=generator)
    return found


def inputs() -> Tensor:
    return torch.rand((4, T, 3), generator=torch.Generator().manual_seed(2), dtype=torch.float64)


@pytest.mark.slow
@settings(max_examples=10, deadline=None)
@given(
    of_input=st.integers(0, 3),
    recurrent=st.booleans(),
    span=st.integers(0, 3),
    seed=st.integers(0, 1000),
)
def test_a_converted_network_has_the_delays_of_the_trained_one(
    of_input: int, recurrent: bool, span: int, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    built = architecture(of_input=of_input, recurrent=recurrent, span=span)
    of, x = network(built, seed), inputs()
    lif = convert(of, JobSpecification(timesteps=T), class_names="abcd", frames=True)
    file = tmp_path_factory.mktemp("delays") / "lif.safetensors"
    exact = convert(
        of, JobSpecification(timesteps=T), class_names="abcd", frames=True, dtype=torch.float64
    )
    exact.save(file)
    read = load_lif(file)
    assert read.description.architecture == lif.description.architecture
    for step, found in zip(record(of, x, T), read.run(x), strict=True):
        for (spikes, potentials), name in zip(step, found.spikes, strict=True):
            assert torch.equal(spikes, found.spikes[name]), name
            torch.testing.assert_close(potentials, found.potentials[name], rtol=1e-9, atol=1e-9)
    for at_once in (1, 2, 4, T):
        chunks = list(read.chunks(x, at_once))
        torch.testing.assert_close(chunks[-1].scores[-1], read(x), rtol=1e-9, atol=1e-9)
    state = None
    for t in range(T):
        scores, state = read.step(x[:, t], state)
    torch.testing.assert_close(scores, read(x), rtol=1e-9, atol=1e-9)
    certificate = certify(of, file, x, torch.tensor([0, 1, 2, 3]))
    (check,) = (c for c in certificate["checks"] if c["precision"] == "float64")
    assert check["spikes_differing"] == 0


def test_a_learned_delay_becomes_a_connection_for_each_tap() -> None:
    of = network(architecture(span=2))
    lif = convert(of, JobSpecification(timesteps=T), class_names="abcd", frames=True)
    connections = lif.description.architecture.layers[1].connections
    assert [c.delay for c in connections] == [0, 2, 3, 4, 5]
    assert lif.description.architecture.delays == of.architecture.delays == {"layer1": 5}
    centre, whole = of.get_parameter("layer2.1.centre"), of.get_parameter("layer2.1.weight")
    away = torch.stack([(tap - 2 * centre) / 0.7 for tap in range(3)])
    kernel = (-0.5 * away**2).exp()
    kernel = kernel / kernel.sum(0)
    for tap in range(3):
        weight = lif.tensors[f"layer2.{tap + 1}.weight"]
        torch.testing.assert_close(weight, (whole * kernel[tap]).detach().float())


def test_what_has_no_delay_to_learn_is_refused() -> None:
    with pytest.raises(ValueError, match="without weights has no delays to learn"):
        Connection(source="a", operations=(Scale(factor=2.0),), learned_delay=LearnedDelay(span=2))
    with pytest.raises(ValueError, match="learned delays of feedback begin at a delay of 1"):
        architecture(recurrent=True, feedback=0, span=2)
    with pytest.raises(ValueError, match="the readout hears its sources without a delay"):
        Architecture(
            input_shape=(3,),
            layers=(LayerDescription(name="layer1", connections=(linear(INPUT, 4),)),),
            readout=LayerDescription(name="readout", connections=(linear("layer1", 4, 0, 2),)),
        )
    lif = convert(
        network(architecture()), JobSpecification(timesteps=T), class_names="abcd", frames=True
    )
    header = lif.description.model_dump()
    header["architecture"]["layers"][1]["connections"][0]["learned_delay"] = {"span": 2}
    with pytest.raises(ValueError, match="become a connection for each tap"):
        LIFDescription.model_validate(header)


def test_a_delay_brings_a_spike_later_and_feedback_at_the_next_step_at_the_earliest() -> None:
    for feedback in (0, 1):
        with_feedback = network(architecture(recurrent=True, feedback=feedback))
        steps = list(record(with_feedback, inputs(), T))
        if feedback == 0:
            expected = steps
        else:
            for ours, theirs in zip(steps, expected, strict=True):
                assert torch.equal(ours[1][0], theirs[1][0])
    impulse = torch.zeros(1, T, 3, dtype=torch.float64)
    impulse[0, 0] = 5.0
    of = network(architecture(of_input=3))
    with torch.no_grad():
        for name, parameter in of.named_parameters():
            parameter.fill_(1.0 if name in ("layer1.1.weight",) else 0.0)
    of.mean.zero_()
    fired = [float(step[0][0].sum()) for step in record(of, impulse, T)]
    assert fired[:3] == [0.0, 0.0, 0.0]
    assert fired[3] == 10.0


@pytest.mark.parametrize("delay", [0, 1, 2, 3, 4])
def test_feedback_comes_back_after_its_delay(delay: int) -> None:
    """A layer that is fired once and then hears itself alone fires every `delay` steps."""
    layer = LayerDescription(
        name="layer1", connections=(linear(INPUT, 10), linear("layer1", 10, delay))
    )
    readout = LayerDescription(name="readout", connections=(linear("layer1", 4),))
    of = network(Architecture(input_shape=(3,), layers=(layer,), readout=readout))
    with torch.no_grad():
        for name, parameter in of.named_parameters():
            parameter.fill_({"layer1.0.weight": 1.0, "layer1.1.weight": 0.1}.get(name, 0.0))
    of.mean.zero_()
    impulse = torch.zeros(1, T, 3, dtype=torch.float64)
    impulse[0, 0] = 0.12  # of a standard deviation of 0.3, three times: 1.2 times the threshold
    fired = [float(step[0][0].sum()) for step in record(of, impulse, T)]
    every = max(delay, 1)
    assert fired == [10.0 if t % every == 0 else 0.0 for t in range(T)]
    lif = convert(of, JobSpecification(timesteps=T), class_names="abcd", frames=True)
    assert [float(step.spikes["layer1"].sum()) for step in lif.run(impulse.float())] == fired


def test_files_of_networks_without_delays_are_what_they_were() -> None:
    written = linear("layer1", 8).model_dump(mode="json")
    assert written.keys() == {"source", "operations"}
    delayed = linear("layer1", 8, 2).model_dump(mode="json")
    assert Connection.model_validate(delayed).delay == 2


def test_where_a_delay_cannot_be() -> None:
    of = network(architecture(of_input=2))
    with pytest.raises(UserConfigError, match="an image is the same at every time step"):
        of(inputs()[:, 0], T)
    with pytest.raises(ValueError, match="an image, which is the same at every time step"):
        convert(of, JobSpecification(timesteps=T), class_names="abcd", frames=False)
    with pytest.raises(ValueError, match="the readout hears its sources without a delay"):
        Architecture(
            input_shape=(3,),
            layers=(LayerDescription(name="layer1", connections=(linear(INPUT, 4),)),),
            readout=LayerDescription(name="readout", connections=(linear("layer1", 4, 1),)),
        )


def test_a_network_with_delays_can_be_on_a_grid() -> None:
    half = convert(
        network(architecture(of_input=2, recurrent=True, span=2)).with_neuron(Neuron()),
        JobSpecification(timesteps=T),
        class_names="abcd",
        frames=True,
    )
    lif = on_grid(half, 6)
    x = inputs().float()
    *_, last = lif.run(x)
    *_, of_saf = run_saf(lif, x)
    assert torch.equal(last.scores, of_saf.scores)
    assert sum(float(s.sum()) for s in last.spikes.values()) > 0


def test_a_line_reads_zeros_before_the_first_step_and_keeps_no_more_than_it_needs() -> None:
    line = DelayLine(3)
    x = torch.arange(1.0, 6.0)[:, None]  # five steps of one sample
    assert line.read(2, x, 5).flatten().tolist() == [0, 0, 1, 2, 3]
    after = line.after(x, 5)
    assert [float(value) for value in after.values] == [3, 4, 5]
    assert all(value.untyped_storage().nbytes() == 4 for value in after.values)
    assert after.read(3, x[:2], 2).flatten().tolist() == [3, 4]
    assert float(after.read(1, x[:1], 1)) == 5
    assert line.after(x, 0) is line
