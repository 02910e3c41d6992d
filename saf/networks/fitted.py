"""What a job trains by default where the defaults of the specification are for other samples."""

from __future__ import annotations

from typing import Any

from saf.config import JobSpecification, ResolvedSpecification
from saf.config.methods import METHODS
from saf.config.networks import NETWORKS
from saf.config.samples import Samples
from saf.networks.build import NetworkError, build, encoded_shape, networks_for


def fitted(specification: JobSpecification, samples: Samples, classes: int) -> JobSpecification:
    """`specification` with the first network that takes `samples` where it names none and the one
    by default does not; and of values without a place, in time, with a loss at each time step
    (`saf-e`) where it names no method.

    `saf-f` answers by the λ-weighted mean of all time steps, which sees the last few alone: what
    happens before them, as in most series, would hardly count. A specification that was resolved
    before, as of a job, comes back as it is.
    """
    if isinstance(specification, ResolvedSpecification):
        return specification
    said, chosen = specification.model_fields_set, dict[str, Any]()
    shape = encoded_shape(specification, samples.shape)
    if "network" not in said and not _takes(specification, shape, classes):
        for name in networks_for(shape, classes)[:1]:
            chosen["network"] = NETWORKS[name]()
    is_sequence = samples.sequence(specification) is not None
    without_place = is_sequence or not samples.has_places
    if "method" not in said and without_place and (is_sequence or samples.timesteps is not None):
        chosen["method"] = METHODS["saf-e"]()
    return specification.model_copy(update=chosen)


def _takes(specification: JobSpecification, shape: tuple[int, ...], classes: int) -> bool:
    if specification.input.present != "whole" and specification.network.of_images:
        return False
    try:
        build(specification.network, shape, classes)
    except NetworkError:
        return False
    return True
