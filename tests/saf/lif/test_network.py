"""The LIF network that runs from `lif.safetensors` alone."""

import pickle
import re
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import Tensor

import saf
from saf import load_lif, tensorfile
from saf.lif.header import LIFDescription
from saf.lif.network import LIFNetwork
from saf.networks.architecture import Architecture, Connection, Flatten, LayerDescription, Linear

FLAT = Flatten()
VERSION_1 = Path(__file__).parents[2] / "data" / "lif-version-1"


def description(**changes: Any) -> LIFDescription:
    """One neuron that listens to one pixel, and two classes that listen to the neuron."""
    neuron = LayerDescription(
        name="layer1",
        connections=(Connection(source="input", operations=(FLAT, Linear(out_features=1))),),
    )
    readout = LayerDescription(
        name="readout",
        connections=(Connection(source="layer1", operations=(Linear(out_features=2),)),),
    )
    values: dict[str, Any] = {
        "architecture": Architecture(input_shape=(1, 1, 1), layers=(neuron,), readout=readout),
        "decay": 0.5,
        "threshold": 1.0,
        "timesteps": 4,
        "readout": "mean",
        "frames": False,
        "mean": (0.0,),
        "std": (1.0,),
        "class_names": ("up", "down"),
        "specification": {"name": "by hand"},
    }
    return LIFDescription(**(values | changes))


def tensors() -> dict[str, Tensor]:
    return {
        "layer1.0.weight": torch.tensor([[0.8]]),
        "layer1.bias": torch.tensor([0.0]),
        "readout.0.weight": torch.tensor([[2.0], [-2.0]]),
        "readout.bias": torch.tensor([0.5, 0.0]),
    }


def by_hand(**changes: Any) -> LIFNetwork:
    return LIFNetwork(description(**changes), {k: v.double() for k, v in tensors().items()})


ONE = torch.ones(1, 1, 1, 1, dtype=torch.float64)


def test_potentials_and_spikes_are_those_worked_out_by_hand() -> None:
    # u: 0.8, 0.5·0.8 + 0.8 = 1.2 (fires), 0.5·(1.2 − 1) + 0.8 = 0.9, 0.5·0.9 + 0.8 = 1.25 (fires)
    steps = list(by_hand().run(ONE))
    potentials = [step.potentials["layer1"].item() for step in steps]
    assert potentials == pytest.approx([0.8, 1.2, 0.9, 1.25], abs=1e-7)
    assert [step.spikes["layer1"].item() for step in steps] == [0, 1, 0, 1]


@pytest.mark.parametrize(("former", "readout"), [("sum", "mean"), ("final", "weighted")])
def test_a_file_of_version_1_is_read_under_the_names_of_version_2(
    tmp_path: Path, former: str, readout: Literal["mean", "weighted"]
) -> None:
    read = load_lif(VERSION_1 / f"{former}.safetensors")
    assert read.description == description(readout=readout)
    assert torch.equal(read(ONE), by_hand(readout=readout)(ONE))
    read.save(tmp_path / "again")
    assert load_lif(tmp_path / "again").description == read.description


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"readout": "mean"}, "mean (of version 1)"),
        ({"format": "saf-lif/4"}, "saf-lif/2"),
    ],
)
def test_a_header_with_names_of_another_version_is_refused(
    change: dict[str, str], problem: str
) -> None:
    _, header = tensorfile.read(VERSION_1 / "sum.safetensors")
    with pytest.raises(ValidationError, match=re.escape(problem)):
        LIFDescription.model_validate(header | change)


def test_mean_readout_adds_weights_of_spikes_and_a_bias_per_step() -> None:
    assert by_hand()(ONE).tolist() == [[2 * 2.0 + 4 * 0.5, 2 * -2.0]]


def test_weighted_readout_is_the_weighted_rate_through_the_weights_plus_the_bias() -> None:
    # Spikes 0 1 0 1: â[4] = 0.25 + 1, c[4] = 1.875
    rate = 1.25 / 1.875
    expected = [2.0 * rate + 0.5, -2.0 * rate]
    assert by_hand(readout="weighted")(ONE)[0].tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("readout", ["mean", "weighted"])
def test_steps_one_by_one_end_where_the_call_ends(readout: str) -> None:
    network, state, scores = by_hand(readout=readout), None, None
    states = []
    for _ in range(4):
        scores, state = network.step(ONE, state)
        states.append(state)
    assert scores is not None
    assert torch.equal(scores, network(ONE))
    assert [s.steps for s in states] == [1, 2, 3, 4]


@pytest.mark.parametrize("readout", ["mean", "weighted"])
@pytest.mark.parametrize("frames", [False, True])
@pytest.mark.parametrize("samples", [1, 3, 50, 300])
def test_many_steps_at_once_end_where_single_steps_end(
    readout: str, frames: bool, samples: int
) -> None:
    """300 samples take one step at a time, 50 two and the last alone, fewer all five."""
    network = by_hand(readout=readout, frames=frames, timesteps=5)
    shape = (samples, 5, 1, 1, 1) if frames else (samples, 1, 1, 1)
    x = torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    *_, last = network.run(x)
    torch.testing.assert_close(network(x), last.scores, rtol=1e-12, atol=1e-12)
    assert network(x).unique().numel() > 1 or samples == 1


def test_a_state_can_be_used_twice() -> None:
    network = by_hand()
    _, state = network.step(ONE)
    assert torch.equal(network.step(ONE, state)[0], network.step(ONE, state)[0])


