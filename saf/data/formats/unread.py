"""Files that people send and that are never read, with what to do instead."""

from __future__ import annotations

import re
from collections.abc import Sequence

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
        r"\.(edf|bdf|gdf|hea|atr|vhdr|fif)$",
        "is a recording of signals (EDF, WFDB, BrainVision, …), which is not read",
        "Load the recordings with mne or wfdb, cut them into samples of one length, and save "
        f"series N T C: {_SAVE}.",
    ),
    (
        r"\.(es|bag|rosbag)$",
        "is a recording of events of a kind that is not read",
        f"Bin the recordings into frames (tonic.transforms.ToFrame), N T C H W, and save {_SAVE}.",
    ),
    (
        r"\.(mdb|lmdb|beton|rec|db|sqlite3?)$",
        "is a database (LMDB, FFCV, RecordIO, SQLite), which is not read",
        f"Write the samples as images in train/<class>/*.png and test/<class>/*.png, or {_SAVE}.",
    ),
    (
        r"\.(nii|dcm|mha|mhd|nrrd)(\.gz)?$",
        "is a medical image, which is not read",
        f"Write slices as .png in a folder for each class, or save arrays of one size: {_SAVE}.",
    ),
    (
        r"\.(rds|rdata|rda|sav|sas7bdat|dta|xlsx?|ods)$",
        "is a table of another program, which is not read",
        "Save it as .csv with a column label and one column for each pixel.",
    ),
)
_BY_START = (
    (
        rb"version https://git-lfs",
        "is a pointer of Git LFS, and not the file",
        "Fetch the file itself with git lfs pull, and send that.",
    ),
    (
        rb"\s*(<!doctype html|<html)",
        "is a web page, and not the file that was to be downloaded",
        "Open it to see what it says (often that somebody has to confirm or to sign in), download "
        "the file again, and check its size.",
    ),
    (
        rb"PK\x03\x04|7z\xbc\xaf\x27\x1c|\x1f\x8b|\xfd7zXZ\x00|BZh\d|\x28\xb5\x2f\xfd",
        "is compressed twice: inside is an archive again",
        "Unpack it once, and send what is inside.",
    ),
    (
        rb"MZ",
        "is a program, perhaps an archive that unpacks itself",
        "Unpack it, and pack the files as .zip, .tar (.gz, .xz, .zst) or .7z.",
    ),
    (rb"%PDF", "is a PDF, which is not read", "Send the images themselves."),
)
_KINDS = (
    (
        r"\.(wav|flac|mp3|ogg|m4a|au|aiff?)$",
        "sounds, which are not read",
        "Make series or spectrograms of them, of one length: numpy.stack of arrays T C gives "
        f"x_train of N T C; {_SAVE}.",
    ),
    (
        r"\.(h5|hdf5|mat)$",
        "a file of HDF5 or MATLAB for each sample, which are not read",
        f"Put all of a split into one array with numpy.stack: {_SAVE}; series are N T C, "
        "recordings of events become frames N T C H W.",
    ),
    (
        r"\.(mp4|avi|mov|mkv|webm|m4v|mpe?g)$",
        "films, which are not read",
        "Write images of them into train/<class>/*.png, or frames N T C H W: " + _SAVE + ".",
    ),
)
_IMAGE = re.compile(rb"\x89PNG|\xff\xd8\xff|GIF8|RIFF....WEBP|BM|II\*\0|MM\0\*", re.DOTALL)
_DECIMAL_COMMAS = (
    re.compile(rb"(?<![\d,])\d+,\d+;|;\d+,\d+(?=[\r\n])"),
    re.compile(rb"(?<![\d,])\d+,\d+\t|\t\d+,\d+(?=[\r\n])"),
    re.compile(rb"\"\d+,\d+\""),
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
        for magic, what, hint in _BY_START:
            if re.match(magic, start, re.IGNORECASE):
                return DataError(f"{source.label} {what}", hint=hint)
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
    for pattern, what, hint in _KINDS:
        of_kind = [name for name in names if re.search(pattern, name.lower())]
        if len(of_kind) * 2 > len(names) and len(of_kind) > 1:
            return DataError(f"{source.label} holds {what}, such as {of_kind[0]}", hint=hint)
    if any(source.head(name, 8) == b"#!AER-DA" for name in names[:1] if not source.single):
        return DataError(
            f"{names[0]} is an AEDAT file, and is not named so",
            hint="Give all recordings the ending .aedat.",
        )
    bare = [name for name in names if "." not in name.rpartition("/")[2]]
    if len(bare) * 2 > len(names) and _IMAGE.match(source.head(bare[0], 16)):
        return DataError(
            f"{bare[0]} is an image, and its name has no ending",
            hint="Give all images the ending of their kind, .png or .jpg.",
        )
    if bare and not source.single and source.head(bare[0], 132)[128:] == b"DICM":
        what, hint = next(words for pattern, *words in _BY_NAME if "dcm" in pattern)
        return DataError(f"{bare[0]} {what}", hint=hint)
    return _of_tables(source, names)


def _of_tables(source: Source, names: Sequence[str]) -> DataError | None:
    """Why tables are not read; None unless all files are such."""
    tables = [name for name in names if name.lower().endswith((".csv", ".tsv", ".txt"))]
    if source.single and source.label.lower().endswith((".csv", ".tsv")):
        tables = [source.label]
    if not tables or len(tables) != len(names):
        return None
    start = source.head(tables[0], 2**14)
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        return DataError(
            f"{tables[0]} is a text in UTF-16", hint="Save it as UTF-8 (CSV UTF-8 in Excel)."
        )
    if any(len(found) > 8 for found in map(re.findall, _DECIMAL_COMMAS, [start] * 3)):
        return DataError(
            f"{tables[0]} holds numbers with a decimal comma", hint="Write them with a point: 0.5."
        )
    if len(tables) > 2 and all("/" in name for name in tables):
        return DataError(
            f"{source.label} holds {len(tables)} tables, such as {tables[0]}, and none with a "
            "label and at least 16 numbers in a line",
            hint=f"Where each is a sample, put all of a split into one array with numpy.stack: "
            f"{_SAVE}; series are N T C, recordings of events become frames N T C H W.",
        )
    return DataError(
        f"{tables[0]} holds no pixels: a label and at least 16 numbers are expected in a line, or "
        "at least 4 features in columns with names, beside one that is named as labels are",
        hint="Give one line for each sample, such as label,pixel0,pixel1,…, and name the column of "
        f"labels 'label', or say format = csv and labels_from = its name; or the arrays: {_SAVE}.",
    )
