"""How much of an accuracy can be luck: exact tests, and the margin of a measured share.

Loads neither torch nor numpy.
"""

from __future__ import annotations

import math
from collections.abc import Iterable


def p_value(correct: int, total: int, share: float) -> float:
    """Probability that at least `correct` of `total` samples are right by luck.

    Each sample is right with probability `share`, independently of the others: the p-value of the
    one-sided exact binomial test, P(X ≥ correct) for X ~ Binomial(total, share). Raises ValueError
    unless 0 ≤ correct ≤ total and 0 ≤ share ≤ 1.
    """
    if not 0 <= correct <= total:
        raise ValueError(f"{correct} of {total} samples cannot be right")
    if not 0 <= share <= 1:
        raise ValueError(f"the share {share} is not in [0, 1]")
    if correct == 0 or share == 1:
        return 1.0
    if share == 0:
        return 0.0
    odds = share / (1 - share)
    if correct > total * share:  # beyond the mean, where the terms only fall
        terms = (((total - k) / (k + 1)) * odds for k in range(correct, total))
        return min(1.0, _probability(correct, total, share) * _sum_of_products(terms))
    terms = ((k / (total - k + 1)) / odds for k in range(correct - 1, 0, -1))
    below = _probability(correct - 1, total, share) * _sum_of_products(terms)
    return max(0.0, 1.0 - below)


def p_of_difference(right: int, total: int, others_right: int, others: int) -> float:
    """Probability that, of all that is right in two sets of samples, at least `right` fall into the
    first one by luck: the p-value of the one-sided exact test of Fisher.

    `right` of `total` samples are right, and `others_right` of `others`. Raises ValueError unless
    0 ≤ right ≤ total and 0 ≤ others_right ≤ others.
    """
    for part, whole in ((right, total), (others_right, others)):
        if not 0 <= part <= whole:
            raise ValueError(f"{part} of {whole} samples cannot be right")
    drawn = right + others_right
    ways = _log_ways(total + others, drawn)
    return min(
        1.0,
        math.fsum(
            math.exp(_log_ways(total, k) + _log_ways(others, drawn - k) - ways)
            for k in range(max(right, drawn - others), min(total, drawn) + 1)
        ),
    )


def margin(total: int) -> float:
    """Half the width of the 95 % interval of a share of `total` samples, at a share of one half.

    There it is widest: 1.96 √(0.25 / total). Raises ValueError when there is no sample.
    """
    if total < 1:
        raise ValueError("a share of no samples is not known at all")
    return 1.96 * math.sqrt(0.25 / total)


def _probability(k: int, total: int, share: float) -> float:
    """P(X = k)."""
    return math.exp(_log_ways(total, k) + k * math.log(share) + (total - k) * math.log1p(-share))


def _log_ways(total: int, k: int) -> float:
    """ln of the number of ways to choose k of `total`."""
    return math.lgamma(total + 1) - math.lgamma(k + 1) - math.lgamma(total - k + 1)


def _sum_of_products(factors: Iterable[float]) -> float:
    """1 + f₁ + f₁ f₂ + …, until what is left is beyond the precision of a float."""
    product = total = 1.0
    for factor in factors:
        product *= factor
        total += product
        if product < 1e-17 * total and factor < 1:
            break
    return total
