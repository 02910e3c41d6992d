"""The wheels of library and service, and what each does beside chosen packages.

The virtual environments of these tests hold links to packages of ours: nothing is fetched.
"""

from __future__ import annotations

import re
import subprocess
import sys
import venv
import zipfile
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path

import pytest

import saf
import saf.client

ROOT = Path(__file__).parents[1]
OF_THE_LIBRARY = ("numpy", "pydantic", "safetensors", "torch")
OF_THE_CLIENT = ("httpx", "pydantic-settings", "rich", "typer")
Environment = Callable[..., Path]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Both, built from this checkout, by the name of their distribution."""
    folder = tmp_path_factory.mktemp("wheels")
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), ".", "./service")
    return {path.name.partition("-")[0]: path for path in folder.iterdir()}


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", *arguments]
    subprocess.run(command, cwd=ROOT, check=True)


@pytest.fixture
def environment(tmp_path: Path, wheels: dict[str, Path]) -> Environment:
    def make(*names: str, installed: tuple[str, ...] = ("saf_snn",)) -> Path:
        """Its folder: with those packages and all that they need, and our wheels."""
        folder = tmp_path / "environment"
        venv.create(folder, symlinks=True, with_pip=False)
        (site,) = (folder / "lib").glob("python*/site-packages")
        for name in needed_by(names):
            for top in tops_of(name):
                (site / top.name).symlink_to(top)
        # `bin/python` of an own folder: pip asks it where to install.
        python = folder / "bin" / "python"
        for wheel in installed:
            pip("--python", str(python), "install", "--no-deps", "--no-compile", str(wheels[wheel]))
        return folder

    return make


def needed_by(names: tuple[str, ...]) -> set[str]:
    """Distributions, with those that they require here."""
    from packaging.requirements import Requirement

    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        found.add(name)
        for text in distribution(name).requires or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name)
    return found


def tops_of(name: str) -> set[Path]:
    """Folders and files of an installed distribution in site-packages."""
    of = distribution(name)
    site = Path(str(of.locate_file("")))
    tops = {file.parts[0] for file in of.files or ()} - {"..", "__pycache__"}
    return {site / top for top in tops}


def called(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """A program of the environment, away from the checkout, and what it said."""
    return subprocess.run(
        [str(folder / "bin" / command[0]), *command[1:]],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def names_in(wheel: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


def in_git(*folders: str) -> set[str]:
    listed = subprocess.run(
        ["git", "ls-files", *folders], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(listed.stdout.splitlines())


def test_the_wheel_of_the_library_holds_saf_and_nothing_beside_it(wheels: dict[str, Path]) -> None:
    names = {name for name in names_in(wheels["saf_snn"]) if ".dist-info/" not in name}
    assert names == in_git("saf")
    assert {"saf/py.typed", "saf/data/digits.npz"} < names
    assert any(name.endswith(".cpp") for name in names)


def test_the_wheel_of_the_service_holds_its_packages_and_not_the_library(
    wheels: dict[str, Path],
) -> None:
    names = {name for name in names_in(wheels["saf_service"]) if ".dist-info/" not in name}
    guide = {name for name in names if name.startswith("api/built/")}  # where it was built
    assert names - guide == in_git("api", "worker", "migrations")
    assert not any("__pycache__" in name for name in names)


def test_importing_saf_loads_neither_torch_nor_a_client() -> None:
    """And reaching for the client loads no torch."""
    code = "import sys, saf; a = {'torch', 'httpx', 'numpy'} & set(sys.modules); saf.Client; "
    code += "sys.exit(bool(a or 'torch' in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_the_public_names_are_these_and_all_are_there() -> None:
    assert saf.__all__ == [
        "Client",
        "JobSpecification",
        "LIFNetwork",
        "SequenceState",
        "TrainingError",
        "certify",
        "convert",
        "export",
        "load_lif",
        "read_network",
        "train",
    ]
    assert saf.client.__all__ == [
        "ApiError",
        "ChecksumError",
        "Client",
        "ClientError",
        "Job",
        "UnreachableError",
        "WaitTimeoutError",
    ]
    for module in (saf, saf.client):
        for name in module.__all__:
            assert getattr(module, name) is not None, name
        with pytest.raises(AttributeError, match="no_such_name"):
            module.no_such_name  # noqa: B018


def test_the_library_alone_trains_converts_and_runs_networks(environment: Environment) -> None:
    folder = environment(*OF_THE_LIBRARY)
    code = """
import saf, saf.data, torch
specification = saf.JobSpecification(dataset="digits", epochs=1)
for report in saf.train(specification, saf.data.digits(), "trained"):
    pass
network = saf.load_lif("trained/lif.safetensors")
assert network(torch.rand(1, 1, 8, 8)).shape == (1, 10)
try:
    saf.Client
except ImportError as error:
    print(error)
