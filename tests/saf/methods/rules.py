"""The training methods by name, with their settings and their batch as keywords."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from saf.config import METHODS as REGISTERED
from saf.model.batch import Batch, Rule
from saf.model.network import SpikingNetwork
from saf.model.outcome import Outcome
from saf.training.micro_batches import in_parts

Method = Callable[..., Outcome]


def rule_of(name: str, **settings: Any) -> Rule:
    """The rule of a method, with those of the settings that it has."""
    kind = REGISTERED[name]
    given = {
        key: value
        for key, value in settings.items()
        if key in kind.model_fields and not (key == "readout" and value is None)
    }
    return kind.model_validate({"name": name, **given}).rule()


def called(rule: Rule) -> Method:
    """A rule that takes the parts of its batch as keywords, and no settings."""

    def call(
        network: SpikingNetwork,
        x: Tensor,
        y: Tensor,
        *,
        trace_bias_and_input: bool | None = None,
        **batch: Any,
    ) -> Outcome:
        return rule(network, Batch(x=x, y=y, **batch))

    return call


def _by_name(name: str, **fixed: Any) -> Method:
    def call(
        network: SpikingNetwork,
        x: Tensor,
        y: Tensor,
        *,
        trace_bias_and_input: bool | None = None,
        readout: str | None = None,
        **batch: Any,
    ) -> Outcome:
        settings = dict(fixed)
        if trace_bias_and_input is not None:
            settings["trace_bias_and_input"] = trace_bias_and_input
        if readout is not None:
            settings["readout"] = readout
        return rule_of(name, **settings)(network, Batch(x=x, y=y, **batch))

    return call


METHODS: dict[str, Method] = {name: _by_name(name) for name in REGISTERED.names()}
AT_EACH_STEP = {name: METHODS[name] for name in REGISTERED.names() if name in (
    "saf-e", "ottt-a", "ottt-o", "bptt")}  # fmt: skip


def cut(method: Method, parts: int) -> Method:
    """`method`, each batch in parts."""

    def call(
        network: SpikingNetwork,
        x: Tensor,
        y: Tensor,
        *,
        trace_bias_and_input: bool | None = None,
        **batch: Any,
    ) -> Outcome:
        def rule(of: SpikingNetwork, part: Batch, /) -> Outcome:
            options = {name: getattr(part, name) for name in PARTS}
            return method(of, part.x, part.y, trace_bias_and_input=trace_bias_and_input, **options)

        return in_parts(rule, parts)(network, Batch(x=x, y=y, **batch))

    return call


PARTS = ("timesteps", "loss", "update", "masks", "chunk")
SAF_E_BY_STEP = _by_name("saf-e", update="step")
