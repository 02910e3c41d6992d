"""The one-machine service in odd surroundings: cleaners, long and strange paths, unknown users."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import redis

from api.host.lock import DirectoryInUseError, DirectoryLock
from api.local import valkey as brokers
from api.local.serve import LocalService, ServeError, serving_at
from api.local.valkey import EmbeddedBroker
from api.maintenance.backup import write as write_backup
from api.maintenance.restore import restore
from api.settings import Settings
from api.store.blobs.open import open_store
from api.store.database import Database
from api.store.migrate import is_current, migrate
from tests.answers import NO_AUTHORITIES, answers
from tests.waiting import PATIENCE, until


def connect(broker: EmbeddedBroker) -> redis.Redis:
    return redis.Redis(unix_socket_path=str(broker.socket))


@contextmanager
def served(directory: Path, *command: str, **environment: str) -> Iterator[str]:
    """`saf serve` in a process of its own; the address."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    log = directory.parent / f"{directory.name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *command,
                *(sys.executable, "-m", "saf.cli", "serve"),
                *("--port", "0", "--data-dir", str(directory)),
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment or None,
            start_new_session=True,
        )
    try:
        until(lambda: serving_at(directory) or process.poll() is not None)
        url = serving_at(directory)
        assert url is not None, log.read_text()
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0, log.read_text()


def is_ready(url: str) -> bool:
    return answers(f"{url}/readyz")


def trained(url: str) -> str:
    """The last status of a small job."""
    job = httpx.post(
        f"{url}/v1/jobs",
        json={
            "dataset": "digits",
            "network": {"name": "mlp"},
            "epochs": 1,
            "timesteps": 1,
        },
        timeout=PATIENCE,
    ).json()

    def status() -> str:
        address = f"{url}/v1/jobs/{job['id']}"
        found: str = httpx.get(address, timeout=PATIENCE, verify=NO_AUTHORITIES).json()["status"]
        return found

    until(lambda: status() in ("succeeded", "failed", "cancelled"))
    return status()


@pytest.mark.slow
def test_a_service_whose_sockets_folder_was_removed_mends_itself_and_trains(
    tmp_path: Path,
) -> None:
    with served(tmp_path / "data") as url:
        folder = tmp_path / "data" / "broker" / "run"
        assert (folder / "valkey").is_socket()
        before = (folder / "valkey").lstat().st_ino
        shutil.rmtree(folder)
        until(lambda: (folder / "valkey").is_socket())
        assert (folder / "valkey").lstat().st_ino != before or is_ready(url)
        until(lambda: is_ready(url))
        assert trained(url) == "succeeded"


@pytest.mark.slow
def test_a_removed_lock_file_does_not_let_a_second_service_in(tmp_path: Path) -> None:
    with served(tmp_path / "data"):
        (tmp_path / "data" / "lock").unlink()
        until((tmp_path / "data" / "lock").exists)
        with pytest.raises(ServeError, match="in use"):
            LocalService(Settings(data_dir=tmp_path / "data"))


def test_a_lock_is_renewed_under_its_descriptor_and_never_taken_from_another(
    tmp_path: Path,
) -> None:
    first = DirectoryLock(tmp_path)
    number = first.fileno()
    (tmp_path / "lock").unlink()
    first.renew()
    assert first.fileno() == number
    with pytest.raises(DirectoryInUseError):
        DirectoryLock(tmp_path)
    (tmp_path / "lock").unlink()
    second = DirectoryLock(tmp_path)
    with pytest.raises(DirectoryInUseError):
        first.renew()
    second.release()
    first.renew()
    first.release()


