"""A batch computed in parts, one after another: less memory, and the gradient of the whole batch.

Shapes: `B` samples of the batch, `b` samples of a part.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from saf.methods.base import Method
from saf.model.network import SpikingNetwork
from saf.model.outcome import Outcome
from saf.model.presentation import NO_DROPOUT, Masks
from saf.training.optimisation.loss import LossFunction


def in_parts(method: Method, parts: int) -> Method:
    """`method`, with each batch cut into `parts` micro-batches whose sizes differ by one at most.

    The loss of a part is a mean over its `b` samples and counts b / B, so the gradients that add
    up in `.grad` are, but for rounding, those of the whole batch; `update` is called once, after
    the last part. What is random is drawn before, for the whole batch, and does not depend on the
    cut. Only for methods that update once per batch (`JobSpecification` refuses the others).
    """
    if parts == 1:
        return method

    def whole(
        network: SpikingNetwork,
        x: Tensor,
        y: Tensor,
        *,
        timesteps: int,
        loss: LossFunction,
        update: Callable[[], None],
        trace_bias_and_input: bool = False,
        masks: Masks = NO_DROPOUT,
        chunk: int | None = None,
    ) -> Outcome:
        cuts = min(parts, len(y))
        outcomes, shares = [], []
        masks_of = {name: mask.tensor_split(cuts) for name, mask in masks.items()}
        for number, (part, labels) in enumerate(
            zip(x.tensor_split(cuts), y.tensor_split(cuts), strict=True)
        ):
            share = len(labels) / len(y)
            outcome = method(
                network,
                part,
                labels,
                timesteps=timesteps,
                loss=_weighted(loss, share),
                update=lambda: None,
                trace_bias_and_input=trace_bias_and_input,
                masks={name: own[number] for name, own in masks_of.items()},
                chunk=chunk,
            )
            outcomes.append(outcome)
            shares.append(share)
        update()
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
    return lambda scores, labels: share * loss(scores, labels)
