"""Linear operations of the reference, with derivatives written out by hand.

Convolutions are sums over unfolded windows. Shapes: `B` samples, `C` channels, `H W` a plane.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from saf.networks.architecture import (
    AveragePool,
    Conv,
    Flatten,
    InARow,
    LearnedDelay,
    Linear,
    Operation,
    Scale,
    SumPool,
    Upsample,
)

Gradients = dict[str, Tensor]


@dataclass
class Map:
    """One linear operation with its effective weight, and the names of its parameters."""

    operation: Operation
    name: str = ""
    raw: Tensor | None = None
    gain: Tensor | None = None
    residual_gain: Tensor | None = None
    plain: Tensor | None = None  # standardised, before the gain of the branch
    weight: Tensor | None = None
    tap: Tap | None = None  # of learned delays


@dataclass
class Tap:
    """The share of a weight w that arrives at one tap d of a learned delay: w k_d with
    k_d = exp(z_d) / Σ exp(z_j), z_d = −(d − c)² / 2σ² and c = span · centre."""

    whole: Tensor  # w
    share: Tensor  # k_d
    slope: Tensor  # ∂k_d/∂centre


def taps_of(whole: Tensor, centre: Tensor, span: int, width: float) -> list[Tap]:
    """The weights of all taps, number by number."""
    c = span * centre
    e = [(-((d - c) ** 2) / (2 * width**2)).exp() for d in range(span + 1)]
    shares = [x / sum(e) for x in e]
    slopes = [(d - c) / width**2 for d in range(span + 1)]  # ∂z_d/∂c
    mean = sum(k * slope for k, slope in zip(shares, slopes, strict=True))
    return [
        Tap(whole, k, span * k * (slope - mean)) for k, slope in zip(shares, slopes, strict=True)
    ]


@dataclass
class Wire:
    """A connection."""

    source: str
    maps: list[Map]
    delay: int = 0


def at_each_tap(wire: Wire, delay: LearnedDelay, values: Mapping[str, Tensor]) -> list[Wire]:
    """The wires of a connection with learned delays."""
    *before, last = wire.maps
    assert last.weight is not None
    found = taps_of(last.weight, values[f"{last.name}.centre"], delay.span, delay.width)
    return [
        Wire(
            wire.source,
            [*before, replace(last, weight=tap.whole * tap.share, tap=tap)],
            wire.delay + number,
        )
        for number, tap in enumerate(found)
    ]


def standardised(raw: Tensor, gain: Tensor) -> Tensor:
    """Row by row: (w − mean) / sqrt(var · n + 1e-4) · gain, var = Σ (w − mean)² / (n − 1)."""
    rows = []
    for row, g in zip(raw.flatten(1), gain.flatten(), strict=True):
        d = row - row.sum() / len(row)
        var = (d * d).sum() / (len(row) - 1)
        rows.append(g * d / (var * len(row) + 1e-4).sqrt())
    return torch.stack(rows).view_as(raw)


def standardised_backward(raw: Tensor, gain: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of the raw weight and of the gain, from that of the standardised weight."""
    of_raw, of_gain = [], []
    for row, g, by in zip(raw.flatten(1), gain.flatten(), grad.flatten(1), strict=True):
        n = len(row)
        d = row - row.sum() / n
        r = ((d * d).sum() / (n - 1) * n + 1e-4) ** -0.5
        of_gain.append((by * d).sum() * r)
        of_d = by * g * r - (by * g * d).sum() * 0.5 * r**3 * n * 2 * d / (n - 1)
        of_raw.append(of_d - of_d.sum() / n)
    return torch.stack(of_raw).view_as(raw), torch.stack(of_gain).view_as(gain)


