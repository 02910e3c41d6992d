"""One switch for what was built for GPUs and has not been measured on one: off, unless
`SAF_GPU_TUNING` is 1.

On, a long training on a GPU measures how many time steps it takes at once
(`saf.training.hardware.chunk_size`) and compiles its scan (`saf.training.hardware.backends`).
"""

from __future__ import annotations

import os

import torch

VARIABLE = "SAF_GPU_TUNING"
ON = ("1", "true", "yes", "on")


def is_for(device: torch.device) -> bool:
    """Whether `device` is a GPU and the switch is on."""
    return device.type == "cuda" and os.environ.get(VARIABLE, "").strip().lower() in ON
