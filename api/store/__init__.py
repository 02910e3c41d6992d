"""What is remembered: tables, the life of a job, metrics, logs and files."""
