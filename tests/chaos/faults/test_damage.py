"""What the suite does to files, and that it can take it back."""

from __future__ import annotations

import random
from pathlib import Path

from tests.chaos.faults.damage import Damage, InDirectory

CONTENT = bytes(range(256)) * 20


def test_a_file_is_damaged_in_each_way_and_put_back(tmp_path: Path) -> None:
    path = tmp_path / "file"
    seen = set()
    for seed in range(40):
        path.write_bytes(CONTENT)
        damage = Damage.do(InDirectory(path), random.Random(seed))
        found = path.read_bytes()
        seen.add(damage.how)
        assert found != CONTENT
        match damage.how:
            case "flipped":
                assert len(found) == len(CONTENT)
            case "cut":
                assert found == CONTENT[: len(found)]
            case "longer":
                assert found.startswith(CONTENT)
            case "empty":
                assert found == b""
        damage.undo()
        assert path.read_bytes() == CONTENT
    assert seen == {"flipped", "cut", "longer", "empty"}


def test_a_file_that_is_gone_is_not_put_back(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    damage = Damage.do(InDirectory(path), random.Random(0))
    path.unlink()
    damage.undo()
    assert not path.exists()
