"""Who is measured: every method of the library, what it is compared with, and the limits.

All on VGG-11 as published with OTTT, images of 3 × 32 × 32, ten classes, random data, gains of
1.3 so that every layer fires, cross entropy, no optimizer step.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from benchmarks.measure import Run
from benchmarks.speed.ottt_published import evaluate_as_published, ottt_as_published
from saf.config import METHODS, JobSpecification, Neuron
from saf.estimate.chunking import steps_at_once
from saf.kernels import inductor_scan, native, winograd
from saf.kernels.backend import Backend
from saf.lif.convert import convert
from saf.model.batch import Batch, Rule
from saf.model.inference import infer
from saf.model.network import SpikingNetwork
from saf.networks.architecture import AveragePool, Conv, Flatten, Linear, Operation
from saf.networks.build import build
from saf.networks.vgg import VGG11
from saf.training.hardware import chunk_size

GAIN = 1.3
OURS = Backend(scan=inductor_scan.scan, native=True)
PLAIN = Backend(native=True)
THEIRS = Backend(scan=inductor_scan.scan, convolution="torch")
BASELINE, EVALUATION = "OTTT as published", "evaluation as published"


def network(device: torch.device, dtype: torch.dtype | None = None) -> SpikingNetwork:
    """VGG-11; `dtype` is that of the arithmetic, of float32 parameters."""
    found = SpikingNetwork(
        build(VGG11(), (3, 32, 32), 10),
        Neuron(),
        mean=[0.5] * 3,
        std=[0.25] * 3,
        seed=0,
        compute_dtype=dtype,
    )
    with torch.no_grad():
        for name, parameter in found.named_parameters():
            if name.endswith("gain"):
                parameter.fill_(GAIN)
    return found.to(device)


def batch(size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(size, 3, 32, 32, generator=generator)
    return x.to(device), torch.randint(10, (size,), generator=generator).to(device)


def steps_of_saf(size: int, timesteps: int, device: torch.device) -> int:
    """K: the rule's on a CPU; on a GPU measured with SAF-E in float32, as a long training does it
    with SAF_GPU_TUNING, but for its bound on memory."""
    fewest = steps_at_once(size, timesteps)
    if device.type != "cuda":
        return fewest
    of = network(device)
    x, y = batch(size, device)

    def iterate(k: int) -> None:
        of.zero_grad(set_to_none=True)
        with OURS.entered():
            METHODS["saf-e"]().rule()(of, _batch(x, y, timesteps, k))

    seconds_with = chunk_size.seconds_of(iterate, device)
    return chunk_size.fastest(seconds_with, fewest, seconds_with(fewest), timesteps)


def of_the_library(
    size: int, timesteps: int, device: torch.device, k: int | None = None
) -> dict[str, Run]:
    """Iterations in float32 (without a mark) and bfloat16, as long trainings have them, SAF with
    `k` steps at once (None: by the rule)."""
    x, y = batch(size, device)
    found: dict[str, Run] = {}

    def training(
        name: str,
        of: SpikingNetwork,
        rule: Rule,
        *,
        backend: Backend = OURS,
        chunk: int | None = None,
    ) -> None:
        def run() -> None:
            of.zero_grad(set_to_none=True)
            with backend.entered():
                rule(of, _batch(x, y, timesteps, chunk))

        found[name] = run

    full, low = network(device), network(device, torch.bfloat16)
    rules = {name: METHODS[name]().rule() for name in METHODS.names()}
    training(BASELINE, full, ottt_as_published, backend=THEIRS)
    found[EVALUATION] = partial(evaluate_as_published, full, x, timesteps)
    training("OTTT, one evaluation", full, rules["ottt-a"])
    training("BPTT", full, rules["bptt"])
    training("spike representation", full, rules["spike-representation"], chunk=k)
    for name in ("SAF-E", "SAF-F"):
        training(f"{name}, plain scan", full, rules[name.lower()], backend=PLAIN, chunk=k)
    for mark, of in (("", full), (" bfloat16", low)):
        training(f"SAF-E{mark}", of, rules["saf-e"], chunk=k)
        training(f"SAF-E K=1{mark}", of, rules["saf-e"], chunk=1)
        training(f"SAF-F{mark}", of, rules["saf-f"], chunk=k)
        found[f"inference{mark}"] = partial(_inferred, of, x, timesteps, k)
    specification = JobSpecification(timesteps=timesteps)
    lif = convert(full, specification, class_names=list("0123456789"), frames=False).to(device)
    found["LIF network"] = native.allowed()(winograd.allowed()(partial(lif, x)))
    return found


def _batch(x: Tensor, y: Tensor, timesteps: int, chunk: int | None) -> Batch:
    return Batch(x=x, y=y, timesteps=timesteps, loss=F.cross_entropy, update=_nothing, chunk=chunk)


def _nothing() -> None:
    """No optimizer step."""


def _inferred(of: SpikingNetwork, x: Tensor, timesteps: int, k: int | None) -> None:
    with OURS.entered():
        infer(of, x, timesteps, readout="mean", chunk=k)


def limits(size: int, timesteps: int, device: torch.device) -> dict[str, Run]:
    """What the same convolutions cost with nothing around them, and a network without time."""
    found: dict[str, Run] = {}
    for mark, dtype in (("", torch.float32), (" bfloat16", torch.bfloat16)):
        once = _Convolutions(size, device, dtype)
        many = _Convolutions(size * timesteps, device, dtype)
        found[f"limit of SAF-E{mark}"] = lambda m=many: (m.forward(), m.backward())  # type: ignore[misc]
        found[f"limit of SAF-F{mark}"] = lambda m=many, o=once: (m.forward(), o.backward())  # type: ignore[misc]
        found[f"limit of inference{mark}"] = many.forward
    found["ReLU network"] = _relu_network(size, device)
    return found


def _chain() -> list[tuple[Operation, tuple[int, ...]]]:
    """The operations of VGG-11 one after the other, with the shapes that enter them."""
    architecture = build(VGG11(), (3, 32, 32), 10)
    shapes = architecture.shapes()
    return [
        pair
        for layer in (*architecture.layers, architecture.readout)
        for connection in layer.connections
        for pair in connection.shapes(shapes[connection.source])
    ]


class _Convolutions:
    """All but the first, which a constant input needs once."""

    def __init__(self, size: int, device: torch.device, dtype: torch.dtype) -> None:
        self._calls = []
        convolutions = [(o, s) for o, s in _chain() if isinstance(o, Conv)]
        for operation, shape in convolutions[1:]:
            tensors = [
                torch.randn(shape_of, device=device).to(dtype, memory_format=torch.channels_last)
                for shape_of in (
                    (size, *shape),
                    operation.weight_shape(shape),
                    (size, *operation.output_shape(shape)),
                )
            ]
            self._calls.append(tensors)

    def forward(self) -> None:
        for x, weight, _ in self._calls:
            F.conv2d(x, weight, None, 1, 1)

    def backward(self) -> None:
        for x, weight, grad in self._calls:
            torch.ops.aten.convolution_backward(
                grad, x, weight, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, [True, True, False]
            )


def _relu_network(size: int, device: torch.device) -> Run:
    """The same shape with ReLU, shown once: forward and backward in float32."""
    modules: list[nn.Module] = []
    for operation, shape in _chain():
        match operation:
            case Conv(out_channels=channels):
                modules += [nn.Conv2d(shape[0], channels, 3, padding=1), nn.ReLU()]
            case AveragePool(kernel=kernel):
                modules.append(nn.AvgPool2d(kernel))
            case Flatten():
                modules.append(nn.Flatten())
            case Linear(out_features=features):
                modules.append(nn.Linear(shape[0], features))
    plain = nn.Sequential(*modules).to(device)
    plain.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x, y = batch(size, device)
    x = x.contiguous(memory_format=torch.channels_last)

    def run() -> None:
        plain.zero_grad(set_to_none=True)
        F.cross_entropy(plain(x), y).backward()

    return run
