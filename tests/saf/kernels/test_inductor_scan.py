"""The compiled scan gives what the plain one gives, and is used where that pays."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from saf.config import Neuron, ResolvedSpecification
from saf.kernels import inductor_scan
from saf.kernels.saf_scan import Constant, by, scan, spike_scan
from saf.model.network import SpikingNetwork
from saf.networks.build import build
from saf.networks.convnet import ConvNet
from saf.neurons.gates import clamped_rate_gate, surrogate_gate
from saf.training.checkpoint import Progress
from saf.training.hardware import backends, tuning
from tests.saf.kernels.compiler import needs_compiler
from tests.saf.methods.rules import METHODS
from tests.saf.training.trainings import resolved

pytestmark = [
    pytest.mark.slow,
    needs_compiler,
    pytest.mark.skipif(
        " " in torch.__file__, reason="torch gives the compiler no path that holds a space"
    ),
]
K, B, C, H, W = 3, 2, 5, 4, 6
NEURON = Neuron(decay=0.7, threshold=1.3)
GATES = {
    "surrogate": surrogate_gate(NEURON.surrogate, NEURON.threshold),
    "rates": clamped_rate_gate(NEURON.decay, NEURON.threshold, K),
    "none": None,
}


def drawn(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    x = 2.0 * x.to(dtype)
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x


@pytest.mark.parametrize("name", ["surrogate", "rates"])
def test_compiled_scan_is_the_plain_one(name: str) -> None:
    """Without a gate, shared constants and those of each sample are in the tests below."""
    gate = GATES[name]
    factors = [1.0, 1.7, 2.19]
    for value in (drawn(1, C, 1, 1, seed=2), drawn(B, C, H, W, seed=3)):
        constant = Constant(value, len(value) == 1, factors, factors)
        current = drawn(K * B, C, H, W, seed=4)
        ours, theirs = (
            of(current.clone(), constant, None, NEURON.decay, NEURON.threshold, gate)
            for of in (inductor_scan.scan, scan)
        )
        torch.testing.assert_close(ours.accumulation, theirs.accumulation)
        assert float(ours.fired) == float(theirs.fired) > 0
        assert ours.derivative is not None
        assert theirs.derivative is not None
        torch.testing.assert_close(ours.derivative, theirs.derivative)
        assert ours.derivative.abs().sum() > 0


@pytest.mark.parametrize("shape", [(C, H, W), (C, 1, 1)])
def test_the_gradient_of_one_sample_is_that_of_the_plain_scan(shape: tuple[int, ...]) -> None:
    """The constant of one sample may have the shape of a shared one."""
    found = []
    for back_end in (inductor_scan.scan, scan):
        value = drawn(1, *shape, seed=3).requires_grad_()
        constant = Constant(value, False, [1.0, 1.7, 2.19], [1.0] * K)
        with by(back_end):
            accumulation, _ = spike_scan(
                drawn(K, *shape, seed=4), constant, None, 0.7, 1.3, GATES["surrogate"]
            )
        (accumulation * drawn(K, *shape, seed=5)).sum().backward()
        found.append(value.grad)
    assert found[0] is not None
    assert found[0].shape == (1, *shape)
    torch.testing.assert_close(found[0], found[1])


def test_compiled_scan_goes_on_from_a_carry_and_without_a_current() -> None:
    constant = Constant(drawn(B, C, H, W, seed=3), False, [1.7, 2.19], [1.0, 1.0])
    carry = drawn(B, C, H, W, seed=1).abs()
    ours, theirs = (of(None, constant, carry, 0.7, 1.3, None) for of in (inductor_scan.scan, scan))
    torch.testing.assert_close(ours.accumulation, theirs.accumulation)
    assert float(ours.fired) == float(theirs.fired) > 0
    assert ours.derivative is None


def test_with_half_decay_not_one_bit_of_float32_differs() -> None:
    constant = Constant(drawn(1, C * 8, seed=5, dtype=torch.float32), True, [1.0, 1.5], [1.0, 1.5])
    current = drawn(2 * B, C * 8, seed=6, dtype=torch.float32)
    ours, theirs = (
        of(current.clone(), constant, None, 0.5, 1.0, None) for of in (inductor_scan.scan, scan)
    )
    assert torch.equal(ours.accumulation, theirs.accumulation)


def test_tensors_that_are_laid_out_otherwise_are_scanned_all_the_same() -> None:
    current = drawn(K * B, C, H, W, seed=7).contiguous()
    constant = Constant(drawn(1, C, 1, 1, seed=8), True, [1.0] * K, [1.0] * K)
    ours, theirs = (
        of(current.clone(), constant, None, 0.5, 1.0, None) for of in (inductor_scan.scan, scan)
    )
    assert torch.equal(ours.accumulation, theirs.accumulation)
    assert float(ours.fired) == float(theirs.fired) > 0
    assert ours.derivative is None


def test_gradients_of_a_network_are_those_of_the_plain_scan() -> None:
    network = SpikingNetwork(
        build(ConvNet(channels=(4, 6)), (1, 8, 8), 3), Neuron(), mean=[0.4], std=[0.3], seed=0
    ).double()
    x, y = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(4) % 3
    found = []
    for back_end in (inductor_scan.scan, scan):
        network.zero_grad()
        with by(back_end):
            METHODS["saf-f"](  # steps without a graph, and one with
                network,
                x.double(),
                y,
                timesteps=4,
                loss=torch.nn.functional.cross_entropy,
                update=lambda: None,
                chunk=2,
            )
        found.append({name: p.grad for name, p in network.named_parameters()})
    assert all(gradient.abs().sum() > 0 for gradient in found[0].values())  # type: ignore[union-attr]
    for name, gradient in found[0].items():
        torch.testing.assert_close(gradient, found[1][name], msg=name)


def test_short_trainings_compile_nothing_and_long_ones_go_on_as_they_began() -> None:
    short = resolved(epochs=1)
    long = resolved(epochs=100_000)
    architecture = build(ConvNet(), (1, 8, 8), 10)

    def scan_of(progress: Progress, specification: ResolvedSpecification) -> object:
        return backends.chosen(progress, specification, architecture, 1437, torch.device("cpu"))

    progress = Progress()
    assert scan_of(progress, short) is scan
    assert progress.compiled is False
    assert scan_of(progress, long) is scan  # a training that began so
    progress = Progress()
    assert scan_of(progress, long) is inductor_scan.scan
    assert progress.compiled is True
    assert scan_of(progress, short) is inductor_scan.scan


def test_on_a_gpu_nothing_is_compiled_unless_the_switch_is_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def works(neuron: Neuron, device: torch.device, dtype: torch.dtype) -> bool:
        asked.append(device.type)  # there is no GPU here
        return True

    monkeypatch.setattr(backends, "works", works)
    architecture, gpu = build(ConvNet(), (1, 8, 8), 10), torch.device("cuda")
    for switch, expected in ((None, scan), ("0", scan), ("1", inductor_scan.scan)):
        monkeypatch.delenv(tuning.VARIABLE, raising=False)
        if switch is not None:
            monkeypatch.setenv(tuning.VARIABLE, switch)
        found = backends.chosen(Progress(), resolved(epochs=100_000), architecture, 1437, gpu)
        assert found is expected
    assert asked == ["cuda"]


def test_without_a_compiler_the_plain_scan_is_used_and_the_log_says_so(tmp_path: Path) -> None:
    code = (
        "import logging, torch; logging.basicConfig()\n"
        "from saf.training.hardware import backends; from saf.config import Neuron\n"
        "assert not backends.works(Neuron(), torch.device('cpu'), torch.float32)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={
            **os.environ,
            "CXX": "/nowhere/c++",
            "TORCHINDUCTOR_CACHE_DIR": str(tmp_path),
            "TORCHINDUCTOR_COMPILE_THREADS": "1",
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "the scan is not compiled here" in done.stderr
