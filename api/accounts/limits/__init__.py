"""Limits of users and projects: told, changed, and those of requests kept."""
