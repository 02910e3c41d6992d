"""Targets that read NIR, one file each, and what they share."""
