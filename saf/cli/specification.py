"""A job specification as people write it: a JSON file, options of a command, or both."""

from __future__ import annotations

import copy
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from saf.config import JobSpecification
from saf.config.json_pointer import pointer, put
from saf.cores import prepare_threads
from saf.presets import PRESETS, Preset, find_preset

SpecificationFile = Annotated[
    Path | None,
    typer.Argument(metavar="[SPEC.json]", help="The job as JSON; - reads it from stdin."),
]
PresetOption = Annotated[
    str | None,
    typer.Option("--preset", metavar="NAME", help="Settings to start from: quick, rows, shd, …"),
]
DatasetOption = Annotated[
    str | None, typer.Option("--dataset", help="Name or id; saf train takes a path, too.")
]
NetworkOption = Annotated[str | None, typer.Option("--network", help="convnet, vgg11, …")]
MethodOption = Annotated[str | None, typer.Option("--method", help="saf-e, saf-f, ottt-a, …")]
NameOption = Annotated[str | None, typer.Option("--name", help="Free text.")]
EpochsOption = Annotated[int | None, typer.Option("--epochs")]
TimestepsOption = Annotated[int | None, typer.Option("--timesteps", help="T.")]
InitOption = Annotated[
    str | None, typer.Option("--init", metavar="JOB", help="A job to take the first weights from.")
]
InitNetworkOption = Annotated[
    str | None,
    typer.Option(
        "--init-network",
        metavar="FILE",
        help="A lif.safetensors to upload and take the first weights from, or the id of one.",
    ),
]
FreezeOption = Annotated[
    list[str],
    typer.Option(
        "--freeze",
        metavar="LAYER",
        help="With --init: a layer that stays as it is, as layer1, 'stage1*' or '*'; repeatable.",
    ),
]
SetOption = Annotated[
    list[str], typer.Option("--set", metavar="KEY=VALUE", help="Any other, as neuron.decay=0.5.")
]


class SpecificationError(Exception):
    """It cannot be read, or a field is wrong; `errors` says which."""

    def __init__(self, detail: str, errors: Iterable[tuple[str, str]] = ()) -> None:
        super().__init__(detail)
        self.errors = list(errors)


def preset_of(name: str | None) -> Preset | None:
    """The preset that `--preset` names. Raises `SpecificationError` where there is none."""
    if name is None:
        return None
    found = find_preset(name)
    if found is None:
        names = ", ".join(preset.key for preset in PRESETS)
        raise SpecificationError(f"there is no preset {name!r}; there are {names}")
    return found


def read(
    path: Path | None,
    options: Mapping[str, Any],
    settings: Iterable[str],
    preset: Preset | None = None,
) -> dict[str, Any]:
    """What a file says (`-` is the standard input), or a preset in its place, then what options
    say, then `KEY=VALUE`s.

    `options` are top-level keys, None for one that was not given; those for `network`, `method`
    and the like are names. A key of a setting may have dots (`neuron.decay=0.5`), and its value is
    JSON where it can be read as such, text else; a single value for a list is a list of it, and a
    text one of what stands between its commas (`augment=flip`). Nothing is checked beyond that.
    Raises `SpecificationError`.
    """
    if path is not None and preset is not None:
        raise SpecificationError("give either SPEC.json or --preset")
    body = {} if path is None else _file(path)
    if preset is not None:
        body = preset.body()
    for key, value in options.items():
        if value is None:
            continue
        if key in ("network", "method"):
            old = body.get(key)
            # Settings of another method would be none of this one.
            body[key] = (
                old if isinstance(old, dict) and old.get("name") == value else {"name": value}
            )
        else:
            body[key] = value
    places = [_set(body, setting) for setting in settings]
    for parts in places:
        _make_list(body, parts)
    return body


def put_init(
    body: dict[str, Any],
    source: str | None,
    freeze: Sequence[str],
    *,
    network: str | None = None,
) -> None:
    """Put what `--init`, `--init-network` and `--freeze` say into a specification. Raises
    `SpecificationError`."""
    if source is not None and network is not None:
        raise SpecificationError("give either --init or --init-network")
    if source is None and network is None and not freeze:
        return
    init = body.get("init")
    init = dict(init) if isinstance(init, dict) else {}
    if source is not None:
        init.pop("network", None)
        init["job"] = source
    if network is not None:
        init.pop("job", None)
        init["network"] = network
    if not {"job", "network"} & init.keys():
        raise SpecificationError("--freeze needs --init: without it all weights are drawn anew")
    if freeze:
        init["freeze"] = list(freeze)
    body["init"] = init


