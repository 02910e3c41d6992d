"""Optimizers, learning rates and the loss of a job."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    Field,
)

from saf.config.base import Auto, OrAuto, Strict

LearningRate = Annotated[float, Field(gt=0, le=100)]


class AutomaticOptimizer(Strict):
    """AdamW at the learning rate of the rule, see `docs/defaults.md`."""

    name: Literal["auto"] = "auto"


class SGD(Strict):
    """Stochastic gradient descent with momentum."""

    name: Literal["sgd"] = "sgd"
    learning_rate: Annotated[LearningRate | Auto, OrAuto()] = "auto"
    """"auto": by the rule of `docs/defaults.md`. Published with OTTT: 0.1."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.0


class AdamW(Strict):
    """Adam with decoupled weight decay."""

    name: Literal["adamw"] = "adamw"
    learning_rate: Annotated[LearningRate | Auto, OrAuto()] = "auto"
    """"auto": by the rule of `docs/defaults.md`."""
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.0


Optimizer = Annotated[AutomaticOptimizer | SGD | AdamW, Field(discriminator="name")]


class Schedule(Strict):
    """The learning rate over the run."""

    name: Literal["cosine", "constant"] = "cosine"
    """`cosine` falls to zero over all iterations; `constant` stays."""
    warmup_epochs: Annotated[float, Field(ge=0, le=1000)] = 0.0
    """Linear rise from zero at the start."""
    start_epoch: Annotated[int, Field(ge=0, le=100_000)] = 0
    """Epochs that were done before this schedule begins: of a training that goes on after its end,
    those of the training before."""


class Loss(Strict):
    """(1 − mse_share) · cross entropy + mse_share · mean squared error to the one-hot target."""

    class_weights: Literal["none", "balanced"] = "none"
    """`balanced`: a sample of class c counts N / (K n_c), with n_c of N training samples in class c
    of K, so that rare classes count as much as frequent ones; the best epoch is then chosen by
    balanced accuracy."""

    mse_share: Annotated[float, Field(ge=0, le=1)] = 0.05
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the target that is spread evenly over all classes, in both parts."""
