"""Data sets in the layouts that people have, made small, and what comes of each."""