def starting_from(body: dict[str, Any], file: Path, freeze: Sequence[str]) -> dict[str, Any]:
    """A specification of a training that starts from a `lif.safetensors`: what is not said is that
    of the network. Raises `SpecificationError`."""
    prepare_threads(os.environ)
    from saf.lif.network import load_lif
    from saf.lif.starting import settings_of, taken_over

    try:
        settings = settings_of(load_lif(file))
    except (ValueError, OSError) as error:
        raise SpecificationError(str(error)) from error
    init = body.get("init")
    begun = {**init, "network": file.name} if isinstance(init, dict) else {"network": file.name}
    begun.pop("job", None)
    if freeze:
        begun["freeze"] = list(freeze)
    return taken_over({**body, "init": begun}, settings)


def read_over(
    options: Iterable[str], body: Mapping[str, Any] | None = None
) -> dict[str, list[Any]]:
    """`KEY=V1,V2` as values by JSON pointer: JSON where they can be read as such, text else; a
    value with commas needs a JSON list of all. `body` is the specification that they are put into;
    where that has a list, a single value is a list of it. Raises `SpecificationError`."""
    found: dict[str, list[Any]] = {}
    for option in options:
        key, equals, text = option.partition("=")
        parts = key.split(".")
        if not equals or not all(parts) or not text:
            raise SpecificationError(
                f"{option!r} names no values; write KEY=V1,V2, for example neuron.decay=0.5,0.9"
            )
        place = pointer(parts)
        if place in found:
            raise SpecificationError(f"{key} is given twice; write all of its values in one")
        whole = _value(text) if text.startswith("[") else None
        values = whole if isinstance(whole, list) else [_value(v) for v in text.split(",")]
        found[place] = [_fitting(body or {}, parts, value) for value in values]
    if not found:
        raise SpecificationError(
            "a sweep needs values of at least one setting, for example --over seed=0,1,2"
        )
    return found


def check(body: Mapping[str, Any]) -> JobSpecification:
    """The specification, defaults filled in. Raises `SpecificationError` with the fields."""
    try:
        return JobSpecification.model_validate(body)
    except ValidationError as error:
        fields = [(pointer(_path(entry["loc"], body)), entry["msg"]) for entry in error.errors()]
        raise SpecificationError("the specification cannot be used as it is", fields) from error


def _file(path: Path) -> dict[str, Any]:
    try:
        content = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
        # UTF-8, 16 or 32, with a mark of it at the beginning or without.
        text = content.decode(json.detect_encoding(content))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise SpecificationError(f"{path} cannot be read: {reason}") from error
    try:
        body = json.loads(text)
    except ValueError as error:
        raise SpecificationError(f"{path} is no JSON: {error}") from error
    if not isinstance(body, dict):
        raise SpecificationError(
            f'{path} holds no JSON object; one looks like {{"dataset": "digits"}}'
        )
    return body


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _set(body: dict[str, Any], setting: str) -> list[str]:
    """Put the value of a setting; the place where it is."""
    key, equals, text = setting.partition("=")
    parts = key.split(".")
    if not equals or not all(parts):
        raise SpecificationError(
            f"{setting!r} sets nothing; write KEY=VALUE, for example neuron.decay=0.5"
        )
    value = _value(text)
    try:
        put(body, parts, value)
    except ValueError as error:
        raise SpecificationError(f"{setting!r}: {error}") from error
    return parts


def _make_list(body: dict[str, Any], parts: Sequence[str]) -> None:
    """Where a specification has a list, and one value was given, make a list of it."""
    *outer, last = parts
    inside = body
    for part in outer:
        inside = inside[part]
    value = inside.get(last)
    if value is None or isinstance(value, list | dict) or not _is_list(body, parts):
        return
    texts = value.split(",") if isinstance(value, str) else [value]
    inside[last] = [_value(text) if isinstance(text, str) else text for text in texts]


def _is_list(body: Mapping[str, Any], parts: Sequence[str]) -> bool:
    """Whether a specification has a list there, as its own check says."""
    try:
        JobSpecification.model_validate(body)
    except ValidationError as error:
        return any(
            entry["type"] in ("tuple_type", "list_type")
            and [str(part) for part in _path(entry["loc"], body)] == list(parts)
            for entry in error.errors()
        )
    return False


def _fitting(body: Mapping[str, Any], parts: Sequence[str], value: Any) -> Any:
    """A value to be put into a specification, in a list where that has one."""
    if value is None or isinstance(value, list | dict):
        return value
    tried = copy.deepcopy(dict(body))
    try:
        put(tried, parts, value)
    except ValueError:
        return value  # the server says what is wrong with its place
    return [value] if _is_list(tried, parts) else value


def _path(place: tuple[int | str, ...], body: Any) -> list[int | str]:
    """A place as pydantic gives it, without the chosen member of a union, which is no key."""
    path: list[int | str] = []
    for part in place:
        if isinstance(body, dict) and path and part == body.get("name") and part not in body:
            continue
        path.append(part)
        try:
            body = body[part]
        except (KeyError, IndexError, TypeError):
            body = None
    return path
