"""Architectures as data. No torch."""
