"""The embedded broker: a real Valkey server, alone in its directory, that dies with its owner."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from api.host.lock import DirectoryInUseError
from api.local.valkey import BrokerError, EmbeddedBroker
from tests.waiting import until

OWNER = """
import sys, time
from pathlib import Path
from api.local.valkey import EmbeddedBroker
with EmbeddedBroker(Path(sys.argv[1])) as broker:
    print(broker.child.pid, broker.url, flush=True)
    time.sleep(600)
"""


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def connect(url: str) -> redis.Redis:
    return redis.Redis(unix_socket_path=url.removeprefix("redis+socket://"))


def test_what_it_holds_survives_term_and_kill_and_the_address_stays(tmp_path: Path) -> None:
    with EmbeddedBroker(tmp_path / "broker") as broker, connect(broker.url) as client:
        client.rpush("queue", "first")
        assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
        until(lambda: client.info("persistence")["aof_pending_bio_fsync"] == 0)
        url, first = broker.url, broker.child.pid
        broker.child.kill()
        broker.start()
        assert broker.child.pid != first
        assert client.lrange("queue", 0, -1) == [b"first"]
        client.rpush("queue", "second")
    with EmbeddedBroker(tmp_path / "broker") as broker, connect(broker.url) as client:
        assert broker.url == url
        assert client.lrange("queue", 0, -1) == [b"first", b"second"]


def test_it_listens_on_a_socket_that_only_its_user_reaches(tmp_path: Path) -> None:
    with EmbeddedBroker(tmp_path / "broker") as broker, connect(broker.url) as client:
        assert broker.socket.parent.stat().st_mode & 0o777 == 0o700
        assert broker.socket.stat().st_mode & 0o077 == 0
        assert client.config_get("port")["port"] == "0"
        folder = broker.socket.parent
    assert not folder.exists()


def test_a_long_path_with_spaces_and_quotes_is_no_obstacle(tmp_path: Path) -> None:
    directory = tmp_path / 'it\'s a "data" folder' / ("x" * 120)
    with EmbeddedBroker(directory) as broker, connect(broker.url) as client:
        client.set("key", "value")
    assert (directory / "appendonlydir").is_dir()


def test_a_second_broker_on_the_same_directory_is_refused_with_who_holds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EmbeddedBroker(tmp_path) as broker, connect(broker.url) as client:
        monkeypatch.setattr("api.local.valkey.LOCK_PATIENCE", 0.1)
        with pytest.raises(DirectoryInUseError, match=f"in use by process {os.getpid()}"):
            EmbeddedBroker(tmp_path)
        assert client.ping()


def test_a_name_that_somebody_else_took_in_tmp_is_not_used(tmp_path: Path) -> None:
    with EmbeddedBroker(tmp_path) as broker:
        taken = broker.socket.parent
    taken.symlink_to(tmp_path)
    try:
        with EmbeddedBroker(tmp_path) as broker, connect(broker.url) as client:
            assert broker.socket.parent != taken
            assert client.ping()
    finally:
        taken.unlink()


def test_kill_9_of_its_owner_takes_the_server_along(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        pid, url = owner.stdout.readline().split()
        with connect(url) as client:
            assert client.ping()
        owner.kill()
    until(lambda: is_gone(int(pid)))
    with EmbeddedBroker(tmp_path) as broker, connect(broker.url) as client:
        assert broker.url == url
        assert client.ping()


def test_the_server_does_not_get_the_interrupt_of_its_owners_terminal(tmp_path: Path) -> None:
    with EmbeddedBroker(tmp_path) as broker:
        assert broker.child.pid is not None
        assert os.getsid(broker.child.pid) == broker.child.pid


def test_a_damaged_file_is_reported_with_the_reason_and_the_log(tmp_path: Path) -> None:
    with EmbeddedBroker(tmp_path):
        pass
    (tmp_path / "appendonlydir" / "appendonly.aof.manifest").write_text("nonsense")
    with pytest.raises(BrokerError, match="may be removed if it is damaged"):
        EmbeddedBroker(tmp_path).__enter__()
    (tmp_path / "appendonlydir" / "appendonly.aof.manifest").unlink()
    with EmbeddedBroker(tmp_path):  # the failed one has given the directory back
        pass


def test_term_is_what_stops_it(tmp_path: Path) -> None:
    with EmbeddedBroker(tmp_path) as broker:
        child = broker.child
    assert child.exit_status in (0, -signal.SIGTERM)
    assert "bye bye" in (tmp_path / "valkey.log").read_text()
