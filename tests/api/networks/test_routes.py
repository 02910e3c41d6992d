from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from saf import config
from tests.api.conftest import Server

API = Path(__file__).parents[3] / "api"


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("networks", {"convnet", "vgg11"}),
        ("methods", {"saf-e", "saf-f", "ottt-a", "ottt-o", "spike-representation", "bptt"}),
        ("neurons", {"lif", "plif", "cuba", "alif"}),
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


def test_pages_word_a_method_as_its_file_does(shared: Server) -> None:
    """And a label of another file would be a second list of methods."""
    labels = {each["name"]: each["label"] for each in shared.get("/v1/methods")["data"]}
    assert labels == {name: member.label for name, member in config.METHODS.members().items()}
    job = shared.submit(method={"name": "ottt-o"})
    for path in ("/", f"/jobs/{job['id']}"):
        page = shared.http.get(path, headers={"Accept": "text/html"}).text
        assert f'title="ottt-o">{labels["ottt-o"]}<' in page
    found = [
        (file.name, label)
        for file in API.rglob("*")
        if file.suffix in (".py", ".js", ".html", ".css")
        and not {"vendor", "built"} & set(file.parts)
        for label in labels.values()
        if label in file.read_text(encoding="utf-8")
    ]
    assert found == []
