"""Estimates of a run before it begins: memory and operations. No torch."""
