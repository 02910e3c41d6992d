"""What came out of a training, in words for a terminal, and what to try next, by simple rules."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from saf.cli.output import network_line, percent
from saf.config import JobSpecification
from saf.config.neurons import NEURONS
from saf.config.samples import Samples, misfits
from saf.powers import SIGNIFICANT_BITS, halvings, most_timesteps

OVERFITTED = 0.1  # of accuracy that the training samples are ahead of the test samples
STILL_RISING = 0.005  # of validation accuracy that the last tenth of the epochs brought
FEWEST_TO_RISE = 10  # epochs
CHANGES = ("crop", "flip")  # to samples that are learnt by heart

Accepted = Callable[[Mapping[str, Any]], bool]
"""Whether a job may have these settings of a specification instead of its own."""


def outcome(found: Mapping[str, Any], specification: Mapping[str, Any] | None = None) -> list[str]:
    """The summary of a training, or the result of a job: its accuracies, and what is had without a
    network. What is not known is left out. By `specification` a network of few bits, whose
    accuracies these are, is told from what was trained."""
    lines = []
    if found["lif_accuracy"] is not None:
        lines.append(network_line(found))
    if found.get("not_proven"):
        lines.append(f"not proven, as was asked: {found['not_proven']}")
    of_trained = []
    if found.get("test_accuracy") is not None:
        bits = ((specification or {}).get("conversion") or {}).get("weight_bits")
        which = "as trained" if bits is None else f"with weights of {bits} bits"
        of_trained.append(f"{which} {percent(found['test_accuracy'])} on the test samples")
    if found.get("val_accuracy") is not None:
        of_trained.append(f"{percent(found['val_accuracy'])} on the validation samples")
    if of_trained:
        lines.append(f"{', '.join(of_trained)}{_delivered(found)}")
    without = []
    if found.get("most_frequent_accuracy") is not None:
        without.append(
            f"naming the most frequent class gives {percent(found['most_frequent_accuracy'])}"
        )
    if found.get("linear_accuracy") is not None:
        without.append(f"a linear classifier {percent(found['linear_accuracy'])}")
    if without:
        lines.append(", ".join(without))
    return lines


def warnings(findings: Sequence[Mapping[str, object]]) -> list[str]:
    """Problems of a training, each with a remedy."""
    return [f"WARNING: {each['message']}\n  what to change: {each['hint']}" for each in findings]


def next_steps(
    found: Mapping[str, Any],
    specification: Mapping[str, Any],
    *,
    val_accuracies: Sequence[float] = (),
    has_findings: bool = False,
    job_id: str = "",
    accepted: Accepted = lambda _: True,
) -> list[str]:
    """What to try next; `val_accuracies` are those of all epochs, and `job_id` is that of a job on
    a server, empty for a training on this machine. Nothing is named that is not `accepted`, as
    random changes of places to series, which have none. The rules:

    - training accuracy 10 points above test accuracy, and above that on the validation samples
      where there are some: more samples, or random changes to them;
    - half a point of validation accuracy or more from the last tenth of ten or more epochs: more
      epochs;
    - a network that is not proven, where it could be, and that has no findings: the grid.
    """
    steps = []
    trained, tested = found.get("train_accuracy"), found.get("test_accuracy")
    # A network that is right on other new samples has learnt nothing by heart.
    on_new = max(tested or 0.0, found.get("val_accuracy") or 0.0)
    # Nor has one of which the conversion has left little.
    if found.get("verdict") == "differs":
        tested = None
    if trained is not None and tested is not None and trained - on_new > OVERFITTED:
        augment = ""
        if not specification.get("augment") and accepted({"augment": list(CHANGES)}):
            augment = (
                f", or --set augment={','.join(CHANGES)} (crop alone where a mirror image is of "
                "another class)"
            )
        steps.append(
            f"the training samples are learnt by heart ({percent(trained)} against "
            f"{percent(tested)} on the test samples): more samples{augment}"
        )
    epochs = len(val_accuracies)
    if not found.get("ended_early") and is_rising(val_accuracies):
        command = (
            f"saf continue {shlex.quote(job_id)} --epochs {epochs}"
            if job_id
            else f"the same command with --epochs {2 * epochs} goes on from here"
        )
        steps.append(f"the validation accuracy was still rising: {command}")
    rounds = " --set conversion.round_decays=true" if _learns_decay(specification) else ""
    if (
        not has_findings
        and found.get("verdict") != "proven"
        and _can_be_proven(specification)
        and accepted({"conversion": _on_grid(specification)})
    ):
        # Values without a place are features here: of different scales they cannot be proven.
        scaled = "" if accepted({"augment": list(CHANGES)}) else ", with features of one scale"
        steps.append(
            "for a network whose spikes are proven to be those that were trained: "
            f"--set conversion.grid_bits=auto{rounds}{scaled}"
        )
    return steps


def accepted_with(specification: Mapping[str, Any], samples: Mapping[str, Any]) -> Accepted:
    """What `specification` may have on such samples, of which a report tells the facts."""
    facts = Samples("it", **{**samples, "shape": tuple(samples["shape"])})

    def accepted(change: Mapping[str, Any]) -> bool:
        try:
            asked = JobSpecification.model_validate({**specification, **change})
        except ValidationError:
            return False
        return not any(misfits(asked, facts))

    return accepted


def is_rising(accuracies: Sequence[float]) -> bool:
    """Whether the last tenth of the epochs brought half a point or more."""
    if len(accuracies) < FEWEST_TO_RISE:
        return False
    begin = len(accuracies) - len(accuracies) // 10
    return max(accuracies[begin:]) - max(accuracies[:begin]) >= STILL_RISING


def _delivered(found: Mapping[str, Any]) -> str:
    epoch, best = found.get("delivered_epoch"), found.get("best_epoch")
    if epoch is None:
        return ""
    if best == epoch:
        return f"; delivered is epoch {epoch}, the best on the validation samples"
    if best is None:
        return f"; delivered is epoch {epoch}, the last one: there are no validation samples"
    return f"; delivered is epoch {epoch}, the last one, as asked; epoch {best} was the best"


def _fits(decay: Any, steps: Any) -> bool:
    """Whether λ is a power of two, and T a number, or may become one, that leaves it bits."""
    if not isinstance(decay, float | int) or halvings(decay) is None:
        return False
    most = most_timesteps(decay, SIGNIFICANT_BITS["float32"])
    return most is None or not isinstance(steps, int) or steps <= most


def _on_grid(specification: Mapping[str, Any]) -> dict[str, Any]:
    own = {**(specification.get("conversion") or {}), "grid_bits": "auto"}
    return {**own, "round_decays": True} if _learns_decay(specification) else own


def _learns_decay(specification: Mapping[str, Any]) -> bool:
    name = str((specification.get("neuron") or {}).get("name"))
    return name in NEURONS and NEURONS[name].learns_decay


def _can_be_proven(specification: Mapping[str, Any]) -> bool:
    """Whether `conversion.grid_bits` would be accepted, as far as the settings tell."""
    neuron, conversion = specification.get("neuron") or {}, specification.get("conversion") or {}
    decays = neuron.get("decays") or [neuron.get("decay", 0.5)]
    return (
        conversion.get("grid_bits") is None
        and conversion.get("weight_bits") is None
        and (neuron.get("name", "lif") == "lif" or _learns_decay(specification))
        and neuron.get("threshold") == 1.0
        and all(_fits(decay, specification.get("timesteps", 0)) for decay in decays)
    )
