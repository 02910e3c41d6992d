"""The `saf` command: what a person types, reads, and gets as an exit status."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saf.cli import main as cli
from saf.cli import specification as specfile
from saf.cli.specification import SpecificationError
from saf.data import digits
from tests.api.conftest import Server


class Typed:
    """What a command printed, and its exit status."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status = status
        self.out = out
        self.err = err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Saf = Callable[..., Typed]


@pytest.fixture
def saf(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Saf:
    def run(*arguments: str, url: str = "http://127.0.0.1:9") -> Typed:
        monkeypatch.setattr(sys, "argv", ["saf", "--url", url, *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err + captured.out
        status = ended.value.code
        return Typed(status if isinstance(status, int) else int(status is not None), *captured)

    return run


@pytest.fixture
def there(saf: Saf, shared: Server) -> Saf:
    """`saf` with the address of a server on which nothing waits."""
    for job in shared.get("/v1/jobs", limit=200)["data"]:
        if job["status"] not in ("succeeded", "failed", "cancelled"):
            shared.http.post(f"/v1/jobs/{job['id']}/cancel")
    return lambda *arguments: saf(*arguments, url=shared.address)


@pytest.mark.slow
def test_a_job_is_submitted_from_a_file_and_options_shown_cancelled_and_deleted(
    there: Saf, shared: Server, tmp_path: Path
) -> None:
    spec = tmp_path / "spec.json"
    spec.write_text('{"method": {"name": "saf-e"}, "epochs": 3, "timesteps": 5}')
    sent = there("submit", str(spec), "--epochs", "7", "--set", "neuron.decay=0.25", "--name", "x")
    assert sent.status == 0
    job_id, page = sent.out.split()
    assert page == f"{shared.address}/jobs/{job_id}"
    job = there("show", job_id, "--json").json
    specification = job["specification"]
    assert (specification["method"]["name"], specification["timesteps"]) == ("saf-e", 5)
    assert (specification["epochs"], specification["neuron"]["decay"]) == (7, 0.25)
    assert f"{job_id} is cancelled" in there("cancel", job_id).out
    again = there("cancel", job_id)
    assert again.status == 1
    assert "cancelled" in again.err
    assert "queued" in there("retry", job_id).out
    assert there("delete", job_id).status == 0
    gone = there("show", job_id)
    assert gone.status == 1
    assert job_id in gone.err


@pytest.mark.slow
def test_a_sweep_is_tried_submitted_shown_cancelled_and_deleted(there: Saf, tmp_path: Path) -> None:
    spec = tmp_path / "spec.json"
    spec.write_text('{"epochs": 3}')
    over = ("--over", "method.name=saf-e,saf-f", "--over", "seed=0,1", "--set", "timesteps=4")
    tried = there("sweep", "submit", str(spec), *over, "--name", "s", "--dry")
    assert tried.status == 0
    assert "4 jobs" in tried.out
    assert "s: method = saf-f, seed = 1" in tried.out
    assert there("sweep", "list").out == "no sweep\n"
    sent = there("sweep", "submit", str(spec), *over, "--name", "s", "--json").json
    job = there("show", sent["rows"][0]["job"], "--json").json
    assert (job["specification"]["timesteps"], job["specification"]["epochs"]) == (4, 3)
    assert "method × seed" in there("sweep", "list").out
    assert there("edit", sent["id"], "--tag", "paper", "--favourite").status == 0
    for tag, found in (("paper", [sent["id"]]), ("other", [])):
        listed = there("sweep", "list", "--tag", tag, "--favourite", "--json").json
        assert [one["id"] for one in listed] == found
    shown = there("sweep", "show", sent["id"]).out
    assert shown.splitlines()[0].split()[:4] == ["job", "status", "method", "seed"]
    assert shown.splitlines()[-1] == "4 queued"
    assert there("sweep", "show", sent["id"], "--csv").out.startswith(
        "job,name,status,/method/name"
    )
    early = there("sweep", "delete", sent["id"])
    assert early.status == 1
    assert "cancel it first" in early.err
    assert there("sweep", "cancel", sent["id"]).out == f"{sent['id']}: 4 cancelled\n"
    assert there("sweep", "delete", sent["id"]).status == 0
    zipped = there(
        "sweep",
        "submit",
        "--over",
        'augment=[[],["flip"]]',
        "--over",
        "seed=1,2",
        "--zip",
        "--json",
    ).json
    assert [list(row["settings"].values()) for row in zipped["rows"]] == [[[], 1], [["flip"], 2]]
    there("sweep", "cancel", zipped["id"])
    watched = there("sweep", "submit", "--over", "neuron.decay=0.5,2")
    assert watched.status == 1
    assert "(with decay = 2)" in watched.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "needs values of at least one setting"),
        (("--over", "seed"), "names no values"),
        (("--over", "seed="), "names no values"),
        (("--over", ".=1"), "names no values"),
        (("--over", "seed=1", "--over", "seed=2"), "seed is given twice"),
    ],
)
def test_values_that_are_none_are_told_before_anything_is_sent(
    there: Saf, options: tuple[str, ...], said: str
) -> None:
    refused = there("sweep", "submit", *options)
    assert refused.status == 1
    assert said in refused.err


