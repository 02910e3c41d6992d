"""Losses, optimizers, learning rates, the average of weights."""