"""
    used = called(folder, "python", "-c", code)
    assert used.returncode == 0, used.stderr
    assert used.stdout == "saf.client needs more: pip install 'saf-snn[client]'\n"

    run = called(folder, "saf", "run", "trained/lif.safetensors", "digits")
    assert run.returncode == 0, run.stderr
    assert re.match(r"accuracy \d+\.\d\d% on \d+ samples, firing rate", run.stdout)
    wrong = called(folder, "saf", "run", "no-such-file", "digits")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (1, 1)
    assert "no-such-file" in wrong.stderr

    for command in (["submit"], ["train"], ["--help"], []):
        refused = called(folder, "saf", *command)
        assert refused.returncode == 1
        assert refused.stderr == (
            "only `saf run` works without the extra client: pip install 'saf-snn[client]'\n"
        )

    (folder / "images" / "a").mkdir(parents=True)
    (folder / "images" / "a" / "1.png").write_bytes(b"")
    images = called(folder, "saf", "run", "trained/lif.safetensors", "images")
    assert images.returncode == 1
    assert images.stderr == "reading images needs Pillow\npip install 'saf-snn[data]'\n"


def test_saf_run_has_the_same_options_with_and_without_the_extra_client() -> None:
    from typer.main import get_command

    from saf.cli.main import app
    from saf.cli.run_alone import parser

    run = get_command(app).commands["run"]  # type: ignore[attr-defined]
    known = {option for parameter in run.params for option in parameter.opts}
    actions = [action for action in parser()._actions if action.dest != "help"]
    alone = {option for action in actions for option in action.option_strings or [action.dest]}
    assert alone == known - {"--help"}
    defaults = {parameter.name: parameter.default for parameter in run.params}
    assert parser().get_default("split") == defaults["split"]
    assert parser().get_default("batch_size") == defaults["batch_size"]


def test_with_the_extra_client_saf_submits_and_names_no_command_of_the_service(
    environment: Environment,
) -> None:
    folder = environment(*OF_THE_LIBRARY, *OF_THE_CLIENT)
    submitted = called(folder, "saf", "--url", "http://127.0.0.1:9", "submit")
    assert submitted.returncode == 3, submitted.stderr  # nobody answers there
    assert "saf serve" not in submitted.stderr
    assert "SAF_URL or --url names the server" in submitted.stderr.replace("\n", " ")
    assert "│ serve " not in called(folder, "saf", "--help").stdout


def test_commands_that_cannot_be_loaded_leave_the_others_alone(environment: Environment) -> None:
    """The service in an environment without what it needs."""
    folder = environment(*OF_THE_LIBRARY, *OF_THE_CLIENT, installed=("saf_snn", "saf_service"))
    shown = called(folder, "saf", "--help")
    assert shown.returncode == 0
    assert "commands of saf-service cannot be loaded" in shown.stderr
    wanted = called(folder, "saf", "serve")
    assert wanted.returncode == 2
    assert "commands of saf-service cannot be loaded" in wanted.stderr
    others = called(folder, "saf", "run", "--help")
    assert (others.returncode, others.stderr) == (0, "")


def test_the_service_adds_its_commands(environment: Environment) -> None:
    service = [
        name for name in distribution("saf-service").requires or () if "extra ==" not in name
    ]
    names = [re.split(r"[\[=]", name)[0] for name in service if not name.startswith("saf-snn")]
    folder = environment(*names, installed=("saf_snn", "saf_service"))
    shown = called(folder, "saf", "--help")
    assert shown.returncode == 0, shown.stderr
    for command in ("serve", "web", "worker", "backup", "submit", "run"):
        assert re.search(rf"^│ {command}\b", shown.stdout, re.MULTILINE), command


def test_a_type_checker_sees_the_types_of_an_installed_library(
    environment: Environment, tmp_path: Path
) -> None:
    folder = environment(*OF_THE_LIBRARY, *OF_THE_CLIENT)
    (tmp_path / "mypy.ini").write_text(
        "[mypy]\nstrict = True\n"
        "[mypy-torch.*,numpy.*,pydantic.*,pydantic_settings.*,httpx.*]\nfollow_imports = skip\n"
    )
    (tmp_path / "theirs.py").write_text(
        "import saf\n"
        'reveal_type(saf.load_lif("lif.safetensors").timesteps)\n'
        'reveal_type(saf.Client("http://127.0.0.1:8000"))\n'
        "saf.no_such_name\n"
    )
    checked = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "theirs.py"),
            *("--python-executable", str(folder / "bin" / "python")),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = checked.stdout.splitlines()
    assert 'theirs.py:2: note: Revealed type is "int"' in [
        line.replace("builtins.", "") for line in lines
    ], checked.stdout
    assert any(line.startswith("theirs.py:3: note: ") and "Client" in line for line in lines)
    assert any(line.startswith("theirs.py:4: error: ") for line in lines)
    assert len([line for line in lines if ": error: " in line]) == 1, checked.stdout
