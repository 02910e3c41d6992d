"""Damaged and hostile networks against `saf.load_lif`, `saf run` and the prediction process.

    python -m tests.fuzz.networks --inputs 2000 --seed 0

Each input is a `lif.safetensors` that was made or changed by a program. The rules: whoever reads
it says why not in one line, or runs it; it takes less than `SECONDS` of processor time, and the
memory of the process stays within `MEMORY_BYTES` beyond what torch takes. Exit status 1 when one
is broken.
"""

from __future__ import annotations

import argparse
import json
import resource
import struct
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import torch

from saf import tensorfile
from saf.lif.header import LIFDescription
from saf.lif.network import LIFNetwork, load_lif
from saf.networks.architecture import Architecture, Connection, Flatten, LayerDescription, Linear
from saf.processes.predict import answer

SECONDS = 10.0
MEMORY_BYTES = 2 * 2**30
PIXELS = [[[0.5] * 8] * 8]
Header = dict[str, Any]


def seed_network() -> LIFNetwork:
    """Three neurons, two classes, 8 × 8 pixels."""
    layer = LayerDescription(
        name="layer1",
        connections=(Connection(source="input", operations=(Flatten(), Linear(out_features=3))),),
    )
    readout = LayerDescription(
        name="readout",
        connections=(Connection(source="layer1", operations=(Linear(out_features=2),)),),
    )
    description = LIFDescription(
        architecture=Architecture(input_shape=(1, 8, 8), layers=(layer,), readout=readout),
        decay=0.5,
        threshold=1.0,
        timesteps=3,
        readout="mean",
        frames=False,
        mean=(0.0,),
        std=(1.0,),
        class_names=("a", "b"),
        specification={},
    )
    random = torch.Generator().manual_seed(1)
    tensors = {
        "layer1.0.weight": torch.randn(3, 64, generator=random),
        "layer1.bias": torch.ones(3),
        "readout.0.weight": torch.randn(2, 3, generator=random),
        "readout.bias": torch.zeros(2),
    }
    return LIFNetwork(description, tensors)


def with_bytes(path: Path, change: Callable[[bytearray], bytes]) -> None:
    path.write_bytes(change(bytearray(path.read_bytes())))


def with_header(path: Path, change: Callable[[Header], Any]) -> None:
    """Change the header of the safetensors file; the tensors stay."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    changed = change(header)
    text = changed if isinstance(changed, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])


def described(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Another description in the header, written with a right checksum."""
    network = seed_network()
    metadata = network.description.model_dump(mode="json")
    tensors = change(metadata) or network.tensors
    tensorfile.write(path, tensors, metadata)


def _deep(depth: int) -> str:
    return "[" * depth + "]" * depth


def _upsampled(metadata: dict[str, Any], times: int) -> None:
    operations = [{"kind": "upsample", "factor": 512}] * times
    layer = metadata["architecture"]["layers"][0]
    layer["connections"] = [{"source": "input", "operations": operations}]


def _many(metadata: dict[str, Any], key: str, count: int) -> None:
    architecture = metadata["architecture"]
    layer = architecture["layers"][0]
    if key == "layers":
        architecture["layers"] = [{**layer, "name": f"l{number}"} for number in range(count)]
    elif key == "connections":
        layer["connections"] = layer["connections"] * count
    else:
        layer["connections"][0]["operations"] = [{"kind": "flatten"}] * count


def _scaled(metadata: dict[str, Any], factor: float) -> dict[str, torch.Tensor]:
    return {name: tensor * factor for name, tensor in seed_network().tensors.items()}


