from __future__ import annotations

from typing import Any

import pytest

from saf import config
from tests.api.conftest import Server


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("networks", {"convnet", "vgg11"}),
        ("methods", {"saf-e", "saf-f", "ottt-a", "ottt-o", "spike-representation", "bptt"}),
        ("surrogates", {"sigmoid", "triangle", "rectangle", "arctan"}),
    ],
)
def test_every_choice_can_be_sent_with_its_defaults(
    shared: Server, path: str, names: set[str]
) -> None:
    choices = shared.get(f"/v1/{path}")["data"]
    assert {choice["name"] for choice in choices} >= names
    for choice in choices:
        kind = choice["object"]
        open_ = {key for key, schema in choice["parameters"].items() if "default" not in schema}
        assert choice["defaults"].keys() == {"name", *choice["parameters"]} - open_
        if open_:
            continue
        change: dict[str, Any] = {kind: choice["defaults"]}
        if kind == "surrogate":
            change = {"neuron": change}
        specification = config.JobSpecification.model_validate(change).model_dump(mode="json")
        chosen = (
            specification["neuron"]["surrogate"] if kind == "surrogate" else specification[kind]
        )
        assert chosen == choice["defaults"]
        assert choice["description"]


def test_limits_are_those_of_the_specification(shared: Server) -> None:
    (vgg,) = (c for c in shared.get("/v1/networks")["data"] if c["name"] == "vgg11")
    width = vgg["parameters"]["width"]
    assert (width["exclusiveMinimum"], width["maximum"], width["default"]) == (0, 4, 1.0)
