"""How data are to be read, where files leave it open: options of commands, and questions in a
terminal. Works without the extra `client`."""

from __future__ import annotations

import shlex
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from saf.data import Dataset, read
from saf.data.formats.format import NeedsChoiceError
from saf.data.formats.settings import SHARED
from saf.errors import DataError
from saf.printable import lines, one_line

HELP = "How the files are to be read, as layout='N H W C'; repeatable."
Questions = Sequence[Mapping[str, Any]]
"""As the service sends them: `setting`, `asks`, `candidates` with `value`, `means`, `picture`."""


def settings_of(pairs: Iterable[str], **flags: str | None) -> dict[str, str]:
    """Settings by name, of `KEY=VALUE`s and of options. Raises ValueError."""
    found: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key or not value:
            raise ValueError(f"{pair!r} sets nothing; write KEY=VALUE, as layout='N H W C'")
        found[key.replace("-", "_")] = value
    return found | {key: value for key, value in flags.items() if value}


def read_here(path: str, settings: Mapping[str, str]) -> Dataset:
    """The data set at a path of this machine; asks in a terminal for what the files leave open.
    Raises DataError."""
    said = dict(settings)
    while True:
        given = {key: value for key, value in said.items() if key != "format"}
        try:
            return read(path, said.get("format", "auto"), settings=given)
        except NeedsChoiceError as error:
            questions = _with_pictures(error)
            if not is_terminal():
                raise DataError(
                    f"{Path(path).name} can be read in more than one way",
                    hint="\n".join(options_for(questions, of_read)),
                ) from error
            said |= ask(f"{Path(path).name} can be read in more than one way.", questions)


def is_terminal() -> bool:
    """Whether somebody is there to be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def ask(title: str, questions: Questions) -> dict[str, str]:
    """Show the candidates of each question and let somebody choose. Raises DataError at the end
    of the input."""
    _show(title)
    answers = {}
    for question in questions:
        candidates = question["candidates"]
        _show(str(question["asks"]))
        for number, candidate in enumerate(candidates, start=1):
            picture = f"  ({candidate['picture']})" if candidate.get("picture") else ""
            said = one_line(f"{candidate['value']}: {candidate['means']}")
            _show(f"  {number}  {said}{picture}")
        answers[str(question["setting"])] = _chosen(candidates)
    return answers


def options_for(questions: Questions, option: Callable[[str, str], str]) -> list[str]:
    """Lines that say which option answers what: `option` makes one of a setting and its value."""
    return [
        line
        for question in questions
        for line in (
            str(question["asks"]),
            *(
                one_line(f"  {option(question['setting'], each['value'])}  {each['means']}")
                for each in question["candidates"]
            ),
        )
    ]


def of_read(setting: str, value: str) -> str:
    """The option of `saf train` and `saf run`."""
    return f"--read {setting}={shlex.quote(value)}"


def of_upload(setting: str, value: str) -> str:
    """The option of `saf datasets upload` and `saf datasets answer`."""
    if setting in SHARED or setting == "format":
        return f"--{setting.replace('_', '-')} {shlex.quote(value)}"
    return of_read(setting, value)


def _chosen(candidates: Sequence[Mapping[str, Any]]) -> str:
    while True:
        sys.stderr.write(f"Which one, 1 to {len(candidates)}? ")
        sys.stderr.flush()
        line = sys.stdin.readline()
        if not line:
            raise DataError("nothing was chosen", hint="Run the command again.")
        if line.strip().isdecimal() and 1 <= int(line) <= len(candidates):
            return str(candidates[int(line) - 1]["value"])


def _show(text: str) -> None:
    sys.stderr.write(lines(text) + "\n")


def _with_pictures(error: NeedsChoiceError) -> list[dict[str, Any]]:
    """The questions with their pictures as files, which somebody may open."""
    folder: Path | None = None
    found = []
    for question in error.questions:
        candidates = []
        for number, each in enumerate(question.candidates, start=1):
            picture = ""
            if each.picture is not None and is_terminal():
                folder = folder or Path(tempfile.mkdtemp(prefix="saf-choices-"))
                file = folder / f"{question.setting}-{number}.png"
                file.write_bytes(each.picture)
                picture = str(file)
            candidates.append({"value": each.value, "means": each.means, "picture": picture})
        found.append({"setting": question.setting, "asks": question.asks, "candidates": candidates})
    return found
