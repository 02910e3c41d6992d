"""Accuracy, spike statistics, findings and the report of a training."""
