"""What a job trains that says no network and no method, by its samples."""

from __future__ import annotations

from typing import Any

import pytest

from saf.config import JobSpecification
from saf.config.samples import Kind, Samples
from saf.networks.fitted import fitted


def chosen(
    kind: Kind, shape: tuple[int, ...], timesteps: int | None, **said: Any
) -> tuple[str, str]:
    samples = Samples("the data set", kind, timesteps, False, shape)
    found = fitted(JobSpecification.model_validate(said), samples, 4)
    return found.network.name, found.method.name


@pytest.mark.parametrize(
    ("kind", "shape", "timesteps", "wanted"),
    [
        ("images", (3, 24, 24), None, ("convnet", "saf-f")),
        ("images", (1, 1, 128), None, ("convnet", "saf-f")),
        ("images", (13, 1, 1), None, ("mlp", "saf-f")),
        ("events", (2, 34, 34), 10, ("convnet", "saf-f")),
        ("events", (700, 1, 1), 100, ("mlp", "saf-e")),
        ("series", (8, 1, 1), 128, ("mlp", "saf-e")),
    ],
)
def test_samples_without_a_place_get_a_network_that_takes_them_and_in_time_a_loss_at_each_step(
    kind: Kind, shape: tuple[int, ...], timesteps: int | None, wanted: tuple[str, str]
) -> None:
    assert chosen(kind, shape, timesteps) == wanted


def test_images_that_are_shown_row_by_row_are_as_series() -> None:
    assert chosen("images", (1, 8, 8), None, input={"present": "rows"}) == ("mlp", "saf-e")


def test_what_is_said_stays() -> None:
    said = {"network": {"name": "convnet"}, "method": {"name": "saf-f"}}
    assert chosen("series", (8, 1, 1), 128, **said) == ("convnet", "saf-f")
    assert chosen("series", (8, 1, 1), 128, network={"name": "rnn"}) == ("rnn", "saf-e")
    assert chosen("series", (8, 1, 1), 128, method={"name": "bptt"}) == ("mlp", "bptt")
