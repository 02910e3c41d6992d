"""Training methods, a small file each."""