def test_feedback_brings_the_spike_of_the_step_before() -> None:
    plain = description()
    neuron = plain.architecture.layers[0]
    heard = Connection(source="layer1", operations=(Linear(out_features=1),))
    looped = Architecture(
        input_shape=(1, 1, 1),
        layers=(LayerDescription(name="layer1", connections=(*neuron.connections, heard)),),
        readout=plain.architecture.readout,
    )
    weights = tensors() | {"layer1.1.weight": torch.tensor([[10.0]])}
    network = LIFNetwork(plain.model_copy(update={"architecture": looped}), weights)
    steps = list(network.run(ONE.float()))
    # u[3] = 0.5 (1.2 − 1) + 0.8 + 10 · s[2]
    potentials = [step.potentials["layer1"].item() for step in steps]
    assert potentials[:3] == pytest.approx([0.8, 1.2, 10.9])


def test_normalisation_is_part_of_the_network() -> None:
    shifted = by_hand(mean=(0.5,), std=(0.25,))
    first = next(shifted.run(ONE))
    assert first.potentials["layer1"].item() == pytest.approx(0.8 * 2.0)


def test_event_frames_are_shown_one_per_step() -> None:
    network = by_hand(frames=True)
    frames = torch.tensor([1.0, 0.0, 3.0, 0.0], dtype=torch.float64).view(1, 4, 1, 1, 1)
    potentials = [step.potentials["layer1"].item() for step in network.run(frames)]
    # 0.8; 0.4; 0.2 + 2.4 = 2.6 (fires); 0.5 · 1.6
    assert potentials == pytest.approx([0.8, 0.4, 2.6, 0.8])


def test_predict_takes_more_samples_than_fit_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saf.lif.network.LARGEST_SAMPLES_AT_ONCE", 6)
    x = torch.linspace(0, 1, 11, dtype=torch.float64).view(11, 1, 1, 1)
    network = by_hand()
    assert torch.equal(network.predict(x), network(x).argmax(1))


def test_a_network_comes_back_from_its_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "lif.safetensors"
    network = LIFNetwork(description(), tensors())
    network.save(path)
    loaded = saf.load_lif(path)
    assert loaded.description == network.description
    assert loaded.class_names == ("up", "down")
    assert torch.equal(loaded(ONE.float()), network(ONE.float()))
    assert list(tmp_path.iterdir()) == [path]


def test_the_same_network_gives_the_same_bytes(tmp_path: Path) -> None:
    network = LIFNetwork(description(), tensors())
    written = set()
    for number in range(8):
        network.save(tmp_path / f"{number}")
        written.add((tmp_path / f"{number}").read_bytes())
    assert len(written) == 1


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(1, 1, 1), "samples of shape N 1 1 1"),
        (torch.zeros(2, 1, 2, 2), "not \\[2, 1, 2, 2\\]"),
        (torch.zeros(0, 1, 1, 1), "samples of shape"),
        (torch.zeros(1, 1, 1, 1, dtype=torch.uint8), r"x.float\(\) / 255"),
        ([[[[0.0]]]], "not list"),
        (torch.full((1, 1, 1, 1), torch.nan), "NaN"),
        (torch.full((1, 1, 1, 1), 255.0), "values from 0 to 1"),
        (torch.full((1, 1, 1, 1), -0.1), "values from 0 to 1"),
    ],
)
def test_input_that_does_not_fit_is_refused_with_what_is_expected(x: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LIFNetwork(description(), tensors())(x)


def test_frames_of_another_number_of_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="T = 4 steps"):
        by_hand(frames=True)(torch.zeros(1, 3, 1, 1, 1))


def test_a_state_of_another_batch_is_refused() -> None:
    network = by_hand()
    _, state = network.step(ONE)
    with pytest.raises(ValueError, match="state is of 1 samples and the input of 2"):
        network.step(torch.cat([ONE, ONE]), state)


@pytest.mark.parametrize("length", [0, 7, 8, 200, -1])
def test_a_file_cut_short_is_refused(length: int, tmp_path: Path) -> None:
    path = tmp_path / "lif.safetensors"
    by_hand().save(path)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ValueError, match="damaged"):
        saf.load_lif(path)


def test_one_changed_bit_in_the_weights_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "lif.safetensors"
    by_hand().save(path)
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="damaged"):
        saf.load_lif(path)


def test_a_pickle_is_refused_and_not_executed(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    path = tmp_path / "lif.safetensors"
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ValueError, match="or of pickle, which can run code"):
        saf.load_lif(path)
    assert not (tmp_path / "sprung").exists()


def test_a_safetensors_file_of_another_program_is_refused(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="not written by this system"):
        saf.load_lif(tmp_path / "other.safetensors")


def test_a_later_version_of_the_format_is_refused(tmp_path: Path) -> None:
    from saf import tensorfile

    header = description().model_dump(mode="json") | {"format": "saf-lif/4"}
    tensorfile.write(tmp_path / "lif.safetensors", tensors(), header)
    with pytest.raises(ValueError, match="no LIF network that this version reads: format"):
        saf.load_lif(tmp_path / "lif.safetensors")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"lif\.safetensors"):
        saf.load_lif(tmp_path / "lif.safetensors")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer1.0.weight": torch.zeros(2, 1)}, "layer1.0.weight has the shape"),
        ({"layer1.bias": torch.tensor([torch.inf])}, "no finite numbers"),
        ({"layer1.bias": torch.tensor([0.0]).double()}, "several data types"),
        ({"extra": torch.zeros(1)}, "extra"),
    ],
)
def test_weights_that_do_not_fit_the_architecture_are_refused(
    change: dict[str, Tensor], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        LIFNetwork(description(), tensors() | change)


def test_another_number_of_class_names_is_refused() -> None:
    with pytest.raises(ValueError, match="3 names for 2 classes"):
        by_hand(class_names=("a", "b", "c"))
