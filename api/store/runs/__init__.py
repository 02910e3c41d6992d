"""Reports of the attempts of a job: metrics, log, checkpoints, artifacts."""
