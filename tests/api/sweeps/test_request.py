"""From one request to the specifications of many jobs."""

from __future__ import annotations

from math import prod
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from api.errors import InvalidRequestError
from api.sweeps.request import MOST_JOBS, SweepRequest, short, specifications, told, value_told
from saf.config import SGD
from saf.config.json_pointer import parts_of, pointer, put
from saf.methods.saf import SafE


def request(over: dict[str, list[Any]], **more: Any) -> SweepRequest:
    return SweepRequest.model_validate({"over": over, **more})


def test_a_grid_is_every_value_with_every_other_the_last_setting_fastest() -> None:
    found = specifications(
        request({"/method/name": ["saf-e", "ottt-a"], "/seed": [0, 1]}, job={"epochs": 3}, name="a")
    )
    assert [(job.method.name, job.seed, job.epochs) for job in found] == [
        ("saf-e", 0, 3),
        ("saf-e", 1, 3),
        ("ottt-a", 0, 3),
        ("ottt-a", 1, 3),
    ]
    assert found[0].name == "a: method = saf-e, seed = 0"


def test_a_zip_takes_the_values_together() -> None:
    found = specifications(request({"/timesteps": [4, 8], "/epochs": [2, 1]}, mode="zip"))
    assert [(job.timesteps, job.epochs) for job in found] == [(4, 2), (8, 1)]


def test_a_value_may_be_an_object_and_the_request_stays_as_it_was() -> None:
    asked = request(
        {"/network": [{"name": "mlp", "features": [4]}, {"name": "convnet"}]},
        job={"name": "own", "neuron": {"threshold": 2.0}},
    )
    before = asked.model_dump()
    found = specifications(asked)
    assert [job.network.name for job in found] == ["mlp", "convnet"]
    assert {job.neuron.threshold for job in found} == {2.0}
    assert [job.name for job in found] == [
        "own: network = mlp (features 4)",
        "own: network = convnet",
    ]
    assert asked.model_dump() == before


def test_settings_inside_a_choice_begin_with_its_default() -> None:
    (job,) = specifications(request({"/optimizer/momentum": [0.5]}))
    assert job.optimizer == SGD(momentum=0.5)


def test_another_choice_leaves_the_settings_of_the_first_behind() -> None:
    own = {
        "method": {"name": "saf-f", "trace_bias_and_input": False},
        "optimizer": {"name": "sgd", "momentum": 0.5},
    }
    over = {"/method/update": ["step"], "/method/name": ["saf-e"], "/optimizer/name": ["sgd"]}
    (job,) = specifications(request(over, job=own))
    assert job.method.model_dump() == SafE(update="step").model_dump()
    assert job.optimizer == SGD(momentum=0.5)
    both = specifications(request({"/method/name": ["saf-f", "bptt"]}, job=own))
    assert both[0].method.model_dump()["trace_bias_and_input"] is False
    assert both[1].method.name == "bptt"


