"""Image files: how one is decoded, how many become arrays, which classes and splits they have."""