HOSTILE: dict[str, Callable[[Path], Any]] = {
    "empty": lambda p: p.write_bytes(b""),
    "short": lambda p: p.write_bytes(b"\x10\0\0"),
    "a header of 2 GB": lambda p: with_bytes(p, lambda b: struct.pack("<Q", 2**31) + b[8:]),
    "a header of 2^63": lambda p: with_bytes(p, lambda b: struct.pack("<Q", 2**63) + b[8:]),
    "a header deeper than the stack": lambda p: with_header(p, lambda h: _deep(10**6).encode()),
    "a description deeper than the stack": lambda p: with_header(
        p, lambda h: h["__metadata__"].update(architecture=_deep(10**6))
    ),
    "a specification that is deep": lambda p: with_header(
        p, lambda h: h["__metadata__"].update(specification='{"a":' * 10**5 + "1" + "}" * 10**5)
    ),
    "NaN in the description": lambda p: with_header(
        p, lambda h: h["__metadata__"].update(decay="NaN")
    ),
    "infinite threshold": lambda p: with_header(
        p, lambda h: h["__metadata__"].update(threshold="1e999")
    ),
    "an integer of many digits": lambda p: with_header(
        p, lambda h: h["__metadata__"].update(timesteps="9" * 100_000)
    ),
    "overlapping offsets": lambda p: with_header(
        p, lambda h: h["layer1.bias"].update(data_offsets=[0, 12])
    ),
    "offsets beyond the file": lambda p: with_header(
        p, lambda h: h["layer1.bias"].update(data_offsets=[10**12, 10**12 + 12])
    ),
    "a shape of 2^62": lambda p: with_header(
        p, lambda h: h["layer1.bias"].update(shape=[2**62, 2**62])
    ),
    "a shape with a zero": lambda p: with_header(
        p, lambda h: h["layer1.bias"].update(shape=[0, 2**62], data_offsets=[0, 0])
    ),
    "a negative shape": lambda p: with_header(p, lambda h: h["layer1.bias"].update(shape=[-3])),
    "another type": lambda p: with_header(p, lambda h: h["layer1.bias"].update(dtype="F8_E4M3")),
    "complex numbers": lambda p: with_header(p, lambda h: h["layer1.bias"].update(dtype="C64")),
    "a million tensors": lambda p: with_header(
        p,
        lambda h: h.update(
            {
                f"t{n}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
                for n in range(200_000)
            }
        ),
    ),
    "T of a billion": lambda p: described(p, lambda m: m.update(timesteps=10**9)),
    "a million layers": lambda p: described(p, lambda m: _many(m, "layers", 20_000)),
    "a million connections": lambda p: described(p, lambda m: _many(m, "connections", 50_000)),
    "a million operations": lambda p: described(p, lambda m: _many(m, "operations", 200_000)),
    "neurons without end": lambda p: described(p, lambda m: _upsampled(m, 3)),
    "neurons beyond all numbers": lambda p: described(p, lambda m: _upsampled(m, 60)),
    "channels beyond memory": lambda p: described(
        p,
        lambda m: m["architecture"]["layers"][0]["connections"][0]["operations"][1].update(
            out_features=10**6
        ),
    ),
    "a cycle": lambda p: described(
        p,
        lambda m: m["architecture"]["layers"][0]["connections"].append({"source": "layer1"}),
    ),
    "names that are none": lambda p: described(
        p, lambda m: m["architecture"]["layers"][0].update(name="\x1b[31m" * 1000)
    ),
    "classes without end": lambda p: described(p, lambda m: m.update(class_names=["x"] * 10**6)),
    "weights at the end of their type": lambda p: described(p, lambda m: _scaled(m, 1e38)),
    "weights that are no numbers": lambda p: described(p, lambda m: _scaled(m, float("nan"))),
    "a threshold near zero": lambda p: described(p, lambda m: m.update(threshold=1e-300)),
    "a deviation near zero": lambda p: described(p, lambda m: m.update(std=[1e-300])),
    "a mean beyond the type": lambda p: described(p, lambda m: m.update(mean=[1e300])),
}


def mutated(path: Path, random: Random) -> None:
    """Some bytes of the file changed, left out or repeated."""
    content = bytearray(path.read_bytes())
    for _ in range(random.randint(1, 8)):
        place = random.randrange(len(content))
        match random.randrange(4):
            case 0:
                content[place] ^= 1 << random.randrange(8)
            case 1:
                del content[place : place + random.randint(1, 64)]
            case 2:
                content[place:place] = content[place : place + random.randint(1, 64)]
            case _:
                content[place : place + 1] = random.choice(
                    [b"0", b"9", b"[", b"}", b'"', b"-", b"e"]
                )
        if not content:
            break
    path.write_bytes(content)


def look(path: Path) -> str:
    """What came of one input; a text in capitals where a rule is broken."""
    begun = time.process_time()
    try:
        network = load_lif(path)
    except (ValueError, FileNotFoundError) as error:
        said = str(error)
        outcome = "refused"
        if "\n" in said or len(said) > 2000 or not said:
            outcome = f"NO LINE: {said[:200]!r}"
    except Exception:
        traceback.print_exc()
        outcome = "CRASHED"
    else:
        outcome = "accepted"
        del network
    found = answer({"network": str(path), "pixels": PIXELS, "detail": True})
    if not found["ok"]:
        said = found["message"]
        if "\n" in said or (outcome == "refused" and "memory" in said.lower()):
            outcome = f"BLAMES: {said[:200]!r}"
        if "cannot be run" in said and outcome == "refused":
            outcome = f"NOT REFUSED: {said[:200]!r}"
    if time.process_time() - begun > SECONDS:
        outcome = f"SLOW: {time.process_time() - begun:.1f} s"
    return outcome


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--inputs", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES + 2**30, MEMORY_BYTES + 2**30))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes: Counter[str] = Counter()
    broken = 0
    random = Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        seed_network().save(Path(folder) / "seed")
        seed = (Path(folder) / "seed").read_bytes()
        names = [*HOSTILE, *(f"mutation {number}" for number in range(options.inputs))]
        for number, name in enumerate(names):
            path = Path(folder) / f"{number}.safetensors"
            path.write_bytes(seed)
            HOSTILE[name](path) if name in HOSTILE else mutated(path, random)
            outcome = look(path)
            outcomes[outcome.split(":")[0]] += 1
            if outcome.split(":")[0].isupper():
                broken += 1
                print(f"{name}: {outcome}")
            path.unlink()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"{len(names)} inputs: {dict(outcomes)}, memory + {grown:.0f} MiB, violations {broken}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
