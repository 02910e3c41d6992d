"""Native code: C++ that is compiled on this machine, where `allowed` and a compiler exists.

The sources are in `saf/kernels/cpp`: functions without Python or torch, called with the addresses
of tensors. Compiled libraries are kept in `TORCHINDUCTOR_CACHE_DIR`, or in the user's cache, under
a hash of source, options and compiler, and with a digest: a damaged one is compiled again.
Compiling takes some seconds. Without a compiler, or after any error, which is logged, torch
computes the same results.
"""

from __future__ import annotations

import ctypes
import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from saf import files
from saf.kernels.cachedir import is_private, private_cache
from saf.kernels.processor import capabilities

Name = Literal["winograd", "scan", "standardise"]
OPTIONS = ("-std=c++17", "-O2", "-fPIC", "-fopenmp")
OWN_OPTIONS: dict[Name, tuple[str, ...]] = {
    "winograd": (),
    "standardise": ("-O3",),
    "scan": ("-O3", "-ffp-contract=off"),  # the very bits of torch's operations
}
SECONDS = 300  # for the compiler
DIGEST_BYTES = 32  # of SHA-256
SOURCES = Path(__file__).parent / "cpp"

_allowed: ContextVar[bool] = ContextVar("native", default=False)
logger = logging.getLogger(__name__)


@contextmanager
def allowed(yes: bool = True) -> Iterator[None]:
    """Context manager: C++ replaces torch's operations where it can."""
    before = _allowed.set(yes)
    try:
        yield
    finally:
        _allowed.reset(before)


def is_allowed() -> bool:
    """Whether this is inside `allowed`."""
    return _allowed.get()


@cache
def library(name: Name, head: str = "") -> ctypes.CDLL | None:
    """Compiled functions of `saf/kernels/cpp/<name>.cpp`, with `head` before the source; None
    where they cannot be compiled or loaded, which is logged once."""
    try:
        return ctypes.CDLL(str(_compiled(name, head)))
    except subprocess.CalledProcessError as error:
        reason = next((line for line in error.stderr.splitlines() if "error" in line), error.stderr)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        reason = str(error)
    logger.warning("%s.cpp is not compiled here: %s", name, reason.strip())
    return None


def has_all() -> bool:
    """Whether all functions that need no head can be compiled and loaded."""
    return library("scan") is not None and library("standardise") is not None


def call(function: Any, *given: Tensor | int | float | Sequence[float] | None) -> int:
    """Call a function. Tensors and sequences of float are passed as addresses, integers and
    choices as int64_t, floats as they are; its int64_t is returned, if any. Tensors are dense in
    memory unless the function takes strides."""
    function.restype = ctypes.c_int64
    return int(function(*(_argument(value) for value in given)))


def type_of(tensor: Tensor) -> str:
    """Type of a tensor as in the names of functions: `float32`."""
    return str(tensor.dtype).removeprefix("torch.")


def _argument(value: Tensor | int | float | Sequence[float] | None) -> Any:
    match value:
        case Tensor():
            return ctypes.c_void_p(value.data_ptr())
        case int():
            return ctypes.c_int64(value)
        case float():
            return ctypes.c_float(value)
        case None:
            return None
    return (ctypes.c_float * len(value))(*value)


def _compiled(name: Name, head: str) -> Path:
    wanted = os.environ.get("CXX", "c++")
    compiler = shutil.which(wanted)
    if compiler is None:
        raise OSError(f"there is no C++ compiler {wanted!r}; the package g++ has one (c++)")
    source = head + (SOURCES / f"{name}.cpp").read_text()
    headers = (path.read_text() for path in sorted(SOURCES.glob("*.h")))
    options = (*OPTIONS, *_of_this_processor(), *OWN_OPTIONS[name])
    version = _called([compiler, "--version"])
    of = "\0".join((source, *headers, *options, compiler, version, torch.__version__))
    path = private_cache("saf") / f"{name}-{sha256(of.encode()).hexdigest()[:16]}.so"
    if is_private(path) and _is_whole(path):
        return path
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        text, compiled, linked = (Path(scratch) / f"{name}{end}" for end in (".cpp", ".o", ".so"))
        text.write_text(source)
        _called([compiler, *options, f"-I{SOURCES}", "-c", str(text), "-o", str(compiled)])
        _called([compiler, "-shared", str(compiled), *_openmp(), "-o", str(linked)])
        content = linked.read_bytes()
        with files.written(path, mode=0o600) as file:  # half a library would crash who loads it
            file.write(content + sha256(content).digest())
    return path


def _is_whole(path: Path) -> bool:
    """Whether a library is intact: its SHA-256 is appended to it, where no loader looks. A
    damaged one could crash the process or compute something else."""
    content = path.read_bytes()
    return sha256(content[:-DIGEST_BYTES]).digest() == content[-DIGEST_BYTES:]


def _of_this_processor() -> tuple[str, ...]:
    """Compiler options for the instruction sets of this CPU, as levels that compilers know."""
    has = capabilities()
    if has.get("architecture") != "x86_64":
        return ()
    if all(has.get(f"avx512_{part}") for part in ("f", "bw", "cd", "dq", "vl")):
        return ("-march=x86-64-v4", "-mprefer-vector-width=512")
    if all(has.get(part) for part in ("avx2", "fma3", "bmi", "bmi2", "f16c", "lzcnt")):
        return ("-march=x86-64-v3",)
    return ()


def _openmp() -> list[str]:
    """What to link with for threads: torch's own OpenMP, so that both share its threads."""
    of_torch = sorted((Path(torch.__file__).parent / "lib").glob("libgomp*.so*"))
    return [str(of_torch[0])] if of_torch else ["-fopenmp"]


def _called(command: list[str]) -> str:
    return subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=SECONDS
    ).stdout
