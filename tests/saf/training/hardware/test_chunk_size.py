"""How many time steps are taken at once: asked for, by the rule, or measured and remembered."""

import json
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from saf.estimate.memory import forecast
from saf.model.batch import Batch, Rule
from saf.model.network import SpikingNetwork
from saf.model.outcome import Outcome
from saf.networks.build import build
from saf.training import trainer
from saf.training.checkpoint import Checkpoint, Progress
from saf.training.events import Checkpoint as CheckpointReport
from saf.training.events import Finished, Started
from saf.training.hardware import chunk_size, tuning
from saf.training.loop import train
from tests.saf.training.trainings import dataset, run, specification

GPU = torch.device("cuda")  # none is there: what is asked of it is put in its place
CAREFUL: dict[str, Any] = {  # all that an iteration in vain could disturb
    "neuron": {"dropout": 0.2},
    "augment": ["crop", "flip"],
    "average_decay": 0.9,
    "epochs": 3,
}


def weights(directory: Path) -> dict[str, torch.Tensor]:
    saved = Checkpoint.read(directory / "checkpoint.safetensors")
    return saved.weights | {f"average/{name}": w for name, w in saved.average.items()}


def taken(directory: Path) -> int | None:
    found = json.loads((directory / "report.json").read_text())["timesteps_at_once"]
    assert found is None or isinstance(found, int)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("method", ["saf-e", "saf-f", "spike-representation"])
def test_any_number_of_steps_at_once_trains_the_same(method: str, tmp_path: Path) -> None:
    job = {"method": {"name": method}, "precision": "float64", "timesteps": 5}
    for k in (None, 1, 2, 5):
        run(specification(**job, timesteps_at_once=k), dataset(), tmp_path / f"{k}")
    assert [taken(tmp_path / name) for name in ("None", "1", "2", "5")] == [5, 1, 2, 5]
    for k in (1, 2, 5):
        for name, expected in weights(tmp_path / "None").items():
            found = weights(tmp_path / f"{k}")[name]
            torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    "method",
    [{"name": "ottt-a"}, {"name": "ottt-o"}, {"name": "bptt"}, {"name": "saf-e", "update": "step"}],
)
def test_methods_that_take_one_step_after_the_other_refuse(
    method: dict[str, str], tmp_path: Path
) -> None:
    with pytest.raises(ValidationError, match="has to be null with"):
        specification(method=method, timesteps_at_once=2)
    run(specification(method=method, epochs=1), dataset(), tmp_path)
    assert taken(tmp_path) is None


def test_more_steps_than_there_are_are_refused() -> None:
    with pytest.raises(ValidationError, match="is 4, and there are only 3 timesteps"):
        specification(timesteps_at_once=4)


def test_forecast_counts_the_steps_asked_for() -> None:
    architecture = build(specification().network, (1, 8, 8), 3)

    def needed(k: int | None, timesteps: int = 12) -> int:
        job = specification(timesteps=timesteps, timesteps_at_once=k, batch_size=64)
        return forecast(job, architecture, limit_bytes=2**30).training_bytes

    assert needed(1) < needed(2) == needed(None) < needed(12)
    assert needed(1) == needed(1, timesteps=800)


def chosen(
    iterate: Callable[[int], None],
    clock: Callable[[], float],
    progress: Progress | None = None,
    iterations: int = 1000,
    device: torch.device = GPU,
    stop: Callable[[], bool] = lambda: False,
    **changes: Any,
) -> tuple[int | None, Progress]:
    progress = progress or Progress()
    job = specification(timesteps=12, batch_size=64, **changes)
    architecture = build(job.network, (3, 32, 32), 3)
    found = chunk_size.chosen(
        progress, job, architecture, 64, iterations, device, iterate, clock=clock, stop=stop
    )
    return found, progress


@pytest.fixture(autouse=True)
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(tuning.VARIABLE, "1")
    monkeypatch.setattr(chunk_size, "free_memory_bytes", lambda _: 2**33)
    monkeypatch.setattr(chunk_size, "forget_peak_memory", lambda _: None)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: None)


