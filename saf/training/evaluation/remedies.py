"""Settings so far from what is usual that a training which learnt little is put down to them."""

from __future__ import annotations

from saf.config import ResolvedSpecification
from saf.config.automatic import GRADIENT_NORM, has_automatic_rate, rate_of

FAR_RATE = 10.0  # times the learning rate of the rule, or below it by so many times
FAR_THRESHOLD = 8.0  # times the usual one, or below it by so many times
USUAL_THRESHOLD = 1.0
TINY_NORM = 0.01  # of a gradient, to which it is clipped
MUCH_DECAY = 1e-3  # of the weights that each iteration takes away
MUCH_SMOOTHING = 0.5  # of the target, which is spread over all classes


def unusual(specification: ResolvedSpecification) -> list[str]:
    """What to change first, one remedy for each such setting; [] where there is none."""
    remedies = []
    rate, usual = specification.learning_rate, rate_of(specification)
    if not has_automatic_rate(specification) and _is_far(rate, usual, FAR_RATE):
        remedies.append(f"set the learning rate to about {usual:g} (it is {rate:g})")
    norm = specification.max_gradient_norm
    if norm is not None and norm < TINY_NORM:
        remedies.append(f"set max_gradient_norm to {GRADIENT_NORM:g} (it is {norm:g})")
    decay = specification.optimizer.weight_decay
    if decay * rate > MUCH_DECAY:
        remedies.append(f"set optimizer.weight_decay to 0 (it is {decay:g})")
    threshold = specification.neuron.threshold
    # Weights that come from elsewhere were made for their threshold.
    if specification.init is None and _is_far(threshold, USUAL_THRESHOLD, FAR_THRESHOLD):
        remedies.append(f"set neuron.threshold to {USUAL_THRESHOLD:g} (it is {threshold:g})")
    smoothing = specification.loss.label_smoothing
    if smoothing > MUCH_SMOOTHING:
        remedies.append(f"set loss.label_smoothing to 0.1 or less (it is {smoothing:g})")
    return remedies


def lower_rate(specification: ResolvedSpecification) -> str:
    """To lower the learning rate, by ten: or to that of the rule, where it is still above that."""
    rate, usual = specification.learning_rate, rate_of(specification)
    return f"lower the learning rate (it is {rate:g}; try {min(rate / 10, usual):g})"


def learn_more(specification: ResolvedSpecification, otherwise: str) -> str:
    """How a training learns more: what is unusual about it first, and `otherwise` where nothing
    is."""
    remedies = unusual(specification)
    return f"{', and '.join(remedies)}; then {otherwise}" if remedies else otherwise


def _is_far(value: float, usual: float, times: float) -> bool:
    return not usual / times <= value <= usual * times
