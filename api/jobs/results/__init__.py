"""What a job leaves behind: timeline, metrics, log, files, predictions."""
