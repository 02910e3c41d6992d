"""The store: tables, the life cycle of jobs, metrics, logs and files."""