def test_a_list_shows_jobs_as_a_table_and_as_json(there: Saf) -> None:
    for number in range(3):
        there("submit", "--name", f"listed [red]{number}\x1b[31m")
    table = there("list", "--search", "listed", "--limit", "2")
    assert table.out.splitlines()[0].split()[:3] == ["id", "name", "status"]
    assert len(table.out.splitlines()) == 3
    assert "listed [red]2" in table.out
    assert "\x1b" not in table.out
    found = there("list", "--search", "listed", "--json").json
    assert [job["specification"]["dataset"] for job in found] == ["digits"] * 3
    assert there("list", "--search", "no such").out == "no job\n"


def test_wrong_fields_are_told_one_by_one_with_the_remedy(there: Saf) -> None:
    refused = there("submit", "--set", "lambda=2", "--timesteps", "0")
    assert refused.status == 1
    assert "/lambda: there is no such key" in refused.err
    assert "/timesteps: " in refused.err
    assert refused.out == ""


def test_what_a_job_would_need_is_told_without_submitting(there: Saf) -> None:
    assert "parameters" in there("submit", "--dry").out
    assert there("submit", "--dry", "--json").json["neurons"] > 0


def test_no_server_is_exit_status_3_with_what_to_do(saf: Saf) -> None:
    found = saf("list")
    assert found.status == 3
    assert "no server answers at http://127.0.0.1:9" in found.err
    assert "saf serve" in found.err


@pytest.mark.parametrize("arguments", [["nonsense"], ["show"], ["submit", "--epochs", "many"]])
def test_wrong_usage_is_exit_status_2(saf: Saf, arguments: list[str]) -> None:
    assert saf(*arguments).status == 2


def test_watching_ends_with_the_job_and_its_outcome(there: Saf, shared: Server) -> None:
    job_id = there("submit").out.split()[0]

    def work() -> None:
        claim = shared.run()
        shared.progress(claim, 50, loss=0.25, accuracy=0.9, firing_rate=0.1)
        shared.succeed(claim, lif_accuracy=0.175, verdict="differs", rounding_cost_points=80.0)

    worker = threading.Timer(0.2, work)
    worker.start()
    watched = there("watch", job_id)
    worker.join()
    assert watched.status == 0
    assert f"{job_id} succeeded" in watched.out
    assert "loss 0.250  accuracy 90.0%  firing rate 0.100" in watched.out
    told = "LIF network 17.50%, differs; rounding its weights cost 80.00 points"
    assert told in watched.out
    assert told in there("show", job_id).out
    assert "17.50%  differs" in there("list").out


def test_watching_a_job_that_fails_tells_why_and_what_to_change(there: Saf, shared: Server) -> None:
    job_id = there("submit").out.split()[0]
    shared.fail(shared.run())
    watched = there("watch", job_id)
    assert watched.status == 1
    assert "data: no images\nsend some" in watched.out


