"""Encodings of values into the input of a network, a file each."""
