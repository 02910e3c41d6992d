"""Files that people send and that are never read, with what to do instead."""

from __future__ import annotations

import re

from saf.data.sources.source import Source
from saf.errors import DataError

_SAVE = "numpy.savez('data.npz', x_train=…, y_train=…, x_test=…, y_test=…)"
_TENSORS = (
    f"Load it where you made it and save plain arrays: {_SAVE}, with tensor.numpy() for each."
)
_BY_NAME = (
    (
        r"\.(pt|pth|ckpt)$",
        "is a file of torch.save, a pickle: reading it can run any program, so it is not read",
        _TENSORS,
    ),
    (
        r"\.(pkl|pickle|joblib|dill|p)$",
        "is a pickle: reading it can run any program, so it is not read",
        f"Load it where you made it and save plain arrays: {_SAVE}.",
    ),
    (
        r"\.tfrecords?(-\d+-of-\d+)?$|\.tfrecords?\.gz$",
        "is a TFRecord, which is not read",
        "Save the samples with numpy: x = numpy.stack([…]) over tfds.as_numpy(dataset), then "
        f"{_SAVE}; or as images in train/<class>/*.png and test/<class>/*.png.",
    ),
    (
        r"\.arrow$|\.feather$",
        "is an Arrow file, which is not read",
        f"Save it as Parquet: dataset.to_parquet('train.parquet'); or as arrays: {_SAVE}.",
    ),
    (
        r"\.arff$",
        "is an ARFF file, which is not read",
        f"Save it as .csv with a column label and one column for each pixel, or as {_SAVE}.",
    ),
    (
        r"\.(libsvm|svmlight)(\.bz2)?$",
        "is in the format of LIBSVM, which is not read",
        f"Load it with sklearn.datasets.load_svmlight_file and save x.toarray(): {_SAVE}.",
    ),
    (
        r"\.(rds|rdata|rda|sav|sas7bdat|dta|xlsx?|ods)$",
        "is a table of another program, which is not read",
        "Save it as .csv with a column label and one column for each pixel.",
    ),
)
_LIBSVM = re.compile(rb"\A[+-]?\d+(\.\d+)?( \d+:[-+\d.eE]+){2,}\s")


def unread(source: Source) -> DataError | None:
    """Why files of a known kind are not read, and what to do; None where the kind is not known."""
    names = [member.name for member in source.members]
    if len(names) > 1 and any(re.search(r"(^|/)data\.pkl$", name) for name in names):
        label, (_, what, hint) = source.label, _BY_NAME[0]
        return DataError(f"{label} {what}", hint=hint)
    if source.single:
        start = source.head(source.label, 512)
        if re.match(rb"\x80[\x02-\x05]", start):
            return DataError(f"{source.label} {_BY_NAME[1][1]}", hint=_BY_NAME[1][2])
        if start.lstrip().lower().startswith((b"@relation", b"% ")):
            return DataError(f"{source.label} {_BY_NAME[4][1]}", hint=_BY_NAME[4][2])
        if _LIBSVM.match(start):
            return DataError(f"{source.label} {_BY_NAME[5][1]}", hint=_BY_NAME[5][2])
    for name in [source.label, *names]:
        for pattern, what, hint in _BY_NAME:
            if re.search(pattern, name.lower()):
                return DataError(f"{name} {what}", hint=hint)
    arrays = [name for name in names if name.lower().endswith((".npy", ".npz"))]
    if len(arrays) * 2 > len(names) > 0:
        return DataError(
            f"{source.label} holds {len(arrays)} arrays, such as {arrays[0]}, of which none is "
            "named as samples or labels",
            hint=f"Put all samples of a split into one array with numpy.stack: {_SAVE}; event "
            "frames are N T C H W. Or send x_train.npy, y_train.npy, x_test.npy and y_test.npy.",
        )
    tables = [name for name in names if name.lower().endswith((".csv", ".tsv", ".txt"))]
    if source.single and source.label.lower().endswith((".csv", ".tsv")):
        tables = [source.label]
    if tables and len(tables) == len(names):
        return DataError(
            f"{tables[0]} holds no pixels: a label and at least 16 numbers are expected in a line",
            hint="Give one line for each sample, such as label,pixel0,pixel1,…; or the arrays: "
            f"{_SAVE}.",
        )
    return None