def test_a_data_set_that_cannot_be_read_is_told_with_the_remedy(there: Saf, tmp_path: Path) -> None:
    (tmp_path / "images.zip").write_bytes(b"not a zip")
    refused = there("upload", str(tmp_path / "images.zip"))
    assert refused.status == 1
    assert "Send a .zip" in refused.err
    missing = there("upload", str(tmp_path / "nothing.zip"))
    assert missing.status == 1
    assert "nothing.zip: No such file" in missing.err


@pytest.mark.slow
def test_an_uploaded_data_set_is_listed(there: Saf, tmp_path: Path) -> None:
    data = digits()
    np.savez(
        tmp_path / "mine.npz",
        x_train=data.x_train[:100],
        y_train=data.y_train[:100],
        x_test=data.x_test[:50],
        y_test=data.y_test[:50],
    )
    sent = there("upload", str(tmp_path / "mine.npz"), "--name", "mine")
    assert sent.status == 0, sent.err
    assert "100 + 50 samples of 1 × 8 × 8, 10 classes" in sent.out
    series = np.random.default_rng(0).normal(size=(150, 20, 3)).astype(np.float32)
    np.savez(tmp_path / "waves.npz", x=series, y=np.arange(150) % 2)
    sent = there("upload", str(tmp_path / "waves.npz"))
    assert "120 + 30 series of 20 time steps of 3 channels, 2 classes" in sent.out
    frames = np.random.default_rng(0).poisson(0.3, size=(150, 4, 2, 9, 9)).astype(np.uint8)
    np.savez(tmp_path / "frames.npz", x=frames, y=np.arange(150) % 2)
    sent = there("upload", str(tmp_path / "frames.npz"))
    assert "120 + 30 samples of 4 frames of 2 × 9 × 9, 2 classes" in sent.out
    np.savez(tmp_path / "table.npz", x=series[:, 0], y=np.arange(150) % 2)
    sent = there("upload", str(tmp_path / "table.npz"), "--read", "layout=N C")
    assert "120 + 30 samples of 3 features, 2 classes" in sent.out
    validation = {"x_val": data.x_train[:7], "y_val": data.y_train[:7]}
    with np.load(tmp_path / "mine.npz") as file:
        np.savez(tmp_path / "split.npz", **file, **validation)  # type: ignore[arg-type]
    sent = there("upload", str(tmp_path / "split.npz"))
    assert "100 + 50 samples and 7 for validation of 1 × 8 × 8, 10 classes" in sent.out
    leak = "split: all 7 of 7 validation samples are also training samples"
    assert leak in sent.err
    assert leak in there("datasets").err
    names = [entry["name"] for entry in there("datasets", "--json").json]
    assert {"digits", "mine"} <= set(names)
    of_paper = ("datasets", "--tag", "paper", "--favourite", "--json")
    assert there(*of_paper).json == []
    mine = next(e["id"] for e in there("datasets", "--json").json if e["name"] == "mine")
    assert there("edit", mine, "--tag", "paper", "--favourite").status == 0
    assert [entry["name"] for entry in there(*of_paper).json] == ["mine"]


SMALL = ["--epochs", "1", "--set", "network.channels=[4]", "--timesteps", "2"]


@pytest.mark.slow
def test_training_here_goes_on_from_its_checkpoint_and_the_network_runs(
    saf: Saf, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first = saf("train", *SMALL, "--out", str(out), "--json")
    assert first.status == 0, first.err
    assert first.json["iterations"] > 0
    assert "training converting" in first.err
    again = saf("train", *SMALL, "--out", str(out))
    assert f"goes on from step {first.json['iterations']}" in again.out
    ran = saf("run", str(out / "lif.safetensors"), "digits", "--json").json
    assert ran["samples"] == 360
    assert ran["accuracy"] == pytest.approx(first.json["lif_accuracy"], abs=0.002)
    assert 0 < ran["firing_rate"] < 1
    shown = saf("run", str(out / "lif.safetensors"), "digits", "--split", "train").out
    assert "1437 samples" in shown
    assert "samples/s" in shown
    other = saf("train", *SMALL, "--set", "seed=5", "--out", str(out))
    assert other.status == 1
    assert "seed" in other.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["train", "--set", "neuron.decay=2"], "/neuron/decay: "),
        (["train", "--method", "saf-f", "--set", "method.trase=1"], "/method/trase: "),
        (["train", "--dataset", "/nowhere"], "there is no data set '/nowhere'"),
        (["train", "/nowhere.json"], "/nowhere.json cannot be read: No such file"),
        (["run", "/nowhere.safetensors", "digits"], "/nowhere.safetensors"),
        (["run", __file__, "digits"], "test_main.py"),
        (["run", __file__, "digits", "--split", "all"], "test or train"),
    ],
)
def test_what_cannot_work_here_is_told_in_words(
    saf: Saf, tmp_path: Path, arguments: list[str], told: str
) -> None:
    extra = ["--out", str(tmp_path)] if arguments[0] == "train" else []
    refused = saf(*arguments, *extra)
    assert refused.status in (1, 2)
    assert told in refused.err


def test_options_win_over_the_file_and_settings_over_both(tmp_path: Path) -> None:
    path = tmp_path / "spec.json"
    path.write_text('{"epochs": 1, "method": {"name": "saf-e", "trace_bias_and_input": true}}')
    body = specfile.read(
        path, {"epochs": 2, "method": None}, ["epochs=3", "name=a b", "metadata.k=v"]
    )
    assert body["epochs"] == 3
    assert body["method"]["trace_bias_and_input"] is True
    assert (body["name"], body["metadata"]) == ("a b", {"k": "v"})
    assert specfile.read(path, {"method": "saf-f"}, [])["method"] == {"name": "saf-f"}
    kept = specfile.read(path, {"method": "saf-e"}, [])["method"]
    assert kept["trace_bias_and_input"] is True


@pytest.mark.parametrize("setting", ["epochs", "=3", "neuron..decay=1", "epochs.x=1"])
def test_a_setting_that_sets_nothing_is_refused(setting: str) -> None:
    with pytest.raises(SpecificationError, match=setting):
        specfile.read(None, {"epochs": 1}, [setting])


@pytest.mark.parametrize("text", ["", "[1]", "{", '"x"'])
def test_a_file_that_is_no_specification_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "spec.json"
    path.write_text(text)
    with pytest.raises(SpecificationError, match=r"spec\.json (is no JSON|holds no JSON object)"):
        specfile.read(path, {}, [])


def test_the_service_is_loaded_for_its_own_commands_alone() -> None:
    script = """
import sys
from saf.cli.main import app
from typer.testing import CliRunner
for command in (["list", "--help"], ["serve", "--help"]):
    assert CliRunner().invoke(app, command).exit_code == 0
    print("api" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.split() == ["False", "True"], done.stderr


def test_a_name_that_is_nearly_that_of_a_command_of_the_service_is_guessed(saf: Saf) -> None:
    wrong = saf("backups")
    assert wrong.status == 2
    assert "Did you mean 'backup'" in wrong.err


def test_a_rate_in_a_specification_of_a_report_is_one_that_was_given(
    saf: Saf, tmp_path: Path
) -> None:
    """A report has what was automatic, also where its numbers were then changed in an editor: a
    range test would have lowered this rate."""
    spec, out = tmp_path / "spec.json", tmp_path / "out"
    given = {
        "network": {"name": "layers", "layers": [{"kind": "linear", "features": 8}]},
        "optimizer": {"name": "adamw", "learning_rate": 0.5},
        "automatic": ["/validation_share", "/optimizer"],
        "validation_share": 0.2,
        "epochs": 1,
        "timesteps": 2,
    }
    spec.write_text(json.dumps(given))
    assert saf("train", str(spec), "--out", str(out)).status == 0
    trained = json.loads((out / "report.json").read_text())["specification"]
    assert trained["optimizer"]["learning_rate"] == 0.5
    assert trained["validation_share"] == 0.2
