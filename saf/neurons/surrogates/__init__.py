"""Surrogate derivatives σ' of the Heaviside step, at x = u − V: a file each.

Every one has unit area, as the Dirac impulse that it stands in for, and its largest value at 0.
Importing them loads no torch.
"""
