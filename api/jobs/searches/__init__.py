"""Searches that people have saved: filters and order of the list of jobs under a name."""
