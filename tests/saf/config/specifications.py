"""Everything that a job can ask for, read from the types of the specification: a method, a network,
an option that is added there is tried wherever this is used."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from saf import config
from saf.config import JobSpecification
from saf.config import networks as networkchoice
from saf.config.augmentations import AUGMENTATIONS
from saf.config.neurons import NEURONS, SURROGATES

Values = dict[str, Any]


def methods() -> list[Values]:
    """Every method with every combination of its settings that a job can ask for."""
    every = [values for model in config.METHODS for values in combinations(model)]
    return [values for values in every if _is_accepted(values)]


def _is_accepted(method: Values) -> bool:
    try:
        JobSpecification.model_validate({"method": method})
    except ValidationError:
        return False
    return True


def combinations(model: type[BaseModel]) -> list[Values]:
    """Every combination of the choices and switches of `model`."""
    fields = {name: choices(field.annotation) for name, field in model.model_fields.items()}
    return [dict(zip(fields, values, strict=True)) for values in product(*fields.values())]


def choices(annotation: Any) -> list[Any]:
    """All values of a type that has few."""
    if annotation is bool:
        return [False, True]
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    raise TypeError(
        f"say in tests/saf/config/specifications.py which values of {annotation} to try"
    )


def networks() -> list[Values]:
    """Every network by its name, as small as it can be told to be."""
    return [smallest(model) for model in networkchoice.NETWORKS]


DESCRIPTION: Values = {
    "input_shape": [1, 8, 8],
    "layers": [
        {
            "name": "layer1",
            "connections": [
                {
                    "source": "input",
                    "operations": [
                        {"kind": "conv", "out_channels": 4, "standardised": False},
                        {"kind": "sum_pool", "kernel": 4},
                        {"kind": "flatten"},
                    ],
                }
            ],
        }
    ],
    "readout": {
        "name": "readout",
        "connections": [
            {"source": "layer1", "operations": [{"kind": "linear", "out_features": 3}]}
        ],
    },
}
"""Of the samples of most tests."""


def smallest(model: type[BaseModel]) -> Values:
    """The settings of a network for a quick try."""
    small: Values = {
        "width": 0.05,
        "gain": 1.0,
        "channels": [3, 4],
        "features": [5, 4],
        "delays": [0, 1],
        "learned": False,
        "kernel_width": 0.5,
        "recurrent_scale": 0.5,
        "kernel": 3,
        "maps": 1,
        "description": DESCRIPTION,
        "mean": [],
        "std": [],
        "layers": [
            {"kind": "conv", "channels": 4, "stride": 2},
            {"kind": "average_pool"},
            {"kind": "conv", "channels": 4, "groups": 2},
            {"kind": "linear", "features": 5},
        ],
    }
    values = {"name": model.model_fields["name"].default}
    for name, field in model.model_fields.items():
        if name in small:
            values[name] = small[name]
        elif get_origin(field.annotation) is not Literal:
            raise TypeError(f"say in tests/saf/config/specifications.py how small {name} can be")
    return values


OTHERWISE: Values = {
    "timesteps": [1, 3],
    "epochs": [2],
    "patience": [1],
    "validation_share": [0.3],
    "max_gradient_norm": [0.5],
    "optimizer/learning_rate": [0.02],
    "schedule/start_epoch": [],
    "init": [],  # needs a checkpoint, as start_epoch does: see test_first_weights
    "automatic": [],  # written by the service
    "plugins": [],  # so are these
    "batch_size": [1, 5],
    "micro_batches": [3],
    "timesteps_at_once": [1, 2],
    "seed": [7],
    "devices": [],
    "max_runtime_seconds": [1e6],
    "priority": [0],
    "name": ["named"],
    "dataset": [],
    "metadata": [{"key": "value"}],
    "input": [{"encoding": {"name": "onoff"}}],  # others are for data in time: see test_sequences
    "neuron/name": list(NEURONS.members())[1:],  # the first one is the default
    "neuron/decay": [1.0, 0.3],
    "neuron/decays": [],  # as many as there are layers: see tests/saf/neurons/test_models.py
    "neuron/threshold": [0.4],
    "neuron/surrogate/name": list(SURROGATES.members())[1:],  # the first one is the default
    "augment": [*([name] for name in AUGMENTATIONS.members()), list(AUGMENTATIONS.members())],
    "conversion/grid_bits": ["auto", 8],
    "conversion/round_decays": [],  # with plif and a grid alone: see delivery/test_learned_decays
}
"""What to try where bounds do not say it, or where what they say would take long."""


def options() -> list[Values]:
    """Every setting beside method and network, changed alone."""
    return [
        {name: value}
        for name, field in JobSpecification.model_fields.items()
        if name not in ("method", "network")
        for value in changed(name, field)
    ]


def changed(path: str, field: FieldInfo) -> Iterator[Any]:
    """Values of a field other than its default."""
    annotation = field.annotation
    if path in OTHERWISE:
        yield from OTHERWISE[path]
        return
    if get_origin(annotation) in (Union, UnionType):
        arms = [arm for arm in get_args(annotation) if arm is not NoneType]
        for arm in arms:
            yield from _changed(path, arm, field)
        return
    yield from _changed(path, annotation, field)


def _changed(path: str, annotation: Any, field: FieldInfo) -> Iterator[Any]:
    metadata = list(field.metadata)
    if get_origin(annotation) is Annotated:
        annotation, *more = get_args(annotation)
        metadata += [m for each in more for m in getattr(each, "metadata", [each])]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        named = {}
        if "name" in annotation.model_fields and "name" in annotation.__annotations__:
            default = annotation.model_fields["name"].default
            named = {"name": default}
            yield named
        for name, inner in annotation.model_fields.items():
            for value in changed(f"{path}/{name}", inner):
                yield {**named, name: value}
    elif get_origin(annotation) is tuple:
        arm = get_args(annotation)[0]
        each = choices(arm)
        yield from ([value] for value in each)
        yield each
    elif annotation is bool or get_origin(annotation) is Literal:
        yield from (value for value in choices(annotation) if value != field.default)
    elif annotation in (int, float):
        yield between(path, metadata, annotation)
    else:
        raise TypeError(f"say in tests/saf/config/specifications.py which values of {path} to try")


def between(path: str, metadata: list[Any], kind: type) -> Any:
    """A number that the bounds allow: a third of the way, or 1.5 times the lower one."""
    low: Any = None
    high: Any = None
    for bound in metadata:
        if isinstance(bound, annotated_types.Ge):
            low = bound.ge
        if isinstance(bound, annotated_types.Gt):
            low = bound.gt
        if isinstance(bound, annotated_types.Le):
            high = bound.le
        if isinstance(bound, annotated_types.Lt):
            high = bound.lt
    if low is None:
        raise TypeError(f"say in tests/saf/config/specifications.py which values of {path} to try")
    low_, high_ = float(low), float(min(high, 3.0)) if high is not None else 3.0
    value = low_ + (high_ - low_) / 3
    return kind(value) if kind is float else max(int(low_) + 1, int(value))
