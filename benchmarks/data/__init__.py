"""Data sets: drawn ones, large ones, and the layouts that people have."""
