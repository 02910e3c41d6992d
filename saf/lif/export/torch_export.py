"""`torch.export`: a program of plain operations that needs torch and nothing of ours."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from saf.config.targets import TARGETS, Obstacle, Played, Reader, Target

if TYPE_CHECKING:
    from saf.lif.network import LIFNetwork

PROGRAM = "network.pt2"
REPLAY_SECONDS = 3600
MOST_STEPS = 256
_REPLAY = """
import json, sys
import numpy as np
import torch

program, samples, result, names = sys.argv[1:5]
module = torch.export.load(program).module()
with torch.no_grad():
    scores, spikes = module(torch.from_numpy(np.load(samples)))
assert not any(name == "saf" or name.startswith("saf.") for name in sys.modules)
named = dict(zip(json.loads(names), (each.numpy() > 0.5 for each in spikes)))
np.savez(result, scores=scores.numpy(), **named)
"""


@TARGETS.add
class TorchExport(Target):
    """`network.pt2`, a program of `torch.export` for any number of samples: it loads where torch
    is, without this library, and torch's compilers and runtimes take it."""

    label: ClassVar[str] = "torch.export"
    place: ClassVar[int] = 40
    can: ClassVar[tuple[str, ...]] = ("every network", "any number of samples at a time")
    cannot: ClassVar[tuple[str, ...]] = (f"more than {MOST_STEPS} time steps: they are unrolled",)
    loading: ClassVar[str] = (
        "import torch\n\n"
        'network = torch.export.load("{file}").module()\n'
        "scores, spikes = network(images)  # N C H W in [0, 1], float32; spikes: N T … a layer"
    )

    name: Literal["torch-export"] = "torch-export"

    def obstacles(self, network: LIFNetwork) -> Iterator[Obstacle]:
        if network.timesteps > MOST_STEPS:
            yield Obstacle(
                "",
                f"its {network.timesteps} steps are more than the {MOST_STEPS} that are unrolled",
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
        names = [layer.name for layer in network.layers if layer.neuron is not None]
        with tempfile.TemporaryDirectory(prefix="saf-export-") as scratch:
            yield _Program(directory.resolve() / PROGRAM, names, Path(scratch))


class _Program:
    """The program in an interpreter of its own, which loads nothing of ours."""

    def __init__(self, program: Path, names: list[str], scratch: Path) -> None:
        import torch

        self.versions = {"torch": str(torch.__version__)}
        self._program, self._names, self._scratch = program, names, scratch

    def play(self, samples: NDArray[np.float32]) -> Played:
        np.save(self._scratch / "samples.npy", samples)
        result = self._scratch / "result.npz"
        ran = subprocess.run(
            [
                *(sys.executable, "-I", "-c", _REPLAY, str(self._program)),
                *(str(self._scratch / "samples.npy"), str(result), json.dumps(self._names)),
            ],
            capture_output=True,
            text=True,
            timeout=REPLAY_SECONDS,
        )
        if ran.returncode:
            raise RuntimeError(f"torch cannot run {self._program.name}: {ran.stderr[-2000:]}")
        with np.load(result) as found:
            arrays = {name: found[name] for name in found.files}
        return Played({name: arrays[name] for name in self._names}, arrays["scores"])
