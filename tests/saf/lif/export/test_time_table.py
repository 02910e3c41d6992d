"""The table of docs/exports.md says which networks on data in time a target expresses."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from saf.lif.exporting import check
from tests.saf.lif.export.temporal_networks import MADE

GUIDE = Path(__file__).parents[4] / "docs" / "exports.md"
GROUPS: Mapping[str, tuple[str, ...]] = {
    "`python`, `onnx`, `torch-export`": ("python", "onnx", "torch-export"),
    "`c`, `wasm`": ("c", "wasm"),
    "NIR for Norse, sinabs, snnTorch, SpikingJelly": (
        "nir-norse",
        "nir-sinabs",
        "nir-snntorch",
        "nir-spikingjelly",
    ),
    "NIR for Spyx": ("nir-spyx",),
    "NIR for Rockpool": ("nir-rockpool",),
    "chips": ("speck", "loihi", "xylo"),
}


def row(name: str) -> str:
    """The row of a network: whether each group of targets, which agree, expresses it."""
    cells = [name]
    for targets in GROUPS.values():
        refused = {bool(check(MADE[name]().network, target)) for target in targets}
        assert len(refused) == 1, (name, targets)
        runs = "checked" if targets == GROUPS["chips"] else "yes"
        cells.append("refused" if refused == {True} else runs)
    return f"| {' | '.join(cells)} |"


@pytest.mark.slow
def test_the_guide_says_what_each_target_makes_of_data_in_time() -> None:
    head = f"| network | {' | '.join(GROUPS)} |"
    lines = [head, "|---|" + "---|" * len(GROUPS), *map(row, MADE)]
    table = "\n".join(lines)
    assert table in GUIDE.read_text(encoding="utf-8"), f"the table is\n\n{table}"
