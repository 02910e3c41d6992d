"""Preparation of an attempt: fetches its data set, checkpoint and first weights, and makes its
order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sqlalchemy import select

from api.store.blobs.base import ArtifactStore
from api.store.blobs.verified import DamagedError
from api.store.database import Database
from api.store.jobs.leases import Claim
from api.store.runs.checkpoints import INHERITED, ORIGIN
from api.store.tables.results import Checkpoint
from api.store.tables.uploads import Dataset
from api.telemetry.log import bound_ids
from saf.errors import DataError, UserConfigError
from worker.attempts.inputs import Inputs
from worker.processes.protocol import Order


class Preparation:
    """Everything before the training process of one attempt."""

    def __init__(
        self,
        database: Database,
        store: ArtifactStore,
        claim: Claim,
        directory: Path,
        inputs: Inputs,
        *,
        is_unwanted: Callable[[], bool],
    ) -> None:
        """`directory` is that of the attempt, `inputs` learn of its files; fetching ends once
        `is_unwanted()`."""
        self.notes: list[str] = []
        """Lines for the timeline: checkpoints that were passed over."""
        self._database = database
        self._store = store
        self._claim = claim
        self._directory = directory
        self._inputs = inputs
        self._is_unwanted = is_unwanted

    def order(self, *, device: str, silence_seconds: float) -> Order:
        """Make the order for the training process. Raises DataError, UserConfigError, OSError,
        and InterruptedError once the attempt is unwanted; it can be called again."""
        claim = self._claim
        self._inputs.close()  # of an earlier try
        if not claim.specification:
            raise UserConfigError(
                "the specification of the job cannot be read: its row in the database is damaged",
                hint="submit the job again, and delete this one",
            )
        training, outgoing = self._directory / "training", self._directory / "outgoing"
        dataset = self._fetch_dataset()
        checkpoint, resume_from = self._fetch_checkpoint()
        init_from = self._fetch_first_weights(is_needed=resume_from is None)
        for folder in (training, outgoing):
            folder.mkdir(exist_ok=True)
        return Order(
            specification=claim.specification,
            dataset=dataset,
            builtin=claim.dataset_id is None,
            directory=str(training),
            outgoing=str(outgoing),
            resume_from=str(resume_from) if resume_from else None,
            inherited=checkpoint is not None and checkpoint.attempt in (INHERITED, ORIGIN),
            init_from=str(init_from) if init_from else None,
            device=device,
            silence_seconds=silence_seconds,
            ids=bound_ids(),
        )

    def _local(self, sha256: str) -> Path:
        return self._store.local(sha256, self._directory / "fetched", self._is_unwanted)

    def _fetch_dataset(self) -> str:
        """Name of a built-in data set, or path of a file."""
        claim = self._claim
        if claim.dataset_id is None:
            return str(claim.specification.get("dataset"))
        with self._database.reading() as session:
            dataset = session.get(Dataset, claim.dataset_id)
        if dataset is None or dataset.sha256 is None:
            raise DataError(
                f"the data set {claim.dataset_id} is not there",
                hint="upload it again and submit the job with its new id",
            )
        try:
            path = self._local(dataset.sha256)
            self._inputs.add_dataset(path, dataset.sha256, _damaged(dataset.name))
        except FileNotFoundError as error:
            raise DataError(
                f"the file of the data set {dataset.name} is not in the artifact store",
                hint="upload it again, or see that the worker has the same ARTIFACTS_URL as the "
                "API, and that a directory is shared",
            ) from error
        except DamagedError as error:
            raise _damaged(dataset.name) from error
        return str(path)

    def _fetch_checkpoint(self) -> tuple[Checkpoint | None, Path | None]:
        """The newest checkpoint whose file is intact, and that file."""
        with self._database.reading() as session:
            stored = session.scalars(
                select(Checkpoint)
                .where(Checkpoint.job_id == self._claim.job_id, Checkpoint.step > 0)
                .order_by(Checkpoint.step.desc())
            ).all()
        self.notes.clear()
        for checkpoint in stored:
            try:
                path = self._local(checkpoint.sha256)
                self._inputs.add_checkpoint(path, checkpoint.sha256)
                return checkpoint, path
            except DamagedError:
                problem = "is damaged"
            except FileNotFoundError:
                problem = "is not in the artifact store"
            self.notes.append(
                f"the checkpoint of step {checkpoint.step} {problem}; it is passed over"
            )
        return None, None

    def _fetch_first_weights(self, *, is_needed: bool) -> Path | None:
        """File of the weights that the job starts with, if it names one. Raises DataError where
        it is needed and missing."""
        source = self._claim.specification.get("init")
        if source is None:
            return None
        with self._database.reading() as session:
            first = session.get(Checkpoint, (self._claim.job_id, 0))
        try:
            if first is not None:
                path = self._local(first.sha256)
                self._inputs.add_checkpoint(path, first.sha256)
                return path
            problem = "was removed"
        except DamagedError:
            problem = "is damaged in the artifact store"
        except FileNotFoundError:
            problem = "is not in the artifact store"
        if not is_needed:
            return None
        what = f"checkpoint of {source['job']}" if source.get("job") else source.get("network")
        raise DataError(
            f"the {what} that the job starts from {problem}",
            hint="submit the job again with another job in init, another network, or without init",
        )


def _damaged(dataset: str) -> DataError:
    return DataError(
        f"the file of the data set {dataset} is damaged in the artifact store",
        hint="upload the original files again, under any name: the same data take the place of the "
        "damaged file; then retry the job",
    )
