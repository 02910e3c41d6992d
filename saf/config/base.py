"""The base of all parts of a specification: validated, immutable, without unknown keys."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

Auto = Literal["auto"]
"""A setting that becomes a number before the training starts, by `saf.config.automatic`."""


class OrAuto:
    """The annotation of a field of type `… | Auto`. What is neither gets the error of the number
    alone, with the pointer of the field: of a union, each member has an error with its own."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        number = handler.generate_schema(
            reduce(or_, (each for each in get_args(source) if each != Auto))
        )
        return core_schema.no_info_wrap_validator_function(
            lambda value, validated: value if value == "auto" else validated(value),
            number,
            serialization=core_schema.plain_serializer_function_ser_schema(lambda value: value),
            metadata={"whole": handler(source)},
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return handler(schema["metadata"]["whole"])


class Strict(BaseModel):
    """Unknown keys, NaN and infinite values are errors; docstrings describe the fields."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )
