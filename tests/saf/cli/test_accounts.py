"""`saf login`, `whoami`, `keys`, `users`, `projects`, against a service with accounts."""

from __future__ import annotations

import io
import json
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from saf.cli import main as cli
from saf.client.accounts import credentials
from saf.client.client import Client
from saf.client.types import ApiError, ClientError
from tests.api.accounts.people import Lab, make_lab, with_keys
from tests.api.conftest import serving


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    directory = tmp_path_factory.mktemp("cli")
    provider = {"oidc_issuer": "https://id.example.org", "oidc_client_id": "saf"}
    url = f"sqlite:///{directory / 'lab.sqlite3'}"
    with serving(with_keys(directory, url, **provider)) as server:
        yield make_lab(server)


class Terminal:
    """A terminal of somebody with a home of their own; its commands run in this process."""

    def __init__(
        self,
        home: Path,
        url: str,
        patch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        self.home = home
        self._environment = {"XDG_CONFIG_HOME": str(home), "SAF_URL": url}
        self._patch = patch
        self._capsys = capsys

    def saf(self, *arguments: str, given: str = "", **more: str) -> str:
        """What is printed; AssertionError with the complaint where it fails."""
        self._capsys.readouterr()
        with self._patch.context() as there:
            for name, value in (self._environment | more).items():
                there.setenv(name, value)
            there.setattr(sys, "argv", ["saf", *arguments])
            there.setattr(sys, "stdin", io.StringIO(given))
            with pytest.raises(SystemExit) as ended:
                cli.main()
        printed = self._capsys.readouterr()
        assert not ended.value.code, printed.err
        return printed.out.strip()


@pytest.fixture
def terminal(
    lab: Lab,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Terminal:
    return Terminal(tmp_path, lab.server.address, monkeypatch, capsys)


def test_a_key_is_kept_for_its_server_where_nobody_else_reads_it(
    terminal: Terminal, lab: Lab
) -> None:
    with pytest.raises(AssertionError, match="send a key as Authorization"):
        terminal.saf("list")
    said = terminal.saf("login", "--stdin", given=lab.keys["mia"] + "\n")
    assert said.startswith("mia at http://127.0.0.1")
    kept = terminal.home / "saf" / "credentials.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert json.loads(kept.read_text()) == {lab.server.address: lab.keys["mia"]}
    assert terminal.saf("whoami").splitlines()[0].startswith("mia at")
    assert "otto at" in terminal.saf("whoami", SAF_TOKEN=lab.keys["otto"])
    assert len(json.loads(terminal.saf("list", "--mine", "--json"))) == 6

    secret = terminal.saf("keys", "create", "night", "--scope", "read", "--days", "1")
    assert secret.startswith("saf_")
    made = next(
        k for k in json.loads(terminal.saf("keys", "list", "--json")) if k["name"] == "night"
    )
    terminal.saf("keys", "revoke", made["id"])
    with pytest.raises(AssertionError, match="was revoked"):
        terminal.saf("whoami", SAF_TOKEN=secret)

    kept.chmod(0o640)
    with pytest.raises(AssertionError, match="other users can read the keys"):
        terminal.saf("list")
    kept.chmod(0o600)
    assert terminal.saf("logout") == "forgotten"
    with pytest.raises(AssertionError, match="send a key"):
        terminal.saf("list")
    with pytest.raises(AssertionError, match="there is no such key"):
        terminal.saf("login", "--stdin", given="saf_wrong\n")
    assert json.loads(kept.read_text()) == {}


def test_an_admin_makes_a_user_and_they_share_a_project(terminal: Terminal, lab: Lab) -> None:
    root = {"SAF_TOKEN": lab.keys["root"]}
    lena = {"SAF_TOKEN": terminal.saf("users", "add", "lena", **root)}
    assert "lena" in terminal.saf("users", "list", **root)
    terminal.saf("projects", "create", "radar", **lena)
    terminal.saf("projects", "add", "radar", "otto", "--role", "viewer", **lena)
    assert "otto  viewer" in terminal.saf("projects", "members", "radar", **lena)
    made = terminal.saf("submit", "--dataset", "digits", "--json", SAF_PROJECT="radar", **lena)
    assert json.loads(made)["project"] == "radar"
    otto = {"SAF_TOKEN": lab.keys["otto"]}
    assert json.loads(made)["id"] in terminal.saf("list", "--project", "radar", **otto)
    terminal.saf("users", "disable", "lena", **root)
    with pytest.raises(AssertionError, match="lena was disabled"):
        terminal.saf("whoami", **lena)


def test_an_admin_says_who_of_a_provider_is_which_user(terminal: Terminal, lab: Lab) -> None:
    root = {"SAF_TOKEN": lab.keys["root"]}
    terminal.saf("users", "add", "nina", "--subject", "n1", **root)
    terminal.saf("users", "link", "vera", "--subject", "v1", **root)
    with pytest.raises(AssertionError, match="n1 is linked to the user nina"):
        terminal.saf("users", "link", "vera", "--subject", "n1", **root)

    def subjects() -> dict[str, str | None]:
        listed = json.loads(terminal.saf("users", "list", "--json", **root))
        return {user["name"]: user["subject"] for user in listed if user["issuer"]}

    assert subjects() == {"nina": "n1", "vera": "v1"}
    terminal.saf("users", "unlink", "nina", **root)
    assert subjects() == {"vera": "v1"}


def test_the_python_client_takes_the_key_that_is_kept(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with Client(lab.server.address) as client, pytest.raises(ApiError, match="send a key"):
        list(client.jobs())
    credentials.keep(lab.server.address + "/", lab.keys["vera"])
    with Client(lab.server.address) as client:
        assert client.accounts.me()["user"]["name"] == "vera"
        with pytest.raises(ApiError, match="admins"):
            client.accounts.users()
    (tmp_path / "saf" / "credentials.json").write_text("no JSON")
    with pytest.raises(ClientError, match="remove it"):
        Client(lab.server.address)


def test_an_admin_says_limits_and_everybody_sees_theirs(terminal: Terminal, lab: Lab) -> None:
    root, mia = ({"SAF_TOKEN": lab.keys[who]} for who in ("root", "mia"))
    told = terminal.saf(
        "users", "limit", "mia", "--device-hours", "100", "--stored-bytes", "1.5 GiB", **root
    )
    assert "1.5 GiB" in told
    terminal.saf("projects", "limit", "vision", "--jobs-running", "2", **root)
    shown = terminal.saf("whoami", "--limits", **mia)
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert "mia hours of devices 0.0 100.0 within 30 days said by an admin" in lines
    assert "vision jobs with workers at once 3 2 said by an admin" in lines
    assert "mia jobs with workers at once 6 any" in lines
    assert len(json.loads(terminal.saf("whoami", "--limits", "--json", **mia))["limits"]) == 11
    again = terminal.saf("users", "limit", "mia", "--device-hours", "default", **root)
    assert "100.0" not in again
    with pytest.raises(AssertionError, match="--uploads is a number, or default; not 'many'"):
        terminal.saf("users", "limit", "mia", "--uploads", "many", **root)
    with pytest.raises(AssertionError, match="admin"):
        terminal.saf("users", "limit", "mia", "--uploads", "9", **mia)
