"""Data sets: what is built in, what people have on disk, and the one form that is kept.

    from saf.data import BUILTIN, read, save
    dataset = BUILTIN["digits"]()
    dataset = read("cifar-10-python.tar.gz")
    save(dataset, "cifar10.safetensors")

Loads no torch.
"""

from saf.data.builtin import BUILTIN, CATALOGUE, CatalogueEntry, digits
from saf.data.canonical import Saved, load, save
from saf.data.dataset import Dataset
from saf.data.formats.detect import detect, read
from saf.data.formats.format import FORMATS, Format
from saf.data.sources.limits import Limits

__all__ = [
    "BUILTIN",
    "CATALOGUE",
    "FORMATS",
    "CatalogueEntry",
    "Dataset",
    "Format",
    "Limits",
    "Saved",
    "detect",
    "digits",
    "load",
    "read",
    "save",
]
