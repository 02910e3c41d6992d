"""The life cycle of a job: `lifecycle.py` alone writes a status."""
