"""The verdict of a certificate, and the rule and the sentences that explain it."""

from __future__ import annotations

from typing import Any, Literal

from saf.errors import InternalError
from saf.lif.grid.advice import Remedies, advice_of
from saf.powers import SIGNIFICANT_BITS

TOLERATED = 0.002  # of the samples
ONE_OF = 20  # samples of which one is tolerated, where the share above is less than one
MOST_ROUNDING_COST = 1.0  # points of accuracy that a delivered network may have lost to its grid
RULE = (
    "proven: the weights are those of the trained network on a grid, in every layer the arithmetic "
    "of their type, float32 or float64, is exact for every input (grid.layers), and in the checks "
    "in the types for which it is (grid.exact_in) not one spike differs. "
    f"A grid may cost at most {MOST_ROUNDING_COST:.1f} points of accuracy (grid.rounding), or one "
    f"sample of {ONE_OF} or more where that is more; one that costs more makes any network differ "
    "from what was trained, also one whose arithmetic is proven to be exact. "
    f"measured: in every check the predictions differ on at most {TOLERATED:.1%} of the samples, "
    f"and so do the numbers of correct ones ({100 * TOLERATED:.1f} points of accuracy); one sample "
    f"of {ONE_OF} or more is tolerated where that is less than one. differs: otherwise."
)
LOST_TO_THE_GRID = (
    "The LIF network on the grid is not what was trained: do not rely on it; take more "
    'grid_bits, "auto" or none, or more weight_bits.'
)
IN_FLOAT64 = (
    " The file is proven in float64, as `load_lif(path).double()` computes it: both forms give the "
    "same spikes there."
)
Verdict = Literal["proven", "measured", "differs"]


def verdict_of(checks: list[dict[str, Any]], grid: dict[str, Any] | None) -> Verdict:
    """Verdict by `RULE`. Raises InternalError where a proof and a measurement contradict each
    other."""
    if grid is not None and grid["bits"] is not None:
        exact = [check for check in checks if check["precision"] in grid["exact_in"]]
        differing = sum(check["spikes_differing"] for check in exact)
        if grid["is_of_the_trained_network"]:
            if differing:
                raise InternalError(
                    f"{differing} spikes differ between the SAF and the LIF form of a network for "
                    f"which {' and '.join(grid['exact_in'])} is proven to be exact: the proof, its "
                    "code or the arithmetic of this machine is wrong",
                    hint="report this with the job; without conversion.grid_bits it succeeds",
                )
            if grid["within"] and exact:
                return "differs" if costs_too_much(grid) else "proven"
        if costs_too_much(grid):
            return "differs"
    return "measured" if all(map(_within_tolerance, checks)) else "differs"


def costs_too_much(grid: dict[str, Any] | None) -> bool:
    """Whether rounding changed the predictions of the trained network too much."""
    if grid is None or grid["bits"] is None:
        return False
    rounding = grid["rounding"]
    samples = rounding["samples"]
    tolerated = tolerated_of(samples, MOST_ROUNDING_COST / 100)
    return bool(rounding["cost_points"] * samples / 100 > tolerated + 1e-9)


def tolerated_of(samples: int, share: float = TOLERATED) -> float:
    """How many of so many samples may differ: a share of them, and one of 20 or more. Of fewer,
    one would be much of all that there is."""
    return max(share * samples, 1.0 if samples >= ONE_OF else 0.0)


def _within_tolerance(check: dict[str, Any]) -> bool:
    tolerated = tolerated_of(check["samples"])
    gained = abs(check["correct_lif"] - check["correct_saf"])
    return bool(max(check["predictions_differing"], gained) <= tolerated)


