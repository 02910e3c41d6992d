"""Accuracy against the bits of a weight: `python -m benchmarks.lif.few_bits [--seeds 3]`.

Trains a convolutional network on the handwritten digits and delivers it with weights of 8 to 2
bits, rounded alone and trained further on the grid, with a power of two for each output of a map
and for each map. The table and the figure are written to `benchmarks/results/few-bits.md` and
`docs/images/few-bits.svg`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import torch

from benchmarks import RESULTS
from benchmarks.machine import machine
from saf.config import JobSpecification
from saf.data import digits
from saf.lif.export.c import C
from saf.lif.exporting import export
from saf.lif.network import load_lif
from saf.training.loop import train

BITS = (8, 6, 5, 4, 3, 2)
FINE_TUNE, EPOCHS = 3, 12
ROOT = Path(__file__).parents[2]


class Line(NamedTuple):
    """One network."""

    bits: int
    scale: str
    fine_tuned: bool
    accuracy: float
    before: float
    verdict: str
    weight_bytes: int


def trained(bits: int, scale: str, epochs: int, seed: int) -> Line:
    job = JobSpecification.model_validate(
        {
            "epochs": EPOCHS,
            "seed": seed,
            "conversion": {
                "weight_bits": bits,
                "weight_scale": scale,
                "fine_tune_epochs": epochs,
            },
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        for _ in train(job, digits(), Path(folder), device="cpu"):
            pass
        report, certificate = (
            json.loads((Path(folder) / name).read_text())
            for name in ("report.json", "certificate.json")
        )
        network = load_lif(Path(folder) / "lif.safetensors")
        done = export(network, C(), Path(folder) / "c")
    summary = report["summary"]
    return Line(
        bits,
        scale,
        epochs > 0,
        summary["lif_accuracy"],
        summary["test_accuracy"],
        certificate["verdict"],
        done.certificate["facts"]["weight_bytes"],
    )


def table(lines: Sequence[Line], seeds: int) -> str:
    before, where = mean(line.before for line in lines), machine(torch.device("cpu"))
    rows = [
        "# Accuracy against the bits of a weight",
        "",
        f"`python -m benchmarks.lif.few_bits --seeds {seeds}` on {where['cores']} cores "
        f"({where['processor']}). The handwritten digits, "
        f"the network `convnet` of the defaults, {EPOCHS} epochs; {FINE_TUNE} more epochs on the "
        f"grid where it says so. Means over {seeds} seed(s), on the 360 test samples. As trained, "
        f"in float32: {before:.2%}.",
        "",
        "| bits | a scale for each | rounded | trained further | verdicts | bytes in C |",
        "|---|---|---|---|---|---|",
    ]
    for bits in BITS:
        for scale in ("channel", "layer"):
            own = [line for line in lines if (line.bits, line.scale) == (bits, scale)]
            if not own:
                continue
            rounded = mean(line.accuracy for line in own if not line.fine_tuned)
            further = mean(line.accuracy for line in own if line.fine_tuned)
            verdicts = ", ".join(
                f"{sum(line.verdict == each for line in own)} {each}"
                for each in sorted({line.verdict for line in own})
            )
            size = mean(line.weight_bytes for line in own)
            rows.append(
                f"| {bits} | {scale} | {rounded:.2%} | {further:.2%} | {verdicts} | {size:,.0f} |"
            )
    return "\n".join(rows) + "\n"


def figure(lines: Sequence[Line]) -> str:
    """Accuracy against bits, as an SVG."""
    low, width, height, edge = 0.5, 560, 280, 48

    def place(bits: int, accuracy: float) -> tuple[float, float]:
        x = edge + (bits - 2) / 6 * (width - 2 * edge)
        share = (max(accuracy, low) - low) / (1 - low)
        return round(x, 1), round(height - edge - share * (height - 2 * edge), 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="12" role="img" '
        'aria-label="Accuracy against bits of a weight">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    for tenth in range(5, 11):
        _, y = place(2, tenth / 10)
        parts.append(
            f'<path d="M{edge} {y}H{width - edge}" stroke="#ddd"/>'
            f'<text x="{edge - 6}" y="{y + 4}" text-anchor="end">{10 * tenth} %</text>'
        )
    for bits in range(2, 9):
        x, _ = place(bits, low)
        parts.append(f'<text x="{x}" y="{height - edge + 18}" text-anchor="middle">{bits}</text>')
    middle = width / 2
    parts.append(f'<text x="{middle}" y="{height - 8}" text-anchor="middle">bits</text>')
    styles = {
        ("channel", True): ("#1f5fbf", "", "for each output, trained further"),
        ("channel", False): ("#1f5fbf", "5 4", "for each output, rounded"),
        ("layer", True): ("#b3261e", "", "for each map, trained further"),
        ("layer", False): ("#b3261e", "5 4", "for each map, rounded"),
    }
    for number, ((scale, further), (colour, dashes, label)) in enumerate(styles.items()):
        points = []
        for bits in sorted(BITS):
            own = [
                line.accuracy
                for line in lines
                if (line.bits, line.scale, line.fine_tuned) == (bits, scale, further)
            ]
            points.append(" ".join(map(str, place(bits, mean(own)))))
        line = f'stroke="{colour}" stroke-width="2" stroke-dasharray="{dashes}" fill="none"'
        parts.append(f'<path d="M{" L".join(points)}" {line}/>')
        y = height - edge - 72 + 17 * number
        parts.append(
            f'<path d="M{width - 250} {y}h28" {line}/><text x="{width - 216}" y="{y + 4}">'
            f"{label}</text>"
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, train, write table and figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args(arguments)
    lines = []
    for seed in range(given.seeds):
        for bits in BITS:
            for scale in ("channel", "layer"):
                for epochs in (0, FINE_TUNE):
                    lines.append(trained(bits, scale, epochs, seed))
                    print(lines[-1], flush=True)
    found: dict[Path, Any] = {
        RESULTS / "few-bits.md": table(lines, given.seeds),
        ROOT / "docs/images/few-bits.svg": figure(lines),
    }
    for path, text in found.items():
        path.write_text(text)


if __name__ == "__main__":
    main()
