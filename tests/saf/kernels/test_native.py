"""C++ is compiled once, kept where nobody else can write, and done without where it fails."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from saf.kernels import lif_scan, native
from saf.kernels.saf_scan import Constant, Scanned, by, scan, spike_scan
from saf.kernels.winograd_transforms import _as_cpp, matrices
from saf.model import weight_standardisation
from saf.neurons.dynamics import lif_step
from tests.saf.kernels.compiler import needs_compiler

pytestmark = needs_compiler


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, and no library that was found before."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    native.library.cache_clear()
    yield tmp_path / "cache" / "saf"
    native.library.cache_clear()


def test_a_library_is_compiled_once_and_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert native.library("scan") is not None
    (kept,) = cache.iterdir()
    assert kept.name.startswith("scan-")
    assert kept.suffix == ".so"
    native.library.cache_clear()
    called = []

    def run(command: list[str], **more: object) -> subprocess.CompletedProcess[str]:
        called.append(command[1:])
        return subprocess.CompletedProcess(command, 0, stdout=version)

    version = native._called(["c++", "--version"])
    monkeypatch.setattr(subprocess, "run", run)
    assert native.library("scan") is not None
    assert called == [["--version"]]


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: whole[:5000] + bytes(byte ^ 0x55 for byte in whole[5000:5100]) + whole[5100:],
        lambda whole: whole[: len(whole) // 2],
        lambda whole: whole[:-32],
        lambda whole: whole + b"more",
        lambda _whole: b"",
    ],
    ids=["flipped", "cut", "without its digest", "longer", "empty"],
)
def test_a_damaged_library_is_not_loaded_but_compiled_again(
    cache: Path, damage: Callable[[bytes], bytes]
) -> None:
    assert native.library("scan") is not None
    (kept,) = cache.iterdir()
    whole = kept.read_bytes()
    (cache / "damaged").write_bytes(damage(whole))
    (cache / "damaged").chmod(0o700)
    (cache / "damaged").rename(kept)  # what is loaded stays what it was
    native.library.cache_clear()

    assert native.library("scan") is not None

    assert list(cache.iterdir()) == [kept]
    content = kept.read_bytes()
    assert sha256(content[:-32]).digest() == content[-32:]
    assert len(content) == len(whole)


@pytest.mark.slow
def test_another_head_is_another_library(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert native.library("scan") is not None
    assert native.library("scan", "// another\n") is not None
    assert len(list(cache.iterdir())) == 2


def test_without_a_compiler_there_is_none_and_the_log_says_so(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CXX", "/nowhere/c++")
    assert native.library("scan") is None
    assert native.library("scan") is None
    assert caplog.text.count("there is no C++ compiler '/nowhere/c++'") == 1


def test_what_the_compiler_says_is_in_the_log(
    cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert native.library("scan", "not C++;") is None
    assert "scan.cpp is not compiled here" in caplog.text
    assert "error" in caplog.text
    assert list(cache.iterdir()) == []


def test_compiled_code_that_others_could_replace_is_not_loaded(
    cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache.mkdir(parents=True)
    cache.chmod(0o777)
    assert native.library("scan") is None
    assert "others can write to" in caplog.text


@pytest.mark.slow
def test_what_is_no_library_is_not_used(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert native.library("scan") is not None
    (kept,) = cache.iterdir()
    other = tmp_path / "other" / "saf"
    other.mkdir(parents=True)
    (other / kept.name).write_bytes(b"something else" + sha256(b"something else").digest())
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(other.parent))
    native.library.cache_clear()
    assert native.library("scan") is None
    assert "scan.cpp is not compiled here" in caplog.text


def test_threads_are_those_of_torch() -> None:
    """Two pools of threads in one process would fight for the cores."""
    code = (
        "import torch; from saf.kernels import native\n"
        "assert native.library('scan') is not None\n"
        "found = {line.split()[-1] for line in open('/proc/self/maps') if 'gomp' in line}\n"
        "assert len(found) == 1, found\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("level", ["x86-64", "x86-64-v3", "x86-64-v4"])
@pytest.mark.parametrize("name", ["winograd", "scan", "standardise"])
@pytest.mark.skipif(platform.machine() != "x86_64", reason="levels of x86-64")
def test_compilers_have_nothing_to_warn_of(name: str, level: str) -> None:
    warnings = ("-Wall", "-Wextra", "-Werror", "-Wno-psabi")
    of = (f"-I{native.SOURCES}", "-fsyntax-only")
    head = _as_cpp(matrices()) if name == "winograd" else ""
    done = subprocess.run(
        ["c++", *native.OPTIONS, f"-march={level}", *of, *warnings, "-x", "c++", "-"],
        input=head + (native.SOURCES / f"{name}.cpp").read_text(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@settings(max_examples=60, deadline=None)
@given(
    steps=st.integers(1, 4),
    samples=st.integers(1, 3),
    channels=st.integers(1, 40),
    decay=st.sampled_from([0.5, 0.7, 0.99]),
    threshold=st.sampled_from([1.0, 1.3]),
    flat=st.booleans(),
    arriving=st.booleans(),
    carried=st.booleans(),
    of_all=st.booleans(),
    seed=st.integers(0, 99),
)
def test_saf_neurons_have_the_very_bits_of_the_reference(
    steps: int,
    samples: int,
    channels: int,
    decay: float,
    threshold: float,
    flat: bool,
    arriving: bool,
    carried: bool,
    of_all: bool,
    seed: int,
) -> None:
    shape = (channels,) if flat else (channels, 5, 3)
    generator = torch.Generator().manual_seed(seed)

    def drawn(samples: int, *shape: int) -> torch.Tensor:
        x = 2.0 * torch.randn(samples, *shape, generator=generator)
        return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x

    of_all = of_all and arriving
    value = drawn(1, channels, *(1 for _ in shape[1:])) if of_all else drawn(samples, *shape)
    current = drawn(steps * samples, *shape) if arriving else None
    carry = drawn(samples, *shape).abs() if carried else None
    factors = [(1 - decay**t) / (1 - decay) for t in range(2, steps + 2)]
    given = (Constant(value, of_all, factors, factors), carry, decay, threshold, None)
    expected = scan(None if current is None else current.clone(), *given)
    with native.allowed(), by(never):
        accumulated, fired = spike_scan(None if current is None else current.clone(), *given)
    assert torch.equal(accumulated, expected.accumulation)
    assert float(fired) == float(expected.fired)


def never(*given: Any, **options: Any) -> Scanned:
    raise AssertionError("it was to be scanned in C++")


def test_scans_in_bfloat16_round_their_results() -> None:
    generator = torch.Generator().manual_seed(0)
    current, carry = (
        torch.randn(n, 24, generator=generator).bfloat16().abs() for n in (3 * 50, 50)
    )
    constant = Constant(torch.full((1, 24), 0.25).bfloat16(), True, [1.0, 1.5, 1.75], [1.0] * 3)
    given = (carry, 0.5, 1.0, None)
    with native.allowed(), by(never):
        found, fired = spike_scan(current.clone(), constant, *given)
    wide = constant._replace(value=constant.value.float())
    expected = scan(current.float(), wide, carry.float(), *given[1:])
    assert found.dtype == torch.bfloat16
    # Where a rounded sum lies on the other side of the threshold, a spike more or less is counted.
    assert ((found.float() - expected.accumulation).abs() < 2**-6).float().mean() > 0.98
    assert abs(float(fired) - float(expected.fired)) < 0.01 * found.numel()


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 5),
    st.integers(1, 3),
    st.integers(1, 9),
    st.sampled_from([0.5, 0.7, 0.99]),
    st.sampled_from([1.0, 1.3]),
    st.booleans(),
    st.integers(0, 99),
)
def test_lif_neurons_have_the_very_bits_of_the_reference(
    steps: int, samples: int, channels: int, decay: float, threshold: float, last: bool, seed: int
) -> None:
    shape = (samples, channels, 17, 11)
    generator = torch.Generator().manual_seed(seed)
    form = torch.channels_last if last else torch.contiguous_format

    def drawn(*of: int) -> torch.Tensor:
        return 2.0 * torch.randn(of, generator=generator).contiguous(memory_format=form)

    current = drawn(steps * samples, *shape[1:])
    state = lif_scan.LIFState(u=drawn(*shape), s=(drawn(*shape) > 0).float())
    expected, spikes = state, []
    for of_step in current.chunk(steps):
        fired, expected = lif_step(of_step, expected, decay, threshold)
        spikes.append(fired)
    calls = []
    with pytest.MonkeyPatch.context() as patch, native.allowed():
        patch.setattr(lif_scan, "FEWEST_NEURONS", 1)
        patch.setattr(lif_scan, "_in_torch", lambda *given: calls.append(given))
        found, after = lif_scan.lif_scan(current.clone(), state, decay, threshold)
    assert calls == []
    assert torch.equal(found, torch.cat(spikes))
    assert torch.equal(after.u, expected.u)
    assert torch.equal(after.s, expected.s)
    assert found.sum() > 0


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 3e-6), (torch.bfloat16, 5e-3)])
def test_weights_are_standardised_as_by_torch(
    dtype: torch.dtype, error: float, kernel: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weight_standardisation, "FEWEST_WEIGHTS", 1)
    generator = torch.Generator().manual_seed(0)
    weight = 3.0 + torch.randn(7, 37, kernel, kernel, generator=generator)
    gain = torch.randn(7, 1, 1, 1, generator=generator)
    towards = torch.randn(weight.shape, generator=generator).to(dtype)
    found = []
    for yes in (True, False):
        leaves = (weight.clone().requires_grad_(), gain.clone().requires_grad_())
        with native.allowed(yes):
            value = weight_standardisation.standardised(*leaves, 1.7, dtype)
        assert value.dtype == dtype
        assert value.is_contiguous(memory_format=torch.channels_last)
        found.append((value.detach(), *torch.autograd.grad(value, leaves, towards)))
    wide = weight.double().requires_grad_(), gain.double().requires_grad_()
    exact = 1.7 * weight_standardisation.standardise(*wide)
    expected = (exact.detach(), *torch.autograd.grad(exact, wide, towards.double()))
    for ours, torchs, theirs in zip(*found, expected, strict=True):
        scale = float(theirs.abs().max())
        for one in (ours, torchs):
            assert float((one.double() - theirs).abs().max()) < error * scale
    assert not torch.equal(found[0][1], found[1][1])  # other sums: it was computed in C++