class Machine:
    """A clock that runs by what an iteration with K steps at once is said to take."""

    def __init__(self, seconds: dict[int, float]) -> None:
        self._seconds = seconds
        self._now = 0.0
        self.tried: list[int] = []

    def clock(self) -> float:
        return self._now

    def iterate(self, k: int) -> None:
        first = k not in self.tried
        self.tried.append(k)
        if self._seconds[k] < 0:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        self._now += self._seconds[k] + (100.0 if first else 0.0)  # the first one compiles


@pytest.mark.parametrize(
    ("seconds", "best", "tried"),
    [
        ({2: 1.0, 4: 0.95}, 2, {2, 4}),
        ({2: 1.0, 4: 0.8, 8: 0.75}, 4, {2, 4, 8}),
        ({2: 1.0, 4: 0.6, 8: 0.4, 12: 0.3}, 12, {2, 4, 8, 12}),
        ({2: 1.0, 4: 0.6, 8: -1.0}, 4, {2, 4, 8}),
    ],
    ids=["the rule", "twice", "all", "no memory"],
)
def test_long_trainings_take_more_steps_where_they_pay(
    seconds: dict[int, float], best: int, tried: set[int]
) -> None:
    machine = Machine(seconds)
    found, progress = chosen(machine.iterate, machine.clock)
    assert (found, progress.timesteps_at_once, set(machine.tried)) == (best, best, tried)