def test_what_cannot_be_a_job_is_told_with_its_values() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        specifications(request({"/neuron/decay": [0.5, 2], "/seed": [1]}))
    (field,) = caught.value.errors
    assert field.pointer == "/job/neuron/decay"
    assert field.detail == "Input should be less than or equal to 1 (with decay = 2, seed = 1)"
    with pytest.raises(InvalidRequestError, match=r"did you mean 'seed'.*with sed = 1"):
        specifications(request({"/sed": [1]}))
    with pytest.raises(InvalidRequestError, match="epochs is a value and has nothing inside"):
        specifications(request({"/epochs/x": [1]}, job={"epochs": 2}))
    with pytest.raises(InvalidRequestError, match=r"; and more$") as caught:
        specifications(request({"/seed": [-1] * 200}))
    assert len(caught.value.errors) == 10


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"over": {"/method": [{}], "/method/name": ["saf-e"]}}, "set the same key"),
        ({"over": {"seed": [1]}}, "points to no key"),
        ({"over": {"/a//b": [1]}}, "points to no key"),
        ({"over": {"/seed": list(range(101)), "/epochs": [1, 2]}}, "makes 202 jobs, and 200"),
        ({"over": {"/seed": [1, 2], "/epochs": [1]}, "mode": "zip"}, "as many values"),
        ({"over": {"/seed": []}}, "at least 1 item"),
        ({"over": {}}, "at least 1 item"),
        ({"over": {f"/k{n}": [1] for n in range(9)}}, "at most 8 items"),
        ({"over": {"/seed": [1]}, "jobs": 1}, "Extra inputs"),
    ],
)
def test_requests_without_a_meaning_are_refused(body: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        SweepRequest.model_validate(body)


def test_names_are_as_short_as_they_can_be() -> None:
    places = ["/method/name", "/neuron/surrogate/name", "/optimizer/weight_decay", "/seed"]
    assert list(short(places).values()) == ["method", "surrogate", "weight_decay", "seed"]
    alike = ["/a/decay", "/b/decay", "/name"]
    assert list(short(alike).values()) == ["a.decay", "b.decay", "name"]
    assert told({"/loss/mse_share": 0.05, "/augment": ["crop", "flip"]}) == (
        "mse_share = 0.05, augment = crop flip"
    )
    assert [value_told(v) for v in (None, True, [], {}, {"name": "a", "b": {"c": 1.5}})] == [  # type: ignore[var-annotated]
        *("null", "true", "–", "–"),
        "a (b c 1.5)",
    ]


def test_names_tell_the_jobs_apart_and_what_is_none_is_refused() -> None:
    long = specifications(request({"/seed": [0, 1]}, job={"name": "n" * 200}))
    assert [len(job.name) for job in long] == [200, 200]
    assert [job.name[-11:] for job in long] == ["n: seed = 0", "n: seed = 1"]
    (job,) = specifications(request({"/metadata/note": ["d" * 400]}, name="n" * 120))
    assert job.name.endswith("…")
    named = specifications(request({"/name": ["a", "b"], "/seed": [1]}))
    assert [job.name for job in named] == ["a: seed = 1", "b: seed = 1"]
    assert [job.name for job in specifications(request({"/name": ["a", "b"]}))] == ["a", "b"]
    for wrong in (5, "n" * 201, {}):  # type: ignore[var-annotated]
        with pytest.raises(InvalidRequestError) as caught:
            specifications(request({"/name": ["a"]}, job={"name": wrong}))
        assert [field.pointer for field in caught.value.errors] == ["/job/name"]


@pytest.mark.parametrize("text", ["\0", "\ud800", "a\udfffb"])
def test_what_a_database_refuses_is_refused_before(text: str) -> None:
    for body in (
        {"over": {"/dataset": [text]}},
        {"over": {"/seed": [0]}, "job": {"seed": text}},
        {"over": {"/metadata": [{text: "x"}]}},
        {"over": {"/seed": [0]}, "job": {"name": ["x", {"y": text}]}},
    ):
        with pytest.raises(ValidationError, match="cannot be stored") as caught:
            SweepRequest.model_validate(body)
        assert "U+0000" in str(caught.value.errors(include_input=False)[0]["msg"])


def test_only_choices_lose_their_settings_with_their_name() -> None:
    own = {
        "metadata": {"name": "base", "project": "p"},
        "schedule": {"name": "constant", "warmup_epochs": 2},
        "neuron": {"surrogate": {"name": "sigmoid", "slope": 2}},
    }
    over = {
        "/metadata/name": ["a"],
        "/schedule/name": ["cosine"],
        "/neuron/surrogate/name": ["triangle"],
    }
    (job,) = specifications(request(over, job=own))
    assert job.metadata == {"name": "a", "project": "p"}
    assert (job.schedule.name, job.schedule.warmup_epochs) == ("cosine", 2)
    assert (job.neuron.surrogate.name, job.neuron.surrogate.slope) == ("triangle", 2)


def test_a_thousand_errors_are_told_in_a_few_words() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        specifications(request({"/augment": [["x" * 1000] * 1000], "/seed": list(range(100))}))
    assert len(caught.value.errors) == 10
    assert all(len(field.detail) < 500 for field in caught.value.errors)


values = st.lists(st.integers(0, 5), min_size=1, max_size=4)


@given(
    st.dictionaries(
        st.sampled_from(["/seed", "/epochs", "/neuron/decay", "/a~1b"]), values, min_size=1
    )
)
def test_the_number_told_is_the_number_made(over: dict[str, list[int]]) -> None:
    lengths = [len(of_one) for of_one in over.values()]
    if prod(lengths) > MOST_JOBS:
        return
    asked = request(over)
    made = asked.settings()
    assert len(made) == asked.count == prod(lengths)
    assert all(list(one) == list(over) for one in made)


@given(st.lists(st.text("ab/~", min_size=1), min_size=1, max_size=4), st.integers())
def test_pointers_point_to_what_was_put(parts: list[str], value: int) -> None:
    assert parts_of(pointer(parts)) == parts
    body: dict[str, Any] = {}
    put(body, parts, value)
    found: Any = body
    for part in parts:
        found = found[part]
    assert found == value
