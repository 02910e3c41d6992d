"""Results of a job: timeline, metrics, log, files, predictions."""
