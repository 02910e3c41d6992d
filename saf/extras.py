"""The extras of `saf-snn`: which modules each brings, and what to say where one is missing."""

from __future__ import annotations

from typing import Literal

Extra = Literal["client", "data", "export", "formats", "wasm"]

_MODULES: dict[Extra, frozenset[str]] = {
    "client": frozenset({"httpx", "pydantic_settings", "rich", "typer"}),
    "data": frozenset({"PIL"}),
    "export": frozenset({"onnx", "onnxruntime"}),
    "formats": frozenset({"backports", "h5py", "py7zr", "pyarrow", "scipy"}),
    "wasm": frozenset({"wasmtime", "ziglang"}),
}


def is_missing(extra: Extra, error: ModuleNotFoundError) -> bool:
    """Whether an import failed because the extra is not installed."""
    return (error.name or "").partition(".")[0] in _MODULES[extra]


def remedy(extra: Extra) -> str:
    """The command that installs the extra."""
    return f"pip install 'saf-snn[{extra}]'"
