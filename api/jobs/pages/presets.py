"""Specifications to start from: a quick look, and the settings published with SAF and OTTT.

The published ones are those of section 4 of SAF (arXiv 2310.02772), which are those of OTTT
(arXiv 2210.04195) and of the code published with it: VGG-11, T = 6, 300 epochs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from api.datasets.schemas import DatasetDocument
from saf.config import METHODS, JobSpecification
from saf.networks.build import NetworkError, build, networks_for

_PUBLISHED: Mapping[str, Any] = {
    "network": {"name": "vgg11", "width": 1.0, "gain": 1.0},
    "timesteps": 6,
    "neuron": {
        "decay": 0.5,
        "threshold": 1.0,
        "surrogate": {"name": "sigmoid", "slope": 4.0},
    },
    "conversion": {"weights": "last"},
    "epochs": 300,
    "validation_share": 0.0,
    "batch_size": 128,
    "optimizer": {"name": "sgd", "learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.0},
    "schedule": {"name": "cosine", "warmup_epochs": 0.0},
    "max_gradient_norm": None,
    "loss": {"class_weights": "none", "mse_share": 0.05, "label_smoothing": 0.0},
    "augment": ["crop", "cutout", "flip"],
    "precision": "float32",
}
_METHODS = ("saf-e", "saf-f", "ottt-a", "ottt-o")
_QUICK: Mapping[str, Any] = {
    "name": "A quick look",
    "dataset": "digits",
    "network": {"name": "convnet", "channels": [16, 32]},
    "method": {"name": "saf-f"},
    "timesteps": 4,
}


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A specification under a name."""

    key: str
    """What stands in the address of the form."""
    label: str
    group: str
    specification: Mapping[str, Any]
    classes: int | None = None
    """Of the CIFAR data set that it is for; None: `dataset` is in the specification."""


def _published(method: str, classes: int) -> Preset:
    label = METHODS[method].label
    return Preset(
        key=f"{method}-cifar{classes}",
        label=label,
        group=f"As published, CIFAR-{classes}",
        specification={
            **_PUBLISHED,
            "name": f"{label} on CIFAR-{classes}, as published",
            "method": {"name": method},
        },
        classes=classes,
    )


PRESETS: tuple[Preset, ...] = (
    Preset(key="quick", label="A quick look", group="Digits", specification=_QUICK),
    *(_published(method, classes) for classes in (10, 100) for method in _METHODS),
)


def find_preset(key: str) -> Preset | None:
    """The preset of that key."""
    return next((preset for preset in PRESETS if preset.key == key), None)


def filled(preset: Preset, datasets: Iterable[DatasetDocument]) -> dict[str, Any]:
    """The specification of a preset, on the newest upload that can be the CIFAR it is for.

    Without one, `dataset` is the name to upload it under.
    """
    if preset.classes is None:
        return dict(preset.specification)
    fitting = (
        dataset.name
        for dataset in datasets
        if dataset.status == "ready"
        and dataset.shape == [3, 32, 32]
        and dataset.timesteps is None
        and dataset.classes == preset.classes
    )
    return {**preset.specification, "dataset": next(fitting, f"cifar{preset.classes}")}


def suited(dataset: str, datasets: Iterable[DatasetDocument]) -> dict[str, Any]:
    """What a job on the data set of that name or id begins with: the defaults, and where the
    network by default does not take its samples the first one that does; of series a loss at each
    time step. `dataset` alone where it is none of `datasets`."""
    start: dict[str, Any] = {"dataset": dataset}
    found = next((each for each in datasets if dataset in (each.name, each.id)), None)
    if found is None or found.shape is None or found.classes is None:
        return start
    shape = tuple(found.shape)
    try:
        build(JobSpecification().network, shape, found.classes)
    except NetworkError:
        if fitting := networks_for(shape, found.classes):
            start["network"] = {"name": fitting[0]}
    if found.kind == "series":
        start["method"] = {"name": "saf-e"}
    return start
