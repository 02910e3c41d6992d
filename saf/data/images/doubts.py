"""Why folders that would be classes may be none, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from saf.data.images.words import GENERIC, MASKS, is_no_class, is_part, joined, plain_role, roles_of

if TYPE_CHECKING:
    from saf.data.images.tree import Node, Structure


def note_doubts(node: Node, found: Structure) -> None:
    """Note why folders that would be classes may be none, in words, if anything says so."""
    names = sorted(node.folders)
    found.doubts, found.odd = _doubts(node, names, found.splits), ()
    if found.doubts:
        return
    found.odd = tuple(
        name
        for name in names
        if joined(name) in GENERIC
        or is_part(name)
        or (plain_role(name) in ("val", "test") and not found.splits)
    )
    if found.odd and len(names) > 1:
        others = [name[:60] for name in names if name != found.odd[0]]
        listed = ", ".join(others[:6]) + (", …" if len(others) > 6 else "")
        found.doubts = f"the folder {found.odd[0]} beside {listed} is named as no class is"


def _doubts(node: Node, names: list[str], within_split: bool) -> str:
    """Why all of the folders may be no classes."""
    if not names:
        return "all images lie in one folder, and no folder says their classes"
    if len(names) == 1:
        if node.folders[names[0]].folders or within_split:
            return ""
        return f"all images lie in one folder, {names[0][:100]}, and no folder says their classes"
    listed = ", ".join(name[:60] for name in names[:6]) + (", …" if len(names) > 6 else "")
    stems = {
        name: {file.rpartition("/")[2].rpartition(".")[0] for file in folder.all_files()}
        for name, folder in node.folders.items()
        if joined(name) in GENERIC
    }
    masks = any(joined(name) in MASKS for name in names)
    if masks and len(stems) == len(names) > 1 and len(set(map(frozenset, stems.values()))) == 1:
        return f"the folders {listed} hold images of the same names"
    if all(joined(n) in GENERIC or is_part(n) if within_split else is_no_class(n) for n in names):
        return f"the folders {listed} are named as no classes are"
    if not within_split and roles_of(names).keys() == set(names):
        return f"the folders {listed} are named as splits are"
    if any(plain_role(name) == "train" and node.folders[name].folders for name in names):
        return f"of the folders {listed}, train holds folders, as a split does and no class"
    return ""
