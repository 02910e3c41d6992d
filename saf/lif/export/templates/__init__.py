"""What exports are written from: the kernels of the C, the program of numpy."""
