"""What a data format is: one class in one file, which recognises its files and reads them.

A format is registered by `@FORMATS.add`; detection asks every one of them and needs no list.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from importlib.util import find_spec
from typing import ClassVar

from saf.config.base import Strict
from saf.data.dataset import Dataset
from saf.data.formats.settings import SHARED
from saf.data.sources.limits import Limits
from saf.data.sources.source import Source
from saf.errors import DataError
from saf.registry import Registry


@dataclass(frozen=True)
class Candidate:
    """One way in which something can be read."""

    value: str
    """What the setting is to be for it, such as "N C H W"."""
    means: str
    """What comes of it, in words: "60,000 images of 28 × 28"."""
    picture: bytes | None = None
    """A PNG of some samples read that way."""


@dataclass(frozen=True)
class Question:
    """Something that the files leave open and only their owner knows."""

    setting: str
    """The setting of the format that answers it, such as "layout"."""
    asks: str
    """In words: "Which axes has x_train, of shape (100, 3, 3, 3)?"."""
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True)
class Recognised:
    """A format's answer that files are its own; with questions, that more than one reading fits."""

    questions: tuple[Question, ...] = ()


class NeedsChoiceError(DataError):
    """Files can be read in more than one way. `questions` hold the candidates."""

    def __init__(self, label: str, questions: tuple[Question, ...]) -> None:
        asked = " ".join(question.asks for question in questions)
        ways = "; ".join(
            f"{question.setting} = {candidate.value!r}: {candidate.means}"
            for question in questions
            for candidate in question.candidates
        )
        super().__init__(f"{label} can be read in more than one way. {asked}", hint=f"Say {ways}.")
        self.questions = questions


class SettingError(DataError):
    """A format does not have a setting, or cannot use its value; `setting` is its name."""

    def __init__(self, message: str, *, setting: str, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.setting = setting


class Format(Strict):
    """A layout of files that a data set can come in. Its fields, beside `name`, are settings with
    which the owner of the files says what they leave open; None says nothing.

    A format of its own is a subclass with `name: Literal["…"] = "…"`, `label`, `detect` and `read`.
    """

    label: ClassVar[str]
    """What people read: "MNIST's four IDX files"."""
    place: ClassVar[int] = 100
    specificity: ClassVar[int] = 50
    """Where files fit several formats, the highest wins; equal ones are a question to the owner.
    100: recognised by content; 50: by the names of files; 10: by their endings."""
    packed: ClassVar[bool] = True
    """Whether several files make it up, which travel in an archive; else a single file does."""
    names_classes: ClassVar[bool] = False
    """Whether `read` takes the names of classes from lists beside the samples, `classes.txt`; else
    they are given to what it has read."""
    packages: ClassVar[tuple[str, ...]] = ()
    """Packages that reading needs and that need not be installed, by the name that is imported.
    They are imported in `read`; `detect` does without."""

    name: str = ""

    @classmethod
    @abstractmethod
    def detect(cls, source: Source) -> Recognised | None:
        """Whether the files are of this format, by names and first bytes (`source.members`,
        `source.head`): None where they are not. Raises DataError where they are but cannot be
        read, such as one file of four; the error is told if no other format takes the files."""

    @abstractmethod
    def read(self, source: Source, limits: Limits) -> Dataset:
        """The data set, samples C H W or T C H W. Raises DataError, which names the file inside,
        what was expected and found, and what to do; LimitError beyond `limits`."""

    @classmethod
    def claims(cls, name: str) -> bool:
        """Whether a file inside an archive belongs to this format although it is named as an
        archive is, such as `train-images-idx3-ubyte.gz`. Other archives inside are refused."""
        return False

    @classmethod
    def check_packages(cls, label: str) -> None:
        """Raise DataError that says which package is missing to read the file `label`."""
        missing = [package for package in cls.packages if find_spec(package) is None]
        if missing:
            raise DataError(
                f"{label} looks like {cls.label}, which needs the package "
                f"{', '.join(missing)}; it is not installed here",
                hint=f"Install it beside saf (pip install {' '.join(missing)}), or ask who runs "
                "the service to do so; or send the data as .npz.",
            )


FORMATS: Registry[Format] = Registry("data format", "saf.data.formats")
"""All data formats by name."""


def known_settings() -> dict[str, str]:
    """The settings that some format has, and those that formats share, each with its words."""
    own = {
        name: field.description or ""
        for kind in FORMATS
        for name, field in kind.model_fields.items()
        if name != "name"
    }
    return own | SHARED
