"""What the form begins with: presets on the data sets that this server has, and what suits one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from api.datasets.schemas import DatasetDocument
from saf.config import JobSpecification
from saf.config.samples import Samples
from saf.networks.fitted import fitted
from saf.presets import Preset


def filled(preset: Preset, datasets: Iterable[DatasetDocument]) -> dict[str, Any]:
    """The specification of a preset, on the newest upload that can be the data set it is for.

    Without one, `dataset` is the name to upload it under.
    """
    body = preset.body()
    fitting = (
        dataset.name
        for dataset in datasets
        if dataset.status == "ready"
        and dataset.shape == [*(preset.shape or ())]
        and (dataset.timesteps is not None) == preset.in_time
        and dataset.classes == preset.classes
    )
    return body if preset.shape is None else {**body, "dataset": next(fitting, preset.dataset)}


def suited(dataset: str, datasets: Iterable[DatasetDocument]) -> dict[str, Any]:
    """What a job on the data set of that name or id begins with: the defaults, and where these are
    for other samples what a job gets that does not say it. `dataset` alone where it is none of
    `datasets`."""
    start: dict[str, Any] = {"dataset": dataset}
    found = next((each for each in datasets if dataset in (each.name, each.id)), None)
    if found is None or found.shape is None or found.classes is None:
        return start
    samples = Samples(dataset, found.kind or "images", found.timesteps, True, tuple(found.shape))
    chosen = fitted(JobSpecification(), samples, found.classes)
    for setting, name in (("network", chosen.network.name), ("method", chosen.method.name)):
        if setting in chosen.model_fields_set:
            start[setting] = {"name": name}
    return start
