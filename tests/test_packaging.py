"""What is installed, started and shipped fits together."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import subprocess
import tomllib
from itertools import chain
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
COMPOSE = ROOT / "docker-compose.yml"
VARIABLE = re.compile(r"\$\{(\w+)(?:(:[-?])([^}]*))?\}")


def read(path: str) -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((ROOT / path).read_text())["project"]
    return found


LIBRARY = read("pyproject.toml")
SERVICE = read("service/pyproject.toml")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return found


def locked() -> dict[str, str]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pins = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {normal(name): version for name, version in pins}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements(project: dict[str, Any]) -> list[Requirement]:
    """Those of a distribution and of its extras."""
    optional = project["optional-dependencies"].values()
    return [Requirement(text) for text in chain(project["dependencies"], *optional)]


def test_every_dependency_of_the_service_is_pinned_and_the_lock_says_the_same() -> None:
    lock = locked() | {"saf-snn": LIBRARY["version"]}
    for requirement in requirements(SERVICE):
        assert str(requirement.specifier) == f"=={lock[normal(requirement.name)]}", requirement


def test_the_library_has_ranges_without_an_upper_end_which_hold_the_versions_of_the_lock() -> None:
    lock = locked()
    for requirement in requirements(LIBRARY):
        assert [bound.operator for bound in requirement.specifier] == [">="], requirement
        assert lock[normal(requirement.name)] in requirement.specifier, requirement
    assert {Requirement(text).name for text in LIBRARY["dependencies"]} == {
        "numpy",
        "pydantic",
        "safetensors",
        "torch",
    }


def test_the_service_brings_the_library_of_its_own_version_with_all_that_it_uses() -> None:
    assert SERVICE["version"] == LIBRARY["version"]
    (library,) = (found for found in requirements(SERVICE) if found.name == "saf-snn")
    assert library.extras == {"client", "data", "export", "formats", "wasm"}


def test_the_lock_names_packages_and_versions_and_nothing_else() -> None:
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        assert line.startswith("#") or re.fullmatch(r"[\w.\-]+==[\w.]+", line), line


def test_every_folder_of_the_source_is_a_package() -> None:
    for top in ("api", "saf", "worker", "migrations"):
        for path in (ROOT / top).rglob("*.py"):
            assert (path.parent / "__init__.py").exists(), path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("project", "own", "extras"),
    [
        (
            LIBRARY,
            ["saf"],
            {
                "saf/cli": ["client"],
                "saf/client": ["client"],
                "saf/data": ["data", "formats"],
                "saf/lif/export": ["export", "wasm"],
                "saf/lif/incoming": ["export", "formats"],
            },
        ),
        (SERVICE, ["api", "worker", "migrations"], {"s3.py": ["s3"], "tracing.py": ["otel"]}),
    ],
    ids=["saf-snn", "saf-service"],
)
def test_every_module_that_is_imported_is_a_declared_dependency(
    project: dict[str, Any], own: list[str], extras: dict[str, list[str]]
) -> None:
    """What only the tests install would be missing after `make demo`."""
    import importlib.metadata
    import sys

    def names(texts: list[str]) -> set[str]:
        return {normal(Requirement(text).name) for text in texts}

    of_extra = {name: names(found) for name, found in project["optional-dependencies"].items()}
    provided_by = importlib.metadata.packages_distributions()
    ours = {"api", "saf", "worker", "migrations"}
    for path in chain(*((ROOT / top).rglob("*.py") for top in own)):
        here = path.relative_to(ROOT).as_posix()
        declared = names(project["dependencies"]) | {"starlette", "anyio", "click", "pydantic-core"}
        for place, found in extras.items():
            if here.startswith(f"{place}/") or path.name == place:
                declared |= set().union(*(of_extra[extra] for extra in found))
        if here.startswith("saf/processes/"):  # of the service
            declared |= of_extra["data"]
        if here == "saf/client/documents.py":  # for who has it
            declared |= {"pandas"}
        for name in imported(path) - ours - sys.stdlib_module_names:
            distributions = {normal(d) for d in provided_by.get(name, [])}
            assert distributions & declared, (path, name)


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


def test_the_saf_command_is_the_one_of_the_package() -> None:
    module, _, function = LIBRARY["scripts"]["saf"].partition(":")
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    assert f"def {function}(" in Path(spec.origin).read_text()


def test_the_compose_file_follows_the_schema_of_the_compose_specification(
    compose: dict[str, Any],
) -> None:
    schema = json.loads((ROOT / "tests/data/compose-spec/compose-spec.json").read_text())
    # The schema names draft-07 with https, by which the library does not know it.
    validator = jsonschema.Draft7Validator(schema)
    assert [error.message for error in validator.iter_errors(compose)] == []
    wrong = {**compose, "services": {"api": {"image": "x", "prots": []}}}
    assert list(validator.iter_errors(wrong)), "the schema accepts anything"


def test_each_variable_of_the_compose_file_is_explained_in_the_example() -> None:
    explained = set(re.findall(r"^(\w+)=", (ROOT / ".env.example").read_text(), flags=re.MULTILINE))
    used = {match[0] for match in VARIABLE.findall(COMPOSE.read_text())}
    assert used | {"COMPOSE_PROFILES"} == explained


def test_no_password_has_a_default_and_nothing_but_what_asks_who_comes_is_published(
    compose: dict[str, Any],
) -> None:
    for name, operator, _ in VARIABLE.findall(COMPOSE.read_text()):
        if "PASSWORD" in name:
            assert operator == ":?", name
    published = {name: service.get("ports") for name, service in compose["services"].items()}
    for name in ("api", "grafana"):
        (port,) = published.pop(name)
        assert port.startswith("${SAF_BIND:-127.0.0.1}:")
    assert set(published.values()) == {None}


def test_volumes_services_and_build_targets_that_are_named_exist(compose: dict[str, Any]) -> None:
    targets = set(re.findall(r"^FROM .* AS (\w+)$", (ROOT / "Dockerfile").read_text(), re.M))
    for service in compose["services"].values():
        assert set(service.get("depends_on", {})) <= set(compose["services"])
        for volume in service.get("volumes", []):
            place = volume.partition(":")[0]
            exists = (ROOT / place).is_file() if place.startswith("./") else False
            assert exists or place in compose["volumes"], place
        assert set(service.get("secrets", [])) <= set(compose["secrets"])
        if "build" in service:
            assert service["build"]["target"] in targets


def test_what_the_dockerfile_copies_is_not_ignored_and_tests_and_data_are() -> None:
    kept = {
        line[1:]
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    assert {
        "api",
        "saf",
        "worker",
        "migrations",
        "service",
        "pyproject.toml",
        "requirements.lock",
    } <= kept
    assert not kept & {"tests", "data", ".git", ".env"}
    for name in kept:
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize(
    "script", ["scripts/install", "scripts/chromium", "scripts/nginx", ".ci/run"]
)
def test_scripts_are_executable_and_valid_for_a_plain_shell(script: str) -> None:
    path = ROOT / script
    assert path.stat().st_mode & 0o111
    subprocess.run(["sh", "-n", str(path)], check=True)


def test_a_second_installation_touches_no_network_and_changes_nothing(tmp_path: Path) -> None:
    """`scripts/install` in a checkout that is installed: pip is not called at all."""
    (tmp_path / "service").mkdir()
    for name in ("pyproject.toml", "service/pyproject.toml", "requirements.lock"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / "scripts").mkdir()
    script = tmp_path / "scripts" / "install"
    script.write_bytes((ROOT / "scripts" / "install").read_bytes())
    binaries = tmp_path / ".venv" / "bin"
    binaries.mkdir(parents=True)
    calls = tmp_path / "calls"
    python = binaries / "python"
    python.write_text(
        f'#!/bin/sh\necho "$*" >> "{calls}"\ncase "$*" in -c*) exec python3 "$@";; esac\nexit 0\n'
    )
    python.chmod(0o755)
    for extra in ([], ["test"], [], ["test"]):
        subprocess.run(["sh", str(script), *extra], check=True, stdout=subprocess.DEVNULL)
    installs = [line for line in calls.read_text().splitlines() if "-e ./service[test]" in line]
    assert len(installs) == 1
    before = calls.read_text().count("pip install")
    subprocess.run(["sh", str(script)], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["sh", str(script), "test"], check=True, stdout=subprocess.DEVNULL)
    assert calls.read_text().count("pip install") == before
