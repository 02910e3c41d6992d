"""Exports of a job's network to other tools: ordered, watched, taken home."""
