"""An interpreter with a data format that asks, as a plugin of a lab brings it: the check of an
upload runs in a process of its own, so the format has to be installed."""

from __future__ import annotations

import io
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[3]
PLUGIN = '''
import io
from typing import ClassVar, Literal

import numpy as np
from PIL import Image

from saf.data.dataset import Dataset, Decision
from saf.data.formats.format import FORMATS, Candidate, Format, Question, Recognised
from saf.data.formats.settings import Layout, OnDamaged
from saf.errors import DataError


def picture(shade):
    buffer = io.BytesIO()
    Image.new("L", (6, 4), shade).save(buffer, "png")
    return buffer.getvalue()


@FORMATS.add
class Grid(Format):
    """Samples of 3 x 3 x 3, whose channels are first or last."""

    label: ClassVar[str] = "a grid"
    specificity: ClassVar[int] = 100
    packed: ClassVar[bool] = False
    name: Literal["lab-grid"] = "lab-grid"
    layout: Layout = None
    on_damaged: OnDamaged = None

    @classmethod
    def detect(cls, source):
        if not (source.single and source.head(source.label, 4) == b"GRID"):
            return None
        ways = (
            Candidate("N C H W", "40 images, channels first", picture(10)),
            Candidate("N H W C", "40 images, channels last", picture(240)),
        )
        return Recognised((Question("layout", "Which axes has the grid?", ways),))

    def read(self, source, limits):
        content = b"".join(part.read(10**6) for part in source.contents([source.label]))
        x = np.frombuffer(content[4:], np.uint8).reshape(-1, 3, 3, 3)
        if self.layout == "N H W C":
            x = x.transpose(0, 3, 1, 2)
        elif self.layout != "N C H W":
            raise DataError(f"a grid has no axes {self.layout}", hint="Use N C H W or N H W C.")
        skipped = ("bad.png: cut short",) if self.on_damaged == "skip" else ()
        y = np.arange(len(x)) % 2
        return Dataset(
            x_train=x[:30].copy(), y_train=y[:30], x_test=x[30:].copy(), y_test=y[30:],
            class_names=("even", "odd"), skipped=skipped,
            decisions=(Decision("", "bytes", "the grid holds bytes"),),
        )
'''


def grid(seed: int = 0) -> bytes:
    """A file whose axes nobody can tell."""
    values = np.random.default_rng(seed).integers(0, 256, (40, 3, 3, 3), dtype=np.uint8)
    return io.BytesIO(b"GRID" + values.tobytes()).getvalue()


def interpreter(home: Path) -> Path:
    """The Python of a virtual environment that has what this one has, and the plugin."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = home / "lib" / version / "site-packages"
    lines = [str(ROOT), sysconfig.get_paths()["purelib"], sysconfig.get_paths()["platlib"]]
    (packages / "ours.pth").write_text("\n".join(dict.fromkeys(lines)) + "\n")
    (packages / "lab_grid.py").write_text(PLUGIN, encoding="utf-8")
    metadata = packages / "lab_grid-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: lab-grid\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[saf.plugins]\ngrid = lab_grid\n")
    return home / "bin" / "python"
