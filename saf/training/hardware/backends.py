"""The rules by which a training compiles its scan or uses C++."""

from __future__ import annotations

import logging

import torch

from saf.config import Neuron, ResolvedSpecification
from saf.estimate.operations import evaluations, multiply_adds
from saf.kernels import native
from saf.kernels.inductor_scan import scan
from saf.kernels.precision import compute_dtype, parameter_dtype
from saf.kernels.saf_scan import Constant, Scan
from saf.kernels.saf_scan import scan as reference
from saf.kernels.winograd_transforms import SEEN, TILE, Compiled, compiled
from saf.networks.architecture import Architecture
from saf.neurons.gates import surrogate_gate
from saf.training.checkpoint import Progress
from saf.training.hardware import tuning

logger = logging.getLogger(__name__)
FEWEST_UPDATES = 10**11
"""Updates of neurons (neurons × T × samples × epochs) from which a training gains more than the
compilation takes: half a minute against about 1 ns for each update on two CPU cores."""


FEWEST_PRODUCTS = 10**12
"""Multiplications with weights from which a training gains more than the compilation takes: some
seven seconds against half of the time of convolutions; two cores do some 7 · 10^10 a second."""


def in_cpp(
    progress: Progress,
    specification: ResolvedSpecification,
    architecture: Architecture,
    samples: int,
    device: torch.device,
) -> bool:
    """Whether a training on `samples` samples uses C++: as it began, and when it begins, where a
    map of its network gains from it, it is long enough and there is a compiler. `progress`
    remembers it."""
    wanted = progress.native
    if wanted is None:
        kernel = (SEEN - TILE + 1,) * 2
        shown = evaluations(specification) * samples * specification.epochs
        wanted = (
            device.type == "cpu"
            and multiply_adds(architecture) * shown >= FEWEST_PRODUCTS
            and any(
                shape[2:] == kernel and min(shape[:2]) >= Compiled.fewest_channels
                for shape in architecture.weight_shapes()
            )
        )
    usable = wanted and compiled() is not None and native.has_all()
    if progress.native and not usable:
        logger.warning("this training began with C++: its last bits will differ")
    progress.native = usable
    return usable


def chosen(
    progress: Progress,
    specification: ResolvedSpecification,
    architecture: Architecture,
    samples: int,
    device: torch.device,
) -> Scan:
    """The scan for a training on `samples` samples: that which it began with, and when it begins
    the compiled one if it is long enough and the compiler works, on a GPU only with
    `SAF_GPU_TUNING`. `progress` remembers it."""
    precision = specification.precision
    dtype = compute_dtype(precision) or parameter_dtype(precision)
    wanted = progress.compiled
    if wanted is None:
        updates = architecture.neurons * specification.timesteps * samples * specification.epochs
        scans = specification.method.scans and specification.neuron.scans
        wanted = scans and updates >= FEWEST_UPDATES
        wanted = wanted and (device.type == "cpu" or tuning.is_for(device))
    usable = wanted and works(specification.neuron, device, dtype)
    if progress.compiled and not usable:
        logger.warning("this training began with a compiled scan: its last bits will differ")
    progress.compiled = usable
    return scan if usable else reference


def works(neuron: Neuron, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether the compiled scan runs on `device` and gives what the reference gives; if it does
    not, the log says why."""
    gate = surrogate_gate(neuron.surrogate, neuron.threshold)
    generator = torch.Generator().manual_seed(0)
    current = torch.randn(2 * 3, 5, 4, 4, generator=generator).to(device, dtype)
    current = current.contiguous(memory_format=torch.channels_last)
    factors = [1.0, 1.0 + neuron.decay]
    constant = Constant(current[:1, :, :1, :1].clone(), True, factors, [1.0, 1.0])
    given = (constant, None, neuron.decay, neuron.threshold, gate)
    try:
        with torch.no_grad():
            ours, theirs = scan(current.clone(), *given), reference(current.clone(), *given)
    except Exception as error:  # whatever a missing or broken compiler raises
        said = str(error).strip().splitlines() or [""]
        logger.warning("the scan is not compiled here: %s: %s", type(error).__name__, said[0])
        return False
    tolerance = 1e-2 if dtype == torch.bfloat16 else 1e-5
    for one, other in zip(ours[:2], theirs[:2], strict=True):
        assert one is not None
        assert other is not None
        if not torch.allclose(one, other, rtol=tolerance, atol=tolerance):
            logger.warning("the compiled scan gives other results here, and is not used")
            return False
    return True
