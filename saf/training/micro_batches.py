"""A batch computed in parts, one after another: less memory, and the gradient of the whole batch.

Shapes: `B` samples of the batch, `b` samples of a part.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from saf.model.batch import Batch, Rule
from saf.model.network import SpikingNetwork
from saf.model.outcome import Outcome
from saf.training.optimisation.loss import LossFunction


def in_parts(rule: Rule, parts: int) -> Rule:
    """`rule`, with each batch cut into `parts` micro-batches whose sizes differ by one at most.

    The loss of a part is a mean over its `b` samples and counts b / B, so the gradients that add
    up in `.grad` are, but for rounding, those of the whole batch; `update` is called once, after
    the last part. What is random is drawn before, for the whole batch, and does not depend on the
    cut. Only for methods that update once per batch (`JobSpecification` refuses the others).
    """
    if parts == 1:
        return rule

    def whole(network: SpikingNetwork, batch: Batch) -> Outcome:
        samples = len(batch.y)
        cuts = min(parts, samples)
        outcomes, shares = [], []
        lengths = None if batch.lengths is None else batch.lengths.split(cuts)
        masks_of = {name: mask.tensor_split(cuts) for name, mask in batch.masks.items()}
        for number, (x, y) in enumerate(
            zip(batch.x.tensor_split(cuts), batch.y.tensor_split(cuts), strict=True)
        ):
            share = len(y) / samples
            part = replace(
                batch,
                x=x,
                y=y,
                loss=_weighted(batch.loss, share),
                update=_later,
                masks={name: own[number] for name, own in masks_of.items()},
                lengths=None if lengths is None else lengths[number],
            )
            outcomes.append(rule(network, part))
            if lengths is not None and batch.lengths is not None:
                share = float(lengths[number].steps.sum() / batch.lengths.steps.sum())
            shares.append(share)  # of the time steps
        batch.update()
        return Outcome(
            loss=torch.stack([each.loss for each in outcomes]).sum(),
            scores=torch.cat([each.scores for each in outcomes]),
            firing_rates=sum(
                (share * each.firing_rates for share, each in zip(shares, outcomes, strict=True)),
                torch.zeros_like(outcomes[0].firing_rates),
            ),
        )

    return whole


def _weighted(loss: LossFunction, share: float) -> LossFunction:
    return lambda scores, labels, weights=None: share * loss(scores, labels, weights)


def _later() -> None:
    """No update after a part."""
