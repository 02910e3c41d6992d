"""The process in which an uploaded network is checked: reads it, and says what a job takes over.

    python -m saf.processes.check_network FILE RESULT.json --max-memory-bytes N --max-seconds N

FILE is a `lif.safetensors`, an NIR file or the state dict of a ReLU network in a safetensors file.
What is no `lif.safetensors` is written as one to `--converted`; `--reading` (JSON) says what such a
file leaves open, and `--dataset` has the samples that thresholds are balanced with. RESULT.json
says `{"settings": {…}, "facts": {…}}`, or `{"problem": "…"}`. The exit code is 0 either way; any
other means that the process itself came to harm. Nothing is unpickled.
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
from saf.config.incoming import Reading
from saf.cores import prepare_threads
from saf.data import BUILTIN, Dataset, load
from saf.errors import DataError


def main(arguments: Sequence[str] | None = None) -> int:
    """Check one file; see the module. Raises OSError when the result cannot be written."""
    parser = argparse.ArgumentParser(
        prog="python -m saf.processes.check_network", description="Check a network."
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("result", type=Path, help="the JSON file to write")
    parser.add_argument("--converted", type=Path, help="the lif.safetensors to write")
    parser.add_argument("--reading", default="{}", help="JSON, see saf.config.incoming.Reading")
    parser.add_argument("--dataset", help="the name of one that is built in, or a canonical file")
    parser.add_argument("--dataset-name", default="", help="what the file is called")
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
        dataset = None if options.dataset is None else _dataset(options.dataset)
        reading = Reading.model_validate_json(options.reading)
        found = checked(
            options.file,
            reading=reading,
            dataset=dataset,
            name=options.dataset_name or options.dataset or "",
            converted=options.converted,
        )
    except MemoryError:
        found = {"problem": "reading the file needs more memory than is allowed"}
    except DataError as error:
        found = {"problem": f"{error}; {error.hint}"}
    except (ValueError, OSError, ModuleNotFoundError) as error:
        found = {"problem": str(error)}
    files.write_bytes(options.result, json.dumps(found, allow_nan=False).encode())
    return 0


def _dataset(name: str) -> Dataset:
    return BUILTIN[name]() if name in BUILTIN else load(Path(name))


def checked(
    path: Path,
    *,
    reading: Reading | None = None,
    dataset: Dataset | None = None,
    name: str = "",
    converted: Path | None = None,
) -> dict[str, Any]:
    """The settings that a job takes over of the network in `path`, and facts about it. What is no
    `lif.safetensors` is written as one to `converted`. Raises ValueError, which says what is wrong,
    OSError, and ModuleNotFoundError."""
    from saf.lif.incoming.reading import read_network
    from saf.lif.starting import settings_of

    incoming = read_network(path, reading, dataset, name)
    network = incoming.network
    settings, of = settings_of(network), network.description
    JobSpecification.model_validate(settings)  # as ValueError, what no job may have
    if incoming.source != "lif" and converted is not None:
        network.save(converted)
    architecture = of.architecture
    return {
        "settings": settings,
        "facts": {
            "shape": list(of.sample_shape if of.image is None else of.image.shape),
            "frames": of.frames and of.image is None,
            "classes": architecture.classes,
            "class_names": list(of.class_names),
            "layers": [layer.name for layer in (*architecture.layers, architecture.readout)],
            "parameters": sum(tensor.numel() for tensor in network.tensors.values()),
            "neurons": architecture.neurons,
            "source": incoming.source,
            "assumptions": list(incoming.assumptions),
        },
    }


if __name__ == "__main__":
    sys.exit(main())
