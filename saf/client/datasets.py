"""The part of the Python client that is for data sets."""

from __future__ import annotations

import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import httpx

from saf.client import uploads
from saf.client.connection.transport import Connection
from saf.client.documents import Dataset
from saf.client.types import ApiError

POLL_SECONDS = 0.5


class Datasets:
    """What a `Client` does with data sets."""

    _connection: Connection

    def datasets(
        self,
        *,
        mine: bool = False,
        project: str = "",
        tags: Sequence[str] = (),
        favourite: bool | None = None,
        page: int = 100,
    ) -> Iterator[Dataset]:
        """The catalogue and the uploaded data sets; asks for one page after the other as needed.
        With `mine`, the name of a project, tags, all to be there, or `favourite` (False: others)
        uploads alone."""
        of = {
            "mine": "true" if mine else "",
            "project": project,
            "tag": [*tags],
            "favourite": "" if favourite is None else str(favourite).lower(),
        }
        params = {"limit": page, **{name: value for name, value in of.items() if value}}
        yield from map(Dataset, self._connection.pages("/v1/datasets", params))

    def dataset(self, dataset: str) -> Dataset:
        """One data set, by its id or name."""
        return Dataset(self._connection.json("GET", f"/v1/datasets/{dataset}"))

    def upload_dataset(
        self,
        path: Path | str,
        *,
        name: str = "",
        format: str = "auto",
        settings: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
        progress: uploads.Report = lambda sent, total: None,
        patience: float = uploads.PATIENCE_SECONDS,
    ) -> Dataset:
        """Upload a file, an archive or a folder (which is packed) and return the data set.

        A large file goes in pieces: after a lost connection, a machine that slept or a server that
        was started again it goes on, and so does another call with the same file, unless nothing
        came for a day. `progress` is called with the bytes that have arrived and those of all.

        `settings` say how it is to be read, such as `{"layout": "N H W C"}`. Checking goes on after
        a large upload: the status is `checking`, `ready`, `invalid`, or `needs_choice` where the
        files can be read in more than one way; then `questions` are to be answered
        (`answer_dataset`). Raises OSError where the path cannot be read, and `UnreachableError`
        after `patience` seconds without an answer.
        """
        fields = {"format": format} | ({"name": name} if name else {})
        fields |= {key: str(value) for key, value in (settings or {}).items()}
        key = idempotency_key or uuid.uuid4().hex
        patient = httpx.Timeout(30.0, read=None, write=None)
        with _one_file(Path(path)) as file:
            if file.stat().st_size > uploads.PIECE:
                with suppress(uploads.NoUploadsError):
                    return self._in_pieces(file, fields, key, patience, progress)
            with file.open("rb") as content:
                found = self._connection.change(
                    "/v1/datasets",
                    key=key,
                    files={"file": (file.name, content)},
                    data=fields,
                    timeout=patient,
                )
        return Dataset(found)

    def _in_pieces(
        self,
        file: Path,
        fields: Mapping[str, str],
        key: str,
        patience: float,
        progress: uploads.Report,
    ) -> Dataset:
        for may_begin_again in (True, False):
            sent = uploads.send(self._connection, file, key=key, patience=patience, report=progress)
            try:
                found = self._connection.change(
                    "/v1/datasets",
                    key=key,
                    json={**fields, "upload": sent},
                    timeout=httpx.Timeout(30.0, read=None, write=None),
                )
            except ApiError as error:
                # One that a call before this one has finished, and not forgotten.
                if not (may_begin_again and uploads.is_spent(error)):
                    raise
                uploads.forget(self._connection, file)
            else:
                break
        uploads.forget(self._connection, file)
        return Dataset(found)

    def register_dataset(
        self,
        folder: str,
        *,
        name: str = "",
        format: str = "auto",
        settings: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Dataset:
        """Make a data set of a folder or file that lies on the server, below the folders that its
        operator names (SAF_DATASET_FOLDERS); nothing is sent. `settings` as in `upload_dataset`."""
        body = {"folder": folder, "format": format, **(settings or {})}
        body |= {"name": name} if name else {}
        patient = httpx.Timeout(30.0, read=None)
        return Dataset(
            self._connection.change("/v1/datasets", key=idempotency_key, json=body, timeout=patient)
        )

    def answer_dataset(self, dataset: str, **choices: Any) -> Dataset:
        """Say how an upload is to be read that is `needs_choice`: settings by name, such as
        `layout="N H W C"`. It is checked again; `ApiError` where the answer does not fit."""
        path = f"/v1/datasets/{dataset}/choices"
        return Dataset(self._connection.change(path, key=uuid.uuid4().hex, json=choices))

    def wait_dataset(self, dataset: str) -> Dataset:
        """Wait until an uploaded data set is checked: `ready`, `invalid` with `problems`, or
        `needs_choice` with `questions`."""
        while (found := self.dataset(dataset))["status"] == "checking":
            time.sleep(POLL_SECONDS)
        return found

    def edit_dataset(self, dataset: str, **changes: Any) -> dict[str, Any]:
        """Change `notes` (Markdown), `tags` (all that it has from then on) and `favourite` of an
        upload, by its id or name."""
        path = f"/v1/datasets/{dataset}"
        return cast(dict[str, Any], self._connection.json("PATCH", path, json=changes, safe=True))

    def delete_dataset(self, dataset: str) -> None:
        """Delete an upload that no job needs, by its id or name."""
        self._connection.request("DELETE", f"/v1/datasets/{dataset}")

    def preview(self, dataset: str) -> dict[str, Any]:
        """Where samples of each class are on the picture of a data set."""
        found = self._connection.json("GET", f"/v1/datasets/{dataset}/preview")
        return cast(dict[str, Any], found)

    def candidate_png(self, dataset: str, question: int, candidate: int) -> bytes:
        """Some samples as one of the candidates of a question would read them, as a PNG; both are
        counted from 0, as `questions` lists them. `ApiError` where there is no picture."""
        path = f"/v1/datasets/{dataset}/candidates/{question}-{candidate}.png"
        return self._connection.request("GET", path).content

    def catalogue(self) -> list[dict[str, Any]]:
        """Well-known data sets: where they are published, their digests, and how they are read."""
        found = self._connection.json("GET", "/v1/catalogue")
        return cast(list[dict[str, Any]], found["data"])

    def preview_png(self, dataset: str) -> bytes:
        """The picture of samples of each class, a PNG."""
        return self._connection.request("GET", f"/v1/datasets/{dataset}/preview.png").content


@contextmanager
def _one_file(path: Path) -> Iterator[Path]:
    """The file at `path`, or the folder there as a zip for as long as the block lasts."""
    if not path.is_dir():
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="saf-upload-") as directory:
        name = path.resolve().name or "dataset"
        yield Path(shutil.make_archive(str(Path(directory) / name), "zip", path))
