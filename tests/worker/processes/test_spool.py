"""What waits for the database keeps its order and its bounds."""

from __future__ import annotations

from pathlib import Path

import pytest

from saf.training.events import (
    Checking,
    Checkpoint,
    Evaluation,
    Finished,
    LayerStatistics,
    Report,
    SpikeStatistics,
    Started,
    Step,
)
from worker.processes import spool as module
from worker.processes.protocol import Failure, decode, encode
from worker.processes.spool import Outbox


def put(outbox: Outbox, report: Report) -> None:
    outbox.put(encode(report).encode())


def step(number: int) -> Step:
    return Step(step=number, epoch=number / 10, metrics={"loss": 1 / number})


def taken(outbox: Outbox) -> list[int]:
    steps: list[int] = []
    while not (batch := outbox.take()).is_empty():
        steps += [at for at, _ in batch.points["loss"]]
    return steps


@pytest.mark.parametrize(
    "report",
    [
        Started(step=3, steps_total=9, steps_per_epoch=3, parameters=7, device="cpu"),
        Step(step=1, epoch=0.1, metrics={"loss": 0.5}),
        SpikeStatistics(
            step=2,
            epoch=0.5,
            samples=3,
            readout_gradient_norm=None,
            layers={
                "layer1": LayerStatistics(
                    firing_rate=0.5, dead=0.0, saturated=0.25, gradient_norm=1.5, membrane=[0.5]
                )
            },
        ),
        Checkpoint(step=2, epoch=0, path=Path("/a/b")),
        Checking(done=128, total=10_500),
        Finished(step=9, summary={"val_accuracy": 0.9}),
        Failure(code="data", message="no", hint="yes"),
    ],
)
def test_a_report_comes_out_of_its_line_as_it_went_in(report: Report) -> None:
    assert decode(encode(report)) == report


@pytest.mark.parametrize("line", ["", "{", "[]", "{}", '{"report": "Step"}', '{"report": "Os"}'])
def test_a_line_that_is_no_report_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="no report"):
        decode(line)


def test_points_beyond_memory_wait_in_a_file_and_keep_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MEMORY_BYTES", 1000)
    outbox = Outbox(tmp_path / "spool")
    for number in range(1, 501):
        put(outbox, step(number))
    assert (tmp_path / "spool").stat().st_size > 10_000
    first = outbox.take()
    assert first.points["loss"][0] == (1, 1.0)
    for number in range(501, 601):
        put(outbox, step(number))

    rest = taken(outbox)

    assert [at for at, _ in first.points["loss"]] + rest == list(range(1, 601))
    assert not (tmp_path / "spool").exists()
    assert not outbox.has_more()


def test_a_batch_ends_at_a_checkpoint(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "spool")
    put(outbox, step(1))
    put(outbox, Checkpoint(step=1, epoch=0, path=tmp_path / "1"))
    put(outbox, step(2))

    first, second = outbox.take(), outbox.take()

    assert first.checkpoint is not None
    assert first.points == {"loss": [(1, 1.0)]}
    assert second.points == {"loss": [(2, 0.5)]}
    assert outbox.take().is_empty()


def test_of_checkpoints_that_pile_up_the_newest_two_keep_their_files(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "spool")
    files = [tmp_path / str(number) for number in range(5)]
    for number, file in enumerate(files):
        file.write_text("weights")
        put(outbox, Checkpoint(step=number, epoch=0, path=file))

    assert [file.exists() for file in files] == [False, False, False, True, True]


def test_the_newest_values_and_the_best_accuracy_are_those_of_the_batch(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "spool")
    for number, accuracy, best in ((1, 0.95, 0.95), (2, 0.9, 0.9), (3, 0.8, 0.9)):
        put(outbox, step(number))
        metrics = {"val_accuracy": accuracy}
        put(outbox, Evaluation(step=number, epoch=1, metrics=metrics, best_accuracy=best))
    put(outbox, Evaluation(step=3, epoch=1, metrics={"test_accuracy": 0.7}))

    batch = outbox.take()

    assert batch.latest == {"loss": pytest.approx(1 / 3), "val_accuracy": 0.8, "test_accuracy": 0.7}
    assert batch.best_accuracy == 0.9  # as the training says: the second epoch was the best
    assert batch.step == 3


def test_a_character_that_arrives_in_two_pieces_is_one_character(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "spool")
    outbox.put_log("λ".encode()[:1])
    outbox.put_log("λ".encode()[1:] + b"\xff")
    assert outbox.take().log == "λ\ufffd"
    assert outbox.log_tail == "λ\ufffd"


def test_half_a_line_that_a_full_disk_left_is_never_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MEMORY_BYTES", 1)
    spool = tmp_path / "spool"
    outbox = Outbox(spool)
    for number in range(1, 6):
        put(outbox, step(number))
    with spool.open("ab") as file:
        file.write(b'{"kind": "step", "st')  # and the disk was full
    monkeypatch.setattr(module, "MEMORY_BYTES", 10_000)
    assert taken(outbox) == [1, 2, 3, 4, 5]
    put(outbox, step(6))
    assert taken(outbox) == [6]


def test_a_checkpoint_that_waits_for_room_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MEMORY_BYTES", 0)
    files = [tmp_path / name for name in ("1", "2", "3")]
    for file in files:
        file.write_bytes(b"weights")
    (tmp_path / "spool").mkdir()  # nothing can be written there
    outbox = Outbox(tmp_path / "spool")
    for _ in range(4):
        with pytest.raises(OSError, match="Is a directory"):
            put(outbox, Checkpoint(step=1, epoch=0, path=files[0]))
    assert files[0].exists()
    (tmp_path / "spool").rmdir()
    for number, file in enumerate(files, 1):
        put(outbox, Checkpoint(step=number, epoch=0, path=file))
    assert [file.exists() for file in files] == [False, True, True]


def test_after_a_report_that_was_lost_none_counts(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "spool")
    put(outbox, step(1))
    outbox.close()
    put(outbox, step(3))
    put(outbox, Finished(step=3, summary={}))
    assert taken(outbox) == [1]
    assert not outbox.is_complete()


def test_what_a_training_prints_is_kept_without_what_a_terminal_obeys(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "spool")
    for piece in (
        b"\x1b[3",
        b"1mred\x1b[0m\r",
        b"\n\x1b]0;title\x07\xc2",
        b"\x9b2J\xe2\x80\xaeend\n",
    ):
        outbox.put_log(piece)

    log = outbox.take().log
    assert log == "red\n\ufffd]0;title\ufffd\ufffd2J\ufffdend\n"
    assert outbox.log_tail == log
