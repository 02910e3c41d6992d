"""What comes of each layout, as the table of docs/datasets.md: `python -m benchmarks.data.layouts`.

Each data set is made in a folder of its own and read as an upload is. Of pictures that are read it
is checked that each is there once, with the class and in the split that it shows; of other samples
nothing is.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.data.layouts.folders import FILES, FOLDERS
from benchmarks.data.layouts.others import ARCHIVES, ARRAYS, TEMPORAL
from benchmarks.data.layouts.parts import Layout
from benchmarks.data.layouts.shards import SHARDS
from benchmarks.data.layouts.shown import check
from benchmarks.data.layouts.tables import TABLES
from saf.data import Dataset, read
from saf.data.formats.format import NeedsChoiceError
from saf.data.images.tree import LAYOUT
from saf.errors import DataError

DOCUMENT = Path(__file__).parents[3] / "docs" / "datasets.md"
BEGIN = "<!-- layouts: made by python -m benchmarks.data.layouts -->"
END = "<!-- end of layouts -->"
SHORT = "Arrange the images as …"
"""What stands in the table for the sentence that most refusals of folders end with."""
GROUPS = {
    "folders of images": FOLDERS,
    "images with tables and lists": TABLES,
    "images in shards": SHARDS,
    "image files": FILES,
    "archives": ARCHIVES,
    "arrays": ARRAYS,
    "events and series": TEMPORAL,
}


def outcome(layout: Layout) -> str:
    """What comes of a layout, in words."""
    with tempfile.TemporaryDirectory() as folder:
        path = layout.write(Path(folder))
        try:
            data = read(path, settings=dict(layout.settings))
        except NeedsChoiceError as error:
            asked = error.questions[0]
            values = ", ".join(f"`{candidate.value}`" for candidate in asked.candidates)
            return f"**needs a choice**, {asked.setting}: {values}. {asked.asks}"
        except DataError as error:
            words = f"{error}{'' if str(error).endswith('?') else '.'} {error.hint}"
            return f"**refused**: {words.replace(LAYOUT, SHORT)}"
        if layout.pictures:
            check(layout, data)
        return f"**read**: {told(data)}"


def told(data: Dataset) -> str:
    """What was read, in words."""
    counts = " + ".join(
        f"{len(getattr(data, f'y_{split}'))} {split}"
        for split in ("train", "val", "test")
        if split in data.splits
    )
    names = ", ".join(data.class_names[:4]) + (", …" if data.classes > 4 else "")
    words = [f"{counts} ({names})"]
    words += [f"{setting} {value}" if setting else value for setting, value, _ in data.decisions]
    if data.skipped:
        words.append(f"{len(data.skipped)} skipped")
    return "; ".join(dict.fromkeys(words))


def lines() -> Iterator[str]:
    """The lines of the tables."""
    for group, layouts in GROUPS.items():
        yield from ("", f"| {group} | what comes of it |", "|---|---|")
        for layout in layouts:
            came = outcome(layout).replace("|", "\\|").replace("<", "&lt;")
            yield f"| {layout.words} | {' '.join(came.split())} |"


def written() -> str:
    """The tables with their marks."""
    return "\n".join((BEGIN, *lines(), "", END))


def stored(document: str) -> str:
    """The tables as the document has them, with their marks."""
    return document[document.index(BEGIN) : document.index(END) + len(END)]


def main() -> None:
    """Write the tables into the document."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    document = DOCUMENT.read_text(encoding="utf-8")
    DOCUMENT.write_text(document.replace(stored(document), written()), encoding="utf-8")


if __name__ == "__main__":
    main()
