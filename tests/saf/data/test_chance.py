"""Whether an accuracy is more than luck: an exact binomial test."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest

from saf.data.chance import margin, p_of_difference, p_value


@pytest.mark.parametrize("total", [1, 2, 7, 100, 360, 10_000, 1_000_000])
@pytest.mark.parametrize("share", [1e-5, 0.1, 0.25, 0.5, 0.9, 0.999])
def test_the_p_value_is_that_of_scipy(total: int, share: float) -> None:
    # Here: loading it takes a second of all who only collect the tests.
    from scipy.stats import binomtest

    mean, deviation = total * share, math.sqrt(total * share * (1 - share))
    near = {round(mean + z * deviation) for z in (-30, -3, -1, 0, 0.1, 1, 2, 3, 6, 20)}
    for correct in sorted({0, 1, total - 1, total, *near}):
        if 0 <= correct <= total:
            expected = binomtest(correct, total, share, alternative="greater").pvalue
            assert p_value(correct, total, share) == pytest.approx(expected, rel=1e-7, abs=1e-300)


@pytest.mark.parametrize("total", [1, 5, 40])
def test_the_p_value_is_the_sum_of_all_outcomes_as_good(total: int) -> None:
    share = Fraction(1, 4)
    for correct in range(total + 1):
        exact = sum(
            math.comb(total, k) * share**k * (1 - share) ** (total - k)
            for k in range(correct, total + 1)
        )
        assert p_value(correct, total, 0.25) == pytest.approx(float(exact), rel=1e-12)


def test_certain_and_impossible_classifiers_have_their_limits() -> None:
    assert p_value(0, 10, 0.0) == 1.0
    assert p_value(1, 10, 0.0) == 0.0
    assert p_value(10, 10, 1.0) == p_value(3, 10, 1.0) == 1.0
    assert p_value(0, 0, 0.5) == 1.0
    assert p_value(10**6, 10**6, 1e-300) == 0.0


@pytest.mark.parametrize(
    ("correct", "total", "share"), [(-1, 5, 0.5), (6, 5, 0.5), (1, 5, 1.1), (1, 5, math.nan)]
)
def test_what_cannot_be_is_refused(correct: int, total: int, share: float) -> None:
    with pytest.raises(ValueError, match=r"cannot be right|is not in"):
        p_value(correct, total, share)


@pytest.mark.parametrize(
    ("right", "total", "others_right", "others"),
    [
        (8, 10, 1, 5),
        (0, 10, 5, 5),
        (10, 10, 0, 5),
        (81, 160, 15, 50),
        (9_000, 10_000, 4_400, 5_000),
    ],
)
def test_the_p_value_of_a_difference_is_that_of_scipy(
    right: int, total: int, others_right: int, others: int
) -> None:
    # Here: loading it takes a second of all who only collect the tests.
    from scipy.stats import fisher_exact

    table = [[right, total - right], [others_right, others - others_right]]
    expected = fisher_exact(table, alternative="greater").pvalue
    found = p_of_difference(right, total, others_right, others)
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-300)


def test_a_difference_of_nothing_is_luck() -> None:
    assert p_of_difference(0, 5, 0, 5) == p_of_difference(5, 5, 5, 5) == 1.0
    with pytest.raises(ValueError, match="6 of 5 samples cannot be right"):
        p_of_difference(1, 5, 6, 5)


def test_the_margin_of_a_share_falls_with_the_root_of_the_samples() -> None:
    assert margin(100) == pytest.approx(0.098)
    assert margin(10_000) == pytest.approx(0.0098)
    with pytest.raises(ValueError, match="no samples"):
        margin(0)
