"""Installs the library beside versions of torch, and uses it there; needs a package index.

    .venv/bin/python -m tests.acceptance.torch_versions 2.6.0 2.14.1+torchvision+spikingjelly

Each word is a version of torch, with what else is installed before the library. One line of JSON
for each says what was installed, whether the library moved any of it, and what was computed. Disk:
up to 8 GB for each, one after the other. docs/installing.md records what came out.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
METHODS = ("saf-f", "saf-e", "ottt-a", "ottt-o", "bptt", "spike-representation")
USE = f"""
import json, saf, saf.data, torch
found = {{}}
for method in {METHODS!r}:
    specification = saf.JobSpecification.model_validate(
        {{"dataset": "digits", "epochs": 1, "method": {{"name": method}}}}
    )
    for report in saf.train(specification, saf.data.digits(), method):
        pass
    found[method] = [report.summary["lif_accuracy"], report.summary["verdict"]]
network = saf.load_lif("saf-f/lif.safetensors")
assert network(torch.rand(1, 1, 8, 8)).shape == (1, 10)
print(json.dumps(found))
"""


def versions(python: Path) -> dict[str, str]:
    told = output(python, "-m", "pip", "list", "--format", "json")
    return {each["name"]: each["version"] for each in json.loads(told)}


def output(program: Path, *arguments: str) -> str:
    """What a program prints, in its environment's folder. Raises CalledProcessError."""
    done = subprocess.run(
        [str(program), *arguments],
        cwd=program.parents[1],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout


def tried(word: str, folder: Path) -> dict[str, Any]:
    """The library beside one version of torch. Raises CalledProcessError where it does not work."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    torch, *others = word.split("+")
    output(python, "-m", "pip", "install", "-q", f"torch=={torch}", *others)
    before = versions(python)
    output(python, "-m", "pip", "install", "-q", str(ROOT))
    after = versions(python)
    computed = json.loads(output(python, "-c", USE).splitlines()[-1])
    run = output(folder / "bin" / "saf", "run", "saf-f/lif.safetensors", "digits")
    for name in others:
        output(python, "-c", f"import {name}")
    return {
        "torch": after["torch"],
        "moved": {name: after.get(name) for name in before if after.get(name) != before[name]},
        "added": {name: version for name, version in after.items() if name not in before},
        "computed": computed,
        "saf run": run.splitlines()[0],
    }


def main() -> None:
    for word in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as scratch:
            print(json.dumps(tried(word, Path(scratch) / "environment")), flush=True)


if __name__ == "__main__":
    main()
