"""What float32 products may be rounded to on a GPU, and where in a training."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from saf.config import JobSpecification
from saf.config.neurons import accumulated
from saf.data import digits
from saf.kernels.precision import cudnn, on_device, products, sums_of_products
from saf.lif import saf_form
from saf.lif.certificate import certify
from saf.lif.convert import convert
from saf.training import loop as training
from saf.training import trainer
from saf.training.evaluation import evaluate
from tests.saf.methods.gradients import firing_case
from tests.saf.training.trainings import resolved


def settings() -> tuple[str, str]:
    """Of matrix products and of convolutions on a GPU; torch tells them on any machine."""
    return torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision  # type: ignore[attr-defined]


def test_products_are_set_inside_and_put_back_after() -> None:
    before = settings()
    with products("tf32"):
        assert settings() == ("tf32", "tf32")
        with sums_of_products(), cudnn(enabled=torch.backends.cudnn.enabled, deterministic=True):
            assert settings() == ("ieee", "ieee")
            assert not torch.backends.cudnn.enabled
            assert torch.backends.cudnn.deterministic
        assert settings() == ("tf32", "tf32")
    assert settings() == before
    assert torch.backends.cudnn.enabled
    assert not torch.backends.cudnn.deterministic


def test_on_a_cpu_tf32_is_float32() -> None:
    assert on_device("tf32", torch.device("cpu")) == "float32"
    assert on_device("bfloat16", torch.device("cpu")) == "bfloat16"


@pytest.mark.parametrize(("precision", "expected"), [("tf32", "tf32"), ("float32", "ieee")])
def test_a_training_in_tf32_takes_its_products_so_and_its_checks_do_not(
    precision: str, expected: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: dict[str, set[tuple[str, str]]] = {}

    def watch(module: Any, name: str) -> None:
        original: Callable[..., Any] = getattr(module, name)

        def watched(*args: Any, **options: Any) -> Any:
            seen.setdefault(f"{module.__name__}.{name}", set()).add(settings())
            return original(*args, **options)

        monkeypatch.setattr(module, name, watched)

    in_parts = trainer.in_parts  # type: ignore[attr-defined]

    def watched_in_parts(rule: Any, parts: int) -> Any:
        seen_method = in_parts(rule, parts)

        def method(*args: Any, **options: Any) -> Any:
            seen.setdefault("method", set()).add(settings())
            return seen_method(*args, **options)

        return method

    monkeypatch.setattr(trainer, "in_parts", watched_in_parts)
    watch(evaluate, "infer")
    watch(saf_form, "infer_in_chunks")  # the certificate
    job = resolved(
        {"epochs": 1, "network": {"name": "convnet", "channels": [4]}, "precision": precision}
    )
    list(training.train(job, digits(), tmp_path, device="cpu"))
    assert seen == {
        "method": {(expected, expected)},
        "saf.training.evaluation.evaluate.infer": {(expected, expected)},
        "saf.lif.saf_form.infer_in_chunks": {("ieee", "ieee")},
    }
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["specification"]["precision"] == precision
    assert report["environment"]["precision"] == "float32"  # this was no GPU
    found = json.loads((tmp_path / "certificate.json").read_text())
    assert found["trained_in"] == "float32"
    assert found["as_trained"] is None


def test_a_network_trained_in_tf32_is_compared_as_it_was_trained_too(tmp_path: Path) -> None:
    case = firing_case()
    network = case.network.float()
    job = resolved({"timesteps": case.timesteps})
    lif = convert(network, job, class_names="abc", frames=False)
    lif.save(tmp_path / "lif.safetensors")
    found = certify(network, tmp_path / "lif.safetensors", case.x.float(), case.y, tf32=True)
    assert found["trained_in"] == "tf32"
    assert found["as_trained"]["precision_of_trained"] == "tf32"
    assert found["as_trained"]["precision"] == "float32"
    assert "Computed in tf32, as it was trained" in found["statement"]


@pytest.mark.parametrize(
    ("decay", "timesteps", "refused"), [(1.0, 256, False), (1.0, 257, True), (0.5, 1024, False)]
)
def test_bfloat16_is_refused_where_spikes_would_not_be_counted(
    decay: float, timesteps: int, refused: bool
) -> None:
    """The accumulation of a neuron that always fires, by the steps of the scan."""
    accumulation = torch.zeros((), dtype=torch.bfloat16)
    lost = False
    for _ in range(timesteps):
        before = accumulation * decay
        accumulation = before + 1
        lost |= bool(accumulation == before)
    assert lost == refused
    values = {"precision": "bfloat16", "neuron": {"decay": decay}, "timesteps": timesteps}
    if refused:
        with pytest.raises(ValidationError, match="of more than 256 accumulated spikes"):
            JobSpecification.model_validate(values)
    else:
        JobSpecification.model_validate(values)


@pytest.mark.parametrize(
    ("neuron", "timesteps"),
    [
        ({"name": "lif", "decay": 0.999}, 300),
        ({"name": "lif", "decay": 0.5, "decays": [0.5, 1.0]}, 257),
        ({"name": "plif", "decay": 0.5}, 257),
        ({"name": "cuba", "decay": 0.95, "synaptic_decay": 0.95}, 150),
        ({"name": "cuba", "decay": 0.5, "decays": [0.5, 0.95], "synaptic_decay": 0.95}, 150),
        ({"name": "alif", "decay": 0.5, "adaptation_decay": 1.0}, 257),
    ],
    ids=str,
)
def test_bfloat16_is_refused_where_a_filter_of_any_neuron_may_lose_a_spike(
    neuron: dict[str, Any], timesteps: int
) -> None:
    asked = {"neuron": neuron, "timesteps": timesteps}
    with pytest.raises(ValidationError, match="of more than 256 accumulated spikes"):
        JobSpecification.model_validate(asked | {"precision": "bfloat16"})
    JobSpecification.model_validate(asked)
    JobSpecification.model_validate(asked | {"timesteps": 6, "precision": "bfloat16"})


def test_what_filters_accumulate_of_a_constant_one() -> None:
    assert accumulated(0, 0.5) == 0
    assert accumulated(3, 0.5) == 1 + 0.5 + 0.25
    assert accumulated(3, 0.5, 0.25) == 1.75 + 0.25 * (1.5 + 0.25 * 1)
    assert accumulated(3, 0.25, 0.5) == 1.3125 + 0.5 * (1.25 + 0.5 * 1)
