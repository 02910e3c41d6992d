"""`saf serve`: its real processes, killed, healed and stopped."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from api.host.listener import DEFAULT_PORT
from api.local.serve import LocalService, ServeError, check_accounts, serving_at
from api.settings import Settings
from api.store.database import Database
from api.store.migrate import migrate
from tests.answers import answers
from tests.waiting import PATIENCE, until

pytestmark = pytest.mark.slow


def children(parent: int) -> dict[str, int]:
    """The processes directly under `parent`: what they are and their numbers."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            command = (entry / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        if int(fields[1]) != parent or fields[0] == "Z":
            continue
        if "/valkey-server" in command[0]:  # it writes its address behind its name
            found["valkey"] = int(entry.name)
        for name in ("api.commands.web", "worker"):
            if command[1:4] == ["-P", "-m", name]:
                found[name] = int(entry.name)
    return found


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


class Serving:
    """`saf serve` in a process of its own."""

    def __init__(self, directory: Path, *options: str, port: str = "0") -> None:
        self.directory = directory / "data"
        self.log = directory / "serve.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "saf.cli", "serve", *options),
                    *("--port", port, "--data-dir", str(self.directory)),
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        until(lambda: self.url or self.process.poll() is not None)
        assert self.process.poll() is None, self.log.read_text()

    @property
    def url(self) -> str | None:
        return serving_at(self.directory, pid=self.process.pid)

    def is_ready(self) -> bool:
        return answers(f"{self.url}/readyz")

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout=PATIENCE)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], Serving]]:
    """Starts the service, again and again on the same directory; stopped after the test."""
    started: list[Serving] = []

    def begin() -> Serving:
        started.append(Serving(tmp_path))
        return started[-1]

    yield begin
    for running in started:
        running.stop(signal.SIGKILL)


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    running = Serving(tmp_path_factory.mktemp("a folder"))
    yield running
    running.stop()


@pytest.mark.parametrize("victim", ["api.commands.web", "valkey", "worker"])
def test_a_killed_part_is_started_again_while_the_others_go_on(
    serving: Serving, victim: str
) -> None:
    until(lambda: len(children(serving.process.pid)) == 3)
    before = children(serving.process.pid)
    os.kill(before[victim], signal.SIGKILL)
    until(lambda: is_gone(before[victim]))
    until(lambda: children(serving.process.pid).get(victim, before[victim]) != before[victim])
    until(serving.is_ready)
    after = children(serving.process.pid)
    assert {n: p for n, p in after.items() if n != victim} == {
        n: p for n, p in before.items() if n != victim
    }
    name = {"api.commands.web": "web", "valkey": "broker"}.get(victim, victim)
    assert f"the {name} ended (signal SIGKILL)" in serving.log.read_text()


def test_a_second_service_on_the_same_directory_is_refused_with_the_address_of_the_first(
    serving: Serving,
) -> None:
    with pytest.raises(ServeError) as caught:
        LocalService(Settings(data_dir=serving.directory))
    assert f"process {serving.process.pid}" in str(caught.value)
    assert str(serving.url) in str(caught.value)
    assert serving.is_ready()


def test_nobody_but_the_owner_may_look_into_the_data(serving: Serving) -> None:
    assert serving.directory.stat().st_mode & 0o077 == 0


def test_a_stop_ends_everything_in_order_and_the_next_start_goes_on(
    start: Callable[[], Serving],
) -> None:
    first = start()
    until(lambda: len(children(first.process.pid)) == 3)
    family = children(first.process.pid)
    assert first.url is not None
    job = httpx.post(f"{first.url}/v1/jobs", json={"epochs": 200}, timeout=PATIENCE).json()
    assert first.stop(signal.SIGINT) == 0, first.log.read_text()
    assert all(is_gone(pid) for pid in family.values())
    assert serving_at(first.directory) is None
    second = start()
    assert (
        httpx.get(f"{second.url}/v1/jobs/{job['id']}", timeout=PATIENCE).json()["id"] == job["id"]
    )
    assert second.stop(signal.SIGTERM) == 0


def test_kill_9_of_the_service_leaves_no_process_and_the_directory_free(
    start: Callable[[], Serving],
) -> None:
    first = start()
    until(lambda: len(children(first.process.pid)) == 3)
    family = children(first.process.pid)
    first.process.kill()
    first.process.wait()
    until(lambda: all(is_gone(pid) for pid in family.values()))
    second = start()
    assert second.is_ready()
    assert second.stop() == 0


