"""The training loop and what it keeps: checkpoints, events, the finished network."""