def test_nothing_is_tried_where_there_is_nothing_to_gain(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine({})
    for found, _ in (
        chosen(machine.iterate, machine.clock, iterations=999),
        chosen(machine.iterate, machine.clock, device=torch.device("cpu")),
        chosen(machine.iterate, machine.clock, Progress(timesteps_at_once=2)),
        chosen(machine.iterate, machine.clock, timesteps_at_once=2),
    ):
        assert found == 2
    short = Machine({2: 0.05, 4: 0.01})
    assert chosen(short.iterate, short.clock)[0] == 2
    assert set(short.tried) == {2}
    monkeypatch.setattr(chunk_size, "free_memory_bytes", lambda _: 2**20)
    assert chosen(machine.iterate, machine.clock)[0] == 2
    assert machine.tried == []


@pytest.mark.parametrize("switch", [None, "0", "false", ""])
def test_nothing_is_measured_on_a_gpu_unless_the_switch_is_on(
    switch: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(tuning.VARIABLE)
    if switch is not None:
        monkeypatch.setenv(tuning.VARIABLE, switch)
    machine = Machine(dict.fromkeys(range(1, 13), 1e9))
    assert chosen(machine.iterate, machine.clock)[0] == 2
    assert machine.tried == []


def test_one_step_at_once_where_there_is_feedback() -> None:
    machine = Machine({})
    for k in (None, 3):
        network = {"name": "vgg11-f", "width": 0.25}
        found, progress = chosen(
            machine.iterate, machine.clock, network=network, timesteps_at_once=k
        )
        assert (found, progress.timesteps_at_once) == (1, None)


@pytest.mark.parametrize("asked_after", [0, 1, 4])
def test_who_is_asked_to_stop_takes_the_rule_and_measures_the_next_time(asked_after: int) -> None:
    machine, asked = Machine({2: 1.0, 4: 0.5, 8: 0.2, 12: 0.1}), count()
    found, progress = chosen(
        machine.iterate, machine.clock, stop=lambda: next(asked) >= asked_after
    )
    assert (found, progress.timesteps_at_once, len(machine.tried)) == (2, None, asked_after)
    progress.step = 1
    assert chosen(machine.iterate, machine.clock, progress)[0] == 12


@pytest.mark.slow
def test_what_was_measured_leaves_nothing_behind_and_is_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(specification(**CAREFUL, timesteps_at_once=2), dataset(), tmp_path / "asked")
    measured = []

    def fastest(
        seconds_with: Callable[[int], float],
        fewest: int,
        seconds: float,
        most: int,
    ) -> int:
        assert (fewest, most) == (1, 3)
        assert seconds > 0
        measured.append([seconds_with(k) > 0 for k in (1, 2, 3)])
        return 2

    monkeypatch.setattr(tuning, "is_for", lambda device: True)
    monkeypatch.setattr(chunk_size, "FEWEST_ITERATIONS", 1)
    monkeypatch.setattr(chunk_size, "FEWEST_SECONDS", 0.0)
    monkeypatch.setattr(chunk_size, "steps_at_once", lambda *_, in_time: 1)
    monkeypatch.setattr(chunk_size, "fastest", fastest)
    job = specification(**CAREFUL)
    run(job, dataset(), tmp_path / "measured")
    measuring = 4 * (1 + chunk_size.TIMED)
    stops = iter([False] * (measuring + 4) + [True])
    *_, stopped = train(
        job, dataset(), tmp_path / "half", device="cpu", stop=lambda: next(stops, True)
    )
    assert isinstance(stopped, CheckpointReport)
    started, *_, last = train(
        job, dataset(), tmp_path / "whole", device="cpu", resume_from=stopped.path
    )
    assert isinstance(started, Started)
    assert started.step == 5
    assert isinstance(last, Finished)
    assert measured == [[True, True, True]] * 2  # not when it went on
    for of in ("measured", "whole"):
        assert taken(tmp_path / of) == 2
        for name, expected in weights(tmp_path / "asked").items():
            assert torch.equal(weights(tmp_path / of)[name], expected)


def test_a_measurement_that_fails_leaves_no_gradient(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory runs out in the second part of a batch, when the first has left its gradients."""
    in_parts, calls = trainer.in_parts, count()  # type: ignore[attr-defined]

    def failing(rule: Rule, parts: int) -> Rule:
        def run(network: SpikingNetwork, batch: Batch, /) -> Outcome:
            if batch.chunk == 2 and next(calls) == 1:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return rule(network, batch)

        return in_parts(run, parts)

    parts = {"micro_batches": 2, "method": {"name": "saf-f"}}
    run(specification(**parts, timesteps_at_once=1), dataset(), tmp_path / "asked")
    monkeypatch.setattr(tuning, "is_for", lambda device: True)
    monkeypatch.setattr(chunk_size, "FEWEST_ITERATIONS", 1)
    monkeypatch.setattr(chunk_size, "FEWEST_SECONDS", 0.0)
    monkeypatch.setattr(chunk_size, "steps_at_once", lambda *_, in_time: 1)
    monkeypatch.setattr(trainer, "in_parts", failing)
    run(specification(**parts), dataset(), tmp_path / "failed")
    assert next(calls) == 2  # it did
    assert taken(tmp_path / "failed") == 1
    for name, expected in weights(tmp_path / "asked").items():
        assert torch.equal(weights(tmp_path / "failed")[name], expected)


def test_memory_that_runs_out_leads_back_to_the_rule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkpoint remembers one step at once; in smaller parts, the rule says three."""
    monkeypatch.setattr(chunk_size, "steps_at_once", lambda *_, in_time: 1)
    list(train(specification(), dataset(), tmp_path / "first", device="cpu", stop=lambda: True))
    monkeypatch.undo()
    saved = tmp_path / "first" / "checkpoints"
    for parts, expected in ((1, 1), (2, 3)):
        folder = tmp_path / f"{parts}"
        job = specification(micro_batches=parts)
        list(train(job, dataset(), folder, device="cpu", resume_from=saved))
        assert taken(folder) == expected


def test_no_checkpoint_remembers_what_was_asked_for(tmp_path: Path) -> None:
    asked = specification(timesteps_at_once=1)
    list(train(asked, dataset(), tmp_path / "first", device="cpu", stop=lambda: True))
    saved = tmp_path / "first" / "checkpoints"
    list(train(specification(), dataset(), tmp_path / "2", device="cpu", resume_from=saved))
    assert taken(tmp_path / "2") == 3
