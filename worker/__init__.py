"""Celery workers: they claim jobs and watch over the processes that train."""
