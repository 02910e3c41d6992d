"""Every command and every line of Python in the documents does what they say it does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from api.store.tables.jobs import TERMINAL
from tests.browser.service import WholeService
from tests.docs import notebook
from tests.docs.blocks import ROOT, RUN, SHOWN, WORDS, Block, blocks, pages
from tests.docs.reader import Reader

PAGES = {page.relative_to(ROOT).as_posix(): blocks(page) for page in pages()}
TO_RUN = {name: found for name, found in PAGES.items() if any(block.runs for block in found)}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("documents")


@pytest.fixture(scope="module")
def service(data_dir: Path) -> Iterator[WholeService]:
    with pytest.MonkeyPatch.context() as environment:
        # A training goes on with as many threads as it began with, also in a reader's terminal.
        environment.setenv("SAF_WORKER_THREADS", "1")
        environment.setenv("SAF_WEBHOOKS_PRIVATE", "1")  # to a receiver of the reader's
        service = WholeService(data_dir)
    yield service
    service.close()


@pytest.fixture
def fresh_service(service: WholeService) -> Iterator[WholeService]:
    """The service, which trains nothing that another document has left there."""
    yield service
    for job in service.http.get("/v1/jobs", params={"limit": 100}).json()["data"]:
        if job["status"] not in TERMINAL:
            service.http.post(f"/v1/jobs/{job['id']}/cancel")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", [name for name in TO_RUN if name.endswith(".md")])
def test_a_reader_can_do_all_that_a_document_says(
    name: str, fresh_service: WholeService, data_dir: Path, tmp_path: Path
) -> None:
    with Reader(tmp_path, fresh_service.url, data_dir / "data") as reader:
        for block in TO_RUN[name]:
            if block.runs:
                reader.run(block)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_notebook_runs_in_a_kernel_and_what_it_stores_is_of_such_a_run(
    service: WholeService, tmp_path: Path
) -> None:
    ran = notebook.run(service.url, tmp_path)
    stored = json.loads(notebook.NOTEBOOK.read_text())
    shown = [len(cell.get("outputs", ())) > 0 for cell in ran.cells]
    assert shown == [len(cell.get("outputs", ())) > 0 for cell in stored["cells"]]
    assert any("<progress" in json.dumps(cell.get("outputs", ())) for cell in ran.cells)


@pytest.mark.parametrize("name", PAGES)
def test_code_says_its_language_and_what_is_not_run_says_why(name: str) -> None:
    wrong = [complaint for block in PAGES[name] if (complaint := complaint_about(block))]
    assert wrong == []


def complaint_about(block: Block) -> str:
    """What to change about a block; empty where nothing is wrong."""
    if block.language not in RUN | SHOWN:
        known = ", ".join(sorted(RUN | SHOWN))
        return f"{block.place}: write a fence with one of {known}, not {block.language!r}"
    if block.reason and len(block.reason.split()) < WORDS:
        return f"{block.place}: {block.reason!r} is no reason"
    try:
        if block.language == "json":
            json.loads(block.code)
        elif block.language == "yaml":
            yaml.safe_load(block.code)
    except ValueError as error:
        return f"{block.place}: {error}"
    return ""


@pytest.mark.parametrize(
    ("source", "complaints"),
    [
        ("    saf list\n", ["write a fence"]),
        ("```\nsaf list\n```\n", ["write a fence"]),
        ("```bash\nsaf list\n```\n", ["write a fence"]),
        ("```{code-block} sh\nsaf list\n```\n", ["write a fence"]),
        ("```json\n{a: 1}\n```\n", ["Expecting"]),
        ("<!-- not run: no -->\n```sh\nreboot\n```\n", ["is no reason"]),
        ("<!-- not run: it ends the machine -->\n\nWords.\n\n```sh\nreboot\n```\n", []),
        ("- a list\n\n  ```sh\n  saf list\n  ```\n", []),
    ],
)
def test_code_that_no_test_would_run_is_found(
    source: str, complaints: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.md"
    page.write_text(source)
    monkeypatch.setattr("tests.docs.blocks.ROOT", tmp_path)
    found = [complaint for block in blocks(page) if (complaint := complaint_about(block))]
    assert len(found) == len(complaints)
    for complaint, part in zip(found, complaints, strict=True):
        assert part in complaint


def test_a_reason_is_of_the_block_right_behind_it_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- not run: it ends the machine -->\n\n```sh\nreboot\n```\n\n```sh\nsaf list\n```\n"
        "\n<!-- run first:\ntouch file\n-->\n\n```sh\nrm file\n```\n"
    )
    monkeypatch.setattr("tests.docs.blocks.ROOT", tmp_path)
    assert [(block.code.strip(), block.runs) for block in blocks(page)] == [
        ("reboot", False),
        ("saf list", True),
        ("touch file", True),
        ("rm file", True),
    ]


@pytest.mark.parametrize(
    ("language", "code"),
    [
        ("sh", "false"),
        ("sh", "echo $NEVER_SET"),
        ("sh", "saf show job_nowhere"),
        ("python", "1 / 0"),
        ("console", "$ echo one\ntwo\n"),
    ],
)
def test_what_fails_for_a_reader_fails_the_test(language: str, code: str, tmp_path: Path) -> None:
    reader = Reader(tmp_path, "http://127.0.0.1:9", tmp_path)
    with reader, pytest.raises(AssertionError, match=r"page\.md:7"):
        reader.run(Block("page.md", 7, language, code))


def test_variables_folders_and_names_stay_from_block_to_block(tmp_path: Path) -> None:
    page = [
        ("sh", "JOB=job_1\nmkdir there && cd there"),
        ("console", "$ echo $JOB in $(basename $PWD)\njob_1 in …\n"),
        ("python", "import os\nname = os.environ['JOB']"),
        ("python", "assert name == 'job_1'"),
        ("sh", "curl -s http://127.0.0.1:8000/ || test $? = 7"),
    ]
    with Reader(tmp_path, "http://127.0.0.1:9", tmp_path) as reader:
        for number, (language, code) in enumerate(page):
            reader.run(Block("page.md", number, language, code))
