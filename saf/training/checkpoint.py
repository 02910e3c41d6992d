"""Everything a training needs to go on bit-exactly, in one file.

Weights, their moving average and optimizer buffers are tensors; the specification, the step, the
sums of the unfinished epoch and the metrics of the finished ones are JSON in the header. Nothing
else is needed: the order of the samples and the augmentation are functions of the seed and the
step, and the learning rate is one of the step.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch import Tensor

from saf import tensorfile
from saf.config import ResolvedSpecification, as_before_validation

KEPT = 2
_NAME = re.compile(r"step-(\d{12})\.safetensors")


class Progress(BaseModel):
    """Progress of a training, without its tensors."""

    model_config = ConfigDict(extra="forbid")

    step: Annotated[int, Field(ge=0)] = 0
    """Iterations done."""
    seconds: dict[str, float] = Field(
        default_factory=lambda: dict.fromkeys(
            ("iterations", "network", "evaluations", "checkpoints", "conversion"), 0.0
        )
    )
    """Time spent, all attempts together; `network` is a part of `iterations`."""
    earlier_seconds: Annotated[float, Field(ge=0)] = 0.0
    """Of the counted ones, those of the jobs that this one took its checkpoint from."""
    history: list[dict[str, float]] = Field(default_factory=list)
    """Metrics of each finished epoch."""
    sums: dict[str, float] = Field(default_factory=dict)
    """Sums over the samples of the unfinished epoch: loss, correct, and firing_rate/<layer>, in
    which those that end early count less, by their time steps (`shown`)."""
    compiled: bool | None = None
    """Whether the scan of layers is the compiled one, which rounds otherwise than the plain
    one; None before the first iteration."""
    native: bool | None = None
    """Whether C++ takes the place of torch's operations (`saf.kernels.native`); its transforms of
    tiles and its standardisation of weights round otherwise. None before the first iteration."""

    threads: Annotated[int, Field(ge=1)] | None = None
    """Threads of torch on a CPU, as sums that several share round otherwise; None before the first
    iteration, and on a GPU."""
    initial_loss: float | None = None
    """The loss of the first iteration, before any update."""
    gains: dict[str, float] = Field(default_factory=dict)
    """By how much the first pass scaled what arrives at each layer (`saf.training.first_pass`)."""
    best_epoch: Annotated[int, Field(ge=0)] = 0
    """The epoch that was best on the validation samples, counted from 1; 0 before there is one."""
    ended_early: bool = False
    """Whether `patience` ended the training."""

    timesteps_at_once: Annotated[int, Field(ge=1)] | None = None
    """K where it was not asked for (`saf.training.hardware.chunk_size`), as other sums round
    otherwise; None before it is chosen, and for methods that take one step after the other."""

    def note_best(self, balanced: bool) -> bool:
        """Whether the last epoch is the best so far, by `merit`, which `best_epoch` then says."""
        last = merit(self.history[-1], balanced)
        if self.best_epoch and last <= merit(self.history[self.best_epoch - 1], balanced):
            return False
        self.best_epoch = len(self.history)
        return True

    def delivered_epoch(self, weights: Literal["best", "last"]) -> int:
        """The epoch, counted from 1, whose weights are delivered where `weights` are asked for."""
        return self.best_epoch if weights == "best" and self.best_epoch else len(self.history)

    def counted_seconds(self) -> float:
        """The time that a limit is for: iterations, evaluations and checkpoints."""
        return sum(self.seconds[part] for part in ("iterations", "evaluations", "checkpoints"))


def merit(metrics: Mapping[str, float], balanced: bool) -> tuple[float, float]:
    """By what networks are chosen, larger being better: (balanced) accuracy on the validation
    samples, among equals their loss."""
    return metrics["val_balanced_accuracy" if balanced else "val_accuracy"], -metrics["val_loss"]


class _Header(BaseModel):
    model_config = ConfigDict(extra="forbid")

    format: Literal["saf-checkpoint/1", "saf-checkpoint/2"] = "saf-checkpoint/2"
    specification: ResolvedSpecification
    dataset: str
    """Identity of the data the training saw."""
    progress: Progress

    @model_validator(mode="before")
    @classmethod
    def _of_version_1(cls, header: Any) -> Any:
        if isinstance(header, dict) and header.get("format") == "saf-checkpoint/1":
            specification = header.get("specification")
            if isinstance(specification, dict):
                header = {**header, "specification": as_before_validation(specification)}
        return header


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A training at one step: `weights[parameter]`, `average[parameter]` where there is a moving
    average, `best[parameter]` of the best epoch, and `optimizer[parameter][buffer]`."""

    specification: ResolvedSpecification
    dataset: str
    progress: Progress
    weights: dict[str, Tensor]
    average: dict[str, Tensor]
    best: dict[str, Tensor]
    optimizer: dict[str, dict[str, Tensor]]

    def write(self, path: Path) -> None:
        """Write to `path`, whole or not at all. Raises OSError."""
        tensors = {f"weights/{name}": tensor for name, tensor in self.weights.items()}
        tensors |= {f"average/{name}": tensor for name, tensor in self.average.items()}
        tensors |= {f"best/{name}": tensor for name, tensor in self.best.items()}
        for name, buffers in self.optimizer.items():
            tensors |= {f"optimizer/{name}/{key}": tensor for key, tensor in buffers.items()}
        header = _Header(
            specification=self.specification, dataset=self.dataset, progress=self.progress
        )
        tensorfile.write(path, tensors, header.model_dump(mode="json"))

    @classmethod
    def read(cls, path: Path) -> Checkpoint:
        """The checkpoint at `path`; raises FileNotFoundError, or ValueError if it is damaged."""
        tensors, metadata = tensorfile.read(path)
        try:
            header = _Header.model_validate(metadata)
        except ValidationError as error:
            raise ValueError(
                f"{path.name} is no checkpoint of this version: {tensorfile.in_short(error)}"
            ) from error
        weights: dict[str, Tensor] = {}
        average: dict[str, Tensor] = {}
        best: dict[str, Tensor] = {}
        optimizer: dict[str, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            match name.split("/"):
                case ["weights", parameter]:
                    weights[parameter] = tensor
                case ["average", parameter]:
                    average[parameter] = tensor
                case ["best", parameter]:
                    best[parameter] = tensor
                case ["optimizer", parameter, buffer]:
                    optimizer.setdefault(parameter, {})[buffer] = tensor
                case _:
                    raise ValueError(f"{path.name} holds a tensor that is none of ours: {name}")
        return cls(
            specification=header.specification,
            dataset=header.dataset,
            progress=header.progress,
            weights=weights,
            average=average,
            best=best,
            optimizer=optimizer,
        )


def path_of(directory: Path, step: int) -> Path:
    """Path of the checkpoint of `step` in `directory`."""
    return directory / f"step-{step:012d}.safetensors"


def steps(directory: Path) -> list[tuple[int, Path]]:
    """The checkpoints in `directory` as (step, path), newest first; empty when there is none."""
    if not directory.is_dir():
        return []
    found = ((_NAME.fullmatch(path.name), path) for path in directory.iterdir())
    return sorted(((int(name[1]), path) for name, path in found if name), reverse=True)


def save(checkpoint: Checkpoint, directory: Path) -> Path:
    """Write `checkpoint` into `directory` and delete all but the newest `KEPT`. Raises OSError."""
    path = path_of(directory, checkpoint.progress.step)
    checkpoint.write(path)
    for _, old in steps(directory)[KEPT:]:
        old.unlink(missing_ok=True)
    return path


def newest(path: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest readable checkpoint and what was wrong with those that were passed over.

    `path` is a directory of checkpoints, or one of its files, and then none after it is read.
    """
    passed_over: list[str] = []
    for candidate in _candidates(path):
        try:
            return Checkpoint.read(candidate), passed_over
        except (ValueError, OSError) as error:
            passed_over.append(str(error))
    return None, passed_over


def _candidates(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from (file for _, file in steps(path))
        return
    yield path
    if name := _NAME.fullmatch(path.name):
        yield from (file for step, file in steps(path.parent) if step < int(name[1]))


def optimizer_buffers(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, torch.nn.Parameter]
) -> dict[str, dict[str, Tensor]]:
    """The tensors that `optimizer` keeps for each named parameter."""
    return {
        name: {key: value for key, value in state.items() if isinstance(value, Tensor)}
        for name, parameter in parameters.items()
        if (state := optimizer.state.get(parameter))
    }


def restore(
    checkpoint: Checkpoint,
    optimizer: torch.optim.Optimizer,
    parameters: Mapping[str, torch.nn.Parameter],
) -> None:
    """Put the weights and the buffers of `checkpoint` back, bit for bit.

    Raises ValueError when they are not those of this network and optimizer.
    """
    put(checkpoint.weights, parameters)
    for name, parameter in parameters.items():
        for key, buffer in checkpoint.optimizer.get(name, {}).items():
            # The counter of steps stays on the CPU, where the optimizer made it.
            device = torch.device("cpu") if key == "step" else parameter.device
            optimizer.state[parameter][key] = buffer.to(device)


@torch.no_grad()
def put(weights: Mapping[str, Tensor], parameters: Mapping[str, torch.nn.Parameter]) -> None:
    """Give `parameters` the saved values. Raises ValueError when they are not of this network."""
    if weights.keys() != parameters.keys():
        raise ValueError(
            "the checkpoint is of another network: they differ in "
            f"{sorted(weights.keys() ^ parameters.keys())}"
        )
    for name, parameter in parameters.items():
        saved = weights[name]
        if saved.shape != parameter.shape or saved.dtype != parameter.dtype:
            raise ValueError(
                f"{name} is {saved.dtype} {tuple(saved.shape)} in the checkpoint and "
                f"{parameter.dtype} {tuple(parameter.shape)} in the network"
            )
        parameter.copy_(saved)
