"""Which lane a test runs in, and in what order: `make test-fast` leaves out what is marked `slow`.

A test lands in its lane by itself: by the folder it is in, the servers that its fixtures start, and
whether it starts processes. One that computes for over half a second carries the mark itself;
`make test-fast` ends with a list of those that would deserve it.

Processes that share the tests take whole files. Files that mostly wait, for servers, browsers and
leases, are spread among those that compute, so that neither do all processes wait at once nor do
all compute; and a file that takes minutes does not begin when all others have ended.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest

TESTS = Path(__file__).parent
FAST = "not slow"  # the expression of `make test-fast`
SLOW_FOLDERS = {"acceptance", "browser", "chaos", "docs", "fuzz", "worker"}
SLOW_FIXTURES = {"postgres", "own_server", "s3", "browser"}
SLOW_RESULTS = {"Iterator[Server]", "Iterator[Lab]"}  # of fixtures, as they are annotated
SLOW_PARAMETERS = {"postgresql", "bucket"}
WAITING = ("docs", "acceptance", "chaos", "fuzz", "browser", "worker")
COMPUTING = ("saf/training", "saf/kernels", "saf/cli", "saf/lif", "saf/methods", "api", "saf")
SPREAD_OVER = 0.7  # of the files that compute; those that wait are longer, and come to an end first
PROCESSES = {"subprocess", "multiprocessing", "Popen", "serving"}  # and servers


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not even import what the fast lane leaves out."""
    is_slow_folder = collection_path.parent == TESTS and collection_path.name in SLOW_FOLDERS
    return True if is_slow_folder and config.option.markexpr == FAST else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if is_slow(item):
            item.add_marker(pytest.mark.slow)
    if hasattr(config, "workerinput"):  # one of pytest-xdist's processes
        places = places_of([item.path for item in items])
        items.sort(key=lambda item: places[item.path])


def places_of(files: Iterable[Path]) -> dict[Path, float]:
    """Where each file comes, from 0 to 1 and in the order of its folders; files that are in none
    come first, they make whole installations."""
    places = dict.fromkeys(files, -1.0)
    for folders, spread in ((WAITING, SPREAD_OVER), (COMPUTING, 1.0)):
        found = [file for folder in folders for file in places if is_in(file, folder)]
        found = list(dict.fromkeys(found))
        for number, file in enumerate(found):
            places[file] = spread * number / len(found)
    return places


def is_in(file: Path, folder: str) -> bool:
    return file.is_relative_to(TESTS / folder)


def is_slow(item: pytest.Item) -> bool:
    fixtures = set(getattr(item, "fixturenames", ()))
    # Which database or store a test runs on is a parameter, not a fixture that it names.
    parameters = getattr(getattr(item, "callspec", None), "params", {}).values()
    chosen = {value for value in parameters if isinstance(value, str)}
    return (
        item.path.relative_to(TESTS).parts[0] in SLOW_FOLDERS
        or bool(SLOW_FIXTURES & fixtures)
        or bool(SLOW_PARAMETERS & chosen)
        or not SLOW_RESULTS.isdisjoint(results_of_fixtures(item))
        or any(not PROCESSES.isdisjoint(names(function)) for function in functions_of(item))
    )


def results_of_fixtures(item: pytest.Item) -> Iterator[str]:
    """What the fixtures of a test say that they give."""
    if isinstance(item, pytest.Function):
        for definitions in item._fixtureinfo.name2fixturedefs.values():
            yield str(definitions[-1].func.__annotations__.get("return"))


def functions_of(item: pytest.Item) -> Iterator[Callable[..., Any]]:
    """The test itself and the fixtures of its own file."""
    if not isinstance(item, pytest.Function):
        return
    yield item.function
    for definitions in item._fixtureinfo.name2fixturedefs.values():
        if (function := definitions[-1].func).__module__ == item.module.__name__:
            yield function


def names(function: Callable[..., Any]) -> set[str]:
    """All names in a function and in the functions of tests that it names, also in other files."""
    found: set[str] = set()
    waiting: list[Any] = [function]
    while waiting:
        one = inspect.unwrap(waiting.pop())
        code: CodeType | None = getattr(one, "__code__", None)
        if code is None:
            continue
        inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
        new = {*code.co_names, *(name for part in inner for name in part.co_names)} - found
        found |= new
        siblings = (one.__globals__.get(name) for name in new)
        waiting += [
            s for s in siblings if isinstance(s, FunctionType) and s.__module__.startswith("tests.")
        ]
    return found
