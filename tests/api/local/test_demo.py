"""What the demo says of the network as C, and that it fails where this is another network."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.commands.demo import _in_c
from saf.lif.export.templates.integer_program import program
from tests.saf.lif.grid_networks import architected


def test_the_demo_fails_where_the_network_as_c_fires_otherwise(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    network = tmp_path / "lif.safetensors"
    architected({"name": "mlp", "features": [6]}, 1, 8, 8).save(network)
    told, is_same = _in_c(network, tmp_path / "same")
    assert is_same
    assert "; 0 of " in told
    monkeypatch.setattr(
        "saf.lif.export.c.program", lambda source: program(source).replace("- s_", "+ s_")
    )
    told, is_same = _in_c(network, tmp_path / "other")
    assert not is_same
    assert "; 0 of " not in told
