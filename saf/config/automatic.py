"""The rules by which automatic settings become numbers, as `docs/defaults.md` has them; no torch.

They were chosen by `benchmarks.training.defaults`, which trains on small and large, even and uneven
data sets with all methods; its results are in `benchmarks/results/defaults.md`.
"""

from __future__ import annotations

from math import ceil, log2
from typing import Any, NamedTuple

from saf.config import (
    SGD,
    AdamW,
    AutomaticOptimizer,
    JobSpecification,
    ResolvedSpecification,
)
from saf.config.choice import plugins_of
from saf.config.job import TIMESTEPS

FEW_SAMPLES = 2000  # below which a fifth, and not a tenth, is kept for validation
BATCHES_PER_EPOCH = 24  # aimed at, with a power of two for the batch
SMALLEST_BATCH, LARGEST_BATCH = 8, 128
ITERATIONS = 800  # aimed at, over all epochs
FEWEST_EPOCHS, MOST_EPOCHS = 12, 100
GRADIENT_NORM = 1.0
RATES = {"adamw": 2e-3, "sgd": 3e-2}
"""Learning rates; that of SGD at a batch of 32."""


class DataFacts(NamedTuple):
    """Facts of a data set that the rules use."""

    train: int  # training samples
    validation: int = 0  # samples of a validation split of its own
    timesteps: int | None = None  # T that the data fix; None of images that are shown whole


def resolve(specification: JobSpecification, facts: DataFacts) -> ResolvedSpecification:
    """`specification` with numbers for all that is "auto"; `automatic` says what that was.

    A specification without "auto" comes back as it is. Raises ValueError where a number does not
    fit another setting.
    """
    automatic: list[str] = []

    def given(name: str, rule: Any) -> Any:
        value = getattr(specification, name)
        if value != "auto":
            return value
        automatic.append(f"/{name}")
        return rule

    timesteps = given("timesteps", facts.timesteps or TIMESTEPS)
    share = given("validation_share", validation_share(facts))
    held_out = 0 if facts.validation else ceil(share * facts.train)
    learnt_from = facts.train - held_out
    batch_size = given("batch_size", batch_size_for(learnt_from))
    batch_size = max(batch_size, specification.micro_batches)
    epochs = given("epochs", epochs_for(learnt_from, batch_size))
    chosen = specification.optimizer
    optimizer: SGD | AdamW
    if isinstance(chosen, AutomaticOptimizer):
        automatic.append("/optimizer")
        rate = _rate("adamw", specification, batch_size, timesteps)
        optimizer = AdamW(learning_rate=rate)
    elif chosen.learning_rate == "auto":
        automatic.append("/optimizer/learning_rate")
        rate = _rate(chosen.name, specification, batch_size, timesteps)
        optimizer = chosen.model_copy(update={"learning_rate": rate})
    else:
        optimizer = chosen
    norm = given("max_gradient_norm", GRADIENT_NORM)
    resolved = {
        "timesteps": timesteps,
        "validation_share": share,
        "batch_size": batch_size,
        "epochs": epochs,
        "optimizer": optimizer,
        "max_gradient_norm": norm,
        "automatic": (*automatic, *_kept(specification, automatic)),
        "plugins": plugins_of(specification.model_dump(mode="json"), JobSpecification),
    }
    return ResolvedSpecification.model_validate({**dict(specification), **resolved})


def validation_share(facts: DataFacts) -> float:
    """The share of the training samples that is kept for validation."""
    if facts.validation:
        return 0.0
    return 0.2 if facts.train < FEW_SAMPLES else 0.1


def batch_size_for(samples: int) -> int:
    """The power of two that divides `samples` into about `BATCHES_PER_EPOCH`, 8 to 128."""
    power = int(2 ** round(log2(max(1.0, samples / BATCHES_PER_EPOCH))))
    return max(SMALLEST_BATCH, min(LARGEST_BATCH, power))


def epochs_for(samples: int, batch_size: int) -> int:
    """Epochs that make up about `ITERATIONS`, 12 to 100."""
    per_epoch = max(1, ceil(samples / batch_size))
    return max(FEWEST_EPOCHS, min(MOST_EPOCHS, ceil(ITERATIONS / per_epoch)))


def rate_of(specification: ResolvedSpecification) -> float:
    """The learning rate that the rule takes with the optimizer of `specification`, whatever rate
    that has."""
    return _rate(
        *(specification.optimizer.name, specification),
        *(specification.batch_size, specification.timesteps),
    )


def has_automatic_rate(specification: ResolvedSpecification) -> bool:
    """Whether the learning rate was "auto"."""
    return not {"/optimizer", "/optimizer/learning_rate"}.isdisjoint(specification.automatic)


def _rate(
    optimizer: str, specification: JobSpecification, batch_size: int, timesteps: int
) -> float:
    """The learning rate of `RATES` times that of the network, of SGD times the root of the batch's
    size over 32, at most 1; over the root of T for methods that update after every time step.

    AdamW divides gradients by their size, also that of their noise in a small batch. Lowered
    once more in batches of 8, it cost `saf-f` with convnet 7 to 21 points of accuracy on drawn
    images, in one or two trainings each (`benchmarks/results/default-rules.md`).
    """
    rate = RATES[optimizer] * specification.network.rate
    if optimizer == "sgd":
        rate *= min(1.0, batch_size / 32) ** 0.5
    if specification.method.updates_at_each_step:
        rate /= timesteps**0.5
    return float(f"{rate:.2g}")


def _kept(specification: JobSpecification, automatic: list[str]) -> list[str]:
    """Pointers of a specification that was resolved before, as when a job is repeated."""
    return [pointer for pointer in specification.automatic if pointer not in automatic]
