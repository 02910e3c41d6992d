"""Specifications to start from: a quick look, the settings published with SAF and OTTT, and spoken
digits and words as spikes (SHD, SSC).

The published ones are those of section 4 of SAF (arXiv 2310.02772), which are those of OTTT
(arXiv 2210.04195) and of the code published with it: VGG-11, T = 6, 300 epochs. Those of SHD and
SSC are in the style of published ones: bins of 10 ms, and two layers of 256 neurons whose delays of
up to 250 ms are learned, as in DCLS-Delays (arXiv 2306.17670), or two wider ones that are
recurrent. No torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from saf.config import METHODS
from saf.data.wellknown import KNOWN

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
_ROWS: Mapping[str, Any] = {
    "name": "Digits, row by row",
    "dataset": "digits",
    "input": {"present": "rows"},
    "network": {"name": "rnn", "features": [128, 128]},
    "method": {"name": "saf-e"},
}
_SPOKEN: Mapping[str, Any] = {
    "method": {"name": "saf-e"},
    "timesteps": "auto",  # that of the data, by the width of a bin
    "batch_size": 256,
    "optimizer": {"name": "adamw", "learning_rate": 1e-3, "weight_decay": 1e-5},
    "schedule": {"name": "cosine", "warmup_epochs": 0.0},
    "max_gradient_norm": 1.0,
    "loss": {"class_weights": "none", "mse_share": 0.0, "label_smoothing": 0.0},
}
_DELAYED: Mapping[str, Any] = {
    "network": {"name": "delay", "features": [256, 256], "delays": [0, 25], "learned": True},
    "neuron": {"name": "plif", "decay": 0.5, "dropout": 0.4},
}
_RECURRENT: Mapping[str, Any] = {
    "network": {"name": "rnn", "features": [512, 512]},
    "neuron": {"name": "plif", "decay": 0.9, "dropout": 0.4},
}


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A specification under a name."""

    key: str
    """What `--preset` and the address of the form name it by."""
    label: str
    group: str
    specification: Mapping[str, Any]
    shape: tuple[int, int, int] | None = None
    """Channels, height and width of the data set that it is for, and …"""
    classes: int | None = None
    """… the number of its classes; None: `dataset` is in the specification."""
    dataset: str = ""
    """The name to have that data set under."""

    @property
    def in_time(self) -> bool:
        """Whether the samples of that data set are in time, and no images."""
        return self.shape is not None and self.shape[1:] == (1, 1)

    @property
    def reading(self) -> dict[str, str]:
        """How the files of the data set are read, as `--read` says it."""
        return dict(KNOWN[self.dataset].settings) if self.dataset in KNOWN else {}

    def body(self) -> dict[str, Any]:
        """The specification, to be changed."""
        found = deepcopy(dict(self.specification))
        return {"dataset": self.dataset, **found} if self.dataset else found


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
        shape=(3, 32, 32),
        classes=classes,
        dataset=f"cifar{classes}",
    )


def _spoken(name: str, classes: int, epochs: int, share: float) -> tuple[Preset, ...]:
    """The presets of SHD or SSC."""

    def preset(key: str, label: str, settings: Mapping[str, Any]) -> Preset:
        return Preset(
            key=key,
            label=label,
            group=f"{name.upper()}, as spikes",
            specification={
                **_SPOKEN,
                **settings,
                "epochs": epochs,
                "validation_share": share,
                "name": f"{name.upper()}, {label}",
            },
            shape=(700, 1, 1),
            classes=classes,
            dataset=name,
        )

    return (
        preset(name, "learned delays", _DELAYED),
        preset(f"{name}-rnn", "recurrent", _RECURRENT),
    )


PRESETS: tuple[Preset, ...] = (
    Preset(key="quick", label="A quick look", group="Digits", specification=_QUICK),
    Preset(key="rows", label="Row by row", group="Digits", specification=_ROWS),
    *(_published(method, classes) for classes in (10, 100) for method in _METHODS),
    *_spoken("shd", classes=20, epochs=150, share=0.1),
    *_spoken("ssc", classes=35, epochs=60, share=0.0),  # SSC has validation samples
)


def find_preset(key: str) -> Preset | None:
    """The preset of that key."""
    return next((preset for preset in PRESETS if preset.key == key), None)
