"""Arrays where they lie: in files of numpy, HDF5 and text, in memory, made of others."""
