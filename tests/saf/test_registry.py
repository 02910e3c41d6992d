"""Registries: names, their order, and two things of one name."""

from __future__ import annotations

import subprocess
import sys
from typing import ClassVar

import pytest

from saf.data.formats.format import FORMATS
from saf.registry import DuplicateNameError, Registry


class Thing:
    """Something."""

    label: ClassVar[str] = "something"
    place: ClassVar[int] = 100
    name: ClassVar[str] = "thing"


def test_what_comes_with_the_library_is_found_without_being_listed() -> None:
    some = ("image-folder", "idx", "cifar-python", "npz", "canonical")
    assert tuple(name for name in FORMATS.names() if name in some) == some
    assert all(kind.__doc__ and kind.label for kind in FORMATS)


def test_two_of_one_name_are_refused_with_where_both_are_from() -> None:
    registry: Registry[Thing] = Registry("thing", "saf.client")
    registry.add(Thing)
    registry.add(Thing)  # the same again, as when its module is loaded twice

    class Other(Thing):
        """Something else by that name."""

    with pytest.raises(DuplicateNameError, match=r"Thing and .*Other both add the thing 'thing'"):
        registry.add(Other)
    with pytest.raises(KeyError, match="there is no thing 'other'"):
        registry["other"]


def test_a_class_without_a_name_is_refused() -> None:
    registry: Registry[object] = Registry("thing", "saf.client")
    with pytest.raises(TypeError, match="has no name"):
        registry.add(object)


def test_importing_the_library_loads_no_plugin_and_asking_loads_no_torch() -> None:
    """A plugin imports the library, which therefore has to be imported before it."""
    code = (
        "import sys, saf.config, saf.data, saf.networks.build, saf.estimate.memory\n"
        "from saf import registry\n"
        "assert registry._plugins is None\n"
        "for each in registry._registries:\n"
        "    assert each.names()\n"
        "    assert all(kind.__doc__ and kind.label for kind in each)\n"
        "assert len(registry._registries) == 7\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