def test_a_port_that_was_asked_for_and_is_taken_is_an_error_that_says_so(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServeError, match=rf"port {port} .* --port, or leave it out"):
            LocalService(Settings(data_dir=tmp_path), port=port)
    # The refused one holds nothing.
    LocalService(Settings(data_dir=tmp_path), port=port).stop()


def test_without_a_port_the_next_free_one_is_taken(tmp_path: Path) -> None:
    first = LocalService(Settings(data_dir=tmp_path / "1"))
    second = LocalService(Settings(data_dir=tmp_path / "2"))
    ports = [int(service.url.rpartition(":")[2]) for service in (first, second)]
    first.stop()
    second.stop()
    assert DEFAULT_PORT <= ports[0] < ports[1]


def test_listening_for_others_needs_the_names_under_which_they_come(tmp_path: Path) -> None:
    with pytest.raises(ServeError, match="--allow-host"):
        LocalService(Settings(data_dir=tmp_path), host="0.0.0.0", port=0)
    named = Settings(data_dir=tmp_path, allowed_hosts=("trainer.example",))
    service = LocalService(named, host="0.0.0.0", port=0)
    service.stop()


def test_an_address_of_another_machine_is_refused(tmp_path: Path) -> None:
    named = Settings(data_dir=tmp_path, allowed_hosts=("trainer.example",))
    with pytest.raises(ServeError, match=r"192\.0\.2\.1"):
        LocalService(named, host="192.0.2.1", port=0)


def test_a_data_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(ServeError, match="choose another with --data-dir"):
        LocalService(Settings(data_dir=tmp_path / "data"))


def test_a_database_that_cannot_be_reached_ends_the_start_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.local.serve.READY_SECONDS", 30.0)  # its patience
    settings = Settings(
        data_dir=tmp_path, database_url="postgresql+psycopg://nobody@127.0.0.1:9/none"
    )
    service = LocalService(settings, port=0)
    with pytest.raises(ServeError, match="the database cannot be used: Connection refused"):
        service.start()
    assert children(os.getpid()) == {}
    LocalService(settings, port=0).stop()


def test_a_service_whose_database_is_gone_does_not_start_with_an_empty_one(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    database = Database(settings.database)
    migrate(database)
    with database.reading() as session:
        database.confirm(session)
    database.dispose()
    (tmp_path / "saf.sqlite3").unlink()

    service = LocalService(settings, port=0)
    with pytest.raises(ServeError, match=r"saf\.sqlite3 was removed, and no empty one takes"):
        service.start()

    assert not (tmp_path / "saf.sqlite3").exists()


def test_children_get_the_settings_and_nothing_that_celery_would_put_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://elsewhere")
    settings = Settings(
        data_dir=tmp_path, broker_url="redis://here", lease_seconds=70, allowed_hosts=("a", "b")
    )
    environment = settings.environment()
    assert "CELERY_BROKER_URL" not in environment
    monkeypatch.setattr(os, "environ", environment)
    assert Settings() == settings


def test_a_service_that_nohup_started_outlives_its_terminal(tmp_path: Path) -> None:
    service = LocalService(Settings(data_dir=tmp_path), port=0)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with service.stopped_by_signals():
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)
        service.stop()


def test_without_accounts_it_listens_on_loopback_alone(
    tmp_path: Path,
) -> None:
    named = Settings(data_dir=tmp_path, allowed_hosts=("trainer.example",))
    with pytest.raises(ServeError, match="saf accounts first-key"):
        check_accounts("0.0.0.0", named)
    for changes in ({"auth": "keys"}, {"auth": "proxy"}, {"open_beyond_loopback": True}):
        check_accounts("0.0.0.0", named.model_copy(update=changes))
    for host in ("127.0.0.1", "localhost", "::1"):
        check_accounts(host, named)


@pytest.mark.parametrize("command", [["serve", "--allow-host", "x"], ["web"]])
def test_the_commands_refuse_another_address_without_accounts(
    command: list[str], tmp_path: Path
) -> None:
    environment = {**os.environ, "SAF_DATA_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "saf.cli", *command, "--host", "0.0.0.0", "--port", "0"],
        capture_output=True,
        text=True,
        env=environment,
        timeout=PATIENCE,
    )
    assert (done.returncode, "`saf accounts first-key` makes" in done.stderr) == (1, True)
