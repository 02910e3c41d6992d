"""The process in which an uploaded network is checked: reads it, and says what a job takes over.

    python -m saf.network_process FILE RESULT.json --max-memory-bytes N --max-seconds N

RESULT.json says `{"settings": {…}, "facts": {…}}`, or `{"problem": "…"}`. The exit code is 0 either
way; any other means that the process itself came to harm. Nothing is unpickled.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from saf import files
from saf.config import JobSpecification
from saf.cores import prepare_threads


def main(arguments: Sequence[str] | None = None) -> int:
    """Check one file; see the module. Raises OSError when the result cannot be written."""
    parser = argparse.ArgumentParser(
        prog="python -m saf.network_process", description="Check a network."
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("result", type=Path, help="the JSON file to write")
    parser.add_argument("--max-memory-bytes", type=int, help="memory of this process")
    parser.add_argument("--max-seconds", type=int, help="processor time of this process")
    options = parser.parse_args(arguments)
    prepare_threads(os.environ)
    if options.max_memory_bytes is not None:
        limit = options.max_memory_bytes
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    if options.max_seconds is not None:
        resource.setrlimit(resource.RLIMIT_CPU, (options.max_seconds, options.max_seconds))
    try:
        found = checked(options.file)
    except MemoryError:
        found = {"problem": "reading the file needs more memory than is allowed"}
    except (ValueError, OSError) as error:
        found = {"problem": str(error)}
    files.write_bytes(options.result, json.dumps(found, allow_nan=False).encode())
    return 0


def checked(path: Path) -> dict[str, Any]:
    """The settings that a job takes over of the network in `path`, a `lif.safetensors`, and facts
    about it. Raises ValueError, which says what is wrong, and OSError."""
    from saf.lif.network import load_lif
    from saf.lif.starting import settings_of

    network = load_lif(path)
    settings, of = settings_of(network), network.description
    JobSpecification.model_validate(settings)  # as ValueError, what no job may have
    architecture = of.architecture
    return {
        "settings": settings,
        "facts": {
            "shape": list(architecture.input_shape),
            "frames": of.frames,
            "classes": architecture.classes,
            "class_names": list(of.class_names),
            "layers": [layer.name for layer in (*architecture.layers, architecture.readout)],
            "parameters": sum(tensor.numel() for tensor in network.tensors.values()),
            "neurons": architecture.neurons,
        },
    }


if __name__ == "__main__":
    sys.exit(main())
