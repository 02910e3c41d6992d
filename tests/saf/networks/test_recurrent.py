"""How much a recurrent layer hears of itself: `recurrent_scale` of `rnn` and of listed layers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import saf
from saf.config import JobSpecification
from saf.networks.architecture import Architecture, Scale
from saf.networks.build import build_for
from tests.saf.training.test_series import job, series
from tests.saf.training.trainings import run

RNN: dict[str, Any] = {"name": "rnn", "features": [8, 6]}


def built(network: dict[str, Any]) -> Architecture:
    asked = JobSpecification.model_validate({"network": network})
    return build_for(asked, (3, 1, 1), 5, in_time=True)


def scales(found: Architecture) -> list[list[float]]:
    """The factors of each layer, connection by connection."""
    return [
        [op.factor for c in layer.connections for op in c.operations if isinstance(op, Scale)]
        for layer in (*found.layers, found.readout)
    ]


def test_it_is_a_factor_on_what_a_layer_hears_of_itself_alone() -> None:
    assert scales(built(RNN)) == [[2.74], [2.74, 2.74], [2.74]]
    assert built(RNN) == built(RNN | {"recurrent_scale": 1})
    quarter = built(RNN | {"recurrent_scale": 0.25})
    assert scales(quarter) == [[0.685], [2.74, 0.685], [2.74]]
    listed = [
        {"kind": "linear", "features": n, "recurrent": True, "recurrent_scale": 0.25}
        for n in (8, 6)
    ]
    assert built({"name": "layers", "layers": listed}) == quarter
    for wrong in (0, -1, 1001):
        with pytest.raises(ValidationError, match="recurrent_scale"):
            built(RNN | {"recurrent_scale": wrong})


def test_a_scale_of_a_layer_that_does_not_hear_itself_is_refused() -> None:
    layer = {"kind": "linear", "features": 8, "recurrent_scale": 0.25}
    with pytest.raises(ValidationError, match="set recurrent to true, or leave recurrent_scale"):
        built({"name": "layers", "layers": [layer]})


def test_feedback_grows_so_many_times_as_fast_and_is_delivered_exactly(tmp_path: Path) -> None:
    heard = {}
    for scale in (1.0, 0.25):
        asked = job(
            network=RNN | {"recurrent_scale": scale},
            method={"name": "saf-e"},
            batch_size=60,
            validation_share=0.0,
        )
        run(asked, series(), tmp_path / str(scale))
        lif = saf.load_lif(tmp_path / str(scale) / "lif.safetensors")
        heard[scale] = dict(lif.named_parameters())
        certificate = json.loads((tmp_path / str(scale) / "certificate.json").read_text())
        assert all(check["spikes_differing"] == 0 for check in certificate["checks"])
    # One iteration, from feedback of 0: AdamW changed each of these weights by the learning rate.
    for name in ("layer1.1.weight", "layer2.1.weight"):
        ratio = heard[0.25][name].norm() / heard[1.0][name].norm()
        assert float(ratio) == pytest.approx(0.25, rel=0.01)
