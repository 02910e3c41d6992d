"""A field that holds one of the members of a registry, told by its `name`.

Validation, errors and JSON schema are those of a union of the members with `name` as discriminator,
made when they are asked for: what a plugin adds later is there, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, GetJsonSchemaHandler, TypeAdapter, create_model
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from saf.config.base import Strict
from saf.registry import Registry, name_of


class Choice:
    """The annotation of such a field: `Annotated[Method, Choice(METHODS, "saf-f")]`."""

    def __init__(self, registry: Registry[Any], default: str) -> None:
        """`default` is the name of the member that stands where nothing is sent."""
        self.registry = registry
        self.default_name = default
        self._adapter: tuple[int, TypeAdapter[Any]] | None = None

    def default(self) -> Any:
        """The member by default, with its own defaults."""
        return self.registry[self.default_name]()

    def adapter(self) -> TypeAdapter[Any]:
        """The union of what is registered."""
        members = self.registry.members()
        version = self.registry.version
        if self._adapter is None or self._adapter[0] != version:
            found: Any = tuple(members.values())
            union: Any = found[0]
            for member in found[1:]:
                union = union | member
            if len(found) > 1:
                union = Annotated[union, Field(discriminator="name")]
            self._adapter = (version, TypeAdapter(union))
        return self._adapter[1]

    def members(self) -> list[type[BaseModel]]:
        """Classes that the field may hold, in the order of lists."""
        return list(self.registry)

    def member(self, name: object) -> type[BaseModel] | None:
        """The member of a name."""
        return self.registry.members().get(str(name))

    def for_setting(self, setting: str) -> str:
        """The name of the default member, or of the first one that has the setting."""
        members = [self.registry[self.default_name], *self.registry]
        fitting = (member for member in members if setting in member.model_fields)
        return name_of(next(fitting, members[0]))

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._validated)

    def _validated(self, value: Any) -> Any:
        return self.adapter().validate_python(value)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        found = handler.resolve_ref_schema(handler(self.adapter().core_schema))
        return {**found, "default": self.default().model_dump(mode="json")}


class Variant(Choice):
    """A choice between members that have the settings of one model, `base`, and differ in what they
    compute. Where no member has more, that model with the names is the schema; the name may be left
    out, and then means the default."""

    def __init__(self, registry: Registry[Any], default: str, base: type[BaseModel]) -> None:
        super().__init__(registry, default)
        self.base = base

    def is_flat(self) -> bool:
        """Whether all members have the settings of `base` and no others."""
        settings = self.base.model_fields.keys()
        return all(member.model_fields.keys() == settings for member in self.registry)

    def adapter(self) -> TypeAdapter[Any]:
        if not self.is_flat():
            return super().adapter()
        names = self.registry.names()
        if self._adapter is None or self._adapter[0] != self.registry.version:
            fields: dict[str, Any] = {
                key: (field.annotation, field) for key, field in self.base.model_fields.items()
            }
            fields["name"] = (Literal[names], self.default_name)
            flat = create_model(
                self.base.__name__, __base__=Strict, __doc__=self.base.__doc__, **fields
            )
            self._adapter = (self.registry.version, TypeAdapter(flat))
        return self._adapter[1]

    def _validated(self, value: Any) -> Any:
        if isinstance(value, BaseModel):
            if type(value) in self.registry.members().values():
                return value
            value = value.model_dump()
        if self.is_flat():
            found = self.adapter().validate_python(value)
            given = {key: getattr(found, key) for key in found.model_fields_set - {"name"}}
            return self.registry[found.name](**given)
        if isinstance(value, Mapping) and "name" not in value:
            value = {"name": self.default_name, **value}
        return self.adapter().validate_python(value)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        # Wrapped, so that the model becomes a definition of its own, as all others are.
        found = handler(core_schema.definitions_schema(self.adapter().core_schema, []))
        return {**found, "default": self.default().model_dump(mode="json")}


class Several:
    """The annotation of a field that names several members of a registry, each once; one with
    settings may be an object with its `name`."""

    def __init__(self, registry: Registry[Any]) -> None:
        self.registry = registry
        self._adapter: tuple[int, TypeAdapter[Any]] | None = None

    def adapter(self) -> TypeAdapter[Any]:
        """Names, or objects of those members that have settings."""
        members = self.registry.members()
        if self._adapter is None or self._adapter[0] != self.registry.version:
            item: Any = Literal[tuple(members)]
            for member in members.values():
                if len(member.model_fields) > 1:
                    item = item | member
            whole: Any = Annotated[tuple[item, ...], Field(max_length=len(members))]
            self._adapter = (self.registry.version, TypeAdapter(whole))
        return self._adapter[1]

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._validated)

    def _validated(self, value: Any) -> Any:
        return self.adapter().validate_python(value)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return handler(self.adapter().core_schema)


def choice_of(field: FieldInfo | None) -> Choice | None:
    """The choice of a model that a field of a model is; None where it is none, or where the choice
    is one of the settings of a single model."""
    metadata = field.metadata if field is not None else ()
    found = next((each for each in metadata if isinstance(each, Choice)), None)
    return None if isinstance(found, Variant) and found.is_flat() else found


def unknown_names(specification: Mapping[str, Any], model: type[BaseModel]) -> list[str]:
    """Names in a specification that no registry has, such as `method 'mine'`, so that a missing
    plugin can be told."""
    return [
        f"{registry.kind} {name!r}"
        for registry, name in _names(specification, model)
        if name not in registry
    ]


def plugins_of(specification: Mapping[str, Any], model: type[BaseModel]) -> dict[str, str]:
    """The packages of what a specification names and plugins add: `{"method 'mine'": "lab-plugin
    1.0"}`, with the words of `unknown_names`."""
    return {
        f"{registry.kind} {name!r}": plugin.package
        for registry, name in _names(specification, model)
        if (plugin := registry.origin(name)) is not None
    }


def _names(
    specification: Mapping[str, Any], model: type[BaseModel]
) -> Iterator[tuple[Registry[Any], str]]:
    """All names in a specification that are looked up in a registry."""
    for key, field in model.model_fields.items():
        value = specification.get(key)
        for of in field.metadata:
            if isinstance(of, Choice | Several):
                named = value if isinstance(value, list | tuple) else [value]
                for each in named:
                    name = each.get("name") if isinstance(each, Mapping) else each
                    if isinstance(name, str):
                        yield of.registry, name
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel) and isinstance(value, Mapping):
            yield from _names(value, inner)
