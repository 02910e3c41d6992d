"""Registries: what can be chosen by name, where a lab adds its own, and where each thing is from.

A registry holds classes. Those of this library register themselves when the modules of one package
are imported, those of plugins when the entry points of the group `saf.plugins` are loaded; both
happen once a process, when a registry is first asked. Importing any of them loads no torch.
"""

from __future__ import annotations

import logging
import pkgutil
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from threading import RLock
from typing import Any, Generic, Protocol, TypeVar

GROUP = "saf.plugins"
"""The group of entry points whose modules register what a plugin adds."""

logger = logging.getLogger(__name__)


class Member(Protocol):
    """What every registered class has. Its docstring is its documentation."""

    label: str
    """What people read in place of the name."""
    place: int
    """The position in lists; those of one place are in the order of their names."""


T = TypeVar("T")
M = TypeVar("M", bound=type)


class DuplicateNameError(ValueError):
    """Two things of one kind and one name."""

    def __init__(self, kind: str, name: str, first: str, second: str) -> None:
        super().__init__(f"{first} and {second} both add the {kind} {name!r}")
        self.first = first


@dataclass
class Plugin:
    """One entry point of `saf.plugins`: what it added, or why it was refused."""

    name: str
    distribution: str
    version: str
    error: str = ""
    """Why nothing of it is registered; empty where all went well."""
    adds: list[tuple[str, str]] = field(default_factory=list)
    """Kind and name of what it registered."""

    @property
    def package(self) -> str:
        """What is installed: name and version of the distribution."""
        return f"{self.distribution} {self.version}"

    def __str__(self) -> str:
        return f"plugin {self.name} ({self.package})"


_loading: ContextVar[Plugin | None] = ContextVar("_loading", default=None)
_lock = RLock()
_registries: list[Registry[Any]] = []
_plugins: list[Plugin] | None = None


class Registry(Generic[T]):
    """The classes of one kind by name, those of this library first."""

    def __init__(self, kind: str, package: str) -> None:
        """`kind` is what one is called, "surrogate"; `package` is where those of this library are,
        one module each, also in folders below."""
        self.kind = kind
        self.package = package
        self.version = 0
        self._members: dict[str, type[T]] = {}
        self._origins: dict[str, Plugin | None] = {}
        self._discovered = False
        _registries.append(self)

    def add(self, member: M) -> M:
        """Register a class by its `name`, as a decorator. Raises DuplicateNameError."""
        name = name_of(member)
        plugin = _loading.get()
        with _lock:
            there: type | None = self._members.get(name)
            if there is not None and _path(there) != _path(member):
                first, second = self._origins[name] or _path(there), plugin or _path(member)
                raise DuplicateNameError(self.kind, name, str(first), str(second))
            self._members[name] = member
            self._origins[name] = plugin
            self.version += 1
        if plugin is not None:
            plugin.adds.append((self.kind, name))
        return member

    def remove(self, name: str) -> None:
        """Take a class out again, as of a plugin that failed later on."""
        with _lock:
            del self._members[name], self._origins[name]
            self.version += 1

    def members(self) -> dict[str, type[T]]:
        """All classes by name, in the order in which lists show them."""
        self._discover()
        with _lock:
            found: list[tuple[str, Any]] = list(self._members.items())
        found.sort(key=lambda each: (self._origins[each[0]] is not None, each[1].place, each[0]))
        return dict(found)

    def names(self) -> tuple[str, ...]:
        """The names, in the order in which lists show them."""
        return tuple(self.members())

    def origin(self, name: str) -> Plugin | None:
        """The plugin that added it; None where it came with this library."""
        self._discover()
        return self._origins.get(name)

    def __getitem__(self, name: str) -> type[T]:
        """The class of a name. Raises KeyError with a sentence."""
        found = self.members()
        if name not in found:
            raise KeyError(f"there is no {self.kind} {name!r}; there are {', '.join(found)}")
        return found[name]

    def __contains__(self, name: object) -> bool:
        return name in self.members()

    def __iter__(self) -> Iterator[type[T]]:
        return iter(self.members().values())

    def _discover(self) -> None:
        with _lock:
            if self._discovered:
                return
            self._discovered = True  # before, since the modules may ask
            token = _loading.set(None)
            try:
                package = import_module(self.package)
                for module in sorted(
                    each.name
                    for each in pkgutil.walk_packages(package.__path__, f"{self.package}.")
                ):
                    import_module(module)
            except BaseException:
                self._discovered = False
                raise
            finally:
                _loading.reset(token)
            plugins()


def name_of(member: type) -> str:
    """The name under which a class is registered: its attribute, or the default of its field."""
    fields = getattr(member, "model_fields", {})
    found = fields["name"].default if "name" in fields else getattr(member, "name", None)
    if not isinstance(found, str) or not found:
        raise TypeError(f'{_path(member)} has no name; give it one: name: Literal["…"] = "…"')
    return found


def plugins() -> tuple[Plugin, ...]:
    """Load every plugin, once a process, and say what became of each. None stops the program: one
    that fails is logged in a line and adds nothing."""
    global _plugins
    with _lock:
        if _plugins is None:
            _plugins = []
            _load(_plugins)
        return tuple(_plugins)


def _load(loaded: list[Plugin]) -> None:
    points = sorted(entry_points(group=GROUP), key=lambda point: (point.name, point.value))
    names = [point.name for point in points]
    for point in points:
        plugin = _described(point)
        loaded.append(plugin)
        if names.count(point.name) > 1:
            plugin.error = f"another plugin is called {point.name!r}, too; remove one of them"
            continue
        try:
            with _adding(plugin):
                point.load()
                if not plugin.adds:
                    _register_again(point, plugin)
        except DuplicateNameError as error:
            _withdraw(plugin, str(error))
            for other in loaded:
                if str(other) == error.first:
                    _withdraw(other, str(error))
        except (Exception, SystemExit) as error:  # whatever somebody else's module raises
            said = " ".join(str(error).split())[:300]
            _withdraw(plugin, f"{type(error).__name__}: {said}".removesuffix(": "))
    for plugin in loaded:
        if plugin.error:
            logger.warning("%s is left out: %s", plugin, plugin.error)


@contextmanager
def _adding(plugin: Plugin) -> Iterator[None]:
    token = _loading.set(plugin)
    try:
        yield
    finally:
        _loading.reset(token)


def _register_again(point: EntryPoint, plugin: Plugin) -> None:
    """Register the classes of a module that was imported before, and so registered nothing now."""
    for registry in _registries:
        for name, member in list(registry._members.items()):
            if member.__module__.split(".")[0] == point.module.split(".")[0]:
                registry._origins[name] = plugin
                plugin.adds.append((registry.kind, name))


def _described(point: EntryPoint) -> Plugin:
    if point.dist is None:
        return Plugin(point.name, point.module, "")
    return Plugin(point.name, point.dist.name, point.dist.version)


def _withdraw(plugin: Plugin, error: str = "") -> None:
    plugin.error = plugin.error or error
    for kind, name in plugin.adds:
        for registry in _registries:
            if registry.kind == kind and registry._origins.get(name) is plugin:
                registry.remove(name)
    plugin.adds.clear()


def _path(member: type) -> str:
    return f"{member.__module__}.{member.__qualname__}"
