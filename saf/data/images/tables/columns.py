"""What columns of tables mean, by their headings: classes, splits, file names, boxes, others."""

from __future__ import annotations

import re
from collections.abc import Iterable

from saf.data.images.words import Role, alike, role_of, tokens

_LABEL_WORDS = frozenset(
    {"label", "labels", "class", "classes", "cls", "category", "categories", "target", "targets"}
    | {"breed", "species", "diagnosis", "variety", "disease", "gt", "truth", "classification"}
    | {"tag", "tags", "dx"}
)
_NEUTRAL = frozenset(
    {"id", "ids", "name", "names", "idx", "index", "number", "num", "no", "str", "string", "code"}
    | {"int", "title", "true", "ground", "image", "img", "the", "of", "encoded"}
)
_LABELS = frozenset(
    {"y", "ytrue", "classname", "classid", "classlabel", "labelname", "labelid", "groundtruth"}
    | {"categoryname", "categoryid"}
)
FOLDS = frozenset({"fold", "folds", "kfold", "cvfold"})
"""Headings, without what stands between words, of columns that number parts of a set."""
SPLITS = FOLDS | frozenset(
    {"split", "splits", "set", "subset", "dataset", "partition", "phase", "usage", "datatype"}
    | {"evalpartition", "splitset", "settype", "splitname"}
)
"""Headings, without what stands between words, of columns that say the split."""
_PLACE = re.compile(
    r"^(?:roi|bbox|box|bndbox|crop|object|obj|rect)?"
    r"(?:x|y|w|h|width|height|[xy]min|[xy]max|left|top|right|bottom|c[xy]|[xy]c|[xy]center|"
    r"center[xy]|minx|miny|maxx|maxy|upper|lower)\d?$"
)
_OTHERS = frozenset(
    {"url", "urls", "link", "license", "size", "filesize", "bytes", "channels", "depth", "md5"}
    | {"sha1", "sha256", "hash", "index", "idx", "id", "ids", "unnamed", "rownumber", "row", "n"}
    | {"lat", "lon", "latitude", "longitude", "date", "datetime", "time", "timestamp", "bits"}
    | {"bbox", "boundingbox", "resolution", "aspectratio", "imagewidth", "imageheight"}
)
_LAST = frozenset(
    {"id", "ids", "uuid", "url", "path", "file", "filename", "date", "time", "timestamp", "mask"}
)
"""Last words of headings that name or date something."""
_OF_PERSONS = frozenset({"age", "sex", "gender", "patient", "patientid", "subject", "subjectid"})
_FILES = frozenset(
    {"file", "files", "filename", "filenames", "filepath", "filepaths", "path", "paths", "fname"}
    | {"image", "images", "imagename", "imagefile", "imagepath", "imageid", "imagefilename"}
    | {"img", "imgname", "imgfile", "imgpath", "imgid", "picture", "photo", "photoid", "pic"}
    | {"relativeimpath", "relativepath", "fullpath", "src"}
)
_IDS = frozenset({"id", "ids", "name", "key", "uuid", "guid", "code", "sample", "sampleid"})
_INDICES = frozenset({"", "unnamed", "unnamed0", "index", "idx", "row", "rownumber", "n", "no"})
_REPEATED = re.compile(r" \(column \d+\)$")


def heading(column: str) -> str:
    """A heading as it is compared: in lower case and without what stands between words."""
    return re.sub(r"[\W_]+", "", alike(_REPEATED.sub("", column)))


def without_twins(columns: Iterable[str]) -> tuple[str, ...]:
    """Headings of which each occurs once: "label (column 3)" where an earlier one is the same."""
    found: list[str] = []
    for number, column in enumerate(columns, 1):
        found.append(f"{column} (column {number})" if column in found else column)
    return tuple(found)


def is_label(column: str, columns: Iterable[str]) -> bool:
    """Whether a heading says classes, beside the others of its table: `y` beside `x` is a place."""
    said = heading(column)
    if said == "y" and any(each[0] == "x" for each in map(heading, columns) if _PLACE.match(each)):
        return False
    words = [each for each in tokens(_REPEATED.sub("", column)) if not each.isdigit()]
    known = bool(words) and set(words) <= _LABEL_WORDS | _NEUTRAL and set(words) & _LABEL_WORDS
    return said in _LABELS or bool(known)


def is_other(column: str) -> bool:
    """Whether a heading says something that is no class: a place, a size, a split, a number."""
    said, words = heading(column), tokens(column)
    if (words and words[-1] in _LAST) or (flag_of(column) is not None and len(words) > 1):
        return True
    return said in SPLITS | _OTHERS or _PLACE.match(said) is not None


def flag_of(column: str) -> Role | None:
    """The split that a heading such as `is_test` asks about."""
    role, rest = role_of(column)
    return role if set(rest) <= {"is", "in", "for", "use", "used", "flag"} else None


def says_a_split(column: str) -> bool:
    """Whether a column is named as those are that say the split, such as `split` or `is_test`."""
    return heading(column) in SPLITS or flag_of(column) is not None


def is_of_persons(column: str) -> bool:
    """Whether a heading says something of a person, which classes seldom are."""
    return heading(column) in _OF_PERSONS


def boxes(columns: Iterable[str]) -> list[str]:
    """The headings that say where in an image an object lies; none but a few that make a box."""
    found = [column for column in columns if _PLACE.match(heading(column))]
    told = [column for column in found if heading(column) not in ("w", "h", "width", "height")]
    return told if len(told) >= 2 else []


def key_rank(column: str) -> int:
    """How plainly a heading says that it names images: 3 "filename", 2 "id", 1 anything, 0 a
    number of the row."""
    said = heading(column)
    if said in _FILES:
        return 3
    if said in _IDS:
        return 2
    return 0 if said in _INDICES else 1
