"""The job specification: what a training is asked to do. No torch."""
