"""What people have on disk, one file a format: recognise it, read it."""
