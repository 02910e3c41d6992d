"""The job specification: what a training is asked to do. No torch."""

from saf.config.conversion import MOST_CHECKED, Conversion
from saf.config.job import (
    MOST_IN_BFLOAT16,
    MOST_TIMESTEPS,
    BatchSize,
    Epochs,
    GradientNorm,
    Init,
    JobSpecification,
    Metadata,
    Precision,
    ResolvedSpecification,
    ValidationShare,
    as_before_validation,
)
from saf.config.methods import METHODS, Method
from saf.config.neurons import NEURONS, Neuron, Surrogate
from saf.config.optimisation import (
    SGD,
    AdamW,
    AutomaticOptimizer,
    LearningRate,
    Loss,
    Optimizer,
    Schedule,
)
from saf.powers import MOST_GRID_BITS

__all__ = [
    "METHODS",
    "MOST_CHECKED",
    "MOST_GRID_BITS",
    "MOST_IN_BFLOAT16",
    "MOST_TIMESTEPS",
    "NEURONS",
    "SGD",
    "AdamW",
    "AutomaticOptimizer",
    "BatchSize",
    "Conversion",
    "Epochs",
    "GradientNorm",
    "Init",
    "JobSpecification",
    "LearningRate",
    "Loss",
    "Metadata",
    "Method",
    "Neuron",
    "Optimizer",
    "Precision",
    "ResolvedSpecification",
    "Schedule",
    "Surrogate",
    "ValidationShare",
    "as_before_validation",
]
