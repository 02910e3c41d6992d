"""The trainings with nothing in their way: `python -m tests.chaos.undisturbed EPOCHS MS OUT`."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import safetensors.numpy

import saf
from saf.config import JobSpecification
from saf.training.events import Epoch, Evaluation, Step
from tests.chaos.recipes import RECIPES, SLOTS, dataset, specification
from worker import devices

CLOCKED = frozenset({"step_seconds"})  # metrics whose values are times, so only their steps repeat
MEASURED = frozenset({"memory_bytes", "device_use"})  # taken now and then, by the clock
ROOT = Path(__file__).parents[2]
Points = dict[str, list[tuple[int, float]]]


@dataclass(frozen=True, kw_only=True)
class Undisturbed:
    """What a training leaves behind when nothing happens to it."""

    points: Points
    tensors: str  # SHA-256 over name, type, shape and bytes of each tensor of the LIF network
    file: str  # SHA-256 of lif.safetensors


def tensors_sha256(content: bytes) -> str:
    """The digest of all tensors of a safetensors file."""
    digest = hashlib.sha256()
    for name, tensor in sorted(safetensors.numpy.load(content).items()):
        digest.update(f"{name} {tensor.dtype} {tensor.shape}\n".encode())
        digest.update(tensor.tobytes())
    return digest.hexdigest()


def train(recipe: str, *, epochs: int, pace_ms: int) -> Undisturbed:
    """Train a recipe with the library alone: no service, no process in between."""
    wish = JobSpecification.model_validate(specification(recipe, epochs=epochs, pace_ms=pace_ms))
    data = dataset(wish.dataset)
    points: Points = {}
    with tempfile.TemporaryDirectory() as directory:
        for report in saf.train(wish, data, Path(directory), device="cpu"):
            if isinstance(report, Step | Epoch | Evaluation):
                for name, value in report.metrics.items():
                    points.setdefault(name, []).append((report.step, float(value)))
        content = (Path(directory) / "lif.safetensors").read_bytes()
    return Undisturbed(
        points=points,
        tensors=tensors_sha256(content),
        file=hashlib.sha256(content).hexdigest(),
    )


def environment() -> dict[str, str]:
    """For the same code and as many threads as a slot of the workers gives to a training."""
    slot = devices.slots(wanted=SLOTS, environment=os.environ)[0]
    return {**os.environ, "PYTHONPATH": str(ROOT), **slot.environment}


def read(path: Path) -> dict[str, Undisturbed]:
    """What `main` wrote."""
    return {
        recipe: Undisturbed(
            points={
                name: [(step, value) for step, value in pairs]
                for name, pairs in fields["points"].items()
            },
            tensors=fields["tensors"],
            file=fields["file"],
        )
        for recipe, fields in json.loads(path.read_text()).items()
    }


def main() -> int:
    """Train all recipes and write what they left as JSON."""
    epochs, pace_ms, out = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    result = {recipe: asdict(train(recipe, epochs=epochs, pace_ms=pace_ms)) for recipe in RECIPES}
    out.write_text(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
