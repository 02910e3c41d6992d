"""Neuron models that a job can choose: a file each, with its settings. They load no torch."""
