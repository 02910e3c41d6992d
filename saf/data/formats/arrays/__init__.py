"""Arrays as people and tools store them, one file a format."""
