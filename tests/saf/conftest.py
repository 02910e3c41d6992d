"""What all tests of the library share."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """The tensors are small, and threads that wait for each other slow a busy machine down."""
    torch.set_num_threads(1)
