"""The form for a new job covers the whole specification."""

from __future__ import annotations

from typing import Any

import pytest

from api.jobs.pages import new_form
from api.jobs.pages.new_form import Field
from saf.config import JobSpecification, automatic

# Where one value is allowed, or the service writes it, nobody is asked.
FIXED = {"/devices", "/method/readout", *new_form.NOT_ASKED}


def fields(values: dict[str, Any] | None = None) -> dict[str, Field]:
    """What is asked for with the chosen network, method and optimizer."""
    every = [field for section in new_form.sections(values) for field in section.fields]
    chosen = {field.pointer: field.value for field in every if field.kind == "select"}
    return {
        field.pointer: field
        for field in every
        if field.when is None or chosen[field.when[0]] == field.when[1]
    }


def without_init(values: dict[str, Any]) -> dict[str, Any]:
    """But for a job to start from, where there is none."""
    return {k: v for k, v in values.items() if v or not k.startswith("/init")}


def leaves(value: Any, pointer: str = "") -> dict[str, Any]:
    if isinstance(value, dict) and pointer != "/metadata":
        return {k: v for name in value for k, v in leaves(value[name], f"{pointer}/{name}").items()}
    return {pointer: value}


SPECIFICATIONS = [
    {},
    {"network": {"name": "layers", "layers": [{"kind": "linear", "features": 9}]}},
    {"network": {"name": "vgg11", "width": 0.5}, "optimizer": {"name": "adamw", "beta1": 0.8}},
    {
        "name": "all of it",
        "method": {"name": "ottt-o", "trace_bias_and_input": True},
        "neuron": {"decay": 0.9, "threshold": 2.0, "surrogate": {"name": "arctan", "slope": 2.0}},
        "augment": ["flip"],
        "init": {"job": "job_1", "freeze": ["layer1", "stage*"]},
        "max_runtime_seconds": 60.0,
        "metadata": {"team": "a"},
    },
]


@pytest.mark.parametrize("given", SPECIFICATIONS)
def test_form_shows_each_value_of_a_specification(given: dict[str, Any]) -> None:
    specification = JobSpecification.model_validate(given).model_dump(mode="json")
    shown = {pointer: field.value for pointer, field in fields(specification).items()}
    wanted = {k: v for k, v in leaves(specification).items() if k in shown or k not in FIXED}
    assert without_init(shown) == without_init(wanted)


def test_form_begins_with_the_defaults() -> None:
    specification = JobSpecification().model_dump(mode="json")
    shown = {pointer: field.value or None for pointer, field in fields().items()}
    wanted = {k: v or None for k, v in leaves(specification).items() if k not in FIXED}
    assert without_init(shown) == without_init(wanted)


@pytest.mark.parametrize(
    ("name", "choice"),
    [(name, c) for name in ("network", "method", "optimizer") for c in new_form.choices(name)],
)
def test_every_choice_begins_with_values_that_are_accepted(name: str, choice: str) -> None:
    every = [field for section in new_form.sections() for field in section.fields]
    asked = {
        field.pointer.rpartition("/")[2]: field.value
        for field in every
        if field.when == (f"/{name}/name", choice)
    }
    JobSpecification.model_validate({name: {"name": choice, **asked}})


def test_inputs_have_ids_of_their_own() -> None:
    ids = [field.id for section in new_form.sections() for field in section.fields]
    assert len(set(ids)) == len(ids)


AUTOMATIC = {
    "/timesteps",
    "/epochs",
    "/validation_share",
    "/batch_size",
    "/max_gradient_norm",
    "/network/gain",
    "/optimizer/learning_rate",
}


def test_what_can_be_automatic_may_be_left_empty() -> None:
    every = [field for section in new_form.sections() for field in section.fields]
    found = {field.pointer for field in every if field.is_automatic}
    assert found == AUTOMATIC
    assert not any(field.required for field in every if field.is_automatic)


def test_a_gradient_that_is_not_clipped_stays_so_in_the_form() -> None:
    field = fields({"max_gradient_norm": None})["/max_gradient_norm"]
    assert (field.value, field.may_be_none, field.is_automatic) == (None, True, True)
    assert fields({})["/max_gradient_norm"].value == "auto"


def test_settings_of_a_job_that_were_automatic_are_so_in_the_form() -> None:
    facts = automatic.DataFacts(train=1437)
    job = automatic.resolve(JobSpecification.model_validate({"epochs": 3}), facts)
    again = new_form.with_auto(job.model_dump(mode="json"))
    assert JobSpecification.model_validate(again) == JobSpecification(epochs=3)
    rate = {"optimizer": {"name": "sgd", "momentum": 0.5}}
    job = automatic.resolve(JobSpecification.model_validate(rate), facts)
    again = new_form.with_auto(job.model_dump(mode="json"))
    assert again["optimizer"] == {
        "name": "sgd",
        "learning_rate": "auto",
        "momentum": 0.5,
        "weight_decay": 0.0,
    }


def test_a_job_to_start_from_is_asked_for_and_may_be_left_out() -> None:
    assert fields()["/init/job"].kind == "text"
    assert not fields()["/init/job"].value
    assert fields({"init": {"job": "job_1", "freeze": ["*"]}})["/init/freeze"].value == ["*"]


@pytest.mark.parametrize("odd", [3, "text", [3], ["/nothing"], ["no pointer"], [None], None])
def test_automatic_settings_that_are_none_leave_the_rest_as_it_is(odd: Any) -> None:
    assert new_form.with_auto({"epochs": 3, "automatic": odd}) == {"epochs": 3}
