"""Random changes to training samples, a whole batch at a time on its device: a file each.

The random numbers are drawn on the CPU from one generator, so that the same batch is changed in
the same way on every device and after every resumption. All time steps of a sample are changed
alike. Importing them loads no torch.
"""