def statement(
    verdict: Verdict,
    checks: list[dict[str, Any]],
    as_trained: dict[str, Any] | None,
    grid: dict[str, Any] | None,
) -> str:
    """The result as a sentence."""
    rounded_to = "" if grid is None or grid["bits"] is None else ", both on the grid"
    sentences = [
        f"In {check['precision']}, on {check['samples']:,} samples that the training did not see, "
        f"{check['spikes_differing']:,} of {check['spikes_compared']:,} spikes and "
        f"{check['predictions_differing']} predictions differ between the trained network and its "
        f"LIF form{rounded_to}; the accuracy is {check['accuracy_saf']:.2%} and "
        f"{check['accuracy_lif']:.2%}."
        for check in checks
    ]
    if as_trained is not None:
        sentences.append(
            f"Computed in {as_trained['precision_of_trained']}, as it was trained, the network "
            f"gives {as_trained['predictions_differing']} other predictions than its LIF form in "
            f"{as_trained['precision']}, at an accuracy of {as_trained['accuracy_saf']:.2%}."
        )
    if costs_too_much(grid):
        assert grid is not None
        return " ".join([_about_grid(grid), *sentences, LOST_TO_THE_GRID])
    if grid is not None:
        sentences.append(_about_grid(grid))
    outcome = {
        "proven": "The spikes of the LIF network are the same in every order of summation, for "
        f"every image, wherever {_type_of(grid)} sums of products are computed as such "
        "(docs/proof.md).",
        "measured": "The LIF network may stand in for the trained one.",
        "differs": "The LIF network does not behave like the trained one: do not rely on it.",
    }
    return " ".join([*sentences, outcome[verdict]])


def why_not_proven(verdict: Verdict, grid: dict[str, Any] | None) -> str | None:
    """Why a network that was to be on a grid, and was measured, is not proven; None of others."""
    if verdict != "measured" or grid is None:
        return None
    if grid["bits"] is None:
        return f"its weights are on no grid: {grid['refused']}"
    over = [row for row in (*grid["layers"], *grid["relays"]) if not row["within"]]
    return _lacking(grid, over) if over else None


def _lacking(grid: dict[str, Any], over: list[dict[str, Any]]) -> str:
    """Which of the layers that are `over` needs the most bits, and with what it would not."""
    worst = max(over, key=lambda row: row["bits_needed"])
    found = Remedies(**grid["remedies"])
    advised = advice_of(found)
    return (
        f"{worst['name']} (λ = {worst['decay']:g}) may need {worst['bits_needed']} bits, "
        f"{found.bits_lacking} more than the {worst['bits_available']} of {_type_of(grid)}; "
        + (advised or "its weights are too large for any grid")
    )


def _about_grid(grid: dict[str, Any]) -> str:
    if grid["bits"] is None:
        return f"The weights are on no grid, though one was asked for: {grid['refused']}."
    rounding = grid["rounding"]
    decays = "".join(
        f", and λ of {name} from {each['trained']:.4g} to {each['delivered']:g}"
        for name, each in grid["decays"].items()
    )
    cost = (
        f"Rounding the weights to multiples of 2^-{grid['bits']}{decays} took the accuracy from "
        f"{rounding['accuracy_as_trained']:.2%} to {rounding['accuracy_on_grid']:.2%} on "
        f"{rounding['samples']} samples."
    )
    if not grid["is_of_the_trained_network"]:
        return f"{cost} The file does not hold the trained network on that grid."
    rows = [*grid["layers"], *grid["relays"]]
    over = [row for row in rows if not row["within"]]
    if over:
        within = IN_FLOAT64 if grid["remedies"]["float64"] else ""
        return f"{cost} This is no proof: {_lacking(grid, over)}.{within}"
    needed = max(row["bits_needed"] for row in rows)
    scores = "as well" if grid["readout"]["within"] else "not covered"
    decays = ", ".join(f"{each:g}" for each in sorted({row["decay"] for row in grid["layers"]}))
    return (
        f"{cost} {_type_of(grid).capitalize()} is exact in every layer for every image: with λ = "
        f"{decays} at most {needed} of {rows[0]['bits_available']} bits are needed; the scores are "
        f"{scores}."
    )


def _type_of(grid: dict[str, Any] | None) -> str:
    """The type of the weights, in which the network is delivered."""
    available = None if grid is None or not grid["bits"] else grid["layers"][0]["bits_available"]
    return "float64" if available == SIGNIFICANT_BITS["float64"] else "float32"
