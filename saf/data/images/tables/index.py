"""Which images tables mean by names, paths and numbers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from saf.data.images.decode import is_image_name
from saf.data.images.words import Role, composed, roles_of


class Index:
    """Finds images by what tables call them: a path or its end, with or without the ending; in any
    case and either Unicode form."""

    def __init__(self, images: Iterable[str]) -> None:
        self._by_end: dict[tuple[str, ...], list[str]] = defaultdict(list)
        self._folded: dict[str, str] = {}
        self._found: dict[tuple[str, str, Role | None], list[str]] = {}
        for name in images:
            *folders, last = folded = _folded(name).split("/")
            self._folded[name] = "/" + "/".join(folded[:-1])
            stem = _stem(last)
            self._by_end[(stem,)].append(name)
            if folders:
                self._by_end[(folders[-1], stem)].append(name)
        self.names = frozenset(self._folded)
        self.count = len(self._folded)

    def find(self, said: str, table: str, role: Role | None) -> str | None:
        """The image that `said` names; of several, that which lies below the folder of the table,
        or in the split that the table's name says. None if there is none, or more than one."""
        found = self.all(said, table, role)
        return found[0] if len(found) == 1 else None

    def all(self, said: str, table: str, role: Role | None) -> list[str]:
        """The images that `said` may name; more than one where nothing tells them apart."""
        path = said.strip().strip("'\"").replace("\\", "/").removeprefix("./").lstrip("/")
        if not path or len(path) > 1024:
            return []
        place = (path, table.rpartition("/")[0], role)
        if place not in self._found:
            self._found[place] = self._find(*place)
        return self._found[place]

    def _find(self, path: str, beside: str, role: Role | None) -> list[str]:
        *folders, last = _folded(path).split("/")
        found = self._by_end.get((*folders[-1:], _stem(last)), [])
        if folders:
            end = "/" + "/".join(folders)
            found = [name for name in found if self._folded[name].endswith(end)]
        if len(found) > 1 and is_image_name(last):
            wanted = composed(path.rpartition("/")[2])
            found = [n for n in found if composed(n.rpartition("/")[2]) == wanted] or found
        if len(found) > 1:
            found = [n for n in found if beside and n.startswith(beside + "/")] or found
        if len(found) > 1 and role is not None:
            own = [n for n in found if role in path_roles(n)]
            found = own or [n for n in found if not path_roles(n)]
        return found


def path_roles(name: str) -> set[Role]:
    """The splits that the folders of an image say."""
    said = (roles_of([part]).get(part) for part in name.split("/")[:-1])
    return {role for role in said if role is not None}


def _folded(text: str) -> str:
    return composed(text).casefold()


def _stem(last: str) -> str:
    return last.rpartition(".")[0] if is_image_name(last) else last
