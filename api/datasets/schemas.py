"""What the API says of data sets."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from api.web.schemas import Document, Timestamp

Kind = Literal["images", "events", "series"]


class DatasetProblem(Document):
    message: str
    hint: str
    """What to change."""
    setting: str | None = None
    """The setting that is wrong; null where it is the file."""


class DatasetCandidate(Document):
    """One way in which something can be read."""

    value: str
    """What to answer for it."""
    means: str
    """What comes of it, in words."""
    picture: str | None
    """The address of a picture (PNG) of some samples read that way."""


class DatasetQuestion(Document):
    """Something that the files leave open: `POST /v1/datasets/{id}/choices` answers it."""

    setting: str
    asks: str
    candidates: list[DatasetCandidate]


class DatasetDecision(Document):
    """Something that the reader decided where the files could have been read differently."""

    setting: str
    """The setting that would have said so, empty where there is none."""
    value: str
    why: str


class SkippedFiles(Document):
    """Files inside that were left out."""

    count: int
    files: list[str]
    """The first hundred by name, each with the reason."""


class DatasetFinding(Document):
    """Something odd about a data set that can be trained on."""

    code: str
    """For programs: `test_in_training`, `few_samples`, … (docs/datasets.md)."""
    message: str
    hint: str
    """What to do about it."""


class DatasetUrls(Document):
    self: str
    page: str
    preview: str
    """A picture with samples of each class, and where each is on it."""
    choices: str | None = None
    """Where questions are answered; null for what is built in."""


class DatasetDocument(Document):
    """A data set."""

    id: str
    """Of a built-in data set its name."""
    object: Literal["dataset"] = "dataset"
    name: str
    title: str
    builtin: bool
    status: Literal["checking", "needs_choice", "ready", "invalid"]
    """`needs_choice`: it can be read in more than one way, and waits for the answer."""
    problems: list[DatasetProblem]
    """Why it is invalid, or what was wrong with the last answer."""
    questions: Annotated[list[DatasetQuestion], Field(default_factory=list)]
    """What is to be answered before it can be used."""
    settings: Annotated[dict[str, Any], Field(default_factory=dict)]
    """What was said of how it is to be read."""
    format: str
    kind: Kind | None = None
    """What the samples are; null until it is ready."""
    shape: list[int] | None
    """Channels, height, width of one sample or event frame, 1 × 1 of series; null until it is
    ready."""
    timesteps: int | None
    """Event frames or time steps in a sample; null for images."""
    lengths: dict[str, float] | None = None
    """Of samples in time that are padded: `shortest`, `longest` and `mean` number of time steps
    that are their own; null where nothing tells them."""
    classes: int | None
    class_names: list[str] | None
    counts: dict[str, Any] | None
    """`train`, `test` and `val` samples (of a validation split of its own, 0 when there is none),
    and all three `per_class`."""
    statistics: dict[str, list[float]] | None
    """`mean` and `std` of each channel of the training samples."""
    findings: list[DatasetFinding] | None
    """What is odd about it, the gravest first; null where nobody looked, before it is ready and
    for uploads from before there were findings."""
    decisions: list[DatasetDecision] | None = None
    """What the reader decided, and why; null as in `findings`."""
    skipped: SkippedFiles | None = None
    """What was left out; null as in `findings`."""
    bytes: int | None
    """Of the upload."""
    sha256: str | None = None
    """Of the samples as they are kept, which never change: what a job that names it trains on."""
    damaged: bool = False
    """Whether the stored samples were found to be others than were checked; nothing trains on them
    then."""
    created_at: Timestamp | None
    jobs: int
    """Jobs that were submitted with it and still exist."""
    notes: str = ""
    """Of people, in Markdown."""
    tags: list[str] = Field(default_factory=list)
    """In order of the alphabet."""
    favourite: bool = False
    owner: str | None = None
    """Name of the user it belongs to; null: to everybody, or there were no accounts."""
    project: str | None = None
    """Name of the project it belongs to; null: to none."""
    urls: DatasetUrls

    @property
    def are_features(self) -> bool:
        """Whether the samples are numbers without place or time; for pages."""
        return self.kind == "images" and self.shape is not None and self.shape[1:] == [1, 1]
