"""Sweeps: many jobs from one request, and the table of them."""
