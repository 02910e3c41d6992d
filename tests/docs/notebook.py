"""Runs the notebook of the guide in a Jupyter kernel: `python -m tests.docs.notebook` stores what
its cells print, against a service that it starts."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

from tests.browser.service import WholeService
from tests.docs.blocks import ROOT
from tests.waiting import PATIENCE

NOTEBOOK = ROOT / "docs" / "notebook.ipynb"
ADDRESS = "http://127.0.0.1:8000"


def run(url: str, folder: Path) -> Any:
    """The notebook with the outputs of a run against the service at `url`. Raises
    CellExecutionError, with what the cell printed, where one fails."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    for cell in notebook.cells:
        cell.source = cell.source.replace(ADDRESS, url)
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=int(PATIENCE), resources=resources).execute()
    for cell in notebook.cells:
        cell.source = cell.source.replace(url, ADDRESS)
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", ()):
            output.pop("transient", None)
    return notebook


def main() -> None:
    """Run it and store the outputs."""
    with tempfile.TemporaryDirectory() as directory:
        service = WholeService(Path(directory))
        try:
            notebook = run(service.url, Path(directory))
        finally:
            service.close()
    nbformat.write(notebook, NOTEBOOK)  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