def test_a_lock_that_was_waited_for_is_on_the_file_that_is_there(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    first = DirectoryLock(folder)
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(DirectoryLock, folder, patience=PATIENCE)
        until(waiting.running)
        time.sleep(0.2)  # it has found the directory held, and tries again
        shutil.rmtree(folder)
        first.release()
        second = waiting.result()
    with pytest.raises(DirectoryInUseError, match=f"in use by process {os.getpid()}"):
        DirectoryLock(folder)
    second.release()
    DirectoryLock(folder).release()


def test_a_broker_whose_whole_directory_was_removed_starts_again_at_the_same_address(
    tmp_path: Path,
) -> None:
    with EmbeddedBroker(tmp_path / "broker") as broker:
        url = broker.url
        shutil.rmtree(tmp_path / "broker")
        broker.end_if_unreachable(time.monotonic())
        assert not broker.child.is_alive
        broker.start()
        assert broker.url == url
        with connect(broker) as client:
            assert client.ping()
        assert (tmp_path / "broker" / "valkey.log").stat().st_size > 0
        with pytest.raises(DirectoryInUseError):
            DirectoryLock(tmp_path / "broker")


def test_a_broker_that_runs_and_can_be_reached_is_left_alone(tmp_path: Path) -> None:
    with EmbeddedBroker(tmp_path / "broker") as broker:
        pid, now = broker.child.pid, time.monotonic()
        for later in range(0, 120, 6):
            broker.end_if_unreachable(now + later)
        assert broker.child.is_alive
        assert broker.child.pid == pid


@pytest.mark.slow
def test_a_broker_that_stands_still_is_ended_but_not_for_a_pause_of_the_one_who_asks(
    tmp_path: Path,
) -> None:
    with EmbeddedBroker(tmp_path / "broker") as broker:
        assert broker.child.pid is not None
        now = time.monotonic()
        os.kill(broker.child.pid, signal.SIGSTOP)
        broker.end_if_unreachable(now + 6)
        broker.end_if_unreachable(now + 1000)
        assert broker.child.is_alive
        for later in range(1006, 1100, 6):
            broker.end_if_unreachable(now + later)
        assert not broker.child.is_alive
        broker.start()
        assert broker.answers()


def test_a_data_directory_with_a_long_path_has_its_socket_where_tmpdir_says(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = Path(os.path.realpath("/var/tmp")) / f"saf-test-{os.getpid()}"
    short.mkdir()
    long = tmp_path_factory.mktemp("long") / ("x" * 120)
    monkeypatch.setattr("tempfile.tempdir", str(short))
    try:
        with EmbeddedBroker(long) as broker, connect(broker) as client:
            assert broker.socket.is_relative_to(short)
            assert client.ping()
    finally:
        shutil.rmtree(short)


def test_a_long_path_without_any_directory_for_temporary_files_uses_the_runtime_directory(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path_factory.mktemp("long") / ("x" * 120)
    runtime = Path(os.path.realpath("/var/tmp")) / f"saf-run-{os.getpid()}"
    runtime.mkdir(mode=0o700)

    def none() -> str:
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr("tempfile.gettempdir", none)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    try:
        with EmbeddedBroker(long) as broker, connect(broker) as client:
            assert broker.socket.is_relative_to(runtime)
            assert client.ping()
    finally:
        shutil.rmtree(runtime)


def test_a_file_system_without_sockets_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = brokers._holds_sockets

    def holds(path: Path) -> bool:
        if path.is_relative_to(tmp_path):
            raise OSError(95, "Operation not supported")
        return really(path)

    monkeypatch.setattr("api.local.valkey._holds_sockets", holds)
    with EmbeddedBroker(tmp_path / "broker") as broker, connect(broker) as client:
        assert not broker.socket.is_relative_to(tmp_path)
        assert client.ping()


def test_every_path_of_a_socket_fits_into_an_address(tmp_path: Path) -> None:
    for length in (1, 20, 40, 60, 80, 200):
        directory = tmp_path / ("ü" * (length // 2)) / "b"
        with EmbeddedBroker(directory) as broker, socket.socket(socket.AF_UNIX) as one:
            one.connect(str(broker.socket))


GC, DRAIN = ("gc", "--dry-run"), ("worker", "drain", "--all")


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("a?b=c", GC),
        ("a%41b", DRAIN),
        ("a#b", GC),
        ("a b", DRAIN),
        ("ünï-数据", GC),
        ("a'b\"c", DRAIN),
        ("a:b@c;d", GC),
    ],
)
def test_everything_that_is_kept_lies_in_the_data_directory_whatever_its_name(
    tmp_path: Path, name: str, command: tuple[str, ...]
) -> None:
    """Two commands in turn, which find the directory in the same way."""
    settings = Settings(data_dir=tmp_path / name / "data")
    database = Database(settings.database)
    try:
        migrate(database)
        assert is_current(database)
    finally:
        database.dispose()
    assert open_store(settings).address == str(tmp_path / name / "data" / "artifacts")
    backup = tmp_path / "backup.tar"
    write_backup(settings, backup)
    again = Settings(data_dir=tmp_path / name / "again")
    restore(again, backup)
    assert (tmp_path / name / "again" / "saf.sqlite3").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "backup.tar"])
    assert sorted(path.name for path in (tmp_path / name).iterdir()) == ["again", "data"]
    done = subprocess.run(
        [*(sys.executable, "-m", "saf.cli"), *command, "--data-dir", str(settings.data_dir)],
        capture_output=True,
        text=True,
    )
    assert "there is no" not in done.stderr, done.stderr


@pytest.mark.slow
def test_a_service_in_a_directory_of_syntax_trains(tmp_path: Path) -> None:
    with served(tmp_path / "a?b%41 #c" / "data") as url:
        assert trained(url) == "succeeded"
    assert [path.name for path in tmp_path.iterdir()] == ["a?b%41 #c"]


def test_a_file_address_of_artifacts_that_would_be_cut_is_refused(tmp_path: Path) -> None:
    for address in (f"file://{tmp_path}/a?b", f"file://{tmp_path}/a#b", "file://host/a"):
        with pytest.raises(ValueError, match="write \\? as %3F"):
            open_store(Settings(data_dir=tmp_path, artifacts_url=address))
    quoted = open_store(Settings(data_dir=tmp_path, artifacts_url=f"file://{tmp_path}/a%3Fb"))
    assert quoted.address == str(tmp_path / "a?b")


ODD = """
mount --bind "$ODD" "$ODD" && mount -o bind,remount,ro / && cd / &&
! touch /tmp/x 2>/dev/null &&
exec unshare --user --map-user=4242 --map-group=4242 "$@"
"""  # in a mount namespace of its own: nothing but $ODD can be written, and nobody knows the user


def _namespaces_can_be_made() -> bool:
    script = "mount -o bind,remount,ro / && unshare --user --map-user=4 true"
    command = ["unshare", "-m", "sh", "-c", script]
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not _namespaces_can_be_made(), reason="namespaces cannot be made here")
def test_an_unknown_user_without_home_trains_on_a_read_only_root(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    command = ("unshare", "-m", "sh", "-c", ODD, "sh")
    environment = {"PATH": "/usr/bin:/bin:/sbin", "ODD": str(tmp_path)}
    with served(tmp_path / "data", *command, **environment) as url:
        assert trained(url) == "succeeded"
        log = httpx.get(f"{url}/v1/jobs", timeout=PATIENCE).json()["data"][0]["urls"]["logs"]
        assert "Traceback" not in httpx.get(url + log, timeout=PATIENCE).text
    assert (tmp_path / "data" / "tmp").is_dir()


def test_an_idle_connection_is_kept_as_long_as_the_setting_says(tmp_path: Path) -> None:
    assert Settings().idle_seconds > 75  # as long as nginx keeps one, and longer than AWS does
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "SAF_DATA_DIR": str(tmp_path), "SAF_IDLE_SECONDS": "5"}
    command = [sys.executable, "-m", "api.commands.web", "--port", str(port)]
    with (tmp_path / "web.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        until(lambda: process.poll() is not None or is_alive(port))
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
            for _ in range(2):  # it is used again while it is young
                client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                answer = b""
                while not answer.endswith(b'{"status":"ok"}'):
                    piece = client.recv(2**16)
                    assert piece, answer
                    answer += piece
            assert client.recv(2**16) == b""  # closed by the server
    finally:
        process.terminate()
        process.wait(PATIENCE)


def is_alive(port: int) -> bool:
    return answers(f"http://127.0.0.1:{port}/healthz")