def forward(m: Map, x: Tensor) -> Tensor:
    """The operation on x, B …."""
    match m.operation:
        case Conv(window=k, strides=s, paddings=p, groups=groups) as conv:
            _, height, width = conv.output_shape(tuple(x.shape[1:]))
            out = []
            for part, w in zip(x.chunk(groups, 1), m.weight.chunk(groups, 0), strict=True):  # type: ignore[union-attr]
                windows = F.unfold(part, k, padding=p, stride=s)  # B, C k k, L
                out.append(torch.einsum("oc,bcl->bol", w.flatten(1), windows))
            return torch.cat(out, 1).reshape(len(x), -1, height, width)
        case Linear():
            return torch.einsum("of,bf->bo", m.weight, x)
        case AveragePool(window=k):
            return windows_of(x, k).mean((3, 5))
        case SumPool(window=k):
            return windows_of(x, k).sum((3, 5))
        case Upsample(factor=k):
            return x.repeat_interleave(k, 2).repeat_interleave(k, 3)
        case Scale(factor=factor):
            return factor * x
        case Flatten():
            return x.reshape(len(x), -1)
        case InARow(maps=maps):
            return x.reshape(len(x), maps, 1, -1)
    raise AssertionError(m.operation)


def windows_of(x: Tensor, window: tuple[int, int]) -> Tensor:
    """B C H/k k W/l l, incomplete windows dropped."""
    k, l = window  # noqa: E741
    b, c, h, w = x.shape
    return x[:, :, : h // k * k, : w // l * l].reshape(b, c, h // k, k, w // l, l)


def backward(m: Map, x: Tensor, grad: Tensor) -> tuple[Tensor, Tensor | None]:
    """Gradients of what entered, which had the value x, and of the weight if there is one."""
    match m.operation:
        case Conv(window=k, strides=s, paddings=p, groups=groups):
            of_x, of_weight = [], []
            parts = zip(
                x.chunk(groups, 1),
                m.weight.chunk(groups, 0),  # type: ignore[union-attr]
                grad.flatten(2).chunk(groups, 1),
                strict=True,
            )
            for part, w, g in parts:
                windows = F.unfold(part, k, padding=p, stride=s)
                of_weight.append(torch.einsum("bol,bcl->oc", g, windows).view_as(w))
                back = torch.einsum("oc,bol->bcl", w.flatten(1), g)
                of_x.append(F.fold(back, part.shape[2:], k, padding=p, stride=s))
            return torch.cat(of_x, 1), torch.cat(of_weight, 0)
        case Linear():
            return torch.einsum("of,bo->bf", m.weight, grad), torch.einsum("bo,bf->of", grad, x)
        case AveragePool(window=(k, l)) | SumPool(window=(k, l)):
            spread = grad.repeat_interleave(k, 2).repeat_interleave(l, 3)
            whole = torch.zeros_like(x)
            whole[:, :, : spread.shape[2], : spread.shape[3]] = spread
            return (whole / (k * l) if isinstance(m.operation, AveragePool) else whole), None
        case Upsample(factor=k):
            return windows_of(grad, (k, k)).sum((3, 5)), None
        case Scale(factor=factor):
            return factor * grad, None
        case Flatten() | InARow():
            return grad.reshape(x.shape), None
    raise AssertionError(m.operation)


def send(wire: Wire, x: Tensor) -> Tensor:
    for m in wire.maps:
        x = forward(m, x)
    return x


def send_back(wire: Wire, x: Tensor, grad: Tensor, into: Gradients) -> Tensor:
    """Gradient to the source; those of the weights are taken at x and added to `into`."""
    entered = []
    for m in wire.maps:
        entered.append(x)
        x = forward(m, x)
    for m, value in zip(reversed(wire.maps), reversed(entered), strict=True):
        grad, of_weight = backward(m, value, grad)
        if of_weight is None:
            continue
        if m.tap is not None:
            add(into, f"{m.name}.centre", of_weight * m.tap.whole * m.tap.slope)
            of_weight = of_weight * m.tap.share
        if m.residual_gain is not None:
            add(into, f"{m.name}.residual_gain", (of_weight * m.plain).sum())  # type: ignore[operator]
            of_weight = m.residual_gain * of_weight
        if m.gain is None:
            add(into, f"{m.name}.weight", of_weight)
        else:
            of_raw, of_gain = standardised_backward(m.raw, m.gain, of_weight)  # type: ignore[arg-type]
            add(into, f"{m.name}.weight", of_raw)
            add(into, f"{m.name}.gain", of_gain)
    return grad


def add(into: Gradients, name: str, value: Tensor) -> None:
    into[name] = into[name] + value if name in into else value
