"""The base of all parts of a specification: validated, immutable, without unknown keys."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Auto = Literal["auto"]
"""A setting that becomes a number before the training starts, by `saf.config.automatic`."""


class Strict(BaseModel):
    """Unknown keys, NaN and infinite values are errors; docstrings describe the fields."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )
