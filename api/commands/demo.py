"""The whole way, once: `saf demo`, which `make demo` calls."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from api.host.child import Child
from api.local.serve import ServeError, serving_at
from api.settings import Settings, settings
from saf.cli.jobs import next_steps_of, watched
from saf.cli.offline import run_network
from saf.cli.outcome import outcome, warnings
from saf.cli.output import say
from saf.client.client import Client
from saf.client.job import Job
from saf.client.progress import TrainingBar
from saf.client.types import TERMINAL
from saf.config.methods import method_label
from saf.data import BUILTIN

METHOD = "saf-f"
SPECIFICATION: dict[str, Any] = {
    "name": "demo",
    "dataset": "digits",
    "method": {"name": METHOD},
    "conversion": {"grid_bits": "auto"},
}
NEXT = (
    ".venv/bin/saf serve --data-dir '{directory}'     keeps a service running, with this job",
    "open the address that it prints, and draw a digit on the job's page: its network answers",
    ".venv/bin/saf upload images.zip --name mine      your own images, as train/<class>/*.png",
    ".venv/bin/saf submit --dataset mine --watch      trains on them; all else is chosen for you",
    ".venv/bin/saf sweep submit --over method.name=saf-e,saf-f,ottt-a --over seed=0,1,2 --watch",
    "docs/defaults.md says what was chosen and why, docs/datasets.md which files can be read",
)
LEAST_ACCURACY = 0.95
START_SECONDS = 90.0
STOP_SECONDS = 30.0


def main(directory: Path, console: Console) -> int:
    """Start the service on a free port, train, download, verify, run; stop it again.

    Everything is kept in `directory`. Returns 0 if the network is as good as it should be.
    Raises `ServeError`, `ClientError`, OSError.
    """
    began = time.monotonic()
    directory = directory.absolute()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    log = directory / "serve.log"
    with log.open("wb") as output:
        service = Child(
            "service",
            [
                *(sys.executable, "-P", "-m", "saf.cli", "serve"),
                *("--port", "0", "--data-dir", str(directory)),
            ],
            environment=_settings(directory).environment(),
            output=output,
        )
        say("starting API, worker and broker")
        service.start()
        try:
            url = _address(service, directory, log)
            say(f"the service is at {url}")
            with Client(url) as client:
                for left in client.jobs(status=["queued", "starting", "running", "paused"]):
                    client.cancel(left["id"])  # of a demonstration that was interrupted
                good = _train_and_check(client, directory, console)
        finally:
            service.stop(STOP_SECONDS)
    seconds = time.monotonic() - began
    say(f"everything is stopped after {seconds:.0f} s. What to try next:")
    for line in NEXT:
        say(f"  {line.format(directory=directory)}")
    return 0 if good else 1


def _train_and_check(client: Client, directory: Path, console: Console) -> bool:
    job = client.submit(SPECIFICATION)
    page = client.url + job["urls"]["page"]
    say(f"job {job['id']}, live at {page}")
    with TrainingBar(console, "demo") as bar:
        job = watched(client, job["id"], bar)
    if job["status"] != "succeeded":
        say(f"the job {job['status']}: {_why(job)}")
        return False
    for line in (*warnings(job["findings"]), *(outcome(job["result"]) if job["result"] else ())):
        say(line)
    paths = {path.name: path for path in client.download(job["id"], directory / job["id"])}
    for path in paths.values():
        say(f"downloaded, checksum verified: {path}")
    certificate = json.loads(paths["certificate.json"].read_text())
    report = json.loads(paths["report.json"].read_text())
    trained = report["summary"]["test_accuracy"]
    network = paths["lif.safetensors"]
    found = run_network(network, SPECIFICATION["dataset"], split="test", batch_size=128)
    converting = abs(certificate["checks"][0]["accuracy_difference_points"])
    rounding = ((certificate["grid"] or {}).get("rounding") or {}).get("cost_points", 0.0)
    in_c, is_same_in_c = _in_c(network, directory / job["id"] / "c")
    for name, value in (
        (
            f"accuracy as trained ({method_label(METHOD)})",
            f"{trained:.2%} of {found.samples} test images",
        ),
        (
            "accuracy with LIF neurons",
            f"{found.accuracy:.2%}; rounding the weights cost {rounding:.2f} points, the LIF "
            f"neurons {converting:.2f}",
        ),
        ("firing rate", f"{found.firing_rate:.3f} spikes per neuron and step"),
        ("speed of the LIF network", f"{found.samples_per_second:.0f} images/s"),
        ("certificate", f"{certificate['verdict']}: {certificate['statement']}"),
        ("as C without floating point", in_c),
        ("page", page),
    ):
        say(f"{name:28}{value}")
    if found.accuracy < LEAST_ACCURACY or certificate["verdict"] == "differs":
        say(
            f"not good enough: at least {LEAST_ACCURACY:.0%} are expected of a LIF network that "
            "stands in for the trained one"
        )
        return False
    if not is_same_in_c:
        say("not good enough: the network as C is another one than that of LIF neurons")
        return False
    for step in next_steps_of(client, job):
        say(f"next: {step}")
    return True


def _in_c(network: Path, directory: Path) -> tuple[str, bool]:
    """What came of the network as integer C, compiled and run on all test images; and False where
    it ran and is not the same."""
    from saf.config.targets import CannotExportError
    from saf.lif.exporting import export
    from saf.lif.network import load_lif

    data = BUILTIN[SPECIFICATION["dataset"]]()
    try:
        done = export(load_lif(network), "c", directory, data.x_test, data.y_test, unit=data.unit)
    except CannotExportError as error:
        return str(error), True
    facts, found = done.certificate["facts"], done.certificate
    sizes = f"{facts['weight_bytes']:,} bytes of weights, {facts['static_bytes']:,} of memory"
    if done.verdict == "not_replayed":
        return f"{sizes}; not run, {found['not_replayed_because']}", True
    told = (
        f"{sizes}; {found['spikes_differing']} of {found['spikes_compared']:,} spikes differ on "
        f"{found['samples']} images"
    )
    return told, done.verdict == "identical"


def _settings(directory: Path) -> Settings:
    """Settings of a service for the demo alone, whatever the environment says."""
    own = {
        name: Settings.model_fields[name].get_default()
        for name in ("database_url", "broker_url", "artifacts_url", "allowed_hosts")
    }
    return settings().model_copy(update=own | {"data_dir": directory})


def _address(service: Child, directory: Path, log: Path) -> str:
    """Address of the service, once it answers."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if (url := serving_at(directory, pid=service.pid)) is not None:
            return url
        if not service.is_alive:
            break
        time.sleep(0.05)
    last = log.read_text(errors="replace").strip().rpartition("\n")[2]
    raise ServeError(f"the service does not start: {last or 'no reason given'}; its log is {log}")


def _why(job: Job) -> str:
    assert job["status"] in TERMINAL
    error = job["error"]
    return f"{error['message']} {error['hint']}" if error else "no reason given"
