"""Dynamics of neurons, surrogates and their gradients."""
