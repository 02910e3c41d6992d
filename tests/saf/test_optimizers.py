"""The optimizers take the steps of torch's, and no process loads torch.compile for them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from saf.config import SGD, AdamW
from saf.config import Optimizer as ChosenOptimizer
from saf.optimizers import optimizer_of

CPU = torch.device("cpu")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "chosen",
    [
        SGD(momentum=0.0),
        SGD(),
        SGD(momentum=0.8, weight_decay=0.01),
        AdamW(weight_decay=0.05),
        AdamW(beta1=0.7, beta2=0.95),
    ],
    ids=str,
)
def test_steps_and_state_are_those_of_torch_bit_for_bit(
    chosen: ChosenOptimizer, dtype: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=dtype)

    ours = [torch.nn.Parameter(drawn(*shape)) for shape in ((16, 3, 3, 3), (7,), (), (5,))]
    theirs = [torch.nn.Parameter(p.detach().clone()) for p in ours]
    of_ours = optimizer_of(chosen, ours, CPU)
    if isinstance(chosen, SGD):
        of_theirs: torch.optim.Optimizer = torch.optim.SGD(
            theirs, lr=1.0, momentum=chosen.momentum, weight_decay=chosen.weight_decay
        )
    else:
        of_theirs = torch.optim.AdamW(
            theirs, lr=1.0, betas=(chosen.beta1, chosen.beta2), weight_decay=chosen.weight_decay
        )
    for rate in (0.1, 0.03, 0.0, 0.2):
        for mine, other in zip(ours[:-1], theirs, strict=False):  # one never gets a gradient
            mine.grad = drawn(*mine.shape)
            other.grad = mine.grad.clone()
        for optimizer in (of_ours, of_theirs):
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            optimizer.zero_grad()
        for mine, other in zip(ours, theirs, strict=True):
            assert mine.grad is None
            assert torch.equal(mine, other)
            kept = {k: v for k, v in of_theirs.state.get(other, {}).items() if v is not None}
            assert of_ours.state.get(mine, {}).keys() == kept.keys()
            for name, value in kept.items():
                assert torch.equal(of_ours.state[mine][name], value)
                assert of_ours.state[mine][name].dtype == value.dtype


def test_a_whole_training_on_a_cpu_loads_no_compiler(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; import saf, torch; from saf.data import digits\n"
        "from saf.networkchoice import ConvNet; torch.set_num_threads(1)\n"
        "job = saf.JobSpecification(network=ConvNet(channels=(4,)), epochs=1, timesteps=2,\n"
        "    max_gradient_norm=1.0, average_decay=0.9)\n"
        f"for _ in saf.train(job, digits(), Path({str(tmp_path)!r}), device='cpu'): pass\n"
        "sys.exit('torch._dynamo' in sys.modules or 'sympy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
