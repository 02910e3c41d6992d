"""Exports replayed in readers of NIR that live in environments of their own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from saf.config.targets import TARGETS, Target
from saf.lif.export.nir.environments import INTERPRETER, PLACE
from saf.lif.export.nir.target import NIRTarget
from saf.lif.exporting import Export, export
from saf.lif.network import LIFNetwork

ROOT = Path(__file__).parents[4]
Replayed = Callable[..., Export]


@pytest.fixture(scope="module")
def replayed() -> Iterator[Replayed]:
    """`export` with the environments of `scripts/readers`, or those that are named; a test is
    skipped where its reader's is not made."""

    def replay(
        network: LIFNetwork, target: str | Target, folder: Path, x: Any, **options: Any
    ) -> Export:
        kind = TARGETS[target] if isinstance(target, str) else type(target)
        if issubclass(kind, NIRTarget) and kind.environment.python is None:
            pytest.skip(f"no environment {kind.environment.name} here: scripts/readers makes it")
        return export(network, target, folder, x, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(PLACE, os.environ.get(PLACE) or str(ROOT / ".readers"))
        patch.delenv(INTERPRETER, raising=False)
        yield replay
