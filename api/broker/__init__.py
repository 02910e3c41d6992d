"""Celery: wake-ups for workers."""
