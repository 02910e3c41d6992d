"""What a network on a grid asks of its settings: decays that are powers of two; no torch.

`docs/proof.md` has the argument.
"""

from __future__ import annotations

from math import frexp

MOST_GRID_BITS = 20
MOST_HALVINGS = 20
"""n of the smallest λ = 2^−n that a network on a grid may have."""
SIGNIFICANT_BITS = {"float32": 24, "float64": 53}
"""Whole numbers up to 2^24 are exact in float32, those up to 2^53 in float64."""
POWERS = "1, 0.5, 0.25, 0.125, …"


def halvings(decay: float) -> int | None:
    """The n from 0 to 20 with `decay` = 2^−n, the fractional bits that a multiplication by it adds;
    None where there is none. 0 is 0 · 2^0, which adds none."""
    if decay == 0.0:
        return 0
    mantissa, exponent = frexp(decay)
    n = 1 - exponent
    return n if mantissa == 0.5 and 0 <= n <= MOST_HALVINGS else None


def nearest_power(decay: float) -> float:
    """The 2^−n, n from 0 to 20, that is nearest to `decay`; of two that are as near, the smaller
    one."""
    return min((2.0**-n for n in range(MOST_HALVINGS + 1)), key=lambda x: (abs(x - decay), x))


def most_timesteps(decay: float, significant_bits: int) -> int | None:
    """The largest T for which a layer with λ = `decay`, a power of two, can be exact with a single
    bit for the weights: 1 + n (T − 1) fractional bits of a number above 1. None: there is none."""
    n = halvings(decay)
    return None if not n else 1 + (significant_bits - 2) // n
