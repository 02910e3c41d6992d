"""`torch.export`: a program of plain operations that needs torch and nothing of ours."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from saf.config.methods import Readout
from saf.config.targets import TARGETS, Obstacle, Reader, Target
from saf.lif.export.templates.interpreter import interpreted

if TYPE_CHECKING:
    from saf.lif.network import LIFNetwork
    from saf.networks.outline import Outline

PROGRAM = "network.pt2"
MOST_STEPS = 256
_REPLAY = """
import json, sys
import numpy as np
import torch

program, names, samples, result = sys.argv[1:5]
module = torch.export.load(program).module()
with torch.no_grad():
    scores, spikes, *at_each_step = module(torch.from_numpy(np.load(samples)))
if len(sys.argv) > 5:
    ends = torch.from_numpy(np.load(sys.argv[5]))
    scores = at_each_step[0][torch.arange(len(ends)), ends - 1]
assert not any(name == "saf" or name.startswith("saf.") for name in sys.modules)
named = {f"s_{name}": each.numpy() > 0.5 for name, each in zip(json.loads(names), spikes)}
np.savez(result, scores=scores.numpy(), **named)
"""


@TARGETS.add
class TorchExport(Target):
    """`network.pt2`, a program of `torch.export` for any number of samples: it loads where torch
    is, without this library, and torch's compilers and runtimes take it."""

    label: ClassVar[str] = "torch.export"
    place: ClassVar[int] = 40
    can: ClassVar[tuple[str, ...]] = (
        "every network, its encoding included",
        "any number of samples at a time",
        "series that end before T (the scores after each step)",
    )
    cannot: ClassVar[tuple[str, ...]] = (f"more than {MOST_STEPS} time steps: they are unrolled",)
    loading: ClassVar[str] = (
        "import torch\n\n"
        'network = torch.export.load("{file}").module()\n'
        "scores, spikes, *after_each_step = network(x)  # {samples}, float32; spikes: N T … a "
        "layer; of data in time the scores after each step, N T K"
    )
    neurons: ClassVar[tuple[str, ...]] = ("lif", "cuba", "alif")
    delays: ClassVar[bool] = True
    rows: ClassVar[bool] = True
    encodings: ClassVar[tuple[str, ...]] = ("onoff", "delta", "rate", "latency")
    readouts: ClassVar[tuple[Readout, ...]] = ("mean", "weighted", "last", "max")
    lengths: ClassVar[bool] = True

    name: Literal["torch-export"] = "torch-export"

    def unfit(self, of: Outline) -> Iterator[Obstacle]:
        if of.timesteps > MOST_STEPS:
            yield Obstacle(
                "",
                f"its {of.timesteps} steps are more than the {MOST_STEPS} that are unrolled",
                "take the target python",
            )

    def write(self, network: LIFNetwork, directory: Path) -> tuple[str, ...]:
        import torch

        from saf.lif.plain import PlainNetwork

        of = network.description
        shape = ([of.timesteps] if of.frames else []) + list(of.architecture.input_shape)
        example = torch.zeros(2, *shape)
        samples = torch.export.Dim("samples", min=1)
        program = torch.export.export(
            PlainNetwork(network), (example,), dynamic_shapes={"x": {0: samples}}
        )
        torch.export.save(program, directory / PROGRAM)
        return (PROGRAM,)

    @contextmanager
    def replay(self, network: LIFNetwork, directory: Path) -> Iterator[Reader]:
        import torch

        names = [layer.name for layer in network.layers if layer.neuron is not None]
        command = ["-c", _REPLAY, str(directory.resolve() / PROGRAM), json.dumps(names)]
        with interpreted(command, {"torch": str(torch.__version__)}) as reader:
            yield reader
