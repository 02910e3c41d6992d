"""What the attempts of a job report: metrics, log, checkpoints, artifacts."""
